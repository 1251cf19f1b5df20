"""Max pooling and its gradient: the best value of a window and its tap stay in registers while the window's taps pass.

    y[n, od, oh, ow, c] = max over the window of x      argmax = the tap that won: the first of equals, or the first NaN
    dx[n, id, ih, iw, c] = sum of dy over the outputs whose argmax is that input

Windows come as tables (`windows`), so that sliding and adaptive ones are one loop. With 2x2 windows, stride 2, and MR = 4 pixels:

    x   a a b b c c d d     4 loads, LANES channels each, of tap 0: first a, b, c, d; then of taps 1, 2, 3
        a a b b c c d d     best = the larger, won = 0..3     ->     y  A B C D     argmax  3 0 1 1 (a byte each)
"""

import numpy as np

from fastconv.kernels.compile import Record, driver, serial, spread
from fastconv.kernels.pooling.tiles import channel_of, chunks, tile_for
from fastconv.kernels.pooling.windows import Adaptive, Geometry, collects, covers, group_of, reads, row_of, side_by_side, taps
from fastconv.kernels.simd.arithmetic import add, zeros
from fastconv.kernels.simd.memory import load_rows, offsets_apart, store_rows
from fastconv.kernels.simd.pooling import all_taps, larger, load_taps, lowest, rectify, store_taps, where_tap
from fastconv.kernels.simd.tile import one_row

CLAMPED = 255  # the argmax where relu made 0 of a maximum: no tap, so that no gradient passes
NO_SCRATCH = np.empty(0)


@driver
def max_pool(pool, tile, plan, chunks, scratch, x, y, argmax):
    """The pass. x, y, argmax: (N, D, H, W, C), flat."""
    spread(pool, chunks, plan.items, best_rows, scratch, tile, plan, x, y, argmax)


@serial
def best_rows(work, tile, plan, x, y, argmax):
    """Loops 4 and 3: rows of outputs, and groups of their columns."""
    for i in range(work.first, work.stop):
        row = row_of(i, plan)
        for g in range(len(plan.columns)):
            group = group_of(g, plan, row)
            if group.pixels == 1:
                best_pixels(one_row(tile), plan, row, group, x, y, argmax)
            else:
                best_pixels(tile, plan, row, group, x, y, argmax)


@serial
def best_pixels(tile, plan, row, group, x, y, argmax):
    """Loop 2: tiles of MR pixels x NR channels; the last tiles of both start early, to end with the last."""
    C, count = plan.C, min(group.pixels, tile.MR)
    reads, writes = offsets_apart(tile, group.window_step * C, count), offsets_apart(tile, group.pixel_step * C, count)
    for m in range(0, group.pixels, tile.MR):
        m = min(m, group.pixels - count)
        to = (group.pixel + m * group.pixel_step) * C
        for i in range(0, C, tile.NR):
            c = channel_of(tile, i, C)
            best, won = best_of(tile, plan, row, group, x, reads, m, c)
            if plan.relu != 0:
                best, won = rectify(tile, best, won, CLAMPED)
            store_rows(tile, best, y, writes, to + c, C)
            store_taps(tile, won, argmax, writes, to + c, C)


@serial
def best_of(tile, plan, row, group, x, reads, m, c):
    """Loop 1: the taps of a window; all that are -inf leave the first."""
    first = plan.depth_taps[row.d, 1] + plan.row_taps[row.h, 1] + plan.column_taps[group.w, 1]
    best, won = lowest(tile), all_taps(tile, first)
    for d in range(row.d, row.d_stop):
        for h in range(row.h, row.h_stop):
            at = group.window + m * group.window_step + plan.depth_taps[d, 0] + plan.row_taps[h, 0]
            tap = plan.depth_taps[d, 1] + plan.row_taps[h, 1]
            for w in range(group.w, group.w_stop):
                values = load_rows(tile, x, reads, (at + plan.column_taps[w, 0]) * plan.C + c, plan.C)
                best, won = larger(tile, best, won, values, tap + plan.column_taps[w, 1])
    return best, won


@driver
def collect_grad(pool, tile, plan, chunks, scratch, dy, argmax, dx):
    """The gradient for any windows: each input collects from the windows that it won."""
    spread(pool, chunks, plan.items, collect_rows, scratch, tile, plan, dy, argmax, dx)


@serial
def collect_rows(work, tile, plan, dy, argmax, dx):
    """Loops 4 and 3: rows of inputs, and groups of their columns."""
    for i in range(work.first, work.stop):
        row = row_of(i, plan)
        for g in range(len(plan.columns)):
            group = group_of(g, plan, row)
            if group.pixels == 1:
                collect_pixels(one_row(tile), plan, row, group, dy, argmax, dx)
            else:
                collect_pixels(tile, plan, row, group, dy, argmax, dx)


