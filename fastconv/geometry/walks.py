"""Where taps find their cells: the index equation as tables, which kernels look up.

A table has an entry for each coordinate of the padded input, or, where strides and dilations leave most of these unread, for each pair of a
position and a tap: never many more than the arrays have elements.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastconv.geometry.padding import sources
from fastconv.geometry.windows import Geometry

LONGEST = 1 << 16  # coordinates of which most may be unread


class Walk(NamedTuple):
    """Per axis a table of cells, and how to get to an entry.

    Along axis a, position p finds the cell table[start + p * step + tap * reach], -1 for none, where K, start, step, reach = steps[a].
    """

    depth: np.ndarray
    row: np.ndarray
    column: np.ndarray
    steps: np.ndarray


def coordinates(O: int, K: int, S: int, D: int) -> tuple[np.ndarray, int, int]:
    """oh * SH + kh * DH, the places of the padded input that outputs read: entry oh * step + kh * reach. Returns them, step, reach."""
    extent = (O - 1) * S + (K - 1) * D + 1
    if extent <= max(LONGEST, O * K):
        return np.arange(extent), S, D
    return np.add.outer(np.arange(O) * S, np.arange(K) * D).ravel(), K, 1


@lru_cache(maxsize=512)
def reads(g: Geometry) -> Walk:
    """[output, tap] -> the input cell that it reads; in the padding what the mode says."""
    tables, steps = [], []
    for I, O, K, S, P, D in g.axes:
        j, step, reach = coordinates(O, K, S, D)
        tables.append(sources(j - P, I, g.padding_mode))  # ih = oh * SH - PH + kh * DH
        steps.append((K, 0, step, reach))
    return Walk(*tables, np.array(steps))


@lru_cache(maxsize=512)
def collects(g: Geometry) -> Walk:
    """[input, tap] -> the output that reads it there, with padding of zeros.

    The tap counts backwards, the flip of the input gradient: j = ih + (KH - 1 - kh) * DH.
    """
    tables, steps = [], []
    for I, O, K, S, P, D in g.axes:
        if max(LONGEST, I * K) >= I + (K - 1) * D:
            i, step = np.arange(I + (K - 1) * D) - (K - 1) * D, (K, (K - 1) * D, 1, -D)
        else:
            i, step = np.subtract.outer(np.arange(I), np.arange(K) * D).ravel(), (K, 0, K, 1)
        o, rest = np.divmod(i + P, S)  # ih = oh * SH - PH + kh * DH, solved for oh
        tables.append(np.where((rest == 0) & (o >= 0) & (o < O), o, -1))
        steps.append(step)
    return Walk(*tables, np.array(steps))


@lru_cache(maxsize=512)
def copies(g: Geometry) -> tuple[np.ndarray, ...]:
    """Per axis the cell of the input that each coordinate of the padded one holds, up to the last that is read; -1 for zeros."""
    return tuple(sources(np.arange((O - 1) * S + (K - 1) * D + 1) - P, I, g.padding_mode) for I, O, K, S, P, D in g.axes)


@lru_cache(maxsize=512)
def repeats(g: Geometry) -> int:
    """How many cells of the padded input, at most, are copies of one cell of the input."""
    return math.prod(int(np.bincount(table + 1)[1:].max(initial=1)) for table in copies(g))
