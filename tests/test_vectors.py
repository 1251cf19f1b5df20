"""Every word of the vector vocabulary against its NumPy equivalent, and what LLVM makes of the innermost loop.

Buffers hold NaN where nothing may be read, and all of a result is compared, also where nothing may be written. Words are compiled with the
flags of `serial`, but not cached: a cached kernel is renewed when a kernel file changes, not when a test does.
"""

import platform
import re

import numba
import numpy as np
import pytest
from fastconv.kernels.host import MENU, menu, registers
from fastconv.kernels.vectors import (
    Tile,
    add,
    add_row,
    add_rows_wide,
    add_to_row,
    add_wide,
    at_least,
    fma,
    fma_columns,
    fma_rows,
    fma_run,
    load_rows,
    move_row,
    places,
    shift_out,
    store_rows,
    transpose,
    zeros,
)
from geometries import DTYPES, integers
from numba import njit

from fastconv.kernels import tiled_convolution, tiled_fold, tiled_weight_grad
from fastconv.kernels.compile.flags import FLAGS

GUARD = 40  # elements on each side of a buffer
SHAPES = ((1, 1), (5, 2))  # MR, NV
LANES = {dtype: registers().bytes // dtype().itemsize for dtype in DTYPES}  # of this CPU: no kernel has others; `.ci/run` tests narrower ones, too
TILES = [Tile(*shape, LANES[dtype], np.dtype(dtype)) for dtype in DTYPES for shape in SHAPES]
every_tile = pytest.mark.parametrize("tile", TILES, ids=repr)


@njit(**FLAGS)
def add_and_store(tile, x, reads, k, w, b, from_b, y, writes, to, first, last, channels):
    """y's rows = x's numbers times w's row + b, words for some channels each with its own number of them."""
    sums = fma(tile, zeros(tile), x, places(tile, reads, first, last), k, w, 0)
    sums = add_row(tile, sums, b, from_b, channels[0])
    store_rows(tile, sums, y, places(tile, writes, first, last), to, channels[1])


@njit(**FLAGS)
def products(tile, x, reads, first, last, k, terms, w, at, y, writes):
    """y's rows = x's numbers from k on times w's rows: the even terms, then the odd ones."""
    even, odd = zeros(tile), zeros(tile)
    for i in range(0, terms, 2):
        even = fma(tile, even, x, places(tile, reads, first, last), k + i, w, at + i * tile.NR)
    for i in range(1, terms, 2):
        odd = fma(tile, odd, x, places(tile, reads, first, last), k + i, w, at + i * tile.NR)
    store_rows(tile, add(tile, even, odd), y, places(tile, writes, first, last), 0, tile.NR)


@njit(**FLAGS)
def transposed(tile, x, reads, at, channels, y, writes, first, last):
    """y's rows = the columns of x's rows."""
    block = load_rows(tile, x, places(tile, reads, first, last), at, channels)
    store_rows(tile, transpose(tile, block), y, places(tile, writes, 0, len(writes) - 1), 0, tile.LANES)


@njit(**FLAGS)
def clamped(tile, x, numbers, w, least, y):
    """y's rows = x's numbers times w, not below least."""
    where = places(tile, numbers, 0, len(numbers) - 1)
    sums = at_least(tile, fma(tile, zeros(tile), x, where, 0, w, 0), least)
    store_rows(tile, sums, y, places(tile, numbers * len(w), 0, len(numbers) - 1), 0, len(w))


@njit(**FLAGS)
def added(tile, x, at, channels, y, to):
    add_to_row(tile, x, at, channels, y, to)


@njit(**FLAGS)
def moved(tile, x, at, channels, y, to):
    move_row(tile, x, at, channels, y, to)


@njit(**FLAGS)
def add_runs(tile, x, k, terms, w, at, totals, to, fresh):
    """totals += MR neighbours of x from k on times a row of w, then those from k + 1 on times the next row, ..."""
    sums = zeros(tile)
    for i in range(terms):
        sums = fma_run(tile, sums, x, k + i, w, at + i * tile.NR)
    add_wide(tile, sums, totals, to, fresh)


@njit(**FLAGS)
def add_lane_products(tile, x, reads, first, last, k, terms, w, at, totals, writes, to):
    """totals' rows += x's rows times w's, term by term; rows of x from k on, from k + NR on, ..."""
    sums = zeros(tile)
    for i in range(terms):
        sums = fma_rows(tile, sums, x, places(tile, reads, first, last), k + i * tile.NR, w, at + i * tile.NR)
    add_rows_wide(tile, sums, totals, places(tile, writes, first, last), to)


@njit(**FLAGS)
def slide(tile, window, x, reads, at, columns, w, weights, b, y, to):
    """y = what leaves sums that begin as b's row, as a window of MR x MR weights passes the columns"""
    MR, NR = tile.MR, tile.NR
    rows, start = places(tile, reads, 0, MR - 1), add_row(tile, zeros(tile), b, 0, NR)
    weight, sums = load_rows(window, w, places(window, weights, 0, MR * MR - 1), 0, NR), start
    for column in range(columns):
        sums = shift_out(tile, fma_columns(tile, sums, x, rows, at + column * NR, weight), start, y, to + column * NR)


class Rows:
    """MR rows of NR numbers and a gap, scattered in a buffer between guards; a table says where."""

    def __init__(self, tile, first: int, last: int, rng, fill=np.nan):
        gap = int(rng.integers(1, 5))
        scattered = rng.permutation(tile.MR + 1) * (tile.NR + gap)
        self.buffer = np.full(GUARD + (tile.MR + 1) * (tile.NR + gap) + GUARD, fill, tile.dtype)
        self.numbers = self.buffer[GUARD:-GUARD]
        table = np.full(GUARD + first + tile.MR + GUARD, scattered[-1])  # where no place may be taken, one that would show
        table[GUARD + first : GUARD + last + 1] = scattered[: last + 1 - first]
        self.table = table[GUARD:-GUARD]
        self.where = self.table[np.minimum(first + np.arange(tile.MR), last)]

    def draw(self, rng, at: int, channels: int) -> np.ndarray:
        """Numbers in the first channels of each row; returns (MR, channels)."""
        for place in np.unique(self.where):
            self.numbers[place + at : place + at + channels] = integers(rng, (channels,), self.buffer.dtype)
        return self.numbers[self.where[:, None] + at + np.arange(channels)]


def row(tile, rng, at: int, count: int) -> np.ndarray:
    """Numbers at at : at + count, NaN around them."""
    buffer = np.full(GUARD + at + count + GUARD, np.nan, tile.dtype)
    buffer[GUARD + at : GUARD + at + count] = integers(rng, (count,), tile.dtype)
    return buffer[GUARD:-GUARD]


def stored(tile, first: int, last: int, **channels) -> None:
    """`add_and_store` is y[...] = x[...] * w + b where each word has its channels; all of y is compared."""
    rng = np.random.default_rng(0)
    limits = np.array([channels.get(word, tile.NR) for word in ("add_row", "store_rows")])
    biased, written = np.minimum(limits, tile.NR)
    x, y = Rows(tile, first, last, rng), Rows(tile, first, last, rng, fill=777)
    w, b = integers(rng, (tile.NR,), tile.dtype), row(tile, rng, 3, biased)
    sums = x.draw(rng, 1, 1) * w
    sums[:, :biased] += b[3 : 3 + biased]
    expected = y.buffer.copy()
    expected[GUARD:-GUARD][y.where[:, None] + np.arange(written)] = sums[:, :written]
    add_and_store(tile, x.numbers, x.table, 1, w, b, 3, y.numbers, y.table, 0, first, last, limits)
    np.testing.assert_array_equal(y.buffer, expected, err_msg=f"first {first}, last {last}, {channels}")


@every_tile
@pytest.mark.parametrize("word", ["add_row", "store_rows"])
def test_words_for_some_channels(tile, word):
    """Channels behind the last are neither read (there is NaN) nor written, however many vectors they fill; more than NR are NR."""
    for channels in (*range(tile.NR + 2), 10 * tile.NR):
        stored(tile, 0, tile.MR - 1, **{word: channels})


@every_tile
@pytest.mark.parametrize(("word", "before"), [(moved, 0), (added, 777)])
def test_words_for_a_row(tile, word, before):
    """Behind the last channel `move_row` reads nothing and writes 0, up to NR; `add_to_row` neither reads nor writes."""
    rng = np.random.default_rng(0)
    for channels in (-3, *range(tile.NR + 2), 10 * tile.NR):
        real = min(max(channels, 0), tile.NR)
        x, y = row(tile, rng, 3, real), np.full(GUARD + tile.NR + GUARD, 777, tile.dtype)
        expected = y.copy()
        expected[GUARD + real : -GUARD] = before
        expected[GUARD : GUARD + real] = x[3 : 3 + real] + before
        expected[-GUARD:] = 777
        word(tile, x, 3, channels, y, GUARD)
        np.testing.assert_array_equal(y, expected, err_msg=f"{channels} channels")


@every_tile
@pytest.mark.parametrize("least", [0, -np.inf, 2])
def test_at_least(tile, least):
    """NaN stays, as in a ReLU, and -0 becomes 0."""
    w = np.resize(np.array([1, -1, np.nan, np.inf, -np.inf, 0, 3, -5], tile.dtype), tile.NR)
    x, y = np.ones(tile.MR, tile.dtype), np.empty((tile.MR, tile.NR), tile.dtype)
    clamped(tile, x, np.arange(tile.MR), w, tile.dtype.type(least), y.ravel())
    np.testing.assert_array_equal(y, np.tile(np.where(w <= least, tile.dtype.type(least), w), (tile.MR, 1)))


@pytest.mark.parametrize("tile", [Tile(lanes, 1, lanes, np.dtype(dtype)) for dtype, lanes in LANES.items()], ids=repr)
def test_load_rows_and_transpose(tile):
    """What lies behind the last channel is not read; where the tile is ragged the last pixel is read again."""
    rng = np.random.default_rng(0)
    for pixels in (1, tile.MR - 1, tile.MR):
        for channels in range(tile.NR + 2):
            real = min(channels, tile.NR)
            x, y = Rows(tile, 2, 1 + pixels, rng), np.full((GUARD + tile.MR + GUARD, tile.NR), 777, tile.dtype)
            expected = y.copy()
            expected[GUARD:-GUARD] = 0
            expected[GUARD : GUARD + real] = x.draw(rng, 1, real).T
            writes = (GUARD + np.arange(tile.MR)) * tile.NR
            transposed(tile, x.numbers, x.table, 1, channels, y.ravel(), writes, 2, 1 + pixels)
            np.testing.assert_array_equal(y, expected, err_msg=f"{pixels} pixels, {channels} channels")


@every_tile
def test_places_where_a_tile_is_ragged(tile):
    """Behind the last pixel the last again: neither its neighbours in the table nor theirs in memory are touched."""
    for first in (0, 3):
        for pixels in range(1, tile.MR + 1):
            stored(tile, first, first + pixels - 1, store_rows=tile.NR - 1)


@every_tile
@pytest.mark.parametrize("terms", [0, 1, 6])
def test_zeros_fma_and_add(tile, terms):
    rng = np.random.default_rng(0)
    for pixels in range(1, tile.MR + 1):
        first, last, k, at = 2, 1 + pixels, 1, 5
        x, y = Rows(Tile(tile.MR, 2, 4, tile.dtype), first, last, rng), Rows(tile, first, last, rng, fill=777)
        w = row(tile, rng, at, terms * tile.NR)
        sums = x.draw(rng, k, terms) @ w[at : at + terms * tile.NR].reshape(terms, tile.NR)
        expected = y.buffer.copy()
        expected[GUARD:-GUARD][y.where[:, None] + np.arange(tile.NR)] = sums
        products(tile, x.numbers, x.table, first, last, k, terms, w, at, y.numbers, y.table)
        np.testing.assert_array_equal(y.buffer, expected, err_msg=f"{pixels} pixels")


@every_tile
@pytest.mark.parametrize("fresh", [0, 1])
def test_fma_run_and_add_wide(tile, fresh):
    """Totals are float64, added to unless fresh: then NaN does not stay."""
    rng = np.random.default_rng(0)
    k, at, terms = 3, 5, 6
    x, w = row(tile, rng, k, tile.MR + terms - 1), row(tile, rng, at, terms * tile.NR)
    totals = np.full(GUARD + tile.MR * tile.NR + GUARD, np.nan if fresh else 777.0)
    expected = totals.copy()
    neighbours = np.lib.stride_tricks.sliding_window_view(x[k : k + tile.MR + terms - 1], tile.MR)
    sums = neighbours.T @ w[at : at + terms * tile.NR].reshape(terms, tile.NR)
    expected[GUARD:-GUARD] = sums.ravel() + (0 if fresh else 777)
    add_runs(tile, x, k, terms, w, at, totals, GUARD, fresh)
    np.testing.assert_array_equal(totals, expected)


@every_tile
@pytest.mark.parametrize("terms", [1, 3])
def test_fma_rows_and_add_rows_wide(tile, terms):
    """Each lane meets its own; totals are float64, elsewhere nothing is read or written."""
    rng = np.random.default_rng(0)
    first, last, k, at, to = 2, 1 + tile.MR, 1, 5, 3
    x = Rows(Tile(tile.MR, terms * tile.NV, tile.LANES, tile.dtype), first, last, rng)
    w = row(tile, rng, at, terms * tile.NR)
    products = x.draw(rng, k, terms * tile.NR) * w[at : at + terms * tile.NR]
    places_of_rows = rng.permutation(tile.MR) * (tile.NR + 2)
    writes = np.zeros(first + tile.MR, np.int64)
    writes[first:] = places_of_rows + GUARD
    totals = np.full(GUARD + tile.MR * (tile.NR + 2) + GUARD, 777.0)
    expected = totals.copy()
    expected[GUARD + places_of_rows[:, None] + to + np.arange(tile.NR)] += products.reshape(tile.MR, terms, tile.NR).sum(axis=1)
    add_lane_products(tile, x.numbers, x.table, first, last, k, terms, w, at, totals, writes, to)
    np.testing.assert_array_equal(totals, expected)


@every_tile
def test_fma_columns_and_shift_out(tile):
    """A window of MR columns over MR rows of cells: what leaves first has met few columns, then each all that its window holds."""
    rng = np.random.default_rng(0)
    MR, NR, columns, at, to = tile.MR, tile.NR, tile.MR + 3, 3, 2
    window = Tile(MR * MR, tile.NV, tile.LANES, tile.dtype)
    x = Rows(Tile(MR, columns * tile.NV, tile.LANES, tile.dtype), 0, MR - 1, rng)
    w, b = Rows(window, 0, MR * MR - 1, rng), row(tile, rng, 0, NR)
    cells, weights = x.draw(rng, at, columns * NR).reshape(MR, columns, NR), w.draw(rng, 0, NR).reshape(MR, MR, NR)
    y = np.full(GUARD + to + columns * NR + GUARD, 777, tile.dtype)
    expected = y.copy()
    for column in range(columns):  # the sum that leaves now entered MR - 1 columns ago, the first ones later
        leaves = b[:NR].copy()
        for j in range(max(0, column - MR + 1), column + 1):
            leaves += (cells[:, j] * weights[:, j - column + MR - 1]).sum(axis=0)
        expected[GUARD + to + column * NR :][:NR] = leaves
    slide(tile, window, x.numbers, x.table, at, columns, w.numbers, w.table, b, y[GUARD:-GUARD], to)
    np.testing.assert_array_equal(y, expected)


def test_tiles_are_types():
    """One compilation for each tile, not for each object; and none shared by two tiles."""
    tile, equal = Tile(3, 2, 4, np.dtype(np.float32)), Tile(3, 2, 4, np.dtype("f4"))
    assert tile == equal
    assert numba.typeof(tile) == numba.typeof(equal)
    assert len({numba.typeof(tile) for tile in TILES}) == len(TILES)


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


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="reads the assembly of x86")
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("number", range(max(map(len, MENU.values()))))
@pytest.mark.parametrize(
    ("kernel", "loops"),
    [(tiled_convolution.multiply, 1), (tiled_weight_grad.add_products, 2), (tiled_fold.multiply, 1)],
    ids=["sums", "grads", "fold"],
)
def test_sums_stay_in_registers(kernel, loops, number, dtype):
    """On any CPU: an iteration of an innermost loop has one FMA for each register of the tile, or several times as many where LLVM unrolls it,
    stores nothing, and reads no vector from the stack.

    Pixels' places may be there: general registers are fewer than pixels (11x2 reloads some).
    """
    if number >= len(menu(np.dtype(dtype))):
        pytest.skip("fewer tiles here")
    tile, _ = menu(np.dtype(dtype))[number]
    compiled = njit(**FLAGS)(kernel.__wrapped__)  # compiled here: of a kernel from the cache there is no assembly
    compiled.compile((numba.typeof(tile), *kernel.arguments(numba.from_dtype(tile.dtype), numba.intp)))
    found = innermost_loops(compiled.inspect_asm(compiled.signatures[0]))
    assert len(found) >= loops
    for loop in found:
        assert multiplications(loop) % (tile.MR * tile.NV) == 0
        assert re.findall(r".*%[xyz]mm\d+, *[-\w]*\(.*|.*\(%rsp.*%[xyz]mm.*", loop) == []
