"""ReLU, dropout and addition. Results keep the memory order of a channels-last activation."""

from functools import lru_cache

import numpy as np

from fastconv.geometry import shown, whole
from fastconv.kernels.elementwise.activations import Add, Map, MapGrad
from fastconv.kernels.elementwise.dropout import Dropout
from fastconv.kernels.elementwise.spans import Flat
from fastconv.ops.layout import Layout, activation
from fastconv.ops.operands import floats


def relu(x) -> np.ndarray:
    """y = 0 where x <= 0, else x (NaN stays). x: (N, C, spatial...) or (N, F), float32 or float64. Returns the same shape."""
    (x,) = floats("relu", x=x)
    return _each(Map, x, bound_to=("relu",))


def relu_grad(dy, y) -> np.ndarray:
    """dx = dy where not (y <= 0), else 0. dy, y: the same shape, y as `relu` returned it."""
    dy, y = floats("relu_grad", dy=dy, y=y)
    if dy.shape != y.shape:
        raise ValueError(f"relu_grad: dy{dy.shape} and y{y.shape} must have the same shape")
    return _each(MapGrad, dy, y, bound_to=("relu",))


def dropout(x, p: float, key: int) -> np.ndarray:
    """Zero each element with probability p and scale the others by 1 / (1 - p); linear in x, so it is its own gradient.

    The i-th element in channels-last order is dropped if number i, of 32 bits, of the random stream `key` is below p * 2**32.
    x: (N, C, spatial...) or (N, F), float32 or float64. The same key drops the same elements. ValueError unless 0 <= p < 1.
    """
    (x,) = floats("dropout", x=x)
    p = probability("dropout", p)
    key = whole("dropout", "key", key)
    if not 0 <= key < 2**64:
        raise ValueError(f"dropout: key must be between 0 and 2**64 - 1, got {key}")
    return drop(x, p, np.array([key], np.uint64))


def drop(x: np.ndarray, p: float, key: np.ndarray) -> np.ndarray:
    """`dropout` by a key in an array of one np.uint64."""
    return _each(Dropout, x, options=((key, np.uint32(p * 2**32), 1 / (1 - p)),))


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b, of the same shape and dtype."""
    return _each(Add, a, b, options=(-np.inf,))


def probability(op: str, p) -> float:
    """p as a float in 0 <= p < 1."""
    if isinstance(p, bool) or not isinstance(p, (int, float, np.integer, np.floating)):
        raise TypeError(f"{op}: p must be a number, got {shown(p)}")
    if not 0 <= p < 1:
        raise ValueError(f"{op}: p must be in 0 <= p < 1, got {p}")
    return float(p)


@lru_cache(maxsize=256)
def _bound(kernel: type[Flat], shape: tuple[int, ...], dtype: np.dtype, *words) -> tuple[Layout, Flat]:
    lies = activation(shape, dtype)
    return lies, kernel(lies.size, dtype, *words)


def _each(kernel: type[Flat], *operands: np.ndarray, bound_to: tuple = (), options: tuple = ()) -> np.ndarray:
    """Run a pass over the flat memory of all operands, as activations lie, and of a new result. bound_to: what else the pass is bound to."""
    lies, run = _bound(kernel, operands[0].shape, operands[0].dtype, *bound_to)
    out, memory = lies.empty()
    if out.size:
        run(*(lies.flat(a) for a in operands), memory, *options)
    return out
