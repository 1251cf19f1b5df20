"""What is different in a convolution, if one knows backpropagation through fully connected layers?

Two rules: an entry of the matrix that is forced to be 0 gets no gradient, and a weight that stands in several
places gets the sum of theirs. The rest is the dense layer: y = M @ x, dM[o, i] = dy[o] * x[i], dx = M.T @ dy.

    python examples/dense.py
    python -m fastconv explain dense        the long version
"""

import numpy as np

from fastconv import ops

x = np.array([[1.0, 0, 2, 1], [3, 1, 0, 2], [0, 2, 1, 1], [1, 0, 3, 2]])
w = np.array([[1.0, -1, 2], [4, 3, -2], [-3, 1, 2]])
dy = np.array([[1.0, -2], [3, -1]])


def matrix(entries, IH, IW):
    """(OH * OW, IH * IW): entries[kh, kw] stands where an output meets its pixel under w[kh, kw]."""
    KH, KW = entries.shape
    OH, OW = IH - KH + 1, IW - KW + 1
    M = np.zeros((OH * OW, IH * IW), entries.dtype)
    for oh, ow, kh, kw in np.ndindex(OH, OW, KH, KW):
        ih, iw = oh + kh, ow + kw
        M[oh * OW + ow, ih * IW + iw] = entries[kh, kw]  # row after row in one line: outputs, and pixels
    return M


number = matrix(np.arange(1, 10).reshape(3, 3), 4, 4)  # which weight stands where, 1 to 9; 0: a forced zero
M = matrix(w, 4, 4)
print("\n".join(" ".join(".abcdefghi"[n] for n in row) for row in number))
print(f"{M.size} entries, {np.count_nonzero(number)} not forced to be 0: {number.max()} numbers\n\nM\n{M}\n")

y = (M @ x.ravel()).reshape(2, 2)
dM = np.outer(dy, x) + 0.0  # the dense rule, for all 64 entries; + 0.0 makes 0 of -0
dw = np.array([[dM[number == 3 * kh + kw + 1].sum() for kw in range(3)] for kh in range(3)])  # the two rules
dx = (M.T @ dy.ravel()).reshape(4, 4)
print(f"y\n{y}\n\ndM\n{dM}\n\nda = sum of {dM[number == 1]} = {dw[0, 0]:g}\n\ndw\n{dw}\n\ndx\n{dx}\n")

order = np.random.default_rng(7).permutation(x.size)  # the same pixels in another order
shuffled = (M[:, order] @ x.ravel()[order]).reshape(2, 2)  # a dense layer learns this matrix as well as M
image = np.zeros((5, 7))
image[1:3, 1:3] = [[1, 2], [3, 1]]
shifted = np.roll(image, 1, axis=1)
map_, shifted_map = ((matrix(w, 5, 7) @ a.ravel()).reshape(3, 5) for a in (image, shifted))
print(f"the map of a blob\n{map_}\nand of the blob, one column further right\n{shifted_map}\n")

x4, w4, dy4 = x[None, None], w[None, None], dy[None, None]  # ops take (N, C, H, W)
for claim, one, other in (
    ("y, and ops.conv2d", y, ops.conv2d(x4, w4)),
    ("dw, and ops.conv2d_weight_grad", dw, ops.conv2d_weight_grad(x4, dy4, 3)),
    ("dx, and ops.conv2d_input_grad", dx, ops.conv2d_input_grad(dy4, w4, x4.shape)),
    ("y, and y of shuffled pixels by shuffled columns", y, shuffled),
    ("the shifted image's map, and the shifted map", shifted_map[:, 1:], map_[:, :-1]),
):
    print(f"{claim}: largest difference {abs(one - other).max():.1g}")