@serial
def collect_pixels(tile, plan, row, group, dy, argmax, dx):
    """Loops 2 and 1: tiles of MR pixels x NR channels; the outputs whose windows hold them."""
    C, count = plan.C, min(group.pixels, tile.MR)
    reads, writes = offsets_apart(tile, group.window_step * C, count), offsets_apart(tile, group.pixel_step * C, count)
    for m in range(0, group.pixels, tile.MR):
        m = min(m, group.pixels - count)
        to = (group.pixel + m * group.pixel_step) * C
        for i in range(0, C, tile.NR):
            c = channel_of(tile, i, C)
            acc = zeros(tile)
            for d in range(row.d, row.d_stop):
                for h in range(row.h, row.h_stop):
                    at = group.window + m * group.window_step + plan.depth_taps[d, 0] + plan.row_taps[h, 0]
                    tap = plan.depth_taps[d, 1] + plan.row_taps[h, 1]
                    for w in range(group.w, group.w_stop):
                        j = (at + plan.column_taps[w, 0]) * C + c
                        won = load_taps(tile, argmax, reads, j, C)
                        acc = add(tile, acc, where_tap(tile, load_rows(tile, dy, reads, j, C), won, tap + plan.column_taps[w, 1]))
            store_rows(tile, acc, dx, writes, to + c, C)


@driver
def cover_grad(pool, tile, plan, chunks, scratch, dy, argmax, dx):
    """The gradient where windows lie side by side: each output writes its whole window, and the gap after it."""
    spread(pool, chunks, plan.items, cover_rows, scratch, tile, plan, dy, argmax, dx)


@serial
def cover_rows(work, tile, plan, dy, argmax, dx):
    """Loops 4 and 3: rows of outputs, and groups of their columns."""
    for i in range(work.first, work.stop):
        row = row_of(i, plan)
        for g in range(len(plan.columns)):
            group = group_of(g, plan, row)
            if group.pixels == 1:
                cover_pixels(one_row(tile), plan, row, group, dy, argmax, dx)
            else:
                cover_pixels(tile, plan, row, group, dy, argmax, dx)


@serial
def cover_pixels(tile, plan, row, group, dy, argmax, dx):
    """Loops 2 and 1: tiles of MR pixels x NR channels; the inputs that they cover."""
    C, count = plan.C, min(group.pixels, tile.MR)
    reads, writes = offsets_apart(tile, group.pixel_step * C, count), offsets_apart(tile, group.window_step * C, count)
    for m in range(0, group.pixels, tile.MR):
        m = min(m, group.pixels - count)
        j = (group.pixel + m * group.pixel_step) * C
        for i in range(0, C, tile.NR):
            c = channel_of(tile, i, C)
            grad, won = load_rows(tile, dy, reads, j + c, C), load_taps(tile, argmax, reads, j + c, C)
            for d in range(row.d, row.d_stop):
                for h in range(row.h, row.h_stop):
                    to = group.window + m * group.window_step + plan.depth_taps[d, 0] + plan.row_taps[h, 0]
                    tap = plan.depth_taps[d, 1] + plan.row_taps[h, 1]
                    for w in range(group.w, group.w_stop):
                        here = where_tap(tile, grad, won, tap + plan.column_taps[w, 1])
                        store_rows(tile, here, dx, writes, (to + plan.column_taps[w, 0]) * C + c, C)


class MaxPool:
    """The pass bound to windows and a dtype: `run(x, y, argmax)`, flat. relu: y = max(y, 0), and where that is 0 the argmax is 255."""

    def __init__(self, source: Geometry | Adaptive, dtype: np.dtype, relu: bool = False):
        if relu and taps(source) > CLAMPED:
            raise ValueError(f"max pooling with a ReLU inside has at most {CLAMPED} taps, got {taps(source)}")
        plan = reads(source, relu)
        self.work, self.items = plan.work, plan.items
        self.plan, self.tile, self.run = Record(plan), tile_for(plan.C, np.dtype(dtype)), max_pool.bind()

    def __call__(self, x, y, argmax) -> None:
        self.run(self.work, self.tile, self.plan, chunks(self.items), NO_SCRATCH, x, y, argmax)


class MaxPoolGrad:
    """The gradient bound to windows and a dtype: `run(dy, argmax, dx)`, flat. relu changes nothing: an argmax of 255 is no tap's."""

    def __init__(self, source: Geometry | Adaptive, dtype: np.dtype, relu: bool = False):
        plan = covers(source) if side_by_side(source) else collects(source)
        self.work, self.items = plan.work, plan.items
        self.plan, self.tile = Record(plan), tile_for(plan.C, np.dtype(dtype))
        self.run = cover_grad.bind() if side_by_side(source) else collect_grad.bind()

    def __call__(self, dy, argmax, dx) -> None:
        self.run(self.work, self.tile, self.plan, chunks(self.items), NO_SCRATCH, dy, argmax, dx)
