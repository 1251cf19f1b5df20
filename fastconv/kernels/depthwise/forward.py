"""Convolution with few channels a group: groups are the lanes, so that depthwise layers fill their vectors.

    multiply_lanes      loops 1 to 4 around the micro-kernel's one word, `fma_rows`
    correlate_direct    one channel a group on both sides: rectangles of pixels, inputs read where they are, no padding
    correlate_planes    else: work items as in `tiled_convolution`, whose boxes are regrouped into planes of lanes

Lane l computes group l. With C input and T output channels a group, a box cell holds C planes of lanes, and the outputs are T planes: sums are
taken plane by plane, and channels change places only where a box is packed or finished outputs leave. Forward pass and input gradient are
the same loops. Sums run over the bias and at most 256 terms, then over such blocks, in the order kd, kh, kw, ic, whatever the tile.
"""

import numpy as np
from numba import from_dtype, prange

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.depthwise_plan import (
    RECTANGLE,
    PlanesPlan,
    Rectangles,
    direct_backward,
    direct_forward,
    is_direct,
    lanes,
    planes_backward,
    planes_forward,
    width,
)
from fastconv.kernels.host import TERMS, lane_tiles_for
from fastconv.kernels.items import corner, inputs_of, outputs_of, shares
from fastconv.kernels.policy import parallel, serial
from fastconv.kernels.tiled_calls import call, tiled
from fastconv.kernels.vectors import add, add_row, fma_columns, fma_rows, load_rows, places, shift_out, store_rows, zeros
from fastconv.kernels.walk import channels_last

RECTANGLES = from_dtype(RECTANGLE)[::1]


@serial
def add_terms(tile, sums, source, reads, x, terms, panel, w, rows):
    """sums + sum over terms k of source[reads + x + terms[k]] * panel[w + rows[k]]"""
    for k in range(len(terms)):  # loop 1: the sum
        sums = fma_rows(tile, sums, source, reads, x + terms[k], panel, w + rows[k])
    return sums


@tiled(lambda f, i: (RECTANGLES, i, i[::1], i[::1], i[::1], i[::1], f[::1], f[:, :, ::1], f[::1], f[::1], i))
def multiply_lanes(tile, rectangle, lines, reads, writes, terms, rows, source, panels, bias, target, L):
    """target[pixel, j, l] = bias[j, l] + sum over terms of source[pixel + term, l] * panels[j, term, l]; some lines of a rectangle, L lanes"""
    r, MR, NR = rectangle[0], tile.MR, tile.NR
    T, K, W = panels.shape
    panel, rest = panels.ravel(), min(L, NR)
    last = min(MR, r.pixels) - 1
    reads, writes = places(tile, reads, 0, last), places(tile, writes, 0, last)
    end = min(r.last_term, r.first_term + TERMS)
    own, own_rows = terms[r.first_term : end], rows[r.first_term : end]
    for line in range(lines):  # loop 5
        for pixel in range(0, r.pixels, MR):  # loop 4: tiles of MR pixels, the last of a line from its end
            first = min(pixel, r.pixels - 1 - last)
            x, y = r.from_first + line * r.from_line + first * r.from_pixel, r.to_first + line * r.to_line + first * r.to_pixel
            for j in range(T):  # loop 3: planes of outputs
                for vector in range(0, W, NR):  # loop 2: vectors of lanes, the last of a plane from its end
                    lane = max(0, min(vector, L - NR))
                    at, w = j * L + lane, j * K * W + lane
                    sums = add_terms(tile, add_row(tile, zeros(tile), bias, at, rest), source, reads, x + lane, own, panel, w, own_rows)
                    for k in range(end, r.last_term, TERMS):  # further blocks of at most 256 terms
                        more = min(k + TERMS, r.last_term)
                        sums = add(tile, sums, add_terms(tile, zeros(tile), source, reads, x + lane, terms[k:more], panel, w, rows[k:more]))
                    store_rows(tile, sums, target, writes, y + at, rest)


