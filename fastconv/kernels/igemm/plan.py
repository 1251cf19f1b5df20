"""What an indirect GEMM knows of a convolution: tables, made once, so that its loops meet no layout, padding, stride or phase.

    acc[m, n] += input[input_offsets[m] + k] * panel[k, n]          M = pixels, N = output channels, K = (kd, kh, kw, ic)

No matrix of patches (im2col) is made: a table says where each pixel's window starts (Dukhan 2019, arXiv:1907.02129). A pass is cut into
work items: some images, or some rows and columns of one, times a strip of output channels. An item's inputs are copied into a dense patch
with their padding, or read where they are if nothing is padded. For a kernel of 3x3, padding 1, 2 input and 4 output channels, an image
of 4 x 5 and an item of 2 rows:

    patch: 4 x 7 positions x 2 channels     input_offsets: where windows start     segments of K: neighbors in memory
      .  .  .  .  .  .  .    0                0  2  4  6  8                          start  0  14  28    (a kernel row's
      . x0 x1 x2 x3 x4  .   14               14 16 18 20 22                          count  6   6   6     3 taps x 2 channels)
      . x5 ...          .   28              output_offsets: where results go
      . ..              .   42                0  4  8 12 16 20 24 28 32 36          panel: (K = 18, N = 4)

>>> from fastconv.geometry import conv_geometry
>>> g = conv_geometry("conv2d", 1, 2, 4, (4, 5), (3, 3), 1, 1, 1, 1)
>>> (plan,) = plans(g, forward_phases(g), Limits(pixels=10))
>>> plan.patch_h, plan.patch_w, plan.ICG
(4, 7, 2)
>>> plan.input_offsets[0].tolist()
[0, 2, 4, 6, 8, 14, 16, 18, 20, 22]
>>> plan.output_offsets[0].tolist()
[0, 4, 8, 12, 16, 20, 24, 28, 32, 36]
>>> plan.segments.tolist()
[[0, 6], [14, 6], [28, 6]]
"""

import math
from itertools import product
from typing import NamedTuple

import numpy as np

from fastconv.geometry import Geometry, sources
from fastconv.geometry.lines import Line, backward_lines, forward_lines
from fastconv.kernels.simd.host import FEWEST_ITEMS, ITEM_FLOPS, ITEMS, LARGEST_PATCH, PACKED_FOR, PATCH, PATCHES, PIXELS, SPARSEST, TERMS


class Plan(NamedTuple):
    """One phase of a pass, as kernels see it. Letters I are what it reads, letters O what it writes: x and y forward, dy and dx backward."""

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
    JD: int  # outputs of this phase along each axis; output j lies at first + j * step
    JH: int
    JW: int
    first_d: int
    first_h: int
    first_w: int
    step_d: int
    step_h: int
    step_w: int
    SD: int  # and its window starts at input low + j * S
    SH: int
    SW: int
    low_d: int
    low_h: int
    low_w: int
    packed: bool  # into patches
    patch_n: int  # extents of a patch: images, depths, rows, columns
    patch_d: int
    patch_h: int
    patch_w: int
    rows: int  # of outputs in an item
    columns: int
    items_h: int  # items along the rows and columns of an image, and along the channels of a group
    items_w: int
    strips: int
    strip: int  # channels of a strip
    items: int
    margin: int  # the index i along an axis is at margin + i in its index map
    index_map: np.ndarray  # (3, margin + longest extent + margin): which input an index along an axis reads, -1 for none
    taps: np.ndarray  # of the kernel, flat, in the order of K
    input_offsets: np.ndarray  # (2, pixels): where in the patch a pixel's window starts; in items of all columns, and in the last, narrower ones
    output_offsets: np.ndarray  # (2, pixels): where its result goes, seen from the item's first
    segments: np.ndarray  # (segments, 2): start and count of each stretch of the reduction
    blocks: np.ndarray  # (blocks + 1, 2): first segment, first k of each block of at most 256 terms
    transposed: bool = False  # panels are w transposed: the input gradient
    in_place: bool = False  # panels are read where w lies
    prepared: bool = False  # w is the panels of all groups, packed before
    kept: bool = False  # those of all blocks are in scratch at once, for items with the same strip
    panels: int = 0  # elements of scratch for packed panels (of one block; of all if kept), and in all
    scratch: int = 0
    lower_bound: float = -math.inf  # of y: 0 is a ReLU

    @property
    def patch_size(self) -> int:
        """Elements of a patch, 0 where nothing is packed."""
        return self.patch_n * self.patch_d * self.patch_h * self.patch_w * self.ICG if self.packed else 0

    @property
    def K(self) -> int:
        return int(self.blocks[-1, 1])

    @property
    def flops(self) -> int:
        return 2 * self.N * self.OC * self.JD * self.JH * self.JW * self.K


