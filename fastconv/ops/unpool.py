"""Max unpooling, the way back of max pooling by flat indices, as PyTorch counts them: a pixel's number inside its image, (id * IH + ih) * IW + iw."""

import math
import sys
from functools import lru_cache

import numpy as np

from fastconv.geometry import along, bind, pool_words, shown, spatial
from fastconv.kernels.pooling.unpool import Images, Unpool, UnpoolGrad
from fastconv.ops import adaptive, layout, pooling
from fastconv.ops.operands import floats, no_mask, shape_tuple
from fastconv.ops.pooling import AXES

INDEX = np.dtype(np.int64)


def flat_indices(argmax, input_shape, kernel_size, *, stride=None, padding=0, dilation=1, ceil_mode=False) -> np.ndarray:
    """Where each maximum lies in its image, from the tap in its window that a max pooling gives: what PyTorch's `return_indices=True` returns.

    argmax: (N, C, O...) as `max_pool1d`, `max_pool2d`, `max_pool3d` gave it, input_shape: (N, C, I...), and their options. Returns int64 of argmax's
    shape: (id * IH + ih) * IW + iw. Errors as those of the pooling's gradient.
    """
    op = "flat_indices"
    x_shape = _any_shape(op, "input_shape", input_shape)
    g = pooling.geometry(op, len(x_shape) - 2, x_shape, kernel_size, stride, padding, dilation, ceil_mode)
    pooling.check_argmax(op, argmax, g)
    taps = argmax.reshape(g.N, g.OC, *g[6:9]).astype(np.int64)
    parts = taps // (g.KH * g.KW), taps // g.KW % g.KH, taps % g.KW
    cells = [along(axis, np.arange(O) * S - P) + part * D for axis, (part, (_, O, _, S, P, D)) in enumerate(zip(parts, g.axes))]
    return ((cells[0] * g.IH + cells[1]) * g.IW + cells[2]).reshape(argmax.shape)


def adaptive_flat_indices(argmax, input_shape) -> np.ndarray:
    """As `flat_indices`, from the argmax that `adaptive_max_pool1d`, `adaptive_max_pool2d`, `adaptive_max_pool3d` gave for this input."""
    op = "adaptive_flat_indices"
    x_shape = _any_shape(op, "input_shape", input_shape)
    shares, parts = adaptive.checked_taps(op, argmax, x_shape)
    depth, row, column = (along(axis, start) + part for axis, (part, (start, _)) in enumerate(zip(parts, shares.spans())))
    return ((depth * shares.inputs[1] + row) * shares.inputs[2] + column).reshape(argmax.shape)


def max_unpool2d(x, indices, kernel_size, *, stride=None, padding=0, output_size=None) -> np.ndarray:
    """Each value goes to the pixel that its index names, zeros elsewhere: y[n,c].flat[indices[n,c,ih,iw]] = x[n,c,ih,iw], the last of several.

    x: (N, C, IH, IW) float32 or float64, indices: int64 of that shape, as `flat_indices` gives them; kernel_size, stride and padding of the pooling
    that is undone: OH = (IH - 1) * SH - 2 * PH + KH; output_size (OH, OW), also with N and C before it, chooses another size. ValueError where an
    index is outside of it. Returns (N, C, OH, OW).
    """
    return max_unpool("max_unpool2d", 2, x, indices, kernel_size, stride, padding, output_size)


def max_unpool2d_grad(dy, indices) -> np.ndarray:
    """Each value's gradient is that of the pixel it went to: dx[n,c,ih,iw] = dy[n,c].flat[indices[n,c,ih,iw]].

    dy: (N, C, OH, OW) float32 or float64, indices: (N, C, IH, IW) int64. Returns dx of that shape.
    """
    return max_unpool_grad("max_unpool2d_grad", 2, dy, indices)


def max_unpool1d(x, indices, kernel_size, *, stride=None, padding=0, output_size=None) -> np.ndarray:
    """As `max_unpool2d` with x: (N, C, IW)."""
    return max_unpool("max_unpool1d", 1, x, indices, kernel_size, stride, padding, output_size)


def max_unpool1d_grad(dy, indices) -> np.ndarray:
    """As `max_unpool2d_grad` with dy: (N, C, OW)."""
    return max_unpool_grad("max_unpool1d_grad", 1, dy, indices)


