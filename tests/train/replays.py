"""Steps by layers and by what was noted of them, side by side."""

import copy

import numpy as np

from fastconv import layers
from fastconv.layers import Sequential
from fastconv.train import replay
from fastconv.train.steps import add_gradients

SHAPE = 4, 1, 8, 8  # of a batch for `net`
STEPS = 4  # by layers, noted, and twice again


def normal(shape, seed: int, dtype=np.float32) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def loss(outputs, targets):
    """Any: its gradient is what it is given, in the layout of the outputs."""
    gradient = np.empty_like(outputs)
    gradient[...] = targets
    return float(outputs.astype(np.float64).sum()), gradient


def noted(model) -> int:
    """How many kinds of batches are."""
    return sum(isinstance(kind, replay.Noted) for kind in vars(model)["_replays"]._kinds.values())


def by_layers(model):
    """The model, which notes nothing."""
    vars(model)["_replays"] = replay.Replays()
    vars(model)["_replays"].lock.acquire()
    return model


def state(model, outputs) -> list[np.ndarray]:
    kept = [buffer.value for _, buffer in model.named_buffers()] + [np.array(stream.state()) for _, stream in model.named_streams()]
    return [outputs, *(p.grad.copy() for p in model.parameters()), *kept]


def assert_same(found: list, expected: list) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def compared(model, x_shape, dtype=np.float32, batches=lambda x: x, change=lambda model, step: None) -> Sequential:
    """Steps by layers and by what was noted, side by side; the model that has noted."""
    plain, model = by_layers(copy.deepcopy(model)), copy.deepcopy(model)
    for step in range(STEPS):
        x, found = batches(normal(x_shape, step, dtype)), []
        dy = normal(model.output_shape(x.shape), 100 + step, dtype)
        for each in (plain, model):
            change(each, step)
            each.zero_grad()
            value, outputs = add_gradients(each, x, dy, loss)
            assert np.isfinite(value)
            found.append(state(each, outputs))
            for i, p in enumerate(each.parameters()):
                p.value += normal(p.shape, 200 + step + i, dtype)
        assert_same(found[1], found[0])
    return model


def net() -> Sequential:
    return Sequential(
        *(layers.Conv2d(1, 8, 3), layers.BatchNorm2d(8), layers.ReLU(), layers.MaxPool2d(2), layers.Dropout(0.25)),
        *(layers.Flatten(), layers.Linear(72, 3)),
    )
