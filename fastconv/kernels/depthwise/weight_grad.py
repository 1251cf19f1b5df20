"""The weight gradient where groups are the lanes: 9 terms x NR lanes held in registers over at most 256 pixels.

dw[j, term, l] = sum over pixels of x[pixel + term, l] * dy[pixel, j, l], the inputs and terms those of the forward pass (`depthwise`). Sums run
over a rectangle's lines in the arrays' dtype, then in float64: over the rectangles of a chunk of the pixels, then over the chunks, in order.
"""

import numpy as np
from numba import prange, types

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.depthwise import RECTANGLES, planes_of, transpose
from fastconv.kernels.depthwise_plan import CHUNKS, grad_plan
from fastconv.kernels.host import TERMS, lane_tiles_for
from fastconv.kernels.items import corner, outputs_of, shares
from fastconv.kernels.policy import parallel, serial
from fastconv.kernels.tiled_calls import call, tiled
from fastconv.kernels.vectors import Tile, add_row, add_rows_wide, add_wide, fma_rows, places, zeros
from fastconv.kernels.walk import channels_last

STRIP = 16  # pixels of a line at a time: what its rows read stays in the first-level cache (64 channels, 5x5: 2.3 -> 1.4 ms)


@tiled(lambda f, i: (RECTANGLES, i, i[::1], i[::1], f[::1], f[::1], types.float64[::1], i, i, i))
def add_products(tile, one, rectangle, lines, terms, rows, source, dy, totals, bias, T, L):
    """totals[rows[term] + (j * P + p) * NR + r] += sum over pixels of source[pixel + term, lane] * dy[pixel, j, lane], lane r of vector p

    Those from totals[bias] on get the sums over dy alone, which the first-level cache still holds.
    """
    r, MR, NR = rectangle[0], tile.MR, tile.NR
    P = -(-L // NR)
    strip = min(r.pixels, STRIP)
    each = TERMS // strip  # lines of a running sum
    for top in range(0, lines, each):  # loop 5: at most 256 pixels
        behind = min(top + each, lines)
        for left in range(0, r.pixels, strip):
            right = min(left + strip, r.pixels)
            for k in range(r.first_term, r.last_term, MR):  # loop 4: tiles of terms
                reads, writes = places(tile, terms, k, k + MR - 1), places(tile, rows, k, k + MR - 1)
                for vector in range(T * P):  # loop 3: planes of gradients, vectors of lanes, the last of a plane from its end
                    lane = max(0, min(vector % P * NR, L - NR))
                    sums = zeros(tile)
                    for line in range(top, behind):  # loop 2
                        x = r.from_first + line * r.from_line + left * r.from_pixel + lane
                        y = r.to_first + line * r.to_line + left * r.to_pixel + vector // P * L + lane
                        for _ in range(left, right):  # loop 1
                            sums = fma_rows(tile, sums, source, reads, x, dy, y)
                            x += r.from_pixel
                            y += r.to_pixel
                    add_rows_wide(tile, sums, totals, writes, vector * NR)
            for vector in range(T * P):
                lane, sums = max(0, min(vector % P * NR, L - NR)), zeros(one)
                for line in range(top, behind):
                    y = r.to_first + line * r.to_line + left * r.to_pixel + vector // P * L + lane
                    for _ in range(left, right):
                        sums = add_row(one, sums, dy, y, NR)
                        y += r.to_pixel
                add_wide(one, sums, totals, bias + vector * NR, 0)


@parallel
def weight_grad_direct(add_products, images, rectangles, terms, rows, source, dy, partials, bias, L):
    """Every chunk of the rectangles of all images; each owns its sums in `partials`."""
    R, chunks = rectangles.shape[0], partials.shape[0]
    from_image, to_image = source.shape[0] // images, dy.shape[0] // images
    for chunk in prange(chunks):  # loop 7
        for item in range(images * R * chunk // chunks, images * R * (chunk + 1) // chunks):  # loop 6
            n, r = np.int64(item) // R, np.int64(item) % R
            x, y, rectangle = source[n * from_image :], dy[n * to_image :], rectangles[r : r + 1]
            call(add_products, rectangle, rectangle[0].lines, terms, rows, x, y, partials[chunk], bias, 1, L)


@serial
def add_box(add_products, L, item, plan, cells, to_pixels, rectangles, terms, rows, source, dy, totals, bias, box, planes, panel):
    """The products of a work item of the forward pass."""
    g = plan[0]
    block, n, jd, jh, jw, pixels, narrow = corner(item, plan)
    inputs = planes_of(block, n, jd, jh, jw, L, source, plan, cells, box, planes)
    outputs = outputs_of(block, n, jd, jh, jw, dy, plan)
    for i in range(pixels):
        transpose(outputs, to_pixels[narrow, i], L, g.T // L, panel, i * g.T)
    lines = min(g.rows, g.JH - jh)
    each = lines * rectangles[narrow].pixels  # pixels of an image
    for image in range(min(g.BN, g.N - n)):
        x, y = inputs[image * g.BD * g.BH * g.BW * g.C :], panel[image * each * g.T :]
        call(add_products, rectangles[narrow : narrow + 1], lines, terms, rows, x, y, totals, bias, g.T // L, L)


@parallel
def weight_grad_planes(add_products, L, plan, cells, to_pixels, rectangles, terms, rows, source, dy, partials, bias, boxes, planes, panels):
    """Every chunk of the pixels and block of groups; each such item owns its sums in `partials`."""
    g = plan[0]
    chunks, blocks = partials.shape[:2]
    inside = g.JD * g.down * g.across
    bands, shares = -(-g.N // g.BN) * inside, boxes.shape[0]  # work items of the forward pass, in one block
    for share in prange(shares):  # loop 8
        for item in range(chunks * blocks * share // shares, chunks * blocks * (share + 1) // shares):  # loop 7
            chunk, block = np.int64(item) // blocks, np.int64(item) % blocks
            for band in range(bands * chunk // chunks, bands * (chunk + 1) // chunks):  # loop 6
                add_box(
                    add_products, L, (band // inside * blocks + block) * inside + band % inside, plan, cells, to_pixels, rectangles, terms, rows,
                    source, dy, partials[chunk, block], bias, boxes[share], planes[share], panels[share],
                )  # fmt: skip


def conv_weight_grad(x, dy, dw, db, g: Geometry) -> None:
    """Shape-fixed chunks of the pixels, each with float64 totals."""
    dtype, C, T = x.dtype, g.IC // g.G, g.OC // g.G
    L, chunks, plan, rectangles, rows, row, size, lane = grad_plan(g, dtype)
    source, gradients = channels_last(x).reshape(-1), channels_last(dy).reshape(-1)
    tile = lane_tiles_for(L, dtype).taps
    products = add_products.on(tile, Tile(1, tile.NV, tile.LANES, dtype))
    partials = memory.zeros((chunks, g.G // L, size), np.float64)
    records, terms, bias = rectangles.records, rectangles.terms, size - row
    if plan is None:
        totals = partials.reshape(chunks, size)
        weight_grad_direct(g.flops, products, g.N, records, terms, rows, source, gradients, totals, bias, L)
    else:
        count, box, panel = shares(chunks * (g.G // L)), plan.box + tile.NR, plan.to_pixels.shape[1] * T * L + tile.NR
        scratch = (memory.empty((count, numbers), dtype) for numbers in (box, box if C > 1 else 0, panel))
        tables = plan.record, plan.cells, plan.to_pixels, records, terms, rows
        weight_grad_planes(g.flops, products, L, *tables, source, gradients, partials, bias, *scratch)
    with np.errstate(all="ignore"):  # lanes that are no groups hold sums of whatever stood in memory
        totals = partials.sum(axis=0)
    totals = totals.reshape(g.G // L, -1, T, row // T)[..., lane]  # (blocks, terms and two, T, L)
    dw.reshape(g.G // L, L, T, C, g.taps)[...] = totals[:, :-2].reshape(g.G // L, g.taps, C, T, L).transpose(0, 4, 3, 2, 1)
    if db is not None:
        db.reshape(g.G // L, L, T)[...] = totals[:, -1].swapaxes(1, 2)


def roundings(g: Geometry, dtype: np.dtype) -> int:
    """The longest running sum; behind it, float64 sums cost float32 one rounding, and float64 one for each."""
    dtype = np.dtype(dtype)
    pixels = g.N * g.OD * g.OH * g.OW
    return min(TERMS, pixels) + (2 if dtype == np.float32 else pixels + CHUNKS)
