"""What a row of `calls` is made of: the call, small operands, and what is done with a result."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastconv import layers, models, optim, train


class Call(NamedTuple):
    """then: what is done with the result, so that a bad value is not only taken. may: what else is documented. changes: operands, if it returns.
    endless: the arguments that rightly take long where they are large. functions: those that run the caller's code. anything: those that are shown
    as they are."""

    function: Callable
    args: tuple = ()
    words: dict = {}  # noqa: RUF012  # never changed
    then: Callable = lambda result: None
    may: tuple[type[BaseException], ...] = ()
    changes: bool = False
    endless: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    anything: tuple[str, ...] = ()


def f32(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def labels(N: int, K: int = 3) -> np.ndarray:
    return np.arange(N) % K


def net() -> layers.Sequential:
    return layers.Sequential(
        layers.Conv2d(1, 2, 3, rng=np.random.default_rng(0)), layers.Flatten(), layers.Linear(8, 3, rng=np.random.default_rng(0))
    )


def sgd() -> optim.SGD:
    return optim.SGD([layers.Parameter(f32(3))], 0.1)


def once_around(x: np.ndarray) -> Callable:
    """Use a layer for what it is for."""

    def both(layer: layers.Layer) -> None:
        y, backward = layer.forward(x)
        backward(np.ones_like(y))

    return both


def step_with(parameters: list) -> Callable:
    def step(optimizer: optim.Optimizer) -> None:
        for p in parameters:
            p.add_grad(np.ones_like(p.value))
        optimizer.step()

    return step


def stepped(schedule: optim.Schedule) -> None:
    schedule.step(1.0)
    schedule.optimizer.step()


def run() -> train.Run:
    config = {"model": "small_cnn", "in_channels": 1, "size": [4, 4], "class_names": ["a", "b"], "data": "own", "normalise": None}
    return train.Run(Path("run"), models.small_cnn(1, 4, 2), config, train.History())


def watched(callback: train.Callback) -> None:
    train.fit(net(), f32(4, 1, 4, 4), labels(4), epochs=1, callbacks=[callback], verbose=0)
