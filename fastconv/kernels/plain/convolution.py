"""Convolution as a good Numba programmer writes it: gather a patch of inputs, multiply it with a panel of weights.

    gather      copies what 32 outputs read into a small matrix, patch[pixel, term]; padding, stride, dilation, groups end there
    multiply    sums += patch @ panel, 32 channels at a time; all arithmetic of the three passes is in this one loop

A term k of an output's sum is (kd, kh, kw, ic), flattened in that order. The three passes:

    forward          y[pixel, oc] = sum over k of      patch[pixel, k] * w[k, oc]      patch of x, read through `reads`
    input gradient   dx[pixel, ic] = sum over k of     patch[pixel, k] * w[k, ic]      patch of dy, read through `collects`
    weight gradient  dw[k, oc] = sum over pixels of    patch[pixel, k] * dy[pixel, oc]

Sums run over at most 256 terms in the arrays' dtype; such partial sums are added up in order, in float64 for the weight gradient.
"""

import numpy as np
from numba import prange

from fastconv import memory
from fastconv.geometry import Geometry, collects, reads
from fastconv.kernels.compile import parallel, serial
from fastconv.kernels.plain.lookup import find

PIXELS = 32  # outputs per patch: 32 x 256 floats fill a 32 KB first-level cache
TERMS = 256  # terms per patch, and the longest float32 running sum
PANEL = 32  # channels of the innermost loop; a constant, so that LLVM makes it 4 vectors without remainder (18 -> 37 GFLOP/s alone)
CHUNKS = 16  # of the weight gradient's pixels, each with partial sums of its own
PARTIALS = 8 << 20  # bytes they may take together


@serial
def multiply(patch, row_step, term_step, rows, terms, panel, sums):
    """sums[r, c] += sum over k of patch[r * row_step + k * term_step] * panel[k, c], for rows r rounded up to even"""
    for r in range(0, rows, 2):  # two rows at once use each weight twice, four terms at once use each sum four times
        two = sums[r * PANEL : (r + 2) * PANEL]
        even = terms // 4 * 4
        for k in range(0, even, 4):
            a, b = r * row_step + k * term_step, (r + 1) * row_step + k * term_step
            a0, a1, a2, a3 = patch[a], patch[a + term_step], patch[a + 2 * term_step], patch[a + 3 * term_step]
            b0, b1, b2, b3 = patch[b], patch[b + term_step], patch[b + 2 * term_step], patch[b + 3 * term_step]
            w = panel[k * PANEL : (k + 4) * PANEL]
            for c in range(PANEL):
                w0, w1, w2, w3 = w[c], w[c + PANEL], w[c + 2 * PANEL], w[c + 3 * PANEL]
                two[c] = two[c] + a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
                two[c + PANEL] = two[c + PANEL] + b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
        for k in range(even, terms):
            a0, b0 = patch[r * row_step + k * term_step], patch[(r + 1) * row_step + k * term_step]
            w = panel[k * PANEL : (k + 1) * PANEL]
            for c in range(PANEL):
                two[c] = two[c] + a0 * w[c]
                two[c + PANEL] = two[c + PANEL] + b0 * w[c]


@serial
def gather(source, depth, row, column, steps, first, pixels, extents, c0, C, t0, t1, patch):
    """patch[p, (t - t0) * C + c] = what pixel first + p reads through tap t in channel c0 + c; 0 in the padding"""
    TD, TH, TW = extents
    KH, KW = steps[1, 0], steps[2, 0]
    _, SD, SH, SW, SC = source.shape
    flat = source.ravel()
    kd0, kh0, kw0 = t0 // (KH * KW), t0 // KW % KH, t0 % KW
    n, td, th, tw = first // (TD * TH * TW), first // (TH * TW) % TD, first // TW % TH, first % TW
    for p in range(pixels):
        k = p * TERMS
        kd, kh, kw = kd0, kh0, kw0
        for _ in range(t0, t1):
            sd, sh, sw = find(depth, steps, 0, td, kd), find(row, steps, 1, th, kh), find(column, steps, 2, tw, kw)
            to = patch[k : k + C]
            if sd >= 0 and sh >= 0 and sw >= 0:
                at = (((n * SD + sd) * SH + sh) * SW + sw) * SC + c0
                pixel = flat[at : at + C]
                for c in range(C):
                    to[c] = pixel[c]
            else:
                for c in range(C):
                    to[c] = 0
            k += C
            kd, kh, kw = following(kd, kh, kw, KH, KW)
        td, th, tw = following(td, th, tw, TH, TW)
        if td == TD:
            td, n = 0, n + 1


@serial
def following(d, h, w, H, W):
    """The next (d, h, w) in row-major order, without a division."""
    w += 1
    if w == W:
        w, h = 0, h + 1
        if h == H:
            h, d = 0, d + 1
    return d, h, w


