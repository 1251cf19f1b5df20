"""Initial values for parameters: `init.kaiming_normal(layer.weight)`; for a whole model, biases 0: `init.whole_model(net, init.orthogonal)`.

Each function fills a Parameter or a float array in place and returns it. Random ones draw from the stream of `fastconv.seed`, or from rng, a NumPy
generator; the same seed gives the same bits. With a weight (O, I, taps...): fan_in = I * taps, fan_out = O * taps, as PyTorch counts them.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from fastconv import reflexes, streams
from fastconv.geometry import function, instance, number, real, shown
from fastconv.layers.group_norm import OwnStatistics
from fastconv.layers.initial import generator
from fastconv.layers.layer import Layer
from fastconv.layers.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from fastconv.layers.parameter import Parameter
from fastconv.ops.operands import FLOATS
from fastconv.reflexes import answered

Target = TypeVar("Target", Parameter, np.ndarray)
Generator = np.random.Generator | None
GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
NORMALIZATIONS = BatchNorm1d, BatchNorm2d, BatchNorm3d, OwnStatistics
FARTHEST = 2  # standard deviations that the mean of a truncated normal distribution may lie outside: it is drawn again until it is inside
__getattr__ = reflexes.of_module("init", __name__)


def whole_model(model: Layer, draw: Callable, **options) -> None:
    """draw(p, **options) for each parameter p with at least 2 axes, zeros for each that is called bias; normalizations stay as they are.

    >>> from fastconv import layers
    >>> from fastconv.layers import init
    >>> net = layers.Sequential(layers.Conv2d(1, 4, 3), layers.BatchNorm2d(4), layers.Flatten(), layers.Linear(144, 10))
    >>> init.whole_model(net, init.kaiming_normal, nonlinearity="relu")
    """
    instance("whole_model", "model", model, Layer, "a Layer")
    function("whole_model", "draw", draw, "a function of a parameter, such as init.kaiming_normal")
    for layer in model.children():
        whole_model(layer, draw, **options)
    for name, p in () if isinstance(model, NORMALIZATIONS) else model._members(Parameter):
        if name == "bias":
            zeros(p)
        elif len(p.shape) > 1:
            draw(p, **options)


def gain(nonlinearity: str, negative_slope: float = 0.01) -> float:
    """By how much an activation shrinks what passes it: 1 for "linear" and "sigmoid", 5 / 3 for "tanh", sqrt(2) for "relu", 3 / 4 for "selu",
    sqrt(2 / (1 + negative_slope^2)) for "leaky_relu". PyTorch's numbers."""
    gains = GAINS | {"leaky_relu": math.sqrt(2 / (1 + number("gain", "negative_slope", negative_slope, 1e100) ** 2))}
    if not isinstance(nonlinearity, str) or nonlinearity not in gains:
        raise ValueError(f"gain: nonlinearity {shown(nonlinearity)} is not one of {', '.join(map(repr, gains))}")
    return gains[nonlinearity]


def zeros(p: Target) -> Target:
    """0 everywhere."""
    return _fill("zeros", p, 0.0)


def ones(p: Target) -> Target:
    """1 everywhere."""
    return _fill("ones", p, 1.0)


def constant(p: Target, value: float) -> Target:
    """The same finite number everywhere."""
    return _fill("constant", p, _finite("constant", "value", value))


def uniform(p: Target, low: float = 0.0, high: float = 1.0, *, rng: Generator = None) -> Target:
    """Uniform in low <= value < high."""
    low, high = _range("uniform", low, high)
    return _fill("uniform", p, _rng("uniform", rng).uniform(low, high, _shape("uniform", p)))


def normal(p: Target, mean: float = 0.0, std: float = 1.0, *, rng: Generator = None) -> Target:
    """Normal, with this mean and standard deviation."""
    mean, std = _finite("normal", "mean", mean), number("normal", "std", std)
    return _fill("normal", p, _rng("normal", rng).normal(mean, std, _shape("normal", p)))


def truncated_normal(p: Target, mean: float = 0.0, std: float = 1.0, low: float = -2.0, high: float = 2.0, *, rng: Generator = None) -> Target:
    """Normal, where inside low..high, and nothing outside. ValueError if low..high begins more than two standard deviations from the mean."""
    op = "truncated_normal"
    mean, std, (low, high) = _finite(op, "mean", mean), number(op, "std", std), _range(op, low, high)
    if not low - FARTHEST * std <= mean <= high + FARTHEST * std:
        raise ValueError(f"{op}: mean={mean} must lie within {FARTHEST} standard deviations of low={low} and high={high}, got std={std}")
    shape, rng = _shape(op, p), _rng(op, rng)
    values = np.full(math.prod(shape), np.nan)
    missing = np.arange(values.size)
    narrow = high - low < std  # then a uniform number, kept as often as its density says, is inside; else a normal one mostly is
    nearest = min(max(mean, low), high)
    while missing.size:
        drawn = rng.uniform(low, high, missing.size) if narrow else rng.normal(mean, std, missing.size)
        kept = (drawn >= low) & (drawn <= high)
        if narrow:
            kept &= rng.random(missing.size) <= np.exp((((nearest - mean) / std) ** 2 - ((drawn - mean) / std) ** 2) / 2)
        values[missing[kept]] = drawn[kept]
        missing = missing[~kept]
    return _fill(op, p, values.reshape(shape))


