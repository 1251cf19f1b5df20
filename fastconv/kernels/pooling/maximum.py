"""Max pooling and its gradient: the best value of a window and its tap stay in registers while the window's taps pass.

    y[n, od, oh, ow, c] = max over the window of x      argmax = the tap that won: the first of equals, or the first NaN
    dx[n, id, ih, iw, c] = sum of dy over the outputs whose argmax is that input

Windows come as tables (`windows`), so that sliding and adaptive ones are one loop. With 2x2 windows, stride 2, and MR = 4 pixels:

    x   a a b b c c d d     4 loads, LANES channels each, of tap 0: first a, b, c, d; then of taps 1, 2, 3
        a a b b c c d d     best = the larger, won = 0..3     ->     y  A B C D     argmax  3 0 1 1 (a byte each)
"""

import numpy as np

from fastconv.kernels.compile import Record, chunks, driver, inlined, serial, spread
from fastconv.kernels.pooling.groups import group_of, line_of, list_taps, tap_lists
from fastconv.kernels.pooling.tiles import channel_of, tile_for
from fastconv.kernels.pooling.windows import Geometry, Shares, collects, covers, reads, side_by_side, taps
from fastconv.kernels.simd.arithmetic import add, zeros
from fastconv.kernels.simd.memory import load_rows, offsets_apart, store_rows
from fastconv.kernels.simd.pooling import all_taps, larger, load_taps, number_at, rectify, store_taps, where_tap

CLAMPED = 255  # the argmax where relu made 0 of a maximum: no tap, so that no gradient passes


@driver
def max_pool(pool, tile, plan, chunks, scratch, x, y, argmax):
    """The pass. x, y, argmax: (N, D, H, W, C), flat; scratch: a list of taps for each chunk."""
    spread(pool, chunks, plan.items, best_rows, scratch, tile, plan, x, y, argmax)


@serial
def best_rows(work, tile, plan, x, y, argmax):
    for i in range(work.first, work.stop):
        line = line_of(plan, i)
        for g in range(len(plan.columns)):
            list_taps(plan, line, g, work.scratch)
            best_of(tile, plan, group_of(plan, line, g), work.scratch, x, y, argmax)


@inlined
def best_of(tile, plan, group, taps, x, y, argmax):
    """Loops 3 to 1: tiles of MR outputs x NR channels; the taps of their windows. The last tile of either begins early, to end with the last."""
    C, count = plan.C, min(group.pixels, tile.MR)
    reads, writes = offsets_apart(tile, group.window_step * C, count), offsets_apart(tile, group.pixel_step * C, count)
    for m in range(0, group.pixels, tile.MR):
        m = min(m, group.pixels - count)
        at, to = group.window + m * group.window_step, (group.pixel + m * group.pixel_step) * C
        for i in range(0, C, tile.NR):
            c = channel_of(tile, i, C)
            best, won = load_rows(tile, x, reads, (at + number_at(taps, 0)) * C + c, C), all_taps(tile, number_at(taps, 1))
            for t in range(1, group.taps):
                values = load_rows(tile, x, reads, (at + number_at(taps, 2 * t)) * C + c, C)
                best, won = larger(tile, best, won, values, number_at(taps, 2 * t + 1))
            if plan.relu != 0:
                best, won = rectify(tile, best, won, CLAMPED)
            store_rows(tile, best, y, writes, to + c, C)
            store_taps(tile, won, argmax, writes, to + c, C)


@driver
def collect_grad(pool, tile, plan, chunks, scratch, dy, argmax, dx):
    """The gradient for any windows: each input collects from the windows that it won."""
    spread(pool, chunks, plan.items, collect_rows, scratch, tile, plan, dy, argmax, dx)


@serial
def collect_rows(work, tile, plan, dy, argmax, dx):
    for i in range(work.first, work.stop):
        line = line_of(plan, i)
        for g in range(len(plan.columns)):
            list_taps(plan, line, g, work.scratch)
            collect(tile, plan, group_of(plan, line, g), work.scratch, dy, argmax, dx)


