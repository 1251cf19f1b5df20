"""Training that runs away: `fit` says where, and leaves the last good step."""

import numpy as np
import pytest
from runs import assert_same_state, net

from fastconv import data, layers, losses, optim, train
from fastconv.train.steps import add_gradients

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits():
    (x, y), _ = data.digits()
    return x[:60], y[:60]


class RateOf(optim.Schedule):
    """The rate of update number `at`, counted from 1, is `lr`, that of all others 0.1."""

    def __init__(self, optimizer, at, lr):
        self.at, self.lr = at, lr
        super().__init__(optimizer, per="update")

    def rate(self, base_lr, step):
        return self.lr if step + 1 == self.at else 0.1


def stopped(digits, at, lr, message, kind=optim.SGD, **words):
    """A net after a fit by 20 whose update number `at` is of this rate, with its statistics and Dropout; and what it was made with."""
    model = layers.Sequential(*net(), layers.BatchNorm1d(10), layers.Dropout(0.1))
    optimizer = kind(model.parameters(), 0.1)
    schedule = RateOf(optimizer, at, lr)
    with pytest.raises(FloatingPointError, match=message):
        train.fit(model, digits, epochs=2, batch_size=20, optimizer=optimizer, schedule=schedule, **words)
    return model, optimizer, schedule


def written_out(digits, steps, kind=optim.SGD):
    """The net after so many steps of rate 0.1."""
    model = layers.Sequential(*net(), layers.BatchNorm1d(10), layers.Dropout(0.1))
    optimizer = kind(model.parameters(), 0.1)
    batches = data.Batches(*digits, 20)
    for _ in range(steps):
        for x, y in batches:
            if not steps:
                break
            train.step(model, x, y, losses.cross_entropy, optimizer)
            steps -= 1
    return model, optimizer


def assert_last_good(found, expected):
    (model, optimizer, schedule), (wanted, by) = found, expected
    assert_same_state(model, wanted)
    assert [stream.state() for _, stream in model.named_streams()] == [stream.state() for _, stream in wanted.named_streams()]
    steps = max(by.counts.values())
    assert set(optimizer.counts.values()) == {steps}
    assert schedule.steps == steps
    for name, value in by.state_dict().items():
        if not name.endswith(".lr"):  # the schedule's next one
            np.testing.assert_array_equal(optimizer.state_dict()[name], value, err_msg=name)


@pytest.mark.parametrize(("at", "where"), [(1, "epoch 1, step 1"), (2, "epoch 1, step 2"), (3, "epoch 1, step 3"), (6, "epoch 2, step 3")])
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
def test_an_update_that_overflows_is_undone_and_named(digits, at, where, kind):
    """Also the last one of an epoch, and that of the run: nothing comes after it that would notice."""
    message = (
        rf"^fit: the update overflows at the rate 1e\+45 in {where}; first not finite: parameter 0\.weight; the model is that of the step before"
    )
    assert_last_good(stopped(digits, at, 1e45, message, kind), written_out(digits, at - 1, kind))


@pytest.mark.parametrize(
    ("at", "where"), [(2, "epoch 1, step 3"), (3, "the validation after epoch 1, step 3"), (6, "the validation after epoch 2, step 3")]
)
def test_an_update_whose_model_answers_with_nan_is_undone(digits, at, where):
    """Its parameters are finite, but the next forward pass is not."""
    message = rf"^fit: the loss is nan in {where}; first not finite: layer \d \(.*; the model is that before the last update"
    assert_last_good(stopped(digits, at, 1e38, message, validation=digits), written_out(digits, at - 1))


def test_a_validation_that_is_not_finite_leaves_what_was_trained(digits):
    """Its own fault, not the last update's."""
    x = digits[0].copy()
    x[33, 0, 0, 0] = np.inf
    message = "^fit: the loss is nan in the validation after epoch 1, step 3; first not finite: the input; the model is that of this step"
    found = stopped(digits, 99, 1.0, message, validation=(x, digits[1]))
    assert_last_good(found, written_out(digits, 3))

    def loss(outputs, targets):
        value, gradient = losses.cross_entropy(outputs, targets)
        return (np.inf if len(outputs) == 60 else value), gradient

    message = "^fit: the loss is inf in the validation after epoch 1, step 3; first not finite: the loss; the model is that of this step"
    assert_last_good(stopped(digits, 99, 1.0, message, validation=digits, loss_function=loss), written_out(digits, 3))


def test_a_model_that_is_no_sequential_is_named(digits):
    class Own(layers.Layer):
        def __init__(self):
            self.body = net()

        def forward(self, x, training=True):
            return self.body.forward(x, training)

        def output_shape(self, input_shape):
            return self.body.output_shape(input_shape)

    model = Own()
    optimizer = optim.SGD(model.parameters(), 1e38)
    with pytest.raises(FloatingPointError, match="epoch 1, step 2; first not finite: the output of Own; the model is that before"):
        train.fit(model, digits, optimizer=optimizer)
    assert_same_state(model.body, net())


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop])
def test_a_step_is_undone_to_the_bit(kind, digits):
    """try_step, undo: what comes after is what it would have been."""
    ends = []
    for undone in (False, True):
        model = net()
        optimizer = kind(model.parameters(), lr=0.01)
        for k in range(3):
            if undone and k == 2:
                optimizer.zero_grad()
                add_gradients(model, digits[0][:9], digits[1][:9], losses.cross_entropy)
                assert optimizer.try_step()
                kept = layers.Sequential(model)  # parameters may move meanwhile
                optimizer.undo()
                assert kept[0] is model
            train.step(model, *digits, losses.cross_entropy, optimizer)
        ends.append((model, optimizer))
    assert_same_state(ends[0][0], ends[1][0])
    for name, value in ends[0][1].state_dict().items():
        np.testing.assert_array_equal(ends[1][1].state_dict()[name], value, err_msg=name)
