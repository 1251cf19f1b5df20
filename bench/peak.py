"""The most that this machine multiplies and adds: the kernels' own word `fma`, its operands in registers from first to last."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from bench.peers import Peer
from bench.timing import seconds_a_call
from fastconv.kernels.compile.flags import FLAGS
from fastconv.kernels.simd.arithmetic import fma_gathered, zeros
from fastconv.kernels.simd.host import registers
from fastconv.kernels.simd.memory import offsets, store_rows
from fastconv.kernels.simd.tile import Tile

# MR pixels x NV vectors. Sums, weights and pixels fit 32 registers or 16, and are enough for two units that answer after four or five steps.
TILES = {32: ((4, 4), (6, 3), (2, 8)), 16: ((3, 3), (4, 2), (5, 2))}
FLOPS = 1 << 28  # of a thread in one call: milliseconds


@njit(**FLAGS)  # not @serial: the kernel cache would not notice an edit of this file
def spin(tile, MR, NR, x, w, y, numbers, rounds):
    """sums += x[:MR, None] * w[:NR], so many times"""
    pixels, sums = offsets(tile, numbers, 0, MR - 1), zeros(tile)
    for _ in range(rounds):
        sums = fma_gathered(tile, sums, x, pixels, 0, w, 0)
    store_rows(tile, sums, y, offsets(tile, numbers * NR, 0, MR - 1), 0, NR)


class Peak(Peer):
    """Does no layer's work: its one call spins on all threads. The best tile counts."""

    label = "FMA peak"
    version = ""

    def __init__(self, threads: int):
        self.threads = threads
        self.pool = ThreadPoolExecutor(threads)  # `spin` runs without the interpreter's lock

    def calls(self, layer):
        kind = registers()
        tiles = [Tile(MR, NV, kind.bytes // layer.dtype.itemsize, layer.dtype) for MR, NV in TILES[kind.count]]
        calls = [self.spinning(tile) for tile in tiles]
        return {"spin": min(calls, key=lambda call: min(seconds_a_call(call) for _ in range(5)))}

    def spinning(self, tile: Tile):
        x, w = np.full(tile.MR, 1e-3, tile.dtype), np.full(tile.NR, 1e-3, tile.dtype)
        y = np.empty((self.threads, tile.MR * tile.NR), tile.dtype)
        rounds = FLOPS // (2 * tile.MR * tile.NR)
        return lambda: list(self.pool.map(lambda own: spin(tile, tile.MR, tile.NR, x, w, own, np.arange(tile.MR), rounds), y))

    def flops(self, layer):
        return FLOPS * self.threads
