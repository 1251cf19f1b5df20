"""The input gradient where input channels are few: a GEMM for each row of inputs, whose columns are then added up (col2im).

Of a register tile of `forward` one input channel would use one lane. Here lanes are all that a pixel of dy gives to the KW inputs of a row
that it was computed from, KW * IC elements. For a row ih of inputs, which row oh of outputs read through kernel row kh:

    z[ow, (kw, ic)] = sum over kh, oc of dy[oh, ow, oc] * w[kh, kw, ic, oc]       M = OW, N = KW * IC, K = KH * OC
    dx[ih, iw, ic]  = sum over kw of z[ow, (kw, ic)]                              ow * SW - PW + kw * DW = iw

Rows and columns that do not meet are left out: nothing is padded, and a row of inputs is all that an item owns. For 1 channel, 3 taps, no
padding and 4 outputs from 6 inputs in a row, where z has 3 elements a pixel:

    z: ow 0   0  1  2                 dx:  iw 0 = z[0]                  z[3 * ow + kw], kw rising
       ow 1      3  4  5                   iw 1 = z[3] + z[1]
       ow 2         6  7  8                iw 2 = z[6] + z[4] + z[2]    from element 6 on 3 times, each 2 lower
       ow 3            9 10 11             iw 3 = z[9] + z[7] + z[5]
                                           iw 4 = z[10] + z[8],  iw 5 = z[11]

>>> _columns((6, 4, 3, 1, 0, 1), 1, 3)[0].tolist()  # first element and count
[[0, 1], [3, 2], [6, 3], [9, 3], [10, 2], [11, 1]]
"""

import math
from typing import NamedTuple

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.compile import FLOPS, Record, chunks, driver, outlined, serial, spread
from fastconv.kernels.simd.arithmetic import add, add_row, fma_gathered, transpose, zeros
from fastconv.kernels.simd.host import LARGEST_PATCH, TERMS, menu, registers
from fastconv.kernels.simd.memory import load_or_zeros, load_rows, offsets, offsets_apart, store_rows
from fastconv.kernels.simd.tile import Tile, one_row, square

# MR, NV and worth of its tiles. Rows of outputs are short: 5 waste fewer than the menu's 6 (5x2 3 to 17 % faster on five of six layers).
TILES = (8, 1, 0.8), (5, 2, 1.0)
OVERHEAD = 6  # terms that an element of z costs beside its sum: it is stored, loaded and added
PAIRS = 1 << 20  # of an input and a tap along an axis


class Col2im(NamedTuple):
    """The pass as kernels see it."""

    g: Record  # the geometry
    depths: np.ndarray  # (ID + 1,): the first of each input's pairs
    depth_pairs: np.ndarray  # (pairs, 2): kd and od, where od * SD - PD + kd * DD = id
    heights: np.ndarray  # the same of rows
    height_pairs: np.ndarray
    columns: np.ndarray  # (IW, 2): the first element of z that an input gets, and how many, each `step` after the one before
    step: int
    block: int  # kernel rows of a running sum of at most 256 terms
    pixel_offsets: np.ndarray  # (OW,): where in a row of dy a pixel is
    width: int  # elements of a pixel of z, whole panels
    panel: int  # elements of a panel of w: all kernel rows, output channels, NR lanes
    panels: int  # elements of scratch: all panels; z
    z: int
    items: int


