"""The test of learning rates: it finds where the loss falls, and leaves everything as it was."""

import math

import numpy as np
import pytest
from runs import net

import fastconv as fc
from fastconv import data, layers, losses, optim, streams, train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits():
    (x, y), _ = data.digits()
    return x[:320], y[:320]


def everything(model, optimizer):
    """All bits that a test of rates could change."""
    parts = [*model.state_dict().items(), *optimizer.state_dict().items()]
    parts += [(f"gradient {name}", p.grad.copy() if p.has_grad else None) for name, p in model.named_parameters()]
    parts += [(f"version {name}", p.version) for name, p in model.named_parameters()]
    return [*parts, ("streams", [stream.state() for _, stream in model.named_streams()] + [streams.default.state()])]


@pytest.mark.parametrize("given", ["own", "adam"])
def test_everything_is_as_before_to_the_bit(digits, given):
    model = layers.Sequential(*net(), layers.BatchNorm1d(10), layers.Dropout(0.1))
    optimizer = optim.Adam(model.parameters(), 0.01)
    train.step(model, digits[0][:20], digits[1][:20], losses.cross_entropy, optimizer)
    before = everything(model, optimizer)
    test = train.find_lr(model, *digits, optimizer=optimizer if given == "own" else given, steps=20)
    assert test.losses[-1] != test.losses[0]
    for (name, value), (_, expected) in zip(everything(model, optimizer), before):
        np.testing.assert_array_equal(value, expected, err_msg=name)


def test_the_steps_are_those_of_a_training_at_growing_rates(digits):
    fc.seed(3)
    test = train.find_lr(net(), digits, optimizer="sgd", batch_size=80, lowest=1e-3, highest=0.1, steps=6)  # more than an epoch
    fc.seed(3)
    model, batches = net(), data.Batches(*digits, 80, stream=stream_of_default())
    optimizer = optim.SGD(model.parameters(), 1.0)
    values = []
    for rate, (x, y) in zip(test.rates, [*batches, *batches]):
        optimizer.lr = rate
        values.append(train.step(model, x, y, losses.cross_entropy, optimizer))
    np.testing.assert_array_equal(test.losses, values)
    np.testing.assert_allclose(np.diff(np.log(test.rates)), math.log(100) / 5)


def stream_of_default():
    stream = streams.Stream(0)
    stream.restore(streams.default.state())
    return stream


def test_the_suggestion_is_a_rate_that_learns(digits):
    fc.seed(1)
    test = train.find_lr(net(), digits)
    assert test.rates[0] == 1e-6
    assert 1e-3 < test.suggestion < test.rates[test.smoothed.argmin()] < 1
    assert test.losses.max() < 1e3  # it ends where the loss explodes
    assert repr(test) == f"RateTest({len(test.rates)} rates from 1e-06 to {test.rates[-1]:.2g}, suggestion={test.suggestion:.2g})"
    rates = {}
    for rate in (test.suggestion, 1e-5, test.rates[-1]):
        model = net()
        rates[rate] = train.fit(model, digits, epochs=2, optimizer=optim.Adam(model.parameters(), rate), verbose=0)["loss"][-1]
    assert min(rates, key=rates.get) == test.suggestion


def test_a_loss_that_does_not_fall_suggests_nothing(digits):
    fc.seed(1)
    assert math.isnan(train.find_lr(net(), digits, optimizer="sgd", highest=1e-5, steps=30).suggestion)


def test_it_ends_where_the_loss_is_no_number(digits):
    """And at the first step, where it never was one."""
    test = train.find_lr(net(), digits, optimizer="sgd", highest=1e30, steps=30)
    assert np.isfinite(test.losses).all()
    assert len(test.losses) < 30
    x = digits[0].copy()
    x[:] = np.nan
    with pytest.raises(ValueError, match=r"^find_lr: the loss is nan at the first step already$"):
        train.find_lr(net(), x, digits[1])


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"lowest": 0}, ValueError, "lowest and highest must be rates, 0 < lowest < highest, got 0 and 10"),
        ({"highest": 1e-7}, ValueError, "lowest and highest must be rates"),
        ({"steps": 1}, ValueError, "steps must be between 2"),
        ({"optimizer": "lion"}, ValueError, "optimizer must be .*'lion'"),
        ({"optimizer": optim.SGD(net().parameters(), 0.1)}, ValueError, "optimizer must hold the model's parameters"),
        ({"loss_function": 3}, TypeError, "loss_function must be"),
    ],
)
def test_wrong_words(digits, words, error, message):
    with pytest.raises(error, match=f"^find_lr: {message}"):
        train.find_lr(net(), digits, **words)
