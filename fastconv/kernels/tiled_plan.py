"""The tables of a tiled pass: where pixels are, which runs of memory a sum reads, how the work is cut. No loop knows more.

A pass (see `fastconv.geometry.lines`) is cut into work items: some images, or a rectangle of rows and columns of one. An item's inputs are a
box, packed with its padding, in which a table says what stands; where there is no padding, they are read where they are. A sum's terms, in the
order of the weight panels (tap by tap, channel by channel), are runs of neighbouring numbers: with dilation 1, all channels of all taps of one
kernel row.
"""

import math
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from fastconv.geometry import Geometry, sources
from fastconv.geometry.lines import Line, backward_lines, forward_lines
from fastconv.kernels.host import BOX, PIXELS, TERMS


class Extents(NamedTuple):
    """What kernels see of a plan, as a one-element record."""

    N: int
    IC: int  # of the source, and of one group:
    C: int
    ID: int
    IH: int
    IW: int
    OC: int  # of the target, and of one group:
    T: int
    OD: int
    OH: int
    OW: int
    JD: int  # targets of this pass along each axis, their first places, steps,
    JH: int
    JW: int
    first_d: int
    first_h: int
    first_w: int
    step_d: int
    step_h: int
    step_w: int
    SD: int  # and in the source their strides and lowest cells
    SH: int
    SW: int
    low_d: int
    low_h: int
    low_w: int
    BN: int  # the box: images, depths, rows, columns of the source
    BD: int
    BH: int
    BW: int
    rows: int  # of targets in an item
    columns: int
    across: int  # items along the rows and columns of an image
    down: int
    G: int
    margin: int  # coordinate i is at margin + i in the plan's cells
    packed: bool


ITEMS = 16  # of work at least, where there are so many rows
SPARSEST = 4  # cells of a box for each one that an output reads: dilation 2 is worth packing
LARGEST_BOX = 1 << 20  # bytes of what a single output may need

_RECORD = np.dtype([(name, np.int64) for name in Extents._fields])


class Plan(NamedTuple):
    record: np.ndarray
    items: int
    box: int  # numbers in it; 0 where nothing is packed
    cells: np.ndarray  # (3, margin + longest extent + margin): which cell of the source a coordinate of an axis reads, -1 for none
    taps: np.ndarray  # of the kernel, flat, in the order of the panels
    from_pixels: np.ndarray  # (2, pixels): where in the box a pixel's first input is; for items of all columns, and for the last, narrower ones
    to_pixels: np.ndarray  # (2, pixels): where in the target it is, seen from the item's first
    runs: np.ndarray  # (runs, 3): first number, count, row of the panel
    blocks: np.ndarray  # the runs of block i, at most 256 terms, are runs[blocks[i] : blocks[i + 1]]


def fits(g: Geometry) -> bool:
    """Whether boxes are dense and small enough: wide dilations leave most of a box unread (64 channels, dilation 12: 2.5 times slower than plain)."""
    cells = math.prod((K - 1) * D + 1 for K, D in ((g.KD, g.DD), (g.KH, g.DH), (g.KW, g.DW)))
    return cells <= SPARSEST * g.taps and cells * max(g.IC, g.OC) // g.G * 4 <= LARGEST_BOX


