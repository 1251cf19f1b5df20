"""Nothing that a caller can pass makes a kernel touch memory that is not its own.

Every array ends directly before a forbidden page, or starts directly behind one. A kernel that reads or writes there kills its process, so
the geometries run in another one: this file as a script, which says what it will run before it does.
"""

import ctypes
import math
import mmap
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from geometries import CONVOLUTIONS, DTYPES, Convolution, integers
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from strategies import convolutions

import fastconv as fc
from fastconv import memory
from fastconv.kernels import depthwise, depthwise_plan, depthwise_weight_grad, policy, table, tiled_convolution, tiled_plan, tiled_weight_grad

RANDOM = int(os.environ.get("FASTCONV_GEOMETRIES", "60"))  # how many; thousands where kernels or tables are new
CUTS = ((tiled_plan.BOX, tiled_plan.PIXELS), (600, 12))  # bytes of a box, pixels of an item: a small image is one item, or many
posix = pytest.mark.skipif(os.name != "posix", reason="mprotect is POSIX's")
edges = pytest.mark.parametrize("edge", ["end", "start"])


class Fence:
    """Gives arrays whose end, or start, is the edge of a forbidden page."""

    def __init__(self, edge: str):
        self.edge, self.system = edge, ctypes.CDLL(None, use_errno=True)

    def empty(self, shape: tuple[int, ...], dtype) -> np.ndarray:
        """In the place of `memory.empty`; floats are NaN, so that what nobody has written shows."""
        dtype = np.dtype(dtype)
        size, page = math.prod(shape) * dtype.itemsize, mmap.PAGESIZE
        end = page + -(-size // page) * page
        pages = mmap.mmap(-1, end + page)
        address = np.frombuffer(pages, np.uint8).ctypes.data
        for forbidden in (address, address + end):
            if self.system.mprotect(ctypes.c_void_p(forbidden), ctypes.c_size_t(page), 0):  # PROT_NONE
                raise OSError(ctypes.get_errno(), "mprotect")
        array = np.ndarray(shape, dtype, pages, end - size if self.edge == "end" else page)
        if dtype.kind == "f":
            array.fill(np.nan)
        return array

    def copy(self, a: np.ndarray) -> np.ndarray:
        copy = self.empty(a.shape, a.dtype)
        copy[...] = a
        return copy

    def run(self, kernel, args) -> None:
        """The kernel on copies of its arrays: inputs, outputs, tables and scratch."""
        copies = [self.copy(a) if isinstance(a, np.ndarray) else a for a in args]
        kernel(*copies)
        for original, copy in zip(args, copies):
            if isinstance(original, np.ndarray):
                original[...] = copy

    def surround(self) -> None:
        """All that kernels get, from now on. One share of the work: of scratch for several, only one's end and one's start would be an edge."""
        memory.empty = self.empty
        for kernels in (tiled_convolution, tiled_weight_grad, depthwise, depthwise_weight_grad):
            kernels.shares = lambda items: 1
        launch, pack_panels = policy.team.launch, tiled_convolution.pack_panels
        policy.team.launch = lambda threaded, twin, work, args: self.run(lambda *copies: launch(threaded, twin, work, copies), args)
        tiled_convolution.pack_panels = lambda *args: self.run(pack_panels, args)

    def check(self, case: Convolution, dtype, seed: int, cut: tuple[int, int]) -> None:
        """Every algorithm writes all of its result, and equals the textbook."""
        tiled_plan.BOX, tiled_plan.PIXELS = cut
        depthwise_plan.OUTPUTS = 64 * cut[1]
        for tables in (*vars(tiled_plan).values(), *vars(depthwise_plan).values()):
            if hasattr(tables, "cache_clear"):
                tables.cache_clear()
        x, w, b, dy = (self.copy(a) for a in case.draw(integers, dtype, seed))
        x, dy = (np.moveaxis(self.copy(np.moveaxis(a, 1, -1)), -1, 1) for a in (x, dy))  # as kernels want them: no copy
        passes = {
            "conv_forward": lambda: case.forward(x, w, b),
            "conv_input_grad": lambda: case.input_grad(dy, w),
            "conv_weight_grad": lambda: case.weight_grad(x, dy),
            "bias_grad": lambda: case.weight_grad(x, dy, return_bias_grad=True)[1],
        }
        for operation, run in passes.items():
            with fc.algorithm("reference"):
                expected = run()
            assert not np.isnan(expected).any()
            for row in table.OPERATIONS[operation]:
                print(operation, row.name, np.dtype(dtype), cut, case, flush=True)
                with fc.algorithm(row.name):
                    np.testing.assert_array_equal(run(), expected, strict=True)


def script(*words: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(Path(fc.__file__).parents[1]), "NUMBA_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-X", "faulthandler", __file__, *words], env=environment, capture_output=True, text=True)


@posix
@edges
def test_kernels_stay_in_their_memory(edge):
    """Also: no result keeps a cell that nobody wrote, and none depends on memory that nobody wrote."""
    done = script(edge)
    assert done.returncode == 0, f"died or failed at: {done.stdout.splitlines()[-1:]}\n{done.stderr[-3000:]}"


@posix
@edges
def test_a_touch_is_noticed(edge):
    """The law of the test above: one byte outside kills."""
    done = script(edge, "touch")
    assert (done.returncode < 0, done.stdout) == (True, "inside\n")


if __name__ == "__main__":
    fence = Fence(sys.argv[1])
    if sys.argv[2:] == ["touch"]:
        array = fence.empty((5, 3), np.float32)
        array += array
        print("inside", flush=True)
        ctypes.string_at(array.ctypes.data + (array.nbytes if fence.edge == "end" else -1), 1)
    fence.surround()
    for dtype, case, cut in product(DTYPES, CONVOLUTIONS, CUTS):
        fence.check(case, dtype, 0, cut)

    @settings(max_examples=RANDOM, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(convolutions(), st.sampled_from((1, 5)), st.integers(0, 2**32 - 1), st.sampled_from(CUTS))
    def random(case, wider, seed, cut):
        fence.check(case._replace(w=(wider * case.w[0], *case.w[1:])), np.float32, seed, cut)

    random()
