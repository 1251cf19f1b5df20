"""How a weight gradient is cut into register tiles: M = K = (kd, kh, kw, ic) of the forward pass, N = output channels, summed over pixels.

    dw[k, n] = sum over pixels m of x[input_offsets[m] + k] * dy[m, n]

One of k and n is broadcast, MR at a time, the other fills NR lanes. Lanes are output channels, as in the forward pass, and the broadcast k
are neighbors in the patch (a kernel row's KW * C), or, where such segments are short, gathered. Or, where output channels are few, lanes are
neighboring k and channels are broadcast. The cheapest of the menu's tiles and these ways is taken. With 4 lanes, a tile of 2 x 4 and K = 3:

    way         a: broadcast, MR of        b: lanes, NR of            tiles of 18 k x 6 channels (a x b)
    CONTIGUOUS  a segment's k              channels                   3 segments x 3 of 2 k,  2 of 4 channels
    GATHERED    any k                      channels                   9 of 2 k,               2 of 4 channels
    LANES_ARE_K channels                   a segment's k              3 of 2 channels,        3 segments x 2 of 4 k
"""

from itertools import product
from typing import NamedTuple

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.compile import Record, threads_for
from fastconv.kernels.igemm.plan import Limits, forward_phases, plans
from fastconv.kernels.simd.host import CHUNKS, FEW_TILES, GATHERED_SPEED, PARTIALS, PATCH, PATCHES, SHORT_ROW, TERMS, TOTALS, WEIGHT_PIXELS, menu
from fastconv.kernels.simd.tile import Tile

ANY = 1 << 62  # bytes, channels
WAYS = CONTIGUOUS, GATHERED, LANES_ARE_K = range(3)


class WeightPlan(NamedTuple):
    """As kernels see it. A tile is a pair (a, b); its MR x NR sums are neighbors in a chunk's totals, tile after tile, all a of b 0 first."""

    pixels: Record  # the forward pass's plan: bands of pixels, what they read
    bands: int  # of pixels, in a group
    chunks: int  # of bands, each with totals of its own
    way: int
    a_tiles: int
    b_tiles: int
    a_offsets: np.ndarray  # (a_tiles * MR,): an element of a tile, seen from its pixel
    neighbors: np.ndarray  # (a_tiles,): whether those of a tile lie side by side
    b_starts: np.ndarray  # (b_tiles,): a tile's first element, seen from its pixel
    width: int  # channels of a panel of dy
    panels: int
    copied: bool  # dy is copied into panels; else they are read where they lie
    column_rows: np.ndarray  # (pixels,): where in a column of MR elements of each a pixel's are, where there is one
    dy_rows: np.ndarray  # (pixels,): where in a panel a pixel's row is
    k_index: np.ndarray  # the sum of k and channel n is totals[k_index[k] + n_index[n]]
    n_index: np.ndarray
    direct: bool  # one running sum is all of it: it goes into dw without totals
    size: int  # of a chunk's totals in a group, and of its sums of dy after them
    bias: bool  # the sums of dy are wanted
    patch: int  # elements of scratch for the patch, for that and panels of dy, and in all
    column: int
    scratch: int


