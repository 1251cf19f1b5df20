"""How a row of outputs is cut into tiles, and which of them meet the edges of the image.

A row of 13 outputs, 3 taps, padding 1, in tiles of 8; columns that are not there are left out of the first and the last window:

    outputs  0 .. 7     columns -1 .. 8       left: 1
    outputs  5 .. 12    columns  4 .. 13      right: 1        the last tile begins early, to be full: 5 to 7 are stored twice, alike

>>> import numpy as np
>>> row_window(True, (3, 3, (1, 1, 0)), (8, np.dtype("f4")), (13, 13, 1))
Row(window=Window(8, 3, 3, (1, 1, 0), 8, float32, (1, 1, 2)), tiles=2, last=5)
"""

from typing import NamedTuple

from fastconv.geometry import Geometry
from fastconv.kernels.simd.windows import SEVERAL, Window

HEIGHTS = (8, 6, 4)  # pixels of a tile
LINES = 1 << 16  # of the table of rows: 0.5 MB
MOST_TAPS = 9  # with the sums of three outputs and an input they fit 16 registers
LONGEST = 960  # outputs of an item along a row, whole tiles of any height


class Row(NamedTuple):
    """How a row of outputs is cut into tiles. In place: how many, and with which output the last one begins; else 0 tiles, each item has its own."""

    window: Window
    tiles: int = 0
    last: int = 0


def stays_in_place(g: Geometry, LANES: int) -> bool:
    """Whether lane c meets channel c of a pixel and of a tap, a row is one item, and beside it are zeros."""
    lines = max(g.ID, g.OD) * max(g.IH, g.OH) * g.KD * g.KH
    zeros = g.padding_mode == "zeros" or g.PW == g.QW == 0
    return g.IC == g.OC == g.G >= LANES and max(g.IW, g.OW) <= LONGEST and lines <= LINES and zeros


def row_window(in_place: bool, shape: tuple, vector: tuple, extents: tuple[int, int, int]) -> Row:
    """The window of R, K, (S, T, shift) that wastes fewest outputs of a row, in place if that is wanted and only the first and last tile meet edges.

    extents: outputs and inputs of a row, and columns before the first input
    """
    (_, _, (S, T, _)), (J, I, before) = shape, extents
    found = []
    for MR in HEIGHTS if in_place else ():
        if MR % T == 0:
            tiles, window = -(-J // MR), Window(MR, *shape, *vector)
            last = -(-max(0, J - MR) // T) * T
            starts = *range(0, (tiles - 1) * MR, MR), last
            edges = edges_of([(j * S // T - before, j * S // T - before + window.reach) for j in starts], I)
            if edges:
                found.append((tiles * (MR + 1), Row(Window(MR, *shape, *vector, (*edges, min(tiles, SEVERAL))), tiles, last)))
    return min(found, key=lambda entry: entry[0])[1] if found else Row(Window(height(J, T), *shape, *vector))


def edges_of(tiles: list[tuple[int, int]], I: int) -> tuple[int, int] | None:
    """How many columns the first tile has before the row's, and the last one after them; None where others have some, or one has nothing else.

    tiles: of a row, the columns start..stop of each; I: columns that are there
    """
    missing = [(max(0, -start), max(0, stop - I)) for start, stop in tiles]
    alone = any(left for left, _ in missing[1:]) or any(right for _, right in missing[:-1])
    if alone or any(left + right >= stop - start for (left, right), (start, stop) in zip(missing, tiles)):
        return None
    return missing[0][0], missing[-1][1]


def rows_at_once(rows: int, K: int) -> int:
    """Kernel rows whose taps stay in registers together: all, or one after the other."""
    return rows if rows * K <= MOST_TAPS else 1


def height(width: int, divisor: int = 1) -> int:
    """Pixels of a tile: those that waste fewest outputs of a row."""
    return min((MR for MR in HEIGHTS if MR % divisor == 0), key=lambda MR: (-(-width // MR) * (MR + 1), -MR))
