"""The weight gradient where lanes are channels: R rows x K taps of sums in registers, while dy passes by; the bias gradient from the same read.

    dw[row, k, lane] = sum over outputs of x[row, ow * SW + k, lane] * dy[ow, lane]

Running sums have at most 256 outputs, then they are added to float64 totals: of each chunk of the bands of outputs, then over the chunks, in
order. Bands and chunks are cut by shape. With 3x3, R = 3, LANES = 8, two chunks and 16 channels, totals are (2 chunks, 2 channel blocks, 80):

    totals of a chunk and block: 9 taps x 8 lanes, then 8 sums of dy
"""

from typing import NamedTuple

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.compile import FLOPS, FunctionPointer, Record, call, chunks, driver, inlined, outlined, serial, spread
from fastconv.kernels.depthwise.forward import lanes
from fastconv.kernels.depthwise.packing import ITEM, channel_of, item_of, origin_of, pack_patch
from fastconv.kernels.depthwise.plan import Plan, forward_plan
from fastconv.kernels.depthwise.rows import edges_of
from fastconv.kernels.simd.host import CHUNKS, ITEMS, TERMS, registers
from fastconv.kernels.simd.memory import add_to_totals, load_rows, move_row, offsets_apart, store_rows
from fastconv.kernels.simd.tile import Tile
from fastconv.kernels.simd.transforms import prefetch
from fastconv.kernels.simd.windows import SEVERAL, GradientWindow, fma_pixels, single

LINES_BYTES = 32 << 10  # of R rows of x and one of dy: an L1
LINES_AHEAD = 2  # of outputs, after the next: the share of x that is prefetched
AT_ONCE = (4, 3, 2)  # of dy at a time: R * K sums, 4 pixels and an input fit 16 registers up to R * K = 10
MOST_ROWS = 6  # of R: each needs an address


class GradientPlan(NamedTuple):
    """As kernels see it."""

    forward: Record  # the forward pass: its items without channel blocks are the bands
    K: int
    R: int  # kernel rows at a time
    groups: int  # of R kernel rows
    bands: int
    chunks: int
    size: int  # elements of the totals of a chunk and channel block
    row: int  # groups of pixels of a row, in place
    zeros: int  # elements of scratch for a kernel row of zeros
    patch: int  # ... for those and the patches of an item; and packed lines of dy; and in all, with the running sums
    packed: int
    scratch: int
    most: int  # pixels of a line that a running sum may have
    pixels: int  # ... and that go through all channel blocks, one block after the other
    share: int  # elements of x that are prefetched for an output and a channel block, in place; and how far ahead
    ahead: int
    bias: bool


