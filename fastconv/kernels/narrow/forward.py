"""Convolution of narrow layers, forward: a register tile of MR neighboring outputs x one vector of channels slides along planes of pixels.

    y[ow, n] = bias[n] + sum over kd, kh, ic, kw of patch[kd, kh, ic, ow + kw] * w[kd, kh, kw, ic, n]

Running sums have at most 256 terms, whole kernel rows; such blocks are added up in order: a sum has the same bits whatever the batch.
"""

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.compile import FLOPS, Record, chunks, driver, inlined, serial, spread
from fastconv.kernels.narrow.packing import item_of, pack_panels, pack_planes
from fastconv.kernels.narrow.plan import forward_plan
from fastconv.kernels.simd.arithmetic import add, clamp, zeros
from fastconv.kernels.simd.memory import load_or_zeros, load_rows, offsets_apart, store_rows
from fastconv.kernels.simd.sliding import fma_sliding
from fastconv.kernels.simd.tile import one_row, square


@driver
def correlate(pool, tile, plan, x, w, bias, y, scratch):
    """The pass. x, y: (N, D, H, W, C), w: (taps, IC/G, OC), flat; scratch: panels, then a patch and sums for each chunk of the items."""
    panels, rest = scratch[: plan.panels], scratch[plan.panels :]
    pack_panels(one_row(tile), plan, w, bias, panels)
    spread(pool, len(rest) // plan.scratch, plan.items, correlate_items, rest, tile, plan, x, panels, y)


@serial
def correlate_items(work, tile, plan, x, panels, y):
    """Loop 6: some work items, each of which owns its rows of outputs."""
    patch, sums = work.scratch[: plan.patch], work.scratch[plan.patch :]
    for i in range(work.first, work.stop):
        item = item_of(i, plan)
        pack_planes(square(tile), plan, item, x, patch)
        outputs = y[((item.n * plan.OD + item.jd) * plan.OH + item.jh) * plan.OW * plan.OC :]
        for r in range(item.rows):
            correlate_row(tile, plan, item, r, (patch, sums), panels, outputs)


@inlined
def correlate_row(tile, plan, item, r, inputs, panels, y):
    """Loops 5 and 4: a row of outputs, panel after panel, in tiles of MR pixels.

    The last panel, which may be ragged, goes first, and all its lanes are stored: those after the last channel fall on what is stored later.
    At the end of the item, and next to other groups, they are not.
    """
    count, pixels = -(-plan.OCG // tile.LANES), offsets_apart(tile, plan.OC, tile.MR)
    stop = item.rows * plan.OW * plan.OC if plan.G == 1 else 0
    for p in range(count - 1, -1, -1):
        n, panel = item.group * plan.OCG + p * tile.LANES, (item.group * count + p) * plan.panel
        for ow in range(0, plan.OW, tile.MR):
            ow = min(ow, plan.OW - tile.MR)  # the last one begins early, to be full: it makes some outputs again
            acc = clamp(tile, sum_tile(tile, plan, inputs, r * plan.row + ow, panels, panel), plan.lower_bound)
            to = (r * plan.OW + ow) * plan.OC + n
            store_rows(tile, acc, y, pixels, to, tile.LANES if to + (tile.MR - 1) * plan.OC + tile.LANES <= stop else plan.OCG - p * tile.LANES)


@inlined
def sum_tile(tile, plan, inputs, start, panels, at):
    """Loops 3 to 1: the bias, then kernel rows; of a row three taps at a time, then two, each over all channels. at: of the panel

    Sums of earlier blocks are in memory, for few layers have any: in registers they would be spilled for all.
    """
    (patch, sums), same, rows = inputs, offsets_apart(tile, 0, 1), offsets_apart(tile, tile.LANES, tile.MR)
    acc = load_rows(tile, panels, same, at, tile.LANES)
    at += tile.LANES
    for q in range(plan.kernel_rows):
        if q > 0 and q % plan.block == 0:
            store_rows(tile, add(tile, load_or_zeros(tile, sums, rows, 0, 1 if q == plan.block else 0), acc), sums, rows, 0, tile.LANES)
            acc = zeros(tile)
        k = start + plan.row_starts[q]
        for _ in range(plan.threes):
            for ic in range(plan.ICG):
                acc = fma_sliding(tile, 3, acc, patch, k + ic * plan.patch_w, panels, at)
                at += 3 * tile.LANES
            k += 3
        for _ in range(plan.twos):
            for ic in range(plan.ICG):
                acc = fma_sliding(tile, 2, acc, patch, k + ic * plan.patch_w, panels, at)
                at += 2 * tile.LANES
            k += 2
    if plan.kernel_rows > plan.block:
        acc = add(tile, load_rows(tile, sums, rows, 0, tile.LANES), acc)
    return acc


class Forward:
    """The forward pass bound to a geometry and dtype: `run(x, w, b, y)` on flat arrays as kernels see them, y not below lower_bound."""

    def __init__(self, g: Geometry, dtype: np.dtype, lower_bound: float = -np.inf):
        self.work, self.dtype = g.flops / FLOPS, np.dtype(dtype)
        self.plan, self.tile = forward_plan(g, self.dtype, lower_bound)
        self.record, self.run = Record(self.plan), correlate.bind()

    def __call__(self, x, w, b, y) -> None:
        scratch = memory.scratch(self.plan.panels + chunks(self.plan.items, self.work) * self.plan.scratch, self.dtype)
        self.run(self.work, self.tile, self.record, x, w, b, y, scratch)
