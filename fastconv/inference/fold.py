"""Batch normalization by running statistics is a scale and a shift of each channel: what comes before can do it with other weights.

    (w * x + b - mean) * scale + bias = (w * scale) * x + (b - mean) * scale + bias        scale = weight / sqrt(variance + eps)

All in float64, rounded once to the dtype: each weight and bias is then within one rounding of the exact product, and the sums run as before.
"""

from typing import NamedTuple

import numpy as np


class Affine(NamedTuple):
    """What a layer of batch normalization does in inference, channel by channel; mean and rate in float64 as its kernel takes them."""

    mean: np.ndarray
    rate: np.ndarray  # 1 / sqrt(variance + eps)
    weight: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, layer) -> "Affine":
        """Copies, of a layer that has running statistics."""
        mean, variance = (entry.value.astype(np.float64) for entry in (layer.running_mean, layer.running_var))
        dtype = layer.running_mean.value.dtype
        ones, zeros = np.ones(len(mean), dtype), np.zeros(len(mean), dtype)
        weight, bias = (ones, zeros) if layer.weight is None else (np.array(entry.value) for entry in (layer.weight, layer.bias))
        return cls(mean, 1 / np.sqrt(variance + layer.eps), weight, bias)

    @property
    def scale(self) -> np.ndarray:
        return self.rate * self.weight

    def after_bias(self, b: np.ndarray) -> "Affine":
        """The same of x + b."""
        return self._replace(mean=self.mean - b)


def folded(w: np.ndarray, b: np.ndarray, norms: list[Affine]) -> tuple[np.ndarray, np.ndarray]:
    """The weights (..., OC) and bias (OC,) of a convolution with these normalizations after it; as they are without any."""
    if not norms:
        return w, b
    scale, shift = np.ones(len(b)), b.astype(np.float64)
    for norm in norms:
        scale, shift = scale * norm.scale, (shift - norm.mean) * norm.scale + norm.bias
    return (w * scale).astype(w.dtype), shift.astype(b.dtype)
