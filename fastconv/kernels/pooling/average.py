"""Average pooling and its gradient: float64 sums stay in registers while a window's taps pass.

    y[n, od, oh, ow, c] = (sum over the window of x) / divisors[od, oh, ow]
    dx[n, id, ih, iw, c] = sum over the windows that hold it of dy[n, od, oh, ow, c] / divisors[od, oh, ow]

In float64 whatever the dtype, since a window may be a whole image; rounded once, at the end. A vector holds so many channels as doubles fit
a register: with 8 doubles and 16 channels of float32, MR = 4 pixels of a row whose windows are 2x2 with stride 2

    x   a a b b c c d d     4 loads of 8 channels, made doubles, are added for each tap; then channels 8 to 15
        a a b b c c d d
"""

import numpy as np

from fastconv.geometry import share_sizes
from fastconv.kernels.compile import Record, driver, serial, spread
from fastconv.kernels.pooling.tiles import channel_of, chunks, tile_for
from fastconv.kernels.pooling.windows import Adaptive, Geometry, collects, covers, group_of, reads, row_of, side_by_side
from fastconv.kernels.simd.memory import load_rows, offsets_apart, store_rows
from fastconv.kernels.simd.arithmetic import zeros
from fastconv.kernels.simd.pooling import add_sums, divide_rows, no_sums, rounded, widen
from fastconv.kernels.simd.tile import one_row

NO_SCRATCH = np.empty(0)


@driver
def avg_pool(pool, tile, plan, chunks, scratch, x, divisors, y):
    """The pass. x, y: (N, D, H, W, C), divisors: (OD, OH, OW), flat."""
    spread(pool, chunks, plan.items, mean_rows, scratch, tile, plan, x, divisors, y)


@serial
def mean_rows(work, tile, plan, x, divisors, y):
    """Loops 4 and 3: rows of outputs, and groups of their columns."""
    for i in range(work.first, work.stop):
        row = row_of(i, plan)
        for g in range(len(plan.columns)):
            group = group_of(g, plan, row)
            if group.pixels == 1:
                mean_pixels(one_row(tile), plan, row, group, x, divisors, y)
            else:
                mean_pixels(tile, plan, row, group, x, divisors, y)


@serial
def mean_pixels(tile, plan, row, group, x, divisors, y):
    """Loop 2: tiles of MR pixels x NR channels."""
    C, count = plan.C, min(group.pixels, tile.MR)
    reads, writes = offsets_apart(tile, group.window_step * C, count), offsets_apart(tile, group.pixel_step * C, count)
    for m in range(0, group.pixels, tile.MR):
        m = min(m, group.pixels - count)
        to = group.pixel + m * group.pixel_step
        for i in range(0, C, tile.NR):
            c = channel_of(tile, i, C)
            sums = sum_of(tile, plan, row, group, x, reads, m, c)
            sums = divide_rows(tile, sums, divisors, to % (plan.D * plan.H * plan.W), group.pixel_step, count - 1)
            store_rows(tile, rounded(tile, sums), y, writes, to * C + c, C)


@serial
def sum_of(tile, plan, row, group, x, reads, m, c):
    """Loop 1: the taps of a window."""
    sums = no_sums(tile)
    for d in range(row.d, row.d_stop):
        for h in range(row.h, row.h_stop):
            at = group.window + m * group.window_step + plan.depth_taps[d, 0] + plan.row_taps[h, 0]
            for w in range(group.w, group.w_stop):
                values = load_rows(tile, x, reads, (at + plan.column_taps[w, 0]) * plan.C + c, plan.C)
                sums = add_sums(tile, sums, widen(tile, values))
    return sums


@driver
def collect_grad(pool, tile, plan, chunks, scratch, dy, divisors, dx):
    """The gradient for any windows: each input collects from those that hold it."""
    spread(pool, chunks, plan.items, collect_rows, scratch, tile, plan, dy, divisors, dx)


@serial
def collect_rows(work, tile, plan, dy, divisors, dx):
    """Loops 4 and 3: rows of inputs, and groups of their columns."""
    for i in range(work.first, work.stop):
        row = row_of(i, plan)
        for g in range(len(plan.columns)):
            group = group_of(g, plan, row)
            if group.pixels == 1:
                collect_pixels(one_row(tile), plan, row, group, dy, divisors, dx)
            else:
                collect_pixels(tile, plan, row, group, dy, divisors, dx)


