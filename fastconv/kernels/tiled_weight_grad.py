"""The weight gradient in register tiles: MR neighbouring terms x NR output channels, held over 64 pixels.

A term k = (kd, kh, kw, ic) is a place in the box of inputs; terms of one kernel row are neighbours, so a tile of them has one address for
each pixel. Sums run over at most 64 pixels in the arrays' dtype, then in float64: for each chunk of the pixels, then over the chunks, in order.
"""

import numpy as np
from numba import prange

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.host import tile_for
from fastconv.kernels.items import corner, inputs_of, outputs_of, shares
from fastconv.kernels.packing import clear, copy
from fastconv.kernels.policy import parallel, serial
from fastconv.kernels.tiled_plan import term_plan
from fastconv.kernels.vectors import add_wide, fma_run, zeros
from fastconv.kernels.walk import channels_last

CHUNKS = 16  # of the pixels
BLOCK = 64  # pixels of one running sum: their dy and inputs fit a first-level cache together (256: 5 % slower at 64 channels)
PARTIALS = 2 << 20  # bytes that the chunks' sums may take together: adding them up costs their memory's speed


@serial
def weight_grad_item(tile, MR, part, parts, chunk, group, source, dy, partials, plan, cells, from_pixels, to_pixels, firsts, box, panel, panel_rows):
    """Some of the terms in one group, over one chunk of the pixels: totals[p, tile, m, c] = sum over pixels of x[pixel, m] * dy[pixel, c]"""
    g = plan[0]
    chunks, G, P, rows, NR = partials.shape
    bands = -(-g.N // g.BN) * g.JD * g.down * g.across  # work items of the forward pass, in one group
    low, high = bands * chunk // chunks, bands * (chunk + 1) // chunks
    first_tile, last_tile = len(firsts) * part // parts, len(firsts) * (part + 1) // parts
    totals = partials[chunk, group].ravel()
    for band in range(low, high):  # loop 5: the chunk's bands, each packed once
        inside = g.JD * g.down * g.across
        _, n, jd, jh, jw, pixels, narrow = corner((band // inside * G + group) * inside + band % inside, plan)
        inputs = inputs_of(group, n, jd, jh, jw, source, plan, cells, box)
        outputs = outputs_of(group, n, jd, jh, jw, dy, plan)
        for first in range(0, pixels, BLOCK):  # loop 4: at most 64 pixels, then the sums go into the float64 totals
            count = min(BLOCK, pixels - first)
            reads = from_pixels[narrow, first : first + count]
            fresh = 1 if band == low and first == 0 else 0
            for p in range(P):  # loop 3: panels of NR output channels
                rest = g.T - p * NR
                at, out = to_pixels[narrow, first : first + count], outputs[p * NR :]
                if rest < NR:
                    for i in range(count):
                        copy(out, at[i], rest, panel, i * NR)
                        clear(panel, i * NR + rest, NR - rest)
                    at, out = panel_rows, panel
                for t in range(first_tile, last_tile):  # loop 2: tiles of MR neighbouring terms
                    k = firsts[t]
                    sums = zeros(tile)
                    for i in range(count):  # loop 1: the sum over pixels
                        sums = fma_run(tile, sums, inputs, k + reads[i], out, at[i])
                    add_wide(tile, sums, totals, (p * rows + t * MR) * NR, fresh)


@parallel
def weight_grad(tile, MR, parts, source, dy, partials, plan, cells, from_pixels, to_pixels, firsts, boxes, panels, panel_rows):
    """Every chunk of the pixels, group and part of the terms; each such item owns its sums in `partials`."""
    chunks, G = partials.shape[:2]
    items, shares = chunks * G * parts, boxes.shape[0]
    for share in prange(shares):  # loop 7
        for item in range(items * share // shares, items * (share + 1) // shares):  # loop 6
            part, chunk, group = np.int64(item) % parts, np.int64(item) // parts // G, np.int64(item) // parts % G
            weight_grad_item(
                tile, MR, part, parts, chunk, group, source, dy, partials, plan, cells, from_pixels, to_pixels, firsts,
                boxes[share], panels[share], panel_rows,
            )  # fmt: skip


@parallel
def add_chunks(partials, rows, dw):
    """dw[g, oc, k] = sum over chunks of partials[chunk, g, p, rows[k], r], in order; oc = p * NR + r"""
    chunks, _, P, _, NR = partials.shape
    G, T, K = dw.shape
    for item in prange(G * P):
        g, p = item // P, item % P
        for k in range(K):
            for r in range(min(NR, T - p * NR)):
                total = 0.0
                for chunk in range(chunks):
                    total += partials[chunk, g, p, rows[k], r]
                dw[g, p * NR + r, k] = total


def conv_weight_grad(x, dy, dw, g: Geometry) -> None:
    """Shape-fixed chunks of the pixels, each with float64 totals; the terms in parts where that makes more work items."""
    T, C = g.OC // g.G, g.IC // g.G
    tile = tile_for(T, x.dtype)
    plan, firsts, rows = term_plan(g, x.itemsize, tile.MR)
    size = g.OC * len(firsts) * tile.MR * 8
    chunks = max(1, min(CHUNKS, plan.items // g.G, PARTIALS // size))
    parts = max(1, min(shares(len(firsts) * chunks * g.G) // (chunks * g.G), len(firsts)))  # each packs its box anew
    partials = memory.empty((chunks, g.G, -(-T // tile.NR), len(firsts) * tile.MR, tile.NR), np.float64)
    boxes, panels = (memory.empty((shares(chunks * g.G * parts), size), x.dtype) for size in (plan.box + tile.MR, BLOCK * tile.NR))
    weight_grad(
        g.flops, tile, tile.MR, parts, channels_last(x).reshape(-1), channels_last(dy).reshape(-1), partials,
        plan.record, plan.cells, plan.from_pixels, plan.to_pixels, firsts, boxes, panels, np.arange(BLOCK) * tile.NR,
    )  # fmt: skip
    sums = np.empty((g.G, T, len(rows)), x.dtype)
    add_chunks(partials.size, partials, rows, sums)
    dw.reshape(g.OC, C, g.taps)[...] = sums.reshape(g.OC, g.taps, C).swapaxes(1, 2)


def roundings(g: Geometry, dtype: np.dtype) -> int:
    """The longest running sum; behind it, float64 sums cost float32 one rounding, and float64 one for each block and chunk."""
    plan = term_plan(g, np.dtype(dtype).itemsize, tile_for(g.OC // g.G, np.dtype(dtype)).MR).plan
    pixels = g.N * g.OD * g.OH * g.OW
    blocks = plan.items // g.G * -(-plan.from_pixels.shape[1] // BLOCK)
    return min(BLOCK, pixels) + (2 if dtype == np.float32 else blocks + CHUNKS)
