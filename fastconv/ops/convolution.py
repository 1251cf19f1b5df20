"""Convolution and its three gradients in 1, 2 and 3 dimensions.

All take the same five options after their operands: `stride`, `padding`, `dilation` (an int, or one per dimension), `groups` and
`padding_mode`. `padding` is cells around the input: an int, a tuple of one int or (before, after) pair per dimension, "valid" (none),
"same" (ceil(I / stride) outputs, by the smallest padding that gives them, the odd cell at the end) or, in 1-D, "causal" (dilation * (K - 1) before,
none after: no output sees a later input). `padding_mode` says what these
cells hold: "zeros"; "reflect", the input mirrored at its end cells (at most I - 1 cells of it); "replicate", copies of the end cells; or
"circular", the input's other end (at most I cells). A copied cell's gradients go back to the cell that was copied. Output size:
O = floor((I + before + after - dilation * (K - 1) - 1) / stride) + 1.

NaN and Inf pass through: an output is NaN where its window holds a NaN of the input, and an input's gradient where an output that reads it has
one. Padding makes none of finite numbers. But 0 * NaN and 0 * Inf are NaN: a weight that is NaN or Inf makes NaN or Inf of all outputs (and
input gradients) of its channel where it meets the input, and it is undefined whether also of those where it meets only zeros of the padding;
so for the weight gradient, where dy is NaN or Inf. Some algorithms multiply with these zeros, others leave them out, and which is the faster one
depends on the shapes: to make them alike would cost time in every call, for numbers that are lost anyway.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.geometry import Geometry, bind, conv_geometry, describe, flag, integer, padding_word, spatial
from fastconv.kernels import table
from fastconv.ops.layout import Layout
from fastconv.ops.operands import dense, floats, shape_tuple
from fastconv.ops.passes import Convolution, convolution

SPATIAL = {1: "W", 2: "H W", 3: "D H W"}


def conv2d(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros") -> np.ndarray:
    """Cross-correlate images with filters, as every framework's convolution does (no flip).

    y[n,oc,oh,ow] = b[oc] + sum over ic,kh,kw of x[n, ic, oh*SH - PH + kh*DH, ow*SW - PW + kw*DW] * w[oc,ic,kh,kw]
    with what padding_mode ("zeros", "reflect", "replicate", "circular") says for positions outside x.

    x: (N, IC, IH, IW), w: (OC, IC/groups, KH, KW), b: (OC,) or None. Returns y: (N, OC, OH, OW). Output group i sees input
    group i only. TypeError for dtypes other than float32 or float64 throughout, ValueError for shapes and values.
    """
    return forward("conv2d", 2, x, w, b, stride, padding, dilation, groups, padding_mode)


def conv2d_input_grad(dy, w, input_shape, *, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros") -> np.ndarray:
    """The gradient of the input: a full convolution of dy with the flipped kernel.

    dx[n,ic,ih,iw] = sum over oc,kh,kw and the oh,ow with ih = oh*SH - PH + kh*DH (iw alike) of dy[n,oc,oh,ow] * w[oc,ic,kh,kw]
    plus the same sums of the cells of the padding that are copies of that input, where padding_mode is not "zeros".

    dy: (N, OC, OH, OW), w: (OC, IC/groups, KH, KW), input_shape: (N, IC, IH, IW). Returns dx of that shape. Errors as `conv2d`.
    """
    return input_grad("conv2d_input_grad", 2, dy, w, input_shape, stride, padding, dilation, groups, padding_mode)


def conv2d_weight_grad(
    x, dy, kernel_size, *, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros", out=None, accumulate=False, return_bias_grad=False
) -> Any:  # fmt: skip
    """The gradient of the weights: a cross-correlation of the input with dy. A shared weight sums over all its uses.

    dw[oc,ic,kh,kw] = sum over n,oh,ow of x[n, ic, oh*SH - PH + kh*DH, ow*SW - PW + kw*DW] * dy[n,oc,oh,ow]

    x: (N, IC, IH, IW), dy: (N, OC, OH, OW), kernel_size: an int or (KH, KW). Returns dw: (OC, IC/groups, KH, KW), or (dw, db)
    if return_bias_grad. `out` takes the result (added to what it holds if accumulate, which needs an `out`); it must not overlap x or dy. Errors as
    `conv2d`.
    """
    options = stride, padding, dilation, groups, padding_mode
    return weight_grad("conv2d_weight_grad", 2, {"x": x, "dy": dy}, kernel_size, options, out, accumulate, return_bias_grad)


def conv1d(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros") -> np.ndarray:
    """As `conv2d` with x: (N, IC, IW), w: (OC, IC/groups, KW). Returns (N, OC, OW)."""
    return forward("conv1d", 1, x, w, b, stride, padding, dilation, groups, padding_mode)


def conv1d_input_grad(dy, w, input_shape, *, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros") -> np.ndarray:
    """As `conv2d_input_grad` with dy: (N, OC, OW), w: (OC, IC/groups, KW), input_shape: (N, IC, IW)."""
    return input_grad("conv1d_input_grad", 1, dy, w, input_shape, stride, padding, dilation, groups, padding_mode)


def conv1d_weight_grad(
    x, dy, kernel_size, *, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros", out=None, accumulate=False, return_bias_grad=False
) -> Any:  # fmt: skip
    """As `conv2d_weight_grad` with x: (N, IC, IW), dy: (N, OC, OW). Returns (OC, IC/groups, KW)."""
    options = stride, padding, dilation, groups, padding_mode
    return weight_grad("conv1d_weight_grad", 1, {"x": x, "dy": dy}, kernel_size, options, out, accumulate, return_bias_grad)


def conv3d(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros") -> np.ndarray:
    """As `conv2d` with x: (N, IC, ID, IH, IW), w: (OC, IC/groups, KD, KH, KW). Returns (N, OC, OD, OH, OW)."""
    return forward("conv3d", 3, x, w, b, stride, padding, dilation, groups, padding_mode)


def conv3d_input_grad(dy, w, input_shape, *, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros") -> np.ndarray:
    """As `conv2d_input_grad` with dy: (N, OC, OD, OH, OW), w: (OC, IC/groups, KD, KH, KW), input_shape: (N, IC, ID, IH, IW)."""
    return input_grad("conv3d_input_grad", 3, dy, w, input_shape, stride, padding, dilation, groups, padding_mode)


def conv3d_weight_grad(
    x, dy, kernel_size, *, stride=1, padding=0, dilation=1, groups=1, padding_mode="zeros", out=None, accumulate=False, return_bias_grad=False
) -> Any:  # fmt: skip
    """As `conv2d_weight_grad` with x: (N, IC, ID, IH, IW), dy: (N, OC, OD, OH, OW). Returns (OC, IC/groups, KD, KH, KW)."""
    options = stride, padding, dilation, groups, padding_mode
    return weight_grad("conv3d_weight_grad", 3, {"x": x, "dy": dy}, kernel_size, options, out, accumulate, return_bias_grad)


def bias_grad(dy) -> np.ndarray:
    """db[oc] = sum over batch and positions of dy. dy: (N, OC, spatial...) with 0 to 3 spatial axes. Returns (OC,)."""
    (dy,) = floats("bias_grad", dy=dy)
    if not 2 <= dy.ndim <= 5:
        raise ValueError(f"bias_grad: dy must have 2 to 5 axes (N, OC, spatial...), got {dy.ndim}; got dy{dy.shape}")
    bind("bias_grad", dy=(dy.shape, " ".join(("N", "OC", "OD", "OH", "OW")[: dy.ndim])))
    db = np.empty(dy.shape[1], dy.dtype)
    sum_dy(dy, db)
    return db


def sum_dy(dy: np.ndarray, db: np.ndarray, accumulate: bool = False, algorithm: str | None = None) -> None:
    """db[oc] = the sum of dy over all but its channels, added to what it holds if accumulate; dy: (N, OC, spatial...)

    algorithm: None is what is chosen now.
    """
    N, OC, *positions = dy.shape
    if N:
        outputs = (1,) * (3 - len(positions)) + tuple(positions)
        g = Geometry(N, OC, *outputs, OC, *outputs, *(1,) * 6, *(0,) * 6, *(1,) * 3, 1, len(positions))
        convolution(g, dy.dtype, algorithm or table.chosen.get()).bias_grad(dy, db, accumulate)
    elif not accumulate:
        db[...] = 0


def spatial_axes(rank: int, letter: str) -> str:
    return " ".join(letter + axis for axis in SPATIAL[rank].split())


def extents(dims: dict, rank: int, letter: str) -> tuple[int, ...]:
    return tuple(dims[axis] for axis in spatial_axes(rank, letter).split())


@lru_cache(maxsize=1024)
def _forward_plan(op, rank, x_shape, w_shape, b_shape, *words) -> Geometry:
    """words: stride, padding, dilation, groups, padding_mode"""
    groups = words[3]
    operands = {"x": (x_shape, f"N IC {spatial_axes(rank, 'I')}"), "w": (w_shape, f"OC IC/groups {spatial_axes(rank, 'K')}")}
    if b_shape is not None:
        operands["b"] = (b_shape, "OC")
    dims = bind(op, groups, **operands)
    return conv_geometry(op, dims["N"], dims["IC"], dims["OC"], extents(dims, rank, "I"), extents(dims, rank, "K"), *words)


@lru_cache(maxsize=1024)
def _backward_plan(op, rank, x_shape, w_shape, dy_shape, *words) -> Geometry:
    """As the forward plan, but dy must have the output's shape. w_shape None: only the kernel is known."""
    g = _forward_plan(op, rank, x_shape, w_shape, None, *words)
    operands = {"x": (x_shape, f"N IC {spatial_axes(rank, 'I')}"), "w": (w_shape, f"OC IC/groups {spatial_axes(rank, 'K')}")}
    check_dy(op, rank, dy_shape, g.output_shape, operands)
    return g


