"""Irregular arrays made regular: patches of inputs with their padding, panels of weights in the order in which they are used."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fastconv.kernels.compile import inlined, outlined, serial
from fastconv.kernels.simd.ahead import rows_ahead
from fastconv.kernels.simd.arithmetic import transpose
from fastconv.kernels.simd.memory import load_rows, move_row, offsets_apart, store_rows
from fastconv.kernels.simd.tile import square


@serial
def copy(x, start, count, to, first):
    """to[first : first + count] = x[start : start + count]"""
    a, b = x[start : start + count], to[first : first + count]
    for i in range(count):
        b[i] = a[i]


@serial
def clear(to, first, count):
    """to[first : first + count] = 0"""
    b = to[first : first + count]
    for i in range(count):
        b[i] = 0


@inlined
def input_index(plan, axis, i, extent):
    """Which input the index i along an axis reads, -1 for none; outside the margins of the map its outermost entry holds."""
    return plan.index_map[axis, plan.margin + max(-plan.margin, min(i, extent + plan.margin - 1))]


@outlined
def pack_patch(plan, x, n, d, h, w, group, patch):
    """patch[i, j, k, l, c] = x[n + i, d + j, h + k, w + l, group * ICG + c]; outside of x, what the padding reads.

    x: (N, ID, IH, IW, IC), patch: (patch_n, patch_d, patch_h, patch_w, ICG), both flat.
    """
    C, width = plan.ICG, plan.patch_w
    left = min(width, max(0, -w))
    right = max(left, min(width, plan.IW - w))  # columns left..right are the input's own
    zeros = input_index(plan, 2, -1, plan.IW) < 0
    row = 0
    for image in range(n, min(n + plan.patch_n, plan.N)):
        for j in range(d, d + plan.patch_d):
            id = input_index(plan, 0, j, plan.ID)
            for k in range(h, h + plan.patch_h):
                ih = input_index(plan, 1, k, plan.IH)
                if id >= 0 and ih >= 0:
                    start = ((image * plan.ID + id) * plan.IH + ih) * plan.IW * plan.IC + group * C
                    if C == plan.IC:
                        copy(x, start + (w + left) * C, (right - left) * C, patch, row + left * C)
                    else:
                        for i in range(left, right):
                            copy(x, start + (w + i) * plan.IC, C, patch, row + i * C)
                    if zeros:
                        clear(patch, row, left * C)
                        clear(patch, row + right * C, (width - right) * C)
                    else:
                        for outside in range(width - right + left):
                            i = outside if outside < left else outside - left + right
                            copy(x, start + input_index(plan, 2, w + i, plan.IW) * plan.IC, C, patch, row + i * C)
                else:
                    clear(patch, row, width * C)
                row += width * C


class Panels(NamedTuple):
    """One block of K of a strip: element (k, n) of panel p is memory[start + p * panel + k * row + n]"""

    memory: np.ndarray
    start: int
    panel: int
    row: int


@inlined
def panels_of(tile, plan, w, item, block, scratch):
    """The weights of one block of K for an item's strip: packed now, or before if not fresh, or where they lie.

    w, flat: (taps, ICG, OC), if transposed (taps, OCG, IC), if prepared as `packed` makes it.
    """
    k, stop, (panels, fresh) = plan.blocks[block, 1], plan.blocks[block + 1, 1], scratch
    if plan.prepared:
        columns = -(-plan.OCG // tile.NR) * tile.NR
        return Panels(w, (item.group * plan.taps.size * plan.ICG + k) * columns + item.channel * (stop - k), (stop - k) * tile.NR, tile.NR)
    if plan.in_place:
        return Panels(w, k * plan.OC + item.group * plan.OCG + item.channel, tile.NR, plan.OC)
    start = k * -(-plan.strip // tile.NR) * tile.NR if plan.kept else 0
    if fresh and plan.transposed:
        pack_transposed(square(tile), tile.NR, plan, w, item, k, stop, panels[start:])
    elif fresh:
        pack_rows(tile, plan, w, item, k, stop, panels[start:])
    return Panels(panels, start, (stop - k) * tile.NR, tile.NR)


@inlined
def weights_ahead(plan, w, item, later, block, tiles):
    """What will be packed next, for so many tiles of this block: rows of w for the next one, or of a later item for its first."""
    last = block == len(plan.blocks) - 2
    item, block = (later if last else item), (0 if last else block + 1)
    terms = plan.blocks[block + 1, 1] - plan.blocks[block, 1]
    if plan.in_place or plan.kept or plan.prepared or (plan.transposed and len(plan.taps) > 1):
        return rows_ahead(w, 0, 0, 0, 0, tiles)
    if plan.transposed:  # one tap
        return rows_ahead(w, item.channel * plan.IC + item.group * plan.ICG + plan.blocks[block, 1], plan.IC, terms, item.channels, tiles)
    return rows_ahead(w, plan.blocks[block, 1] * plan.OC + item.group * plan.OCG + item.channel, plan.OC, item.channels, terms, tiles)


@inlined
def pack_rows(tile, plan, w, item, k, stop, panels):
    """panels[p, i, n] = w[k + i, channel + p * NR + n], 0 after the last channel: rows of w are rows of a panel."""
    start, to = k * plan.OC + item.group * plan.OCG + item.channel, 0
    for p in range(0, item.channels, tile.NR):
        for i in range(stop - k):
            move_row(tile, w, start + i * plan.OC + p, item.channels - p, panels, to)
            to += tile.NR


def packed(plan, NR: int, w: np.ndarray) -> np.ndarray:
    """w, flat: (taps, ICG, OC), as panels that stay: (G, blocks of K, panels, terms of a block, NR), flat, 0 after a group's last channel. In NumPy,
    as it is done once for many passes."""
    panels = -(-plan.OCG // NR)
    columns = np.zeros((plan.G, plan.K, panels * NR), w.dtype)
    columns[:, :, : plan.OCG] = w.reshape(plan.K, plan.G, plan.OCG).swapaxes(0, 1)
    cuts = [int(k) for k in plan.blocks[:, 1]]
    blocks = [columns[:, k:stop].reshape(plan.G, stop - k, panels, NR).swapaxes(1, 2) for k, stop in pairwise(cuts)]
    return np.concatenate([block.reshape(plan.G, -1) for block in blocks], 1).reshape(-1)


@outlined
def pack_transposed(block, NR, plan, w, item, k, stop, panels):
    """panels[p, (t, c), n] = w[taps[t], channel + p * NR + n, group * ICG + c], LANES x LANES elements at a time.

    In the letters of the plan, which are those of dy and dx: w is (taps, OCG, IC), and c runs along its rows. After the last channel, it again.
    """
    C, LANES, first = plan.ICG, block.LANES, k
    while k < stop:
        tap, c = plan.taps[k // C], k % C
        count = min(C - c, stop - k)  # terms of this tap
        start = (tap * plan.OCG + item.channel) * plan.IC + item.group * C + c
        for n in range(0, -(-item.channels // NR) * NR, LANES):
            to = (n // NR * (stop - first) + k - first) * NR + n % NR
            if count >= LANES and n < item.channels:
                rows = offsets_apart(block, plan.IC, item.channels - n)
                for i in range(0, count, LANES):
                    i = min(i, count - LANES)
                    weights = load_rows(block, w, rows, start + n * plan.IC + i, LANES)
                    store_rows(block, transpose(block, weights), panels, offsets_apart(block, NR, LANES), to + i * NR, LANES)
            else:
                for j in range(LANES):
                    row = start + min(n + j, item.channels - 1) * plan.IC
                    for i in range(count):
                        panels[to + i * NR + j] = w[row + i]
        k += count