@serial
def collect_pixels(tile, plan, row, group, dy, divisors, dx):
    """Loops 2 and 1: tiles of MR pixels x NR channels; the outputs whose windows hold them."""
    C, count = plan.C, min(group.pixels, tile.MR)
    reads, writes = offsets_apart(tile, group.window_step * C, count), offsets_apart(tile, group.pixel_step * C, count)
    image = row.pixel // (plan.D * plan.H * plan.W) * plan.image  # the first output of this image
    for m in range(0, group.pixels, tile.MR):
        m = min(m, group.pixels - count)
        to = (group.pixel + m * group.pixel_step) * C
        for i in range(0, C, tile.NR):
            c = channel_of(tile, i, C)
            sums = no_sums(tile)
            for d in range(row.d, row.d_stop):
                for h in range(row.h, row.h_stop):
                    at = group.window + m * group.window_step + plan.depth_taps[d, 0] + plan.row_taps[h, 0]
                    for w in range(group.w, group.w_stop):
                        j = at + plan.column_taps[w, 0]
                        grad = widen(tile, load_rows(tile, dy, reads, j * C + c, C))
                        sums = add_sums(tile, sums, divide_rows(tile, grad, divisors, j - image, group.window_step, count - 1))
            store_rows(tile, rounded(tile, sums), dx, writes, to + c, C)


@driver
def cover_grad(pool, tile, plan, chunks, scratch, dy, divisors, dx):
    """The gradient where windows lie side by side: each output writes its whole window, and the gap after it."""
    spread(pool, chunks, plan.items, cover_rows, scratch, tile, plan, dy, divisors, dx)


@serial
def cover_rows(work, tile, plan, dy, divisors, dx):
    """Loops 4 and 3: rows of outputs, and groups of their columns."""
    for i in range(work.first, work.stop):
        row = row_of(i, plan)
        for g in range(len(plan.columns)):
            group = group_of(g, plan, row)
            if group.pixels == 1:
                cover_pixels(one_row(tile), plan, row, group, dy, divisors, dx)
            else:
                cover_pixels(tile, plan, row, group, dy, divisors, dx)


@serial
def cover_pixels(tile, plan, row, group, dy, divisors, dx):
    """Loops 2 and 1: tiles of MR pixels x NR channels; the inputs that they cover, 0 in gaps."""
    C, count = plan.C, min(group.pixels, tile.MR)
    reads, writes = offsets_apart(tile, group.pixel_step * C, count), offsets_apart(tile, group.window_step * C, count)
    for m in range(0, group.pixels, tile.MR):
        m = min(m, group.pixels - count)
        j = group.pixel + m * group.pixel_step
        for i in range(0, C, tile.NR):
            c = channel_of(tile, i, C)
            grad = widen(tile, load_rows(tile, dy, reads, j * C + c, C))
            grad = divide_rows(tile, grad, divisors, j % (plan.D * plan.H * plan.W), group.pixel_step, count - 1)
            share, nothing = rounded(tile, grad), zeros(tile)
            for d in range(row.d, row.d_stop):
                for h in range(row.h, row.h_stop):
                    to = group.window + m * group.window_step + plan.depth_taps[d, 0] + plan.row_taps[h, 0]
                    tap = plan.depth_taps[d, 1] + plan.row_taps[h, 1]
                    for w in range(group.w, group.w_stop):
                        here = share if tap + plan.column_taps[w, 1] >= 0 else nothing
                        store_rows(tile, here, dx, writes, (to + plan.column_taps[w, 0]) * C + c, C)


class AvgPool:
    """The pass bound to windows and a dtype: `run(x, y)`, flat. divisors: (OD, OH, OW) float64; None for adaptive windows: their sizes."""

    def __init__(self, source: Geometry | Adaptive, dtype: np.dtype, divisors: np.ndarray | None = None):
        plan = reads(source)
        self.work, self.items, self.divisors = plan.work, plan.items, divisors_of(source, divisors)
        self.plan, self.tile, self.run = Record(plan), tile_for(plan.C, np.dtype(dtype), 8), avg_pool.bind()

    def __call__(self, x, y) -> None:
        self.run(self.work, self.tile, self.plan, chunks(self.items), NO_SCRATCH, x, self.divisors, y)


class AvgPoolGrad:
    """The gradient bound to windows and a dtype: `run(dy, dx)`, flat. divisors as in `AvgPool`."""

    def __init__(self, source: Geometry | Adaptive, dtype: np.dtype, divisors: np.ndarray | None = None):
        plan = covers(source) if side_by_side(source) else collects(source)
        self.work, self.items, self.divisors = plan.work, plan.items, divisors_of(source, divisors)
        self.plan, self.tile = Record(plan), tile_for(plan.C, np.dtype(dtype), 8)
        self.run = cover_grad.bind() if side_by_side(source) else collect_grad.bind()

    def __call__(self, dy, dx) -> None:
        self.run(self.work, self.tile, self.plan, chunks(self.items), NO_SCRATCH, dy, self.divisors, dx)


def divisors_of(source: Geometry | Adaptive, divisors: np.ndarray | None) -> np.ndarray:
    sizes = share_sizes(source.shares) if divisors is None else divisors
    return np.ascontiguousarray(sizes, np.float64).reshape(-1)
