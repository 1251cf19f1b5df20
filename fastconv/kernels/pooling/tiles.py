"""How pixels and channels go through the registers: in tiles of MR pixels x NR channels."""

from functools import cache

import numpy as np

from fastconv.kernels.compile import serial
from fastconv.kernels.simd.host import registers
from fastconv.kernels.simd.tile import Tile

ROWS = 4  # vectors of a tile: enough to hide that each comparison waits for the one before


@cache
def tile_for(C: int, dtype: np.dtype, itemsize: int = 0) -> Tile:
    """The tile: one pixel if channels fill its vectors, else several pixels. itemsize: of the widest element in registers, if not the dtype's."""
    lanes = registers().bytes // max(itemsize, dtype.itemsize)
    if 2 * ROWS * lanes <= C or ROWS * lanes == C:
        return Tile(1, ROWS, lanes, dtype)
    whole = 1 << (C.bit_length() - 1)  # the largest power of two in C
    if lanes > C:
        lanes = whole if whole == C or registers().feature != "avx512f" else 2 * whole  # masks cost nothing there, and branches elsewhere
    return Tile(ROWS, 1, lanes, dtype)


@serial
def channel_of(tile, i, C):
    """The first channel of a tile that should begin at i: the last one begins early, so that it is full."""
    return max(0, min(i, C - tile.NR))
