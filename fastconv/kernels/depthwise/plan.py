"""What a depthwise pass knows of a convolution: items, the rows of its kernel, and where in memory they find their inputs.

Lanes are target channels: y's forward, dx's backward. An item is some rows of pixels in a strip of channel blocks of LANES channels. A kernel row
is K taps of neighboring columns. A table says where the inputs of a kernel row begin, -1 for zeros; windows know what of a row is outside. For
3x3, padding 1, 8 channels and an image of 4 x 10, a row of which has 10 pixels * 8 channels = 80 elements:

    row_offsets: of the kernel rows of each row of outputs     tiles of 6 outputs: the last one begins early, to be full
    output row 0: -1   0  80                                   first: outputs 0..5 read columns -1..6, column -1 is left out
    output row 1:  0  80 160                                   last:  outputs 4..9 read columns 3..10, column 10 is left out
    output row 2: 80 160 240
    output row 3: 160 240 -1

With several channels a group, target channel c meets ICG inputs of its group: as many patches, in which lane c is the input that c meets, are
copied for an item, with their padding, and the table counts in them. So they do where channels are fewer than lanes, for wide or dilated rows, and
for padding beside a row that does not hold zeros.

>>> from fastconv.geometry import conv_geometry
>>> plan, window = forward_plan(conv_geometry("conv2d", 1, 8, 8, (4, 10), (3, 3), 1, 1, 1, 8), np.dtype("f4"), 8)
>>> plan.row_offsets[:12].tolist(), plan.tiles, plan.last
([-1, 0, 80, 0, 80, 160, 80, 160, 240, 160, 240, -1], 2, 4)
>>> window
Window(6, 3, 3, (1, 1, 0), 8, float32, (1, 1, 2))
"""

import math
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np

from fastconv.geometry import Geometry, sources
from fastconv.geometry.lines import Line, backward_lines, forward_lines
from fastconv.kernels.depthwise.rows import HEIGHTS, LONGEST, Row, height, row_window, rows_at_once, stays_in_place
from fastconv.kernels.simd.host import BLOCK_PATCH, BLOCK_PIXELS, ITEM_FLOPS, ITEMS, STRIP, TERMS
from fastconv.kernels.simd.windows import Window

WIDEST = 7  # taps that a window may have: its taps, a tile of outputs and an input fit 16 registers
MOST_CHANNELS = 16  # bound on twice a group's channels


class Plan(NamedTuple):
    """A pass as kernels see it. Letters I are what it reads, letters O what it writes: x and y forward, dy and dx backward."""

    N: int
    IC: int
    ICG: int
    ID: int
    IH: int
    IW: int
    OC: int
    OD: int
    OH: int
    OW: int
    K: int  # taps of a kernel row
    kernel_rows: int
    blocks: int  # of LANES target channels
    strip: int  # blocks of an item
    strips: int
    images: int  # of an item, as are the next three, counted in outputs of a phase
    depths: int
    rows: int
    columns: int
    items_d: int  # items of an image
    items_h: int
    items_w: int
    items: int
    SD: int  # positions of the patch from output to output; along a row SW / T
    SH: int
    SW: int
    T: int
    lanewise: bool  # lane c meets channel c of a pixel and of a tap
    in_place: bool  # inputs are read where they lie
    image: int  # elements from image to image of inputs or patches
    lines: int  # rows of a plane in row_offsets
    before: int  # positions before the first input of a row
    pixel: int  # elements from column to column of inputs or patches
    tiles: int  # of a row, in place
    last: int  # the output with which the last of them begins, and its column, counted from the first tile's
    last_column: int
    zeros: int  # elements before the panels, for a kernel row of zeros
    patch_d: int
    patch_h: int
    patch_w: int
    patch: int  # elements of the patch of an image, for one input of a group
    panels: int  # elements of the panels of a channel block
    scratch: int
    depth_map: np.ndarray  # which input is at a position of all patches along an axis, -1 for a zero
    row_map: np.ndarray
    column_map: np.ndarray
    phases: np.ndarray  # (phases, 11): first and stop of its kernel rows; then for each axis count, first and step of its outputs
    row_offsets: np.ndarray  # (depths, lines, kernel rows): where an output's kernel rows start in an image or patch, -1 for zeros
    taps: np.ndarray  # (kernel rows * K,): where in w its weights are, relative to weight_lanes
    lanes: np.ndarray  # (OC,): for each target channel, which input channel it meets first
    weight_lanes: np.ndarray  # (OC,): where its weights are
    lower_bound: float = -math.inf


class Side(NamedTuple):
    """The memory that a pass reads, or writes."""

    C: int
    extents: tuple[int, int, int]


class Channels(NamedTuple):
    """How a lane, a target channel, finds its inputs and weights."""

    lanes: np.ndarray  # (OC,): the first input channel that it meets
    weight_lanes: np.ndarray  # (OC,): where in w its weights are, seen from a tap's
    weight: Callable[[int, int], int]  # of a tap and an input of the group: where in w the tap's are


