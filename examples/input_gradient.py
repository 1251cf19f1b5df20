"""How does the error get back through several maps, borders, stride and padding? Why is the filter flipped?

A pixel's gradient is a sum over the outputs that have read it, in all maps: dy there, times the weight that
lay on it; at a border they are fewer. Seen from the pixel they lie the other way round: that is the flip.

    python examples/input_gradient.py
    python -m fastconv explain input-gradient        the long version
"""

import numpy as np

from fastconv import ops

w = np.array([[[1.0, 2, 3], [4, 5, 6], [7, 8, 9]], [[1, -2, -1], [2, 0, -2], [1, 2, -1]]])  # (OC, KH, KW)
dy = np.array([[[1.0, 2, 0], [0, -1, 1], [3, 0, 2]], [[2.0, -1, 1], [1, -1, 0], [0, 2, -2]]])  # (OC, OH, OW)
IH, IW, KH, KW, DH, DW = 5, 5, 3, 3, 1, 1


def scatter(dy, w, SH=1, SW=1, PH=0, PW=0):
    """Each output of a map hands its dy to each pixel that it has read, times the weight that lay on it."""
    dx = np.zeros((IH, IW))
    for oh, ow in np.ndindex(dy.shape):
        for kh, kw in np.ndindex(w.shape):
            ih, iw = oh * SH - PH + kh * DH, ow * SW - PW + kw * DW
            if 0 <= ih < IH and 0 <= iw < IW:  # the padding needs no gradient
                dx[ih, iw] += dy[oh, ow] * w[kh, kw]
    return dx


def collect(dy, w, SH=1, SW=1, PH=0, PW=0):
    """Each pixel fetches what it gets: the turned filter slides over dy in zeros, S - 1 between any two."""
    spread = np.zeros(((dy.shape[0] - 1) * SH + 1, (dy.shape[1] - 1) * SW + 1))
    spread[::SH, ::SW] = dy
    zeros, turned = np.pad(spread, ((KH - 1 - PH,) * 2, (KW - 1 - PW,) * 2)), w[::-1, ::-1]
    dx = np.zeros((IH, IW))
    for ih, iw in np.ndindex(dx.shape):
        dx[ih, iw] = (zeros[ih : ih + KH, iw : iw + KW] * turned).sum()
    return dx


print("dx[0,1]: only the weights of a filter's first row have lain on it, at outputs (0, 1) and (0, 0)")
terms = [(dy[oc, 0, 1 - kw], w[oc, 0, kw]) for oc in (0, 1) for kw in (0, 1)]
print(" + ".join(f"({a:g} * {b:g})" for a, b in terms), f"= {sum(a * b for a, b in terms):g}")
maps = [scatter(dy[oc], w[oc]) for oc in (0, 1)]
dx = maps[0] + maps[1]
print(f"\ndx from map 0\n{maps[0]}\nfrom map 1\n{maps[1]}\ntheir sum\n{dx}")

rng, counts = np.random.default_rng(0), {}
for S, P in ((1, 0), (1, 1), (2, 0), (2, 1)):  # stride and padding
    OH, OW = (IH + 2 * P - KH) // S + 1, (IW + 2 * P - KW) // S + 1
    some = rng.integers(-3, 4, (2, OH, OW)).astype(np.float64)
    counts[S, P] = scatter(np.ones((OH, OW)), np.ones((KH, KW)), S, S, P, P).astype(int)
    print(f"\nstride {S}, padding {P}: in how many positions each pixel takes part\n{counts[S, P]}")
    true = ops.conv2d_input_grad(some[None], w[:, None], (1, 1, IH, IW), stride=S, padding=P)
    for way in (scatter, collect):
        found = way(some[0], w[0], S, S, P, P) + way(some[1], w[1], S, S, P, P)
        print(f"{way.__name__}, and ops.conv2d_input_grad: largest difference {abs(found - true).max():.1g}")
