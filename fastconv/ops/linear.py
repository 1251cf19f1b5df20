"""Fully connected layers: a 1x1 convolution on images of one pixel, on the same kernels; no BLAS, no second pool of threads."""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.geometry import Geometry, bind
from fastconv.kernels import table
from fastconv.ops.convolution import check_out, check_result, into
from fastconv.ops.operands import dense, floats
from fastconv.ops.passes import Convolution, convolution


def linear(x, w, b=None) -> np.ndarray:
    """y[n,o] = b[o] + sum over i of x[n,i] * w[o,i]. x: (N, I), w: (O, I), b: (O,) or None. Returns (N, O)."""
    x, w, b = floats("linear", x=x, w=w, b=b)
    operands = {"x": (x.shape, "N I"), "w": (w.shape, "O I")} | ({} if b is None else {"b": (b.shape, "O")})
    bind("linear", **operands)
    passes = linear_passes(x, len(w))
    return passes.forward(x, passes.w.flat(w), None if b is None else dense(b))


def linear_input_grad(dy, w) -> np.ndarray:
    """dx[n,i] = sum over o of dy[n,o] * w[o,i]. dy: (N, O), w: (O, I). Returns (N, I)."""
    dy, w = floats("linear_input_grad", dy=dy, w=w)
    bind("linear_input_grad", dy=(dy.shape, "N O"), w=(w.shape, "O I"))
    passes = convolution(linear_geometry(len(dy), w.shape[1], len(w)), dy.dtype, table.chosen.get())
    return passes.input_grad(dy, passes.w.flat(w))


def linear_weight_grad(x, dy, *, out=None, accumulate=False, return_bias_grad=False) -> Any:
    """dw[o,i] = sum over n of x[n,i] * dy[n,o]. x: (N, I), dy: (N, O). Returns (O, I), or (dw, db); `out` as in `conv2d_weight_grad`."""
    x, dy = floats("linear_weight_grad", x=x, dy=dy)
    check_result("linear_weight_grad", out, accumulate, return_bias_grad)
    bind("linear_weight_grad", x=(x.shape, "N I"), dy=(dy.shape, "N O"))
    check_out("linear_weight_grad", out, (dy.shape[1], x.shape[1]), x, dy)
    passes = linear_passes(x, dy.shape[1])
    db = np.empty(dy.shape[1], dy.dtype) if return_bias_grad else None
    dw = into(passes.w, out, accumulate, lambda memory, adding: passes.weight_grad(x, dy, memory, db, adding))
    return (dw, db) if return_bias_grad else dw


def linear_passes(x: np.ndarray, O: int) -> Convolution:
    """The passes for an input x: (N, I) and O outputs."""
    return convolution(linear_geometry(*x.shape, O), x.dtype, table.chosen.get())


@lru_cache(1024)
def linear_geometry(N: int, I: int, O: int) -> Geometry:
    """As a convolution of images without extent, rank 0: one pixel, one tap."""
    one = (1, 1, 1)
    return Geometry(N, I, *one, O, *one, *one, *one, *(0,) * 6, *one, 1, 0)
