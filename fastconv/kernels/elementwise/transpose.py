"""From images of channel planes, (N, C, H * W), to pixels of channels, (N, H * W, C), and back: both are transposed matrices, an image each.

    x: (R = 3 channels, C = 8 pixels)        blocks of BLOCK x BLOCK elements, so that both sides' cache lines stay in L1
    r0 r1 r2 r3 ...   g0 g1 ...   b0 ...     ->     y: r0 g0 b0 r1 g1 b1 ...

Whole squares of LANES x LANES elements are transposed in registers. Of fewer than LANES rows a square's last ones are junk, which the next store
overwrites; the rest goes one element at a time.
"""

import numpy as np

from fastconv.kernels.compile import chunks, driver, serial, spread
from fastconv.kernels.simd.arithmetic import transpose
from fastconv.kernels.simd.host import registers
from fastconv.kernels.simd.memory import load_rows, offsets_apart, store_rows
from fastconv.kernels.simd.tile import Tile

BLOCK = 64  # rows and columns of a block
AREA = 4096  # elements, where there are fewer rows


@driver
def transpose_images(pool, chunks, square, shape, x, y):
    """The pass. It needs no scratch memory: y is passed instead. shape: N, R, C, columns of a block."""
    N, R, C, wide = shape
    spread(pool, chunks, N * -(-R // BLOCK) * -(-C // wide), blocks, y, square, shape, x, y)


@serial
def blocks(work, square, shape, x, y):
    """Some work items, each a block of an image: y[n, c, r] = x[n, r, c]"""
    (_, R, C, wide), LANES = shape, square.LANES
    down, across = -(-R // BLOCK), -(-C // wide)
    for item in range(work.first, work.stop):
        n, r, c = item // (down * across), item // across % down * BLOCK, item % across * wide
        rows, columns = min(BLOCK, R - r), min(wide, C - c)
        x_at, y_at = (n * R + r) * C + c, (n * C + c) * R + r
        few = R < LANES
        whole_rows = rows if few else rows // LANES * LANES
        whole_columns = columns // LANES * LANES - (LANES if few else 0)  # junk ends inside the block
        for i in range(0, whole_rows, LANES):
            for j in range(0, whole_columns, LANES):
                block = load_rows(square, x, offsets_apart(square, C, rows - i), x_at + i * C + j, LANES)
                store_rows(square, transpose(square, block), y, offsets_apart(square, R, LANES), y_at + j * R + i, LANES)
        for i in range(rows):
            for j in range(max(0, whole_columns) if i < whole_rows else 0, columns):
                y[y_at + j * R + i] = x[x_at + i * C + j]


class Transpose:
    """The pass bound to N matrices of (R, C): `run(x, y)` on flat arrays."""

    def __init__(self, N: int, R: int, C: int, dtype: np.dtype):
        LANES = registers().bytes // dtype.itemsize
        wide = max(BLOCK, AREA // R)
        self.square, self.shape, self.work = Tile(LANES, 1, LANES, dtype), (N, R, C, wide), N * R * C
        self.items = N * -(-R // BLOCK) * -(-C // wide)
        self.run = transpose_images.bind()

    def __call__(self, x, y) -> None:
        self.run(self.work, chunks(self.items, self.work), self.square, self.shape, x, y)