def gradient_plan(g: Geometry, dtype: np.dtype, bias: bool) -> tuple[Plan, GradientPlan, GradientWindow]:
    LANES = lanes(dtype)
    possible = [(U, edges) for U in AT_ONCE if (edges := _edges(g, U))]
    plan, window = forward_plan(g, dtype, LANES, in_place=bool(possible))
    U, edges = possible[0] if plan.in_place else (AT_ONCE[0], (0, 0))
    most = 10 if registers().count == 16 else 25
    groups = -(-plan.kernel_rows // max(1, min(MOST_ROWS, most // plan.K)))
    R = -(-plan.kernel_rows // groups)
    groups = -(-plan.kernel_rows // R)
    bands, row = plan.items // plan.strips, -(-g.OW // U) if plan.in_place else 0
    size = groups * (R * plan.K + 1) * LANES
    zeros = ((U - 1) * g.SW + g.KW) * plan.pixel if plan.in_place else 0
    patch = memory.lines(zeros + (0 if plan.in_place else plan.images * plan.image), dtype)
    packed = patch + memory.lines(0 if plan.in_place else plan.images * plan.depths * plan.rows * plan.columns * LANES, dtype)
    scratch = packed + memory.lines(plan.strip * size, dtype)
    parts = min(CHUNKS, bands, -(-ITEMS // plan.strips))
    pixels = max(1, LINES_BYTES // ((R + 1) * plan.pixel * window.S * dtype.itemsize) // U) * U if plan.in_place else plan.columns
    share = plan.image // (g.OD * g.OH * g.OW * plan.blocks) if plan.in_place else 0
    ahead = LINES_AHEAD * g.OW * plan.blocks * share
    edges = (*edges, min(row, SEVERAL), g.OW - (row - 1) * U if plan.in_place else 1)
    most = TERMS // U * U
    found = GradientPlan(Record(plan), plan.K, R, groups, bands, parts, size, row, zeros, patch, packed, scratch, most, pixels, share, ahead, bias)
    return plan, found, GradientWindow(U, R, plan.K, window.S, LANES, dtype, edges)


def _edges(g: Geometry, U: int) -> tuple[int, int] | None:
    """Of a row in groups of U pixels and the rest."""
    groups = [(j, min(j + U, g.OW)) for j in range(0, g.OW, U)]
    return edges_of([(start * g.SW - g.PW, (stop - 1) * g.SW - g.PW + g.KW) for start, stop in groups], g.IW)


class Part(NamedTuple):
    """Some pixels of a line of outputs."""

    line: int  # of the item; and counted from the first of all images
    line_of_all: int
    table: int  # where its kernel rows are in row_offsets
    at: int  # where its image, from the first pixel's column on, is in the inputs
    first: int
    last: int
    ragged: int  # the channel block whose dy is packed


@driver
def weight_grad(pool, tile, add_part, plan, activations, gradients, totals, scratch):
    """The pass. activations: x and dy, (N, D, H, W, C), dw: (taps, IC/G, OC), flat. gradients: dw, db, and 1 to add to what they hold; scratch: for
    each chunk.

    tile: one vector; add_part: of `add_pixels`, for a window. So the loops around it are compiled once, not for each window.
    """
    (x, dy), (dw, db, accumulate) = activations, gradients
    chunks, forward = len(scratch) // plan.scratch, plan.forward
    spread(pool, chunks, plan.chunks * forward.strips, product_items, scratch, tile, add_part, plan, x, dy, totals)
    rows = forward.blocks * forward.kernel_rows
    spread(pool, min(chunks, rows), rows, store_items, scratch, tile, plan, totals, dw, db, accumulate)


@serial
def product_items(work, tile, add_part, plan, x, dy, totals):
    """Loop 6: one chunk of the bands, in one strip of channel blocks; each owns its totals."""
    forward = plan.forward
    nothing, inputs = work.scratch[: plan.zeros], work.scratch[plan.zeros : plan.patch]
    packed, sums = work.scratch[plan.patch : plan.packed], work.scratch[plan.packed : plan.packed + forward.strip * plan.size]
    nothing[:] = 0
    if forward.in_place:
        inputs = x
    for i in range(work.first, work.stop):
        strip, chunk = i % forward.strips, i // forward.strips
        first = plan.bands * chunk // plan.chunks
        for band in range(first, plan.bands * (chunk + 1) // plan.chunks):
            item = item_of(band * forward.strips + strip, forward)
            if forward.in_place == 0:
                pack_patch(tile, forward, item, x, inputs)
            own = totals[chunk * forward.blocks * plan.size :]
            add_band(tile, add_part, plan, item, (inputs, dy, nothing, packed, sums), own, band == first)


@serial
def lines_of(item, plan):
    """How many lines of outputs an item has: in all, and of a depth of an image; and how many depths."""
    depths, rows = min(plan.depths, plan.OD - item.jd), min(plan.rows, plan.OH - item.jh)
    return item.images * depths * rows, rows, depths


@serial
def line_of(item, plan, line):
    """A line of the item's outputs, counted from the first of all images."""
    _, rows, depths = lines_of(item, plan)
    n, d, h = item.n + line // rows // depths, item.jd + line // rows % depths, item.jh + line % rows
    return (n * plan.OD + d) * plan.OH + h


@outlined
def pack_dy(tile, plan, item, dy, channels, packed):
    """packed[line, ow, lane] = dy, 0 after the last channel: a ragged channel block"""
    for line in range(lines_of(item, plan)[0]):
        start, to = (line_of(item, plan, line) * plan.OW + item.jw) * plan.OC, line * plan.columns * tile.LANES
        for i in range(min(plan.columns, plan.OW - item.jw)):
            move_row(tile, dy, start + i * plan.OC, channels, packed, to + i * tile.LANES)


@serial
def add_band(tile, add_part, plan, item, operands, totals, fresh):
    """Loop 5: totals (+)= the products of a band, at most 256 outputs at a time in running sums of all its channel blocks"""
    forward, (_, dy, _, packed, sums) = plan.forward, operands
    ragged = forward.blocks - 1 if forward.in_place == 0 and forward.OC % tile.LANES else forward.blocks
    if item.block + item.blocks > ragged:
        pack_dy(tile, forward, item, dy[ragged * tile.LANES :], forward.OC % tile.LANES, packed)
    columns = min(forward.columns, forward.OW - item.jw)
    lines = lines_of(item, forward)[0]
    each, row = max(1, TERMS // columns), offsets_apart(tile, 0, 1)  # lines of a running sum
    for line in range(0, lines, each):
        for start in range(0, columns, plan.most):
            sums[:] = 0
            add_lines(add_part, plan, item, (line, min(line + each, lines), start, min(start + plan.most, columns)), ragged, operands)
            anew, to = 1 if fresh and line == 0 and start == 0 else 0, item.block * plan.size
            for i in range(0, item.blocks * plan.size, tile.LANES):
                add_to_totals(tile, load_rows(tile, sums, row, i, tile.LANES), totals, to + i, anew)


@serial
def add_lines(add_part, plan, item, pixels, ragged, operands):
    """Loop 4: lines of outputs, and some pixels of each."""
    forward, (line, end, start, stop), (inputs, dy, nothing, packed, sums) = plan.forward, pixels, operands
    n, jd0, jh0, column = origin_of(item, forward)
    _, height, depths = lines_of(item, forward)
    image, d, h = line // height // depths, line // height % depths, line % height
    for i in range(line, end):
        table = ((item.jd - jd0 + d) * forward.lines + item.jh - jh0 + h) * forward.kernel_rows
        at = (n + image) * forward.image + column * forward.pixel
        this = ((item.n + image) * forward.OD + item.jd + d) * forward.OH + item.jh + h
        for first in range(start, stop, plan.pixels):
            last = min(first + plan.pixels, stop)
            call(add_part, plan, item, Part(i, this, table, at, first, last, ragged), (inputs, nothing), (dy, packed), sums)
        h += 1  # counted on: to divide for each line, as `line_of` does, takes a tenth of the pass where lines are short (25x5)
        if h == height:
            h, d = 0, d + 1
            if d == depths:
                d, image = 0, image + 1


@serial
def add_pixels(window, plan, item, part, reads, upstream, sums):
    """Loops 3 and 2: all channel blocks of some pixels, R kernel rows: their sums in registers. So a pixel's channels are read together: those of
    one block share a few sets of an L1 (two threads, 128 channels 16x16: 392 -> 320 us, stride 2 280 -> 220)

    The next line of dy is prefetched, and of x the share of a line of outputs (0.9 to 2 times as fast). reads: inputs, or the zeros of a row that is
    not there; upstream: dy, and what is packed of it.
    """
    (inputs, nothing), (dy, packed) = reads, upstream
    forward, rows, size, k = plan.forward, offsets_apart(window, window.LANES, window.MR), window.MR * window.LANES, 0
    later = ((part.line_of_all + 1) * forward.OW + part.first) * forward.blocks  # counted in outputs of a channel block
    for block in range(item.block, item.block + item.blocks):
        channel, here = channel_of(block, item, forward, window.LANES)
        gradients = dy, (part.line_of_all * forward.OW + item.jw) * forward.OC + channel, forward.OC
        if forward.in_place:
            stop_later = later + part.last - part.first
            prefetch(dy, later * window.LANES, stop_later * window.LANES)
            prefetch(inputs, later * plan.share + plan.ahead, stop_later * plan.share + plan.ahead)
            later = stop_later
        elif block == part.ragged:
            gradients = packed, part.line * forward.columns * window.LANES, window.LANES
        for group in range(plan.groups):
            lies = inputs, forward.row_offsets, part.table + group * window.R, part.at + here, forward.pixel, nothing
            acc = sum_pixels(window, plan, (part.first, part.last), load_rows(window, sums, rows, k, window.LANES), lies, gradients)
            store_rows(window, acc, sums, rows, k, window.LANES)
            k += size


@inlined
def sum_pixels(window, plan, pixels, acc, inputs, gradients):
    """Loop 1: U pixels of a line at a time; in a patch what is left of U pixels goes one by one."""
    (first, last), (x, table, row, at, step, nothing), (dy, to, pixel) = pixels, inputs, gradients
    whole = last if plan.forward.in_place else first + (last - first) // window.U * window.U
    for j in range(first, whole, window.U):
        place = j == 0, j == (plan.row - 1) * window.U
        acc = fma_pixels(window, acc, place, (x, table, row, at + j * window.S * step, step, nothing), (dy, to + j * pixel, pixel))
    for j in range(whole, last):
        acc = fma_pixels(single(window), acc, (False, False), (x, table, row, at + j * window.S * step, step, nothing), (dy, to + j * pixel, pixel))
    return acc


@serial
def store_items(work, tile, plan, totals, dw, db, accumulate):
    """Kernel rows of a channel block: dw (+)= the sum of all chunks' totals; those of row 0 store db, too."""
    forward, LANES, sums = plan.forward, tile.LANES, plan.R * plan.K + 1
    for i in range(work.first, work.stop):
        block, row = i % forward.blocks, i // forward.blocks
        channels = min(LANES, forward.OC - block * LANES)
        early = LANES - channels if forward.in_place else 0  # lanes of the block before
        start = early + block * plan.size + (row // plan.R * sums + row % plan.R * plan.K) * LANES
        for k in range(plan.K):
            to = forward.taps[row * plan.K + k] + block * LANES
            store_totals(plan, totals, start + k * LANES, dw[to : to + channels], accumulate)
        if row == 0 and plan.bias:
            to = block * LANES
            store_totals(plan, totals, early + block * plan.size + (sums - 1) * LANES, db[to : to + channels], accumulate)


@serial
def store_totals(plan, totals, start, to, accumulate):
    """to (+)= the sum over chunks of totals, rounded once before it is added to anything"""
    own, step = totals[start : start + len(to)], plan.forward.blocks * plan.size
    for chunk in range(1, plan.chunks):
        other = totals[start + chunk * step : start + chunk * step + len(to)]
        for lane in range(len(to)):
            own[lane] += other[lane]
    if accumulate:
        for lane in range(len(to)):
            to[lane] += to.dtype.type(own[lane])
    else:
        for lane in range(len(to)):
            to[lane] = own[lane]


class WeightGrad:
    """The pass bound to a geometry and dtype: `run(x, dy, dw, db, accumulate)` on flat arrays as kernels see them; db None if bias is False."""

    def __init__(self, g: Geometry, dtype: np.dtype, bias: bool):
        self.work, self.dtype = g.flops / FLOPS, np.dtype(dtype)
        self.forward, self.plan, window = gradient_plan(g, self.dtype, bias)
        self.record, self.run, self.tile = Record(self.plan), weight_grad.bind(), Tile(1, 1, window.LANES, self.dtype)
        array, part = np.empty(0, self.dtype), Part(*[0] * len(Part._fields))
        self.add_part = FunctionPointer(add_pixels, window, self.record, ITEM, part, (array, array), (array, array), array)
        self.no_bias = np.empty(0, self.dtype)

    def __call__(self, x, dy, dw, db, accumulate: bool) -> None:
        items = self.plan.chunks * self.forward.blocks
        totals = memory.empty((items * self.plan.size,), np.float64)
        scratch = memory.empty((chunks(items, self.work) * self.plan.scratch,), self.dtype)
        gradients = dw, self.no_bias if db is None else db, int(accumulate)
        self.run(self.work, self.tile, self.add_part, self.record, (x, dy), gradients, totals, scratch)


def weight_grad_error(g: Geometry, dtype: np.dtype) -> int:
    """The longest running sum; after it, float64 totals cost float32 one rounding, and float64 one for each."""
    outputs = g.N * g.OD * g.OH * g.OW
    return min(TERMS, outputs) + (2 if np.dtype(dtype) == np.float32 else outputs + CHUNKS)
