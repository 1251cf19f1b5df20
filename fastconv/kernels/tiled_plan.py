"""The tables of a tiled pass: where pixels are, which runs of memory a sum reads, how the work is cut. No loop knows more.

A pass (see `fastconv.geometry.lines`) is cut into work items: some images, or a rectangle of rows and columns of one. An item's inputs are a
box, packed with its padding; where there is no padding, they are read where they are. A sum's terms, in the order of the weight
panels (tap by tap, channel by channel), are runs of neighbouring numbers: with dilation 1, all channels of all taps of one kernel row.
"""

import math
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from fastconv.geometry import Geometry
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
    packed: bool


SPARSEST = 4  # cells of a box for each one that an output reads: dilation 2 is worth packing
LARGEST_BOX = 1 << 20  # bytes of what a single output may need

_RECORD = np.dtype([(name, np.int64) for name in Extents._fields])


class Plan(NamedTuple):
    record: np.ndarray
    items: int
    box: int  # numbers in it; 0 where nothing is packed
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
    return _plans(g, forward_lines, g.IC, g[2:5], g.OC, g[6:9], itemsize, pack)


@lru_cache(maxsize=512)
def backward_plans(g: Geometry, itemsize: int, pack: bool = False) -> tuple[Plan, ...]:
    """From dy to dx: a pass per phase of the stride."""
    return _plans(g, backward_lines, g.OC, g[6:9], g.IC, g[2:5], itemsize, pack)


class TermPlan(NamedTuple):
    """The forward pass read the other way, for the weight gradient: tiles of MR terms that are neighbours in the box."""

    plan: Plan
    firsts: np.ndarray  # (tiles,): the first term's first number in the box
    rows: np.ndarray  # (terms,): where term k's sum is among the tiles * MR


@lru_cache(maxsize=512)
def term_plan(g: Geometry, itemsize: int, MR: int) -> TermPlan:
    """Runs are cut into tiles, the last of a run from its end; a run shorter than MR is read beyond its end, so its inputs are packed."""
    (plan,) = forward_plans(g, itemsize)
    if plan.runs[:, 1].min() < MR and not plan.box:
        (plan,) = _plans(g, forward_lines, g.IC, g[2:5], g.OC, g[6:9], itemsize, pack=True)
    firsts, rows = [], []
    for first, count, _ in plan.runs:
        starts = [max(0, min(k, count - MR)) for k in range(0, count, MR)]
        rows += [(len(firsts) + k // MR) * MR + k - starts[k // MR] for k in range(count)]
        firsts += [first + start for start in starts]
    return TermPlan(plan, np.array(firsts, np.int64), np.array(rows, np.int64))


def _plans(g: Geometry, lines, IC: int, source: tuple, OC: int, target: tuple, itemsize: int, pack: bool = False) -> tuple[Plan, ...]:
    by_axis = (lines(*(getattr(g, letter + name) for letter in "IOKSPD")) for name in "DHW")
    return tuple(_plan(g, phase, IC, source, OC, target, itemsize, pack) for phase in product(*by_axis))


def _plan(g: Geometry, lines: tuple[Line, Line, Line], IC, source, OC, target, itemsize, pack) -> Plan:
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
    while rows < h.count and (rows + 1) * columns <= PIXELS and small(1, rows + 1, columns):
        rows += 1
    rows = -(-h.count // -(-h.count // rows))  # evenly
    images = 1
    if (d.count, rows, columns) == (1, h.count, w.count):
        while images < g.N and (images + 1) * rows * columns <= PIXELS // 4 and small(images + 1, rows, columns):
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
    across, down = -(-w.count // columns), -(-h.count // rows)
    extents = Extents(
        g.N, IC, C, *source, OC, OC // g.G, *target, *(line.count for line in lines), *(line.first for line in lines),
        *(line.step for line in lines), *(line.stride for line in lines), *(line.lowest for line in lines), BN, BD, BH, BW,
        rows, columns, across, down, g.G, packed,
    )  # fmt: skip
    items = -(-g.N // images) * g.G * d.count * down * across
    size = BN * BD * BH * BW * C if packed else 0
    return Plan(np.array([tuple(extents)], _RECORD), items, size, np.array(taps, np.int64), from_pixels, to_pixels, runs, blocks)


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
