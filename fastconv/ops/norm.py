"""Batch normalisation and its gradient. A channel's M numbers are those of all images and positions."""

import numpy as np

from fastconv import memory
from fastconv.geometry import bind, flag, number
from fastconv.kernels.elementwise import norm
from fastconv.ops.operands import dense, floats

CHUNKS = 16  # of the pixels, by their number alone
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
    pivot = pixels[0].copy()
    mean, square = _sums(pixels, pivot, pixels, pivot) / len(pixels)
    return pivot + mean, np.maximum(square - mean * mean, 0)


def batch_norm(x, mean, variance, weight=None, bias=None, *, eps=1e-5) -> np.ndarray:
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, channel by channel (Ioffe and Szegedy 2015).

    x: (N, C) or (N, C, spatial...); weight, bias: (C,) of x's dtype, weight None: 1, bias None: 0; mean, variance: (C,) float32 or float64,
    whatever x is, as they are combined in float64 (`batch_statistics` returns that); eps: above 0. Returns y of x's shape. TypeError for other
    dtypes, ValueError for shapes and values, also where variance + eps is not above 0.
    """
    (x,) = floats("batch_norm", x=x)
    mean, rate, weight, bias = _channels("batch_norm", x, mean, variance, weight, bias, eps)
    shift = np.zeros(x.shape[1], x.dtype) if bias is None else bias
    pixels = _pixels("batch_norm", x)
    y = memory.channels_last(x.shape, x.dtype)
    norm.normalise(x.size, pixels, mean.astype(x.dtype), (rate * weight).astype(x.dtype), shift, _pixels("batch_norm", y))
    return y


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
    pixels, gradients = _pixels("batch_norm_grad", x), _pixels("batch_norm_grad", dy)
    zero, center = np.zeros(x.shape[1], x.dtype), mean.astype(x.dtype)
    total, product = _sums(gradients, zero, pixels, center)
    M = max(1, len(pixels)) if of_batch else np.inf
    dx = memory.channels_last(x.shape, x.dtype)
    factors = (factor.astype(x.dtype) for factor in (rate * weight, total / M, product * rate * rate / M))
    norm.normalise_grad(x.size, gradients, pixels, center, *factors, _pixels("batch_norm_grad", dx))
    return dx, (product * rate).astype(x.dtype), total.astype(x.dtype)


def _channels(op: str, x: np.ndarray, mean, variance, weight, bias, eps) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """mean, 1 / sqrt(variance + eps) and weight in float64, each (C,), and the bias as it is."""
    eps = number(op, "eps", eps)
    if not eps:
        raise ValueError(f"{op}: eps must be above 0, got {eps}")
    (mean,), (variance,) = floats(op, mean=mean), floats(op, variance=variance)
    found = {} if weight is None else {"weight": _alike(op, x, "weight", weight)}
    if bias is not None:
        found["bias"] = _alike(op, x, "bias", bias)
    shapes = {name: (array.shape, "C") for name, array in found.items()}
    bind(op, x=(x.shape, _axes(op, x)), mean=(mean.shape, "C"), variance=(variance.shape, "C"), **shapes)
    mean, variance = mean.astype(np.float64, copy=False), variance.astype(np.float64, copy=False)
    try:
        with np.errstate(invalid="raise", divide="raise"):
            rate = 1 / np.sqrt(variance + eps)
    except FloatingPointError:
        raise ValueError(f"{op}: variance + eps must be above 0, got a variance of {np.nanmin(variance)} and eps={eps}") from None
    return mean, rate, found["weight"].astype(np.float64) if "weight" in found else np.ones(len(mean)), found.get("bias")


def _alike(op: str, x: np.ndarray, name: str, given) -> np.ndarray:
    """An array of x's dtype; the usual case takes 0.1 us."""
    return given if type(given) is np.ndarray and given.dtype is x.dtype else floats(op, x=x, **{name: given})[1]


def _pixels(op: str, x: np.ndarray) -> np.ndarray:
    """(pixels, C): the memory behind an activation."""
    _axes(op, x)
    return dense(np.moveaxis(x, 1, -1)).reshape(-1, x.shape[1])


def _axes(op: str, x: np.ndarray) -> str:
    """The names of x's axes."""
    if not 2 <= x.ndim <= 5:
        raise ValueError(f"{op}: x must be (N, C) or (N, C, spatial...) with 1 to 3 spatial axes, got x{x.shape}")
    return AXES[x.ndim - 2]


def _sums(a, from_a, x, from_x) -> np.ndarray:
    """(2, C) in float64: the sums over pixels of a - from_a, and of that times x - from_x."""
    totals = np.empty((max(1, min(CHUNKS, len(a) // norm.BLOCK)), 2, a.shape[1]))
    norm.paired_sums(2 * a.size, a, from_a, x, from_x, totals)
    return totals.sum(axis=0)