def weight_plan(g: Geometry, dtype: np.dtype, bias: bool) -> tuple[WeightPlan, Tile]:
    OCG, size = g.OC // g.G, dtype.itemsize
    pixels = min(WEIGHT_PIXELS, max(TERMS // 4, PATCH // (OCG * size)))  # dy's panels stay in L2, too
    limits = Limits(pixels=pixels, channels=OCG, block=ANY, itemsize=size)
    positions = g.N * g.OD * g.OH * g.OW
    few = positions <= TERMS
    if few:
        limits = limits._replace(pixels=TERMS, items=1)
    (plan,) = plans(g, forward_phases(g), limits._replace(patch=ANY) if few else limits)
    if few and plan.packed and plan.patch_size * size > PATCHES:  # read where it lies, a patch may be of any size
        (plan,) = plans(g, forward_phases(g), limits)
    counts = plan.segments[:, 1].tolist()
    direct = few and plan.items == g.G  # one band and one running sum: it is stored once, without totals
    tile, way = _cheapest(counts, OCG, dtype, (GATHERED,) if direct else WAYS)
    MR, NR = tile.MR, tile.NR
    if not plan.packed and min(counts) < {CONTIGUOUS: MR, GATHERED: 0, LANES_ARE_K: NR}[way]:
        (plan,) = plans(g, forward_phases(g), limits._replace(pack=True))  # tiles are read beyond the end of a segment
    width, panels = (-(-OCG // NR) * NR, 1) if way == LANES_ARE_K else (NR, -(-OCG // NR))
    segments, M = plan.segments.tolist(), plan.input_offsets.shape[1]
    copied = True
    if way == LANES_ARE_K:
        (a_starts, n_index), (b_starts, k_index) = _tiles([(0, OCG)], MR), _tiles(segments, NR)
    else:
        a_starts, k_index = _tiles([(0, sum(counts))] if way == GATHERED else segments, MR)
        b_starts, n_index = _tiles([(0, panels * NR)], NR)
        copied = OCG % NR > 0 or (panels > 1 and (len(a_starts) > FEW_TILES or OCG * size > SHORT_ROW))
        b_starts *= M if copied else 1
    if direct:
        a_starts = np.arange(len(a_starts)) * MR  # a last tile that begins earlier would add twice to what it shares with the one before
    a_offsets = (a_starts[:, None] + np.arange(MR)).ravel()
    if way == GATHERED:
        every = np.concatenate([np.arange(start, start + count) for start, count in segments])
        a_offsets = every[np.minimum(a_offsets, len(every) - 1)]
    a_tiles, b_tiles = len(a_starts), len(b_starts)
    neighbors = (np.diff(a_offsets.reshape(a_tiles, MR)) == 1).all(1)
    by_a, by_b = (n_index, k_index) if way == LANES_ARE_K else (k_index, n_index)
    by_a *= NR
    by_b[...] = by_b // NR * a_tiles * MR * NR + by_b % NR
    sums = 0 if direct else a_tiles * b_tiles * MR * NR
    bands = plan.items // g.G
    read = g.N * g.G * (g.ID * g.IH * g.IW * (g.IC // g.G) + g.OD * g.OH * g.OW * OCG) * size  # bytes
    totals = max(1, g.G * sums * 8)
    worth = max(-(-CHUNKS // (a_tiles * b_tiles)), min(CHUNKS // 2, read // (TOTALS * totals)))
    chunks = max(1, min(worth, bands, PARTIALS // totals))
    patch, rows = memory.lines(plan.patch_size + MR + NR, dtype), memory.lines(M * width * panels + MR, dtype)
    column = memory.lines(positions * MR, dtype) if direct else 0
    return WeightPlan(
        Record(plan), bands, chunks, way, a_tiles, b_tiles, a_offsets, neighbors, b_starts, width, panels, copied,
        np.arange(positions if direct else 0) * MR, np.arange(M) * width, k_index, n_index[:OCG], direct, sums + (width * panels if bias else 0),
        bias, patch, patch + rows, patch + rows + column,
    ), tile  # fmt: skip


def _cheapest(counts: list[int], channels: int, dtype: np.dtype, ways) -> tuple[Tile, int]:
    """The tile and the way that spend least on segments of these lengths."""

    def cost(candidate) -> float:
        (tile, efficiency), way = candidate
        k, n = (tile.NR, tile.MR) if way == LANES_ARE_K else (tile.MR, tile.NR)
        segments = [sum(counts)] if way == GATHERED else counts
        speed = efficiency * (GATHERED_SPEED if way == GATHERED else 1)
        return sum(-(-count // k) for count in segments) * k * -(-channels // n) * n / speed

    (tile, _), way = min(product(menu(dtype), ways), key=cost)
    return tile, way


def _tiles(segments: list, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Segments cut into tiles, the last of a segment from its end: where tiles begin, and which of all tiles' elements each of the segments' is."""
    starts, index = [], []
    for start, count in segments:
        own = [max(0, min(k, count - width)) for k in range(0, count, width)]
        index += [(len(starts) + k // width) * width + k - own[k // width] for k in range(count)]
        starts += [start + k for k in own]
    return np.array(starts, np.int64), np.array(index, np.int64)


def parts(plan: WeightPlan, groups: int, work: float) -> int:
    """Into how many parts the tiles of a chunk are cut, for threads to share; each packs the chunk's patches anew, none changes a sum."""
    chunks, threads = plan.chunks * groups, threads_for(work)
    return 1 if threads == 1 else max(1, -(-min(plan.a_tiles * plan.b_tiles * chunks, 4 * threads) // chunks))
