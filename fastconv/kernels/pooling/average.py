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
from fastconv.kernels.compile import Record, chunks, driver, inlined, serial, spread
from fastconv.kernels.pooling.groups import group_of, line_of, list_first_row, list_taps, tap_lists, taps_of
from fastconv.kernels.pooling.tiles import channel_of, tile_for
from fastconv.kernels.pooling.windows import Geometry, Shares, collects, covers, reads, side_by_side
from fastconv.kernels.simd.arithmetic import zeros
from fastconv.kernels.simd.memory import load_rows, offsets_apart, store_rows
from fastconv.kernels.simd.pooling import add_sums, divide_rows, no_sums, number_at, rounded, widen


@driver
def avg_pool(pool, tile, plan, chunks, scratch, x, divisors, y):
    """The pass. x, y: (N, D, H, W, C), divisors: (OD, OH, OW), flat; scratch: a list of taps for each chunk."""
    spread(pool, chunks, plan.items, mean_rows, scratch, tile, plan, x, divisors, y)


@serial
def mean_rows(work, tile, plan, x, divisors, y):
    for i in range(work.first, work.stop):
        line = line_of(plan, i)
        for g in range(len(plan.columns)):
            list_taps(plan, line, g, work.scratch)
            mean_of(tile, plan, group_of(plan, line, g), work.scratch, x, divisors, y)


@inlined
def mean_of(tile, plan, group, taps, x, divisors, y):
    """Loops 3 to 1: tiles of MR outputs x NR channels; the taps of their windows. The last tile of either begins early, to end with the last."""
    C, count = plan.C, min(group.pixels, tile.MR)
    reads, writes = offsets_apart(tile, group.window_step * C, count), offsets_apart(tile, group.pixel_step * C, count)
    for m in range(0, group.pixels, tile.MR):
        m = min(m, group.pixels - count)
        at, to = group.window + m * group.window_step, group.pixel + m * group.pixel_step
        for i in range(0, C, tile.NR):
            c = channel_of(tile, i, C)
            sums = no_sums(tile)
            for t in range(group.taps):
                sums = add_sums(tile, sums, widen(tile, load_rows(tile, x, reads, (at + number_at(taps, 2 * t)) * C + c, C)))
            sums = divide_rows(tile, sums, divisors, to - group.image, group.pixel_step, count - 1)
            store_rows(tile, rounded(tile, sums), y, writes, to * C + c, C)


@driver
def collect_grad(pool, tile, plan, chunks, scratch, dy, divisors, dx):
    """The gradient for any windows: each input collects from those that hold it."""
    spread(pool, chunks, plan.items, collect_rows, scratch, tile, plan, dy, divisors, dx)


@serial
def collect_rows(work, tile, plan, dy, divisors, dx):
    for i in range(work.first, work.stop):
        line = line_of(plan, i)
        for g in range(len(plan.columns)):
            list_taps(plan, line, g, work.scratch)
            collect(tile, plan, group_of(plan, line, g), work.scratch, dy, divisors, dx)


@inlined
def collect(tile, plan, group, taps, dy, divisors, dx):
    """Loops 3 to 1: tiles of MR inputs x NR channels; the outputs whose windows hold them."""
    C, count = plan.C, min(group.pixels, tile.MR)
    reads, writes = offsets_apart(tile, group.window_step * C, count), offsets_apart(tile, group.pixel_step * C, count)
    for m in range(0, group.pixels, tile.MR):
        m = min(m, group.pixels - count)
        at, to = group.window + m * group.window_step, (group.pixel + m * group.pixel_step) * C
        for i in range(0, C, tile.NR):
            c = channel_of(tile, i, C)
            sums = no_sums(tile)
            for t in range(group.taps):
                j = at + number_at(taps, 2 * t)
                grad = widen(tile, load_rows(tile, dy, reads, j * C + c, C))
                sums = add_sums(tile, sums, divide_rows(tile, grad, divisors, j - group.window_image, group.window_step, count - 1))
            store_rows(tile, rounded(tile, sums), dx, writes, to + c, C)


@driver
def cover_grad(pool, tile, plan, chunks, scratch, dy, divisors, dx):
    """The gradient where windows lie side by side: each output writes its whole window, and the gap after it."""
    spread(pool, chunks, plan.items, cover_rows, scratch, tile, plan, dy, divisors, dx)


