"""A convolutional network in plain Python lists, no framework: how the error gets back into the filters.

A fully connected layer is y[o] = b[o] + sum over i of x[i] * w[o][i]. Its error dy[o] (in
many books delta) is the derivative of the loss by y[o]. Then dw[o][i] = dy[o] * x[i], db[o] = dy[o], and
dx[i] = sum over o of dy[o] * w[o][i]: the error of the layer before.

A convolution does the same, but shares. One weight is used at every position of the picture: its gradient is
a sum over positions. One pixel is read by every window that covers it: its error is a sum over windows.

    python examples/cnn_from_scratch.py
"""

import math
import random
from itertools import product


def filled(number, *sizes):  # lists in lists; number() makes each entry, and float() is 0.0
    return [filled(number, *sizes[1:]) for _ in range(sizes[0])] if sizes else number()


def axes(a):  # `for c, h, w in product(*axes(a))` is three nested loops: over all a[c][h][w]
    return [range(len(a)), *axes(a[0])] if isinstance(a, list) else []


def convolve(x, w, b):
    """y[oc][oh][ow] = b[oc] + sum over ic, kh, kw of x[ic][oh + kh][ow + kw] * w[oc][ic][kh][kw]"""
    IH, IW, KH, KW = len(x[0]), len(x[0][0]), len(w[0][0]), len(w[0][0][0])
    y = filled(float, len(w), IH - KH + 1, IW - KW + 1)  # an output for each position where the window fits
    for oc, oh, ow in product(*axes(y)):
        y[oc][oh][ow] = b[oc]
        for ic, kh, kw in product(*axes(w[oc])):  # reads ih = oh + kh, iw = ow + kw
            y[oc][oh][ow] += x[ic][oh + kh][ow + kw] * w[oc][ic][kh][kw]
    return y


def weight_gradient(x, dy, KH, KW):
    """dw[oc][ic][kh][kw] = sum over oh, ow of dy[oc][oh][ow] * x[ic][oh + kh][ow + kw]"""
    dw = filled(float, len(dy), len(x), KH, KW)
    for oc, ic, kh, kw in product(*axes(dw)):
        for oh, ow in product(*axes(dy[oc])):  # a nudge to this weight moves the y of every position
            dw[oc][ic][kh][kw] += dy[oc][oh][ow] * x[ic][oh + kh][ow + kw]
    return dw


def bias_gradient(dy):  # the bias, too, was used at every position
    return [sum(sum(row) for row in rows) for rows in dy]


def input_gradient(dy, w, IH, IW):
    """dx[ic][ih][iw] = sum over oc, kh, kw of dy[oc][ih - kh][iw - kw] * w[oc][ic][kh][kw], 0 outside dy"""
    dx = filled(float, len(w[0]), IH, IW)
    for oc, oh, ow in product(*axes(dy)):  # the loops of convolve: each output hands its error back
        for ic, kh, kw in product(*axes(w[oc])):  # to each pixel that it read, times the weight it used
            dx[ic][oh + kh][ow + kw] += dy[oc][oh][ow] * w[oc][ic][kh][kw]
    return dx


def relu(x):
    return [[[max(value, 0.0) for value in row] for row in rows] for rows in x]


def relu_gradient(dy, y):  # the error passes where the value did; where y is 0, a nudge to x changes nothing
    C, H, W = len(y), len(y[0]), len(y[0][0])
    return [[[dy[c][h][w] if y[c][h][w] > 0 else 0.0 for w in range(W)] for h in range(H)] for c in range(C)]


def max_pool(x):
    """The largest value of each 2x2 window (stride 2), and which pixel that was; the first wins a tie."""
    C, OH, OW = len(x), len(x[0]) // 2, len(x[0][0]) // 2
    y, winner = filled(lambda: -math.inf, C, OH, OW), filled(tuple, C, OH, OW)
    for c, oh, ow in product(*axes(y)):
        for ih, iw in [(oh * 2 + kh, ow * 2 + kw) for kh in range(2) for kw in range(2)]:
            if x[c][ih][iw] > y[c][oh][ow]:
                y[c][oh][ow], winner[c][oh][ow] = x[c][ih][iw], (ih, iw)
    return y, winner