def check_dy(op: str, rank: int, dy_shape: tuple, y_shape: tuple, operands: dict) -> None:
    if dy_shape != y_shape:
        raise ValueError(
            f"{op}: dy{dy_shape} as (N, OC, {', '.join(spatial_axes(rank, 'O').split())}) does not fit: the forward pass gives "
            f"{y_shape}; got {describe(operands)}"
        )


def conv_words(op, rank, stride, padding, dilation, groups, padding_mode="zeros") -> tuple:
    """Checked and hashable, so that True or 1.0 cannot pass for a cached 1."""
    stride, padding, dilation = spatial(op, "stride", stride, rank), _freeze(op, padding), spatial(op, "dilation", dilation, rank)
    return stride, padding, dilation, integer(op, "groups", groups, 1), padding_word(op, padding_mode)


def _freeze(op, padding):
    """Lists as tuples, of integers, because the cache would take True for 1 and 1.0 for 1."""
    if isinstance(padding, (tuple, list)):
        return tuple(_freeze_pair(op, f"padding[{i}]", entry) for i, entry in enumerate(padding))
    return padding if isinstance(padding, str) else integer(op, "padding", padding, 0)


def _freeze_pair(op, name, entry):
    if isinstance(entry, (tuple, list)):
        return tuple(integer(op, name, amount, 0) for amount in entry)
    return integer(op, name, entry, 0)