class Limits(NamedTuple):
    """How a pass is cut, by its shape alone."""

    pixels: int = PIXELS  # of an item at most
    patch: int = PATCH  # bytes of a patch of one image at most
    channels: int = 1  # of the narrowest strip: one panel
    items: int = ITEMS  # at least, where they are worth it
    block: int = TERMS  # channels that are read before others: of images where they lie no more must fit
    pack: bool = False  # also where no padding asks for it
    itemsize: int = 4


class Phase(NamedTuple):
    """What a pass reads and writes in one phase of its strides: a line along each axis, channels and extents of both sides."""

    lines: tuple[Line, Line, Line]
    IC: int
    inputs: tuple[int, int, int]
    OC: int
    outputs: tuple[int, int, int]


def forward_phases(g: Geometry) -> list[Phase]:
    """The forward pass, from x to y: one phase."""
    return [Phase(lines, g.IC, g[2:5], g.OC, g[6:9]) for lines in _lines(g, forward_lines)]


def backward_phases(g: Geometry) -> list[Phase]:
    """The input gradient, from dy to dx, with padding of zeros: a phase for each remainder of the strides."""
    return [Phase(lines, g.OC, g[6:9], g.IC, g[2:5]) for lines in _lines(g, backward_lines)]


def _lines(g: Geometry, lines_of) -> list[tuple[Line, ...]]:
    return list(product(*(lines_of(*(getattr(g, letter + name) for letter in "IOKSPD")) for name in "DHW")))


def fits(g: Geometry) -> bool:
    """Whether patches are dense and small enough: wide dilations leave most of one unread (64 channels, dilation 12: 2.5 times slower than plain)."""
    positions = math.prod((K - 1) * D + 1 for K, D in ((g.KD, g.DD), (g.KH, g.DH), (g.KW, g.DW)))
    return positions <= SPARSEST * g.taps and positions * max(g.IC, g.OC) // g.G * 4 <= LARGEST_PATCH


def plans(g: Geometry, phases: list[Phase], limits: Limits) -> tuple[Plan, ...]:
    return tuple(_plan(g, phase, limits) for phase in phases)


class Cut(NamedTuple):
    """The outputs of an item: of so many images, all rows and columns, or of one image so many rows and columns; and a strip of channels."""

    images: int
    rows: int
    columns: int
    strips: int
    strip: int


