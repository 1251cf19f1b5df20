"""How kernels find inputs: `geometry.Walk` in nopython code."""

from fastconv.kernels.compile import serial


@serial
def find(table, steps, axis, position, tap):
    """The input that a tap of a position meets along one axis, -1 for none."""
    return table[steps[axis, 1] + position * steps[axis, 2] + tap * steps[axis, 3]]
