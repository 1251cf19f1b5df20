"""PyTorch's default initialization of convolutions and linear layers."""

import math
import sys

import numpy as np

from fastconv import streams
from fastconv.geometry import shown
from fastconv.layers.parameter import Parameter
from fastconv.ops.layout import weight_axes
from fastconv.ops.operands import FLOATS


def weight_and_bias(
    op: str, shape: tuple[int, ...], biases: int, dtype, rng: np.random.Generator | None, **sizes
) -> tuple[Parameter, Parameter | None]:
    """Both uniform in +-1 / sqrt(fan_in), fan_in the product of all axes of the weight but the first, as PyTorch counts.

    biases: how many (0: None is returned for them); rng None: `fastconv.seed`'s stream; sizes: the layer's arguments that make the shape.
    """
    dtype, rng = float_dtype(op, dtype), generator(op, rng)
    words = ", ".join(f"{name}={value}" for name, value in sizes.items())
    if math.prod(shape) * 8 > sys.maxsize:  # they are drawn in float64
        raise ValueError(f"{op}: {words} make a weight {shape} with more elements than this machine can address")
    rng = streams.default.generator() if rng is None else rng
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    try:
        weight = Parameter(rng.uniform(-bound, bound, shape).astype(dtype), weight_axes(len(shape)))
    except MemoryError:
        raise MemoryError(f"{op}: no memory for the weight {shape} of {words}") from None
    return weight, Parameter(rng.uniform(-bound, bound, biases).astype(dtype)) if biases else None


def float_dtype(op: str, dtype) -> np.dtype:
    """TypeError for anything but float32 and float64."""
    try:
        found = None if dtype is None else np.dtype(dtype)
    except (TypeError, ValueError, RecursionError):
        found = None
    if found is None or found not in FLOATS:  # NumPy takes None for float64
        raise TypeError(f"{op}: dtype must be float32 or float64, got {shown(dtype) if found is None else found}")
    return found


def generator(op: str, rng: np.random.Generator | None) -> np.random.Generator | None:
    """TypeError for anything but a generator and None."""
    if not (rng is None or isinstance(rng, np.random.Generator)):
        raise TypeError(f"{op}: rng must be a NumPy generator, got {rng!r}: write np.random.default_rng(seed)")
    return rng