@inlined
def collect(tile, plan, group, taps, dy, argmax, dx):
    """Loops 3 to 1: tiles of MR inputs x NR channels; the outputs whose windows hold them."""
    C, count = plan.C, min(group.pixels, tile.MR)
    reads, writes = offsets_apart(tile, group.window_step * C, count), offsets_apart(tile, group.pixel_step * C, count)
    for m in range(0, group.pixels, tile.MR):
        m = min(m, group.pixels - count)
        at, to = group.window + m * group.window_step, (group.pixel + m * group.pixel_step) * C
        for i in range(0, C, tile.NR):
            c = channel_of(tile, i, C)
            acc = zeros(tile)
            for t in range(group.taps):
                j = (at + number_at(taps, 2 * t)) * C + c
                won = load_taps(tile, argmax, reads, j, C)
                acc = add(tile, acc, where_tap(tile, load_rows(tile, dy, reads, j, C), won, number_at(taps, 2 * t + 1)))
            store_rows(tile, acc, dx, writes, to + c, C)


@driver
def cover_grad(pool, tile, plan, chunks, scratch, dy, argmax, dx):
    """The gradient where windows lie side by side: each output writes its whole window, and the gap after it."""
    spread(pool, chunks, plan.items, cover_rows, scratch, tile, plan, dy, argmax, dx)


@serial
def cover_rows(work, tile, plan, dy, argmax, dx):
    for i in range(work.first, work.stop):
        line = line_of(plan, i)
        for g in range(len(plan.columns)):
            list_taps(plan, line, g, work.scratch)
            cover(tile, plan, group_of(plan, line, g), work.scratch, dy, argmax, dx)


@inlined
def cover(tile, plan, group, taps, dy, argmax, dx):
    """Loops 3 to 1: tiles of MR outputs x NR channels; the inputs that they cover."""
    C, count = plan.C, min(group.pixels, tile.MR)
    reads, writes = offsets_apart(tile, group.pixel_step * C, count), offsets_apart(tile, group.window_step * C, count)
    for m in range(0, group.pixels, tile.MR):
        m = min(m, group.pixels - count)
        at, to = (group.pixel + m * group.pixel_step) * C, group.window + m * group.window_step
        for i in range(0, C, tile.NR):
            c = channel_of(tile, i, C)
            grad, won = load_rows(tile, dy, reads, at + c, C), load_taps(tile, argmax, reads, at + c, C)
            for t in range(group.taps):
                here = where_tap(tile, grad, won, number_at(taps, 2 * t + 1))
                store_rows(tile, here, dx, writes, (to + number_at(taps, 2 * t)) * C + c, C)


class MaxPool:
    """The pass bound to windows and a dtype: `run(x, y, argmax)`, flat. relu: y = max(y, 0), and where that is 0 the argmax is 255."""

    def __init__(self, source: Geometry | Shares, dtype: np.dtype, relu: bool = False):
        if relu and taps(source) > CLAMPED:
            raise ValueError(f"max pooling with a ReLU inside has at most {CLAMPED} taps, got {taps(source)}")
        plan = reads(source, relu)
        self.items, self.longest, self.work = plan.items, plan.longest, plan.work
        self.plan, self.tile, self.run = Record(plan), tile_for(plan, np.dtype(dtype)), max_pool.bind()

    def __call__(self, x, y, argmax) -> None:
        count = chunks(self.items, self.work)
        self.run(self.work, self.tile, self.plan, count, tap_lists(count, self.longest), x, y, argmax)


class MaxPoolGrad:
    """The gradient bound to windows and a dtype: `run(dy, argmax, dx)`, flat. relu changes nothing: an argmax of 255 is no tap's."""

    def __init__(self, source: Geometry | Shares, dtype: np.dtype, relu: bool = False):
        apart = side_by_side(source)
        plan = covers(source) if apart else collects(source)
        self.items, self.longest, self.work = plan.items, plan.longest, plan.work
        self.plan, self.tile = Record(plan), tile_for(plan, np.dtype(dtype))
        self.run = (cover_grad if apart else collect_grad).bind()

    def __call__(self, dy, argmax, dx) -> None:
        count = chunks(self.items, self.work)
        self.run(self.work, self.tile, self.plan, count, tap_lists(count, self.longest), dy, argmax, dx)