def max_pool_gradient(dy, winner, IH, IW):
    """The winner gets the whole error: a nudge to one of the other three pixels does not change y."""
    dx = filled(float, len(dy), IH, IW)
    for c, oh, ow in product(*axes(dy)):
        ih, iw = winner[c][oh][ow]
        dx[c][ih][iw] = dy[c][oh][ow]
    return dx


def linear(x, w, b):
    return [b[o] + sum(x[i] * w[o][i] for i in range(len(x))) for o in range(len(b))]


def linear_gradients(x, w, dy):
    dx = [sum(dy[o] * w[o][i] for o in range(len(dy))) for i in range(len(x))]
    return dx, [[dy[o] * x[i] for i in range(len(x))] for o in range(len(dy))], dy


def softmax_loss(scores, label):
    """-log(p of the right class), and its derivative by each score: p, less 1 for the right class."""
    powers = [math.exp(score - max(scores)) for score in scores]
    p = [power / sum(powers) for power in powers]
    return -math.log(p[label]), [p[k] - (k == label) for k in range(len(p))]


def forward_and_back(x, label, w1, b1, w2, b2, w3, b3):
    r1 = relu(convolve(x, w1, b1))  # 3 maps of 6x6
    p1, winner = max_pool(r1)  # 3 maps of 3x3
    r2 = relu(convolve(p1, w2, b2))  # 4 maps of 2x2
    flat = [value for rows in r2 for row in rows for value in row]  # 16 numbers
    scores = linear(flat, w3, b3)
    loss, d_scores = softmax_loss(scores, label)
    d_flat, dw3, db3 = linear_gradients(flat, w3, d_scores)  # and now from the last step to the first
    dr2 = [[d_flat[c * 4 + h * 2 : c * 4 + h * 2 + 2] for h in range(2)] for c in range(4)]  # maps again
    dy2 = relu_gradient(dr2, r2)
    dp1, dw2, db2 = input_gradient(dy2, w2, 3, 3), weight_gradient(p1, dy2, 2, 2), bias_gradient(dy2)
    dy1 = relu_gradient(max_pool_gradient(dp1, winner, 6, 6), r1)
    return loss, scores, [weight_gradient(x, dy1, 3, 3), bias_gradient(dy1), dw2, db2, dw3, db3]


def step(w, dw, rate):  # w - rate * dw for every number in the lists: downhill
    return w - rate * dw if isinstance(w, float) else [step(*pair, rate) for pair in zip(w, dw)]


def picture():
    """8x8 pixels of noise with a horizontal bar (label 0), a vertical (1), a diagonal (2) or a cross (3)."""
    x = filled(lambda: random.gauss(0, 0.3), 1, 8, 8)
    label, top, left = random.randrange(4), random.randrange(4), random.randrange(4)
    for i in range(5):
        for h, w in ([(2, i)], [(i, 2)], [(i, i)], [(2, i), (i, 2)])[label]:
            x[0][top + h][left + w] = 1.0
    return x, label


if __name__ == "__main__":
    random.seed(1)
    sizes = (3, 1, 3, 3), (3,), (4, 3, 2, 2), (4,), (4, 16), (4,)
    net = start = [filled(lambda: random.gauss(0, 0.4), *size) for size in sizes]
    for epoch in range(1, 9):
        total, right = 0.0, 0
        for x, label in [picture() for _ in range(400)]:  # all new: each tests the net before training it
            loss, scores, gradients = forward_and_back(x, label, *net)
            net = step(net, gradients, 0.03)
            total, right = total + loss, right + (scores[label] == max(scores))
        print(f"epoch {epoch}: loss {total / 400:.3f}, accuracy on new pictures {right / 4:.1f} %")
    print("\nthe first filter before training, and after:")
    for before, after in zip(start[0][0][0], net[0][0][0]):
        print("".join(f"{w:8.3f}" for w in before), "  ->", "".join(f"{w:8.3f}" for w in after))
    x, label = picture()
    loss, _, gradients = forward_and_back(x, label, *start)
    start[0][0][0][1][1] += 1e-5
    moved, foretold = forward_and_back(x, label, *start)[0] - loss, gradients[0][0][0][1][1] * 1e-5
    print(f"nudging its middle by 1e-5 moved the loss by {moved:+.3e}; the gradient foretold {foretold:+.3e}")