def _plan(g: Geometry, phase: Phase, limits: Limits) -> Plan:
    d, h, w = phase.lines
    ICG, OCG = phase.IC // g.G, phase.OC // g.G
    packed = limits.pack or not all(line.stays_inside(extent) for line, extent in zip(phase.lines, phase.inputs))
    cut = _cut(g, phase, limits, packed)
    patch = _patch(phase, cut.images, cut.rows, cut.columns)
    steps = _steps(patch[1:] if packed else phase.inputs, ICG if packed else phase.IC)
    image, _, row, pixel = steps
    reads = image, h.stride * row, w.stride * pixel
    writes = phase.OC * math.prod(phase.outputs), h.step * phase.outputs[2] * phase.OC, w.step * phase.OC
    widths = cut.columns, w.count % cut.columns or cut.columns
    input_offsets, output_offsets = (np.array([_offsets(cut, width, by) for width in widths]) for by in (reads, writes))
    segments, blocks = _segments(phase.lines, steps[1:], ICG)
    taps = np.array([(kd * g.KH + kh) * g.KW + kw for kd, kh, kw in product(d.taps, h.taps, w.taps)], np.int64)
    margin, index_map = _index_map(g, phase.inputs)
    items_h, items_w = -(-h.count // cut.rows), -(-w.count // cut.columns)
    return Plan(
        g.N, g.G, phase.IC, ICG, *phase.inputs, phase.OC, OCG, *phase.outputs,
        *(line.count for line in phase.lines), *(line.first for line in phase.lines), *(line.step for line in phase.lines),
        *(line.stride for line in phase.lines), *(line.lowest for line in phase.lines), packed, *patch,
        cut.rows, cut.columns, items_h, items_w, cut.strips, cut.strip,
        -(-g.N // cut.images) * g.G * d.count * items_h * items_w * cut.strips,
        margin, index_map, taps, input_offsets, output_offsets, segments, blocks,
    )  # fmt: skip


def _patch(phase: Phase, images: int, rows: int, columns: int) -> tuple[int, int, int, int]:
    """Extents of the inputs that so many outputs read."""
    d, h, w = phase.lines
    return images, d.span + 1, (rows - 1) * h.stride + h.span + 1, (columns - 1) * w.stride + w.span + 1


def _cut(g: Geometry, phase: Phase, limits: Limits, packed: bool) -> Cut:
    """As many pixels in an item as limits allow; then, where that makes too few items to share, strips of channels, and fewer rows."""
    d, h, w = phase.lines
    ICG, OCG = phase.IC // g.G, phase.OC // g.G

    def small(images: int, rows: int, columns: int) -> bool:
        limit = limits.patch if images == 1 else max(limits.patch, PATCHES)
        channels = ICG if packed or images == 1 else min(ICG, limits.block)
        return math.prod(_patch(phase, images, rows, columns)) * channels * limits.itemsize <= limit

    columns = w.count
    while columns > 1 and not small(1, 1, columns):
        columns = -(-columns // 2)
    rows = 1
    while rows < h.count and (rows + 1) * columns <= limits.pixels and small(1, rows + 1, columns):
        rows += 1
    images = 1
    if (d.count, rows, columns) == (1, h.count, w.count):
        while images < g.N and (images + 1) * rows * columns <= limits.pixels and small(images + 1, rows, columns):
            images += 1
        images = -(-g.N // -(-g.N // images))  # evenly
    flops = 2 * g.N * phase.OC * math.prod(line.count * len(line.taps) for line in phase.lines) * ICG
    wanted = max(1, min(limits.items, flops // ITEM_FLOPS))
    others = g.G * d.count * -(-w.count // columns)
    bands = -(-g.N // images) * others * -(-h.count // rows)
    panels = -(-OCG // limits.channels)
    strips = max(1, min(panels, -(-wanted // bands)))
    strip = -(-panels // strips) * limits.channels
    strips = -(-OCG // strip)
    if bands * strips < wanted and images > 1:
        fewer = max(-(-FEWEST_ITEMS // (others * strips)), g.N * rows * columns // PACKED_FOR)
        images = -(-g.N // min(g.N, -(-wanted // (others * strips)), fewer))
    least = -(-wanted // (-(-g.N // images) * others * strips)) if images == 1 else 1  # bands of an image
    rows = -(-h.count // max(-(-h.count // rows), min(least, h.count)))  # evenly
    return Cut(images, rows, columns, strips, strip)


def _steps(extents: tuple[int, ...], channels: int) -> tuple[int, int, int, int]:
    """Elements from image to image, depth to depth, row to row, pixel to pixel."""
    D, H, W = extents
    return D * H * W * channels, H * W * channels, W * channels, channels


def _offsets(cut: Cut, columns: int, steps: tuple[int, int, int]) -> np.ndarray:
    """Where the pixels of an item are, row after row, from elements per image, row, column; as many as the widest item has."""
    positions = np.indices((cut.images, cut.rows, columns)).reshape(3, -1)
    return np.resize(np.array(steps) @ positions, cut.images * cut.rows * cut.columns)


def _index_map(g: Geometry, inputs: tuple[int, int, int]) -> tuple[int, np.ndarray]:
    """Margins no wider than inputs differ in what they read: beyond the first one, zeros and copies of the last input go on as they are."""
    margin = max(1, *g[15:21]) if g.padding_mode in ("reflect", "circular") else 1
    i = np.arange(-margin, max(inputs) + margin)
    return margin, np.stack([sources(i, extent, g.padding_mode) for extent in inputs])


def _segments(lines: tuple[Line, Line, Line], steps: tuple[int, int, int], channels: int) -> tuple[np.ndarray, np.ndarray]:
    """The stretches of one sum, joined where they are neighbors in memory and cut after every 256 terms; where each block of 256 begins."""
    joined: list[list[int]] = []
    for shifts in product(*(line.shifts for line in lines)):
        start = sum((shift - line.lowest) * step for shift, line, step in zip(shifts, lines, steps))
        if joined and sum(joined[-1]) == start:
            joined[-1][1] += channels
        else:
            joined.append([start, channels])
    segments, blocks, k = [], [(0, 0)], 0
    for start, count in joined:
        while count:
            part = min(count, TERMS - k % TERMS)
            segments.append((start, part))
            start, count, k = start + part, count - part, k + part
            if k % TERMS == 0:
                blocks.append((len(segments), k))
    if blocks[-1] != (len(segments), k) or len(blocks) == 1:
        blocks.append((len(segments), k))
    return np.array(segments, np.int64).reshape(-1, 2), np.array(blocks, np.int64)
