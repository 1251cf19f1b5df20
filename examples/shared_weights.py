"""One 3x3 filter at 900 places of a 32x32 image: will its weights drift apart? Is the gradient an average?

Nothing can drift: there is one array of nine numbers, which 900 places read. The gradient of a weight is the
sum of what all places contribute, and it is updated once; an average would be 900 times shorter.

    python examples/shared_weights.py
    python -m fastconv explain shared-weights        the long version
"""

import numpy as np

from fastconv import data, ops

digit = data.digits()[0][0][0, 0].astype(np.float64)  # (8, 8)
x = np.kron(digit, np.ones((4, 4)))  # (32, 32): each pixel four times as wide and high
sobel = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])  # the filter to be found
OH, OW, lr = 30, 30, 0.001


def seen(kh, kw):
    """(30, 30): what the weight w[kh, kw] reads at each place, x[oh + kh, ow + kw]."""
    return x[kh : kh + OH, kw : kw + OW]


def difference(w):
    """y less the map of Sobel's filter. The loss is half the sum of its squares, so this is dy, too."""
    y = np.zeros((OH, OW))
    for kh, kw in np.ndindex(w.shape):
        y += (w[kh, kw] - sobel[kh, kw]) * seen(kh, kw)
    return y


def contributions(dy):
    """(3, 3, 30, 30): the 900 products of each weight, one for each place."""
    return np.array([[dy * seen(kh, kw) for kw in range(3)] for kh in range(3)])


w = np.zeros((3, 3))
dy = difference(w)
loss_before = (dy**2).sum() / 2
parts = contributions(dy)
dw, average = parts.sum(axis=(2, 3)), parts.mean(axis=(2, 3))
print(f"{w.size + 1} parameters, with a bias; fully connected, 1024 to 900: {x.size * dy.size + dy.size:,}")
for kh, kw in np.ndindex(w.shape):
    part, total = parts[kh, kw], dw[kh, kw]
    print(f"dw[{kh},{kw}] = {total:.2f}, the sum of {part.size} from {part.min():.2f} to {part.max():.2f}")

by_sum, by_average = -lr * dw, -(900 * lr) * average
copies = -(900 * lr) * parts[0, 2]  # if each place had a weight of its own, updated by its own product
print(f"\nw - lr * sum\n{by_sum.round(4) + 0}\nw - (900 lr) * average\n{by_average.round(4) + 0}")
print(f"900 copies of w[0,2]: {copies.min():.2f} to {copies.max():.2f}, their mean {copies.mean():.4f}\n")

for _ in range(3000):
    w = w - lr * contributions(difference(w)).sum(axis=(2, 3))
loss_after = (difference(w) ** 2).sum() / 2
print(f"3000 updates: loss from {loss_before:.1f} to {loss_after:.2g}; the filter\n{w.round(3) + 0}\n")
by_ops = ops.conv2d_weight_grad(x[None, None], dy[None, None], 3)
print(f"the two updates: largest difference {abs(by_sum - by_average).max():.1g}")
print(f"dw, and ops.conv2d_weight_grad: largest difference {abs(dw - by_ops).max():.1g}")