@answered("init")
def xavier_uniform(p: Target, scale: float = 1.0, *, rng: Generator = None) -> Target:
    """Uniform in +-scale * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010). scale: PyTorch's gain, `init.gain("tanh")` for tanh."""
    bound = number("xavier_uniform", "scale", scale) * math.sqrt(6 / sum(_fans("xavier_uniform", p)))
    return uniform(p, -bound, bound, rng=rng)


@answered("init")
def xavier_normal(p: Target, scale: float = 1.0, *, rng: Generator = None) -> Target:
    """Normal, with the standard deviation scale * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    std = number("xavier_normal", "scale", scale) * math.sqrt(2 / sum(_fans("xavier_normal", p)))
    return normal(p, 0.0, std, rng=rng)


@answered("init")
def kaiming_uniform(p: Target, mode: str = "fan_in", nonlinearity: str = "relu", negative_slope: float = 0.01, *, rng: Generator = None) -> Target:
    """Uniform in +-gain * sqrt(3 / fan), gain that of the nonlinearity (He et al. 2015). mode: "fan_in", or "fan_out" for gradients of equal size."""
    bound = math.sqrt(3) * _kaiming("kaiming_uniform", p, mode, nonlinearity, negative_slope)
    return uniform(p, -bound, bound, rng=rng)


@answered("init")
def kaiming_normal(p: Target, mode: str = "fan_in", nonlinearity: str = "relu", negative_slope: float = 0.01, *, rng: Generator = None) -> Target:
    """Normal, with the standard deviation gain / sqrt(fan), gain that of the nonlinearity (He et al. 2015). mode: as for `kaiming_uniform`."""
    return normal(p, 0.0, _kaiming("kaiming_normal", p, mode, nonlinearity, negative_slope), rng=rng)


@answered("init")
def orthogonal(p: Target, scale: float = 1.0, *, rng: Generator = None) -> Target:
    """A matrix (O, I * taps) with orthogonal rows, or columns where it has more rows, of length scale (Saxe et al. 2014)."""
    op = "orthogonal"
    scale, shape = number(op, "scale", scale), _shape(op, p)
    _fans(op, p)
    rows, columns = shape[0], math.prod(shape[1:])
    drawn = _rng(op, rng).normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q = q * np.where(np.diagonal(r) < 0, -1, 1)  # else not all matrices would be as likely
    return _fill(op, p, scale * (q if rows >= columns else q.T).reshape(shape))


def _kaiming(op: str, p, mode: str, nonlinearity: str, negative_slope: float) -> float:
    """The standard deviation."""
    if not isinstance(mode, str) or mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{op}: mode must be 'fan_in' or 'fan_out', got {shown(mode)}")
    fan_in, fan_out = _fans(op, p)
    return gain(nonlinearity, negative_slope) / math.sqrt(fan_in if mode == "fan_in" else fan_out)


def _fans(op: str, p) -> tuple[int, int]:
    shape = _shape(op, p)
    if len(shape) < 2 or 0 in shape:
        raise ValueError(f"{op}: p must be a weight of at least 2 axes (O, I, ...), got {shape}")
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def _shape(op: str, p) -> tuple[int, ...]:
    if not isinstance(p, (Parameter, np.ndarray)) or p.dtype not in FLOATS:
        found = f"an array of {p.dtype}" if isinstance(p, np.ndarray) else f"a {type(p).__name__}"
        raise TypeError(f"{op}: p must be a Parameter, or an array of float32 or float64, got {found}")
    if isinstance(p, np.ndarray) and not p.flags.writeable:
        raise ValueError(f"{op}: p is read-only")
    return p.shape


def _fill(op: str, p, values):
    shape = _shape(op, p)
    if isinstance(p, Parameter):
        p.value = np.broadcast_to(values, shape).astype(p.dtype)
    else:
        p[...] = values
    return p


def _range(op: str, low, high) -> tuple[float, float]:
    low, high = _finite(op, "low", low), _finite(op, "high", high)
    if low > high or not math.isfinite(high - low):
        raise ValueError(f"{op}: low must be at most high, got low={low}, high={high}")
    return low, high


def _finite(op: str, name: str, value) -> float:
    value = real(op, name, value)
    if not math.isfinite(value):
        raise ValueError(f"{op}: {name} must be finite, got {value}")
    return value


def _rng(op: str, rng: Generator) -> np.random.Generator:
    return streams.default.generator() if generator(op, rng) is None else rng
