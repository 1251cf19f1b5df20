"""Where the time of a training step goes: per layer and pass, measured inside whole steps."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from fastconv.geometry import integer
from fastconv.layers import Layer
from fastconv.layers.summary import columns
from fastconv.optim import Optimizer

WARM = 2  # steps that are not counted: they compile, and fill the caches


class Row(NamedTuple):
    """Seconds of a step; None for a pass that the step does not have."""

    name: str
    layer: str
    algorithm: str  # of a convolution's passes
    forward: float
    input_grad: float | None
    weight_grad: float | None

    @property
    def seconds(self) -> float:
        return self.forward + (self.input_grad or 0) + (self.weight_grad or 0)


class Profile(NamedTuple):
    """Medians over steps, in seconds. `str()` is a table in milliseconds."""

    rows: tuple[Row, ...]
    loss: float
    update: float
    step: float  # the whole
    images: int
    rest: float  # what is in none of the rows: the Python between layers, sums of branches that no layer takes

    @property
    def images_per_second(self) -> float:
        return self.images / self.step

    def __str__(self) -> str:
        def ms(seconds: float | None) -> str:
            return "-" if seconds is None else f"{1e3 * seconds:.3f}"

        def ends(seconds: float) -> tuple[str, str]:
            return ms(seconds), f"{seconds / self.step:.1%}"

        lines = [
            (row.name, row.layer, row.algorithm, ms(row.forward), ms(row.input_grad), ms(row.weight_grad), *ends(row.seconds)) for row in self.rows
        ]
        lines += [
            ("", what, "", "", "", "", *ends(seconds)) for what, seconds in (("loss", self.loss), ("update", self.update), ("between", self.rest))
        ]
        head = ("name", "layer", "algorithm", "forward", "input gradient", "weight gradient", "ms", "share")
        return columns(head, lines, ("", f"a step: {self.images_per_second:,.0f} images/s", "", "", "", "", *ends(self.step)), texts=3)


def profile(model: Layer, x, y, loss_function: Callable, optimizer: Optimizer, *, steps: int = 20) -> Profile:
    """Train the model on one batch for some steps and tell the median time of each layer's passes, of the loss, and of the update.

    x, y: the batch, as `train.step` takes it. After each step comes a backward pass with all parameters frozen: it shows what the input
    gradients take, and the weight gradient's time is what is left. Where one pass gives both (BatchNorm), all of it counts as the input's.
    Layers run in each of these steps, so "between" is more than in those of `train.step`, which are replayed (`train.replay`).
    A ReLU that runs inside the layer before or behind it counts there, so does the sum of a Residual in the last layer of its body. Running
    statistics and random streams move on in both kinds of steps.
    """
    steps = integer("profile", "steps", steps, 1)
    parts, whole, frozen = [], [], []  # of each step: (loss, update, all); each clock's reading; the same with frozen parameters
    with _clocks(model) as clocks:
        for _ in range(WARM + steps):
            parts.append(_step(model, x, y, loss_function, optimizer))
            whole.append([clock.read() for clock in clocks])
            _frozen_step(model, x, y, loss_function)
            frozen.append([clock.read() for clock in clocks])
    rows = [_row(clock, *passes) for clock, *passes in zip(clocks, zip(*whole[WARM:]), zip(*frozen[WARM:])) if clock.shape is not None]
    # Of each step by itself: where other processes hold the machine up, a step's median is above the sum of its passes' medians.
    between = [total - loss - update - sum(reading.seconds for reading in readings) for (loss, update, total), readings in zip(parts, whole)]
    rest = max(0.0, float(np.median(between[WARM:])))
    return Profile(tuple(rows), *(float(seconds) for seconds in np.median(parts[WARM:], axis=0)), len(x), rest)


def _step(model: Layer, x, y, loss_function: Callable, optimizer: Optimizer) -> tuple[float, float, float]:
    """`train.step` with a clock: seconds of the loss, of the update, of all."""
    start = time.perf_counter()
    optimizer.zero_grad()
    outputs, backward = model.forward(x, training=True)
    loss_start = time.perf_counter()
    _, d_outputs = loss_function(outputs, y)
    loss_end = time.perf_counter()
    backward(d_outputs, input_grad=False)
    update_start = time.perf_counter()
    optimizer.step()
    end = time.perf_counter()
    return loss_end - loss_start, end - update_start, end - start


def _frozen_step(model: Layer, x, y, loss_function: Callable) -> None:
    learning = [p for p in model.parameters() if not p.frozen]
    for p in learning:
        p.frozen = True
    try:
        outputs, backward = model.forward(x, training=True)
        backward(loss_function(outputs, y)[1])
    finally:
        for p in learning:
            p.frozen = False


class Reading(NamedTuple):
    forward: float
    backward: float
    asked: bool | None  # for the input gradient; None: backward was not called

    @property
    def seconds(self) -> float:
        return self.forward + self.backward


class _Clock:
    """Stands before a layer's `forward` and adds up the seconds of its passes, until it is read."""

    def __init__(self, name: str, layer: Layer):
        self.name, self.layer, self.timed = name, layer, layer.forward
        self.shape: tuple[int, ...] | None = None  # of the last input
        self.more = ""  # what runs with the layer
        self.reading = Reading(0.0, 0.0, None)

    def read(self) -> Reading:
        reading, self.reading = self.reading, Reading(0.0, 0.0, None)
        return reading

    def forward(self, x: np.ndarray, training: bool = True, **words):
        start = time.perf_counter()
        y, back = self.timed(x, training, **words)
        self._add(forward=time.perf_counter() - start)
        self.shape = np.shape(x)
        self.more = (" + shortcut" if words.get("shortcut") is not None else "") + (" + ReLU" if words.get("relu") else "")

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            start = time.perf_counter()
            dx = back(dy, input_grad)
            self._add(backward=time.perf_counter() - start, asked=input_grad)
            return dx

        return y, backward

    def _add(self, forward: float = 0.0, backward: float = 0.0, asked: bool | None = None) -> None:
        old = self.reading
        self.reading = Reading(old.forward + forward, old.backward + backward, old.asked if asked is None else asked)


@contextmanager
def _clocks(model: Layer) -> Iterator[list[_Clock]]:
    """A clock for each layer that has no layers inside, while the body runs."""
    clocks = [_Clock(name, layer) for layer, name in _leaves(model).items()]
    for clock in clocks:
        clock.layer.forward = clock.forward
    try:
        yield clocks
    finally:
        for clock in clocks:
            del clock.layer.forward


def _leaves(layer: Layer, name: str = "") -> dict[Layer, str]:
    """Each once, under its first name."""
    children = list(layer.named_children())
    found = {} if children else {layer: name}
    for inner, child in children:
        for leaf, path in _leaves(child, f"{name}.{inner}" if name else inner).items():
            found.setdefault(leaf, path)
    return found


def _row(clock: _Clock, whole: tuple[Reading, ...], frozen: tuple[Reading, ...]) -> Row:
    forward, backward = (float(np.median([getattr(reading, name) for reading in whole])) for name in ("forward", "backward"))
    asked = whole[-1].asked
    if asked and clock.layer.parameters():
        inputs = min(backward, float(np.median([reading.backward for reading in frozen])))
        passes = inputs, backward - inputs
    else:
        passes = backward if asked else None, backward if asked is False else None
    return Row(clock.name, f"{clock.layer!r}{clock.more}", clock.layer.algorithms(clock.shape), forward, *passes)
