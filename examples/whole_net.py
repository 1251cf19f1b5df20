"""How does the error get from the loss back into the filters of a net? One training step by hand.

Each layer takes the gradient at its output, computes from it those of its own weights and that at its input,
and hands the latter to the layer before. Then every weight of every layer steps against its own gradient.

    python examples/whole_net.py
    python -m fastconv explain whole-net        the long version
"""

import numpy as np

from fastconv import layers, lessons, losses

(x, labels), net = lessons.whole_net.batch(), layers.Sequential(*lessons.whole_net.net())  # 32 digits of 8x8
start = [p.value for p in net.parameters()]  # the lesson's random weights; the net is asked again at the end


def conv(x, w):
    """y[n, oc, oh, ow] = sum over ic, kh, kw of x[n, ic, oh - 1 + kh, ow - 1 + kw] * w[oc, ic, kh, kw]"""
    x, (KH, KW) = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), w.shape[2:]
    places, w = range(x.shape[2] - KH + 1), w.reshape(len(w), -1).T  # a square: as many rows as columns
    y = [[x[:, :, oh : oh + KH, ow : ow + KW].reshape(len(x), -1) @ w for ow in places] for oh in places]
    return np.transpose(y, (2, 3, 0, 1))


def forward_and_back(w1, b1, w2, b2, w3, b3):
    y1 = conv(x, w1) + b1[:, None, None]
    r1 = np.maximum(y1, 0)
    cells = r1.reshape(32, 4, 4, 2, 4, 2).swapaxes(3, 4).reshape(32, 4, 4, 4, 4)  # the 4 of each square last
    q1 = cells.max(axis=-1)
    y2 = conv(q1, w2) + b2[:, None, None]
    flat = np.maximum(y2, 0).reshape(32, 128)
    scores = flat @ w3.T + b3
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)  # softmax
    d_scores = (p - np.eye(10)[labels]) / 32  # and now from the last step to the first
    d_flat = d_scores @ w3
    d_y2 = np.where(y2 > 0, d_flat.reshape(y2.shape), 0)  # maps again; ReLU lets through what was > 0
    d_q1 = conv(d_y2, w2[:, :, ::-1, ::-1].swapaxes(0, 1))  # the turned filters, from output to input maps
    largest = cells.argmax(axis=-1)[..., None] == np.arange(4)  # one of each square's 4; the first of a tie
    d_r1 = (largest * d_q1[..., None]).reshape(32, 4, 4, 4, 2, 2).swapaxes(3, 4).reshape(r1.shape)
    d_y1 = np.where(y1 > 0, d_r1, 0)
    d_x = conv(d_y1, w1[:, :, ::-1, ::-1].swapaxes(0, 1))  # and for dw, next, it is dy that slides over x
    dw1, dw2 = (conv(a.swapaxes(0, 1), dy.swapaxes(0, 1)).swapaxes(0, 1) for a, dy in ((x, d_y1), (q1, d_y2)))
    gradients = dw1, d_y1.sum((0, 2, 3)), dw2, d_y2.sum((0, 2, 3)), d_scores.T @ flat, d_scores.sum(0)
    stations = (x, d_x), (y1, d_y1), (r1, d_r1), (q1, d_q1), (y2, d_y2), (flat, d_flat), (scores, d_scores)
    return -np.log(p[range(32), labels]).mean(), stations, gradients


loss_before, stations, gradients = forward_and_back(*start)
for name, (a, da) in zip(("image", "conv 1", "relu 1", "pool", "conv 2", "flat", "scores"), stations):
    print(f"{name:7} norm {np.linalg.norm(a):8.4f}, of its gradient {np.linalg.norm(da):.4f}")
print("norms of dw1 db1 dw2 db2 dw3 db3:", *(f"{np.linalg.norm(gradient):.4f}" for gradient in gradients))
after = [w - 0.1 * dw for w, dw in zip(start, gradients)]
print("first filter, before and after", start[0][0, 0].round(4), after[0][0, 0].round(4), sep="\n")
print(f"loss before {loss_before:.4f}, after {forward_and_back(*after)[0]:.4f}")
scores, backward = net.forward(x)
backward(losses.cross_entropy(scores, labels)[1])
apart = max(abs(gradient - p.grad).max() for gradient, p in zip(gradients, net.parameters()))
print(f"all gradients, and those of the layers: largest difference {apart:.1g}")
