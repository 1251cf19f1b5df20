"""Irregular arrays made regular: boxes of inputs with their padding, panels of weights in the order in which they are used."""

from fastconv.kernels.policy import serial


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
def pack_box(source, n, d, h, w, group, plan, box):
    """The BN x BD x BH x BW cells from (n, d, h, w) on, one group's C channels each, without gaps; what lies outside is 0.

    source: (N, ID, IH, IW, IC), flat; box: (BN, BD, BH, BW, C), flat.
    """
    g = plan[0]
    left = min(g.BW, max(0, -w))
    right = max(left, min(g.BW, g.IW - w))  # cells left..right of a row are real
    row = 0
    for image in range(n, min(n + g.BN, g.N)):
        for id in range(d, d + g.BD):
            for ih in range(h, h + g.BH):
                if 0 <= id < g.ID and 0 <= ih < g.IH:
                    at = (((image * g.ID + id) * g.IH + ih) * g.IW + w + left) * g.IC + group * g.C
                    clear(box, row, left * g.C)
                    if g.C == g.IC:
                        copy(source, at, (right - left) * g.C, box, row + left * g.C)
                    else:
                        for i in range(right - left):
                            copy(source, at + i * g.IC, g.C, box, row + (left + i) * g.C)
                    clear(box, row + right * g.C, (g.BW - right) * g.C)
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
