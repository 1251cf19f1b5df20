"""The weight gradient: a GEMM over pixels, K x output channels in register tiles; the bias gradient from the same read of dy.

    dw[k, n] = sum over pixels m of x[input_offsets[m] + k] * dy[m, n]

Running sums have at most 256 pixels, then they are added to float64 totals: of each chunk of the pixels, then over the chunks, in order. The
sums of all chunks go into dw, (K, OC) as the weights lie in memory, overwriting or adding. Where one running sum is all of it (`plan.direct`),
there are no totals.
"""

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.compile import FLOPS, Record, chunks, driver, inlined, outlined, serial, spread
from fastconv.kernels.igemm.items import inputs_ahead, inputs_of, item_of, outputs_ahead, outputs_of
from fastconv.kernels.igemm.weight_plan import GATHERED, LANES_ARE_K, parts, weight_plan
from fastconv.kernels.simd.ahead import fetch
from fastconv.kernels.simd.arithmetic import add, add_row, fma_contiguous, fma_gathered, zeros
from fastconv.kernels.simd.host import TERMS
from fastconv.kernels.simd.memory import add_to_totals, load_rows, move_column, move_row, offsets, offsets_apart, store_rows
from fastconv.kernels.simd.tile import one_row

FLOAT64 = np.dtype(np.float64)
SLICE = 2048  # totals that are added up at once: half of an L1


