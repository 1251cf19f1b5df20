"""One step of training, and what was not finite in it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from fastconv.geometry import instance
from fastconv.layers import Buffer, Layer, Module, Parameter, Sequential
from fastconv.optim import Optimizer
from fastconv.streams import Stream
from fastconv.train.ahead import helped
from fastconv.train.arguments import OPTIMIZER, Loss, as_loss, check_model
from fastconv.train.replay import training_pass
from fastconv.train.scores import called


def step(model: Layer, x, y, loss_function: Loss | str, optimizer: Optimizer) -> float:
    """One step of training on one batch: forward, loss, backward, update. Returns the loss before the update.

    Steps on batches of the same kind are replayed from the third one on, to the same bits, without calling the layers (`train.replay`). A model with
    layers of somebody else's runs as they are written, and what a Module has as forward is called in each step.
    TypeError for what is no Layer, loss or Optimizer; ValueError where the optimizer holds none of the parameters that are to learn.
    """
    check_model("step", model)
    loss_function = as_loss("step", loss_function)
    instance("step", "optimizer", optimizer, Optimizer, OPTIMIZER)
    optimizer.zero_grad()
    value, _ = add_gradients(model, x, y, loss_function)
    if not any(p.has_grad for p in optimizer.parameters) and not all(p.frozen for p in optimizer.parameters):
        raise ValueError("step: optimizer holds none of the parameters that got a gradient: make it of model.parameters()")
    optimizer.step()
    return value


def add_gradients(model: Layer, x, y, loss_function: Loss, share: float = 1.0) -> tuple[float, np.ndarray]:
    """Add `share` times the loss's gradients to those of the parameters. Returns the loss and the outputs."""
    with helped(model, x, y, loss_function), training_pass(model, x) as (outputs, backward):
        value, d_outputs = called(loss_function, outputs, y)
        backward(d_outputs if share == 1 else d_outputs * share)
    return value, outputs


@contextmanager
def all_or_nothing(buffers: list[Buffer], streams: list[Stream]) -> Iterator[Callable[[], None]]:
    """A body that raises leaves running statistics and random streams as they were before it; what `with` gives puts them back later on."""
    values = [buffer.value.copy() for buffer in buffers]
    states = [stream.state() for stream in streams]

    def rewind() -> None:
        for buffer, value in zip(buffers, values):
            buffer.value = value
        for stream, state in zip(streams, states):
            stream.restore(state)

    try:
        yield rewind
    except BaseException:
        rewind()
        raise


def update(optimizer: Optimizer, parameters: list[tuple[str, Parameter]], batches: list[np.ndarray], value: float) -> None:
    """Move the parameters by finite gradients to finite values, or none: an exception leaves them and the optimizer as they were.

    batches: the inputs of which the gradients are, and the loss of the last of them.
    """
    try:
        if not optimizer.try_step():
            check_gradients(parameters, batches, value)
            for name, p in parameters:
                if p.has_grad and not np.isfinite(p.value).all():
                    raise Overflown(optimizer.lr, name)
    except BaseException:
        optimizer.undo()
        raise


class NotFinite(Exception):
    """Of batches: the x of each, the loss of the last, and the parameters whose gradients hold NaN or Inf."""

    def __init__(self, batches: list[np.ndarray], value: float, gradients: list[str]):
        self.batches, self.value, self.gradients = batches, value, gradients

    def told(self, model: Layer, where: str, left: str, undo: Callable[[], None] | None) -> FloatingPointError:
        """The error that names the first layer that is to blame. Where outputs are not finite, the update before made them so, and is undone.

        left: what the model is otherwise.
        """
        culprit = next(filter(None, (first_not_finite(model, x) for x in self.batches)), None)
        if culprit not in (None, "the input") and undo is not None:
            undo()
            left = "the model is that before the last update"
        if culprit is None:
            culprit = f"the gradient of {self.gradients[-1]}" if self.gradients else "the loss"
        return FloatingPointError(f"fit: the loss is {self.value} in {where}; first not finite: {culprit}; {left}")


class Overflown(NotFinite):
    """An update that was too large, and is undone already."""

    def __init__(self, lr: float, name: str):
        self.lr, self.name = lr, name

    def told(self, model, where, left, undo):
        return FloatingPointError(f"fit: the update overflows at the rate {self.lr:g} in {where}; first not finite: parameter {self.name}; {left}")


def check_gradients(parameters: list[tuple[str, Parameter]], batches: list[np.ndarray], value: float) -> None:
    """NotFinite, where they or the loss are not."""
    bad = [name for name, p in parameters if p.has_grad and not np.isfinite(p.grad).all()]
    if bad or not np.isfinite(value):
        raise NotFinite(batches, value, bad)


def first_not_finite(model: Layer, x: np.ndarray, path: str = "") -> str | None:
    """The first layer whose output holds NaN or Inf for this batch (without dropout); None if all are finite."""
    if not np.isfinite(x).all():
        return "the input"
    if isinstance(model, Module):
        return next((f"layer {path}{name} ({layer!r})" for name, layer, y in model.values(x) if not np.isfinite(y).all()), None)
    if not isinstance(model, Sequential):
        return None if path or np.isfinite(model(x)).all() else f"the output of {type(model).__name__}"
    for name, layer in model.named_children():
        y = layer(x)
        if not np.isfinite(y).all():
            return first_not_finite(layer, x, f"{path}{name}.") or f"layer {path}{name} ({layer!r})"
        x = y
    return None
