"""What a model answers, and how good that is."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastconv.geometry import integer
from fastconv.layers import Layer
from fastconv.losses import cross_entropy

Loss = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]


class Score(NamedTuple):
    """The mean loss, and the share of right classes (None where targets are not classes)."""

    loss: float
    accuracy: float | None

    def __str__(self) -> str:
        return f"loss {self.loss:.4f}" + ("" if self.accuracy is None else f", accuracy {100 * self.accuracy:.1f} %")


def predict(model: Layer, x, batch_size: int = 256) -> np.ndarray:
    """The model's outputs for all x: (N, ...), in batches. Returns (N, ...) in order; argmax(axis=1) gives classes."""
    x = np.asarray(x)
    size = integer("predict", "batch_size", batch_size, 1)
    return np.concatenate([model(x[start : start + size]) for start in range(0, max(1, len(x)), size)])


def evaluate(model: Layer, x, y, *, loss_function: Loss = cross_entropy, batch_size: int = 256) -> Score:
    """The mean loss over all (x, y) and, where y are classes, the accuracy."""
    x, y = np.asarray(x), np.asarray(y)
    if len(x) != len(y) or not len(x):
        raise ValueError(f"evaluate: x and y must have the same length N >= 1, got x{x.shape}, y{y.shape}")
    return score(predict(model, x, batch_size), y, loss_function)


def score(outputs: np.ndarray, y: np.ndarray, loss_function: Loss) -> Score:
    """The score of answers that are there already."""
    return Score(loss_function(outputs, y)[0], float(np.mean(outputs.argmax(axis=1) == y)) if are_classes(y) else None)


def are_classes(y: np.ndarray) -> bool:
    return y.ndim == 1 and y.dtype.kind in "iu"
