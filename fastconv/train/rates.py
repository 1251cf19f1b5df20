"""Which learning rate to train with: a test over rates that grow until the loss does."""

import math
from copy import deepcopy
from itertools import chain, islice, repeat
from typing import NamedTuple

import numpy as np

from fastconv import streams
from fastconv.data import Batches
from fastconv.geometry import integer, number
from fastconv.layers import Layer
from fastconv.losses import cross_entropy
from fastconv.optim import Optimizer
from fastconv.train.arguments import Loss, as_loss, as_optimizer, as_pair, check_model, check_owner, check_pair
from fastconv.train.examples import as_taken
from fastconv.train.steps import add_gradients

WORSE = 4.0  # times the lowest loss, and the test is over
NEAR = 6  # steps before and after that a smoothed loss is the mean of, weighed by nearness
MEMORY = 0.9  # of the mean that decides when to stop: it must not look ahead


class RateTest(NamedTuple):
    """The rate of each step and its loss, up to where the loss explodes. `plot.lr_curve(test)` draws it."""

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float  # where the smoothed loss falls fastest, before its lowest point; NaN where it falls by no more than its noise

    def __repr__(self) -> str:
        return f"RateTest({len(self.rates)} rates from {self.rates[0]:.2g} to {self.rates[-1]:.2g}, suggestion={self.suggestion:.2g})"


def find_lr(
    model: Layer, examples, y=None, *, loss_function: Loss | str = cross_entropy, optimizer: Optimizer | str = "adam", batch_size: int = 32,
    lowest: float = 1e-6, highest: float = 10.0, steps: int = 100,
) -> RateTest:  # fmt: skip
    """Train a copy of the model for some steps, at rates that grow by the same factor from `lowest` to `highest`, and see where the loss falls.

    examples, y, loss_function, optimizer, batch_size: as for `fit`; optimizer: one of the model's parameters, of which a copy is used, or a name.
    steps: at most so many batches; the test ends where the loss is no number any more or four times its lowest. The model, its gradients, the
    optimizer and the random streams are afterwards what they were before, to the bit. Train with about `suggestion`, or as `OneCycle`'s max_lr.
    TypeError, ValueError as for `fit`. Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3.
    """
    op = "find_lr"
    check_model(op, model)
    loss_function, examples, steps = as_loss(op, loss_function), as_pair(op, examples, y), integer(op, "steps", steps, 2)
    lowest, highest = number(op, "lowest", lowest), number(op, "highest", highest)
    if not 0 < lowest < highest:
        raise ValueError(f"{op}: lowest and highest must be rates, 0 < lowest < highest, got {lowest:g} and {highest:g}")
    examples, _ = as_taken(op, "examples", model, examples, loss_function)
    check_pair(model, "examples", examples, loss_function, op=op)
    if isinstance(optimizer, Optimizer):
        check_owner(model, optimizer, op)
        model, optimizer = deepcopy((model, optimizer))
    else:
        model = deepcopy(model)
        optimizer = as_optimizer(op, optimizer, model)
    stream = streams.Stream(0)
    stream.restore(streams.default.state())
    batches = chain.from_iterable(repeat(Batches(*examples, batch_size, stream=stream)))
    losses: list[float] = []
    rates, mean, best = np.geomspace(lowest, highest, steps), 0.0, math.inf
    for rate, (x, targets) in zip(rates, islice(batches, steps)):
        optimizer.zero_grad()
        optimizer.lr = float(rate)
        with np.errstate(all="ignore"):  # that it overflows in the end is the point
            value, _ = add_gradients(model, x, targets, loss_function)
        mean = MEMORY * mean + (1 - MEMORY) * value
        fair = mean / (1 - MEMORY ** (len(losses) + 1))
        if not losses and not math.isfinite(value):
            raise ValueError(f"{op}: the loss is {value} at the first step already")
        if not fair < WORSE * best:
            break
        best = min(best, fair)
        losses.append(value)
        optimizer.step()
    return _result(rates[: len(losses)], np.array(losses))


def _result(rates: np.ndarray, losses: np.ndarray) -> RateTest:
    distance = np.abs(np.subtract.outer(np.arange(len(losses)), np.arange(len(losses))))
    weights = np.maximum(0, 1 - distance / NEAR)
    smoothed = weights @ losses / weights.sum(axis=1)
    first, lowest = losses[: len(losses) // 4 + 1], int(smoothed.argmin())
    if smoothed[lowest] >= first.mean() - 3 * first.std() / math.sqrt(NEAR) or lowest < 2:
        return RateTest(rates, losses, smoothed, math.nan)
    slopes = np.gradient(smoothed, np.log(rates))
    return RateTest(rates, losses, smoothed, float(rates[slopes[:lowest].argmin()]))
