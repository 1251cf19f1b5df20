"""Work items of a tiled pass: where one begins, what it reads and writes, and how they are dealt out."""

from fastconv.kernels.packing import pack_box
from fastconv.kernels.policy import get_num_threads, serial


def shares(items: int) -> int:
    """Into how many shares items are dealt out: some for each thread, so that a thread that is held up holds up little."""
    return min(items, 4 * get_num_threads())


@serial
def corner(item, plan):
    """Where a work item begins: group, image, first targets along each axis; how many pixels it has, and whether its rows are the narrow ones."""
    g = plan[0]
    item, jw = item // g.across, item % g.across * g.columns
    item, jh = item // g.down, item % g.down * g.rows
    item, jd = item // g.JD, item % g.JD
    group, n = item % g.G, item // g.G * g.BN
    columns = min(g.columns, g.JW - jw)
    return group, n, jd, jh, jw, min(g.BN, g.N - n) * min(g.rows, g.JH - jh) * columns, 1 if columns < g.columns else 0


@serial
def inputs_of(group, n, jd, jh, jw, source, plan, cells, box):
    """The item's inputs: its box, packed now, or the source itself from the item's first cell on."""
    g = plan[0]
    d, h, w = jd * g.SD + g.low_d, jh * g.SH + g.low_h, jw * g.SW + g.low_w
    if not g.packed:
        return source[(((n * g.ID + d) * g.IH + h) * g.IW + w) * g.IC + group * g.C :]
    pack_box(source, n, d, h, w, group, plan, cells, box)
    return box


@serial
def outputs_of(group, n, jd, jh, jw, target, plan):
    """The target from the item's first pixel and its group's first channel on."""
    g = plan[0]
    d, h, w = jd * g.step_d + g.first_d, jh * g.step_h + g.first_h, jw * g.step_w + g.first_w
    return target[(((n * g.OD + d) * g.OH + h) * g.OW + w) * g.OC + group * g.T :]
