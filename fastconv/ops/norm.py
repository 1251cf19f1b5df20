"""Batch normalization and its gradient. A channel's M elements are those of all images and positions."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastconv.geometry import bind, flag, number
from fastconv.kernels.elementwise.norm import BatchNorm
from fastconv.kernels.elementwise.norm_grad import BatchNormGrad
from fastconv.kernels.elementwise.norm_plan import Options
from fastconv.ops import layout
from fastconv.ops.operands import dense, floats

AXES = "N C", "N C W", "N C H W", "N C D H W"


def batch_statistics(x) -> tuple[np.ndarray, np.ndarray]:
    """Mean and (biased) variance of each channel, in float64. x: (N, C) or (N, C, spatial...). Returns two (C,).

    Sums run over x minus its first pixel, so a mean of a thousand standard deviations costs no accuracy.
    """
    (x,) = floats("batch_statistics", x=x)
    bind("batch_statistics", x=(x.shape, _axes("batch_statistics", x)))
    pixels = _pixels("batch_statistics", x)
    if not len(pixels):
        raise ValueError(f"batch_statistics: x{x.shape} is empty")
    pivot = pixels[0].astype(np.float64)
    mean = (pixels - pivot).mean(axis=0)
    return pivot + mean, np.square(pixels - (pivot + mean)).mean(axis=0)


def batch_norm(x, mean, variance, weight=None, bias=None, *, eps=1e-5) -> np.ndarray:
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, channel by channel (Ioffe and Szegedy 2015).

    x: (N, C) or (N, C, spatial...); weight, bias: (C,) of x's dtype, weight None: 1, bias None: 0; mean, variance: (C,) float32 or float64,
    whatever x is, as they are combined in float64 (`batch_statistics` returns that); eps: above 0. Returns y of x's shape. TypeError for other
    dtypes, ValueError for shapes and values, also where variance + eps is not above 0.
    """
    (x,) = floats("batch_norm", x=x)
    mean, rate, weight, bias = _channels("batch_norm", x, mean, variance, weight, bias, eps)
    passes = normalization(x.shape, x.dtype, Options(of_batch=False))
    ones, zeros = np.ones(len(mean), x.dtype), np.zeros(len(mean), x.dtype)
    parameters = ones if weight is None else weight, zeros if bias is None else bias
    return passes.forward(x, parameters, np.concatenate([mean, rate]))


