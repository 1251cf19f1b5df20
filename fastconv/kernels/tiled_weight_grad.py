"""The weight gradient in register tiles: terms x output channels, held over up to 256 pixels; the bias gradient from the same read of dy.

A term k = (kd, kh, kw, ic) is a place in the box of inputs; terms of one kernel row are neighbours, so a tile of them has one address for
each pixel. Sums run over at most 256 pixels in the arrays' dtype, then in float64: for each chunk of the pixels, then over the chunks, in order.
"""

import numpy as np
from numba import prange, types

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.items import corner, inputs_of, outputs_of, shares
from fastconv.kernels.policy import parallel, serial
from fastconv.kernels.tiled_calls import call, tiled
from fastconv.kernels.tiled_term_plan import BLOCK, SCATTERED, SWAPPED, term_plan
from fastconv.kernels.vectors import add_row, add_wide, fma, fma_run, move_row, places, zeros
from fastconv.kernels.walk import channels_last

CHUNKS = 16  # of the pixels
ADDED = 4096  # numbers of an item when chunks are added up
PARTIALS = 2 << 20  # bytes that the chunks' sums may take together: adding them up costs their memory's speed


@tiled(lambda f, i: (f[::1], i[::1], i, i, i, f[::1]))
def pack_rows(row, dy, at, pixels, channels, width, rows):
    """rows[i * width + c] = dy[at[i] + c], 0 behind the last channel"""
    for c in range(0, width, row.NR):
        for i in range(pixels):
            move_row(row, dy, at[i] + c, channels - c, rows, i * width + c)


@tiled(lambda f, i: (f[::1], i[::1], i, i, types.float64[::1], i))
def sum_rows(row, rows, at, pixels, width, totals, fresh):
    """totals[c] += the sum over all pixels i of rows[at[i] + c]"""
    for c in range(0, width, row.NR):
        for first in range(0, pixels, BLOCK):
            reads, sums = at[first : min(first + BLOCK, pixels)], zeros(row)
            for i in range(len(reads)):
                sums = add_row(row, sums, rows, reads[i] + c, row.NR)
            add_wide(row, sums, totals, c, 1 if fresh == 1 and first == 0 else 0)


