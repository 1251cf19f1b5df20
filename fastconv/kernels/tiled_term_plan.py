"""How the weight gradient is cut into register tiles: terms of the sums (kd, kh, kw, ic) times output channels.

One of the two is broadcast, MR at a time, the other fills NR lanes. Lanes are channels, as in the forward pass, and the broadcast terms
neighbours in the box of inputs (a kernel row's KW * C), or, where such runs are short, scattered in it. Or, where channels are few, lanes
are neighbouring terms and channels are broadcast. The cheapest of the menu's tiles and these choices is taken.
"""

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from fastconv.geometry import Geometry
from fastconv.kernels.host import BOX, PIXELS, menu
from fastconv.kernels.tiled_plan import Plan, box_plan
from fastconv.kernels.vectors import Tile

BLOCK = 256  # pixels of one running sum
CHOICES = NEIGHBOURS, SCATTERED, SWAPPED = range(3)
MR_ADDRESSES = 0.95  # the speed of scattered terms, MR addresses instead of one (75 to 97 % on five layers)


class Cut(NamedTuple):
    """What kernels see, as a one-element record."""

    A: int  # tiles of what is broadcast
    B: int  # tiles of what fills the lanes
    choice: int
    width: int  # channels of a panel of dy
    panels: int
    copied: bool  # into panels: else dy is a single one as it is


_RECORD = np.dtype([(name, np.int64) for name in Cut._fields])


class TermPlan(NamedTuple):
    plan: Plan
    tile: Tile
    row: Tile  # of one panel, for copies and the bias gradient
    cut: Cut
    record: np.ndarray  # of the cut, for kernels
    row_places: np.ndarray  # (pixels,): where in a panel of dy a pixel's row is
    places_a: np.ndarray  # (A * MR): a tile's numbers, seen from its pixel
    firsts_b: np.ndarray  # (B,): a tile's first number
    of_term: np.ndarray  # the sum of term k and channel t is number of_term[k] + of_channel[t] of a chunk's totals
    of_channel: np.ndarray


@lru_cache(maxsize=512)
def term_plan(g: Geometry, dtype: np.dtype) -> TermPlan:
    T = g.OC // g.G
    pixels = min(PIXELS, max(BLOCK // 4, BOX // (T * dtype.itemsize)))  # dy's panels stay in the second-level cache, too
    plan = box_plan(g, dtype.itemsize, pixels, False)
    counts = plan.runs[:, 1].tolist()

    def cost(candidate) -> float:
        (tile, worth), choice = candidate
        terms, channels = (tile.NR, tile.MR) if choice == SWAPPED else (tile.MR, tile.NR)
        runs = [sum(counts)] if choice == SCATTERED else counts
        worth *= MR_ADDRESSES if choice == SCATTERED else 1
        return sum(-(-run // terms) for run in runs) * terms * -(-T // channels) * channels / worth

    (tile, _), choice = min(product(menu(dtype), CHOICES), key=cost)
    if not plan.box and min(counts) < {NEIGHBOURS: tile.MR, SCATTERED: 0, SWAPPED: tile.NR}[choice]:
        plan = box_plan(g, dtype.itemsize, pixels, True)  # tiles are read beyond the end of a run
    MR, NR = tile.MR, tile.NR
    width, panels = (-(-T // NR) * NR, 1) if choice == SWAPPED else (NR, -(-T // NR))
    runs = [(first, count) for first, count, _ in plan.runs.tolist()]
    if choice == SWAPPED:
        (firsts_a, of_channel), (firsts_b, of_term) = tiles([(0, T)], MR), tiles(runs, NR)
    else:
        firsts_a, of_term = tiles([(0, sum(counts))] if choice == SCATTERED else runs, MR)
        firsts_b, of_channel = tiles([(0, panels * NR)], NR)
        firsts_b *= plan.from_pixels.shape[1]
    places_a = firsts_a[:, None] + np.arange(MR)
    if choice == SCATTERED:
        terms = np.concatenate([np.arange(first, first + count) for first, count in runs])
        places_a = terms[np.minimum(places_a, len(terms) - 1)]
    A, B = len(firsts_a), len(firsts_b)
    of_a, of_b = (of_channel, of_term) if choice == SWAPPED else (of_term, of_channel)
    of_a *= NR
    of_b[...] = of_b // NR * A * MR * NR + of_b % NR
    cut, row = Cut(A, B, choice, width, panels, choice == SWAPPED or width != T), Tile(1, tile.NV, tile.LANES, dtype)
    row_places = np.arange(plan.from_pixels.shape[1]) * width
    return TermPlan(plan, tile, row, cut, np.array([tuple(cut)], _RECORD), row_places, places_a.ravel(), firsts_b, of_term, of_channel[:T])


def tiles(runs: list[tuple[int, int]], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Runs (first, count) cut into tiles, the last of a run from its end: where tiles begin, and where among their numbers those of the runs are."""
    firsts, numbers = [], []
    for first, count in runs:
        starts = [max(0, min(k, count - width)) for k in range(0, count, width)]
        numbers += [(len(firsts) + k // width) * width + k - starts[k // width] for k in range(count)]
        firsts += [first + start for start in starts]
    return np.array(firsts, np.int64), np.array(numbers, np.int64)
