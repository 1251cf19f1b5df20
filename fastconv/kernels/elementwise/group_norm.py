"""Group normalization (Wu and He 2018): each image's statistics of each group of neighboring channels; instance normalization has a group a channel.

    y = (x - mean) * rate * weight + bias        mean and rate = 1 / sqrt(variance + eps) of the group, weight and bias of the channel

An item is an image. On it run the stages of batch normalization, whose sums are the channels'; those of a group are put together in float64.
`saved` keeps mean and rate of each image and channel, (N, 2, C).
"""

import numpy as np

from fastconv import memory
from fastconv.kernels.compile import Record, Work, chunks, driver, serial, spread
from fastconv.kernels.elementwise import norm, norm_grad
from fastconv.kernels.elementwise.norm import choose_pivot, forward_tables, normalize_items
from fastconv.kernels.elementwise.norm_grad import gradient_items
from fastconv.kernels.elementwise.norm_plan import FLOAT64, TABLES, Options, norm_plan, repeat_channels, table

sums_of_x, sums_of_gradients = norm.sum_items, norm_grad.sum_items


@driver
def normalize_groups(pool, chunks, tile, plan, groups, operands, results, scratch):
    """The pass. operands: x, weight, bias; weight and bias may be empty: 1 and 0. results: y, saved. scratch: tables and sums of each chunk"""
    (x, weight, bias), (y, saved) = operands, results
    spread(pool, chunks, len(saved) // (2 * plan.channels), image_items, scratch, tile, plan, groups, (weight, bias), x, y, saved)


@serial
def image_items(work, tile, plan, groups, parameters, x, y, saved):
    """y of some images, and what is saved of them"""
    weight, bias = parameters
    tables, sums = work.scratch[: TABLES * plan.step], work.scratch[TABLES * plan.step :]
    pivot = table(plan, tables, 0)
    for n in range(work.first, work.stop):
        image, own = x[n * plan.size : (n + 1) * plan.size], saved[n * 2 * plan.channels : (n + 1) * 2 * plan.channels]
        choose_pivot(plan, image, pivot)
        sums_of_x(Work(0, 1, sums), tile, plan, image, pivot, own)
        save_groups(plan, groups, pivot, own)
        forward_tables(plan, weight, bias, own, tables)
        normalize_items(Work(0, plan.rows, sums), tile, plan, (image, image), tables, y[n * plan.size : (n + 1) * plan.size])


@serial
def save_groups(plan, groups, pivot, saved):
    """saved: the sums of d = x - pivot and of d * d of each channel, which become mean and rate of its group"""
    C, M = plan.channels, plan.pixels
    width = C // groups
    for first in range(0, C, width):
        mean = variance = 0.0
        for c in range(first, first + width):
            saved[c] /= M
            saved[C + c] = saved[C + c] / M - saved[c] * saved[c]  # the channel's variance
            saved[c] += pivot[c]  # and its mean
            mean += saved[c]
        mean /= width
        for c in range(first, first + width):
            variance += saved[C + c] + (saved[c] - mean) ** 2
        variance = variance / width
        rate = 1 / np.sqrt((0.0 if variance < 0 else variance) + plan.eps)  # below 0 by rounding
        for c in range(first, first + width):
            saved[c], saved[C + c] = mean, rate


@driver
def normalize_groups_grad(pool, chunks, tile, plan, groups, operands, results, scratch):
    """The pass. operands: dy, x, weight, saved; results: dx, dweight, dbias; an empty dx is not computed. scratch: tables and sums of each chunk, and
    totals (N, 2, C)"""
    (dy, x, weight, saved), (dx, dw, db), (tables, totals) = operands, results, scratch
    C = plan.channels
    images = len(saved) // (2 * C)
    spread(pool, chunks, images, image_grad_items, tables, tile, plan, groups, (dy, x, weight), saved, totals, dx)
    dw[:] = 0
    db[:] = 0
    for n in range(images):
        for c in range(C):
            db[c] += totals[2 * n * C + c]
            dw[c] += totals[(2 * n + 1) * C + c]


@serial
def image_grad_items(work, tile, plan, groups, operands, saved, totals, dx):
    """dx of some images; totals: their sums of dy and of dy * (x - mean) * rate"""
    dy, x, weight = operands
    tables, sums = work.scratch[: TABLES * plan.step], work.scratch[TABLES * plan.step :]
    for n in range(work.first, work.stop):
        here, image = slice(n * plan.size, (n + 1) * plan.size), slice(n * 2 * plan.channels, (n + 1) * 2 * plan.channels)
        upstream = dy[here], dy[here], dy[here]
        forward_tables(plan, weight, weight[:0], saved[image], tables)
        sums_of_gradients(Work(0, 1, sums), tile, plan, upstream, x[here], tables, totals[image])
        group_slopes(plan, groups, weight, saved[image], tables, totals[image])
        if len(dx) > 0:
            gradient_items(Work(0, plan.rows, sums), tile, plan, upstream, x[here], tables, dx[here])


@serial
def group_slopes(plan, groups, weight, saved, tables, totals):
    """dx = scale * dy + (x - mean) * slope + offset: the tables of slope and offset, from what each group's terms add up to"""
    C = plan.channels
    mean, slope, offset = table(plan, tables, 0), table(plan, tables, 3), table(plan, tables, 4)
    width = C // groups
    for first in range(0, C, width):
        total = product = 0.0
        rate, rest = saved[C + first], saved[first] - mean[first]
        for c in range(first, first + width):
            totals[C + c] = (totals[C + c] - rest * totals[c]) * rate
            factor = weight[c] if len(weight) > 0 else 1.0
            total += factor * totals[c]
            product += factor * totals[C + c]
        factor = -product * rate * rate / (plan.pixels * width)
        for c in range(first, first + width):
            slope[c] = factor
            offset[c] = -total * rate / (plan.pixels * width) - rest * factor
    repeat_channels(plan, slope)
    repeat_channels(plan, offset)


class GroupNorm:
    """The passes bound to N images of (pixels, channels): `forward(x, parameters, y, saved)`, `backward(dy, x, weight, saved, dx, gradients)` on flat
    arrays. saved: N * 2 * C float64; parameters: (weight, bias), or (): 1 and 0; gradients: float64 arrays for dweight and dbias."""

    def __init__(self, images: int, shape: tuple[int, int], groups: int, dtype: np.dtype, eps: float):
        plan, self.tile = norm_plan(shape, dtype, Options(eps=eps))
        self.plan, self.dtype, self.groups, self.images = plan._replace(chunks=1), dtype, groups, images
        self.record, self.none = Record(self.plan), np.empty(0, dtype)
        self.run, self.run_back = normalize_groups.bind(), normalize_groups_grad.bind()

    def forward(self, x, parameters, y, saved) -> None:
        work = 8.0 * x.size
        cut, tables = self._scratch(work)
        operands = x, *(parameters or (self.none, self.none))
        self.run(work, cut, self.tile, self.record, self.groups, operands, (y, saved), tables)

    def backward(self, dy, x, weight, saved, dx, gradients) -> None:
        work = 12.0 * x.size
        cut, tables = self._scratch(work)
        operands = dy, x, self.none if weight is None else weight, saved
        results = self.none if dx is None else dx, *gradients
        totals = memory.scratch(self.images * 2 * self.plan.channels, FLOAT64, "totals")
        self.run_back(work, cut, self.tile, self.record, self.groups, operands, results, (tables, totals))

    def _scratch(self, work: float) -> tuple[int, np.ndarray]:
        cut = chunks(self.images, work)
        return cut, memory.scratch(cut * (TABLES + 2) * self.plan.step, self.dtype)
