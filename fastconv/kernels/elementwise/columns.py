"""Matrices (pixels, channels): neighboring columns of one into another, as channels are concatenated and split; and a row added to all rows.

a: a0 a1     b: b0 b1 b2     ->     y: a0 a1 b0 b1 b2        and back: da and db are columns of dy
"""

import numpy as np

from fastconv.kernels.compile import chunks, driver, serial, spread
from fastconv.kernels.simd.arithmetic import add
from fastconv.kernels.simd.host import row_tile
from fastconv.kernels.simd.lanewise import load_row, store_row


@driver
def copy_columns(pool, chunks, tile, shape, x, y):
    """y[r, to : to + count] = x[r, first : first + count]. shape: rows, count; columns of x, first; columns of y, to. No scratch: y is passed."""
    spread(pool, chunks, shape[0], copy_rows, y, tile, shape, x, y)


@serial
def copy_rows(work, tile, shape, x, y):
    _, count, x_columns, first, y_columns, to = shape
    for r in range(work.first, work.stop):
        x_at, y_at = r * x_columns + first, r * y_columns + to
        for c in range(0, count, tile.NR):
            store_row(tile, load_row(tile, x, x_at + c, count - c), y, y_at + c, count - c)


@driver
def add_row(pool, chunks, tile, b, y):
    """y[r, c] += b[c]"""
    spread(pool, chunks, y.size // b.size, add_to_rows, y, tile, b, y)


@serial
def add_to_rows(work, tile, b, y):
    C = b.size
    for r in range(work.first, work.stop):
        for c in range(0, C, tile.NR):
            total = add(tile, load_row(tile, y, r * C + c, C - c), load_row(tile, b, c, C - c))
            store_row(tile, total, y, r * C + c, C - c)


class CopyColumns:
    """The copy bound to its rows, columns and dtype: `run(x, y)`, flat. x, y: how many columns each has, and which is the first."""

    def __init__(self, rows: int, count: int, x: tuple[int, int], y: tuple[int, int], dtype: np.dtype):
        self.shape, self.work, self.tile = (rows, count, *x, *y), rows * count, row_tile(dtype)
        self.run = copy_columns.bind()

    def __call__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.run(self.work, chunks(self.shape[0], self.work), self.tile, self.shape, x, y)


class AddRow:
    """The sum bound to so many rows of a dtype: `run(b, y)`, y flat, changed in place."""

    def __init__(self, rows: int, columns: int, dtype: np.dtype):
        self.rows, self.work, self.tile = rows, rows * columns, row_tile(dtype)
        self.run = add_row.bind()

    def __call__(self, b: np.ndarray, y: np.ndarray) -> None:
        self.run(self.work, chunks(self.rows, self.work), self.tile, b, y)
