"""How a 3x3 convolution is cut into tiles of 4x4 outputs, which read windows of 6x6 inputs, and blocks of tiles, whose transforms stay in L2.

An image of 5 x 8, padding 1, 32 input and 64 output channels:

    tiles: 2 x 2, tile 3 ragged        row_offsets: where padded row 0, 1 ... begins     block: V (36, tiles, 32) and M (36, tiles, 64)
      0 0 0 0 1 1 1 1                    -1 0 256 512 768 1024 -1 -1 -1 -1               U: (36, 1 panel, 32, 64)
      ...                              column_offsets:                                   M[k] = V[k] @ U[k]
      2 2 2 2 3 3 3 3                    -1 0 32 64 96 128 160 192 224 -1

Distances between the 36 points, and between tiles, are odd numbers of cache lines: else a transform's 36 streams would share a few sets of L1.

>>> from fastconv.geometry import conv_geometry
>>> plan = tiles_plan(forward_side(conv_geometry("conv2d", 1, 32, 64, (5, 8), (3, 3), 1, 1, 1, 1)), 6, 64)
>>> plan.TH, plan.TW, plan.row_offsets.tolist(), plan.column_offsets.tolist()
(2, 2, [-1, 0, 256, 512, 768, 1024, -1, -1, -1, -1], [-1, 0, 32, 64, 96, 128, 160, 192, 224, -1])
>>> plan.V_tile, plan.V_point % 32, plan.M_tile
(48, 16, 80)
"""

import math
from typing import NamedTuple

import numpy as np

from fastconv.geometry import Geometry, sources

LINE = 16  # float32 of a cache line
POINTS = 36
BLOCK = 24  # tiles: enough to reuse U and to hide its way from L3; Zen 5: 12 to 36 are equal within 10 %, 48 and more slower where maps are large
FEW = 16  # blocks: for fewer of them, blocks half as large, for threads to share
SCRATCH = 1 << 20  # bytes of V and M of a block
NOTHING = np.empty(0, np.int64)
FEWEST, MOST = 16, 1024  # channels: of each side, because transforms cost as much as few products; of both together, because V and M must stay in L2
WASTE = 4 / 3  # outputs of tiles over those of the map, along an axis: 6x6 with 64 channels 1.7 times as fast as direct, 5x5 1.2 times
WASTE_OF_FEW = 6 / 5  # with less than 32 channels: 7x7 gains, 9x9 only forward (1.3, weight gradient 0.9)


class Side(NamedTuple):
    """What a pass reads (letters I) and writes (letters O), and where padded rows and columns lie among what it reads, -1 for zeros."""

    N: int
    IC: int
    IH: int
    IW: int
    OC: int
    OH: int
    OW: int
    rows: np.ndarray
    columns: np.ndarray


class Plan(NamedTuple):
    """As kernels see it; letters I are what is read, letters O what is written."""

    IC: int
    IH: int
    IW: int
    OC: int
    OH: int
    OW: int
    TH: int  # tiles along each axis, and in all
    TW: int
    tiles: int
    block: int  # tiles of a block, evenly
    blocks: int
    panels: int  # of NR output channels
    V_tile: int  # distances in elements
    V_point: int
    M_tile: int
    M_point: int
    U_point: int
    row_offsets: np.ndarray  # (4 * TH + 2,): where in an image a padded row begins, -1 for zeros
    column_offsets: np.ndarray
    whole_rows: np.ndarray  # (TH,): whether a tile's six rows are neighbors in memory
    whole_columns: np.ndarray
    gradient_rows: np.ndarray = NOTHING  # (4 * TH,): where in an image of dy a row begins, -1 after the last; a weight gradient's
    gradient_columns: np.ndarray = NOTHING
    flip: bool = False  # w is transposed and turned round: an input gradient's
    lower_bound: float = -math.inf

    @property
    def V_size(self) -> int:
        return POINTS * self.V_point + LINE

    @property
    def M_size(self) -> int:
        return POINTS * self.M_point + LINE


def odd_lines(count: int) -> int:
    """So many elements, rounded up to an odd number of cache lines."""
    return (-(-count // LINE) | 1) * LINE


def forward_side(g: Geometry) -> Side:
    rows, columns = (_padded(O, I, P, g.padding_mode) for O, I, P in ((g.OH, g.IH, g.PH), (g.OW, g.IW, g.PW)))
    return Side(g.N * g.ID, g.IC, g.IH, g.IW, g.OC, g.OH, g.OW, rows, columns)


def backward_side(g: Geometry) -> Side:
    """From dy to dx, padding of zeros: dx[ih] = sum over kh of dy[ih - (2 - PH) + kh] * w[2 - kh]"""
    rows, columns = (_padded(I, O, 2 - P, "zeros") for O, I, P in ((g.OH, g.IH, g.PH), (g.OW, g.IW, g.PW)))
    return Side(g.N * g.ID, g.OC, g.OH, g.OW, g.IC, g.IH, g.IW, rows, columns)


def _padded(outputs: int, inputs: int, padding: int, mode: str) -> np.ndarray:
    """Which input each index of the windows of whole tiles reads; zeros where no output needs it."""
    i = np.arange(-(-outputs // 4) * 4 + 2)
    return np.where(i < outputs + 2, sources(i - padding, inputs, mode), -1)


def tiles_plan(side: Side, MR: int, NR: int, few: int = FEW) -> Plan:
    TH, TW, panels = -(-side.OH // 4), -(-side.OW // 4), -(-side.OC // NR)
    tiles, V_tile, M_tile = side.N * TH * TW, odd_lines(side.IC), odd_lines(panels * NR)
    most = min(BLOCK if tiles >= few * BLOCK else BLOCK // 2, SCRATCH // (POINTS * 4 * (V_tile + M_tile)))
    block = max(1, most // MR) * MR
    blocks = max(1, -(-tiles // block))
    row_offsets, column_offsets = (np.where(table < 0, -1, table * step) for table, step in ((side.rows, side.IW * side.IC), (side.columns, side.IC)))
    whole_rows, whole_columns = (_whole(table, count) for table, count in ((side.rows, TH), (side.columns, TW)))
    return Plan(
        side.IC, side.IH, side.IW, side.OC, side.OH, side.OW, TH, TW, tiles, block, blocks, panels,
        V_tile, odd_lines(block * V_tile), M_tile, odd_lines(block * M_tile), odd_lines(panels * side.IC * NR),
        row_offsets, column_offsets, whole_rows, whole_columns,
    )  # fmt: skip


def _whole(table: np.ndarray, tiles: int) -> np.ndarray:
    windows = table[4 * np.arange(tiles)[:, None] + np.arange(6)]
    return (windows[:, 0] >= 0) & (np.diff(windows) == 1).all(1)


def fits(g: Geometry) -> bool:
    """3x3, stride 1, dilation 1, one group, where it was faster than the direct algorithm: 16 channels or more, maps of which tiles waste little."""
    depth = g.KD == g.SD == 1 and g.PD == g.QD == 0
    applies = depth and g.G == 1 and g.KH == g.KW == 3 and g.SH == g.SW == g.DH == g.DW == 1
    few = min(g.IC, g.OC)
    waste = WASTE if few >= 32 else WASTE_OF_FEW
    return applies and few >= FEWEST and g.IC + g.OC <= MOST and all(4 * -(-extent // 4) <= waste * extent for extent in (g.OH, g.OW))
