"""Max and average pooling and their gradients in 1, 2 and 3 dimensions.

Options: `kernel_size`, `stride` (None: the kernel size), `dilation`: an int, or one per dimension; `ceil_mode` keeps a last window that hangs over
the end. `padding` (cells that never win and count as 0; less than a window): an int, a tuple of one int or (before, after) pair per dimension,
"valid" (none), "same" (ceil(I / stride) outputs, by the smallest padding that gives them, the odd cell at the end) or, in 1-D, "causal" (all
before). Output size: O = floor((I + before + after - dilation * (K - 1) - 1) / stride) + 1, or ceil.
"""

from functools import lru_cache

import numpy as np

from fastconv.geometry import Geometry, average_divisors, bind, flag, integer, pool_geometry, pool_words, reads
from fastconv.kernels import table
from fastconv.ops.operands import floats, no_mask, shape_tuple
from fastconv.ops.passes import Pooling, pooling

AXES = {1: "N C IW", 2: "N C IH IW", 3: "N C ID IH IW"}


def max_pool2d(x, kernel_size, *, stride=None, padding=0, dilation=1, ceil_mode=False) -> tuple[np.ndarray, np.ndarray]:
    """The largest value of each window, and which tap it was.

    y[n,c,oh,ow] = max over kh,kw of x[n, c, oh*SH - PH + kh*DH, ow*SW - PW + kw*DW];  argmax[n,c,oh,ow] = kh * KW + kw

    x: (N, C, IH, IW) float32 or float64. Returns y: (N, C, OH, OW) and argmax alike in the smallest unsigned type that holds it.
    The first tap wins a tie; NaN wins, the first NaN stays; padding never wins. ValueError where a window could hold no cell.
    """
    return max_pool("max_pool2d", 2, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d_grad(dy, argmax, input_shape, kernel_size, *, stride=None, padding=0, dilation=1, ceil_mode=False) -> np.ndarray:
    """Each output's gradient goes to the one input that was its maximum; an input that won several windows gets their sum.

    dy, argmax: (N, C, OH, OW) as `max_pool2d` gave them, input_shape: (N, C, IH, IW). Returns dx of that shape.
    The argmax is checked: its dtype, shape, and that each tap lies in its window and not in the padding.
    """
    return max_pool_grad("max_pool2d_grad", 2, dy, argmax, input_shape, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool2d(x, kernel_size, *, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, dilation=1) -> np.ndarray:
    """The mean of each window: its sum over kh,kw divided by a count of cells.

    The count: the window's taps inside the padded input (what ceil_mode lets hang over does not count), only those on real cells
    if not count_include_pad, or divisor_override (an int >= 1). x: (N, C, IH, IW). Returns (N, C, OH, OW).
    """
    return avg_pool("avg_pool2d", 2, x, kernel_size, stride, padding, dilation, ceil_mode, count_include_pad, divisor_override)


def avg_pool2d_grad(
    dy, input_shape, kernel_size, *, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, dilation=1
) -> np.ndarray:
    """Each output's gradient is spread evenly over its window. dy: (N, C, OH, OW), input_shape: (N, C, IH, IW). Returns dx."""
    return avg_pool_grad(
        "avg_pool2d_grad", 2, dy, input_shape, kernel_size, stride, padding, dilation, ceil_mode, count_include_pad, divisor_override
    )


def max_pool1d(x, kernel_size, *, stride=None, padding=0, dilation=1, ceil_mode=False) -> tuple[np.ndarray, np.ndarray]:
    """As `max_pool2d` with x: (N, C, IW); argmax = kw."""
    return max_pool("max_pool1d", 1, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool1d_grad(dy, argmax, input_shape, kernel_size, *, stride=None, padding=0, dilation=1, ceil_mode=False) -> np.ndarray:
    """As `max_pool2d_grad` with dy: (N, C, OW)."""
    return max_pool_grad("max_pool1d_grad", 1, dy, argmax, input_shape, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool1d(x, kernel_size, *, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, dilation=1) -> np.ndarray:
    """As `avg_pool2d` with x: (N, C, IW)."""
    return avg_pool("avg_pool1d", 1, x, kernel_size, stride, padding, dilation, ceil_mode, count_include_pad, divisor_override)


def avg_pool1d_grad(
    dy, input_shape, kernel_size, *, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, dilation=1
) -> np.ndarray:
    """As `avg_pool2d_grad` with dy: (N, C, OW)."""
    return avg_pool_grad(
        "avg_pool1d_grad", 1, dy, input_shape, kernel_size, stride, padding, dilation, ceil_mode, count_include_pad, divisor_override
    )


def max_pool3d(x, kernel_size, *, stride=None, padding=0, dilation=1, ceil_mode=False) -> tuple[np.ndarray, np.ndarray]:
    """As `max_pool2d` with x: (N, C, ID, IH, IW); argmax = (kd * KH + kh) * KW + kw."""
    return max_pool("max_pool3d", 3, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool3d_grad(dy, argmax, input_shape, kernel_size, *, stride=None, padding=0, dilation=1, ceil_mode=False) -> np.ndarray:
    """As `max_pool2d_grad` with dy: (N, C, OD, OH, OW)."""
    return max_pool_grad("max_pool3d_grad", 3, dy, argmax, input_shape, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool3d(x, kernel_size, *, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, dilation=1) -> np.ndarray:
    """As `avg_pool2d` with x: (N, C, ID, IH, IW)."""
    return avg_pool("avg_pool3d", 3, x, kernel_size, stride, padding, dilation, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d_grad(
    dy, input_shape, kernel_size, *, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, dilation=1
) -> np.ndarray:
    """As `avg_pool2d_grad` with dy: (N, C, OD, OH, OW)."""
    return avg_pool_grad(
        "avg_pool3d_grad", 3, dy, input_shape, kernel_size, stride, padding, dilation, ceil_mode, count_include_pad, divisor_override
    )


@lru_cache(maxsize=1024)
def _plan(op, rank, x_shape, kernel, stride, padding, dilation, ceil_mode) -> Geometry:
    dims = bind(op, x=(x_shape, AXES[rank]))
    return pool_geometry(op, dims["N"], dims["C"], x_shape[2:], kernel, stride, padding, dilation, ceil_mode)


def geometry(op, rank, x_shape, kernel_size, stride, padding, dilation, ceil_mode) -> Geometry:
    """Words checked and hashable first, so that True or 1.0 cannot pass for a cached 1."""
    ceil_mode = flag(op, "ceil_mode", ceil_mode)
    return _plan(op, rank, x_shape, *pool_words(op, rank, kernel_size, stride, padding, dilation), ceil_mode)


def _check_dy(op: str, dy: np.ndarray, g: Geometry) -> None:
    if dy.shape != g.output_shape:
        raise ValueError(f"{op}: dy{dy.shape} does not fit: the forward pass gives {g.output_shape} for the input {g.input_shape}")


def argmax_dtype(g: Geometry) -> np.dtype:
    """The smallest unsigned integer that holds every tap number: one byte up to 256 taps."""
    return np.min_scalar_type(g.taps - 1)


def bound(g: Geometry, dtype: np.dtype) -> Pooling:
    return pooling(g, (g.input_shape, g.output_shape), dtype, table.chosen.get())


def max_pool(op, rank, x, *options):
    (x,) = floats(op, x=x)
    g = geometry(op, rank, x.shape, *options)
    return largest(bound(g, x.dtype), x)


def largest(passes: Pooling, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y and argmax in their public shape"""
    y, taps = passes.max(x)
    return y, passes.argmax.view(taps)


def max_pool_grad(op, rank, dy, argmax, input_shape, *options):
    (dy,) = floats(op, dy=dy)
    x_shape = shape_tuple(op, "input_shape", input_shape, AXES[rank])
    g = geometry(op, rank, x_shape, *options)
    _check_dy(op, dy, g)
    check_argmax(op, argmax, g)
    passes = bound(g, dy.dtype)
    return passes.max_grad(dy, passes.argmax.flat(argmax))


def check_argmax(op: str, argmax, g: Geometry) -> None:
    no_mask(op, "argmax", argmax)
    if not isinstance(argmax, np.ndarray) or argmax.dtype != argmax_dtype(g):
        raise TypeError(f"{op}: argmax must be a {argmax_dtype(g)} array, got {getattr(argmax, 'dtype', type(argmax).__name__)}")
    if argmax.shape != g.output_shape:
        raise ValueError(f"{op}: argmax{argmax.shape} must have the output's shape, {g.output_shape}")
    taps = argmax.reshape(g.N, g.OC, g.OD, g.OH, g.OW).astype(np.int64)
    inside = taps < g.taps
    parts = np.where(inside, taps, 0)
    walk = reads(g)
    for axis, (tap, cells) in enumerate(zip((parts // (g.KH * g.KW), parts // g.KW % g.KH, parts % g.KW), walk)):
        _, start, step, reach = walk.steps[axis]
        position = np.arange(taps.shape[2 + axis]).reshape([-1 if i == 2 + axis else 1 for i in range(5)])
        inside &= cells[start + position * step + tap * reach] >= 0
    if not inside.all():
        where = tuple(int(i) for i in np.argwhere(~inside)[0])
        raise ValueError(f"{op}: argmax names tap {taps[where]} at {where} as (N, C, OD, OH, OW), which is outside its window or in the padding")


def _divisors(op, g: Geometry, count_include_pad, divisor_override) -> np.ndarray:
    count_include_pad = flag(op, "count_include_pad", count_include_pad)
    override = None if divisor_override is None else integer(op, "divisor_override", divisor_override, 1)
    return average_divisors(g, count_include_pad, override)


def avg_pool(op, rank, x, kernel_size, stride, padding, dilation, ceil_mode, *counting):
    (x,) = floats(op, x=x)
    g = geometry(op, rank, x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    divisors = _divisors(op, g, *counting)
    return bound(g, x.dtype).mean(x, divisors)


def avg_pool_grad(op, rank, dy, input_shape, kernel_size, stride, padding, dilation, ceil_mode, *counting):
    (dy,) = floats(op, dy=dy)
    x_shape = shape_tuple(op, "input_shape", input_shape, AXES[rank])
    g = geometry(op, rank, x_shape, kernel_size, stride, padding, dilation, ceil_mode)
    _check_dy(op, dy, g)
    divisors = _divisors(op, g, *counting)
    return bound(g, dy.dtype).mean_grad(dy, divisors)
