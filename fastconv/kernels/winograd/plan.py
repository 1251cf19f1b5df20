"""How a convolution is cut into tiles of outputs, 4x4 of them for 3x3 taps, which read windows of 6x6 inputs, and tiles into blocks.

An image of 5 x 8, padding 1, 32 input and 64 output channels:

    tiles: 2 x 2, tile 3 ragged        row_offsets: where padded row 0, 1 ... begins     block: V (36, tiles, 32) and M (36, tiles, 64)
      0 0 0 0 1 1 1 1                    -1 0 256 512 768 1024 -1 -1 -1 -1               U: (36, 1 panel, 32, 64)
      ...                              column_offsets:                                   M[k] = V[k] @ U[k]
      2 2 2 2 3 3 3 3                    -1 0 32 64 96 128 160 192 224 -1

Distances between the 36 points, and between tiles, are odd numbers of cache lines: else a transform's 36 streams would share a few sets of L1.

With a dilation D outputs D apart share inputs: tiles are 4x4 of those, and D * D tiles of neighbors lie between each other.

    dilation 2, 16 rows of outputs: tile rows 0 .. 3 are of rows    0 2 4 6    1 3 5 7    8 10 12 14    9 11 13 15

>>> from fastconv.geometry import conv_geometry
>>> plan = tiles_plan(forward_side(conv_geometry("conv2d", 1, 32, 64, (5, 8), (3, 3), 1, 1, 1, 1)), 6, 64)
>>> plan.TH, plan.TW, plan.row_offsets.tolist(), plan.column_offsets.tolist()
(2, 2, [-1, 0, 256, 512, 768, 1024, -1, -1, -1, -1], [-1, 0, 32, 64, 96, 128, 160, 192, 224, -1])
>>> plan.points, plan.V_tile, plan.V_point % 32, plan.M_tile
(36, 48, 16, 80)
"""

import math
from typing import NamedTuple

import numpy as np

from fastconv.geometry import Geometry, sources
from fastconv.kernels.winograd.matrices import OUTPUTS

LINE = 16  # float32 of a cache line
BLOCK = 864  # products of a block and a pair of channels: 24 tiles of 36 points reuse U and hide its way from L3; Zen 5: 12 to 36 equal within 10 %
FEW = 16  # blocks: for fewer of them, blocks half as large, for threads to share
SCRATCH = 1 << 20  # bytes of V and M of a block
LEAST = 12  # tiles of such a block: of fewer, U would come from L3 for too little work
SHARED = 4 << 20  # bytes of V where threads share it, and of each thread's M there
SLICE = 64  # input channels whose weights are transformed, multiplied and forgotten there
WIDEST = 3  # vectors of a register tile: 6x4 is not faster here than 11x2, spills a sum of the weight gradient, and is one more to compile
FEW_TILES = 6  # in all: there 6x4 is, as 11x2 wastes rows (1x512x7x7: 1.3 times as fast)
NOTHING = np.empty(0, np.int64)
MANY = 1 << 14  # channels of all groups
MOST = 1024  # channels of a group, inputs and outputs
# By the fewer of them, how much larger along an axis the tiles may be than the map. Times direct's speed, forward, input and weight gradient: 8
# channels at 32x32 1.3, 1.3, 1.1; 16 at 9x9 1.1, 1.0, 1.1; 64 at 5x5 1.1, 1.2, 1.3. Fewer cost more to transform than products save.
WASTES = (64, 1.6), (16, 4 / 3), (8, 1.2)
FEWEST = 16  # channels of other taps than 3x3, which save less: 5x5 1.4, 1.4, 1.6; 1x3 1.2, 1.2, 1.4


class Side(NamedTuple):
    """What a pass reads (letters I) and writes (letters O), channels of a group, and where padded rows and columns lie among what it reads, -1 for
    zeros."""

    N: int
    G: int
    IC: int
    IH: int
    IW: int
    OC: int
    OH: int
    OW: int
    KH: int
    KW: int
    DH: int
    DW: int
    rows: np.ndarray
    columns: np.ndarray

    @property
    def tiles(self) -> int:
        return self.N * along(self.OH, self.KH, self.DH) * along(self.OW, self.KW, self.DW)


