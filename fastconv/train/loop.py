"""The training loop."""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from fastconv.data import Batches
from fastconv.geometry import integer
from fastconv.layers import Layer, Sequential
from fastconv.losses import class_labels, cross_entropy
from fastconv.optim import Adam, OneCycle, Optimizer
from fastconv.train.interrupt import between_steps
from fastconv.train.progress import reporter

Loss = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]


class Score(NamedTuple):
    """The mean loss, and the share of right classes (None where targets are not classes)."""

    loss: float
    accuracy: float | None

    def __str__(self) -> str:
        return f"loss {self.loss:.4f}" + ("" if self.accuracy is None else f", accuracy {100 * self.accuracy:.1f} %")


def step(model: Layer, x, y, loss_function: Loss, optimizer: Optimizer) -> float:
    """One step of training on one batch: forward, loss, backward, update. Returns the loss before the update."""
    value, _ = _gradients(model, x, y, loss_function, optimizer)
    optimizer.step()
    return value


def _gradients(model: Layer, x, y, loss_function: Loss, optimizer: Optimizer) -> tuple[float, np.ndarray]:
    optimizer.zero_grad()
    outputs, backward = model.forward(x, training=True)
    value, d_outputs = loss_function(outputs, y)
    backward(d_outputs, input_grad=False)
    return value, outputs


def fit(
    model: Layer,
    examples: tuple[np.ndarray, np.ndarray],
    *,
    epochs: int = 10,
    batch_size: int = 32,
    loss_function: Loss = cross_entropy,
    optimizer: Optimizer | None = None,
    schedule=None,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    shift: int = 0,
    callbacks: Iterable[Callable[[dict], None]] = (),
    progress: bool | None = None,
) -> list[dict]:
    """Train on (x, y) and return the history: one dict per epoch.

    x: (N, C, H, W) float32 or float64, y: (N,) classes (or whatever the loss takes). optimizer None: Adam on a one-cycle schedule that
    ends with the last step; schedule: an object whose `step()` is called after each update. shift: random moves of each image, in pixels.
    validation: (x, y) evaluated after each epoch. callbacks: called with each epoch's dict (epoch, loss, accuracy, lr, images_per_second, and
    validation_loss, validation_accuracy). progress: None shows a line on terminals only, True also prints a line per epoch elsewhere.

    FloatingPointError where a loss or gradient is not finite, KeyboardInterrupt on Ctrl-C: both between two steps, with the last good parameters.
    """
    epochs = integer("fit", "epochs", epochs, 1)
    for name, pair in (("examples", examples), ("validation", validation)):
        if pair is not None or name == "examples":
            _check_pair(model, name, pair, loss_function)
    callbacks = tuple(callbacks)
    batches = Batches(*examples, batch_size, shift=shift)
    if optimizer is None:
        optimizer = Adam(model.parameters())
        schedule = schedule or OneCycle(optimizer, max_lr=5e-3, total_steps=max(2, epochs * len(batches)))
    history: list[dict] = []
    with reporter(epochs, len(examples[0]), progress) as report, between_steps() as interrupted:
        for epoch in range(1, epochs + 1):
            record = _epoch(model, batches, loss_function, optimizer, schedule, epoch, report, interrupted)
            if validation is not None:
                score = evaluate(model, *validation, loss_function=loss_function)
                record |= {"validation_loss": score.loss, "validation_accuracy": score.accuracy}
            history.append(record)
            report.epoch(record)
            for callback in callbacks:
                callback(record)
            interrupted.check()
    return history


def _check_pair(model: Layer, name: str, pair, loss_function: Loss) -> None:
    """Before anything is trained: (x, y) of one length, and labels that the model has outputs for."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"fit: {name} must be a pair (x, y), got {type(pair).__name__}")
    x, y = map(np.shape, pair)
    if not x or not y or x[0] != y[0] or not x[0]:
        raise ValueError(f"fit: x and y of {name} must have the same length N >= 1, got x{x}, y{y}")
    if loss_function is cross_entropy:
        class_labels(f"fit: {name}", model.output_shape(x), pair[1])


def _epoch(model, batches, loss_function, optimizer, schedule, epoch, report, interrupted) -> dict:
    start, seen, total, right = time.perf_counter(), 0, 0.0, 0
    classes = _are_classes(batches.y)
    lr = optimizer.lr
    for number, (x, y) in enumerate(batches, start=1):
        interrupted.check()
        value, outputs = _gradients(model, x, y, loss_function, optimizer)
        _check_finite(model, x, value, f"epoch {epoch}, step {number}")
        lr = optimizer.lr
        optimizer.step()
        if schedule is not None:
            schedule.step()
        seen += len(x)
        total += value * len(x)
        right += int((outputs.argmax(axis=1) == y).sum()) if classes else 0
        report.step(epoch, seen, total / seen, right / seen if classes else None)
    seconds = time.perf_counter() - start
    accuracy = right / seen if classes else None
    return {"epoch": epoch, "loss": total / seen, "accuracy": accuracy, "lr": lr, "images_per_second": seen / seconds}


def _are_classes(y: np.ndarray) -> bool:
    return y.ndim == 1 and y.dtype.kind in "iu"


def _check_finite(model: Layer, x: np.ndarray, value: float, where: str) -> None:
    """Before the update, so that the parameters are those of the last good step."""
    bad = [name for name, p in model.named_parameters() if p.has_grad and not np.isfinite(p.grad).all()]
    if np.isfinite(value) and not bad:
        return
    culprit = _first_not_finite(model, x)
    if culprit is None:
        culprit = f"the gradient of {bad[-1]}" if bad else "the loss"
    raise FloatingPointError(f"fit: the loss is {value} in {where}; first not finite: {culprit}; the parameters are those of the step before")


def _first_not_finite(model: Layer, x: np.ndarray, path: str = "") -> str | None:
    """The first layer whose output holds NaN or Inf for this batch (without dropout); None if all are finite."""
    if not np.isfinite(x).all():
        return "the input"
    for name, layer in model.children() if isinstance(model, Sequential) else ():
        y = layer(x)
        if not np.isfinite(y).all():
            return _first_not_finite(layer, x, f"{path}{name}.") or f"layer {path}{name} ({layer!r})"
        x = y
    return None


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
    outputs = predict(model, x, batch_size)
    return Score(loss_function(outputs, y)[0], float(np.mean(outputs.argmax(axis=1) == y)) if _are_classes(y) else None)