def bind_forward(op, rank, x, w_shape, b_shape, words) -> Convolution:
    """The passes for an input x and checked options; ValueError where the shapes do not fit."""
    return convolution(_forward_plan(op, rank, x.shape, w_shape, b_shape, *words), x.dtype, table.chosen.get())


def forward(op, rank, x, w, b, *options):
    x, w, b = floats(op, x=x, w=w, b=b)
    c = bind_forward(op, rank, x, w.shape, None if b is None else b.shape, conv_words(op, rank, *options))
    return c.forward(x, c.w.flat(w), None if b is None else dense(b))


def input_grad(op, rank, dy, w, input_shape, *options):
    dy, w = floats(op, dy=dy, w=w)
    words = conv_words(op, rank, *options)
    x_shape = shape_tuple(op, "input_shape", input_shape, f"N IC {spatial_axes(rank, 'I')}")
    c = convolution(_backward_plan(op, rank, x_shape, w.shape, dy.shape, *words), dy.dtype, table.chosen.get())
    return c.input_grad(dy, c.w.flat(w))


def weight_grad(op, rank, operands, kernel_size, options, out, accumulate, return_bias_grad):
    x, dy = floats(op, **operands)
    check_result(op, out, accumulate, return_bias_grad)
    words = conv_words(op, rank, *options)
    kernel, groups = spatial(op, "kernel_size", kernel_size, rank), words[3]
    bind(op, groups, x=(x.shape, f"N IC {spatial_axes(rank, 'I')}"), dy=(dy.shape, f"N OC {spatial_axes(rank, 'O')}"))
    w_shape = (dy.shape[1], x.shape[1] // groups, *kernel)
    c = convolution(_backward_plan(op, rank, x.shape, w_shape, dy.shape, *words), dy.dtype, table.chosen.get())
    check_out(op, out, w_shape, x, dy)
    db = np.empty(c.g.OC, dy.dtype) if return_bias_grad else None
    dw = into(c.w, out, accumulate, lambda memory, adding: c.weight_grad(x, dy, memory, db, adding))
    return (dw, db) if return_bias_grad else dw  # callers see Any: who knows which it is need not tell a type checker


def into(layout: Layout, out: np.ndarray | None, accumulate: bool, run) -> np.ndarray:
    """What run(memory, accumulate) makes, in `out`: straight into its memory where it lies as kernels write it."""
    if out is not None and out.strides == layout.strides and out.flags.aligned:
        run(out.ravel("K"), accumulate)
        return out
    dw, memory = layout.empty()
    run(memory, False)
    if out is None:
        return dw
    if accumulate:
        out += dw
    else:
        out[...] = dw
    return out


def check_result(op: str, out, accumulate, return_bias_grad) -> None:
    """How a weight gradient is returned: TypeError for flags that are none, ValueError where there is nothing to add to."""
    flag(op, "return_bias_grad", return_bias_grad)
    if flag(op, "accumulate", accumulate) and out is None:
        raise ValueError(f"{op}: accumulate=True needs out, the array to add to")


def check_out(op: str, out, shape: tuple, x: np.ndarray, dy: np.ndarray) -> None:
    """`out` can take a result of this shape: TypeError or ValueError if not, also where it may share memory with x or dy."""
    if out is None:
        return
    if not isinstance(out, np.ndarray) or out.dtype != x.dtype:
        raise TypeError(f"{op}: out must be a {x.dtype} array, got {getattr(out, 'dtype', type(out).__name__)}")
    if out.shape != shape:
        raise ValueError(f"{op}: out must have the shape {shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError(f"{op}: out is read-only")
    for name, operand in (("x", x), ("dy", dy)):
        if np.may_share_memory(out, operand):
            raise ValueError(f"{op}: out overlaps {name}")