class Plan(NamedTuple):
    """As kernels see it; letters I are what is read, letters O what is written; channels of a group."""

    G: int
    IC: int
    IH: int
    IW: int
    OC: int
    OH: int
    OW: int
    x_pixel: int  # elements of a pixel, of all groups
    y_pixel: int
    taps: int
    points: int
    across: int  # points of the second axis
    height: int  # outputs of a tile
    width: int
    DH: int  # rows from one to the next of its outputs, and of its inputs
    DW: int
    TH: int  # tiles along each axis, and in all
    TW: int
    tiles: int
    block: int  # tiles of a block but the last, and what it has room for
    blocks: int
    shared: bool  # the threads share a block's inputs, each with some panels of outputs; else each has blocks of its own
    slice: int  # input channels of U at a time
    panels: int  # of NR output channels
    MR: int  # of the register tile: here, so that only what multiplies is compiled for each
    NR: int
    V_tile: int  # distances in elements
    V_point: int
    M_tile: int
    M_point: int
    U_point: int
    first_rows: np.ndarray  # (TH,): of the outputs of a tile
    first_columns: np.ndarray
    tile_heights: np.ndarray  # (TH,): outputs of a tile that are there
    tile_widths: np.ndarray
    row_offsets: np.ndarray  # where in an image a padded row begins, -1 for zeros; as many as whole tiles read
    column_offsets: np.ndarray
    whole_rows: np.ndarray  # (TH,): whether the rows of a tile's window are DH apart in memory
    whole_columns: np.ndarray
    gradient_rows: np.ndarray = NOTHING  # (height * TH,): where in an image of dy a row begins, -1 after the last; a weight gradient's
    gradient_columns: np.ndarray = NOTHING
    flip: bool = False  # w is transposed and turned round: an input gradient's
    kept: bool = False  # U comes in the place of w, transformed before
    lower_bound: float = -math.inf

    @property
    def V_size(self) -> int:
        return self.points * self.V_point + LINE

    @property
    def M_size(self) -> int:
        return self.points * self.M_point + LINE


