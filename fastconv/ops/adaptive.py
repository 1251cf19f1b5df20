"""Max and average pooling to a given output size, and their gradients, in 1, 2 and 3 dimensions.

`output_size`: an int, or one per dimension. Output o of an axis reads the inputs floor(o * I / O) .. ceil((o + 1) * I / O) of it: windows of I / O
cells, side by side, where O divides I; else some overlap, and their sizes differ by one. O may also be larger than I.
"""

import math
import sys

import numpy as np

from fastconv.geometry import Shares, along, average_divisors, bind, share_taps, spatial
from fastconv.kernels import table
from fastconv.ops import passes, pooling
from fastconv.ops.operands import floats, no_mask, shape_tuple
from fastconv.ops.passes import Pooling


def adaptive_max_pool2d(x, output_size) -> tuple[np.ndarray, np.ndarray]:
    """The largest value of each window, and which tap of it that was.

    x: (N, C, IH, IW) float32 or float64. Returns y: (N, C, OH, OW) and argmax alike in the smallest unsigned type that holds it: kh * KW + kw,
    KW the widest window. The first tap wins a tie; NaN wins, the first NaN stays.
    """
    return max_pool("adaptive_max_pool2d", 2, x, output_size)


def adaptive_max_pool2d_grad(dy, argmax, input_shape) -> np.ndarray:
    """Each output's gradient goes to the one input that was its maximum; an input that won several windows gets their sum.

    dy, argmax: (N, C, OH, OW) as `adaptive_max_pool2d` gave them, input_shape: (N, C, IH, IW). Returns dx of that shape.
    The argmax is checked: its dtype, shape, and that each tap lies in its window.
    """
    return max_pool_grad("adaptive_max_pool2d_grad", 2, dy, argmax, input_shape)


def adaptive_avg_pool2d(x, output_size) -> np.ndarray:
    """The mean of each window. x: (N, C, IH, IW) float32 or float64. Returns (N, C, OH, OW)."""
    return avg_pool("adaptive_avg_pool2d", 2, x, output_size)


def adaptive_avg_pool2d_grad(dy, input_shape) -> np.ndarray:
    """Each output's gradient is spread evenly over its window. dy: (N, C, OH, OW), input_shape: (N, C, IH, IW). Returns dx."""
    return avg_pool_grad("adaptive_avg_pool2d_grad", 2, dy, input_shape)


def adaptive_max_pool1d(x, output_size) -> tuple[np.ndarray, np.ndarray]:
    """As `adaptive_max_pool2d` with x: (N, C, IW); argmax = kw."""
    return max_pool("adaptive_max_pool1d", 1, x, output_size)


def adaptive_max_pool1d_grad(dy, argmax, input_shape) -> np.ndarray:
    """As `adaptive_max_pool2d_grad` with dy: (N, C, OW)."""
    return max_pool_grad("adaptive_max_pool1d_grad", 1, dy, argmax, input_shape)


def adaptive_avg_pool1d(x, output_size) -> np.ndarray:
    """As `adaptive_avg_pool2d` with x: (N, C, IW)."""
    return avg_pool("adaptive_avg_pool1d", 1, x, output_size)


def adaptive_avg_pool1d_grad(dy, input_shape) -> np.ndarray:
    """As `adaptive_avg_pool2d_grad` with dy: (N, C, OW)."""
    return avg_pool_grad("adaptive_avg_pool1d_grad", 1, dy, input_shape)


def adaptive_max_pool3d(x, output_size) -> tuple[np.ndarray, np.ndarray]:
    """As `adaptive_max_pool2d` with x: (N, C, ID, IH, IW); argmax = (kd * KH + kh) * KW + kw."""
    return max_pool("adaptive_max_pool3d", 3, x, output_size)


def adaptive_max_pool3d_grad(dy, argmax, input_shape) -> np.ndarray:
    """As `adaptive_max_pool2d_grad` with dy: (N, C, OD, OH, OW)."""
    return max_pool_grad("adaptive_max_pool3d_grad", 3, dy, argmax, input_shape)


def adaptive_avg_pool3d(x, output_size) -> np.ndarray:
    """As `adaptive_avg_pool2d` with x: (N, C, ID, IH, IW)."""
    return avg_pool("adaptive_avg_pool3d", 3, x, output_size)


def adaptive_avg_pool3d_grad(dy, input_shape) -> np.ndarray:
    """As `adaptive_avg_pool2d_grad` with dy: (N, C, OD, OH, OW)."""
    return avg_pool_grad("adaptive_avg_pool3d_grad", 3, dy, input_shape)


def output_shape(op: str, rank: int, x_shape: tuple[int, ...], output_size) -> tuple[int, ...]:
    """The output's shape; ValueError where x or the size does not fit, or the output would have too many elements."""
    dims = bind(op, x=(x_shape, pooling.AXES[rank]))
    shape = (dims["N"], dims["C"], *spatial(op, "output_size", output_size, rank))
    if math.prod(shape) * 8 > sys.maxsize:  # bytes of float64
        raise ValueError(f"{op}: the output {shape} has more elements than this machine can address")
    return shape


