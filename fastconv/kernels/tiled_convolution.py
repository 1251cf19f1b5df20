"""Direct convolution at the machine's peak: register tiles of MR pixels x NR channels, run across rows and images by tables of places.

    multiply        loops 1 to 4 around the micro-kernel's one word, `fma`; the only part that is compiled for each tile
    correlate       loops 5 and 6: work items, each packs its box of inputs and owns its outputs

Forward pass and input gradient are the same loops; tables (`tiled_plan`) say what they walk over. Sums run over at most 256 terms in the
arrays' dtype, then over such blocks, in the order kd, kh, kw, ic: whatever the tile, the cut and the batch, a sum has the same bits.
"""

import numpy as np
from numba import prange

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.host import TERMS, tile_for
from fastconv.kernels.items import corner, inputs_of, outputs_of, shares
from fastconv.kernels.packing import pack_panels
from fastconv.kernels.policy import parallel, serial
from fastconv.kernels.tiled_calls import call, tiled
from fastconv.kernels.tiled_plan import Plan, backward_plans, forward_plans
from fastconv.kernels.vectors import add, add_row, at_least, fma, places, store_rows, zeros
from fastconv.kernels.walk import channels_last


@serial
def block_sums(tile, source, reads, panel, w, runs, first, behind):
    """One block of a sum, at most 256 terms: sum over the runs first..behind of source[reads + ...] * panel[w + ...]"""
    sums = zeros(tile)
    for run in range(first, behind):  # loop 1: a run of neighbours at a time
        start = runs[run, 0]
        for k in range(start, start + runs[run, 1]):
            sums = fma(tile, sums, source, reads, k, panel, w)
            w += tile.NR
    return sums


@tiled(lambda f, i: (f[::1], i[::1], f[:, :, ::1], f[::1], f[::1], i[::1], i, i, i, i[:, ::1], i[::1], f))
def multiply(tile, source, from_pixels, panels, bias, target, to_pixels, pixels, channel, channels, runs, blocks, least):
    """target[to_pixels[i] + c] = bias[channel + c] + sum over the runs of source[from_pixels[i] + ...] * panels[..., c], not below `least`"""
    P, terms, NR = panels.shape[0], panels.shape[1], tile.NR
    flat = panels.ravel()
    last = pixels - 1
    for p in range(P):  # loop 4: panels of NR output channels
        for t in range(0, pixels, tile.MR):  # loop 3: tiles of MR pixels
            reads = places(tile, from_pixels, t, last)
            w = p * terms * NR
            sums = block_sums(tile, source, reads, flat, w, runs, blocks[0], blocks[1])
            for block in range(1, len(blocks) - 1):  # loop 2: blocks of the sum
                w += TERMS * NR
                sums = add(tile, sums, block_sums(tile, source, reads, flat, w, runs, blocks[block], blocks[block + 1]))
            rest = channels - p * NR
            sums = at_least(tile, add_row(tile, sums, bias, channel + p * NR, rest), least)
            store_rows(tile, sums, target, places(tile, to_pixels, t, last), p * NR, rest)


@serial
def correlate_item(multiply, item, source, panels, bias, target, plan, cells, from_pixels, to_pixels, runs, blocks, least, box):
    """The outputs of some images, or of a rectangle of one, in one group of channels."""
    g = plan[0]
    group, n, jd, jh, jw, pixels, narrow = corner(item, plan)
    inputs = inputs_of(group, n, jd, jh, jw, source, plan, cells, box)
    outputs = outputs_of(group, n, jd, jh, jw, target, plan)
    channel = group * g.T
    call(multiply, inputs, from_pixels[narrow], panels[group], bias, outputs, to_pixels[narrow], pixels, channel, g.T, runs, blocks, least)


@parallel
def correlate(multiply, items, source, panels, bias, target, plan, cells, from_pixels, to_pixels, runs, blocks, least, boxes):
    """Every pixel and channel of one pass; each item owns its outputs, each share of the items has a box to pack into.

    Not each thread: `get_thread_id` in a kernel from the disk cache is a segmentation fault where Numba has not started its threads yet.
    """
    shares = boxes.shape[0]
    for share in prange(shares):  # loop 6; np.int64: prange counts unsigned, which would compile all again
        for item in range(items * share // shares, items * (share + 1) // shares):  # loop 5
            own = boxes[share]
            correlate_item(multiply, np.int64(item), source, panels, bias, target, plan, cells, from_pixels, to_pixels, runs, blocks, least, own)


def run(plans: tuple[Plan, ...], flops, source: np.ndarray, w: np.ndarray, bias: np.ndarray, target: np.ndarray, least=-np.inf) -> None:
    """All passes. source, target: channels-last, flat; w: (G, T, C, taps)."""
    G, T, C, _ = w.shape
    tile = tile_for(T, source.dtype)
    boxes = memory.empty((shares(max(plan.items for plan in plans)), max(plan.box for plan in plans)), source.dtype)
    for plan in plans:
        panels = memory.empty((G, -(-T // tile.NR), len(plan.taps) * C, tile.NR), source.dtype)
        pack_panels(w, plan.taps, panels)
        tables = plan.record, plan.cells, plan.from_pixels, plan.to_pixels, plan.runs, plan.blocks
        correlate(flops / len(plans), multiply.on(tile), plan.items, source, panels, bias, target, *tables, source.dtype.type(least), boxes)


def conv_forward(x, w, b, y, g: Geometry, least: float) -> None:
    weights = w.reshape(g.G, g.OC // g.G, g.IC // g.G, g.taps)
    run(forward_plans(g, x.itemsize), g.flops, channels_last(x).reshape(-1), weights, b, channels_last(y).reshape(-1), least)


def conv_input_grad(dy, w, dx, g: Geometry) -> None:
    weights = np.ascontiguousarray(w.reshape(g.G, g.OC // g.G, g.IC // g.G, g.taps).swapaxes(1, 2))
    plans = backward_plans(g, dy.itemsize)
    run(plans, g.flops, channels_last(dy).reshape(-1), weights, np.zeros(g.IC, dy.dtype), channels_last(dx).reshape(-1))


def forward_roundings(g: Geometry, dtype: np.dtype) -> int:
    """In units of u * sum |x * w|: the longest running sum, then the sums of the blocks, then the bias."""
    return _roundings(g.IC // g.G * g.taps)


def input_grad_roundings(g: Geometry, dtype: np.dtype) -> int:
    return _roundings(g.OC // g.G * g.taps)


def _roundings(terms: int) -> int:
    return min(TERMS, terms) + -(-terms // TERMS) + 1