@tiled(lambda f, i: (RECTANGLES, i[::1], i[::1], f[::1], f[:, :, ::1], f[::1], f[::1], i))
def slide_lanes(tile, tap_tile, rectangle, terms, rows, source, panels, bias, target, L):
    """The same for a rectangle that slides: an input is read once for each row of the kernel, not for each tap, and weights stay in registers.

    Three sums wait for the columns that they lack: twice as fast as `multiply_lanes` (64 channels, 3x3, in the second-level cache: 36 -> 71 GFLOP/s).
    """
    r, NR = rectangle[0], tile.NR
    panel, W = panels.ravel(), panels.shape[2]
    reads = places(tile, terms[r.first_term : r.last_term : 3].copy(), 0, 2)
    weights = places(tap_tile, rows, r.first_term, r.last_term - 1)
    for line in range(r.lines):  # loop 3
        for vector in range(0, W, NR):  # loop 2: vectors of lanes
            lane = min(vector, L - NR)
            w = load_rows(tap_tile, panel, weights, lane, NR)
            start = add_row(tile, zeros(tile), bias, lane, NR)
            x, y, sums = r.from_first + line * r.from_line + lane, r.to_first + line * r.to_line + lane, start
            for _ in range(2 - r.lead):  # columns before the first sum is complete; what is stored gives way to it
                sums = shift_out(tile, fma_columns(tile, sums, source, reads, x, w), start, target, y)
                x += r.from_pixel
            for _ in range(r.pixels - r.trail):  # loop 1: columns
                sums = shift_out(tile, fma_columns(tile, sums, source, reads, x, w), start, target, y)
                x += r.from_pixel
                y += r.to_pixel
            for _ in range(r.trail):  # columns of padding add nothing
                sums = shift_out(tile, sums, start, target, y)
                y += r.to_pixel


