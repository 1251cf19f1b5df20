"""The intrinsics of taps that slide along a row of pixels, against what their docstrings say in NumPy; NaN where nothing may be read."""

import numpy as np
import pytest
from geometries import DTYPES, integers
from numba import njit

from fastconv.kernels.compile.flags import FLAGS
from fastconv.kernels.simd.host import registers
from fastconv.kernels.simd.memory import load_rows, offsets, offsets_apart, store_rows
from fastconv.kernels.simd.sliding import Taps, fma_sliding, fma_taps, fma_taps_of_pixel, tap_rows
from fastconv.kernels.simd.tile import Tile

GUARD = 40
TILES = [Tile(MR, 1, registers().bytes // dtype().itemsize, np.dtype(dtype)) for dtype in DTYPES for MR in (1, 8)]
every_tile = pytest.mark.parametrize("tile", TILES, ids=repr)


def guarded(rng, count: int, dtype) -> np.ndarray:
    """Numbers with NaN around them."""
    buffer = np.full(GUARD + count + GUARD, np.nan, dtype)
    buffer[GUARD : GUARD + count] = integers(rng, (count,), dtype)
    return buffer


@njit(**FLAGS)
def three_and_two(tile, y, x, k, w, at):
    """y += three taps of x from k on, then two from k + 3 on"""
    rows = offsets_apart(tile, tile.NR, tile.MR)
    acc = fma_sliding(tile, 3, load_rows(tile, y, rows, 0, tile.NR), x, k, w, at)
    store_rows(tile, fma_sliding(tile, 2, acc, x, k + 3, w, at + 3 * tile.NR), y, rows, 0, tile.NR)


@every_tile
def test_fma_sliding(tile):
    rng = np.random.default_rng(0)
    x, w, y = guarded(rng, tile.MR + 4, tile.dtype), guarded(rng, 5 * tile.NR, tile.dtype), integers(rng, (tile.MR, tile.NR), tile.dtype)
    windows = np.lib.stride_tricks.sliding_window_view(x[GUARD:-GUARD], 5)
    expected = y + windows @ w[GUARD:-GUARD].reshape(5, tile.NR)
    three_and_two(tile, y.ravel(), x, GUARD, w, GUARD)
    np.testing.assert_array_equal(y, expected)


@njit(**FLAGS)
def four_pixels_and_one(taps, sums, x, rows, k, dy, places):
    """sums += the products of four pixels of dy, `step` apart, then of one more, with the first `channels` channels alone"""
    at, step, channels = places
    to, starts = offsets_apart(taps, taps.NR, taps.MR), offsets(tap_rows(taps), rows, 0, taps.R - 1)
    acc = fma_taps(taps, 4, load_rows(taps, sums, to, 0, taps.NR), starts, x, k, (dy, at, step))
    acc = fma_taps_of_pixel(taps, acc, starts, x, k + 4, dy, at + 4 * step, channels)
    store_rows(taps, acc, sums, to, 0, taps.NR)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize(("R", "K"), [(1, 1), (2, 5), (3, 3)])
@pytest.mark.parametrize("channels", [1, 3, 99])
def test_fma_taps(R, K, channels, dtype):
    """Pixels lie closer than NR, as those of few channels do; of the last one what is after its channels is not read."""
    rng, taps = np.random.default_rng(0), Taps(R, K, registers().bytes // dtype().itemsize, dtype)
    NR, step, row = taps.NR, 3, 5 + K - 1
    real = min(channels, NR)
    x, dy = guarded(rng, R * row, dtype), guarded(rng, 4 * step + NR, dtype)
    dy[GUARD + 4 * step + max(real, NR - step) :] = np.nan  # the fourth pixel is read whole
    sums, rows = integers(rng, (R * K, NR), dtype), np.arange(R)[::-1] * row
    expected = sums.copy()
    for r, t, i in np.ndindex(R, K, 5):
        lanes = NR if i < 4 else real
        at = GUARD + i * step
        expected[r * K + t, :lanes] += x[GUARD + rows[r] + i + t] * dy[at : at + lanes]
    four_pixels_and_one(taps, sums.ravel(), x, rows, GUARD, dy, (GUARD, step, channels))
    np.testing.assert_array_equal(sums, expected)
