"""Arrays whose memory is used again: where page faults would cost as much as the arithmetic."""

from fastconv.memory.arrays import SMALLEST, Arena, empty, flat, lines, own_scratch, scratch, shelves, spared, zeros
from fastconv.memory.recycling import Shelves, address

__all__ = [
    "SMALLEST",
    "Arena",
    "Shelves",
    "address",
    "empty",
    "flat",
    "lines",
    "own_scratch",
    "scratch",
    "shelves",
    "spared",
    "zeros",
]
