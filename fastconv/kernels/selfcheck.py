"""Whether the vector vocabulary works here: asked once a process, before the first kernel that is written in it."""

import warnings
from functools import cache

import numpy as np

from fastconv.kernels.host import menu
from fastconv.kernels.compile import serial
from fastconv.kernels.tiled_calls import call, tiled
from fastconv.kernels.vectors import add, fma, places, store_rows, zeros


@tiled(lambda f, i: (f[::1], i[::1], f[::1], f[::1], i[::1]))
def twice_the_products(tile, x, numbers, w, y, rows):
    """y[m, :] = 2 * x[m] * w"""
    sums = fma(tile, zeros(tile), x, places(tile, numbers, 0, tile.MR - 1), 0, w, 0)
    store_rows(tile, add(tile, sums, sums), y, places(tile, rows, 0, tile.MR - 1), 0, tile.NR)


@serial
def run(compiled, x, numbers, w, y, rows):
    call(compiled, x, numbers, w, y, rows)


@cache
def vectors_work() -> bool:
    """False, with one warning, where a CPU or a Numba that nobody has met makes something else of the words, or nothing."""
    try:
        tile = menu(np.dtype(np.float32))[0][0]
        x, w = np.arange(tile.MR, dtype=np.float32), np.arange(tile.NR, dtype=np.float32)
        y, numbers = np.full((tile.MR, tile.NR), np.nan, np.float32), np.arange(tile.MR)
        run(twice_the_products.on(tile), x, numbers, w, y.ravel(), numbers * tile.NR)
        reason = "" if np.array_equal(y, 2 * np.outer(x, w)) else "a product is wrong"
    except Exception as error:  # whatever Numba and LLVM may raise
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if reason:
        warnings.warn(f"fastconv: its vector kernels do not work on this CPU with this Numba ({reason}); slower ones are used", stacklevel=2)
    return not reason
