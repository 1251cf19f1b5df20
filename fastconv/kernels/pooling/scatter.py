"""The gradient of max pooling, one element of dy after the other: each goes to the one input that was the largest of its window.

`maximum` collects instead: each vector of inputs asks all windows that hold it. That takes T comparisons an output, shared by the lanes of a vector;
this takes one addition, whatever the window, and no lane idles: for few channels, and for windows that overlap by a stride.

An item owns a band of rows of one plane of dx. A window may hang over its end: a table, made anew for each row of outputs, says for each tap

    3x3, band of rows 0 to 3, outputs of row 1, stride 2, padding 1: rows 1 to 3         taps 0 to 8 are kept, step = kh * IW * C + kw * C
                              outputs of row 2:                      rows 3 to 5         taps 0 to 2 are kept, the band below keeps 3 to 8

whether it is kept. What is not, also where a ReLU clamped (tap 255), adds 0 to the band's first pixel: a branch would be guessed wrong half of the
time (1.1 ns an element without, 4.2 with, a fifth of them clamped at random).
"""

from typing import NamedTuple

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.compile import Record, chunks, driver, outlined, serial, spread
from fastconv.kernels.pooling.windows import side_by_side
from fastconv.kernels.simd.host import registers
from fastconv.kernels.simd.pooling import add_where, number_at

BAND = 1 << 14  # elements of dx: 64 KB of float32, an item; but at least
REACHES = 4  # times the rows of a window, as the outputs between two bands are looked at for both
TAPS = 256  # entries of a table at least: a byte is an index
INT64 = np.dtype(np.int64)


class Bands(NamedTuple):
    """The geometry, and its cut, as kernels see them."""

    items: int
    bands: int  # of a plane
    rows: int  # of a band
    entries: int  # of a table
    C: int
    ID: int
    IH: int
    IW: int
    OD: int
    OH: int
    OW: int
    KD: int
    KH: int
    KW: int
    SD: int
    SH: int
    SW: int
    PD: int
    PH: int
    PW: int
    DD: int
    DH: int
    DW: int