def odd_lines(count: int) -> int:
    """So many elements, rounded up to an odd number of cache lines."""
    return (-(-count // LINE) | 1) * LINE


def forward_side(g: Geometry) -> Side:
    rows, columns = (_padded(O, I, K, D, P, g.padding_mode) for I, O, K, _, P, D in [*g.axes][1:])
    return Side(g.N * g.ID, g.G, g.IC // g.G, g.IH, g.IW, g.OC // g.G, g.OH, g.OW, g.KH, g.KW, *dilations(g), rows, columns)


def backward_side(g: Geometry) -> Side:
    """From dy to dx, padding of zeros: dx[ih] = sum over kh of dy[ih - DH * (KH - 1) + PH + DH * kh] * w[KH - 1 - kh]"""
    rows, columns = (_padded(I, O, K, D, D * (K - 1) - P, "zeros") for I, O, K, _, P, D in [*g.axes][1:])
    return Side(g.N * g.ID, g.G, g.OC // g.G, g.OH, g.OW, g.IC // g.G, g.IH, g.IW, g.KH, g.KW, *dilations(g), rows, columns)


def dilations(g: Geometry) -> tuple[int, int]:
    """Of rows and columns; a single tap has none."""
    return (g.DH if g.KH > 1 else 1), (g.DW if g.KW > 1 else 1)


def along(outputs: int, taps: int, dilation: int) -> int:
    """Tiles along an axis: as many for each of the outputs that are neighbors."""
    return -(-outputs // (OUTPUTS[taps] * dilation)) * dilation


def _padded(outputs: int, inputs: int, taps: int, dilation: int, padding: int, mode: str) -> np.ndarray:
    """Which input each index of the windows of whole tiles reads; zeros where no output needs it."""
    reach = (taps - 1) * dilation
    i = np.arange(along(outputs, taps, dilation) * OUTPUTS[taps] + reach)
    return np.where(i < outputs + reach, sources(i - padding, inputs, mode), -1)


def _firsts(outputs: int, taps: int, dilation: int) -> np.ndarray:
    """The first output of each tile along an axis: neighbors begin neighboring tiles."""
    tile = np.arange(along(outputs, taps, dilation))
    return tile // dilation * OUTPUTS[taps] * dilation + tile % dilation


def tiles_plan(side: Side, MR: int, NR: int) -> Plan:
    """Of the forward pass or the input gradient."""
    plan = uncut(side, MR, NR)
    block = _block(plan, BLOCK // plan.points)
    if plan.tiles < FEW * block:
        block = _block(plan, BLOCK // plan.points // 2)
    if plan.tiles <= block or block < LEAST * 36 // plan.points:
        block = min(plan.tiles, SHARED // (4 * plan.points * max(plan.V_tile * plan.G, odd_lines(NR))))
        plan = plan._replace(shared=True, slice=min(SLICE, plan.IC), M_tile=odd_lines(NR), U_point=odd_lines(min(SLICE, plan.IC) * NR))
    return cut(plan, (max(1, block // MR) if block < plan.tiles else -(-block // MR)) * MR)


def _block(plan: Plan, most: int) -> int:
    return min(most, SCRATCH // (plan.points * 4 * (plan.V_tile + plan.M_tile)))


def cut(plan: Plan, block: int) -> Plan:
    """Into blocks of so many tiles."""
    return plan._replace(block=block, blocks=-(-plan.tiles // block), V_point=odd_lines(block * plan.V_tile), M_point=odd_lines(block * plan.M_tile))


def uncut(side: Side, MR: int, NR: int) -> Plan:
    """The plan with all tiles in one block."""
    height, width = OUTPUTS[side.KH], OUTPUTS[side.KW]
    down, across = height + side.KH - 1, width + side.KW - 1
    firsts = _firsts(side.OH, side.KH, side.DH), _firsts(side.OW, side.KW, side.DW)
    (TH, TW), panels = map(len, firsts), -(-side.OC // NR)
    tiles, V_tile, M_tile, x_pixel = side.tiles, odd_lines(side.IC), odd_lines(panels * NR), side.G * side.IC
    rows, columns = (np.where(table < 0, -1, table * step) for table, step in ((side.rows, side.IW * x_pixel), (side.columns, x_pixel)))
    heights = (np.clip(-(-(O - first) // D), 0, most) for O, first, D, most in zip((side.OH, side.OW), firsts, (side.DH, side.DW), (height, width)))
    windows = (side.rows, firsts[0], down, side.DH), (side.columns, firsts[1], across, side.DW)
    return Plan(
        side.G, side.IC, side.IH, side.IW, side.OC, side.OH, side.OW, x_pixel, side.G * side.OC, side.KH * side.KW,
        down * across, across, height, width, side.DH, side.DW, TH, TW, tiles, tiles, 1, False, side.IC, panels, MR, NR,
        V_tile, odd_lines(tiles * V_tile), M_tile, odd_lines(tiles * M_tile), odd_lines(panels * side.IC * NR),
        *firsts, *heights, rows, columns, *(_whole(*window) for window in windows),
    )  # fmt: skip


def _whole(table: np.ndarray, firsts: np.ndarray, inputs: int, dilation: int) -> np.ndarray:
    windows = table[firsts[:, None] + np.arange(inputs) * dilation]
    return (windows[:, 0] >= 0) & (np.diff(windows) == dilation).all(1)


def fits(g: Geometry) -> bool:
    """3 or 5 taps along an axis or both, stride 1, and not so many channels that a few tiles would take a lot of memory."""
    depth = g.KD == g.SD == 1 and g.PD == g.QD == 0
    taps = g.KH in OUTPUTS and g.KW in OUTPUTS and g.KH * g.KW > 1
    near = all(min(I, O) >= D for I, O, D in ((g.IH, g.OH, dilations(g)[0]), (g.IW, g.OW, dilations(g)[1])))  # else tiles hold no output
    return depth and taps and near and g.SH == g.SW == 1 and max(g.IC, g.OC) <= MANY


def pays(g: Geometry) -> bool:
    """Where it was faster than the direct algorithm: not for very few channels, and where tiles waste little."""
    IC, OC = g.IC // g.G, g.OC // g.G
    few, squares = min(IC, OC), g.KH == g.KW == 3
    waste = next((waste for least, waste in WASTES if few >= least), 0)
    sizes = (g.OH, g.KH, dilations(g)[0]), (g.OW, g.KW, dilations(g)[1])
    return (squares or few >= FEWEST) and IC + OC <= MOST and all(along(O, K, D) * OUTPUTS[K] <= waste * O for O, K, D in sizes)
