"""The input gradient where input channels are few: a GEMM, whose rows are then added onto the image (col2im).

With IC = 1 a register tile of `forward` would use one of its lanes. Here lanes are pixels, and the rows of w are broadcast where they lie:

    z[(kh, kw, ic), p] = sum over oc of w[kd, kh, kw, ic, oc] * dy[p, oc]                M = KH * KW * IC, N = pixels, K = OC
    dx[oh * SH - PH + kh * DH, ..., ic] += z[(kh, kw, ic), p]

The scatter that the flipped kernel avoids elsewhere stays in an image band in L2 that one work item owns, and adds whole rows of pixels. For
3x3, 1 channel, stride 1 and a band of 4 rows of 6 inputs, which 6 rows of 4 outputs read:

    dy transposed: (OC, 24 pixels)     z: (9, 24), row (kh, kw)     band: (8, 6), row oh + kh, column ow + kw += z[(kh, kw), (oh, ow)]

(With channels of z as lanes it added 3 to 30 elements at a time onto those just written: 6 GFLOP/s instead of 19.)
"""

from typing import NamedTuple

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.compile import FLOPS, Record, chunks, driver, outlined, serial, spread
from fastconv.kernels.igemm.packing import clear
from fastconv.kernels.simd.arithmetic import add, fma_gathered, transpose, zeros
from fastconv.kernels.simd.host import PATCH, PIXELS, TERMS, menu, registers
from fastconv.kernels.simd.memory import add_to_row, load_rows, offsets, offsets_apart, store_rows
from fastconv.kernels.simd.tile import Tile, one_row, square


class Col2im(NamedTuple):
    """How the inputs are cut into bands of rows, as kernels see it."""

    g: Record  # the geometry
    rows: int  # of inputs that an item owns, in one plane of one image
    items_h: int  # items of a plane
    height: int  # of the band that its outputs reach
    width: int
    step: int  # from row to row of z and of dy transposed: room for the pixels of all an item's tiles
    pixel_offsets: np.ndarray  # (pixels,): where in dy a pixel is
    band: int  # elements of scratch: the band, z, in all
    z: int
    scratch: int
    items: int


