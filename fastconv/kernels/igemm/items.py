"""Work items of a pass: where one begins, what it reads and what it writes."""

from typing import NamedTuple

from fastconv.kernels.compile import inlined
from fastconv.kernels.igemm.packing import pack_patch
from fastconv.kernels.simd.ahead import lines_ahead


class Item(NamedTuple):
    group: int
    n: int  # first image
    jd: int  # first outputs of the phase along each axis
    jh: int
    jw: int
    pixels: int
    narrow: int  # 1: an item with the last columns, which may be fewer, and offsets of its own
    channel: int  # first channel of its strip, in the group
    channels: int


@inlined
def item_of(i, plan):
    """Item i: strips of the same pixels are neighbors, so that they share a patch."""
    i, channel = i // plan.strips, i % plan.strips * plan.strip
    i, jw = i // plan.items_w, i % plan.items_w * plan.columns
    i, jh = i // plan.items_h, i % plan.items_h * plan.rows
    i, jd = i // plan.JD, i % plan.JD
    group, n = i % plan.G, i // plan.G * plan.patch_n
    columns = min(plan.columns, plan.JW - jw)
    pixels = min(plan.patch_n, plan.N - n) * min(plan.rows, plan.JH - jh) * columns
    return Item(group, n, jd, jh, jw, pixels, 1 if columns < plan.columns else 0, channel, min(plan.strip, plan.OCG - channel))


@inlined
def first_input(item, plan):
    """Where the item's first input is, its padding counted: perhaps before x."""
    d, h, w = item.jd * plan.SD + plan.low_d, item.jh * plan.SH + plan.low_h, item.jw * plan.SW + plan.low_w
    return (((item.n * plan.ID + d) * plan.IH + h) * plan.IW + w) * plan.IC + item.group * plan.ICG


@inlined
def first_output(item, plan):
    """Where the item's first pixel is, in its group's first channel."""
    d, h, w = item.jd * plan.step_d + plan.first_d, item.jh * plan.step_h + plan.first_h, item.jw * plan.step_w + plan.first_w
    return (((item.n * plan.OD + d) * plan.OH + h) * plan.OW + w) * plan.OC + item.group * plan.OCG


@inlined
def inputs_of(item, plan, x, patch):
    """Its inputs: the patch, packed now, or x itself from the item's first input on."""
    if not plan.packed:
        return x[first_input(item, plan) :]
    d, h, w = item.jd * plan.SD + plan.low_d, item.jh * plan.SH + plan.low_h, item.jw * plan.SW + plan.low_w
    pack_patch(plan, x, item.n, d, h, w, item.group, patch)
    return patch


@inlined
def outputs_of(item, plan, y):
    """y from the item's first pixel and its group's first channel on."""
    return y[first_output(item, plan) :]


@inlined
def inputs_ahead(x, item, later, plan, tiles):
    """What a later item reads, for so many tiles of this one: as much of x as lies between their beginnings."""
    here, there = first_input(item, plan), first_input(later, plan)
    return lines_ahead(x, there, there + there - here, tiles)


@inlined
def outputs_ahead(dy, item, later, plan, tiles):
    """The same of outputs, where they are read: of dy."""
    here, there = first_output(item, plan), first_output(later, plan)
    return lines_ahead(dy, there, there + there - here, tiles)