@tiled(lambda f, i: (i, i, i, i, f[::1], i[::1], f[::1], i[::1], i, i[::1], i[::1], types.float64[::1], i))
def add_products(tile, first_pair, behind, A, scattered, a, at_a, b, at_b, pixels, places_a, firsts_b, totals, fresh):
    """totals[pair, m, r] += sum over pixels of a[at_a[pixel] + place m] * b[at_b[pixel] + first + r]"""
    for first in range(0, pixels, BLOCK):  # loop 3: at most 256 pixels, then the sums go into the float64 totals
        from_a, from_b = at_a[first : min(first + BLOCK, pixels)], at_b[first:]  # counted from 0: no test for a negative index
        for pair in range(first_pair, behind):  # loop 2: tiles
            m, r = pair % A * tile.MR, firsts_b[pair // A]
            sums = zeros(tile)
            if scattered:
                terms = places(tile, places_a, m, len(places_a) - 1)
                for i in range(len(from_a)):  # loop 1: the sum over pixels
                    sums = fma(tile, sums, a, terms, from_a[i], b, r + from_b[i])
            else:
                k = places_a[m]
                for i in range(len(from_a)):
                    sums = fma_run(tile, sums, a, k + from_a[i], b, r + from_b[i])
            add_wide(tile, sums, totals, pair * tile.MR * tile.NR, 1 if fresh == 1 and first == 0 else 0)


@serial
def weight_grad_item(
    add_products, pack_rows, sum_rows, part, parts, chunk, group, source, dy, totals, bias_totals, plan, cells, from_pixels, to_pixels, cut,
    places_a, firsts_b, box, rows, row_places,
):  # fmt: skip
    """Some of the tiles of one group, over one chunk of the pixels: totals[tile, m, r] = sum over pixels of a[pixel, m] * b[pixel, r]"""
    g, c = plan[0], cut[0]
    inside = g.JD * g.down * g.across  # bands of an image: work items of the forward pass in one group
    chunks, bands = len(totals), -(-g.N // g.BN) * inside
    low, high = bands * chunk // chunks, bands * (chunk + 1) // chunks
    first_pair, behind = c.A * c.B * part // parts, c.A * c.B * (part + 1) // parts
    for band in range(low, high):  # loop 4: the chunk's bands, each packed once
        _, n, jd, jh, jw, pixels, narrow = corner((band // inside * g.G + group) * inside + band % inside, plan)
        inputs, reads = inputs_of(group, n, jd, jh, jw, source, plan, cells, box), from_pixels[narrow]
        outputs = outputs_of(group, n, jd, jh, jw, dy, plan)
        fresh = 1 if band == low else 0
        gradients, at, panel = outputs, to_pixels[narrow], len(row_places) * c.width
        if c.copied:
            for p in range(c.panels):
                call(pack_rows, outputs[p * c.width :], at, pixels, g.T - p * c.width, c.width, rows[p * panel :])
            gradients, at = rows, row_places
        if part == 0:
            for first in range(0, bias_totals.shape[2], c.width):  # none where no bias gradient is wanted
                sums = bias_totals[chunk, group, first:]
                call(sum_rows, gradients[first // c.width * panel :], at, pixels, c.width, sums, fresh)
        if c.choice == SWAPPED:
            a, at_a, b, at_b = gradients, at, inputs, reads
        else:
            a, at_a, b, at_b = inputs, reads, gradients, at
        scattered = 1 if c.choice == SCATTERED else 0
        sums = totals[chunk, group]
        call(add_products, first_pair, behind, c.A, scattered, a, at_a, b, at_b, pixels, places_a, firsts_b, sums, fresh)


@parallel
def weight_grad(
    add_products, pack_rows, sum_rows, parts, source, dy, totals, bias_totals, plan, cells, from_pixels, to_pixels, cut, places_a, firsts_b,
    scratch, box, row_places,
):  # fmt: skip
    """Every chunk of the pixels, group and part of the tiles; each such item owns its sums in `totals`, each share of the items its scratch."""
    chunks, G = totals.shape[:2]
    items, shares = chunks * G * parts, scratch.shape[0]
    for share in prange(shares):  # loop 6
        for item in range(items * share // shares, items * (share + 1) // shares):  # loop 5
            part, chunk, group = np.int64(item) % parts, np.int64(item) // parts // G, np.int64(item) // parts % G
            weight_grad_item(
                add_products, pack_rows, sum_rows, part, parts, chunk, group, source, dy, totals, bias_totals, plan, cells, from_pixels, to_pixels,
                cut, places_a, firsts_b, scratch[share, :box], scratch[share, box:], row_places,
            )  # fmt: skip


@parallel
def add_chunks(totals, bias_totals):
    """totals[0] += totals[1], then totals[2], ...; bias_totals[0] alike"""
    chunks, G, size = totals.shape
    blocks = -(-size // ADDED)
    for item in prange(G * blocks):
        g, first = item // blocks, item % blocks * ADDED
        sums = totals[0, g, first : first + ADDED]
        for chunk in range(1, chunks):
            more = totals[chunk, g, first : first + ADDED]
            for i in range(len(sums)):
                sums[i] += more[i]
        if first == 0:
            for chunk in range(1, chunks):
                for t in range(bias_totals.shape[2]):
                    bias_totals[0, g, t] += bias_totals[chunk, g, t]


@parallel
def deal_out(totals, of_term, of_channel, dw):
    """dw[g, t, c, tap] = totals[g, of_term[tap * C + c] + of_channel[t]]"""
    G, T, C, taps = dw.shape
    for item in prange(G * T):
        g, t = item // T, item % T
        numbers = totals[g, of_channel[t] :]
        for c in range(C):
            for tap in range(taps):
                dw[g, t, c, tap] = numbers[of_term[tap * C + c]]


def conv_weight_grad(x, dy, dw, db, g: Geometry) -> None:
    """Shape-fixed chunks of the pixels, each with float64 totals; the tiles in parts where that makes more work items."""
    T, C = g.OC // g.G, g.IC // g.G
    terms = term_plan(g, x.dtype)
    plan, tile, cut = terms.plan, terms.tile, terms.cut
    pairs, width = cut.A * cut.B, cut.width * cut.panels
    size = pairs * tile.MR * tile.NR
    chunks = max(1, min(CHUNKS, plan.items // g.G, PARTIALS // (g.G * size * 8)))
    parts = -(-shares(pairs * chunks * g.G) // (chunks * g.G))  # each packs its boxes anew
    totals = memory.empty((chunks, g.G, size), np.float64)
    bias_totals = memory.empty((chunks, g.G, 0 if db is None else width), np.float64)
    box, rows = memory.lines(plan.box + tile.MR + tile.NR, x.dtype), memory.lines(len(terms.row_places) * width + tile.MR, x.dtype)
    scratch = memory.empty((shares(chunks * g.G * parts), box + rows), x.dtype)
    kernels = add_products.on(tile), pack_rows.on(terms.row), sum_rows.on(terms.row)
    weight_grad(
        g.flops, *kernels, parts, channels_last(x).reshape(-1), channels_last(dy).reshape(-1), totals, bias_totals,
        plan.record, plan.cells, plan.from_pixels, plan.to_pixels, terms.record, terms.places_a, terms.firsts_b, scratch, box, terms.row_places,
    )  # fmt: skip
    if chunks > 1:
        add_chunks(totals.size, totals, bias_totals)
    deal_out(dw.size, totals[0], terms.of_term, terms.of_channel, dw.reshape(g.G, T, C, g.taps))
    if db is not None:
        db.reshape(g.G, T)[...] = bias_totals[0, :, :T]


def roundings(g: Geometry, dtype: np.dtype) -> int:
    """The longest running sum; behind it, float64 sums cost float32 one rounding, and float64 one for each block and chunk."""
    plan = term_plan(g, np.dtype(dtype)).plan
    pixels = g.N * g.OD * g.OH * g.OW
    blocks = plan.items // g.G * -(-plan.from_pixels.shape[1] // BLOCK)
    return min(BLOCK, pixels) + (2 if dtype == np.float32 else blocks + CHUNKS)