@serial
def cover_rows(work, tile, plan, dy, divisors, dx):
    """The windows of a row of outputs cover whole rows of inputs, all alike: the first is written, the others are copies of it."""
    for i in range(work.first, work.stop):
        line = line_of(plan, i)
        for g in range(len(plan.columns)):
            list_first_row(plan, line, g, work.scratch)
            cover(tile, plan, group_of(plan, line, g), taps_of(plan.columns, 7 * g + 4), work.scratch, dy, divisors, dx)
        repeat_row(plan, line, dx)


@serial
def repeat_row(plan, line, dx):
    """The first row that a row of outputs covers, again in the other rows of their windows; zeros in gaps."""
    _, image, d, h = line
    depth, row = number_at(plan.depths, 3 * d + 1), number_at(plan.rows, 3 * h + 1)
    origin = image * plan.image + number_at(plan.depths, 3 * d) + number_at(plan.rows, 3 * h)
    first = (origin + number_at(plan.depth_taps, 2 * depth) + number_at(plan.row_taps, 2 * row)) * plan.C
    written = dx[first : first + plan.row * plan.C]
    for j in range(depth, number_at(plan.depths, 3 * d + 2)):
        for k in range(row, number_at(plan.rows, 3 * h + 2)):
            to = (origin + number_at(plan.depth_taps, 2 * j) + number_at(plan.row_taps, 2 * k)) * plan.C
            other = dx[to : to + plan.row * plan.C]
            if number_at(plan.depth_taps, 2 * j + 1) + number_at(plan.row_taps, 2 * k + 1) < 0:
                other[:] = 0
            elif to != first:
                copy_row(written, other)


@serial
def copy_row(x, y):
    for i in range(y.size):
        y[i] = x[i]


@inlined
def cover(tile, plan, group, columns, taps, dy, divisors, dx):
    """Loops 3 to 1: tiles of MR outputs x NR channels; the inputs of so many columns that they cover, 0 in gaps."""
    C, count = plan.C, min(group.pixels, tile.MR)
    reads, writes = offsets_apart(tile, group.pixel_step * C, count), offsets_apart(tile, group.window_step * C, count)
    for m in range(0, group.pixels, tile.MR):
        m = min(m, group.pixels - count)
        at, to = group.pixel + m * group.pixel_step, group.window + m * group.window_step
        for i in range(0, C, tile.NR):
            c = channel_of(tile, i, C)
            grad = widen(tile, load_rows(tile, dy, reads, at * C + c, C))
            part = rounded(tile, divide_rows(tile, grad, divisors, at - group.image, group.pixel_step, count - 1))
            for t in range(columns):
                here = part if number_at(taps, 2 * t + 1) >= 0 else zeros(tile)
                store_rows(tile, here, dx, writes, (to + number_at(taps, 2 * t)) * C + c, C)


class AvgPool:
    """The pass bound to windows and a dtype: `run(x, y)`, flat. divisors: (OD, OH, OW) float64; None for adaptive windows: their sizes."""

    def __init__(self, source: Geometry | Shares, dtype: np.dtype, divisors: np.ndarray | None = None):
        plan = reads(source)
        self.items, self.longest, self.work, self.divisors = plan.items, plan.longest, plan.work, divisors_of(source, divisors)
        self.plan, self.tile, self.run = Record(plan), tile_for(plan, np.dtype(dtype), 8), avg_pool.bind()

    def __call__(self, x, y) -> None:
        count = chunks(self.items, self.work)
        self.run(self.work, self.tile, self.plan, count, tap_lists(count, self.longest), x, self.divisors, y)


class AvgPoolGrad:
    """The gradient bound to windows and a dtype: `run(dy, dx)`, flat. divisors as in `AvgPool`."""

    def __init__(self, source: Geometry | Shares, dtype: np.dtype, divisors: np.ndarray | None = None):
        apart = side_by_side(source)
        plan = covers(source) if apart else collects(source)
        self.items, self.longest, self.work, self.divisors = plan.items, plan.longest, plan.work, divisors_of(source, divisors)
        self.plan, self.tile = Record(plan), tile_for(plan, np.dtype(dtype), 8)
        self.run = (cover_grad if apart else collect_grad).bind()

    def __call__(self, dy, dx) -> None:
        count = chunks(self.items, self.work)
        self.run(self.work, self.tile, self.plan, count, tap_lists(count, self.longest), dy, self.divisors, dx)


def divisors_of(source: Geometry | Shares, divisors: np.ndarray | None) -> np.ndarray:
    """Flat, as kernels read them."""
    sizes = share_sizes(source) if divisors is None else divisors
    return np.ascontiguousarray(sizes, np.float64).reshape(-1)
