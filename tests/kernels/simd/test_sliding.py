"""The intrinsics of taps that slide along a row of pixels, against what their docstrings say in NumPy; NaN where nothing may be read."""

import numpy as np
import pytest
from geometries import DTYPES, integers
from numba import njit

from fastconv.kernels.compile.flags import FLAGS
from fastconv.kernels.simd.host import registers
from fastconv.kernels.simd.memory import load_rows, offsets_apart, store_rows
from fastconv.kernels.simd.sliding import fma_sliding
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
