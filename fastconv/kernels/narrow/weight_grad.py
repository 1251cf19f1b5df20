"""The weight gradient of narrow layers: R rows of K taps x one vector of output channels in registers, while pixels of x and dy pass by.

    dw[kd, kh, kw, ic, n] = sum over outputs of patch[kd, kh, ic, ow + kw] * dy[ow, n]

x is packed as planes, as in the forward pass; dy is read where it lies. Lanes after its last channel read the next pixel, and what they sum is
not dealt out. A row of taps is a kernel row of one input channel, or a part of it. Running sums have at most 256 outputs, then they are added
to float64 totals: of each chunk of the bands of outputs, then over the chunks, in order. For 3x3, 2 channels, R = 3 and K = 3:

    rows of taps (kh, ic): (0,0) (0,1) (1,0)   (1,1) (2,0) (2,1)     a chunk's totals: for each panel of channels
    tiles:                 0                   1                     2 tiles x 9 taps x LANES, then LANES x LANES sums of dy
"""

from itertools import product
from typing import NamedTuple

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.compile import FLOPS, Record, chunks, driver, inlined, outlined, serial, spread
from fastconv.kernels.narrow import plan as planes
from fastconv.kernels.narrow.packing import item_of, pack_planes
from fastconv.kernels.simd.arithmetic import add, add_row, zeros
from fastconv.kernels.simd.host import CHUNKS, PARTIALS, TERMS, registers
from fastconv.kernels.simd.memory import add_to_totals, load_rows, offsets, offsets_apart
from fastconv.kernels.simd.sliding import Taps, fma_taps, fma_taps_of_pixel, tap_rows
from fastconv.kernels.simd.tile import one_row, square

TILES = (2, 5), (3, 3), (4, 2)  # R, K: 8 to 10 sums hide the latency of an FMA; with K gradients and a pixel they fit 16 registers
PIXELS = 4  # of dy at a time


class WeightPlan(NamedTuple):
    """As kernels see it."""

    forward: Record  # the forward pass: its items are the bands
    tap_rows: np.ndarray  # where in a patch each row of taps starts, seen from an output
    tiles: int  # of R rows of taps
    k_index: np.ndarray  # (taps * IC,): where in a panel's totals the sums of an input channel's tap are
    panel: int  # elements of a panel's totals, its sums of dy last
    size: int  # elements of a chunk's totals
    bands: int
    chunks: int
    scratch: int
    bias: bool  # the sums of dy are wanted


