"""One step of training, and what was not finite in it."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fastconv.layers import Buffer, Layer, Parameter, Sequential
from fastconv.optim import Optimizer
from fastconv.streams import Stream
from fastconv.train.scores import Loss


def step(model: Layer, x, y, loss_function: Loss, optimizer: Optimizer) -> float:
    """One step of training on one batch: forward, loss, backward, update. Returns the loss before the update."""
    optimizer.zero_grad()
    value, _ = add_gradients(model, x, y, loss_function)
    optimizer.step()
    return value


def add_gradients(model: Layer, x, y, loss_function: Loss, share: float = 1.0) -> tuple[float, np.ndarray]:
    """Add `share` times the loss's gradients to those of the parameters. Returns the loss and the outputs."""
    outputs, backward = model.forward(x, training=True)
    value, d_outputs = loss_function(outputs, y)
    backward(d_outputs if share == 1 else d_outputs * share, input_grad=False)
    return value, outputs


@contextmanager
def all_or_nothing(buffers: list[Buffer], streams: list[Stream]) -> Iterator[None]:
    """A body that raises leaves running statistics and random streams as they were before it."""
    values = [buffer.value for buffer in buffers]  # a forward pass puts new arrays in their place
    states = [stream.state() for stream in streams]
    try:
        yield
    except BaseException:
        for buffer, value in zip(buffers, values):
            buffer.value = value
        for stream, state in zip(streams, states):
            stream.restore(state)
        raise


class NotFinite(Exception):
    """Of a batch: its x, its loss, and the parameters whose gradients hold NaN or Inf."""

    def __init__(self, x: np.ndarray, value: float, gradients: list[str]):
        self.x, self.value, self.gradients = x, value, gradients

    def told(self, model: Layer, where: str) -> FloatingPointError:
        """The error that names the first layer that is to blame; the model is as it was before the step."""
        culprit = first_not_finite(model, self.x)
        if culprit is None:
            culprit = f"the gradient of {self.gradients[-1]}" if self.gradients else "the loss"
        return FloatingPointError(f"fit: the loss is {self.value} in {where}; first not finite: {culprit}; the model is that of the step before")


def check_finite(parameters: list[tuple[str, Parameter]], x: np.ndarray, value: float) -> None:
    """Before the update, so that the parameters are those of the last good step."""
    bad = [name for name, p in parameters if p.has_grad and not np.isfinite(p.grad).all()]
    if bad or not np.isfinite(value):
        raise NotFinite(x, value, bad)


def first_not_finite(model: Layer, x: np.ndarray, path: str = "") -> str | None:
    """The first layer whose output holds NaN or Inf for this batch (without dropout); None if all are finite."""
    if not np.isfinite(x).all():
        return "the input"
    for name, layer in model.children() if isinstance(model, Sequential) else ():
        y = layer(x)
        if not np.isfinite(y).all():
            return first_not_finite(layer, x, f"{path}{name}.") or f"layer {path}{name} ({layer!r})"
        x = y
    return None
