"""What a model answers, and how good that is."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastconv.data.arrays import scaled
from fastconv.geometry import array, described, function, integer
from fastconv.layers import Layer
from fastconv.losses import cross_entropy
from fastconv.train.arguments import Loss, as_loss, image_array, with_images
from fastconv.train.examples import as_taken, taken_images
from fastconv.train.history import told_loss


class Score(NamedTuple):
    """The mean loss, and the share of right classes (NaN where targets are not classes)."""

    loss: float
    accuracy: float

    def __str__(self) -> str:
        return f"loss {told_loss(self.loss)}" + ("" if math.isnan(self.accuracy) else f", accuracy {100 * self.accuracy:.1f} %")


def predict(model: Layer, x, batch_size: int = 256) -> np.ndarray:
    """The model's outputs for all x: (N, ...), in batches. Returns (N, ...) in order; argmax(axis=1) gives classes.

    x as `fit` takes it: uint8 is scaled to 0..1, images may have their channels last where the model takes them only so.

    TypeError for what is no Layer (or other function of x), ValueError where x has no axis N.
    """
    function("predict", "model", model, "a Layer")
    x, size = image_array("predict", "x", x), integer("predict", "batch_size", batch_size, 1)
    if not x.ndim:
        raise ValueError(f"predict: x must be (N, ...), got {described(x.item())}")
    return in_batches(model, taken_images(model, x), size)


def in_batches(model: Layer, x: np.ndarray, size: int = 256, pause: Callable[[], None] = lambda: None) -> np.ndarray:
    """The outputs for all x; `pause()` is called before each batch."""
    outputs = []
    for start in range(0, max(1, len(x)), size):
        pause()
        batch = scaled(x[start : start + size])
        try:
            outputs.append(np.asarray(model(batch)))
        except ValueError as error:
            error.args = (with_images(error, batch.shape),)
            raise
        if not outputs[-1].ndim:
            raise ValueError(f"the model must give an output for each example, (N, ...), got {described(outputs[-1].item())}")
    return np.concatenate(outputs)


def evaluate(model: Layer, x, y, *, loss_function: Loss | str = cross_entropy, batch_size: int = 256) -> Score:
    """The mean loss over all (x, y), as `fit` takes them, and, where y are classes, the accuracy. TypeError, ValueError for what cannot be that."""
    function("evaluate", "model", model, "a Layer")
    loss_function = as_loss("evaluate", loss_function)
    (x, y), _ = as_taken("evaluate", "x and y", model, (x, y), loss_function)
    x, y, size = array("evaluate", "x", x), array("evaluate", "y", y), integer("evaluate", "batch_size", batch_size, 1)
    if not x.ndim or not y.ndim or len(x) != len(y) or not len(x):
        raise ValueError(f"evaluate: x and y must have the same length N >= 1, got x{x.shape}, y{y.shape}")
    return score(in_batches(model, x, size), y, loss_function)


def score(outputs: np.ndarray, y: np.ndarray, loss_function: Loss) -> Score:
    """The score of answers that are there already."""
    return Score(called(loss_function, outputs, y)[0], float(np.mean(outputs.argmax(axis=1) == y)) if are_classes(y) else math.nan)


def called(loss_function: Loss, outputs: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss and its gradient. TypeError where the function does not return them."""
    result = loss_function(outputs, y)
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise TypeError(f"loss_function must return (value, d_outputs), got {described(result)}")
    return result


def are_classes(y: np.ndarray) -> bool:
    return y.ndim == 1 and y.dtype.kind in "iu"
