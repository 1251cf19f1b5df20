"""How pixels and channels go through the registers: in tiles of MR pixels x NR channels."""

from functools import cache

import numpy as np

from fastconv.kernels.compile import serial
from fastconv.kernels.pooling.windows import Windows
from fastconv.kernels.simd.host import registers
from fastconv.kernels.simd.tile import Tile

ROWS = 4  # vectors of a tile: enough to hide that each comparison waits for the one before


def tile_for(plan: Windows, dtype: np.dtype, itemsize: int = 0) -> Tile:
    """The tile: one pixel if channels fill its vectors or no two pixels are alike, else several. itemsize: of the widest element in registers, if
    not the dtype's."""
    C, lanes = plan.C, registers().bytes // max(itemsize, dtype.itemsize)
    if lanes > C and registers().feature != "avx512f":  # masks cost nothing there, and branches elsewhere
        lanes = 1 << (C.bit_length() - 1)  # the largest power of two in C
    if _alone(plan):  # as many vectors as channels fill: a window that is a whole image is read once for each tile
        most = 2 * ROWS if itemsize else ROWS  # sums take a register each, maxima two
        return _tile(1, 1 << (min(max(1, C // lanes), most).bit_length() - 1), lanes, dtype)
    if 2 * ROWS * lanes <= C or ROWS * lanes == C:
        return _tile(1, ROWS, lanes, dtype)
    return _tile(ROWS, 1, lanes, dtype)


_tile = cache(Tile)


def _alone(plan: Windows) -> bool:
    """Whether no two pixels of a row meet windows of the same taps."""
    return plan.columns[:, 0].max(initial=1) == 1


@serial
def channel_of(tile, i, C):
    """The first channel of a tile that should begin at i: the last one begins early, so that it is full."""
    return max(0, min(i, C - tile.NR))
