"""Whether the vector vocabulary works here: asked once a process, before the first kernel that is written in it."""

import warnings
from functools import cache

import numpy as np

from fastconv.kernels.compile import driver
from fastconv.kernels.simd.arithmetic import add, fma_gathered, zeros
from fastconv.kernels.simd.host import menu
from fastconv.kernels.simd.memory import offsets, store_rows


@driver
def twice_the_products(pool, tile, x, starts, w, y, rows):
    """y[m, :] = 2 * x[m] * w"""
    acc = fma_gathered(tile, zeros(tile), x, offsets(tile, starts, 0, tile.MR - 1), 0, w, 0)
    store_rows(tile, add(tile, acc, acc), y, offsets(tile, rows, 0, tile.MR - 1), 0, tile.NR)


@cache
def vectors_work() -> bool:
    """False, with one warning, where a CPU or a Numba that nobody has met makes something else of the intrinsics, or nothing."""
    try:
        tile = menu(np.dtype(np.float32))[0][0]
        x, w = np.arange(tile.MR, dtype=np.float32), np.arange(tile.NR, dtype=np.float32)
        y, starts = np.full((tile.MR, tile.NR), np.nan, np.float32), np.arange(tile.MR)
        twice_the_products.bind()(0, tile, x, starts, w, y.ravel(), starts * tile.NR)
        reason = "" if np.array_equal(y, 2 * np.outer(x, w)) else "a product is wrong"
    except Exception as error:  # whatever Numba and LLVM may raise
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if reason:
        warnings.warn(f"fastconv: its vector kernels do not work on this CPU with this Numba ({reason}); slower ones are used", stacklevel=2)
    return not reason