def col2im_plan(g: Geometry, dtype: np.dtype) -> tuple[Col2im, Tile]:
    (tile, _), OCG, lanes, (d, h, w) = _cheapest(g, dtype), g.OC // g.G, lanes_of(g), g.axes
    (depths, depth_pairs), (heights, height_pairs) = _pairs(*d), _pairs(*h)
    width = -(-lanes // tile.NR) * tile.NR
    columns, step = _columns(w, g.IC // g.G, width)
    panel = g.KD * g.KH * OCG * tile.NR
    panels = memory.lines(g.G * width // tile.NR * panel + tile.LANES * tile.NR, dtype)
    z = memory.lines((g.OW + tile.MR) * width + tile.LANES, dtype)
    return Col2im(
        Record(g), depths, depth_pairs, heights, height_pairs, columns, step, max(1, TERMS // OCG), np.arange(g.OW) * g.OC,
        width, panel, panels, z, g.N * g.G * g.ID * g.IH,
    ), tile  # fmt: skip


def lanes_of(g: Geometry) -> int:
    """What a kernel row makes of a pixel: KW taps of a group's input channels."""
    return g.KW * g.IC // g.G


def _cheapest(g: Geometry, dtype: np.dtype) -> tuple[Tile, float]:
    """The tile that spends least on a row of outputs, and what it spends for each term of a sum."""
    LANES = registers().bytes // dtype.itemsize

    def cost(entry: tuple) -> float:
        MR, NV, worth = entry
        return -(-g.OW // MR) * MR * -(-lanes_of(g) // (NV * LANES)) * NV * LANES / worth

    MR, NV, _ = best = min(TILES, key=cost)
    return Tile(MR, NV, LANES, dtype), cost(best)


def _meetings(I: int, O: int, K: int, S: int, P: int, D: int) -> tuple[np.ndarray, np.ndarray]:
    """(I, K): the output that read input i through tap k, and whether there is one: o * S - P + k * D = i."""
    o, rest = np.divmod(np.arange(I)[:, None] + P - np.arange(K) * D, S)
    return o, (rest == 0) & (o >= 0) & (o < O)


def _pairs(*axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the pairs of each input start, and all pairs of a tap and an output, taps rising."""
    o, real = _meetings(*axis)
    return np.append(0, real.sum(1).cumsum()), np.stack([np.nonzero(real)[1], o[real]], 1)


def _columns(axis: tuple[int, ...], channels: int, width: int) -> tuple[np.ndarray, int]:
    """First element and count of what each input of a row gets from z, and the step between them: a few taps on, some outputs back."""
    _, _, _, S, _, D = axis
    o, real = _meetings(*axis)
    first, taps = real.argmax(1), np.gcd(S, D)
    step = S // taps * channels - D // taps * width
    return np.stack([o[np.arange(len(o)), first] * width + first * channels, real.sum(1)], 1) * real.any(1)[:, None], int(step)


def fits(g: Geometry) -> bool:
    """Where tables are short, z is small, and a kernel row has at most 256 terms."""
    small = all(I * K <= PAIRS for I, _, K, _, _, _ in g.axes)
    return small and g.OC // g.G <= TERMS and (g.OW + TILES[0][0]) * (lanes_of(g) + registers().bytes) * 4 <= LARGEST_PATCH


def pays(g: Geometry) -> bool:
    """Where it spends less than the phases of `forward`, which pad input channels to a tile, and multiply with dy's padding (right on 14 layers); and
    where some of these only write zeros, each to every other pixel (1x1, stride 2: 0.9 to 2.9 times as fast on one thread, 1.1 to 4.3 on two)."""
    if any(min(S, I) > K for I, _, K, S, _, _ in g.axes):
        return True
    channels, float32 = g.IC // g.G, np.dtype(np.float32)
    padded = min(-(-channels // tile.NR) * tile.NR / worth for tile, worth in menu(float32))
    phases = math.prod(I * K / S for I, _, K, S, _, _ in g.axes) * padded * (g.OC // g.G)
    d, h, _ = g.axes
    meetings = _meetings(*d)[1].sum() * _meetings(*h)[1].sum()  # of a row of inputs and one of outputs
    return _cheapest(g, float32)[1] * (meetings * (g.OC // g.G) + OVERHEAD * g.ID * g.IH) < phases


@driver
def input_grad(pool, tile, plan, dy, w, dx, scratch):
    """The pass. dy, dx: (N, D, H, W, C), w: (KD, KH, KW, IC/G, OC), flat; scratch: panels of w, and z for each chunk of the items."""
    panels, rows = scratch[: plan.panels], scratch[plan.panels :]
    pack_panels(square(tile), tile.NR, plan, w, panels)
    spread(pool, len(rows) // plan.z, plan.items, row_items, rows, tile, plan, dy, panels, dx)


@outlined
def pack_panels(block, NR, plan, w, panels):
    """panels[group, p, (kd, kh), oc, n] = w[kd, kh, (kw, ic) = p * NR + n, oc], LANES x LANES elements at a time; after the last lane, it again.

    What is written after the last channel of a kernel row is overwritten by the next one.
    """
    g = plan.g
    OCG, LANES, lanes, to = g.OC // g.G, block.LANES, g.KW * (g.IC // g.G), 0
    for group in range(g.G):
        for p in range(0, plan.width, NR):
            for q in range(g.KD * g.KH):
                for oc in range(0, OCG, LANES):
                    for n in range(0, NR, LANES):
                        first = min(p + n, lanes - 1)
                        rows = offsets_apart(block, g.OC, lanes - first)
                        weights = load_rows(block, w, rows, (q * lanes + first) * g.OC + group * OCG + oc, OCG - oc)
                        store_rows(block, transpose(block, weights), panels, offsets_apart(block, NR, LANES), to + oc * NR + n, LANES)
                to += OCG * NR


@serial
def row_items(work, tile, plan, dy, panels, dx):
    """Loop 5: some work items, each a row of inputs of one image in one group of channels."""
    g, z = plan.g, work.scratch
    for i in range(work.first, work.stop):
        i, ih = i // g.IH, i % g.IH
        i, id = i // g.ID, i % g.ID
        n, group = i // g.G, i % g.G
        fresh = 1
        for d in range(plan.depths[id], plan.depths[id + 1]):
            kd, od = plan.depth_pairs[d, 0], plan.depth_pairs[d, 1]
            outputs = dy[(n * g.OD + od) * g.OH * g.OW * g.OC + group * (g.OC // g.G) :]
            weights = panels[group * plan.width // tile.NR * plan.panel + kd * g.KH * (g.OC // g.G) * tile.NR :]
            for first in range(plan.heights[ih], plan.heights[ih + 1], plan.block):
                rows = plan.height_pairs[first : min(first + plan.block, plan.heights[ih + 1])]
                multiply(tile, plan, outputs, rows, weights, z, fresh)
                fresh = 0
        if fresh:
            for j in range(g.OW * plan.width):
                z[j] = 0
        add_columns(one_row(square(tile)), plan, z, ((n * g.ID + id) * g.IH + ih) * g.IW * g.IC + group * (g.IC // g.G), dx)


@serial
def multiply(tile, plan, dy, rows, panels, z, fresh):
    """Loops 4 to 1: z[ow, n] (+)= sum over (kh, oh) of rows, oc of dy[oh, ow, oc] * panel[kh, oc, n], in tiles of MR pixels x NR lanes"""
    g = plan.g
    OCG, to = g.OC // g.G, offsets_apart(tile, plan.width, tile.MR)
    for p in range(plan.width // tile.NR):
        for ow in range(0, g.OW, tile.MR):
            acc, pixels = zeros(tile), offsets(tile, plan.pixel_offsets, ow, g.OW - 1)
            for i in range(len(rows)):
                start, weights = rows[i, 1] * g.OW * g.OC, p * plan.panel + rows[i, 0] * OCG * tile.NR
                for oc in range(OCG):
                    acc = fma_gathered(tile, acc, dy, pixels, start + oc, panels, weights)
                    weights += tile.NR
            here = ow * plan.width + p * tile.NR
            store_rows(tile, add(tile, load_or_zeros(tile, z, to, here, fresh), acc), z, to, here, tile.NR)


@outlined
def add_columns(one, plan, z, to, dx):
    """dx[iw, ic] = the sum of its elements of z, LANES channels at a time; an input that no output read is 0"""
    g = plan.g
    C, stop = g.IC // g.G, to + g.IW * g.IC if g.G == 1 else 0
    whole = offsets_apart(one, 0, 1)
    for iw in range(g.IW):
        for c in range(0, C, one.LANES):
            acc, start = zeros(one), plan.columns[iw, 0] + c
            for _ in range(plan.columns[iw, 1]):
                acc = add_row(one, acc, z, start, one.LANES)
                start += plan.step
            here = to + iw * g.IC + c  # lanes after the last channel fall on inputs that are stored later
            store_rows(one, acc, dx, whole, here, one.LANES if here + one.LANES <= stop else C - c)


class InputGrad:
    """The pass bound to a geometry and dtype: `run(dy, w, dx)` on flat arrays as kernels see them."""

    def __init__(self, g: Geometry, dtype: np.dtype):
        self.work, self.dtype = g.flops / FLOPS, np.dtype(dtype)
        self.plan, self.tile = col2im_plan(g, self.dtype)
        self.record, self.run = Record(self.plan), input_grad.bind()

    def __call__(self, dy, w, dx) -> None:
        scratch = memory.scratch(self.plan.panels + chunks(self.plan.items, self.work) * self.plan.z, self.dtype)
        self.run(self.work, self.tile, self.record, dy, w, dx, scratch)