def max_unpool3d(x, indices, kernel_size, *, stride=None, padding=0, output_size=None) -> np.ndarray:
    """As `max_unpool2d` with x: (N, C, ID, IH, IW)."""
    return max_unpool("max_unpool3d", 3, x, indices, kernel_size, stride, padding, output_size)


def max_unpool3d_grad(dy, indices) -> np.ndarray:
    """As `max_unpool2d_grad` with dy: (N, C, OD, OH, OW)."""
    return max_unpool_grad("max_unpool3d_grad", 3, dy, indices)


def max_unpool(op: str, rank: int, x, indices, kernel_size, stride, padding, output_size) -> np.ndarray:
    (x,) = floats(op, x=x)
    bind(op, x=(x.shape, AXES[rank]))
    y_shape = (*x.shape[:2], *_output_size(op, rank, x.shape[2:], kernel_size, stride, padding, output_size))
    if math.prod(y_shape) * 8 > sys.maxsize:  # bytes of float64
        raise ValueError(f"{op}: the output {y_shape} has more elements than this machine can address")
    _check_type(op, indices)
    if indices.shape != x.shape:
        raise ValueError(f"{op}: indices{indices.shape} must have the shape of x, {x.shape}")
    _check_range(op, indices, y_shape)
    y, memory = layout.activation(y_shape, x.dtype).empty()
    if x.size:
        few = layout.activation(x.shape, x.dtype)
        _bound(Unpool, few.shape, y_shape, x.dtype)(few.flat(x), layout.activation(x.shape, INDEX).flat(indices), memory)
    return y


def max_unpool_grad(op: str, rank: int, dy, indices) -> np.ndarray:
    (dy,) = floats(op, dy=dy)
    _check_type(op, indices)
    bind(op, dy=(dy.shape, AXES[rank].replace("I", "O")), indices=(indices.shape, AXES[rank]))
    _check_range(op, indices, dy.shape)
    dx, memory = layout.activation(indices.shape, dy.dtype).empty()
    if dx.size:
        many = layout.activation(dy.shape, dy.dtype)
        _bound(UnpoolGrad, dx.shape, dy.shape, dy.dtype)(many.flat(dy), layout.activation(dx.shape, INDEX).flat(indices), memory)
    return dx


@lru_cache(256)
def _bound(kind: type[Unpool], few: tuple[int, ...], many: tuple[int, ...], dtype: np.dtype) -> Unpool:
    """Bound to the dtype by its first call."""
    return kind(Images(*few[:2], math.prod(few[2:]), math.prod(many[2:])))


def _output_size(op: str, rank: int, extent: tuple[int, ...], kernel_size, stride, padding, output_size) -> tuple[int, ...]:
    K, S, words, _ = pool_words(op, rank, kernel_size, stride, padding, 1)
    if isinstance(words, str) or not all(isinstance(P, int) for P in words):
        raise ValueError(f"{op}: padding must be an integer or one for each dimension, got {shown(padding)}")
    size = tuple((I - 1) * s - 2 * P + k for I, k, s, P in zip(extent, K, S, words))
    if output_size is not None:
        if isinstance(output_size, (tuple, list)) and len(output_size) == rank + 2:
            output_size = output_size[2:]
        size = spatial(op, "output_size", output_size, rank)
    if min(size) < 1:
        raise ValueError(f"{op}: no output: its size would be {size} for kernel_size={K}, stride={S}, padding={words} and an input of {extent}")
    return size


def _check_type(op: str, indices) -> None:
    no_mask(op, "indices", indices)
    if not isinstance(indices, np.ndarray) or indices.dtype != INDEX:
        raise TypeError(f"{op}: indices must be an int64 array, as flat_indices gives them, got {getattr(indices, 'dtype', type(indices).__name__)}")


def _check_range(op: str, indices: np.ndarray, y_shape: tuple[int, ...]) -> None:
    """Each index is the number of a pixel of y."""
    pixels = math.prod(y_shape[2:])
    if indices.size and not 0 <= indices.min() <= indices.max() < pixels:
        wrong = indices.min() if indices.min() < 0 else indices.max()
        raise ValueError(f"{op}: indices hold {wrong}, but an image of the output {y_shape} has the pixels 0 to {pixels - 1}")


def _any_shape(op: str, name: str, shape) -> tuple[int, ...]:
    """A shape with 1 to 3 spatial axes."""
    numbers = shape_tuple(op, name, shape)
    if len(numbers) - 2 not in AXES:
        raise ValueError(f"{op}: {name} must have 3 to 5 axes (N, C, spatial...), got {numbers}")
    return numbers
