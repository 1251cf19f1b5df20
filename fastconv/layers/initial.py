"""PyTorch's default initialisation of convolutions and linear layers."""

import math

import numpy as np

from fastconv import streams
from fastconv.layers.parameter import Parameter
from fastconv.ops.operands import FLOATS


def weight_and_bias(op: str, shape: tuple[int, ...], biases: int, dtype, rng: np.random.Generator | None) -> tuple[Parameter, Parameter | None]:
    """Both uniform in +-1 / sqrt(fan_in), fan_in the product of all axes of the weight but the first, as PyTorch counts.

    biases: how many (0: None is returned for them); rng None: `fastconv.seed`'s stream.
    """
    if dtype is None or np.dtype(dtype) not in FLOATS:
        raise TypeError(f"{op}: dtype must be float32 or float64, got {dtype}")
    if not (rng is None or isinstance(rng, np.random.Generator)):
        raise TypeError(f"{op}: rng must be a NumPy generator, got {rng!r}: write np.random.default_rng(seed)")
    rng = streams.default.generator() if rng is None else rng
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    weight = Parameter(rng.uniform(-bound, bound, shape).astype(dtype))
    return weight, Parameter(rng.uniform(-bound, bound, biases).astype(dtype)) if biases else None
