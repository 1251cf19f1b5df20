"""Work items of a narrow layer, and what is packed for them: inputs as planes, padding included; panels of weights and their bias."""

from typing import NamedTuple

from fastconv.kernels.compile import inlined, outlined
from fastconv.kernels.simd.arithmetic import transpose
from fastconv.kernels.simd.memory import load_rows, move_row, offsets_apart, store_rows


class Item(NamedTuple):
    n: int  # image
    group: int
    jd: int  # depth and first row of its outputs
    jh: int
    rows: int


@inlined
def item_of(i, plan):
    """Item i: a band of rows of one plane of one image, in one group."""
    i, jh = i // plan.items_h, i % plan.items_h * plan.rows
    i, jd = i // plan.OD, i % plan.OD
    return Item(i // plan.G, i % plan.G, jd, jh, min(plan.rows, plan.OH - jh))


@outlined
def pack_planes(block, plan, item, x, patch):
    """patch[j, k, c, l] = x[n, jd + j, jh + k, l, group * ICG + c], shifted by the padding; outside of x, what the padding reads.

    x: (N, ID, IH, IW, IC), patch: (patch_d, patch_h, planes, patch_w), both flat.
    """
    to = 0
    for j in range(item.jd, item.jd + plan.patch_d):
        for k in range(item.jh, item.jh + item.rows + plan.patch_h - plan.rows):
            id, ih = plan.depth_map[j], plan.row_map[k]
            if id >= 0 and ih >= 0:
                start = ((item.n * plan.ID + id) * plan.IH + ih) * plan.IW * plan.IC + item.group * plan.ICG
                pack_inside(block, plan, x, start, patch, to)
                for outside in range(plan.left + plan.patch_w - plan.right):
                    pack_column(plan, x, start, outside if outside < plan.left else outside - plan.left + plan.right, patch, to)
            else:
                row = patch[to : to + plan.ICG * plan.patch_w]
                for i in range(len(row)):
                    row[i] = 0
            to += plan.row
        to += (plan.rows - item.rows) * plan.row


@inlined
def pack_inside(block, plan, x, start, patch, to):
    """patch[to + c * patch_w + l] = x[start + column_map[l] * IC + c] where columns are the input's own, LANES pixels x LANES channels at a time"""
    C, LANES, count = plan.ICG, block.LANES, plan.right - plan.left
    to += plan.left
    if plan.IC == 1:
        a, b = x[start : start + count], patch[to : to + count]
        for l in range(count):
            b[l] = a[l]
    elif C == 1 or count < LANES:
        for c in range(C):
            for l in range(count):
                patch[to + c * plan.patch_w + l] = x[start + l * plan.IC + c]
    else:
        pixels, rows = offsets_apart(block, plan.IC, LANES), offsets_apart(block, plan.patch_w, LANES)
        for c in range(0, C, LANES):
            for l in range(0, count, LANES):
                l = min(l, count - LANES)
                values = load_rows(block, x, pixels, start + l * plan.IC + c, C - c)
                store_rows(block, transpose(block, values), patch, rows, to + c * plan.patch_w + l, LANES)


@inlined
def pack_column(plan, x, start, l, patch, to):
    """patch[to + c * patch_w + l] = what the padding reads in column l"""
    column = plan.column_map[l]
    for c in range(plan.ICG):
        patch[to + c * plan.patch_w + l] = 0 if column < 0 else x[start + column * plan.IC + c]


@outlined
def pack_panels(one, plan, w, bias, panels):
    """Panels of LANES channels: their bias, then rows of weights in the order of the sum: kernel row, threes and twos of taps, channel, tap.

    w: (taps, ICG, OC), flat; 0 after the last channel.
    """
    to = 0
    for group in range(plan.G):
        for n in range(0, plan.OCG, one.LANES):
            move_row(one, bias, group * plan.OCG + n, plan.OCG - n, panels, to)
            to += one.LANES
            for q in range(plan.kernel_rows):
                for part in range(plan.threes + plan.twos):
                    first = 3 * part - max(0, part - plan.threes)
                    for ic in range(plan.ICG):
                        for kw in range(first, first + (3 if part < plan.threes else 2)):
                            start = ((q * plan.KW + kw) * plan.ICG + ic) * plan.OC + group * plan.OCG + n
                            move_row(one, w, start, plan.OCG - n, panels, to)
                            to += one.LANES
