"""The tables of a depthwise pass: rectangles of pixels that read the same taps, and where each term of a sum is.

Where every group has one channel on both sides, nothing is packed: padding is left out of the sums. The taps of a pixel that meet real cells
depend on how near it is to which edge; so an axis is cut where they change, and the cuts of the axes make rectangles, as phases of a stride do.

Else a box is packed and regrouped: with C channels a group, C planes of L lanes, plane i holding channel i of each of L groups. So all terms
(tap, i) are vectors of neighbours. Blocks of L groups take the place of groups in the plans of `tiled_plan`, which know the rest.
"""

import math
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from fastconv.geometry import Geometry
from fastconv.geometry.lines import Line, backward_lines, forward_lines
from fastconv.kernels import tiled_plan
from fastconv.kernels.host import BOX, lane_tiles_for
from fastconv.kernels.tiled_plan import LARGEST_BOX, Plan

WORTH = (0.7, 1.0)  # of a tile of one vector, of two
CELL = 256  # bytes of a box cell: with more, a box has few cells, and packs its rim many times
CHUNKS = 16  # of the weight gradient's pixels
PARTIALS = 2 << 20  # bytes that the chunks' sums may take together
EDGES = 128  # taps of a kernel whose edges have tables
OUTPUTS = 1 << 15  # numbers of a rectangle: enough to pay for going there, few enough to share an image among threads


class Rectangle(NamedTuple):
    """Lines of pixels with the same terms, as a record."""

    lines: int
    pixels: int  # of a line
    from_first: int  # number of the source where the first pixel's terms are counted from; steps to the next line and pixel
    from_line: int
    from_pixel: int
    to_first: int
    to_line: int
    to_pixel: int
    first_term: int
    last_term: int  # behind the last
    slides: bool  # three columns of three terms, each a pixel from the next; then columns of padding before the lines' first, and behind their last:
    lead: int
    trail: int


RECTANGLE = np.dtype([(name, np.int64) for name in Rectangle._fields])


class Rectangles(NamedTuple):
    records: np.ndarray
    reads: np.ndarray  # (rectangles, MR): where the pixels of a tile are, seen from the first
    writes: np.ndarray
    terms: np.ndarray  # (terms,): where they are in the source, seen from where the pixel's are counted from
    taps: np.ndarray  # (terms,): which row of the weights they meet

    @classmethod
    def of(cls, rectangles: list[Rectangle], terms, taps, MR: int) -> "Rectangles":
        records = np.array([tuple(rectangle) for rectangle in rectangles], RECTANGLE)
        reads, writes = (np.multiply.outer(records[name], np.arange(MR)) for name in ("from_pixel", "to_pixel"))
        return cls(records, reads, writes, np.array(terms, np.int64), np.array(taps, np.int64))


class GradPlan(NamedTuple):
    """For the weight gradient."""

    L: int
    chunks: int
    plan: Plan | None  # of boxes, None where inputs are read where they are
    rectangles: Rectangles
    rows: np.ndarray  # (terms,): where in a chunk's sums each term's are
    row: int  # numbers of a row of a chunk's sums: (T, P * NR)
    size: int  # of a chunk's sums, in one block of groups: a row for each term, one for what fills tiles up, one for the bias gradient
    lane: np.ndarray  # (L,): where a lane is in a row


class PlanesPlan(NamedTuple):
    plan: Plan
    rectangles: Rectangles  # of an image in a box: of all columns, and of the last, narrower ones


@lru_cache(maxsize=512)
def is_direct(g: Geometry, dtype: np.dtype) -> bool:
    """Fewer groups than lanes would be read behind the source's end; what other modes copy into the padding lies in boxes; a large kernel has
    as many kinds of edges as taps, and tables of them all."""
    return g.padding_mode == "zeros" and g.taps <= EDGES and g.IC == g.OC == g.G >= lane_tiles_for(g.G, dtype).pixels.NR


