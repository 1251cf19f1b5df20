"""Whole nets in float64 against central differences: every parameter and every input value."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers, losses

pytestmark = pytest.mark.usefixtures("one_thread")

STEP = 1e-5  # the error of a central difference is about STEP**2 * f''' + 2**-53 * f / STEP, some 1e-10 here
TOLERANCE = {"rtol": 1e-6, "atol": 1e-8}
SEED = 21  # no ReLU or maximum of these nets is within STEP of its kink
WORDS = {"dtype": np.float64}


def slopes(f, a):
    """d f / d a[i] for every i, by changing a in place."""
    d = np.empty_like(a)
    for i in np.ndindex(a.shape):
        kept = a[i]
        a[i] = kept + STEP
        above = f()
        a[i] = kept - STEP
        below = f()
        a[i] = kept
        d[i] = (above - below) / (2 * STEP)
    return d


def six_layers():
    return layers.Sequential(
        layers.Conv2d(1, 3, 3, padding=1, **WORDS), layers.ReLU(), layers.MaxPool2d(2),
        layers.Conv2d(3, 4, 2, **WORDS), layers.Flatten(), layers.Linear(16, 3, **WORDS),
    )  # fmt: skip


def strided_dilated_grouped():
    return layers.Sequential(
        layers.Conv2d(2, 4, 3, stride=2, padding=((0, 1), (2, 1)), groups=2, **WORDS),
        layers.ReLU(), layers.Conv2d(4, 4, 2, dilation=(1, 2), groups=4, **WORDS),
        layers.AvgPool2d(2, stride=1, padding=1, count_include_pad=False), layers.Conv2d(4, 2, 2, stride=(2, 1), padding="same", bias=False, **WORDS),
    )  # fmt: skip


def one_dimension():
    return layers.Sequential(
        layers.Conv1d(2, 3, 3, stride=2, padding=1, **WORDS), layers.ReLU(),
        layers.MaxPool1d(3, stride=1, padding=1), layers.Flatten(), layers.Linear(12, 2, **WORDS),
    )  # fmt: skip


def three_dimensions():
    return layers.Sequential(
        layers.Conv3d(1, 2, 2, padding=1, **WORDS), layers.MaxPool3d(2, stride=1),
        layers.Conv3d(2, 2, (1, 2, 2), **WORDS), layers.AvgPool3d((1, 2, 2)),
        layers.ReLU(), layers.Flatten(), layers.Linear(6, 2, **WORDS),
    )  # fmt: skip


def averages():
    return layers.Sequential(
        layers.Conv2d(1, 3, 3, **WORDS), layers.AvgPool2d(3, stride=2, padding=1, ceil_mode=True),
        layers.ReLU(), layers.Conv2d(3, 3, 1, **WORDS), layers.GlobalAvgPool2d(),
    )  # fmt: skip


def used_twice():
    """A layer used twice in a net: right gradients."""
    again = layers.Conv2d(2, 2, 3, padding=1, **WORDS)
    return layers.Sequential(layers.Conv2d(1, 2, 1, **WORDS), again, layers.ReLU(), again, layers.Flatten(), layers.Linear(32, 2, **WORDS))


def shared_weight():
    """The gradient of a shared weight is the sum over every place it is used."""
    first, second = layers.Linear(4, 4, **WORDS), layers.Linear(4, 4, **WORDS)
    second.weight = first.weight
    return layers.Sequential(layers.Flatten(), first, layers.ReLU(), second)


CLASSES, NUMBERS = losses.cross_entropy, losses.mse
NETS = [
    (six_layers, (2, 1, 6, 6), CLASSES), (six_layers, (2, 1, 6, 6), NUMBERS), (strided_dilated_grouped, (2, 2, 7, 6), NUMBERS),
    (one_dimension, (3, 2, 8), CLASSES), (three_dimensions, (2, 1, 3, 4, 4), CLASSES), (averages, (2, 1, 7, 7), NUMBERS),
    (used_twice, (2, 1, 4, 4), CLASSES), (shared_weight, (3, 1, 2, 2), NUMBERS), (shared_weight, (3, 1, 2, 2), CLASSES),
]  # fmt: skip
each_net = pytest.mark.parametrize(("make", "shape", "loss"), NETS, ids=[f"{make.__name__}-{loss.__name__}" for make, _, loss in NETS])


@pytest.fixture
def case(make, shape, loss):
    fc.seed(SEED)
    rng = np.random.default_rng(SEED)
    model, x = make(), rng.standard_normal(shape)
    y = model(x)
    targets = np.arange(len(x)) % y.shape[1] if loss is CLASSES else rng.standard_normal(y.shape)
    return model, x, targets


@each_net
def test_gradients_are_central_differences(case, loss):
    model, x, targets = case
    outputs, backward = model.forward(x)
    dx = backward(loss(outputs, targets)[1])

    def value():
        return loss(model(x), targets)[0]

    np.testing.assert_allclose(dx, slopes(value, x), **TOLERANCE, err_msg="dx")
    assert np.abs(dx).max() > 1e-4, "a net whose gradient is 0 shows nothing"
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad, slopes(value, p.value), **TOLERANCE, err_msg=name)