def _shares(x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> Shares:
    ones = (1,) * (5 - len(x_shape))
    return Shares((*ones, *x_shape[2:]), (*ones, *y_shape[2:]), *x_shape[:2])


def bound(op: str, rank: int, x_shape: tuple[int, ...], output_size, dtype: np.dtype) -> tuple[Pooling, tuple]:
    """The passes, and what sums are divided by where windows are those of an ordinary pooling."""
    return _passes(op, rank, x_shape, output_shape(op, rank, x_shape, output_size), dtype)


def _passes(op: str, rank: int, x_shape: tuple[int, ...], y_shape: tuple[int, ...], dtype: np.dtype) -> tuple[Pooling, tuple]:
    shares = _shares(x_shape, y_shape)
    if shares.even:
        g = pooling.geometry(op, rank, x_shape, _windows(x_shape, y_shape), None, 0, 1, False)
        return pooling.bound(g, dtype), (average_divisors(g, True, None),)
    return passes.pooling(shares, (x_shape, y_shape), dtype, table.chosen.get()), ()


def _windows(x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Kernel and stride of the ordinary pooling that an even one is."""
    return tuple(I // O for I, O in zip(x_shape[2:], y_shape[2:]))


def _backward(op: str, rank: int, dy, input_shape) -> tuple[np.ndarray, tuple[int, ...], Shares]:
    """dy, x's shape, and the windows that lead from one to the other."""
    (dy,) = floats(op, dy=dy)
    x_shape = shape_tuple(op, "input_shape", input_shape, pooling.AXES[rank])
    bind(op, dy=(dy.shape, pooling.AXES[rank].replace("I", "O")), input=(x_shape, pooling.AXES[rank]))
    return dy, x_shape, _shares(x_shape, dy.shape)


def max_pool(op: str, rank: int, x, output_size) -> tuple[np.ndarray, np.ndarray]:
    (x,) = floats(op, x=x)
    return pooling.largest(bound(op, rank, x.shape, output_size, x.dtype)[0], x)


def max_pool_grad(op: str, rank: int, dy, argmax, input_shape) -> np.ndarray:
    dy, x_shape, shares = _backward(op, rank, dy, input_shape)
    if shares.even:
        return pooling.max_pool_grad(op, rank, dy, argmax, x_shape, _windows(x_shape, dy.shape), None, 0, 1, False)
    _check_argmax(op, argmax, dy.shape, shares)
    own, _ = _passes(op, rank, x_shape, dy.shape, dy.dtype)
    return own.max_grad(dy, own.argmax.flat(argmax))


def checked_taps(op: str, argmax, x_shape: tuple[int, ...]) -> tuple[Shares, list[np.ndarray]]:
    """The windows of an argmax, and its taps along each axis."""
    if not isinstance(argmax, np.ndarray):
        raise TypeError(f"{op}: argmax must be an array, as adaptive max pooling gives it, got {type(argmax).__name__}")
    axes = pooling.AXES[len(x_shape) - 2]
    bind(op, argmax=(argmax.shape, axes.replace("I", "O")), input=(x_shape, axes))
    shares = _shares(x_shape, argmax.shape)
    _check_argmax(op, argmax, argmax.shape, shares)
    return shares, share_taps(shares, _five_axes(argmax))


def _argmax_dtype(shares: Shares) -> np.dtype:
    return np.min_scalar_type(math.prod(shares.kernel) - 1)


def _five_axes(a: np.ndarray) -> np.ndarray:
    """(N, C, spatial...) as (N, C, D, H, W)"""
    return a.reshape(*a.shape[:2], *(1,) * (5 - a.ndim), *a.shape[2:])


def _check_argmax(op: str, argmax, shape: tuple[int, ...], shares: Shares) -> None:
    dtype = _argmax_dtype(shares)
    no_mask(op, "argmax", argmax)
    if not isinstance(argmax, np.ndarray) or argmax.dtype != dtype:
        raise TypeError(f"{op}: argmax must be a {dtype} array, got {getattr(argmax, 'dtype', type(argmax).__name__)}")
    if argmax.shape != shape:
        raise ValueError(f"{op}: argmax{argmax.shape} must have the output's shape, {shape}")
    taps = share_taps(shares, _five_axes(argmax))
    inside = np.logical_and.reduce([tap < along(axis, end - start) for axis, (tap, (start, end)) in enumerate(zip(taps, shares.spans()))])
    if not inside.all():
        where = tuple(int(i) for i in np.argwhere(~inside)[0])
        tap = argmax.reshape(inside.shape)[where]
        raise ValueError(f"{op}: argmax names tap {tap} at {where} as (N, C, OD, OH, OW), which is outside its window")


def avg_pool(op: str, rank: int, x, output_size) -> np.ndarray:
    (x,) = floats(op, x=x)
    found, divisors = bound(op, rank, x.shape, output_size, x.dtype)
    return found.mean(x, *divisors)


def avg_pool_grad(op: str, rank: int, dy, input_shape) -> np.ndarray:
    dy, x_shape, _ = _backward(op, rank, dy, input_shape)
    found, divisors = _passes(op, rank, x_shape, dy.shape, dy.dtype)
    return found.mean_grad(dy, *divisors)
