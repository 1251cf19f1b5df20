"""Direct convolution at the machine's peak: register tiles of MR pixels x NR channels, run across rows and images by tables of places.

    multiply        loops 1 to 4 around the micro-kernel's one word, `fma`
    correlate       loops 5 and 6: work items, each packs its box of inputs and owns its outputs

Forward pass and input gradient are the same loops; tables (`tiled_plan`) say what they walk over. Sums run over at most 256 terms in the
arrays' dtype, then over such blocks, in the order kd, kh, kw, ic: whatever the tile, the cut and the batch, a sum has the same bits.
"""

import numpy as np
from numba import prange

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.host import TERMS, tile_for
from fastconv.kernels.packing import clear, copy, pack_box, pack_panels
from fastconv.kernels.policy import get_num_threads, parallel, serial
from fastconv.kernels.tiled_plan import Plan, backward_plans, forward_plans, term_plan
from fastconv.kernels.vectors import add_row, add_rows, add_wide, fma, fma_run, places, store_rows, zeros
from fastconv.kernels.walk import channels_last

CHUNKS, ITEMS = 16, 16  # of the weight gradient's pixels; work items, if there is enough to cut
PARTIALS = 2 << 20  # bytes that the chunks' sums may take together: adding them up costs their memory's speed


@serial
def multiply(tile, MR, source, from_pixels, panels, bias, target, to_pixels, pixels, channel, channels, runs, blocks):
    """target[to_pixels[i] + c] = bias[channel + c] + sum over the runs of source[from_pixels[i] + ...] * panels[..., c]"""
    NR = panels.shape[2]
    flat = panels.ravel()
    last = pixels - 1
    for p in range(panels.shape[0]):  # loop 4: panels of NR output channels
        c = p * NR
        for block in range(len(blocks) - 1):  # loop 3: at most 256 terms; this part of the panel stays in the first-level cache
            for t in range(0, pixels, MR):  # loop 2: tiles of MR pixels
                reads, writes = places(tile, from_pixels, t, last), places(tile, to_pixels, t, last)
                sums = zeros(tile)
                w = (p * panels.shape[1] + block * TERMS) * NR
                for run in range(blocks[block], blocks[block + 1]):  # loop 1: the sum, a run of neighbours at a time
                    first = runs[run, 0]
                    for k in range(first, first + runs[run, 1]):
                        sums = fma(tile, sums, source, reads, k, flat, w)
                        w += NR
                rest = channels - c
                sums = add_row(tile, sums, bias, channel + c, rest) if block == 0 else add_rows(tile, sums, target, writes, c, rest)
                store_rows(tile, sums, target, writes, c, rest)


@serial
def corner(item, plan):
    """Where a work item begins: group, image, first targets along each axis; how many pixels it has, and whether its rows are the narrow ones."""
    g = plan[0]
    item, jw = item // g.across, item % g.across * g.columns
    item, jh = item // g.down, item % g.down * g.rows
    item, jd = item // g.JD, item % g.JD
    group, n = item % g.G, item // g.G * g.BN
    columns = min(g.columns, g.JW - jw)
    return group, n, jd, jh, jw, min(g.BN, g.N - n) * min(g.rows, g.JH - jh) * columns, 1 if columns < g.columns else 0


@serial
def inputs_of(group, n, jd, jh, jw, source, plan, box):
    """The item's inputs: its box, packed now, or the source itself from the item's first cell on."""
    g = plan[0]
    d, h, w = jd * g.SD + g.low_d, jh * g.SH + g.low_h, jw * g.SW + g.low_w
    if not g.packed:
        return source[(((n * g.ID + d) * g.IH + h) * g.IW + w) * g.IC + group * g.C :]
    pack_box(source, n, d, h, w, group, plan, box)
    return box


@serial
def outputs_of(group, n, jd, jh, jw, target, plan):
    """The target from the item's first pixel and its group's first channel on."""
    g = plan[0]
    d, h, w = jd * g.step_d + g.first_d, jh * g.step_h + g.first_h, jw * g.step_w + g.first_w
    return target[(((n * g.OD + d) * g.OH + h) * g.OW + w) * g.OC + group * g.T :]


@serial
def correlate_item(tile, MR, item, source, panels, bias, target, plan, from_pixels, to_pixels, runs, blocks, box):
    """The outputs of some images, or of a rectangle of one, in one group of channels."""
    g = plan[0]
    group, n, jd, jh, jw, pixels, narrow = corner(item, plan)
    inputs = inputs_of(group, n, jd, jh, jw, source, plan, box)
    outputs = outputs_of(group, n, jd, jh, jw, target, plan)
    channel = group * g.T
    multiply(tile, MR, inputs, from_pixels[narrow], panels[group], bias, outputs, to_pixels[narrow], pixels, channel, g.T, runs, blocks)