@parallel
def correlate_direct(multiply_lanes, slide_lanes, images, shares, rectangles, reads, writes, terms, rows, source, panels, bias, target):
    """Every pixel and channel of all passes; an item is a rectangle of an image, and owns its outputs."""
    R, G = rectangles.shape[0], bias.shape[0]
    from_image, to_image = source.shape[0] // images, target.shape[0] // images
    for share in prange(shares):  # loop 7
        for item in range(images * R * share // shares, images * R * (share + 1) // shares):  # loop 6
            n, r = np.int64(item) // R, np.int64(item) % R  # np.int64: prange counts unsigned, which would compile all again
            x, y, rectangle = source[n * from_image :], target[n * to_image :], rectangles[r : r + 1]
            if rectangle[0].slides:
                call(slide_lanes, rectangle, terms, rows, x, panels, bias, y, G)
            else:
                call(multiply_lanes, rectangle, rectangle[0].lines, reads[r], writes[r], terms, rows, x, panels, bias, y, G)


@serial
def transpose(source, at, rows, columns, to, first):
    """to[first:].reshape(columns, rows) = source[at:].reshape(rows, columns).T, of the first rows * columns numbers"""
    a, b = source[at : at + rows * columns], to[first : first + rows * columns]
    if rows >= columns:  # the longer loop inside: vectors (0.5 ns a number; 2 ns the other way round)
        for c in range(columns):
            for r in range(rows):
                b[c * rows + r] = a[r * columns + c]
    else:
        for r in range(rows):
            for c in range(columns):
                b[c * rows + r] = a[r * columns + c]


@serial
def planes_of(block, n, jd, jh, jw, L, source, plan, cells, box, planes):
    """The item's box, packed now: planes[cell, i, l] is channel i of its l-th group."""
    g = plan[0]
    inputs = inputs_of(block, n, jd, jh, jw, source, plan, cells, box)
    if g.C == L:
        return inputs
    for cell in range(0, g.BN * g.BD * g.BH * g.BW * g.C, g.C):
        transpose(inputs, cell, L, g.C // L, planes, cell)
    return planes[0:]


@serial
def correlate_item(
    multiply_lanes, L, item, plan, cells, to_pixels, rectangles, reads, writes, terms, rows, source, panels, bias, target, box, planes, results
):
    """The outputs of some images, or of a rectangle of one, in one block of groups."""
    g = plan[0]
    T = g.T // L
    block, n, jd, jh, jw, _, narrow = corner(item, plan)
    inputs = planes_of(block, n, jd, jh, jw, L, source, plan, cells, box, planes)
    outputs = outputs_of(block, n, jd, jh, jw, target, plan)
    lines = min(g.rows, g.JH - jh)
    each = lines * rectangles[narrow].pixels  # pixels of an image
    for image in range(min(g.BN, g.N - n)):
        x, to = inputs[image * g.BD * g.BH * g.BW * g.C :], outputs[to_pixels[narrow, image * each] :]
        call(
            multiply_lanes, rectangles[narrow : narrow + 1], lines, reads[narrow], writes[narrow], terms, rows, x, panels[block], bias[block * g.T :],
            to if T == 1 else results, L,
        )  # fmt: skip
        if T > 1:
            for i in range(each):
                transpose(results, i * g.T, T, L, outputs, to_pixels[narrow, image * each + i])


@parallel
def correlate_planes(
    multiply_lanes, L, plan, cells, to_pixels, rectangles, reads, writes, terms, rows, source, panels, bias, target, boxes, planes, results, items
):
    """Every pixel and channel of one pass; each item owns its outputs, each share of the items has scratch of its own."""
    shares = boxes.shape[0]
    for share in prange(shares):  # loop 6
        for item in range(items * share // shares, items * (share + 1) // shares):  # loop 5
            correlate_item(
                multiply_lanes, L, np.int64(item), plan, cells, to_pixels, rectangles, reads, writes, terms, rows, source, panels, bias, target,
                boxes[share], planes[share], results[share],
            )  # fmt: skip


def run_direct(rectangles: Rectangles, g: Geometry, source: np.ndarray, w: np.ndarray, bias: np.ndarray, target: np.ndarray) -> None:
    """source, target: channels-last, flat; w: (G, 1, 1, taps)."""
    tile, taps, columns = lane_tiles_for(g.G, source.dtype)
    panels = np.ascontiguousarray(w.reshape(1, g.G, -1).swapaxes(1, 2))
    count = shares(g.N * len(rectangles.records))
    kernels, tables = (multiply_lanes.on(tile), slide_lanes.on(columns, taps)), (*rectangles[:4], rectangles.taps * g.G)
    correlate_direct(g.flops, *kernels, g.N, count, *tables, source, panels, bias, target)


def run_planes(plans: tuple[PlanesPlan, ...], g: Geometry, source: np.ndarray, w: np.ndarray, bias: np.ndarray, target: np.ndarray) -> None:
    """source, target: channels-last, flat; w: (G, T, C, taps)."""
    _, T, C, _ = w.shape
    dtype, L = source.dtype, lanes(g, source.dtype)
    tile = lane_tiles_for(L, dtype).pixels
    bias = np.ascontiguousarray(bias.reshape(-1, L, T).swapaxes(1, 2)).reshape(-1)
    count = shares(max(plan.items for plan, _ in plans))
    box = max(plan.box for plan, _ in plans) + tile.NR  # a last vector reads behind the last cell where there are fewer groups than lanes
    pixels = max(plan.to_pixels.shape[1] for plan, _ in plans)
    boxes, planes, results = (memory.empty((count, size), dtype) for size in (box, box if C > 1 else 0, pixels * T * L if T > 1 else 0))
    for plan, rectangles in plans:
        panels = memory.zeros((g.G // L, T, len(plan.taps), C, width(L, dtype)), dtype)
        panels[..., :L] = w[..., plan.taps].reshape(g.G // L, L, T, C, len(plan.taps)).transpose(0, 2, 4, 3, 1)
        panels = panels.reshape(g.G // L, T, -1, panels.shape[-1])
        tables = plan.record, plan.cells, plan.to_pixels, *rectangles[:4], rectangles.taps * panels.shape[-1]
        scratch = boxes, planes, results
        correlate_planes(g.flops / len(plans), multiply_lanes.on(tile), L, *tables, source, panels, bias, target, *scratch, plan.items)


def conv_forward(x, w, b, y, g: Geometry) -> None:
    w = w.reshape(g.G, g.OC // g.G, g.IC // g.G, g.taps)
    source, target = channels_last(x).reshape(-1), channels_last(y).reshape(-1)
    if is_direct(g, x.dtype):
        run_direct(direct_forward(g, lane_tiles_for(g.G, x.dtype).pixels.MR), g, source, w, b, target)
    else:
        run_planes(planes_forward(g, x.dtype), g, source, w, b, target)


def conv_input_grad(dy, w, dx, g: Geometry) -> None:
    w = w.reshape(g.G, g.OC // g.G, g.IC // g.G, g.taps).swapaxes(1, 2)
    source, target, bias = channels_last(dy).reshape(-1), channels_last(dx).reshape(-1), np.zeros(g.IC, dy.dtype)
    if is_direct(g, dy.dtype):
        run_direct(direct_backward(g, lane_tiles_for(g.G, dy.dtype).pixels.MR), g, source, w, bias, target)
    else:
        run_planes(planes_backward(g, dy.dtype), g, source, w, bias, target)


def forward_roundings(g: Geometry, dtype: np.dtype) -> int:
    """In units of u * sum |x * w|: the longest running sum, then the sums of the blocks, then the bias."""
    return _roundings(g.IC // g.G * g.taps)


def input_grad_roundings(g: Geometry, dtype: np.dtype) -> int:
    return _roundings(g.OC // g.G * g.taps)


def _roundings(terms: int) -> int:
    return min(TERMS, terms) + -(-terms // TERMS) + 1