def batch_norm_grad(dy, x, mean, variance, weight=None, *, eps=1e-5, of_batch=True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx, dweight and dbias of `batch_norm`; of_batch: mean and variance are those of x itself, and change with it.

    dbias = sum of dy, dweight = sum of dy * xhat,  xhat = (x - mean) / sqrt(variance + eps)
    dx = weight / sqrt(variance + eps) * (dy - dbias / M - xhat * dweight / M)    without the last two terms if not of_batch

    Shapes, dtypes and errors as in `batch_norm`. Returns dx of x's shape and two (C,).
    """
    dy, x = floats("batch_norm_grad", dy=dy, x=x)
    if dy.shape != x.shape:
        raise ValueError(f"batch_norm_grad: dy{dy.shape} and x{x.shape} must have the same shape")
    mean, rate, weight, _ = _channels("batch_norm_grad", x, mean, variance, weight, None, eps)
    of_batch = flag("batch_norm_grad", "of_batch", of_batch)
    C = x.shape[1]
    dweight, dbias = np.zeros(C, x.dtype), np.zeros(C, x.dtype)
    parameters = np.ones(C, x.dtype) if weight is None else weight, dbias
    passes = normalization(x.shape, x.dtype, Options(of_batch=of_batch))
    dx, _ = passes.backward(dy, Kept(x, parameters, np.concatenate([mean, rate])), (dweight, dbias))
    return dx, dweight, dbias


class Kept(NamedTuple):
    """What the way back needs of the way forward."""

    x: np.ndarray
    parameters: tuple  # weight and bias, or nothing
    statistics: np.ndarray  # (2C,) float64: mean and 1 / sqrt(variance + eps)
    y: np.ndarray | None = None  # where a ReLU follows the sum with a shortcut


class Normalization:
    """The passes of a batch normalization for one shape and dtype. options: by whose statistics, and whether shortcut and ReLU are part of it."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, options: Options):
        self.x = layout.activation(shape, dtype)
        pixels = self.x.size // shape[1], shape[1]
        if self.x.size:
            self._forward, self._backward = BatchNorm(pixels, dtype, options), BatchNormGrad(pixels, dtype, options)
        self.masked = options.relu and options.shortcut

    def forward(self, x: np.ndarray, parameters: tuple, saved: np.ndarray, running: tuple = (), shortcut: np.ndarray | None = None) -> np.ndarray:
        """y; parameters: weight and bias, or nothing. saved: (2C,) float64, mean and 1 / sqrt(variance + eps), written where they are computed.

        running: mean, variance, count and momentum, of which the batch's statistics change the first three in place; where x is not normalized by
        its own, the statistics.
        shortcut: of x's shape, where the options say that it is added.
        """
        y, memory = self.x.empty()
        if y.size:
            operands = (self.x.flat(x),) if shortcut is None else (self.x.flat(x), self.x.flat(shortcut))
            self._forward(operands, parameters, memory, saved, running)
        return y

    def backward(self, dy, kept: Kept, gradients: tuple = (), accumulate: bool = False, input_grad: bool = True) -> tuple:
        """dx, None if it is not wanted, and the shortcut's gradient; gradients: dweight and dbias, or nothing, overwritten or added to."""
        dx, memory = self.x.empty() if input_grad else (None, None)
        shortcut_grad, masked = self.x.empty() if self.masked else (dy, None)
        if self.x.size:
            upstream = (self.x.flat(dy), self.x.flat(kept.y), masked) if self.masked else (self.x.flat(dy),)
            self._backward(upstream, self.x.flat(kept.x), (kept.parameters, kept.statistics), memory, gradients, accumulate)
        elif not accumulate:
            for gradient in gradients:
                gradient[...] = 0
        return dx, shortcut_grad


normalization = lru_cache(256)(Normalization)


def _channels(op: str, x: np.ndarray, mean, variance, weight, bias, eps) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """mean and 1 / sqrt(variance + eps) in float64, weight and bias as they are, each (C,)."""
    eps = number(op, "eps", eps)
    if not eps:
        raise ValueError(f"{op}: eps must be above 0, got {eps}")
    (mean,), (variance,) = floats(op, mean=mean), floats(op, variance=variance)
    found = {} if weight is None else {"weight": dense(_alike(op, x, "weight", weight))}
    if bias is not None:
        found["bias"] = dense(_alike(op, x, "bias", bias))
    shapes = {name: (array.shape, "C") for name, array in found.items()}
    bind(op, x=(x.shape, _axes(op, x)), mean=(mean.shape, "C"), variance=(variance.shape, "C"), **shapes)
    mean, variance = mean.astype(np.float64, copy=False), variance.astype(np.float64, copy=False)
    try:
        with np.errstate(invalid="raise", divide="raise"):
            rate = 1 / np.sqrt(variance + eps)
    except FloatingPointError:
        raise ValueError(f"{op}: variance + eps must be above 0, got a variance of {np.nanmin(variance)} and eps={eps}") from None
    return mean, rate, found.get("weight"), found.get("bias")


def _alike(op: str, x: np.ndarray, name: str, given) -> np.ndarray:
    """An array of x's dtype; the usual case takes 0.1 us."""
    return given if type(given) is np.ndarray and given.dtype is x.dtype else floats(op, x=x, **{name: given})[1]


def _pixels(op: str, x: np.ndarray) -> np.ndarray:
    """(pixels, C): an activation's memory."""
    _axes(op, x)
    return dense(np.moveaxis(x, 1, -1)).reshape(-1, x.shape[1])


def _axes(op: str, x: np.ndarray) -> str:
    """The names of x's axes."""
    if not 2 <= x.ndim <= 5:
        raise ValueError(f"{op}: x must be (N, C) or (N, C, spatial...) with 1 to 3 spatial axes, got x{x.shape}")
    return AXES[x.ndim - 2]
