"""What LLVM makes of the innermost loops: sums that stay in registers, for every tile of the menu."""

import platform
import re

import numba
import numpy as np
import pytest
from geometries import DTYPES, Convolution
from numba import njit

from fastconv.kernels.compile import Record
from fastconv.kernels.compile.flags import FLAGS
from fastconv.kernels.igemm import col2im, forward, weight_grad
from fastconv.kernels.igemm.items import Item
from fastconv.kernels.igemm.packing import Panels
from fastconv.kernels.igemm.plan import Limits, forward_phases, plans
from fastconv.kernels.igemm.weight_plan import weight_plan
from fastconv.kernels.narrow import forward as narrow
from fastconv.kernels.narrow import weight_grad as narrow_weight_grad
from fastconv.kernels.narrow.packing import Item as Band
from fastconv.kernels.narrow.plan import HEIGHTS, forward_plan
from fastconv.kernels.simd.ahead import Ahead, RowsAhead
from fastconv.kernels.simd.host import MENU, menu, registers
from fastconv.kernels.simd.sliding import Taps
from fastconv.kernels.simd.tile import Tile
from fastconv.kernels.winograd import forward as winograd
from fastconv.kernels.winograd import weight_grad as winograd_weight_grad
from fastconv.kernels.winograd.plan import WIDEST

G = Convolution("", (1, 1, 8, 8), (4, 1, 3, 3)).g


def operands(kernel, dtype) -> tuple:
    """Of the types with which a pass calls this kernel, after the tile."""
    a, table, item = np.empty(1, dtype), np.empty(1, np.int64), Item(*[0] * len(Item._fields))
    ahead = Ahead(a, 0, 0, 0), Ahead(a, 0, 0, 0)
    if kernel is forward.multiply:
        return Record(plans(G, forward_phases(G), Limits())[0]), item, 0, (a, (ahead[0], 0, RowsAhead(a, 0, 0, 0, 0, 0))), Panels(a, 0, 0, 0), a, a
    if kernel is winograd.multiply.kernel:
        return Record(winograd.Forward(G, dtype).plan), a, a, a, (0, 0), (0, 0), ahead
    if kernel is winograd_weight_grad.multiply.kernel:
        return Record(winograd_weight_grad.weight_plan(G, False)[0]), (a, a), 0, (0, 0), (a, 0), ahead
    if kernel is weight_grad.multiply:
        return Record(weight_plan(G, dtype, False)[0]), item, (0, 1), ((a, table), (a, table), a), (np.empty(1), a, 0, True), ahead
    return Record(col2im.col2im_plan(G, dtype)[0]), a, np.empty((1, 2), np.int64), a, a, 0


def innermost_loops(asm: str) -> list[str]:
    """The blocks of an x86 assembly that end in a jump to their own start and multiply vectors."""
    labels = re.split(r"^(\.L\w+):", asm, flags=re.MULTILINE)
    found = []
    for label, block in zip(labels[1::2], labels[2::2]):
        jumps = list(re.finditer(rf"^\s+j\w+\s+{re.escape(label)}$", block, re.MULTILINE))
        loop = block[: jumps[-1].start()] if jumps else ""
        if multiplications(loop):
            found.append(loop)
    return found


def multiplications(loop: str) -> int:
    """Of whole vectors; where there is no FMA, each is a `mulps` and an `addps`."""
    return len(re.findall(r"^\s+(?:vfn?madd\w*|v?mul)p[sd]\s", loop, re.MULTILINE))


@pytest.mark.slow
@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="reads the assembly of x86")
@pytest.mark.parametrize("dtype", [np.dtype(dtype) for dtype in DTYPES], ids=str)
@pytest.mark.skipif(registers().feature in ("avx", "sse"), reason="without FMA a product takes a register more, which is spilled")
@pytest.mark.parametrize("shape", [*((MR, 0) for MR in HEIGHTS), *narrow_weight_grad.TILES], ids=str)
def test_sums_of_narrow_layers_stay_in_registers(shape, dtype):
    """Those of three and of two taps, two channels of which LLVM may take at once; of a weight gradient's tile, PIXELS pixels at a time."""
    a, item, (R, K), LANES = np.empty(1, dtype), Band(*[0] * len(Band._fields)), shape, registers().bytes // dtype.itemsize
    g = Convolution("", (1, 1, 8, 16), (4, 1, 3, 3)).g
    if K == 0:
        kernel, tile, wanted = narrow.correlate_row, Tile(R, 1, LANES, dtype), ({3 * R, 6 * R}, {2 * R, 4 * R})
        given = Record(forward_plan(g, dtype)[0]), item, 0, (a, a), a, a
    else:
        kernel, tile, wanted = narrow_weight_grad.add_band, Taps(R, K, LANES, dtype), ({R * K * narrow_weight_grad.PIXELS},)
        given = Record(narrow_weight_grad.weight_plan(g, dtype, True)[0]), 0, a, a, np.empty(1), 0
    compiled = njit(**FLAGS)(kernel.py_func)
    compiled.compile(tuple(map(numba.typeof, (tile, *given))))
    found = innermost_loops(compiled.inspect_asm(compiled.signatures[0]))
    for counts in wanted:
        (loop,) = (loop for loop in found if multiplications(loop) in counts)
        assert re.findall(r".*%[xyz]mm\d+, *[-\w]*\(.*|.*\(%rsp.*%[xyz]mm.*", loop) == []


@pytest.mark.slow
@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="reads the assembly of x86")
@pytest.mark.parametrize("dtype", [np.dtype(dtype) for dtype in DTYPES], ids=str)
@pytest.mark.parametrize("number", range(max(map(len, MENU.values()))))
@pytest.mark.parametrize(
    ("kernel", "loops"),
    [
        (forward.multiply, 1),
        (weight_grad.multiply, 2),
        (col2im.multiply, 1),
        (winograd.multiply.kernel, 1),
        (winograd_weight_grad.multiply.kernel, 1),
    ],
    ids=["forward", "weight_grad", "col2im", "winograd", "winograd weight_grad"],
)
def test_sums_stay_in_registers(kernel, loops, number, dtype):
    """On any CPU: an iteration of an innermost loop has one FMA for each register of the tile, or several times as many where LLVM unrolls it,
    stores nothing, and reads no vector from the stack.

    Addresses of rows may be there: general registers are fewer than the rows of some tiles.
    """
    if number >= len(menu(dtype)):
        pytest.skip("fewer tiles here")
    if "winograd" in kernel.py_func.__module__ and dtype != np.float32:
        pytest.skip("float32 only")
    tile, _ = menu(dtype)[number]
    if "winograd" in kernel.py_func.__module__ and tile.NV > WIDEST:
        pytest.skip("not used there")
    compiled = njit(**FLAGS)(kernel.py_func)  # compiled here: of a kernel from the cache there is no assembly
    compiled.compile(tuple(map(numba.typeof, (tile, *operands(kernel, dtype)))))
    found = innermost_loops(compiled.inspect_asm(compiled.signatures[0]))
    assert len(found) >= loops
    for loop in found:
        assert multiplications(loop) % (tile.MR * tile.NV) == 0
        assert re.findall(r".*%[xyz]mm\d+, *[-\w]*\(.*|.*\(%rsp.*%[xyz]mm.*", loop) == []