@lru_cache(maxsize=512)
def forward_plans(g: Geometry, itemsize: int, pack: bool = False) -> tuple[Plan, ...]:
    """One pass from x to y. pack: into boxes, even where there is no padding."""
    return _plans(g, forward_lines, g.IC, g[2:5], g.OC, g[6:9], itemsize, (PIXELS, PIXELS // 4), pack)


@lru_cache(maxsize=512)
def backward_plans(g: Geometry, itemsize: int, pack: bool = False) -> tuple[Plan, ...]:
    """From dy to dx, with padding of zeros: a pass per phase of the stride."""
    return _plans(g, backward_lines, g.OC, g[6:9], g.IC, g[2:5], itemsize, (PIXELS, PIXELS // 4), pack)


def box_plan(g: Geometry, itemsize: int, pixels: int, pack: bool) -> Plan:
    """The forward pass in items of at most so many pixels, if the box allows; pack: also where no padding asks for it."""
    (plan,) = _plans(g, forward_lines, g.IC, g[2:5], g.OC, g[6:9], itemsize, (pixels, pixels), pack)
    return plan


def _plans(g: Geometry, lines, IC: int, source: tuple, OC: int, target: tuple, itemsize: int, most: tuple, pack: bool = False) -> tuple[Plan, ...]:
    """most: pixels of an item's rows, and of its images where it has whole ones."""
    by_axis = (lines(*(getattr(g, letter + name) for letter in "IOKSPD")) for name in "DHW")
    return tuple(_plan(g, phase, IC, source, OC, target, itemsize, most, pack) for phase in product(*by_axis))


def _plan(g: Geometry, lines: tuple[Line, Line, Line], IC, source, OC, target, itemsize, most, pack) -> Plan:
    d, h, w = lines
    C = IC // g.G
    packed = pack or not all(line.stays_inside(extent) for line, extent in zip(lines, source))

    def box(images: int, rows: int, columns: int) -> tuple[int, int, int, int]:
        return images, d.span + 1, (rows - 1) * h.stride + h.span + 1, (columns - 1) * w.stride + w.span + 1

    def small(*cut: int) -> bool:
        return math.prod(box(*cut)) * C * itemsize <= BOX

    columns = w.count
    while columns > 1 and not small(1, 1, columns):
        columns = -(-columns // 2)
    rows = 1
    while rows < h.count and (rows + 1) * columns <= most[0] and small(1, rows + 1, columns):
        rows += 1
    least = -(-ITEMS // (g.N * g.G * d.count * -(-w.count // columns)))  # bands of an image, for threads that share few images
    rows = -(-h.count // max(-(-h.count // rows), min(least, h.count)))  # evenly
    images = 1
    if (d.count, rows, columns) == (1, h.count, w.count):
        while images < g.N and (images + 1) * rows * columns <= most[1] and small(images + 1, rows, columns):
            images += 1
    BN, BD, BH, BW = box(images, rows, columns)
    depth, row, cell = (BH * BW * C, BW * C, C) if packed else (source[1] * source[2] * IC, source[2] * IC, IC)
    image = (BD if packed else source[0]) * depth
    reads = image, h.stride * row, w.stride * cell
    writes = OC * math.prod(target), h.step * target[2] * OC, w.step * OC
    tables = [_pixels(images, rows, width, reads, writes) for width in (columns, w.count % columns or columns)]
    from_pixels, to_pixels = (np.array([np.resize(table[i], images * rows * columns) for table in tables]) for i in (0, 1))
    taps = [(kd * g.KH + kh) * g.KW + kw for kd, kh, kw in product(d.taps, h.taps, w.taps)]
    runs, blocks = _runs(lines, (depth, row, cell), C)
    margin, cells = _cells(g, source)
    across, down = -(-w.count // columns), -(-h.count // rows)
    extents = Extents(
        g.N, IC, C, *source, OC, OC // g.G, *target, *(line.count for line in lines), *(line.first for line in lines),
        *(line.step for line in lines), *(line.stride for line in lines), *(line.lowest for line in lines), BN, BD, BH, BW,
        rows, columns, across, down, g.G, margin, packed,
    )  # fmt: skip
    items = -(-g.N // images) * g.G * d.count * down * across
    size = BN * BD * BH * BW * C if packed else 0
    return Plan(np.array([tuple(extents)], _RECORD), items, size, cells, np.array(taps, np.int64), from_pixels, to_pixels, runs, blocks)


def _cells(g: Geometry, source: tuple[int, int, int]) -> tuple[int, np.ndarray]:
    """Margins no wider than cells differ in what they read: beyond the first one, zeros and copies of the end cell go on as they are."""
    margin = max(1, *g[15:21]) if g.padding_mode in ("reflect", "circular") else 1
    i = np.arange(-margin, max(source) + margin)
    return margin, np.stack([sources(i, extent, g.padding_mode) for extent in source])


def _pixels(images: int, rows: int, columns: int, *steps: tuple[int, int, int]) -> list[np.ndarray]:
    """For each triple of steps (per image, row, column), where the pixels of an item are, row after row."""
    places = np.indices((images, rows, columns)).reshape(3, -1)
    return [np.array(step) @ places for step in steps]


def _runs(lines: tuple[Line, Line, Line], steps: tuple[int, int, int], C: int) -> tuple[np.ndarray, np.ndarray]:
    """The runs of one sum, joined where neighbours are neighbours in memory and cut after every 256 terms; where the blocks begin."""
    runs: list[list[int]] = []
    for shifts in product(*(line.shifts for line in lines)):
        first = sum((shift - line.lowest) * step for shift, line, step in zip(shifts, lines, steps))
        if runs and sum(runs[-1][:2]) == first:
            runs[-1][1] += C
        else:
            runs.append([first, C])
    cut, blocks, term = [], [0], 0
    for first, count in runs:
        while count:
            part = min(count, TERMS - term % TERMS)
            cut.append((first, part, term))
            first, count, term = first + part, count - part, term + part
            if term % TERMS == 0:
                blocks.append(len(cut))
    if blocks[-1] < len(cut) or not cut:
        blocks.append(len(cut))
    return np.array(cut, np.int64).reshape(-1, 3), np.array(blocks, np.int64)
