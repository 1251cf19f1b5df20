"""How kernels find cells: `geometry.Walk` in nopython code."""

import numpy as np

from fastconv.kernels.policy import serial


@serial
def find(table, steps, axis, position, tap):
    """The cell that a tap of a position meets along one axis, -1 for none."""
    return table[steps[axis, 1] + position * steps[axis, 2] + tap * steps[axis, 3]]


@serial
def look_up(cells, margin, axis, i, extent):
    """The cell that coordinate i of an axis reads, -1 for none: cells[axis, margin + i]; outside the margins the outermost entry holds."""
    return cells[axis, margin + max(-margin, min(i, extent + margin - 1))]


def channels_last(a: np.ndarray) -> np.ndarray:
    """The (N, D, H, W, C) memory behind an (N, C, D, H, W) activation."""
    return a.transpose(0, 2, 3, 4, 1)
