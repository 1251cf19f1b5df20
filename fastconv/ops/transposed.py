"""Transposed convolution and its gradients in 1, 2 and 3 dimensions: a convolution's passes with their roles exchanged.

Take the convolution whose input is y and whose output is x. Its input gradient is the forward pass here, its forward pass the input
gradient, its weight gradient with x and dy exchanged the weight gradient: the same kernels, no zeros inserted.

All take the same six words after their operands: `stride`, `padding`, `dilation` (an int, or one per dimension), `groups`, and
`output_padding` (an int, or one per dimension, smaller than stride or dilation) or `output_size`. `padding` is how many cells of the
output are cut off at its ends: an int, a tuple of one int or (before, after) pair per dimension. Output size:
O = (I - 1) * stride - before - after + dilation * (K - 1) + output_padding + 1;
output_padding makes room for more rows at the end, because a convolution with a stride gives the same I for several O. `output_size`
(an int, one per dimension, or all of y's shape) names that O instead.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.geometry import Geometry, bind, spatial, transposed_geometry
from fastconv.kernels import table
from fastconv.ops.convolution import check_dy, check_out, check_result, conv_words, extents, into, spatial_axes, sum_dy
from fastconv.ops.operands import dense, floats, shape_tuple
from fastconv.ops.passes import Convolution, add_row, convolution


def conv_transpose2d(x, w, b=None, *, stride=1, padding=0, output_padding=0, output_size=None, groups=1, dilation=1) -> np.ndarray:
    """Scatter each input pixel over the output with the filter, as PyTorch's `conv_transpose2d`: the input gradient of a `conv2d`.

    y[n,oc,oh,ow] = b[oc] + sum over ic,kh,kw and the ih,iw with oh = ih*SH - PH + kh*DH (ow alike) of x[n,ic,ih,iw] * w[ic,oc,kh,kw]

    x: (N, IC, IH, IW), w: (IC, OC/groups, KH, KW), b: (OC,) or None. Returns y: (N, OC, OH, OW) with
    OH = (IH - 1) * SH - before - after + DH * (KH - 1) + output_padding + 1. Output group i sees input group i only.
    TypeError for dtypes other than float32 or float64 throughout, ValueError for shapes and values.
    """
    return forward("conv_transpose2d", 2, x, w, b, stride, padding, output_padding, output_size, groups, dilation)


def conv_transpose2d_input_grad(dy, w, input_shape, *, stride=1, padding=0, output_padding=0, output_size=None, groups=1, dilation=1) -> np.ndarray:
    """The gradient of the input: the `conv2d` of dy with w.

    dx[n,ic,ih,iw] = sum over oc,kh,kw of dy[n, oc, ih*SH - PH + kh*DH, iw*SW - PW + kw*DW] * w[ic,oc,kh,kw]

    dy: (N, OC, OH, OW), w: (IC, OC/groups, KH, KW), input_shape: (N, IC, IH, IW). Returns dx of that shape. Errors as `conv_transpose2d`.
    """
    return input_grad("conv_transpose2d_input_grad", 2, dy, w, input_shape, stride, padding, output_padding, output_size, groups, dilation)


def conv_transpose2d_weight_grad(
    x, dy, kernel_size, *, stride=1, padding=0, output_padding=0, output_size=None, groups=1, dilation=1,
    out=None, accumulate=False, return_bias_grad=False,
) -> Any:  # fmt: skip
    """The gradient of the weights: a cross-correlation of dy with the input.

    dw[ic,oc,kh,kw] = sum over n,ih,iw of dy[n, oc, ih*SH - PH + kh*DH, iw*SW - PW + kw*DW] * x[n,ic,ih,iw]

    x: (N, IC, IH, IW), dy: (N, OC, OH, OW), kernel_size: an int or (KH, KW). Returns dw: (IC, OC/groups, KH, KW), or (dw, db) if
    return_bias_grad. `out` takes the result (added to what it holds if accumulate, which needs an `out`); it must not overlap x or dy. Errors as
    `conv_transpose2d`.
    """
    options = stride, padding, output_padding, output_size, groups, dilation
    return weight_grad("conv_transpose2d_weight_grad", 2, {"x": x, "dy": dy}, kernel_size, options, out, accumulate, return_bias_grad)


def conv_transpose1d(x, w, b=None, *, stride=1, padding=0, output_padding=0, output_size=None, groups=1, dilation=1) -> np.ndarray:
    """As `conv_transpose2d` with x: (N, IC, IW), w: (IC, OC/groups, KW). Returns (N, OC, OW)."""
    return forward("conv_transpose1d", 1, x, w, b, stride, padding, output_padding, output_size, groups, dilation)


def conv_transpose1d_input_grad(dy, w, input_shape, *, stride=1, padding=0, output_padding=0, output_size=None, groups=1, dilation=1) -> np.ndarray:
    """As `conv_transpose2d_input_grad` with dy: (N, OC, OW), w: (IC, OC/groups, KW), input_shape: (N, IC, IW)."""
    return input_grad("conv_transpose1d_input_grad", 1, dy, w, input_shape, stride, padding, output_padding, output_size, groups, dilation)


def conv_transpose1d_weight_grad(
    x, dy, kernel_size, *, stride=1, padding=0, output_padding=0, output_size=None, groups=1, dilation=1,
    out=None, accumulate=False, return_bias_grad=False,
) -> Any:  # fmt: skip
    """As `conv_transpose2d_weight_grad` with x: (N, IC, IW), dy: (N, OC, OW). Returns (IC, OC/groups, KW)."""
    options = stride, padding, output_padding, output_size, groups, dilation
    return weight_grad("conv_transpose1d_weight_grad", 1, {"x": x, "dy": dy}, kernel_size, options, out, accumulate, return_bias_grad)


def conv_transpose3d(x, w, b=None, *, stride=1, padding=0, output_padding=0, output_size=None, groups=1, dilation=1) -> np.ndarray:
    """As `conv_transpose2d` with x: (N, IC, ID, IH, IW), w: (IC, OC/groups, KD, KH, KW). Returns (N, OC, OD, OH, OW)."""
    return forward("conv_transpose3d", 3, x, w, b, stride, padding, output_padding, output_size, groups, dilation)


def conv_transpose3d_input_grad(dy, w, input_shape, *, stride=1, padding=0, output_padding=0, output_size=None, groups=1, dilation=1) -> np.ndarray:
    """As `conv_transpose2d_input_grad` with dy: (N, OC, OD, OH, OW), w: (IC, OC/groups, KD, KH, KW), input_shape: (N, IC, ID, IH, IW)."""
    return input_grad("conv_transpose3d_input_grad", 3, dy, w, input_shape, stride, padding, output_padding, output_size, groups, dilation)


def conv_transpose3d_weight_grad(
    x, dy, kernel_size, *, stride=1, padding=0, output_padding=0, output_size=None, groups=1, dilation=1,
    out=None, accumulate=False, return_bias_grad=False,
) -> Any:  # fmt: skip
    """As `conv_transpose2d_weight_grad` with x: (N, IC, ID, IH, IW), dy: (N, OC, OD, OH, OW). Returns (IC, OC/groups, KD, KH, KW)."""
    options = stride, padding, output_padding, output_size, groups, dilation
    return weight_grad("conv_transpose3d_weight_grad", 3, {"x": x, "dy": dy}, kernel_size, options, out, accumulate, return_bias_grad)


def checked_options(op, rank, stride, padding, output_padding, output_size, groups, dilation) -> tuple:
    """Checked and hashable, in the order of `_plan`."""
    stride, padding, dilation, groups, _ = conv_words(op, rank, stride, padding, dilation, groups)
    output_padding = spatial(op, "output_padding", output_padding, rank, least=0)
    if output_size is not None:
        if isinstance(output_size, (tuple, list)) and len(output_size) == rank + 2:
            output_size = output_size[2:]
        output_size = spatial(op, "output_size", output_size, rank)
    return stride, padding, output_padding, output_size, dilation, groups


@lru_cache(maxsize=1024)
def _plan(op, rank, x_shape, w_shape, b_shape, dy_shape, *words) -> Geometry:
    """The geometry of the convolution from y to x. b_shape, dy_shape: None where there is no such operand."""
    operands = {"x": (x_shape, f"N IC {spatial_axes(rank, 'I')}"), "w": (w_shape, f"IC OC/groups {spatial_axes(rank, 'K')}")}
    more = {} if b_shape is None else {"b": (b_shape, "OC")}
    dims = bind(op, words[-1], **operands, **more)
    OC = w_shape[1] * words[-1]
    g = transposed_geometry(op, dims["N"], dims["IC"], OC, extents(dims, rank, "I"), extents(dims, rank, "K"), *words)
    if dy_shape is not None:
        check_dy(op, rank, dy_shape, g.input_shape, operands)
    return g


def transposed_passes(op, rank, dtype, shapes, *words) -> Convolution:
    """The passes of the convolution from y to x. shapes: of x, w, b, dy; None where there is no such operand."""
    return convolution(_plan(op, rank, *shapes, *words), dtype, table.chosen.get())


def add_bias(y: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    """y + b, in place: the input gradient's kernels know no bias. y: as they return it."""
    if b is not None and y.size:
        add_row(y.size // len(b), len(b), y.dtype)(b, y.ravel("K"))
    return y


def forward(op, rank, x, w, b, *options):
    x, w, b = floats(op, x=x, w=w, b=b)
    c = transposed_passes(op, rank, x.dtype, (x.shape, w.shape, None if b is None else b.shape, None), *checked_options(op, rank, *options))
    return add_bias(c.input_grad(x, c.w.flat(w)), None if b is None else dense(b))


def input_grad(op, rank, dy, w, input_shape, *options):
    dy, w = floats(op, dy=dy, w=w)
    words = checked_options(op, rank, *options)
    x_shape = shape_tuple(op, "input_shape", input_shape, f"N IC {spatial_axes(rank, 'I')}")
    c = transposed_passes(op, rank, dy.dtype, (x_shape, w.shape, None, dy.shape), *words)
    return c.forward(dy, c.w.flat(w), None)


def weight_grad(op, rank, operands, kernel_size, options, out, accumulate, return_bias_grad):
    x, dy = floats(op, **operands)
    check_result(op, out, accumulate, return_bias_grad)
    words = checked_options(op, rank, *options)
    kernel, groups = spatial(op, "kernel_size", kernel_size, rank), words[-1]
    bind(op, groups, x=(x.shape, f"N IC {spatial_axes(rank, 'I')}"), dy=(dy.shape, f"N OC {spatial_axes(rank, 'O')}"))
    w_shape = (x.shape[1], dy.shape[1] // groups, *kernel)
    c = transposed_passes(op, rank, x.dtype, (x.shape, w_shape, None, dy.shape), *words)
    check_out(op, out, w_shape, x, dy)
    dw = into(c.w, out, accumulate, lambda memory, adding: c.weight_grad(dy, x, memory, None, adding))
    if not return_bias_grad:
        return dw
    db = np.zeros(dy.shape[1], dy.dtype)
    sum_dy(dy, db)
    return dw, db
