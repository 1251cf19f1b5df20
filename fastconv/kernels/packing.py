"""Irregular arrays made regular: boxes of inputs with their padding, panels of weights in the order in which they are used."""

from fastconv.kernels.policy import serial
from fastconv.kernels.walk import look_up


@serial
def copy(source, at, count, to, first):
    """to[first : first + count] = source[at : at + count]"""
    a, b = source[at : at + count], to[first : first + count]
    for i in range(count):
        b[i] = a[i]


@serial
def clear(to, first, count):
    """to[first : first + count] = 0"""
    b = to[first : first + count]
    for i in range(count):
        b[i] = 0


@serial
def pack_box(source, n, d, h, w, group, plan, cells, box):
    """The BN x BD x BH x BW cells from (n, d, h, w) on, one group's C channels each, without gaps; what lies outside is the padding.

    source: (N, ID, IH, IW, IC), flat; cells: which of them a coordinate reads (see `tiled_plan`); box: (BN, BD, BH, BW, C), flat.
    """
    g = plan[0]
    left = min(g.BW, max(0, -w))
    right = max(left, min(g.BW, g.IW - w))  # cells left..right of a row are the input's own
    zeros = look_up(cells, g.margin, 2, -1, g.IW) < 0
    row = 0
    for image in range(n, min(n + g.BN, g.N)):
        for bd in range(d, d + g.BD):
            id = look_up(cells, g.margin, 0, bd, g.ID)
            for bh in range(h, h + g.BH):
                ih = look_up(cells, g.margin, 1, bh, g.IH)
                if id >= 0 and ih >= 0:
                    at = ((image * g.ID + id) * g.IH + ih) * g.IW * g.IC + group * g.C
                    if g.C == g.IC:
                        copy(source, at + (w + left) * g.IC, (right - left) * g.C, box, row + left * g.C)
                    else:
                        for i in range(left, right):
                            copy(source, at + (w + i) * g.IC, g.C, box, row + i * g.C)
                    if zeros:
                        clear(box, row, left * g.C)
                        clear(box, row + right * g.C, (g.BW - right) * g.C)
                    else:
                        for outside in range(g.BW - right + left):
                            i = outside if outside < left else outside - left + right
                            copy(source, at + look_up(cells, g.margin, 2, w + i, g.IW) * g.IC, g.C, box, row + i * g.C)
                else:
                    clear(box, row, g.BW * g.C)
                row += g.BW * g.C


@serial
def pack_panels(w, taps, panels):
    """panels[g, p, t * C + c, r] = w[g, p * NR + r, c, taps[t]], 0 behind the last channel. w: (G, T, C, all taps)"""
    G, P, _, NR = panels.shape
    T, C = w.shape[1:3]
    for g in range(G):
        for p in range(P):
            for t in range(len(taps)):
                for c in range(C):
                    to = panels[g, p, t * C + c]
                    for r in range(NR):
                        to[r] = w[g, p * NR + r, c, taps[t]] if p * NR + r < T else 0
