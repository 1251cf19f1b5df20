"""Convolution with few channels a group: lanes are target channels, and a window of taps slides along rows of pixels.

    y[ow, lane] = bias[lane] + sum over kernel rows and k of x[row, ow * SW + k, lane] * panel[row, k, lane]

The input gradient is the same loops over other tables: its taps are flipped, and a stride divides instead of multiplying. A sum runs over its
terms in the order kd, kh, (channel of the group), kw, whatever the cut, so that it has the same bits in any batch.
"""

from typing import NamedTuple

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.compile import FLOPS, FunctionPointer, Record, call, chunks, driver, serial, spread
from fastconv.kernels.depthwise.packing import ITEM, channel_of, item_of, origin_of, pack_panels, pack_patch
from fastconv.kernels.depthwise.plan import Plan, backward_plan, forward_plan, terms
from fastconv.kernels.simd.arithmetic import add_row, clamp, zeros
from fastconv.kernels.simd.host import registers
from fastconv.kernels.simd.pooling import number_at
from fastconv.kernels.simd.tile import Tile
from fastconv.kernels.simd.transforms import prefetch
from fastconv.kernels.simd.windows import Window, fma_window, store_pixels


class Line(NamedTuple):
    """A row of an item's outputs, in one phase."""

    table: int  # where its kernel rows are in row_offsets; and first and stop of the phase's
    low: int
    high: int
    image: int  # where its image or patch is in the inputs
    to: int  # where its first pixel is in y; elements from pixel to pixel, and to the next row
    step: int
    next_row: int
    pixels: int