@driver
def weight_grad(pool, tile, plan, x, dy, gradients, totals, scratch):
    """The pass. x, dy: (N, D, H, W, C), dw: (taps, IC/G, OC), flat. gradients: dw, db, and 1 to add to what they hold.

    totals: for each chunk and group, and one element more for each part that the tiles are cut into; scratch: for each chunk of the work.
    """
    dw, db, accumulate = gradients
    sums = plan.chunks * plan.pixels.G
    parts = len(totals) - sums * plan.size
    chunks, rows = len(scratch) // plan.scratch, len(plan.k_index)
    spread(pool, chunks, sums * parts, product_items, scratch, tile, plan, parts, x, dy, (totals, dw, accumulate))
    if plan.chunks > 1:
        slices = -(-sums * plan.size // (plan.chunks * SLICE))
        spread(pool, min(chunks, slices), slices, add_items, scratch, plan, totals)
    if plan.direct == 0:
        spread(pool, min(chunks, rows), rows, store_items, scratch, plan, totals, dw, accumulate)
    if plan.bias:
        store_bias(plan, totals, db, accumulate)


@serial
def product_items(work, tile, plan, parts, x, dy, sums):
    """Loops 5 and 4: a part of the tiles, in one group, over one chunk of the pixels, band after band; each owns its totals, or its tiles of dw."""
    (totals, dw, accumulate), pixels, tiles = sums, plan.pixels, plan.a_tiles * plan.b_tiles
    for i in range(work.first, work.stop):
        part, group, chunk = i % parts, i // parts % pixels.G, i // parts // pixels.G
        own = totals[(chunk * pixels.G + group) * plan.size :]
        mine = tiles * part // parts, tiles * (part + 1) // parts
        first = plan.bands * chunk // plan.chunks
        for band in range(first, plan.bands * (chunk + 1) // plan.chunks):
            item, later = item_of(number_of(band, group, pixels), pixels), item_of(number_of(band + 1, group, pixels), pixels)
            inputs, gradients = operands_of(tile, plan, item, mine, x, dy, work.scratch)
            if plan.bias and part == 0:
                sum_dy(tile, plan, item, outputs_of(item, pixels, dy), own, band == first)
            sums_of_band = (mine[1] - mine[0]) * -(-item.pixels // TERMS)
            ahead = inputs_ahead(x, item, later, pixels, sums_of_band), outputs_ahead(dy, item, later, pixels, sums_of_band)
            a, b = (gradients, inputs) if plan.way == LANES_ARE_K else (inputs, gradients)
            multiply(tile, plan, item, mine, (a, b, work.scratch[plan.column :]), (own, dw, accumulate, band == first), ahead)


@inlined
def number_of(band, group, pixels):
    """Of an item: those of an image's groups follow one another."""
    per_image = pixels.JD * pixels.items_h * pixels.items_w
    return (band // per_image * pixels.G + group) * per_image + band % per_image


@inlined
def operands_of(tile, plan, item, tiles, x, dy, scratch):
    """A band's inputs and those panels of dy that its tiles read, packed now or where they lie, each with where its pixels start."""
    pixels = plan.pixels
    inputs = inputs_of(item, pixels, x, scratch), pixels.input_offsets[item.narrow]
    gradients = outputs_of(item, pixels, dy), pixels.output_offsets[item.narrow]
    if plan.copied:
        panels, first, stop = scratch[plan.patch :], 0, plan.panels
        if plan.way != LANES_ARE_K and plan.direct == 0:  # all a of a panel come first
            first, stop = tiles[0] // plan.a_tiles, (tiles[1] - 1) // plan.a_tiles + 1
        pack_dy(tile, plan, item, gradients[0], gradients[1], panels, (first, stop))
        gradients = panels, plan.dy_rows
    return inputs, gradients


@inlined
def multiply(tile, plan, item, tiles, operands, sums, ahead):
    """Loops 3 and 2: sums[m, n] (+)= sum over pixels of a[a_offset + m] * b[b_offset + n], tile after tile, 256 pixels at a time

    operands: a, b, and room for a column. Where sums go into dw at once, pixels are images, whose rows of x may be pages apart: each tile's part
    of them is copied into a column for all b (9216 -> 128 1.3, 2048 -> 256 1.3, 2592 -> 256 1.1 times as fast).
    """
    (a, b, column), (totals, dw, accumulate, fresh), number = operands, sums, 0
    for first in range(0, item.pixels, TERMS):
        a_rows, b_rows = a[1][first : min(first + TERMS, item.pixels)], b[1][first:]  # counted from 0: no test for a negative index
        for t in range(tiles[0], tiles[1]):
            fetch(ahead[0], number)
            fetch(ahead[1], number)
            number += 1
            if plan.direct:  # a way of its own through the loop: sums that met those of other ways would pass through memory
                m, n = t // plan.b_tiles * tile.MR, t % plan.b_tiles
                if n == 0 or t == tiles[0]:
                    copy_column(tile, plan, t // plan.b_tiles, a[0], a_rows, column)
                acc = sum_contiguous(tile, 0, column, plan.column_rows, b[0], b_rows, plan.b_starts[n])
                store_tile(tile, plan, item, m, n * tile.NR, acc, (dw, accumulate))
                continue
            m, n, anew = t % plan.a_tiles * tile.MR, plan.b_starts[t // plan.a_tiles], 1 if fresh and first == 0 else 0
            if plan.way == GATHERED:
                add_to_totals(tile, sum_gathered(tile, plan.a_offsets, m, a[0], a_rows, b[0], b_rows, n), totals, t * tile.MR * tile.NR, anew)
            else:
                acc = sum_contiguous(tile, plan.a_offsets[m], a[0], a_rows, b[0], b_rows, n)
                add_to_totals(tile, acc, totals, t * tile.MR * tile.NR, anew)


@inlined
def store_tile(tile, plan, item, m, n, acc, out):
    """dw[k, n] (+)= acc, a tile of k and n; rows past the last k repeat it"""
    (dw, accumulate), C, G = out, plan.pixels.OCG, plan.pixels.G
    rows, to = dw[m * G * C + item.group * C :], offsets_apart(tile, G * C, len(plan.k_index) - m)
    if accumulate:
        acc = add(tile, load_rows(tile, rows, to, n, C - n), acc)
    store_rows(tile, acc, rows, to, n, C - n)


@inlined
def sum_contiguous(tile, m, a, a_rows, b, b_rows, n):
    """Loop 1: acc[i, j] = sum over pixels of a[a_row + m + i] * b[b_row + n + j]"""
    acc = zeros(tile)
    for i in range(len(a_rows)):
        acc = fma_contiguous(tile, acc, a, m + a_rows[i], b, n + b_rows[i])
    return acc


@inlined
def sum_gathered(tile, a_offsets, m, a, a_rows, b, b_rows, n):
    """Loop 1: acc[i, j] = sum over pixels of a[a_row + a_offsets[m + i]] * b[b_row + n + j]"""
    acc, rows = zeros(tile), offsets(tile, a_offsets, m, len(a_offsets) - 1)
    for i in range(len(a_rows)):
        acc = fma_gathered(tile, acc, a, rows, a_rows[i], b, n + b_rows[i])
    return acc


@inlined
def copy_column(tile, plan, t, a, a_rows, column):
    """column[i, m] = a[a_rows[i] + a_offsets[t, m]]"""
    offsets = plan.a_offsets[t * tile.MR : (t + 1) * tile.MR]
    if plan.neighbors[t]:
        at = offsets[0]
        for i in range(len(a_rows)):
            move_column(tile, a, a_rows[i] + at, column, i * tile.MR)
    else:
        for m in range(tile.MR):
            at = offsets[m]
            for i in range(len(a_rows)):
                column[i * tile.MR + m] = a[a_rows[i] + at]


@inlined
def pack_dy(tile, plan, item, dy, dy_offsets, panels, these):
    """panels[p, m, n] = dy[dy_offsets[m] + p * width + n], 0 after the last channel, for some p"""
    channels, size = plan.pixels.OCG, len(plan.dy_rows) * plan.width
    for p in range(these[0], these[1]):
        for n in range(0, plan.width, tile.NR):
            first = p * plan.width + n
            for m in range(item.pixels):
                move_row(tile, dy, dy_offsets[m] + first, channels - first, panels, p * size + m * plan.width + n)


@inlined
def sum_dy(tile, plan, item, dy, totals, fresh):
    """The bias gradient's totals, after those of the tiles: (+)= sum over pixels of dy, 256 at a time"""
    row, rows, channels = one_row(tile), plan.pixels.output_offsets[item.narrow], plan.pixels.OCG
    to = plan.size - plan.panels * plan.width
    for n in range(0, channels, tile.NR):
        for first in range(0, item.pixels, TERMS):
            acc = zeros(row)
            for i in range(first, min(first + TERMS, item.pixels)):
                acc = add_row(row, acc, dy, rows[i] + n, channels - n)
            add_to_totals(row, acc, totals, to + n, 1 if fresh and first == 0 else 0)


@inlined
def rounded(like, value):
    """A float64 sum, rounded once to the dtype of an array before anything is added to it."""
    return like.dtype.type(value)


@serial
def add_items(work, plan, totals):
    """The totals of the first chunk become those of all chunks, added in order: some slices"""
    size = plan.pixels.G * plan.size
    for first in range(work.first * SLICE, min(work.stop * SLICE, size), SLICE):
        own = totals[first : min(first + SLICE, size)]
        for chunk in range(1, plan.chunks):
            more = totals[chunk * size + first :]
            for i in range(len(own)):
                own[i] += more[i]


@serial
def store_items(work, plan, totals, dw, accumulate):
    """Rows k of dw: dw[k, n] (+)= its total"""
    G, C = plan.pixels.G, plan.pixels.OCG
    for group in range(G):
        for k in range(work.first, work.stop):
            row = dw[(k * G + group) * C : (k * G + group + 1) * C]
            for n in range(C):
                total = totals[group * plan.size + plan.k_index[k] + plan.n_index[n]]
                row[n] = rounded(row, total) + row[n] if accumulate else total


@outlined
def store_bias(plan, totals, db, accumulate):
    """db[n] (+)= the total of dy"""
    G, C, bias = plan.pixels.G, plan.pixels.OCG, plan.size - plan.width * plan.panels
    for group in range(G):
        for n in range(C):
            total, i = totals[group * plan.size + bias + n], group * C + n
            db[i] = rounded(db, total) + db[i] if accumulate else total


class WeightGrad:
    """The pass bound to a geometry and dtype: `run(x, dy, dw, db, accumulate)` on flat arrays as kernels see them; db None if bias is False."""

    def __init__(self, g: Geometry, dtype: np.dtype, bias: bool):
        self.work, self.G, self.dtype = g.flops / FLOPS, g.G, np.dtype(dtype)
        self.plan, self.tile = weight_plan(g, self.dtype, bias)
        self.record, self.run = Record(self.plan), weight_grad.bind()
        self.no_bias = np.empty(0, self.dtype)

    def __call__(self, x, dy, dw, db, accumulate: bool) -> None:
        plan, sums = self.plan, self.plan.chunks * self.G
        cut = parts(plan, self.G, self.work)
        totals = memory.scratch(sums * plan.size + cut, FLOAT64, "totals")
        scratch = memory.scratch(chunks(sums * cut, self.work) * plan.scratch, self.dtype)
        gradients = dw, self.no_bias if db is None else db, int(accumulate)
        self.run(self.work, self.tile, self.record, x, dy, gradients, totals, scratch)
