"""Work items of a depthwise pass, and what is packed for them: patches of inputs with their padding, panels of weights. All in channel blocks."""

from typing import NamedTuple

from fastconv.kernels.compile import outlined, serial
from fastconv.kernels.simd.memory import move_row
from fastconv.kernels.simd.patches import clear_vector, move_lanes, move_vector


class Item(NamedTuple):
    """Some outputs of a strip of channel blocks: first and count of blocks and images, and the first of a phase's outputs along each axis."""

    block: int
    blocks: int
    n: int
    images: int
    jd: int
    jh: int
    jw: int


ITEM = Item(*[0] * len(Item._fields))  # for its type


@serial
def item_of(i, plan):
    """Item i: the strips of the same pixels are neighbors, so that they find a pixel's channels in the cache."""
    i, block = i // plan.strips, i % plan.strips * plan.strip
    i, jw = i // plan.items_w, i % plan.items_w * plan.columns
    i, jh = i // plan.items_h, i % plan.items_h * plan.rows
    i, jd = i // plan.items_d, i % plan.items_d * plan.depths
    return Item(block, min(plan.strip, plan.blocks - block), i * plan.images, min(plan.images, plan.N - i * plan.images), jd, jh, jw)


@serial
def origin_of(item, plan):
    """Where the table of rows counts from: its image, depth and row; that of a patch from the item. And the column of the first window."""
    if plan.in_place:
        return item.n, 0, 0, -plan.before
    return 0, item.jd, item.jh, 0


@serial
def channel_of(block, item, plan, LANES):
    """The first channel of a block, and where it is in a row of inputs. In place the last block begins early, to be full; so it does it twice."""
    if plan.in_place:
        channel = min(block * LANES, plan.OC - LANES)
        return channel, channel
    return block * LANES, (block - item.block) * plan.patch_w * LANES


@outlined
def pack_patch(one, plan, item, x, patch):
    """patch[image, i, j, k, block, l, lane] = the i-th input that lane's channel meets, at (j, k, l) of the item, or the padding's.

    x: (N, ID, IH, IW, IC), patch: (images, ICG, patch_d, patch_h, strip, patch_w, LANES), both flat.
    """
    d, h, w = item.jd * plan.SD, item.jh * plan.SH, item.jw * plan.SW // plan.T
    row = 0
    for image in range(item.n, item.n + item.images):
        for i in range(plan.ICG):
            for j in range(d, d + plan.patch_d):
                for k in range(h, h + plan.patch_h):
                    id, ih = plan.depth_map[j], plan.row_map[k]
                    if id >= 0 and ih >= 0:
                        pack_row(one, plan, item, x, ((image * plan.ID + id) * plan.IH + ih) * plan.IW * plan.IC + i, w, patch, row)
                    else:
                        for to in range(row, row + item.blocks * plan.patch_w * one.LANES, one.LANES):
                            clear_vector(one, patch, to)
                    row += plan.strip * plan.patch_w * one.LANES


@serial
def pack_row(one, plan, item, x, start, w, patch, to):
    """patch[block, l, lane] = x[column_map[w + l], channel of the lane] of one row, from `start` on in x, to `to` in the patch"""
    left = min(plan.patch_w, max(0, plan.before - w))  # columns left..right are the input's own, neighbors in memory
    right = max(left, min(plan.patch_w, plan.before + plan.IW - w))
    for channel in range(item.block * one.LANES, (item.block + item.blocks) * one.LANES, one.LANES):
        if plan.lanewise and channel + one.LANES <= plan.OC:
            pack_columns(one, plan, channel, x, start, (w, 0, left), patch, to)
            at = start + (w + left - plan.before) * plan.IC + channel
            for here in range(to + left * one.LANES, to + right * one.LANES, one.LANES):
                move_vector(one, x, at, patch, here)
                at += plan.IC
            pack_columns(one, plan, channel, x, start, (w, right, plan.patch_w), patch, to)
        else:
            pack_columns(one, plan, channel, x, start, (w, 0, plan.patch_w), patch, to)
        to += plan.patch_w * one.LANES


@serial
def pack_columns(one, plan, channel, x, start, columns, patch, to):
    """patch[to + l, lane] = x[start + column_map[w + l], lanes[channel + lane]], 0 after the last channel.

    columns: w, and first and stop of l
    """
    w, first, stop = columns
    for l in range(first, stop):
        column, here = plan.column_map[w + l], to + l * one.LANES
        if column < 0:
            clear_vector(one, patch, here)
        elif plan.lanewise:
            move_row(one, x, start + column * plan.IC + channel, plan.OC - channel, patch, here)
        else:
            move_lanes(one, x, start + column * plan.IC, plan.lanes, channel, plan.OC - channel, patch, here)


@outlined
def pack_panels(one, plan, w, panels):
    """A row of zeros, then panels[block, row, k, lane] = the weight of lane's channel in tap k of a kernel row, 0 after the last channel"""
    panels[: plan.zeros] = 0
    to = plan.zeros
    for channel in range(0, plan.OC, one.LANES):
        if plan.in_place:
            channel = min(channel, plan.OC - one.LANES)
        for t in range(len(plan.taps)):
            if plan.lanewise:
                move_row(one, w, plan.taps[t] + channel, plan.OC - channel, panels, to)
            else:
                move_lanes(one, w, plan.taps[t], plan.weight_lanes, channel, plan.OC - channel, panels, to)
            to += one.LANES
