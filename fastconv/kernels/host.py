"""The numbers of the host: what its registers hold, which tiles that allows, and how much of a working set its caches keep."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numba.core.registry import cpu_target

from fastconv.kernels.vectors import Tile

TERMS = 256  # longest running sum; 256 terms x 32 channels of float32 fill a first-level cache of 32 KB
BOX = 160 << 10  # bytes of packed inputs that a work item reads again and again: a part of a second-level cache of 512 KB
PIXELS = 512  # of a work item, if the box allows: enough to reuse each panel, few enough to share an image among threads


class Registers(NamedTuple):
    """Of the CPU that Numba compiles for."""

    feature: str
    bytes: int
    count: int


KINDS = (  # widest first
    Registers("avx512f", 64, 32),
    Registers("avx2", 32, 16),
    Registers("avx", 32, 16),
    Registers("neon", 16, 32),
    Registers("sse", 16, 16),
)


def target() -> tuple[str, str]:
    """The CPU that Numba compiles for, and its features, which NUMBA_CPU_NAME and NUMBA_CPU_FEATURES may change."""
    return cpu_target.target_context.codegen().magic_tuple()[1:]


@cache
def registers() -> Registers:
    """Of `target`; 16 bytes where nothing is known."""
    features = set(target()[1].split(","))
    return next((kind for kind in KINDS if f"+{kind.feature}" in features), Registers("", 16, 16))


# MR x NV: MR * NV sums, NV weights and one pixel must fit the registers; the worth of a tile is the share of the peak that it reaches.
# GFLOP/s of one core, 2-core Cascade Lake (peak 147), operands in the second-level cache: 12x1 100, 14x2 138, 8x3 141, 6x4 142.
# A single vector needs two loads for each multiplication of two. 8x3, 8x2 and 4x3 gain on few layers, and each tile costs seconds of compiling.
MENU = {
    32: ((12, 1, 0.7), (14, 2, 1.0), (6, 4, 1.0)),
    16: ((12, 1, 0.7), (6, 2, 1.0)),
}


@cache
def menu(dtype: np.dtype) -> tuple[tuple[Tile, float], ...]:
    """Tiles for this host, and their worth."""
    kind = registers()
    return tuple((Tile(MR, NV, kind.bytes // dtype.itemsize, dtype), worth) for MR, NV, worth in MENU[kind.count])


# Where lanes are groups: vectors of a tile; two where their 9 weights, 3 sums and a start fit the registers.
LANE_VECTORS = {32: 2, 16: 1}


class LaneTiles(NamedTuple):
    """For blocks of groups as lanes."""

    pixels: Tile  # sums of 8 pixels
    taps: Tile  # of 9 taps, those of a 3x3 kernel
    columns: Tile  # of 3 pixels that a window of 3 columns passes


@cache
def tile_for(channels: int, dtype: np.dtype) -> Tile:
    """The tile that spends least on `channels` output channels: the fewest vectors, padding counted, each by its worth."""
    return min(menu(dtype), key=lambda entry: (-(-channels // entry[0].NR) * entry[0].NR / entry[1], -entry[0].NR))[0]


@cache
def lane_tiles_for(groups: int, dtype: np.dtype) -> LaneTiles:
    """Of two vectors, where the groups fill them: a last vector that is not full takes lanes from the one before."""
    kind = registers()
    lanes = kind.bytes // dtype.itemsize
    NV = LANE_VECTORS[kind.count] if groups >= 2 * lanes and -(-groups // lanes) != 3 else 1
    return LaneTiles(*(Tile(MR, NV, lanes, dtype) for MR in (8, 9, 3)))
