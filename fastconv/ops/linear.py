"""Fully connected layers: a 1x1 convolution on images of one pixel, on the same kernels; no BLAS, no second pool of threads."""

import numpy as np

from fastconv.geometry import bind
from fastconv.ops.convolution import check_out, conv1d, conv1d_input_grad, conv1d_weight_grad
from fastconv.ops.operands import floats


def linear(x, w, b=None) -> np.ndarray:
    """y[n,o] = b[o] + sum over i of x[n,i] * w[o,i]. x: (N, I), w: (O, I), b: (O,) or None. Returns (N, O)."""
    x, w, b = floats("linear", x=x, w=w, b=b)
    operands = {"x": (x.shape, "N I"), "w": (w.shape, "O I")} | ({} if b is None else {"b": (b.shape, "O")})
    bind("linear", **operands)
    return conv1d(x[:, :, None], w[:, :, None], b)[:, :, 0]


def linear_input_grad(dy, w) -> np.ndarray:
    """dx[n,i] = sum over o of dy[n,o] * w[o,i]. dy: (N, O), w: (O, I). Returns (N, I)."""
    dy, w = floats("linear_input_grad", dy=dy, w=w)
    bind("linear_input_grad", dy=(dy.shape, "N O"), w=(w.shape, "O I"))
    return conv1d_input_grad(dy[:, :, None], w[:, :, None], (len(dy), w.shape[1], 1))[:, :, 0]


def linear_weight_grad(x, dy, *, out=None, accumulate=False, return_bias_grad=False):
    """dw[o,i] = sum over n of x[n,i] * dy[n,o]. x: (N, I), dy: (N, O). Returns (O, I), or (dw, db); `out` as in `conv2d_weight_grad`."""
    x, dy = floats("linear_weight_grad", x=x, dy=dy)
    bind("linear_weight_grad", x=(x.shape, "N I"), dy=(dy.shape, "N O"))
    check_out("linear_weight_grad", out, (dy.shape[1], x.shape[1]), x, dy)
    target = None if out is None else out[:, :, None]
    result = conv1d_weight_grad(x[:, :, None], dy[:, :, None], 1, out=target, accumulate=accumulate, return_bias_grad=return_bias_grad)
    dw, db = result if return_bias_grad else (result, None)
    dw = dw[:, :, 0] if out is None else out
    return (dw, db) if return_bias_grad else dw