def col2im_plan(g: Geometry, dtype: np.dtype) -> tuple[Col2im, Tile]:
    M, OCG, ICG = g.KH * g.KW * g.IC // g.G, g.OC // g.G, g.IC // g.G
    tile = min(menu(dtype), key=lambda entry: -(-M // entry[0].MR) * entry[0].MR / entry[1])[0]  # spends least on broadcast rows
    most = min(2 * PIXELS, 2 * PATCH // ((M + OCG) * dtype.itemsize))  # pixels of z and dy, both in L2
    rows = 1
    while rows < g.IH and _outputs(g, rows + 1) * g.OW <= most:
        rows += 1
    rows = -(-g.IH // -(-g.IH // rows))  # evenly
    vectors = -(-_outputs(g, rows) * g.OW // tile.NR) * tile.NV
    step = (vectors + 1 - vectors % 2) * tile.LANES  # odd: rows an even number of cache lines apart would share a few sets of the cache
    height, width = (_outputs(g, rows) - 1) * g.SH + (g.KH - 1) * g.DH + 1, (g.OW - 1) * g.SW + (g.KW - 1) * g.DW + 1
    items_h = -(-g.IH // rows)
    band, z = memory.lines(ICG * height * width, dtype), -(-M // tile.MR) * tile.MR * step
    scratch = band + z + -(-OCG // tile.LANES) * tile.LANES * step
    return Col2im(Record(g), rows, items_h, height, width, step, np.arange(step) * g.OC, band, z, scratch, g.N * g.G * g.ID * items_h), tile


def _outputs(g: Geometry, rows: int) -> int:
    """The most rows of outputs that read some of `rows` neighboring rows of inputs."""
    return min(g.OH, (rows + (g.KH - 1) * g.DH - 1) // g.SH + 1)


BAND_POSITIONS = 1 << 16, 4  # positions of a band: so many, and so many more for each of its inputs or outputs; wide dilations leave most unread
PRODUCTS = 1 << 20  # elements of z, over the rows of a tile


def fits(g: Geometry) -> bool:
    """Where rows of pixels are neighbors, bands share few outputs and need little room, and it was the faster way: few input channels, fewer
    where outputs have few."""
    inputs, outputs, lanes = g.IC // g.G, g.OC // g.G, registers().bytes // 4
    few = 3 * inputs <= 2 * lanes and (inputs <= 4 or 5 * inputs <= outputs)
    if g.SW > 1 or not few:
        return False
    plan, tile = col2im_plan(g, np.dtype(np.float32))
    outputs = _outputs(g, plan.rows)
    positions = BAND_POSITIONS[0] + BAND_POSITIONS[1] * max(plan.rows * g.IW, outputs * g.OW)
    small = plan.height * plan.width <= positions and plan.z // tile.MR <= PRODUCTS
    return small and (2 * outputs <= 3 * plan.rows or plan.rows == g.IH)


@driver
def input_grad(pool, tile, plan, dy, w, dx, scratch):
    """The pass. dy, dx: (N, D, H, W, C), w: (KD, KH, KW, IC/G, OC), flat; scratch: a band, z and dy transposed for each chunk of the items."""
    spread(pool, len(scratch) // plan.scratch, plan.items, band_items, scratch, tile, plan, dy, w, dx)


@serial
def band_items(work, tile, plan, dy, w, dx):
    """Some work items, each some rows of one plane of one image in one group of channels."""
    g = plan.g
    band, z, turned = work.scratch[: plan.band], work.scratch[plan.band : plan.band + plan.z], work.scratch[plan.band + plan.z :]
    OCG, M = g.OC // g.G, g.KH * g.KW * (g.IC // g.G)
    for i in range(work.first, work.stop):
        i, first = i // plan.items_h, i % plan.items_h * plan.rows
        i, id = i // g.ID, i % g.ID
        n, group = i // g.G, i % g.G
        stop = min(first + plan.rows, g.IH)
        low = max(0, -(-(first + g.PH - (g.KH - 1) * g.DH) // g.SH))  # outputs low..high read these rows
        outputs = max(0, min(g.OH, (stop - 1 + g.PH) // g.SH + 1) - low)
        clear(band, 0, (g.IC // g.G) * plan.height * plan.width)
        for kd in range(g.KD):
            od = (id + g.PD - kd * g.DD) // g.SD
            if od * g.SD == id + g.PD - kd * g.DD and 0 <= od < g.OD and outputs > 0:
                pixels = dy[((n * g.OD + od) * g.OH + low) * g.OW * g.OC + group * OCG :]
                transpose_pixels(square(tile), plan, pixels, outputs * g.OW, turned)
                multiply(tile, plan, w[kd * M * g.OC + group * OCG :], turned, outputs * g.OW, z)
                add_rows(one_row(tile), plan, z, outputs, band)
        store_band(plan, (n * g.ID + id, group, first, stop, g.PH - low * g.SH), band, dx)


@outlined
def transpose_pixels(block, plan, dy, pixels, turned):
    """turned[oc, p] = dy[p, oc], LANES x LANES elements at a time, 0 after the last channel"""
    channels, LANES = plan.g.OC // plan.g.G, block.LANES
    for m in range(0, pixels, LANES):
        reads = offsets(block, plan.pixel_offsets, m, pixels - 1)
        for oc in range(0, channels, LANES):
            columns = transpose(block, load_rows(block, dy, reads, oc, channels - oc))
            store_rows(block, columns, turned, offsets_apart(block, plan.step, LANES), oc * plan.step + m, LANES)


@serial
def multiply(tile, plan, w, dy, pixels, z):
    """z[m, i] = sum over oc of w[m, oc] * dy[oc, i], in running sums of at most 256 terms"""
    g = plan.g
    M, channels = g.KH * g.KW * (g.IC // g.G), g.OC // g.G
    for i in range(0, pixels, tile.NR):
        for m in range(0, M, tile.MR):
            rows, acc = offsets_apart(tile, g.OC, M - m), zeros(tile)
            for first in range(0, channels, TERMS):
                block = zeros(tile)
                for oc in range(first, min(first + TERMS, channels)):
                    block = fma_gathered(tile, block, w, rows, m * g.OC + oc, dy, oc * plan.step + i)
                acc = add(tile, acc, block)
            store_rows(tile, acc, z, offsets_apart(tile, plan.step, tile.MR), m * plan.step + i, tile.NR)


@outlined
def add_rows(one, plan, z, outputs, band):
    """band[c, oh * SH + kh * DH, ow + kw * DW] += z[(kh, kw, c), (oh, ow)], one row of z after another; oh counts from the item's first"""
    g = plan.g
    C = g.IC // g.G
    for m in range(g.KH * g.KW * C):
        kh, kw, c = m // C // g.KW, m // C % g.KW, m % C
        to = (c * plan.height + kh * g.DH) * plan.width + kw * g.DW
        for ow in range(0, g.OW, one.NR):
            for oh in range(outputs):
                add_to_row(one, z, m * plan.step + oh * g.OW + ow, g.OW - ow, band, to + oh * g.SH * plan.width + ow)


@outlined
def store_band(plan, item, band, dx):
    """dx of one item from its band; inputs that no output reads are 0. item: plane, group, first and last row, and where row 0 is in the band"""
    g = plan.g
    C, (plane, group, first, stop, shift) = g.IC // g.G, item
    for h in range(first, stop):
        to, row = (plane * g.IH + h) * g.IW * g.IC + group * C, h + shift
        real = max(0, min(g.IW, plan.width - g.PW)) if 0 <= row < plan.height else 0
        for c in range(C):
            sums, inputs = band[(c * plan.height + row) * plan.width + g.PW :], dx[to + c :]
            for w in range(real):
                inputs[w * g.IC] = sums[w]
            for w in range(real, g.IW):
                inputs[w * g.IC] = 0


class InputGrad:
    """The pass bound to a geometry and dtype: `run(dy, w, dx)` on flat arrays as kernels see them."""

    def __init__(self, g: Geometry, dtype: np.dtype):
        self.work, self.dtype = g.flops / FLOPS, np.dtype(dtype)
        self.plan, self.tile = col2im_plan(g, self.dtype)
        self.record, self.run = Record(self.plan), input_grad.bind()

    def __call__(self, dy, w, dx) -> None:
        scratch = memory.scratch(chunks(self.plan.items, self.work) * self.plan.scratch, self.dtype)
        self.run(self.work, self.tile, self.record, dy, w, dx, scratch)
