"""The outer loops of every pooling pass: rows of pixels, and in a row the groups of pixels that meet windows of the same taps.

A group's taps are listed once, then all its pixels and channels use the list: (step from the window's origin, tap), two numbers each.
"""

from typing import NamedTuple

import numpy as np

from fastconv.kernels.compile import outlined, serial
from fastconv.kernels.simd.pooling import number_at


class Group(NamedTuple):
    """Some pixels of a row, and their windows. Positions count pixels."""

    pixels: int
    pixel: int  # first position, and step
    pixel_step: int
    window: int  # origin of the first window, and step
    window_step: int
    taps: int  # in the list
    image: int  # first position of the image on the pixels' side, and on the windows'
    window_image: int


class Line(NamedTuple):
    """A row of pixels, and where it is: divided out once, not for each group (a third of the time where rows are short)."""

    i: int  # counted over all images
    image: int
    d: int
    h: int


@serial
def line_of(plan, i):
    """Row i, counted over all images."""
    plane = i // plan.H
    image = plane // plan.D
    return Line(i, image, plane - image * plan.D, i - plane * plan.H)


@serial
def group_of(plan, line, g):
    """Group g of a row."""
    i, image, d, h = line
    pixel, window = i * plan.W, image * plan.image
    origin = window + number_at(plan.depths, 3 * d) + number_at(plan.rows, 3 * h)
    return Group(
        number_at(plan.columns, 7 * g), pixel + number_at(plan.columns, 7 * g + 1), number_at(plan.columns, 7 * g + 2),
        origin + number_at(plan.columns, 7 * g + 3), number_at(plan.columns, 7 * g + 4),
        taps_of(plan.depths, 3 * d) * taps_of(plan.rows, 3 * h) * taps_of(plan.columns, 7 * g + 4),
        image * plan.D * plan.H * plan.W, window,
    )  # fmt: skip


@serial
def taps_of(table, at):
    """The length of a table row's range of entries."""
    return max(0, number_at(table, at + 2) - number_at(table, at + 1))


@outlined
def list_taps(plan, line, g, taps):
    """taps[2 * t], taps[2 * t + 1] = step and tap, of all entries of a row's group g, in the kernel's order"""
    _, _, d, h = line
    t = 0
    for j in range(number_at(plan.depths, 3 * d + 1), number_at(plan.depths, 3 * d + 2)):
        for k in range(number_at(plan.rows, 3 * h + 1), number_at(plan.rows, 3 * h + 2)):
            t = list_row(plan, j, k, g, taps, t)


@outlined
def list_first_row(plan, line, g, taps):
    """As `list_taps`, of the first row of the windows alone."""
    list_row(plan, number_at(plan.depths, 3 * line.d + 1), number_at(plan.rows, 3 * line.h + 1), g, taps, 0)


@serial
def list_row(plan, j, k, g, taps, t):
    """The taps of a group's columns in one row of the windows, entries j and k, from t on; returns where they end."""
    step = number_at(plan.depth_taps, 2 * j) + number_at(plan.row_taps, 2 * k)
    tap = number_at(plan.depth_taps, 2 * j + 1) + number_at(plan.row_taps, 2 * k + 1)
    for l in range(number_at(plan.columns, 7 * g + 5), number_at(plan.columns, 7 * g + 6)):
        taps[t] = step + number_at(plan.column_taps, 2 * l)
        taps[t + 1] = tap + number_at(plan.column_taps, 2 * l + 1)
        t += 2
    return t


def tap_lists(chunks: int, longest: int) -> np.ndarray:
    """Scratch for each chunk's list of taps."""
    return np.empty(chunks * 2 * longest, np.int64)
