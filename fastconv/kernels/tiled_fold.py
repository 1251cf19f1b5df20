"""The input gradient where input channels are few: one product of matrices, whose rows are then folded onto the inputs.

With IC = 1 a register tile of `tiled_convolution` would use one of its lanes. Here lanes are pixels, and all taps' channels are broadcast:

    z[(kh, kw, ic), pixel] = sum over oc of w[oc, ic, kd, kh, kw] * dy[oc, pixel]
    dx[n, ic, oh * SH - PH + kh * DH, ...] += z[(kh, kw, ic), pixel]

The scatter that the flipped kernel avoids elsewhere: it stays in a box of the second-level cache that one work item owns, and adds whole
rows of pixels. (With channels of z as lanes it added 3 to 30 numbers at a time onto those just written: 6 GFLOP/s instead of 19.)
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import prange

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.host import BOX, PIXELS, TERMS, menu, registers
from fastconv.kernels.items import shares
from fastconv.kernels.packing import clear
from fastconv.kernels.policy import parallel, serial
from fastconv.kernels.tiled_calls import call, tiled
from fastconv.kernels.vectors import Tile, add, add_to_row, fma_run, load_rows, places, store_rows, transpose, zeros
from fastconv.kernels.walk import channels_last

SPREAD = 1 << 16, 4  # cells of a box: so many, and so many more for each pixel of its inputs or outputs; wide dilations leave most unread
PRODUCTS = 1 << 20  # numbers of z, over the rows of a panel


class Bands(NamedTuple):
    """How the inputs are cut; kernels see it as a one-element record."""

    rows: int  # of inputs that an item owns, in one plane of one image
    down: int  # items a plane
    height: int  # of the box, and its width
    width: int
    step: int  # from row to row of z and of dy turned: room for the pixels of all an item's tiles
    P: int  # panels of MR terms


_RECORD = np.dtype([(name, np.int64) for name in Bands._fields])


class FoldPlan(NamedTuple):
    bands: Bands
    tile: Tile
    square: Tile  # LANES x LANES, to turn dy
    one: Tile  # a single vector
    record: np.ndarray
    at: np.ndarray  # (pixels,): where in dy a pixel is
    rows: np.ndarray  # where in z a term's row begins, and in dy turned an output channel's


@lru_cache(maxsize=512)
def fold_plan(g: Geometry, dtype: np.dtype) -> FoldPlan:
    terms, T = g.KH * g.KW * g.IC // g.G, g.OC // g.G
    tile = min(menu(dtype), key=lambda entry: -(-terms // entry[0].MR) * entry[0].MR / entry[1])[0]  # spends least on broadcast terms
    most = min(2 * PIXELS, 2 * BOX // ((terms + T) * dtype.itemsize))  # pixels of z and dy, both in the second-level cache
    rows = 1
    while rows < g.IH and _outputs(g, rows + 1) * g.OW <= most:
        rows += 1
    rows = -(-g.IH // -(-g.IH // rows))  # evenly
    vectors = -(-_outputs(g, rows) * g.OW // tile.NR) * tile.NV
    step = (vectors + 1 - vectors % 2) * tile.LANES  # odd: rows an even number of cache lines apart would share a few sets of the cache
    height, width = (_outputs(g, rows) - 1) * g.SH + (g.KH - 1) * g.DH + 1, (g.OW - 1) * g.SW + (g.KW - 1) * g.DW + 1
    bands = Bands(rows, -(-g.IH // rows), height, width, step, -(-terms // tile.MR))
    square, one = (Tile(MR, 1, tile.LANES, dtype) for MR in (tile.LANES, 1))
    starts = np.arange(max(-(-T // tile.LANES) * tile.LANES, bands.P * tile.MR)) * step
    return FoldPlan(bands, tile, square, one, np.array([tuple(bands)], _RECORD), np.arange(step) * g.OC, starts)


def _outputs(g: Geometry, rows: int) -> int:
    """The most rows of outputs that read some of `rows` neighbouring rows of inputs."""
    return min(g.OH, (rows + (g.KH - 1) * g.DH - 1) // g.SH + 1)


def fits(g: Geometry) -> bool:
    """Where rows of pixels are neighbours, bands share few outputs and need little room, and it was the faster way: few input channels, fewer
    where outputs have few."""
    inputs, outputs, lanes = g.IC // g.G, g.OC // g.G, registers().bytes // 4
    few = 3 * inputs <= 2 * lanes and (inputs <= 4 or 5 * inputs <= outputs)
    if g.SW > 1 or not few:
        return False
    bands = fold_plan(g, np.dtype(np.float32)).bands
    outputs = _outputs(g, bands.rows)
    cells = SPREAD[0] + SPREAD[1] * max(bands.rows * g.IW, outputs * g.OW)
    small = bands.height * bands.width <= cells and bands.P * bands.step <= PRODUCTS
    return small and (2 * outputs <= 3 * bands.rows or bands.rows == g.IH)


@tiled(lambda f, i: (f[::1], i[::1], i, i, f[::1], i[::1]))
def transpose_pixels(square, dy, at, pixels, channels, to, rows):
    """to[rows[oc] + i] = dy[at[i] + oc], LANES x LANES numbers at a time, 0 behind the last channel"""
    LANES = square.LANES
    for i in range(0, pixels, LANES):
        reads = places(square, at, i, pixels - 1)
        for oc in range(0, channels, LANES):
            block = transpose(square, load_rows(square, dy, reads, oc, channels - oc))
            store_rows(square, block, to, places(square, rows, oc, len(rows) - 1), i, LANES)


@tiled(lambda f, i: (f[:, :, ::1], f[::1], f[::1], i[::1], i))
def multiply(tile, panels, dy, z, rows, pixels):
    """z[rows[m] + i] = sum over oc of panels[m // MR, oc, m % MR] * dy[rows[oc] + i]"""
    P, channels, MR = panels.shape
    flat, NR = panels.ravel(), tile.NR
    for i in range(0, pixels, NR):
        for p in range(P):
            at, sums = p * channels * MR, zeros(tile)
            for first in range(0, channels, TERMS):  # at most 256 terms in one running sum
                block = zeros(tile)
                for oc in range(first, min(first + TERMS, channels)):
                    block = fma_run(tile, block, flat, at + oc * MR, dy, oc * rows[1] + i)
                sums = add(tile, sums, block)
            store_rows(tile, sums, z, places(tile, rows, p * MR, len(rows) - 1), i, NR)


@tiled(lambda f, i: (f[::1], i, i, i, f[::1], i, i))
def add_plane(one, z, at, height, width, box, to, step):
    """box[to + row * step + i] += z[at + row * width + i], i < width"""
    for i in range(0, width, one.NR):
        for row in range(height):
            add_to_row(one, z, at + i + row * width, width - i, box, to + i + row * step)


@serial
def fold(add_plane, z, rows, outputs, g, C, height, width, box):
    """box[c, oh * SH + kh * DH, ow + kw * DW] += z[(kh, kw, c), (oh, ow)], term after term; oh counts from the item's first"""
    for m in range(g.KH * g.KW * C):
        kh, kw, c = m // C // g.KW, m // C % g.KW, m % C
        call(add_plane, z, rows[m], outputs, g.OW, box, (c * height + kh * g.DH) * width + kw * g.DW, g.SH * width)


@serial
def fold_item(transpose_pixels, multiply, add_plane, item, dy, panels, dx, geometry, bands, at, rows, turned, z, box):
    """Some rows of one plane of one image, in one group of channels."""
    g, b = geometry[0], bands[0]
    T, C = g.OC // g.G, g.IC // g.G
    item, first = item // b.down, item % b.down * b.rows
    item, d = item // g.ID, item % g.ID
    n, group = item // g.G, item % g.G
    behind = min(first + b.rows, g.IH)
    low = max(0, -(-(first + g.PH - (g.KH - 1) * g.DH) // g.SH))  # outputs low..high read these rows
    outputs = max(0, min(g.OH, (behind - 1 + g.PH) // g.SH + 1) - low)
    clear(box, 0, C * b.height * b.width)
    for kd in range(g.KD):
        od = (d + g.PD - kd * g.DD) // g.SD
        if od * g.SD == d + g.PD - kd * g.DD and 0 <= od < g.OD and outputs > 0:
            pixels = dy[((n * g.OD + od) * g.OH + low) * g.OW * g.OC + group * T :]
            call(transpose_pixels, pixels, at, outputs * g.OW, T, turned, rows)
            call(multiply, panels[kd, group], turned, z, rows, outputs * g.OW)
            fold(add_plane, z, rows, outputs, g, C, b.height, b.width, box)
    for h in range(first, behind):
        to, row = ((n * g.ID + d) * g.IH + h) * g.IW * g.IC + group * C, h + g.PH - low * g.SH
        real = max(0, min(g.IW, b.width - g.PW)) if 0 <= row < b.height else 0  # others no output reads
        for c in range(C):
            cells, inputs = box[(c * b.height + row) * b.width + g.PW :], dx[to + c :]
            for w in range(real):
                inputs[w * g.IC] = cells[w]
            for w in range(real, g.IW):
                inputs[w * g.IC] = 0


@parallel
def fold_all(transpose_pixels, multiply, add_plane, items, dy, panels, dx, geometry, bands, at, rows, scratch, box, z):
    """Every input; each item owns some rows of one plane, each share of the items its scratch: a box, z and dy turned."""
    shares = scratch.shape[0]
    for share in prange(shares):
        own = scratch[share]
        for item in range(items * share // shares, items * (share + 1) // shares):
            fold_item(
                transpose_pixels, multiply, add_plane, np.int64(item), dy, panels, dx, geometry, bands, at, rows,
                own[box + z :], own[box : box + z], own[:box],
            )  # fmt: skip


def conv_input_grad(dy, w, dx, g: Geometry) -> None:
    T, C = g.OC // g.G, g.IC // g.G
    plan = fold_plan(g, dy.dtype)
    b, MR, lanes, terms = plan.bands, plan.tile.MR, plan.tile.LANES, g.KH * g.KW * C
    panels = memory.zeros((g.KD, g.G, b.P * MR, T), dy.dtype)
    panels[:, :, :terms] = w.reshape(g.G, T, C, g.KD, g.KH * g.KW).transpose(3, 0, 4, 2, 1).reshape(g.KD, g.G, terms, T)
    panels = np.ascontiguousarray(panels.reshape(g.KD, g.G, b.P, MR, T).swapaxes(3, 4))
    items = g.N * g.G * g.ID * b.down
    box, z = memory.lines(C * b.height * b.width, dy.dtype), b.P * MR * b.step
    scratch = memory.empty((shares(items), box + z + -(-T // lanes) * lanes * b.step), dy.dtype)
    fold_all(
        g.flops, transpose_pixels.on(plan.square), multiply.on(plan.tile), add_plane.on(plan.one), items,
        channels_last(dy).reshape(-1), panels, channels_last(dx).reshape(-1), g.record(),
        plan.record, plan.at, plan.rows, scratch, box, z,
    )  # fmt: skip


def roundings(g: Geometry, dtype: np.dtype) -> int:
    """The longest running sum over output channels, the sums of its blocks, then one addition for each tap."""
    T = g.OC // g.G
    return min(TERMS, T) + -(-T // TERMS) + g.taps