class Columns(NamedTuple):
    """The lines along a row, and how far from the first position of an output its last one is."""

    lines: tuple[Line, ...]
    low: int
    reach: int
    taps: tuple[int, ...]  # of a kernel row, if it is read as a whole


def forward_plan(g: Geometry, dtype: np.dtype, LANES: int, in_place: bool = True) -> tuple[Plan, Window]:
    """From x to y; in place where that may be and can be."""
    ICG, OCG = g.IC // g.G, g.OC // g.G
    c = np.arange(g.OC)
    channels = Channels(c // OCG * ICG, c, lambda tap, i: (tap * ICG + i) * g.OC)
    depth, row, column = _lines(g, forward_lines)
    if g.DW == 1 and g.KW <= WIDEST:
        R = rows_at_once(g.KD * g.KH * ICG, g.KW)
        window = row_window(in_place and stays_in_place(g, LANES), (R, g.KW, (g.SW, 1, 0)), (LANES, dtype), (g.OW, g.IW, g.PW))
        columns = Columns((Line(g.OW, 0, 1, g.SW, (-g.PW,), (0,)),), -g.PW, g.KW - 1, tuple(range(g.KW)))
    else:
        window, columns = Row(Window(height(g.OW), 1, 1, (g.SW, 1, 0), LANES, dtype)), _single_taps(column)
    return _plan(g, window, (depth, row, columns), Side(g.IC, g[2:5]), Side(g.OC, g[6:9]), channels), window.window


def backward_plan(g: Geometry, dtype: np.dtype, LANES: int) -> tuple[Plan, Window]:
    """From dy to dx, with padding of zeros. Input iw meets the flipped tap k in output (iw + k + PW - KW + 1) / SW."""
    ICG, OCG = g.IC // g.G, g.OC // g.G
    c = np.arange(g.IC)
    channels = Channels(c // ICG * OCG, c % ICG * g.OC + c // ICG * OCG, lambda tap, j: tap * ICG * g.OC + j)
    depth, row, column = _lines(g, backward_lines)
    if g.DW == 1 and g.KW <= WIDEST and any(MR % g.SW == 0 for MR in HEIGHTS):
        low, shift = divmod(g.PW - g.KW + 1, g.SW)
        R = rows_at_once(g.KD * g.KH * OCG, g.KW) if g.SD == g.SH == 1 else 1
        window = row_window(stays_in_place(g, LANES), (R, g.KW, (1, g.SW, shift)), (LANES, dtype), (g.IW, g.OW, -low))
        columns = Columns((Line(g.IW, 0, 1, 1, (low,), (0,)),), low, g.KW - 1 + shift, tuple(reversed(range(g.KW))))
    else:
        window, columns = Row(Window(height(-(-g.IW // g.SW)), 1, 1, (1, 1, 0), LANES, dtype)), _single_taps(column)
    return _plan(g, window, (depth, row, columns), Side(g.OC, g[6:9]), Side(g.IC, g[2:5]), channels), window.window


def _lines(g: Geometry, lines_of) -> list[tuple[Line, ...]]:
    return [lines_of(*(getattr(g, letter + name) for letter in "IOKSPD")) for name in "DHW"]


def _single_taps(lines: tuple[Line, ...]) -> Columns:
    low, reach = _span(lines)
    return Columns(lines, low, reach, ())


def _span(lines: tuple[Line, ...]) -> tuple[int, int]:
    """The lowest shift of some lines, and how far the highest is from it."""
    shifts = [shift for line in lines for shift in line.shifts] or [0]
    return min(shifts), max(shifts) - min(shifts)


class Cut(NamedTuple):
    """The outputs of an item, in each phase: images, depths, rows, columns; and the patch of an image."""

    outputs: tuple[int, int, int, int]
    patch: tuple[int, int, int]


def _cut(g: Geometry, window: Window, counts: tuple, strides: tuple, spans: tuple, strip: int, most: int) -> Cut:
    """As many outputs as a patch of BLOCK_PATCH bytes and `most` pixels allow."""

    def patch(depths: int, rows: int, columns: int) -> tuple[int, int, int]:
        tiles = -(-columns // window.MR) * window.MR
        width = ((tiles - 1) * window.S + spans[2]) // window.T + 1
        return (depths - 1) * strides[0] + spans[0] + 1, (rows - 1) * strides[1] + spans[1] + 1, width

    def small(images: int, *outputs: int) -> bool:
        bytes = images * math.prod(patch(*outputs)) * strip * window.LANES * window.dtype.itemsize
        return images * math.prod(outputs) <= most and bytes <= BLOCK_PATCH

    JD, JH, JW = counts
    columns = min(JW, LONGEST)
    rows = max([r for r in range(1, JH + 1) if small(1, 1, r, columns)], default=1)
    rows = -(-JH // -(-JH // rows))  # evenly
    depths = max([d for d in range(1, JD + 1) if rows == JH and small(1, d, rows, columns)], default=1)
    images = 1
    while (depths, rows, columns) == counts and images < g.N and small(images + 1, depths, rows, columns):
        images += 1
    return Cut((images, depths, rows, columns), patch(depths, rows, columns))


def _plan(g: Geometry, row: Row, lines: tuple, read: Side, written: Side, channels: Channels) -> Plan:
    window, in_place = row.window, row.tiles > 0
    depth_lines, row_lines, columns = lines
    axes = depth_lines, row_lines, columns.lines
    (low_d, span_d), (low_h, span_h) = _span(depth_lines), _span(row_lines)
    lows, spans = (low_d, low_h, columns.low), (span_d, span_h, columns.reach)
    counts, strides = tuple(max(line.count for line in axis) for axis in axes), tuple(axis[0].stride for axis in axes)
    blocks, ICG = -(-written.C // window.LANES), read.C // g.G
    strips = 1 if in_place else -(-blocks // max(1, STRIP // ICG))  # in place all channels of a pixel: it is one piece of memory
    strip = -(-blocks // strips)  # evenly
    outputs = g.N * math.prod(counts) * strips
    wanted = max(1, min(ITEMS, g.flops // ITEM_FLOPS))
    lanewise = read.C == written.C == g.G
    thickness = 0 if in_place else strip * ICG  # of a patch, in blocks
    (images, *each), (patch_d, patch_h, patch_w) = _cut(g, window, counts, strides, spans, thickness, min(BLOCK_PIXELS, outputs // wanted))
    patch = patch_d * patch_h * strip * patch_w * window.LANES
    items = [-(-count // n) for count, n in zip(counts, each)]
    lengths = [((items[0] - 1) * each[0]) * strides[0] + patch_d, ((items[1] - 1) * each[1]) * strides[1] + patch_h]
    lengths.append((items[2] - 1) * each[2] * window.S // window.T + patch_w)
    maps = [sources(np.arange(n) + low, extent, g.padding_mode) for n, low, extent in zip(lengths, lows, read.extents)]
    phases, shifts, taps = [], [], []
    for phase in product(*axes):
        first = len(shifts)
        for (kd, d), (kh, h), (kw, w) in product(*(zip(line.taps, [shift - low for shift in line.shifts]) for line, low in zip(phase, lows))):
            for i in range(ICG):
                shifts.append((d, h, w * window.LANES + i * patch))
                taps += [channels.weight((kd * g.KH + kh) * g.KW + k, i) for k in columns.taps or (kw,)]
        phases.append((first, len(shifts), *(number for line in phase for number in (line.count, line.first, line.step))))
    d, h, rest = np.array(shifts, np.int64).reshape(-1, 3).T
    walked = counts if in_place else each
    depths, rows = (np.arange(count)[:, None] * stride + shift for count, stride, shift in zip(walked, strides, (d, h)))
    lines = walked[1]
    if in_place:
        depths, rows = maps[0][depths][:, None], maps[1][rows]
        row_offsets = np.where(np.minimum(depths, rows) < 0, -1, (depths * read.extents[1] + rows) * read.extents[2] * read.C)
        pixel, image, zeros = read.C, math.prod(read.extents) * read.C, (window.reach - 1) * read.C + window.LANES
    else:
        row_offsets = (depths[:, None] * patch_h + rows) * strip * patch_w * window.LANES + rest
        pixel, image, zeros = window.LANES, ICG * patch, 0
    row_offsets = np.append(row_offsets, np.full(len(shifts), -1))  # a weight gradient takes R rows at a time: the last of some too many
    return Plan(
        g.N, read.C, ICG, *read.extents, written.C, *written.extents, window.K, len(shifts), blocks, strip, strips, images, *each, *items,
        -(-g.N // images) * math.prod(items) * strips, strides[0], strides[1], window.S, window.T,
        lanewise, in_place, image, lines, -columns.low, pixel, row.tiles, row.last, row.last * window.S // window.T, zeros,
        patch_d, patch_h, patch_w, patch, len(taps) * window.LANES, 0,
        *(np.ascontiguousarray(table, np.int64) for table in (*maps, phases, row_offsets, taps)),
        channels.lanes, channels.weight_lanes,
    )  # fmt: skip


def terms(g: Geometry) -> int:
    """Of an output's sum."""
    return g.IC // g.G * g.taps


def fits(g: Geometry) -> bool:
    """Where lanes would be empty elsewhere, because a group has few channels; and a sum has at most 256 terms."""
    channels = max(g.IC, g.OC) // g.G
    return g.G > 1 and 2 * channels <= min(g.G, MOST_CHANNELS) and channels * g.taps <= TERMS
