"""What the next work item will touch is prefetched while tiles of this one are multiplied: that is bound by arithmetic, the next by memory."""

from typing import NamedTuple

import numpy as np

from fastconv.kernels.compile import inlined
from fastconv.kernels.simd.transforms import prefetch

LINE = 16  # elements in a cache line of float32, and in two of float64


class Ahead(NamedTuple):
    """Each tile has `step` elements prefetched, from `start` on and none after `stop`."""

    memory: np.ndarray
    start: int
    step: int
    stop: int


@inlined
def lines_ahead(memory, first, stop, tiles):
    """memory[first:stop] for so many tiles, in whole cache lines for each; only what lies in memory"""
    start, stop = max(0, min(first, len(memory))), max(0, min(stop, len(memory)))
    return Ahead(memory, start, -(-max(0, stop - start) // (LINE * max(1, tiles))) * LINE, stop)


@inlined
def fetch(ahead, t):
    """The part of tile t, counted from 0."""
    first = ahead.start + t * ahead.step
    prefetch(ahead.memory, first, min(first + ahead.step, ahead.stop))


class RowsAhead(NamedTuple):
    """Of a matrix: `count` rows of `width` elements, `row` elements apart, of which each tile has `step` prefetched."""

    memory: np.ndarray
    start: int
    row: int
    width: int
    count: int
    step: int


@inlined
def rows_ahead(memory, start, row, width, count, tiles):
    """count rows for so many tiles"""
    return RowsAhead(memory, start, row, width, count, -(-count // max(1, tiles)))


@inlined
def fetch_rows(ahead, t):
    """The rows of tile t, counted from 0."""
    for r in range(t * ahead.step, min((t + 1) * ahead.step, ahead.count)):
        prefetch(ahead.memory, ahead.start + r * ahead.row, ahead.start + r * ahead.row + ahead.width)
