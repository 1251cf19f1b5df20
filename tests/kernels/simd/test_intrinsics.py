"""Every intrinsic against what its docstring says in NumPy.

Buffers hold NaN where nothing may be read, and all of a result is compared, also where nothing may be written. They are compiled
with the flags of `serial`, but not cached: a cached kernel is renewed when a kernel file changes, not when a test does.
"""

import numba
import numpy as np
import pytest
from geometries import DTYPES, integers
from numba import njit

from fastconv.kernels.compile.flags import FLAGS
from fastconv.kernels.simd.arithmetic import add, add_row, clamp, fma_contiguous, fma_gathered, fma_scaled, full, transpose, zeros
from fastconv.kernels.simd.host import registers
from fastconv.kernels.simd.memory import add_to_row, add_to_totals, load_rows, move_row, offsets, offsets_apart, store_rows
from fastconv.kernels.simd.tile import Tile, one_row, square

GUARD = 40  # elements on each side of a buffer
SHAPES = ((1, 1), (5, 2))  # MR, NV
LANES = {dtype: registers().bytes // dtype().itemsize for dtype in DTYPES}  # of this CPU: no kernel has others; `.ci/run` tests narrower ones, too
TILES = [Tile(*shape, LANES[dtype], np.dtype(dtype)) for dtype in DTYPES for shape in SHAPES]
every_tile = pytest.mark.parametrize("tile", TILES, ids=repr)


@njit(**FLAGS)
def add_and_store(tile, x, reads, k, w, b, from_b, y, writes, to, first, last, channels):
    """y's rows = x's numbers times w's row + b; `add_row` and `store_rows` have each their own number of channels."""
    sums = fma_gathered(tile, zeros(tile), x, offsets(tile, reads, first, last), k, w, 0)
    sums = add_row(tile, sums, b, from_b, channels[0])
    store_rows(tile, sums, y, offsets(tile, writes, first, last), to, channels[1])


@njit(**FLAGS)
def products(tile, x, reads, first, last, k, terms, w, at, y, writes):
    """y's rows = x's numbers from k on times w's rows: the even terms, then the odd ones."""
    even, odd = zeros(tile), zeros(tile)
    for i in range(0, terms, 2):
        even = fma_gathered(tile, even, x, offsets(tile, reads, first, last), k + i, w, at + i * tile.NR)
    for i in range(1, terms, 2):
        odd = fma_gathered(tile, odd, x, offsets(tile, reads, first, last), k + i, w, at + i * tile.NR)
    store_rows(tile, add(tile, even, odd), y, offsets(tile, writes, first, last), 0, tile.NR)


@njit(**FLAGS)
def transposed(tile, x, reads, at, channels, y, writes, first, last):
    """y's rows = the columns of x's rows."""
    block = load_rows(tile, x, offsets(tile, reads, first, last), at, channels)
    store_rows(tile, transpose(tile, block), y, offsets(tile, writes, 0, len(writes) - 1), 0, tile.LANES)


@njit(**FLAGS)
def clamped(tile, w, bound, y):
    """y's rows = w, not below bound."""
    rows = clamp(tile, load_rows(tile, w, offsets_apart(tile, 0, tile.MR), 0, tile.NR), bound)
    store_rows(tile, rows, y, offsets_apart(tile, tile.NR, tile.MR), 0, tile.NR)


@njit(**FLAGS)
def filled_and_scaled(tile, value, weight, w, y):
    """y's rows = value + weight * w."""
    rows = fma_scaled(tile, full(tile, value), weight, load_rows(tile, w, offsets_apart(tile, 0, tile.MR), 0, tile.NR))
    store_rows(tile, rows, y, offsets_apart(tile, tile.NR, tile.MR), 0, tile.NR)


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
        sums = fma_contiguous(tile, sums, x, k + i, w, at + i * tile.NR)
    add_to_totals(tile, sums, totals, to, fresh)


@njit(**FLAGS)
def move_rows(tile, x, step, count, y):
    """y's rows = count of x's rows, step apart, and the last one again."""
    store_rows(tile, load_rows(tile, x, offsets_apart(tile, step, count), 0, tile.NR), y, offsets_apart(tile, tile.NR, tile.MR), 0, tile.NR)


@njit(**FLAGS)
def related(tile):
    one, block = one_row(tile), square(tile)
    return (tile.MR, tile.NR, tile.LANES), (one.MR, one.NR, one.LANES), (block.MR, block.NR, block.LANES)


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
    """`add_and_store` is y[...] = x[...] * w + b where each intrinsic has its channels; all of y is compared."""
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
def test_some_channels(tile, word):
    """Channels behind the last are neither read (there is NaN) nor written, however many vectors they fill; more than NR are NR."""
    for channels in (*range(tile.NR + 2), 10 * tile.NR):
        stored(tile, 0, tile.MR - 1, **{word: channels})


@every_tile
@pytest.mark.parametrize(("word", "before"), [(moved, 0), (added, 777)])
def test_a_row_of_some_channels(tile, word, before):
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
@pytest.mark.parametrize("bound", [0, -np.inf, 2])
def test_clamp(tile, bound):
    """NaN stays, as in a ReLU, and -0 becomes 0."""
    w = np.resize(np.array([1, -1, np.nan, np.inf, -np.inf, -0.0 if bound == 0 else 4, 3, -5], tile.dtype), tile.NR)
    y = np.empty((tile.MR, tile.NR), tile.dtype)
    clamped(tile, w, float(bound), y.ravel())
    np.testing.assert_array_equal(y, np.tile(np.where(w <= bound, tile.dtype.type(bound), w), (tile.MR, 1)))
    assert not np.signbit(y[y == 0]).any()


@every_tile
def test_full_and_fma_scaled(tile):
    w = np.resize(np.array([1, -1, np.nan, np.inf, 0, 4, 3, -5], tile.dtype), tile.NR)
    y = np.empty((tile.MR, tile.NR), tile.dtype)
    filled_and_scaled(tile, 2.5, tile.dtype.type(-3), w, y.ravel())
    np.testing.assert_array_equal(y, np.tile(tile.dtype.type(2.5) + tile.dtype.type(-3) * w, (tile.MR, 1)))


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
def test_offsets_where_a_tile_is_ragged(tile):
    """Behind the last pixel the last again: neither its neighbours in the table nor theirs in memory are touched."""
    for first in (0, 3):
        for pixels in range(1, tile.MR + 1):
            stored(tile, first, first + pixels - 1, store_rows=tile.NR - 1)


@every_tile
@pytest.mark.parametrize("step", [0, 3, 50])
def test_offsets_apart(tile, step):
    """Behind the last of the rows, where NaN is, it is read again."""
    rng = np.random.default_rng(0)
    for count in (*range(1, tile.MR + 1), 10 * tile.MR):
        starts = np.minimum(np.arange(tile.MR), count - 1) * step
        x, y = row(tile, rng, 0, starts[-1] + tile.NR), np.empty((tile.MR, tile.NR), tile.dtype)
        move_rows(tile, x, step, count, y.ravel())
        np.testing.assert_array_equal(y, x[starts[:, None] + np.arange(tile.NR)])


@every_tile
def test_related_tiles(tile):
    """One row of the same vectors, and the square that `transpose` takes."""
    assert related(tile) == ((tile.MR, tile.NR, tile.LANES), (1, tile.NR, tile.LANES), (tile.LANES,) * 3)


@every_tile
@pytest.mark.parametrize("terms", [0, 1, 6])
def test_zeros_fma_gathered_and_add(tile, terms):
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
def test_fma_contiguous_and_add_to_totals(tile, fresh):
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


def test_tiles_are_types():
    """One compilation for each tile, not for each object; and none shared by two tiles."""
    tile, equal = Tile(3, 2, 4, np.dtype(np.float32)), Tile(3, 2, 4, np.dtype("f4"))
    assert numba.typeof(tile) == numba.typeof(equal)
    assert len({numba.typeof(tile) for tile in TILES}) == len(TILES)