@parallel
def correlate(tile, MR, items, source, panels, bias, target, plan, from_pixels, to_pixels, runs, blocks, boxes):
    """Every pixel and channel of one pass; each item owns its outputs, each share of the items has a box to pack into."""
    shares = boxes.shape[0]
    for share in prange(shares):  # loop 6; np.int64: prange counts unsigned, which would compile all again
        for item in range(items * share // shares, items * (share + 1) // shares):  # loop 5
            correlate_item(tile, MR, np.int64(item), source, panels, bias, target, plan, from_pixels, to_pixels, runs, blocks, boxes[share])


def shares(items: int) -> int:
    """Into how many shares items are dealt out: some for each thread, so that a thread that is held up holds up little."""
    return min(items, 4 * get_num_threads())


def run(plans: tuple[Plan, ...], flops: float, source: np.ndarray, w: np.ndarray, bias: np.ndarray, target: np.ndarray) -> None:
    """All passes. source, target: channels-last, flat; w: (G, T, C, taps)."""
    G, T, C, _ = w.shape
    tile = tile_for(T, source.dtype)
    boxes = memory.empty((shares(max(plan.items for plan in plans)), max(plan.box for plan in plans)), source.dtype)
    for plan in plans:
        panels = memory.empty((G, -(-T // tile.NR), len(plan.taps) * C, tile.NR), source.dtype)
        pack_panels(w, plan.taps, panels)
        tables = plan.record, plan.from_pixels, plan.to_pixels, plan.runs, plan.blocks
        correlate(flops / len(plans), tile, tile.MR, plan.items, source, panels, bias, target, *tables, boxes)


@serial
def weight_grad_item(tile, MR, part, parts, chunk, group, source, dy, partials, plan, from_pixels, to_pixels, firsts, box, panel, panel_rows):
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
        inputs = inputs_of(group, n, jd, jh, jw, source, plan, box)
        outputs = outputs_of(group, n, jd, jh, jw, dy, plan)
        for first in range(0, pixels, TERMS):  # loop 4: at most 256 pixels, then the sums go into the float64 totals
            count = min(TERMS, pixels - first)
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
def weight_grad(tile, MR, parts, source, dy, partials, plan, from_pixels, to_pixels, firsts, boxes, panels, panel_rows):
    """Every chunk of the pixels, group and part of the terms; each such item owns its sums in `partials`."""
    chunks, G = partials.shape[:2]
    items, shares = chunks * G * parts, boxes.shape[0]
    for share in prange(shares):  # loop 7
        for item in range(items * share // shares, items * (share + 1) // shares):  # loop 6
            part, chunk, group = np.int64(item) % parts, np.int64(item) // parts // G, np.int64(item) // parts % G
            weight_grad_item(
                tile, MR, part, parts, chunk, group, source, dy, partials, plan, from_pixels, to_pixels, firsts,
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


def conv_forward(x, w, b, y, g: Geometry) -> None:
    weights = w.reshape(g.G, g.OC // g.G, g.IC // g.G, g.taps)
    run(forward_plans(g, x.itemsize), g.flops, channels_last(x).reshape(-1), weights, b, channels_last(y).reshape(-1))


def conv_input_grad(dy, w, dx, g: Geometry) -> None:
    weights = np.ascontiguousarray(w.reshape(g.G, g.OC // g.G, g.IC // g.G, g.taps).swapaxes(1, 2))
    plans = backward_plans(g, dy.itemsize)
    run(plans, g.flops, channels_last(dy).reshape(-1), weights, np.zeros(g.IC, dy.dtype), channels_last(dx).reshape(-1))


def conv_weight_grad(x, dy, dw, g: Geometry) -> None:
    """Shape-fixed chunks of the pixels, each with float64 totals; the terms in parts where that makes more work items."""
    T, C = g.OC // g.G, g.IC // g.G
    tile = tile_for(T, x.dtype)
    plan, firsts, rows = term_plan(g, x.itemsize, tile.MR)
    size = g.OC * len(firsts) * tile.MR * 8
    chunks = max(1, min(CHUNKS, plan.items // g.G, PARTIALS // size))
    parts = max(1, min(ITEMS // (chunks * g.G), len(firsts)))
    partials = memory.empty((chunks, g.G, -(-T // tile.NR), len(firsts) * tile.MR, tile.NR), np.float64)
    boxes, panels = (memory.empty((shares(chunks * g.G * parts), size), x.dtype) for size in (plan.box + tile.MR, TERMS * tile.NR))
    weight_grad(
        g.flops, tile, tile.MR, parts, channels_last(x).reshape(-1), channels_last(dy).reshape(-1), partials,
        plan.record, plan.from_pixels, plan.to_pixels, firsts, boxes, panels, np.arange(TERMS) * tile.NR,
    )  # fmt: skip
    sums = np.empty((g.G, T, len(rows)), x.dtype)
    add_chunks(partials.size, partials, rows, sums)
    dw.reshape(g.OC, C, g.taps)[...] = sums.reshape(g.OC, g.taps, C).swapaxes(1, 2)


def forward_roundings(g: Geometry, dtype: np.dtype) -> int:
    """In units of u * sum |x * w|: the longest running sum, then the sums of the blocks, then the bias."""
    return _roundings(g.IC // g.G * g.taps)


def input_grad_roundings(g: Geometry, dtype: np.dtype) -> int:
    return _roundings(g.OC // g.G * g.taps)


def weight_grad_roundings(g: Geometry, dtype: np.dtype) -> int:
    """The longest running sum; behind it, float64 sums cost float32 one rounding, and float64 one for each block and chunk."""
    plan = term_plan(g, np.dtype(dtype).itemsize, tile_for(g.OC // g.G, np.dtype(dtype)).MR).plan
    pixels = g.N * g.OD * g.OH * g.OW
    blocks = plan.items // g.G * -(-plan.from_pixels.shape[1] // TERMS)
    return min(TERMS, pixels) + (2 if dtype == np.float32 else blocks + CHUNKS)


def _roundings(terms: int) -> int:
    return min(TERMS, terms) + -(-terms // TERMS) + 1