def weight_plan(g: Geometry, dtype: np.dtype, bias: bool) -> tuple[WeightPlan, Taps]:
    plan, _ = planes.forward_plan(g, dtype)
    LANES = registers().bytes // dtype.itemsize
    rows = g.KD * g.KH * g.IC
    R, K = min((tile for tile in TILES if tile[1] <= g.KW), key=lambda tile: -(-rows // tile[0]) * tile[0] * -(-g.KW // tile[1]) * tile[1])
    starts = [min(kw, g.KW - K) for kw in range(0, g.KW, K)]  # a last part begins early, to be full
    row_of = {(q, ic, part): i for i, (q, ic, part) in enumerate(product(range(g.KD * g.KH), range(g.IC), range(len(starts))))}
    offset = [plan.row_starts[q] + ic * plan.patch_w + starts[part] for q, ic, part in row_of]
    k_index = [row_of[q, ic, kw // K] * K + kw - starts[kw // K] for q, kw, ic in product(range(g.KD * g.KH), range(g.KW), range(g.IC))]
    tiles = -(-len(offset) // R)
    panel = (tiles * R * K + (LANES if bias else 0)) * LANES
    size = -(-g.OC // LANES) * panel
    parts = max(1, min(CHUNKS, plan.items, PARTIALS // (8 * size)))
    k_index = np.array(k_index) * LANES
    return WeightPlan(
        Record(plan), np.array(offset), tiles, k_index, panel, size, plan.items, parts, plan.patch, bias
    ), Taps(R, K, LANES, dtype)  # fmt: skip


def fits(g: Geometry) -> bool:
    """As the forward pass, in one group."""
    return planes.fits(g) and g.G == 1


def pays(g: Geometry) -> bool:
    """Where the direct algorithm's tiles would be half empty, with vectors of at most 8 lanes (of more it was not measured).

    Times as fast as the direct one: one vector of channels, 1->6 5x5 1.6, 1->8 3x3 1.7, 3->8 3x3 1.3, 8->8 5x5 1.3 (half a one, 4->4 3x3, 0.95);
    few terms, 1->16 3x3 1.3, 1->32 3x3 1.8 (1->16 7x7 0.85); three vectors, 10->20 5x5 1.2 (two, 3->16 5x5, 0.95).
    """
    lanes = registers().bytes // 4
    one, three, few = lanes < 2 * g.OC <= 2 * lanes, -(-g.OC // lanes) == 3, g.IC * g.taps <= 9
    return lanes <= 8 and planes.full(g) and (one or three or few)


@driver
def weight_grad(pool, tile, plan, x, dy, gradients, totals, scratch):
    """The pass. x, dy: (N, D, H, W, C), dw: (taps, IC, OC), flat. gradients: dw, db, and 1 to add to what they hold; scratch: for each chunk."""
    dw, db, accumulate = gradients
    rows, parts = len(plan.k_index), len(scratch) // plan.scratch
    spread(pool, parts, plan.chunks, product_items, scratch, tile, plan, x, dy, totals)
    spread(pool, min(parts, rows), rows, store_items, scratch, tile.NR, plan, totals, dw, accumulate)
    if plan.bias:
        store_bias(tile.NR, plan, totals, db, accumulate)


@serial
def product_items(work, tile, plan, x, dy, totals):
    """Loop 6: the bands of a chunk, which owns its totals."""
    forward, patch = plan.forward, work.scratch
    for chunk in range(work.first, work.stop):
        first = plan.bands * chunk // plan.chunks
        for band in range(first, plan.bands * (chunk + 1) // plan.chunks):
            item, fresh = item_of(band, forward), 1 if band == first else 0
            pack_planes(square(tile), forward, item, x, patch)
            start = ((item.n * forward.OD + item.jd) * forward.OH + item.jh) * forward.OW * forward.OC
            add_band(tile, plan, item.rows, patch, dy[start:], totals[chunk * plan.size :], fresh)


@inlined
def add_band(tile, plan, rows, patch, dy, totals, fresh):
    """Loops 5 to 3: totals (+)= the products of a band, at most 256 outputs at a time, which stay in L1; panels of channels; tiles of taps."""
    OW, OC = plan.forward.OW, plan.forward.OC
    each = max(1, TERMS // OW)  # rows of a running sum
    for r in range(0, rows, each):
        for ow in range(0, OW, TERMS):
            part, anew = (r, min(r + each, rows), ow, min(TERMS, OW - ow)), 1 if fresh and r == 0 and ow == 0 else 0
            for n in range(0, OC, tile.NR):
                own = totals[n // tile.NR * plan.panel :]
                for i in range(plan.tiles):
                    starts = offsets(tap_rows(tile), plan.tap_rows, i * tile.R, len(plan.tap_rows) - 1)
                    acc = sum_rows(tile, plan.forward, part, patch, starts, dy[n:], OC - n)
                    add_to_totals(tile, acc, own, i * tile.MR * tile.NR, anew)
                if plan.bias:
                    pixels = (part[1] - r - 1) * OW + part[3]  # of a single row, or of whole ones
                    sum_dy(square(tile), pixels, dy[(r * OW + ow) * OC + n :], OC, OC - n, own[plan.tiles * tile.MR * tile.NR :], anew)


@inlined
def sum_rows(tile, plan, part, patch, starts, dy, channels):
    """Loops 2 and 1: parts of rows of outputs, PIXELS of each at a time, the rest, and what lies at the very end of dy, one at a time."""
    acc, (first, stop, ow, pixels) = zeros(tile), part
    for r in range(first, stop):
        k, at = r * plan.row + ow, (r * plan.OW + ow) * plan.OC
        whole = pixels
        while whole > 0 and at + (whole - 1) * plan.OC + tile.NR > len(dy):
            whole -= 1
        for _ in range(whole // PIXELS):
            acc = fma_taps(tile, PIXELS, acc, starts, patch, k, (dy, at, plan.OC))
            k, at = k + PIXELS, at + PIXELS * plan.OC
        for _ in range(pixels - whole // PIXELS * PIXELS):
            acc = fma_taps_of_pixel(tile, acc, starts, patch, k, dy, at, channels)
            k, at = k + 1, at + plan.OC
    return acc


@outlined
def sum_dy(block, pixels, dy, step, channels, totals, fresh):
    """totals[m, n] (+)= the sum of every LANES-th of at most 256 pixels of dy, from the m-th on; those that are left over fall to m = 0."""
    one, rows, m = one_row(block), offsets_apart(block, step, block.MR), 0
    acc, rest = zeros(block), zeros(one)
    while m + block.MR <= pixels:
        acc = add(block, acc, load_rows(block, dy, rows, m * step, channels))
        m += block.MR
    for last in range(m, pixels):
        rest = add_row(one, rest, dy, last * step, channels)
    add_to_totals(block, acc, totals, 0, fresh)
    add_to_totals(one, rest, totals, 0, 0)


@inlined
def store_total(to, i, total, accumulate):
    """to[i] (+)= a float64 sum, rounded once before it is added to anything"""
    to[i] = to.dtype.type(total) + to[i] if accumulate else total


@serial
def store_items(work, NR, plan, totals, dw, accumulate):
    """Rows k of dw: dw[k, n] (+)= the sum of all chunks' totals"""
    OC = plan.forward.OC
    for k in range(work.first, work.stop):
        for n in range(OC):
            start, total = n // NR * plan.panel + plan.k_index[k] + n % NR, 0.0
            for chunk in range(plan.chunks):
                total += totals[chunk * plan.size + start]
            store_total(dw, k * OC + n, total, accumulate)


@outlined
def store_bias(NR, plan, totals, db, accumulate):
    """db[n] (+)= the sum of all chunks' totals of dy"""
    for n in range(plan.forward.OC):
        start, total = (n // NR + 1) * plan.panel - NR * NR + n % NR, 0.0
        for chunk in range(plan.chunks):
            for m in range(NR):
                total += totals[chunk * plan.size + start + m * NR]
        store_total(db, n, total, accumulate)


class WeightGrad:
    """The pass bound to a geometry and dtype: `run(x, dy, dw, db, accumulate)` on flat arrays as kernels see them; db None if bias is False."""

    def __init__(self, g: Geometry, dtype: np.dtype, bias: bool):
        self.work, self.dtype = g.flops / FLOPS, np.dtype(dtype)
        self.plan, self.tile = weight_plan(g, self.dtype, bias)
        self.record, self.run = Record(self.plan), weight_grad.bind()
        self.no_bias = np.empty(0, self.dtype)

    def __call__(self, x, dy, dw, db, accumulate: bool) -> None:
        totals = memory.scratch(self.plan.chunks * self.plan.size, np.dtype(np.float64), "totals")
        scratch = memory.scratch(chunks(self.plan.chunks, self.work) * self.plan.scratch, self.dtype)
        gradients = dw, self.no_bias if db is None else db, int(accumulate)
        self.run(self.work, self.tile, self.record, x, dy, gradients, totals, scratch)