def bands_of(g: Geometry) -> Bands:
    """How dx is cut: by its shape alone."""
    reach = (g.KH - 1) * g.DH + 1
    rows = min(g.IH, max(1, REACHES * reach, BAND // (g.IW * g.IC)))
    bands = -(-g.IH // rows)
    entries = max(TAPS, g.taps)
    extents = g.ID, g.IH, g.IW, g.OD, g.OH, g.OW, g.KD, g.KH, g.KW
    return Bands(g.N * g.ID * bands, bands, rows, entries, g.IC, *extents, g.SD, g.SH, g.SW, g.PD, g.PH, g.PW, g.DD, g.DH, g.DW)


def pays(g: Geometry) -> bool:
    """Whether 1.9 ns an output's element are less than what a vector of inputs takes: 2.2 ns and 0.9 for each window that holds it.

    Measured on Zen 3, float32, 1 to 64 channels, windows of 3 and 5. Windows side by side are stored, not collected: 1 ns a vector and tap.
    """
    lanes = min(registers().bytes // 4, 1 << (g.IC.bit_length() - 1))
    vectors, outputs, inputs = -(-g.IC // lanes), g.OD * g.OH * g.OW, g.ID * g.IH * g.IW
    direct = vectors * (inputs if side_by_side(g) else 2.2 * inputs + 0.9 * outputs * g.taps)
    if 4 * lanes <= g.IC:  # whose tiles are vectors of one pixel
        direct *= 0.75
    return 1.9 * outputs * g.IC < 0.9 * direct


@driver
def scatter_grad(pool, plan, chunks, scratch, dy, argmax, dx):
    """The pass. dy, argmax: (N, OD, OH, OW, C), dx: (N, ID, IH, IW, C), flat; scratch: two tables for each chunk."""
    spread(pool, chunks, plan.items, scatter_items, scratch, plan, dy, argmax, dx)


@serial
def scatter_items(work, plan, dy, argmax, dx):
    """Loops 3 and 2: bands; the rows of outputs whose windows reach into one."""
    for item in range(work.first, work.stop):
        plane, h = item // plan.bands, item % plan.bands * plan.rows
        n, d, stop = plane // plan.ID, plane % plan.ID, min(h + plan.rows, plan.IH)
        first = (plane * plan.IH + h) * plan.IW * plan.C
        band = dx[first : first + (stop - h) * plan.IW * plan.C]
        band[:] = 0
        listed = -1
        for od in range(first_window(d, plan.PD, plan.KD, plan.DD, plan.SD), min(plan.OD, (d + plan.PD) // plan.SD + 1)):
            for oh in range(first_window(h, plan.PH, plan.KH, plan.DH, plan.SH), min(plan.OH, (stop - 1 + plan.PH) // plan.SH + 1)):
                origin = oh * plan.SH - plan.PH - h
                here = cut_of(plan, d - (od * plan.SD - plan.PD), origin, stop - h)
                if here != listed:
                    list_steps(plan, here, work.scratch)
                    listed = here
                row = ((n * plan.OD + od) * plan.OH + oh) * plan.OW * plan.C
                scatter_row(plan, row, origin * plan.IW - plan.PW, work.scratch, dy, argmax, band)


@serial
def first_window(i, P, K, D, S):
    """The first output whose window reaches to position i, or beyond it."""
    return max(0, (i + P - (K - 1) * D + S - 1) // S)


@serial
def cut_of(plan, depth, origin, rows):
    """Which taps fall into the band, as one number: kd, and the first and the stop of kh. depth: from the window's origin; origin: its first row."""
    kd, rest = depth // plan.DD, depth % plan.DD
    first = max(0, -(origin // plan.DH))
    stop = min(plan.KH, (rows - 1 - origin) // plan.DH + 1)
    if rest > 0 or kd >= plan.KD or stop <= first:
        return 0
    return (kd * plan.KH + first) * (plan.KH + 1) + stop


@outlined
def list_steps(plan, cut, table):
    """table[2 * tap], table[2 * tap + 1] = step from the window's origin, and -1; for taps outside the band 0 and 0"""
    kd, first, stop = cut // (plan.KH + 1) // plan.KH, cut // (plan.KH + 1) % plan.KH, cut % (plan.KH + 1)
    for entry in range(2 * plan.entries):
        table[entry] = 0
    for kh in range(first, stop):
        for kw in range(plan.KW):
            tap = (kd * plan.KH + kh) * plan.KW + kw
            table[2 * tap] = (kh * plan.DH * plan.IW + kw * plan.DW) * plan.C
            table[2 * tap + 1] = -1


@serial
def scatter_row(plan, row, origin, table, dy, argmax, band):
    """Loop 1: the elements of a row of outputs; one loop, as a loop over few channels would cost as much as what is in it.

    origin: of the first window, in pixels of the band.
    """
    C, gap = plan.C, (plan.SW - 1) * plan.C
    base, c = origin * C, 0
    for i in range(row, row + plan.OW * C):
        tap = np.int64(number_at(argmax, i))
        kept = number_at(table, 2 * tap + 1)
        add_where(band, (base & kept) + number_at(table, 2 * tap), number_at(dy, i), kept)
        base, c = base + 1, c + 1
        if c == C:
            base, c = base + gap, 0


class ScatterGrad:
    """The gradient bound to a geometry and a dtype: `run(dy, argmax, dx)`, flat."""

    def __init__(self, g: Geometry, dtype: np.dtype):
        plan = bands_of(g)
        self.items, self.entries, self.work = plan.items, plan.entries, 4 * g.N * g.IC * (g.OD * g.OH * g.OW + g.ID * g.IH * g.IW)
        self.plan, self.run = Record(plan), scatter_grad.bind()

    def __call__(self, dy, argmax, dx) -> None:
        count = chunks(self.items, self.work)
        self.run(self.work, self.plan, count, memory.scratch(count * 2 * self.entries, INT64), dy, argmax, dx)
