"""How four outputs of three taps cost six multiplications instead of twelve, and 3x3 taps 36 instead of 144.

Values of polynomials at six points are multiplied in the place of their coefficients. With 64 channels the
transforms cost little, and a 3x3 layer runs nearly four times as fast as its definition.

    python examples/fewer_products.py
    python -m fastconv explain fewer-products        the long version
"""

import numpy as np

from fastconv import ops

points = [0, 2 / 3, -2 / 3, 3 / 2, -3 / 2]  # and infinity
d, w, dy = np.array([3.0, -1, 4, 1, -5, 9]), np.array([2.0, 7, 1]), np.array([1.0, 0, -2, 1])


def product(numbers):
    return np.prod(list(numbers))


AT, G, BT = np.zeros((4, 6)), np.zeros((6, 3)), np.zeros((6, 6))
for k, p in enumerate(points):
    others = [q for q in points if q != p]
    AT[:, k] = [p**i for i in range(4)]
    G[k] = [p**i / product(p - q for q in others) for i in range(3)]
    BT[k, :5] = np.poly(others)[::-1]  # the coefficients of the product of all (x - q), the constant first
AT[3, 5] = G[5, 2] = 1  # infinity: the leading coefficient
BT[5] = np.poly(points)[::-1]

y = np.array([d[i : i + 3] @ w for i in range(4)])  # twelve products
six = (G @ w) * (BT @ d)
print(f"by definition, twelve products: {y}")
print(f"six products: {six.round(4)}\nA^T times them: {(AT @ six).round(6) + 0}")

dw = np.array([d[k : k + 4] @ dy for k in range(3)])
by_six = G.T @ ((BT @ d) * (AT.T @ dy))
print(f"\nthe weights' gradient, twelve products: {dw}\nsix: {by_six.round(6) + 0}")

rng = np.random.default_rng(0)
x, filters = rng.standard_normal((1, 64, 6, 6)), rng.standard_normal((8, 64, 3, 3))
U, V = G @ filters @ G.T, BT @ x[0] @ BT.T  # of each filter and channel 36 numbers
tile = AT @ (U * V).sum(axis=1) @ AT.T  # the sum over channels runs between the transforms
print(f"\n64 channels, a tile of 4x4: {U[0].size} products an output channel; by definition {16 * 9 * 64}")
print(f"the tile, and ops.conv2d: largest difference {abs(tile - ops.conv2d(x, filters)[0]).max():.1g}")
