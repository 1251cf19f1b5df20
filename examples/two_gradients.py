"""A 2x2 delta comes back to a 2x2 filter, and a 3x3 grid goes on: which of the two updates the filter?

The 2x2 gradient dw: each weight has its own, a sum over all places of dy there times the pixel under it.
The 3x3 gradient dx is the delta of the layer before; it never touches the filter, and nobody adds it up.

    python examples/two_gradients.py
    python -m fastconv explain two-gradients        the long version
"""

import numpy as np

from fastconv import ops

x = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
w = np.array([[1.0, -2], [-3, 2]])
dy = np.array([[1.0, -2], [3, 4]])  # given: how much the loss rises per unit of each output
lr = 0.001


def slide(x, w):
    """y[oh, ow] = sum over kh, kw of x[oh + kh, ow + kw] * w[kh, kw], wherever w lies wholly inside x"""
    KH, KW = w.shape
    OH, OW = x.shape[0] - KH + 1, x.shape[1] - KW + 1
    return np.array([[(x[oh : oh + KH, ow : ow + KW] * w).sum() for ow in range(OW)] for oh in range(OH)])


def loss(w):
    """A loss whose derivative by y is dy."""
    return (dy * slide(x, w)).sum()


dw, dx = np.zeros_like(w), np.zeros_like(x)
for oh, ow in np.ndindex(dy.shape):  # each output ...
    for kh, kw in np.ndindex(w.shape):  # ... has used each weight, on one pixel:
        ih, iw = oh + kh, ow + kw
        dw[kh, kw] += dy[oh, ow] * x[ih, iw]  # nudge the weight, and y moves by the pixel
        dx[ih, iw] += dy[oh, ow] * w[kh, kw]  # nudge the pixel, and y moves by the weight

measured = np.zeros_like(w)
for cell in np.ndindex(w.shape):
    nudge = np.zeros_like(w)
    nudge[cell] = 1e-3
    measured[cell] = (loss(w + nudge) - loss(w - nudge)) / 2e-3

y, new_w = slide(x, w), w - lr * dw
print(f"y, the filter's answer\n{y}\n\ndw, for the filter\n{dw}\nmeasured by nudging\n{measured.round(4)}\n")
print(f"dx, for the layer before\n{dx}\n\nthe filter after w - lr * dw\n{new_w}\n")
losses = loss(w), loss(new_w), loss(w - lr * dx.sum())
print("loss {:.3f}; after w - lr * dw {:.3f}; after w - lr * (sum of dx) {:.3f}\n".format(*losses))

x4, w4, dy4 = (a[None, None] for a in (x, w, dy))  # ops take (N, C, H, W)
for claim, one, other in (
    ("dw, and dy sliding over x", dw, slide(x, dy)),
    ("dx, and the turned w sliding over dy in zeros", dx, slide(np.pad(dy, 1), w[::-1, ::-1])),
    ("dw, and ops.conv2d_weight_grad", dw, ops.conv2d_weight_grad(x4, dy4, 2)),
    ("dx, and ops.conv2d_input_grad", dx, ops.conv2d_input_grad(dy4, w4, x4.shape)),
):
    print(f"{claim}: largest difference {abs(one - other).max():.1g}")
