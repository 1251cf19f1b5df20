"""Parameters of the host: what its registers hold, which tiles that allows, and how much of a working set its caches keep."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numba.core.registry import cpu_target

from fastconv.kernels.simd.tile import Tile

# Blocking, for all kernels. It is the same on all CPUs with the same registers, so that results are.
TERMS = 256  # longest running sum; a block of 256 terms x 32 channels of float32 fills an L1 of 32 KB
PIXELS = 512  # of a work item, if its patch allows: enough to reuse each panel, few enough to share an image among threads
WEIGHT_PIXELS = 160  # pixels of a weight gradient's item: their cache lines of x and rows of a panel of dy share an L1 (512: up to 1.1 times as long)
PATCH = 160 << 10  # bytes of a patch of one image, which an item reads once a panel: a part of an L2 of 512 KB
PATCHES = 512 << 10  # of several images: each block of K reads its own part of them
PANELS = 128 << 10  # bytes of packed weights that a chunk of items keeps
ITEMS = 16  # of a pass at least, if they are worth it, for threads to share
FEWEST_ITEMS = 4  # for whose sake weights are packed for less than
PACKED_FOR = 64  # pixels (Linear 32 x 2592 -> 256, cut into 16 items of 8 pixels: 475 us, into 4 of 32 260)
ITEM_FLOPS = 1 << 20  # of an item that is worth having: 10 us of one core
IN_PLACE = 16 << 10  # bytes of weights that are read where they lie: half of an L1, as rows OC elements apart share a few of its sets
# not copied 1x1 layers 128 -> 128 run at 0.9, 64 -> 256 at 0.85, 64 -> 128 at 0.9 of the speed, 64 -> 64 at 1.02
CHUNKS = 16  # of the pixels of a weight gradient, divided by its number of tiles, or half as many where they cost little
# 16: 1.1 to 1.5 times as long on two threads (16 images, 1x1, 24x24 72 -> 72 and 12x12 64 -> 128)
TOTALS = 2  # bytes of inputs and gradients for each byte of a chunk's totals: threads then share chunks, else tiles, each of which reads them all
FEW_TILES, SHORT_ROW = 8, 256  # tiles that read a panel of dy, and bytes of its rows, up to which it is read where it lies: 1.03 to 1.2 times as
# fast (16, 32 and 64 images: 1 -> 32 3x3 2 tiles 1.2, 3 -> 32 5 tiles 1.08, 16 -> 32 1x1 3 tiles 1.08; not for 11 tiles 1.0, 24 0.98, 48 0.96)
PARTIALS = 2 << 20  # bytes that the chunks' totals may take together: adding them up costs their memory's speed
BLOCK_PATCH = 96 << 10  # bytes of a patch of channel blocks: packed once into L2, then read row after row from L1
BLOCK_PIXELS = 1024  # of an item of channel blocks
STRIP = 4  # channel blocks of an item that packs a patch
GATHERED_SPEED = 0.95  # of a tile with MR addresses instead of one (75 to 97 % on five layers)
SPARSEST = 4  # positions of a patch for each one that an output reads: dilation 2 is worth packing
LARGEST_PATCH = 1 << 20  # bytes of what a single output may read


class Registers(NamedTuple):
    """The vector registers of the CPU that Numba compiles for."""

    feature: str
    bytes: int
    count: int


KINDS = (  # widest first
    Registers("avx512f", 64, 32),
    Registers("avx2", 32, 16),
    Registers("avx", 32, 16),
    Registers("neon", 16, 32),
    Registers("sse", 16, 16),  # and where nothing is known
)


def target() -> tuple[str, str]:
    """The CPU that Numba compiles for, and its features, which NUMBA_CPU_NAME and NUMBA_CPU_FEATURES may change."""
    return cpu_target.target_context.codegen().magic_tuple()[1:]


@cache
def registers() -> Registers:
    """The registers of `target`."""
    features = set(target()[1].split(","))
    return next((kind for kind in KINDS if f"+{kind.feature}" in features), KINDS[-1])


# MR x NV: MR * NV sums, NV weights and one pixel must fit the registers; the worth of a tile is the fraction of the peak that it reaches.
# GFLOP/s of one core, 2-core Cascade Lake (peak 147), operands in the second-level cache: 12x1 100, 14x2 138, 8x3 141, 6x4 142.
# A single vector needs two loads for each multiplication of two. 8x3, 8x2 and 4x3 gain on few layers, and each tile costs seconds of compiling.
# Sums must not fill the registers: for some CPUs LLVM unrolls the loop or loads ahead, and spills. Forward and weight gradient, a core of Zen 5:
# 14x2 214 and 111 (spills), 12x2 209 and 172, 11x2 208 and 177, 6x4 235 and 200; code for Cascade Lake: 14x2 208 and 172, 11x2 210 and 172;
# code for Zen 3: 12x1 89 and 75 (spills), 10x1 104 and 89 (spills in float64), 8x1 104 and 79, 6x2 127 and 105; code without FMA, whose products
# need registers, too: AVX 12x1 102 and 81, 6x2 105 and 63 (spills), 4x2 100 and 78; SSE 12x1 40 and 37, 8x1 40 and 35, 6x2 47 and 43.
MENU = {
    "avx512f": ((12, 1, 0.7), (11, 2, 1.0), (8, 3, 1.0), (6, 4, 1.0)),
    "avx2": ((8, 1, 0.8), (6, 2, 1.0)),
    "avx": ((12, 1, 1.0), (4, 2, 1.0)),
    "neon": ((12, 1, 0.7), (14, 2, 1.0), (6, 4, 1.0)),
    "sse": ((12, 1, 0.8), (6, 2, 1.0)),
}


@cache
def menu(dtype: np.dtype) -> tuple[tuple[Tile, float], ...]:
    """Tiles for this host, and their worth."""
    kind = registers()
    return tuple((Tile(MR, NV, kind.bytes // dtype.itemsize, dtype), worth) for MR, NV, worth in MENU[kind.feature])


@cache
def row_tile(dtype: np.dtype) -> Tile:
    """One row of two vectors, for passes over flat arrays: a longer one would only be ragged more often."""
    return Tile(1, 2, registers().bytes // dtype.itemsize, dtype)


@cache
def tile_for(channels: int, dtype: np.dtype, widest: int = 9) -> Tile:
    """The tile, of at most `widest` vectors, that spends least on `channels` output channels: the fewest vectors, padding counted, each by its
    worth."""
    tiles = [entry for entry in menu(dtype) if widest >= entry[0].NV]
    return min(tiles, key=lambda entry: (-(-channels // entry[0].NR) * entry[0].NR / entry[1], -entry[0].NR))[0]
