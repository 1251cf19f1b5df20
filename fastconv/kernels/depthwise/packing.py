"""Work items of a depthwise pass, and what is packed for them: patches of inputs with their padding, panels of weights. All in channel blocks."""

from typing import NamedTuple

from fastconv.kernels.compile import outlined, serial
from fastconv.kernels.simd.memory import move_row
from fastconv.kernels.simd.windows import clear_vector, move_lanes, move_vector


class Item(NamedTuple):
    """Some outputs of a channel block: first and count of images, and of a phase's outputs along each axis."""

    channel: int  # the block's first
    n: int
    images: int
    jd: int
    jh: int
    jw: int


@serial
def item_of(i, plan, LANES):
    """Item i: the channel blocks of the same pixels are neighbors, so that they find a pixel's channels in the cache."""
    i, channel = i // plan.blocks, i % plan.blocks * LANES
    i, jw = i // plan.items_w, i % plan.items_w * plan.columns
    i, jh = i // plan.items_h, i % plan.items_h * plan.rows
    i, jd = i // plan.items_d, i % plan.items_d * plan.depths
    return Item(channel, i * plan.images, min(plan.images, plan.N - i * plan.images), jd, jh, jw)


@outlined
def pack_patch(one, plan, item, x, patch):
    """patch[image, i, j, k, l, lane] = the input that lane's channel meets i-th, at positions j, k, l of the item; in the padding what the maps say."""
    to, width = 0, plan.patch_w * one.LANES
    d, h, w = item.jd * plan.SD, item.jh * plan.SH, item.jw * plan.SW // plan.T
    for image in range(item.n, item.n + item.images):
        for i in range(plan.ICG):
            for j in range(d, min(d + plan.patch_d, len(plan.depth_map))):
                for k in range(h, min(h + plan.patch_h, len(plan.row_map))):
                    id, ih = plan.depth_map[j], plan.row_map[k]
                    if id >= 0 and ih >= 0:
                        pack_row(one, plan, item.channel, x[(((image * plan.ID + id) * plan.IH + ih) * plan.IW) * plan.IC + i :], w, patch[to : to + width])
                    else:
                        for l in range(0, width, one.LANES):
                            clear_vector(one, patch, to + l)
                    to += width


@serial
def pack_row(one, plan, channel, x, w, patch):
    """patch[l, lane] = x[column_map[w + l], lanes[channel + lane]], 0 after the last channel"""
    channels = plan.OC - channel
    for l in range(plan.patch_w):
        column = plan.column_map[w + l]
        if column < 0:
            clear_vector(one, patch, l * one.LANES)
        elif not plan.lanewise:
            move_lanes(one, x, column * plan.IC, plan.lanes, channel, channels, patch, l * one.LANES)
        elif channels >= one.LANES:
            move_vector(one, x, column * plan.IC + channel, patch, l * one.LANES)
        else:
            move_row(one, x, column * plan.IC + channel, channels, patch, l * one.LANES)


@outlined
def pack_panels(one, plan, w, panels):
    """panels[block, row, k, lane] = the weight of lane's channel in tap k of a kernel row, 0 after the last channel"""
    to = 0
    for channel in range(0, plan.OC, one.LANES):
        for t in range(len(plan.taps)):
            if plan.lanewise:
                move_row(one, w, plan.taps[t] + channel, plan.OC - channel, panels, to)
            else:
                move_lanes(one, w, plan.taps[t], plan.weight_lanes, channel, plan.OC - channel, panels, to)
            to += one.LANES