@serial
def blocks(C, taps):
    """Into how many blocks of at most 256 terms a sum is cut: whole taps, or parts of a wide one."""
    return taps * -(-C // TERMS) if C > TERMS else -(-taps // (TERMS // C))


@serial
def block_of(block, C, taps):
    """The taps t0..t1 and the channels c0..c0 + width of one block."""
    if C > TERMS:
        parts = -(-C // TERMS)
        t0, c0 = block // parts, block % parts * TERMS
        return t0, t0 + 1, c0, min(TERMS, C - c0)
    each = TERMS // C
    return block * each, min(taps, (block + 1) * each), 0, C


@serial
def correlate_item(item, source, panels, bias, target, depth, row, column, steps):
    """The outputs of 32 pixels in one group of channels: their sums block by block, each block added to what `target` holds."""
    G, P = panels.shape[:2]
    C, T = source.shape[4] // G, target.shape[4] // G
    taps = steps[0, 0] * steps[1, 0] * steps[2, 0]
    flat = target.reshape(-1, target.shape[4])
    first, group = item // G * PIXELS, item % G
    pixels = min(PIXELS, flat.shape[0] - first)
    patch = np.empty(PIXELS * TERMS, source.dtype)
    sums = np.empty(PIXELS * PANEL, source.dtype)
    for block in range(blocks(C, taps)):  # loop 2: at most 256 terms of the sum, gathered once
        t0, t1, c0, width = block_of(block, C, taps)
        gather(source, depth, row, column, steps, first, pixels, target.shape[1:4], group * C + c0, width, t0, t1, patch)
        for p in range(P):  # loop 1: panels of 32 output channels
            sums[:] = 0
            multiply(patch, TERMS, 1, pixels, (t1 - t0) * width, panels[group, p, t0 * C + c0 :].ravel(), sums)
            oc = group * T + p * PANEL
            channels = min(PANEL, T - p * PANEL)
            for i in range(pixels):
                out, sum = flat[first + i, oc : oc + channels], sums[i * PANEL : i * PANEL + channels]
                start = bias[oc : oc + channels] if block == 0 else out
                for c in range(channels):
                    out[c] = start[c] + sum[c]


@parallel
def correlate(source, panels, bias, target, depth, row, column, steps):
    """target[pixel, t] = bias[t] + sum over k of patch[pixel, k] * panels[k, t]; each item owns 32 pixels of one group"""
    pixels = target.size // target.shape[4]
    for item in prange(-(-pixels // PIXELS) * panels.shape[0]):  # loop 3; np.int64: prange counts unsigned, which would compile all again
        correlate_item(np.int64(item), source, panels, bias, target, depth, row, column, steps)


def panels_of(weights: np.ndarray) -> np.ndarray:
    """(groups, K, channels) as (groups, panels, K, PANEL): per group the term-by-channel matrix, cut into panels of 32 channels."""
    G, K, T = weights.shape
    P = -(-T // PANEL)
    padded = np.zeros((G, K, P * PANEL), weights.dtype)
    padded[..., :T] = weights
    return np.ascontiguousarray(padded.reshape(G, K, P, PANEL).swapaxes(1, 2))


@serial
def weight_grad_item(item, x, dy, partials, depth, row, column, steps):
    """One block of dw, at most 256 terms by 32 output channels, summed over one chunk of the pixels."""
    chunks, G, _, OG = partials.shape
    C, taps = x.shape[4] // G, steps[0, 0] * steps[1, 0] * steps[2, 0]
    P, B = -(-OG // PANEL), blocks(C, taps)
    item, p = item // P, item % P
    item, block = item // B, item % B
    chunk, group = item // G, item % G
    t0, t1, c0, width = block_of(block, C, taps)
    k0, terms = t0 * C + c0, (t1 - t0) * width
    oc, channels = p * PANEL, min(PANEL, OG - p * PANEL)
    flat = dy.reshape(-1, dy.shape[4])
    patches = -(-flat.shape[0] // PIXELS)
    patch = np.zeros(PIXELS * TERMS, x.dtype)
    panel = np.zeros(PIXELS * PANEL, x.dtype)
    sums = np.zeros(TERMS * PANEL, x.dtype)
    total = partials[chunk, group, k0 : k0 + terms, oc : oc + channels]
    total[...] = 0
    low, high = patches * chunk // chunks, patches * (chunk + 1) // chunks
    for i in range(low, high):  # loop 1: 32 pixels at a time; every 256 pixels the sums go into the float64 totals
        first = i * PIXELS
        pixels = min(PIXELS, flat.shape[0] - first)
        gather(x, depth, row, column, steps, first, pixels, dy.shape[1:4], group * C + c0, width, t0, t1, patch)
        for pixel in range(pixels):
            out, at = panel[pixel * PANEL : pixel * PANEL + channels], flat[first + pixel, group * OG + oc :]
            for c in range(channels):
                out[c] = at[c]
        multiply(patch, 1, TERMS, terms, pixels, panel, sums)
        if (i - low + 1) % (TERMS // PIXELS) == 0 or i == high - 1:
            for k in range(terms):
                for c in range(channels):
                    total[k, c] += np.float64(sums[k * PANEL + c])
            sums[:] = 0


@parallel
def weight_grad(x, dy, partials, depth, row, column, steps):
    """partials[chunk, group, k, oc] = sum over the chunk's pixels of patch[pixel, k] * dy[pixel, oc]; each item owns one block of it"""
    chunks, G, _, OG = partials.shape
    terms = blocks(x.shape[4] // G, steps[0, 0] * steps[1, 0] * steps[2, 0])
    for item in prange(chunks * G * terms * -(-OG // PANEL)):
        weight_grad_item(np.int64(item), x, dy, partials, depth, row, column, steps)


@serial
def bias_grad_item(chunk, dy, partials):
    """The sums of one chunk of the pixels, in float64."""
    flat = dy.reshape(-1, dy.shape[4])
    total = partials[chunk]
    total[:] = 0
    for pixel in range(flat.shape[0] * chunk // partials.shape[0], flat.shape[0] * (chunk + 1) // partials.shape[0]):
        out = flat[pixel]
        for c in range(total.size):
            total[c] += np.float64(out[c])


@parallel
def channel_sums(dy, partials):
    """partials[chunk, c] = sum over the chunk's pixels of dy[pixel, c]"""
    for chunk in prange(partials.shape[0]):
        bias_grad_item(np.int64(chunk), dy, partials)


def conv_forward(g: Geometry, dtype: np.dtype, lower_bound: float):
    """run(x, w, b, y), bound to a geometry; all arrays flat, as kernels see them."""
    walk = reads(g)

    def run(x, w, b, y):
        weights = w.reshape(g.taps * (g.IC // g.G), g.G, g.OC // g.G).swapaxes(0, 1)
        correlate(g.flops, x.reshape(g.input_memory), panels_of(weights), b, y.reshape(g.output_memory), *walk)
        clamp(y, lower_bound)

    return run


def clamp(y: np.ndarray, lower_bound: float) -> None:
    """y not below the bound (-inf: as it is); NaN stays."""
    if lower_bound > -np.inf:
        np.putmask(y, y <= lower_bound, lower_bound)


def conv_input_grad(g: Geometry, dtype: np.dtype):
    """run(dy, w, dx): the same loops, dy read through `collects`, the weights of each tap transposed."""
    walk, zeros = collects(g), np.zeros(g.IC, dtype)

    def run(dy, w, dx):
        weights = w.reshape(g.taps, g.IC // g.G, g.G, g.OC // g.G).transpose(2, 0, 3, 1).reshape(g.G, -1, g.IC // g.G)
        correlate(g.flops, dy.reshape(g.output_memory), panels_of(weights), zeros, dx.reshape(g.input_memory), *walk)

    return run


def weight_grad_chunks(g: Geometry) -> int:
    pixels, weights = g.N * g.OD * g.OH * g.OW, g.OC * g.IC // g.G * g.taps
    return max(1, min(CHUNKS, pixels // TERMS, PARTIALS // (weights * 8)))


def bias_grad_chunks(pixels: int) -> int:
    return max(1, min(CHUNKS, pixels // TERMS))


def conv_weight_grad(g: Geometry, dtype: np.dtype, bias: bool):
    """run(x, dy, dw, db, accumulate): shape-fixed chunks of pixels, each at least 256 pixels, with float64 sums; added up in order."""
    walk, rows = reads(g), g.taps * (g.IC // g.G)
    sum_dy = bias_grad(g, dtype)

    def run(x, dy, dw, db, accumulate):
        partials = memory.empty((weight_grad_chunks(g), g.G, rows, g.OC // g.G), np.float64)
        weight_grad(g.flops, x.reshape(g.input_memory), dy.reshape(g.output_memory), partials, *walk)
        store(partials.sum(axis=0).swapaxes(0, 1).reshape(-1), dw, accumulate)
        if bias:
            sum_dy(dy, db, accumulate)

    return run


def bias_grad(g: Geometry, dtype: np.dtype):
    """run(dy, db, accumulate)"""
    chunks = bias_grad_chunks(g.N * g.OD * g.OH * g.OW)

    def run(dy, db, accumulate):
        partials = np.empty((chunks, g.OC))
        channel_sums(dy.size, dy.reshape(g.output_memory), partials)
        store(partials.sum(axis=0), db, accumulate)

    return run


def store(sums: np.ndarray, out: np.ndarray, accumulate: bool) -> None:
    """Sums in float64, rounded once, overwrite or are added."""
    if accumulate:
        out += sums.astype(out.dtype)
    else:
        out[...] = sums