@driver
def correlate(pool, tile, row, plan, x, parameters, y, scratch):
    """The pass. x, y: (N, D, H, W, C), parameters: w (taps, IC/G, OC) and bias, flat; scratch: panels and a patch for each chunk of the items.

    tile: one vector; row: `correlate_row` for a window. So the loops around it are compiled once, not for each window.
    """
    w, bias = parameters
    spread(pool, len(scratch) // plan.scratch, plan.items, correlate_items, scratch, tile, row, plan, x, w, bias, y)


@serial
def correlate_items(work, tile, row, plan, x, w, bias, y):
    """Loop 4: some work items, each of which owns its outputs."""
    size = plan.zeros + plan.blocks * plan.panels
    panels, inputs = work.scratch[:size], work.scratch[size:]
    pack_panels(tile, plan, w, panels)
    if plan.in_place:
        inputs = x
    for i in range(work.first, work.stop):
        item = item_of(i, plan)
        if plan.in_place == 0:
            pack_patch(tile, plan, item, x, inputs)
        correlate_item(row, plan, item, inputs, panels, bias, y)


@serial
def correlate_item(row, plan, item, inputs, panels, bias, y):
    """Loop 3: rows of the item's outputs, in each phase of a stride."""
    n, jd0, jh0, _ = origin_of(item, plan)
    for image in range(item.images):
        for p in range(len(plan.phases)):
            (low, high), (JD, first_d, step_d), (JH, first_h, step_h), (JW, first_w, step_w) = phase_of(plan, p)
            pixels, step, next_row = min(plan.columns, JW - item.jw), step_w * plan.OC, step_h * plan.OW * plan.OC
            for jd in range(item.jd, min(item.jd + plan.depths, JD)):
                depth = ((item.n + image) * plan.OD + first_d + jd * step_d) * plan.OH
                for jh in range(item.jh, min(item.jh + plan.rows, JH)):
                    table = ((jd - jd0) * plan.lines + jh - jh0) * plan.kernel_rows
                    to = ((depth + first_h + jh * step_h) * plan.OW + first_w + item.jw * step_w) * plan.OC
                    line = Line(table, low, high, (n + image) * plan.image, to, step, next_row, pixels)
                    call(row, plan, item, line, inputs, panels, bias, y)


@serial
def correlate_row(window, plan, item, line, inputs, panels, bias, y):
    """Loops 2 and 1: a row of outputs in tiles of MR pixels, one channel block after another; a sum takes R rows of K taps at a time. The next
    row of y and the row of inputs below are prefetched: an output's memory was last used a step ago, large inputs are no longer in the cache (one
    thread, 128 channels 12x12: 420 -> 180 us, 16x16 1520 -> 640, 64 channels 32x32 2940 -> 1560)"""
    low, high = (0, window.R) if window.R > 1 else (line.low, line.high)  # R are all there are: no loop
    tiles, column = plan.tiles if plan.in_place else -(-line.pixels // window.MR), origin_of(item, plan)[3]
    for t in range(tiles):
        jw, at = (plan.last, plan.last_column) if t == plan.tiles - 1 else (t * window.MR, t * window.step)
        at, place, to = line.image + (column + at) * plan.pixel, (t == 0, t == plan.tiles - 1), line.to + jw * line.step
        ahead = to + line.next_row
        below = at if high == low else number_at(plan.row_offsets, line.table + high - 1) + at + plan.SH * plan.IW * plan.pixel
        for block in range(item.block, item.block + item.blocks):
            channel, start = channel_of(block, item, plan, window.LANES)
            panel, acc = plan.zeros + block * plan.panels, zeros(window)
            prefetch(y, ahead, ahead + window.MR * window.LANES)
            ahead += window.MR * window.LANES
            if plan.in_place:
                prefetch(inputs, below, below + window.step * window.LANES)
                below += window.step * window.LANES
            for r in range(low, high, window.R):
                here = inputs, plan.row_offsets, line.table + r, at + start, plan.pixel
                acc = fma_window(window, acc, place, here, panels, panel + r * window.K * window.LANES)
            acc = clamp(window, add_row(window, acc, bias, channel, plan.OC - channel), plan.lower_bound)
            store_pixels(window, acc, y, to + channel, line.step, line.pixels - jw, plan.OC - channel)


@serial
def phase_of(plan, p):
    """First and stop of a phase's kernel rows; then for each axis count, first and step of its outputs."""
    a = plan.phases[p]
    return (a[0], a[1]), (a[2], a[3], a[4]), (a[5], a[6], a[7]), (a[8], a[9], a[10])


def lanes(dtype: np.dtype) -> int:
    return registers().bytes // np.dtype(dtype).itemsize


class _Correlate:
    """A pass bound to a geometry and dtype: `run(x, w, bias, y)` on flat arrays as kernels see them."""

    def __init__(self, g: Geometry, dtype: np.dtype, plan: Plan, window: Window, lower_bound: float = -np.inf):
        self.work, self.dtype = g.flops / FLOPS, np.dtype(dtype)
        size = plan.zeros + plan.blocks * plan.panels + (0 if plan.in_place else plan.images * plan.image)
        self.plan = plan._replace(scratch=memory.lines(size, self.dtype), lower_bound=float(lower_bound))
        self.record, self.run, self.tile = Record(self.plan), correlate.bind(), Tile(1, 1, window.LANES, self.dtype)
        self.row = FunctionPointer(correlate_row, window, self.record, ITEM, Line(*[0] * len(Line._fields)), *[np.empty(0, self.dtype)] * 4)

    def __call__(self, x, w, bias, y) -> None:
        scratch = memory.empty((chunks(self.plan.items, self.work) * self.plan.scratch,), self.dtype)
        self.run(self.work, self.tile, self.row, self.record, x, (w, bias), y, scratch)


class Forward(_Correlate):
    """y = max(conv(x, w) + b, lower_bound): `run(x, w, b, y)`."""

    def __init__(self, g: Geometry, dtype: np.dtype, lower_bound: float = -np.inf):
        super().__init__(g, dtype, *forward_plan(g, np.dtype(dtype), lanes(dtype)), lower_bound)


class InputGrad:
    """dx of a convolution with padding of zeros: `run(dy, w, dx)`."""

    def __init__(self, g: Geometry, dtype: np.dtype):
        self.run = _Correlate(g, dtype, *backward_plan(g, np.dtype(dtype), lanes(dtype)))
        self.zeros = np.zeros(g.IC, dtype)

    def __call__(self, dy, w, dx) -> None:
        self.run(dy, w, self.zeros, dx)


def forward_error(g: Geometry, dtype: np.dtype) -> int:
    """The terms of a sum, then the bias."""
    return terms(g) + 1


def input_grad_error(g: Geometry, dtype: np.dtype) -> int:
    return g.OC // g.G * g.taps + 1
