"""Every word of the vector vocabulary against its NumPy equivalent, and what LLVM makes of the innermost loop.

Buffers hold NaN where nothing may be read, and all of a result is compared, also where nothing may be written. Words are compiled with the
flags of `serial`, but not cached: a cached kernel is renewed when a kernel file changes, not when a test does.
"""

import re

import numba
import numpy as np
import pytest
from geometries import DTYPES, integers
from numba import njit
from numba.core.registry import cpu_target

from fastconv.kernels import tiled_convolution
from fastconv.kernels.host import registers, tile_for
from fastconv.kernels.policy import FLAGS
from fastconv.kernels.vectors import (
    Tile,
    add_row,
    add_rows,
    add_rows_wide,
    add_wide,
    fma,
    fma_columns,
    fma_rows,
    fma_run,
    places,
    shift_out,
    store_rows,
    zeros,
)

GUARD = 40  # elements on each side of a buffer
SHAPES = ((1, 1), (5, 2), (3, 4))  # MR, NV
TILES = [Tile(*shape, bytes // dtype().itemsize, dtype) for dtype in DTYPES for bytes in (64, 32, 16) for shape in SHAPES]
every_tile = pytest.mark.parametrize("tile", TILES, ids=repr)


@njit(**FLAGS)
def add_and_store(tile, x, reads, from_x, b, from_b, y, writes, to, first, last, channels):
    """y's rows = x's rows + b, each word for its own number of channels."""
    sums = add_rows(tile, zeros(tile), x, places(tile, reads, first, last), from_x, channels[0])
    sums = add_row(tile, sums, b, from_b, channels[1])
    store_rows(tile, sums, y, places(tile, writes, first, last), to, channels[2])


@njit(**FLAGS)
def add_products(tile, NR, x, reads, first, last, k, terms, w, at, y, writes):
    """y's rows += x's numbers from k on times w's rows."""
    where = places(tile, writes, first, last)
    sums = add_rows(tile, zeros(tile), y, where, 0, NR)
    for i in range(terms):
        sums = fma(tile, sums, x, places(tile, reads, first, last), k + i, w, at + i * NR)
    store_rows(tile, sums, y, where, 0, NR)


@njit(**FLAGS)
def add_runs(tile, NR, x, k, terms, w, at, totals, to, fresh):
    """totals += MR neighbours of x from k on times a row of w, then those from k + 1 on times the next row, ..."""
    sums = zeros(tile)
    for i in range(terms):
        sums = fma_run(tile, sums, x, k + i, w, at + i * NR)
    add_wide(tile, sums, totals, to, fresh)


@njit(**FLAGS)
def add_lane_products(tile, NR, x, reads, first, last, k, terms, w, at, totals, writes, to):
    """totals' rows += x's rows times w's, term by term; rows of x from k on, from k + NR on, ..."""
    sums = zeros(tile)
    for i in range(terms):
        sums = fma_rows(tile, sums, x, places(tile, reads, first, last), k + i * NR, w, at + i * NR)
    add_rows_wide(tile, sums, totals, places(tile, writes, first, last), to)


@njit(**FLAGS)
def slide(tile, window, MR, NR, x, reads, at, columns, w, weights, b, y, to):
    """y = what leaves sums that begin as b's row, as a window of MR x MR weights passes the columns"""
    rows, start = places(tile, reads, 0, MR - 1), add_row(tile, zeros(tile), b, 0, NR)
    weight, sums = add_rows(window, zeros(window), w, places(window, weights, 0, MR * MR - 1), 0, NR), start
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
    """`add_and_store` is y[...] = x[...] + b where each word has its channels; all of y is compared."""
    rng = np.random.default_rng(0)
    added, biased, written = (min(channels.get(word, tile.NR), tile.NR) for word in ("add_rows", "add_row", "store_rows"))
    x, y = Rows(tile, first, last, rng), Rows(tile, first, last, rng, fill=777)
    sums = np.zeros((tile.MR, tile.NR), tile.dtype)
    sums[:, :added] += x.draw(rng, 1, added)
    b = row(tile, rng, 3, biased)
    sums[:, :biased] += b[3 : 3 + biased]
    expected = y.buffer.copy()
    expected[GUARD:-GUARD][y.where[:, None] + np.arange(written)] = sums[:, :written]
    limits = np.array([channels.get(word, tile.NR) for word in ("add_rows", "add_row", "store_rows")])
    add_and_store(tile, x.numbers, x.table, 1, b, 3, y.numbers, y.table, 0, first, last, limits)
    np.testing.assert_array_equal(y.buffer, expected, err_msg=f"first {first}, last {last}, {channels}")


@every_tile
@pytest.mark.parametrize("word", ["add_rows", "add_row", "store_rows"])
def test_words_for_some_channels(tile, word):
    """Channels behind the last are neither read (there is NaN) nor written, however many vectors they fill; more than NR are NR."""
    for channels in (*range(tile.NR + 2), 10 * tile.NR):
        stored(tile, 0, tile.MR - 1, **{word: channels})


@every_tile
def test_zeros(tile):
    stored(tile, 0, tile.MR - 1, add_rows=0, add_row=0)


@every_tile
def test_places_where_a_tile_is_ragged(tile):
    """Behind the last pixel the last again: neither its neighbours in the table nor theirs in memory are touched."""
    for first in (0, 3):
        for pixels in range(1, tile.MR + 1):
            stored(tile, first, first + pixels - 1, store_rows=tile.NR - 1)


@every_tile
@pytest.mark.parametrize("terms", [1, 6])
def test_fma(tile, terms):
    rng = np.random.default_rng(0)
    for pixels in range(1, tile.MR + 1):
        first, last, k, at = 2, 1 + pixels, 1, 5
        x, y = Rows(Tile(tile.MR, 2, 4, tile.dtype), first, last, rng), Rows(tile, first, last, rng, fill=777)
        w = row(tile, rng, at, terms * tile.NR)
        sums = y.draw(rng, 0, tile.NR) + x.draw(rng, k, terms) @ w[at : at + terms * tile.NR].reshape(terms, tile.NR)
        expected = y.buffer.copy()
        expected[GUARD:-GUARD][y.where[:, None] + np.arange(tile.NR)] = sums
        add_products(tile, tile.NR, x.numbers, x.table, first, last, k, terms, w, at, y.numbers, y.table)
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
    add_runs(tile, tile.NR, x, k, terms, w, at, totals, GUARD, fresh)
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
    add_lane_products(tile, tile.NR, x.numbers, x.table, first, last, k, terms, w, at, totals, writes, to)
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
    slide(tile, window, MR, NR, x.numbers, x.table, at, columns, w.numbers, w.table, b, y[GUARD:-GUARD], to)
    np.testing.assert_array_equal(y, expected)


def test_tiles_are_types():
    """One compilation for each tile, not for each object; and none shared by two tiles."""
    assert numba.typeof(Tile(3, 2, 4, np.float32)) == numba.typeof(Tile(3, 2, 4, "f4"))
    assert len({numba.typeof(tile) for tile in TILES}) == len(TILES)


@pytest.mark.skipif("+fma," not in cpu_target.target_context.codegen().magic_tuple()[2] + ",", reason="no FMA instructions of x86")
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("NV", [1, 2, 3])
def test_sums_stay_in_registers(NV, dtype):
    """An iteration has one FMA per register of the tile, each adds into its own, and no vector goes to the stack between them.

    Pixels' places may: there are fewer general registers than pixels (14x2 reloads 4 of them). For some CPUs LLVM unrolls the loop twice.
    """
    lanes = registers().bytes // dtype().itemsize
    tile = next(tile for tile in (tile_for(channels, np.dtype(dtype)) for channels in range(lanes, 99, lanes)) if tile.NV == NV)
    numbers, table = np.zeros(1, dtype), np.zeros(1, np.int64)
    kernel = njit(**FLAGS)(tiled_convolution.multiply.py_func)  # compiled here: of a kernel from the cache there is no assembly
    values = (tile, tile.MR, numbers, table, numbers.reshape(1, 1, 1), numbers, numbers, table, 1, 0, 1, table.reshape(-1, 1), table)
    kernel.compile(tuple(numba.typeof(value) for value in values))
    asm = kernel.inspect_asm(kernel.signatures[0])
    loops = [block for block in re.split(r"^\.L\w+:", asm, flags=re.MULTILINE) if "vfmadd" in block]
    vector = {64: "zmm", 32: "ymm", 16: "xmm"}[registers().bytes]
    assert loops
    for loop in loops:
        sums = re.findall(rf"vfmadd\w+p[sd]\s.*%({vector}\d+)$", loop, re.MULTILINE)
        assert len(set(sums)) == tile.MR * NV
        assert len(sums) % (tile.MR * NV) == 0
        assert not re.search(r"[xyz]mm\d+.*\(%rsp|\(%rsp.*[xyz]mm\d+|vmov\w+\s+%[xyz]mm\d+,.*\(", loop[loop.index("vfmadd") : loop.rindex("vfmadd")])