@lru_cache(maxsize=512)
def lanes(g: Geometry, dtype: np.dtype) -> int:
    """How many groups make a block: all, or a divisor that fills vectors as well and keeps cells small."""
    channels, cells = max(g.IC, g.OC) // g.G, _cells(g)

    def cost(L: int) -> tuple[float, int]:
        tile, cell = lane_tiles_for(L, dtype).pixels, L * channels * dtype.itemsize
        wide = max(1.0, cell / CELL) ** 0.1  # twice the rim costs less than a vector half empty ...
        large = max(1.0, 4 * cells * cell / BOX)  # ... unless one output's inputs fill a box
        return -(-L // tile.NR) * tile.NR / L / WORTH[tile.NV - 1] * wide * large, -L

    return min((L for L in range(1, g.G + 1) if g.G % L == 0), key=cost)


def blocks(g: Geometry, dtype: np.dtype) -> Geometry:
    """The geometry whose groups are blocks of groups."""
    return g._replace(G=g.G // lanes(g, dtype))


def width(L: int, dtype: np.dtype) -> int:
    """Of a panel's rows."""
    return max(L, lane_tiles_for(L, dtype).pixels.NR)


def _cells(g: Geometry) -> int:
    """Of the source between the first and the last that an output reads."""
    return math.prod((K - 1) * D + 1 for K, D in ((g.KD, g.DD), (g.KH, g.DH), (g.KW, g.DW)))


@lru_cache(maxsize=512)
def fits(g: Geometry) -> bool:
    """Where more lanes have work than in the direct rows, whose lanes are a group's channels; boxes, if any, must be of bounded size.

    Measured at 28x28, 3x3: with 2 * channels = groups 1.0 to 2.6 times as fast as the direct rows, up to 35 times where there are more groups; with
    channels = groups 0.6 to 1.0 times. More than 16 groups make more vectors, but fill none better.
    """
    if 2 * max(g.IC, g.OC) // g.G > min(g.G, 16):
        return False
    float32 = np.dtype(np.float32)
    return is_direct(g, float32) or _cells(g) * max(g.IC, g.OC) // blocks(g, float32).G * 4 <= LARGEST_BOX


def inside(line: Line, extent: int) -> list[Line]:
    """The line in parts, each without the taps that meet only padding there."""
    found: list[tuple[int, list[int]]] = []  # where parts begin, and their taps
    for j in range(line.count):
        real = [i for i, shift in enumerate(line.shifts) if 0 <= j * line.stride + shift < extent]
        if not found or found[-1][1] != real:
            found.append((j, real))
    parts = []
    for (j, real), end in zip(found, [j for j, _ in found[1:]] + [line.count]):
        shifts, taps = (tuple(numbers[i] for i in real) for numbers in (line.shifts, line.taps))
        parts.append(Line(end - j, line.first + j * line.step, line.step, line.stride, tuple(s + j * line.stride for s in shifts), taps))
    return parts


@lru_cache(maxsize=512)
def direct_forward(g: Geometry, MR: int) -> Rectangles:
    return _direct(g, forward_lines, g[2:5], g[6:9], MR)


@lru_cache(maxsize=512)
def direct_backward(g: Geometry, MR: int) -> Rectangles:
    return _direct(g, backward_lines, g[6:9], g[2:5], MR)


@lru_cache(maxsize=512)
def direct_terms(g: Geometry, MR: int) -> Rectangles:
    """The forward pass for the weight gradient: tiles of MR terms."""
    return _whole_tiles(_direct(g, forward_lines, g[2:5], g[6:9], MR, sliding=False), g.taps, MR)


def _whole_tiles(rectangles: Rectangles, rows: int, MR: int) -> Rectangles:
    """Each rectangle's terms filled up to whole tiles; what fills up goes to a row behind all rows."""
    records, terms, taps, moved = rectangles.records.copy(), [], [], {}
    for record in records:
        span = slice(record["first_term"], record["last_term"])
        if (span.start, span.stop) not in moved:
            first, fill = len(terms), -(span.stop - span.start) % MR
            terms += [*rectangles.terms[span], *list(rectangles.terms[span][:1]) * fill]
            taps += [*rectangles.taps[span], *[rows] * fill]
            moved[span.start, span.stop] = first, len(terms)
        record["first_term"], record["last_term"] = moved[span.start, span.stop]
    return rectangles._replace(records=records, terms=np.array(terms, np.int64), taps=np.array(taps, np.int64))


def _direct(g: Geometry, lines, source: tuple, target: tuple, MR: int, sliding: bool = True) -> Rectangles:
    """Of one image, in the order of the target's memory; bands of rows. sliding: some may slide."""

    def slides(d: Line, h: Line, w: Line) -> bool:
        steps = {later - earlier for earlier, later in zip(w.shifts, w.shifts[1:])}
        columns = len(d.shifts) * len(h.shifts) == len(w.shifts) == 3 and steps == {w.stride}
        return sliding and columns and max(_padding(w, source[2])) < 3 < w.count

    depth, row, column = (lines(*(getattr(g, letter + name) for letter in "IOKSPD")) for name in "DHW")
    reads, writes = ((extents[1] * extents[2] * g.G, extents[2] * g.G, g.G) for extents in (source, target))
    rectangles: list[Rectangle] = []
    terms: list[int] = []
    taps: list[int] = []
    for d, h in product(*([part for line in axis for part in inside(line, extent)] for axis, extent in zip((depth, row), source))):
        for w in (part for line in column for part in ([line] if slides(d, h, line) else inside(line, source[2]))):
            slide, first = slides(d, h, w), len(terms)
            for (sd, sh, sw), (kd, kh, kw) in zip(product(d.shifts, h.shifts, w.shifts), product(d.taps, h.taps, w.taps)):
                terms.append(sd * reads[0] + sh * reads[1] + (0 if slide else sw * reads[2]))
                taps.append((kd * g.KH + kh) * g.KW + kw)
            band = max(1, OUTPUTS // (w.count * g.G))
            for jd, jh in product(range(d.count), range(0, h.count, band)):
                rows = min(band, h.count - jh)
                across, down = (w.count, w.stride * reads[2], w.step * writes[2]), (rows, h.stride * reads[1], h.step * writes[1])
                lead, trail = _padding(w, source[2]) if slide else (0, 0)
                start = jd * d.stride * reads[0] + jh * h.stride * reads[1] + (slide and (w.lowest + lead * w.stride) * reads[2])
                to = (d.first + jd * d.step) * writes[0] + (h.first + jh * h.step) * writes[1] + w.first * writes[2]
                if not slide and -(-rows // MR) * w.count < -(-w.count // MR) * rows:  # lines go where tiles are filled better
                    across, down = down, across
                counts = down[0], across[0], start, down[1], across[1], to, down[2], across[2], first, len(terms)
                rectangles.append(Rectangle(*counts, slide, lead, trail))
    rectangles.sort(key=lambda r: (r.to_first // writes[1], -r.lines * r.pixels))  # the large one of a band first, the cells at its edges after it
    return Rectangles.of(rectangles, terms, taps, MR)


def _padding(w: Line, extent: int) -> tuple[int, int]:
    """How many columns of padding the line's windows meet at its ends."""
    columns = range(w.lowest, w.lowest + (w.count + len(w.shifts) - 1) * w.stride, w.stride)
    return sum(column < 0 for column in columns), sum(column >= extent for column in columns)


@lru_cache(maxsize=512)
def planes_forward(g: Geometry, dtype: np.dtype) -> tuple[PlanesPlan, ...]:
    return _planes(tiled_plan.forward_plans, g, g.IC // g.G, g.OC // g.G, dtype)


@lru_cache(maxsize=512)
def planes_backward(g: Geometry, dtype: np.dtype) -> tuple[PlanesPlan, ...]:
    return _planes(tiled_plan.backward_plans, g, g.OC // g.G, g.IC // g.G, dtype)


@lru_cache(maxsize=512)
def planes_terms(g: Geometry, dtype: np.dtype) -> PlanesPlan:
    """The forward pass for the weight gradient: tiles of terms; a box's gradients are planes, too, without gaps."""
    C, T, L, MR = g.IC // g.G, g.OC // g.G, lanes(g, dtype), lane_tiles_for(lanes(g, dtype), dtype).taps.MR
    ((plan, rectangles),) = planes_forward(g, dtype)
    for record in (found := _whole_tiles(rectangles, g.taps * C, MR)).records:
        record["to_line"], record["to_pixel"] = record["pixels"] * T * L, T * L
    return PlanesPlan(plan, found)


@lru_cache(maxsize=512)
def grad_plan(g: Geometry, dtype: np.dtype) -> GradPlan:
    """Shape-fixed chunks of the pixels: their sums are added up in order."""
    T, direct = g.OC // g.G, is_direct(g, dtype)
    L = g.G if direct else lanes(g, dtype)
    tile = lane_tiles_for(L, dtype).taps
    plan, rectangles = (None, direct_terms(g, tile.MR)) if direct else planes_terms(g, dtype)
    items = plan.items // (g.G // L) if plan else g.N * len(rectangles.records)
    row = T * -(-L // tile.NR) * tile.NR
    size = (g.taps * g.IC // g.G + 2) * row
    lane = np.arange(L)
    if L > tile.NR:  # the last vector's lanes begin before those left over
        lane[L // tile.NR * tile.NR :] += -L % tile.NR
    return GradPlan(L, max(1, min(CHUNKS, items, PARTIALS // (g.G // L * size * 8))), plan, rectangles, rectangles.taps * row, row, size, lane)


def _planes(plans, g: Geometry, C: int, T: int, dtype: np.dtype) -> tuple[PlanesPlan, ...]:
    """Packed even where there is no padding: planes must be regrouped, and a vector's unused lanes must not be read behind the source."""
    L = lanes(g, dtype)
    found = []
    for plan in plans(blocks(g, dtype), dtype.itemsize, pack=True):
        e, numbers = plan.record[0], np.concatenate([np.arange(0), *(np.arange(first, first + count) for first, count, _ in plan.runs)])
        terms = (numbers[:: C * L, None] + L * np.arange(C)).ravel()
        rectangles = []
        for columns in (int(e["columns"]), int(e["JW"] % e["columns"] or e["columns"])):
            to = (e["step_h"] * e["OW"] * e["OC"], e["step_w"] * e["OC"]) if T == 1 else (columns * T * L, T * L)
            rectangles.append(Rectangle(int(e["rows"]), columns, 0, e["SH"] * e["BW"] * C * L, e["SW"] * C * L, 0, *to, 0, len(terms), False, 0, 0))
        found.append(PlanesPlan(plan, Rectangles.of(rectangles, terms, np.arange(len(terms)), lane_tiles_for(L, dtype).pixels.MR)))
    return tuple(found)
