"""What a pass of a narrow layer knows of a convolution of stride 1: planes of pixels, whose neighbors in a row share a broadcast.

Lanes are output channels. Where these fill a single vector, what bounds a register tile is one broadcast for each product of vectors. But a
pixel that is broadcast once meets all KW taps of a kernel row, in KW neighboring outputs:

    acc[j - kw] += patch[j] * w[kw]          tap kw of output j - kw reads pixel j: MR + KW - 1 broadcasts for MR * KW products

So that a tile has a single address, an item's inputs are packed as planes, patch[row][ic][column], padding included. For 3x3, padding 1,
2 channels, an image of 4 x 6 and an item of 2 rows, where vectors have 4 lanes, so that pixels become planes 4 channels at a time:

    patch: 4 rows x 4 planes x 8 columns     row 0: . . . . . . . .  plane 0 from 0 on     row_starts: where an output's kernel
        plane 0   plane 1                           . . . . . . . .  plane 1 from 8          rows start, 32 elements apart
    row 1: . x0 x1 .. x5 .    . x0' ..       row 1: plane 0 from 32, plane 1 from 40

>>> from fastconv.geometry import conv_geometry
>>> plan, _ = forward_plan(conv_geometry("conv2d", 1, 2, 3, (4, 6), (3, 3), 1, 1, 1, 1), np.dtype("f4"), LANES=4)
>>> plan._replace(rows=2).patch_w, plan.row, plan.row_starts.tolist(), plan.column_map.tolist()
(8, 32, [0, 32, 64], [-1, 0, 1, 2, 3, 4, 5, -1])
>>> plan.threes, plan.twos  # taps of a row: 3
(1, 0)
"""

import math
from typing import NamedTuple

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry, sources
from fastconv.kernels.simd.host import ITEM_FLOPS, ITEMS, LARGEST_PATCH, PATCH, TERMS, registers
from fastconv.kernels.simd.tile import Tile

HEIGHTS = 8, 10  # pixels of a tile: with three weights and a pixel they fit 16 registers, 11 and 12 were spilled


class Plan(NamedTuple):
    """The forward pass as kernels see it, from x to y."""

    N: int
    G: int
    IC: int  # channels in memory, and those of one group:
    ICG: int
    ID: int
    IH: int
    IW: int
    OC: int
    OCG: int
    OD: int
    OH: int
    OW: int
    kernel_rows: int  # KD * KH
    KW: int  # taps of one: so many threes, then so many twos. More than three at a time were spilled
    threes: int
    twos: int
    block: int  # kernel rows of a running sum of at most 256 terms
    rows: int  # of outputs in an item
    items_h: int  # items of a plane
    items: int
    patch_d: int  # extents of a patch: depths, rows, columns
    patch_h: int
    patch_w: int
    row: int  # elements from row to row: a plane of columns for each channel
    left: int  # columns left..right of a patch are the input's own
    right: int
    panel: int  # elements of a panel, its bias first, and of all panels
    panels: int
    patch: int  # elements of a patch; of scratch, with the sums of a tile after it
    scratch: int
    depth_map: np.ndarray  # which input is at a position along an axis, -1 for a zero
    row_map: np.ndarray
    column_map: np.ndarray
    row_starts: np.ndarray  # (kernel_rows,): where in a patch kernel rows start, seen from an output
    lower_bound: float  # of y: 0 is a ReLU


def forward_plan(g: Geometry, dtype: np.dtype, lower_bound: float = -math.inf, LANES: int = 0) -> tuple[Plan, Tile]:
    """The plan and its tile. LANES: of vectors, 0 for this machine's"""
    size = dtype.itemsize
    LANES = LANES or registers().bytes // size
    ICG, OCG, patch_w = g.IC // g.G, g.OC // g.G, g.OW - 1 + g.KW
    row = patch_w * (1 if ICG == 1 else -(-ICG // LANES) * LANES)
    rows = 1
    while rows < g.OH and g.KD * (rows + g.KH) * row * size <= PATCH:
        rows += 1
    rows = max(1, min(rows, g.N * g.OD * g.OH // max(1, min(ITEMS, g.flops // ITEM_FLOPS))))  # enough items to share
    rows = -(-g.OH // -(-g.OH // rows))  # evenly
    items_h, patch_h = -(-g.OH // rows), rows + g.KH - 1
    maps = [sources(np.arange(O + K - 1) - P, I, g.padding_mode) for I, O, K, _, P, _ in g.axes]
    left, right = (min(patch_w, max(0, column + g.PW)) for column in (0, g.IW))
    twos = {0: 0, 1: 2, 2: 1}[g.KW % 3]
    panel = (1 + g.taps * ICG) * LANES
    starts = np.array([(kd * patch_h + kh) * row for kd in range(g.KD) for kh in range(g.KH)])
    tile, patch = Tile(height(g), 1, LANES, dtype), memory.lines(g.KD * patch_h * row, dtype)
    return Plan(
        g.N, g.G, g.IC, ICG, g.ID, g.IH, g.IW, g.OC, OCG, g.OD, g.OH, g.OW, g.KD * g.KH, g.KW, (g.KW - 2 * twos) // 3, twos,
        max(1, TERMS // (ICG * g.KW)), rows, items_h, g.N * g.G * g.OD * items_h, g.KD, patch_h, patch_w, row, left, right,
        panel, memory.lines(g.G * -(-OCG // LANES) * panel, dtype), patch, patch + tile.MR * LANES, *maps, starts, float(lower_bound),
    ), tile  # fmt: skip


def height(g: Geometry) -> int:
    """Pixels of a tile: those that waste fewest outputs of a row. A row's last tile begins early, to be full."""
    return min(HEIGHTS, key=lambda MR: (MR > g.OW, -(-g.OW // MR) * MR))


def fits(g: Geometry) -> bool:
    """Stride 1, no dilation, rows of at least a tile of outputs, several taps and at most 256 terms a kernel row, a patch that is not too large."""
    ICG, one = g.IC // g.G, g.SD == g.SH == g.SW == g.DD == g.DH == g.DW == 1
    row = (g.OW + g.KW) * (ICG + registers().bytes) * 4
    return one and HEIGHTS[0] <= g.OW and g.KW >= 2 and ICG * g.KW <= TERMS and g.KD * g.KH * row <= LARGEST_PATCH


def pays(g: Geometry) -> bool:
    """Where output channels fill one vector of at most 8 lanes (of more it was not measured): 1->6 5x5 1.5 to 1.7 times as fast as the direct
    algorithm, 4->4 3x3 1.3, 3->8 3x3 1.1; with two vectors it was slower: 3->16 5x5 0.85, 3->32 3x3 0.86."""
    return full(g) and g.OC // g.G <= registers().bytes // 4 <= 8


def full(g: Geometry) -> bool:
    """Whether tiles waste little of a row of outputs."""
    return -(-g.OW // height(g)) * height(g) <= 1.25 * g.OW
