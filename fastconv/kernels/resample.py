"""Sums of some inputs along each axis: padding, upsampling, and the gradients of both, whose matrices are the transposed ones.

    y[n, od, oh, ow, c] = sum over the entries jd, jh, jw of od, oh, ow of  weight * x[n, input of jd, of jh, of jw, c],  fill where there are none

    weight = weights[jd] * weights[jh] * weights[jw]

First depths and heights are added up, to a row of x, then columns (a trilinear output has 8 inputs, and takes 4 products and 2). Vectors run over the
channels, and over all pixels of a run of columns whose inputs are neighbors as they are: padding copies rows as a whole. Each item owns its row
of y, and its sums have an order: the same bits on any number of threads.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from fastconv import memory
from fastconv.geometry import Sums
from fastconv.kernels.compile import Record, chunks, driver, inlined, serial, spread
from fastconv.kernels.simd.arithmetic import fma_scaled, full
from fastconv.kernels.simd.host import registers
from fastconv.kernels.simd.lanewise import load_row, store_row
from fastconv.kernels.simd.pooling import number_at
from fastconv.kernels.simd.tile import Tile

VECTORS = 4  # of a tile, where a run fills them


class Rows(NamedTuple):
    """The sums of all three axes, as kernels see them. Inputs are counted in pixels of an image, entries through all axes."""

    items: int  # rows of y, of all images
    C: int
    OD: int
    OH: int
    OW: int
    image: int  # pixels of an image of x, and of a row
    row: int
    depths: np.ndarray  # (OD + 1,): first entry of each output
    rows: np.ndarray  # (OH + 1,)
    runs: np.ndarray  # (runs, 4): first output, count; first entry, stop
    inputs: np.ndarray


@driver
def resample(pool, tile, plan, chunks, scratch, weights, x, y):
    """The pass. x, y: (N, D, H, W, C), flat; weights: by entry, and last the fill; scratch: a row of x for each chunk."""
    spread(pool, chunks, plan.items, resample_rows, scratch, tile, plan, weights, x, y)


@serial
def resample_rows(work, tile, plan, weights, x, y):
    """Loop 4: rows of y. What depth and height make of x is a row, too, from which the columns are read."""
    for item in range(work.first, work.stop):
        plane, h = item // plan.OH, item % plan.OH
        n, d = plane // plan.OD, plane % plan.OD
        depth, depth_stop, row, row_stop = plan.depths[d], plan.depths[d + 1], plan.rows[h], plan.rows[h + 1]
        entries = (depth_stop - depth) * (row_stop - row)
        source = work.scratch
        for e in range(entries):
            jd, jh = depth + e // (row_stop - row), row + e % (row_stop - row)
            at, weight = (n * plan.image + plan.inputs[jd] + plan.inputs[jh]) * plan.C, weights[jd] * weights[jh]
            here = x[at : at + plan.row * plan.C]
            if entries == 1 and weight == 1:
                source = here
            elif e == 0:
                scale(weight, here, source)
            else:
                add_scaled(weight, here, source)
        resample_row(tile, plan, item * plan.OW * plan.C, entries == 0, weights, source, y)


@serial
def scale(weight, x, z):
    for i in range(x.size):
        z[i] = weight * x[i]


@serial
def add_scaled(weight, x, z):
    for i in range(x.size):
        z[i] += weight * x[i]


@inlined
def resample_row(tile, plan, first, empty, weights, source, y):
    """Loops 3 to 1: runs of columns; their tiles of NR elements, of which the last begins early, to end with the run; the entries of a column."""
    for r in range(len(plan.runs)):
        entry, stop = number_at(plan.runs, 4 * r + 2), number_at(plan.runs, 4 * r + 3)
        to, span = first + number_at(plan.runs, 4 * r) * plan.C, number_at(plan.runs, 4 * r + 1) * plan.C
        filled = empty or entry == stop
        for i in range(0, span, tile.NR):
            i = max(0, min(i, span - tile.NR))
            acc = full(tile, weights[-1] if filled else -0.0)  # -0.0 + x is x, of either zero
            for e in range(entry, entry if filled else stop):
                values = load_row(tile, source, number_at(plan.inputs, e) * plan.C + i, span)
                acc = fma_scaled(tile, acc, number_at(weights, e), values)
            store_row(tile, acc, y, to + i, span)


class Resample:
    """The pass bound to N images of C channels, the sums of each axis and a dtype: `run(x, y)`, flat. fill: what outputs without inputs are."""

    def __init__(self, N: int, C: int, axes: tuple[Sums, Sums, Sums], dtype: np.dtype, fill: float = 0.0):
        (depth, row, column), (ID, IH, IW) = axes, (axis.I for axis in axes)
        first = np.cumsum([0, *(len(axis.inputs) for axis in axes)])
        runs = column.runs() + (0, 0, first[2], first[2])
        inputs = np.concatenate([depth.inputs * (IH * IW), row.inputs * IW, column.inputs])
        extents = depth.O, row.O, column.O
        plan = Rows(N * depth.O * row.O, C, *extents, ID * IH * IW, IW, depth.starts, row.starts + first[1], runs, inputs)
        self.items, self.row = plan.items, IW * C
        self.work = N * C * int(np.prod([max(len(axis.inputs), axis.O) for axis in axes], dtype=float))
        self.weights = np.concatenate([*(axis.weights for axis in axes), [fill]]).astype(dtype)
        self.plan, self.tile, self.run = Record(plan), _tile_for(int(runs[:, 1].max()) * C, np.dtype(dtype)), resample.bind()

    def __call__(self, x, y) -> None:
        count = chunks(self.items, self.work)
        self.run(self.work, self.tile, self.plan, count, memory.scratch(count * self.row, x.dtype), self.weights, x, y)


def _tile_for(span: int, dtype: np.dtype) -> Tile:
    """span: elements of the longest run."""
    lanes = registers().bytes // dtype.itemsize
    if lanes > span and registers().feature != "avx512f":  # masks cost nothing there, and branches elsewhere
        lanes = 1 << (span.bit_length() - 1)
    return _tile(1, VECTORS if span >= 2 * VECTORS * lanes or span == VECTORS * lanes else 1, lanes, dtype)


_tile = cache(Tile)
