"""Training: reproducible, interruptible, talkative within reason, and it learns."""

import math
import signal
import time

import numba
import numpy as np
import pytest
from runs import Stop, assert_same_state, from_call, stop

import fastconv as fc
from fastconv import data, layers, losses, models, optim, train


@pytest.fixture(scope="module")
def digits():
    (x, y), _ = data.digits()
    return x[:160], y[:160]


@pytest.fixture
def model():
    fc.seed(1)
    return models.small_cnn()


def interrupt(value, gradient):
    signal.raise_signal(signal.SIGINT)
    return value, gradient


def fitted(digits, **words):
    """A fresh, seeded net after a fit that may end in an exception, and its optimizer."""
    fc.seed(1)
    model = models.small_cnn()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    error = words.pop("error", None)
    if error is None:
        train.fit(model, digits, optimizer=optimizer, **words)
    else:
        with pytest.raises(error[0], match=error[1]):
            train.fit(model, digits, optimizer=optimizer, **words)
    return model, optimizer


def test_same_seed_same_bits_on_any_number_of_threads(digits, threads):
    """Bitwise equal results for any thread count and repeated runs."""
    runs = []
    for n in (1, 1, min(2, numba.config.NUMBA_NUM_THREADS)):
        threads(n)
        fc.seed(3)
        model = models.small_cnn()
        history = train.fit(model, digits, epochs=2, shift=1, validation=digits)
        runs.append((model, [{k: v for k, v in record.items() if k != "images_per_second"} for record in history]))
    for model, history in runs[1:]:
        assert_same_state(model, runs[0][0])
        assert history == runs[0][1]


def test_fit_is_its_steps_written_out(digits):
    """Batches, step, schedule: what `fit` does can be done by hand, to the bit."""
    model, _ = fitted(digits, epochs=2, batch_size=48, shift=1)
    fc.seed(1)
    other = models.small_cnn()
    optimizer = optim.Adam(other.parameters(), lr=1e-3)
    batches = data.Batches(*digits, 48, shift=1)
    for _ in range(2):
        for x, y in batches:
            train.step(other, x, y, losses.cross_entropy, optimizer)
    assert_same_state(model, other)


def test_step_lowers_the_loss_of_a_fixed_batch(digits):
    fc.seed(2)
    net = layers.Sequential(layers.Conv2d(1, 8, 3), layers.ReLU(), layers.Flatten(), layers.Linear(8 * 36, 10))
    optimizer = optim.SGD(net.parameters(), lr=0.05)
    values = [train.step(net, *digits, losses.cross_entropy, optimizer) for _ in range(6)]
    assert (np.diff(values) < 0).all()


def test_a_few_epochs_learn_the_digits(model):
    (x, y), test = data.digits()
    start = time.perf_counter()
    history = train.fit(model, (x, y), epochs=4, validation=test)
    assert history[-1]["val_accuracy"] > 0.9
    assert train.evaluate(model, *test).accuracy == history[-1]["val_accuracy"]
    assert time.perf_counter() - start < 120


def test_history_has_a_dict_per_epoch_and_callbacks_get_it(model, digits):
    seen = []
    history = train.fit(model, digits, epochs=2, validation=(digits[0][:40], digits[1][:40]), callbacks=[seen.append, seen.append])
    assert [record["epoch"] for record in history] == [1, 2]
    fields = {"epoch", "loss", "accuracy", "rate", "images_per_second", "val_loss", "val_accuracy"}
    assert all(set(record) == fields for record in history)
    assert [id(record) for record in seen] == [id(record) for record in history for _ in range(2)]
    assert history[1]["rate"] == pytest.approx(5e-3 / 250_000)
    assert history[1]["val_loss"] == train.evaluate(model, digits[0][:40], digits[1][:40]).loss
    assert history[0]["images_per_second"] > 0


def test_targets_that_are_not_classes_have_no_accuracy(digits):
    x = digits[0][:64]
    net = layers.Sequential(layers.Flatten(), layers.Linear(64, 2))
    y = np.stack([x.mean(axis=(1, 2, 3)), x.max(axis=(1, 2, 3))], axis=1)
    history = train.fit(net, (x, y), epochs=2, loss_function=losses.mse, validation=(x, y))
    assert math.isnan(history[-1]["accuracy"])
    assert math.isnan(history[-1]["val_accuracy"])
    assert str(train.evaluate(net, x, y, loss_function=losses.mse)).startswith("loss ")


BAD_STEPS = [
    (lambda value, gradient: (np.nan, gradient), "loss is nan in epoch 2, step 2; first not finite: the loss"),
    (lambda value, gradient: (value, gradient * np.float32(np.inf)), r"epoch 2, step 2; first not finite: the gradient of 9\.bias"),
]


@pytest.mark.parametrize(("action", "words"), BAD_STEPS)
@pytest.mark.filterwarnings("ignore:invalid value encountered in multiply:RuntimeWarning")
def test_a_loss_or_gradient_that_is_not_finite_stops_at_the_last_good_step(digits, action, words):
    """FloatingPointError naming epoch and step; parameters are those of the last good step."""
    model, optimizer = fitted(digits, epochs=3, batch_size=40, loss_function=from_call(6, action), error=(FloatingPointError, words))
    expected, _ = fitted(digits, epochs=3, batch_size=40, loss_function=from_call(6, stop), error=(Stop, "^$"))
    assert_same_state(model, expected)
    assert set(optimizer.counts.values()) == {5}


@pytest.mark.parametrize("name", ["2", "5", "9"])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_the_first_layer_that_is_not_finite_is_named(model, digits, name, value):
    """FloatingPointError naming the first layer that produced it."""
    layer = model[int(name)]
    layer.bias.value = np.full(layer.bias.shape, value, np.float32)
    with pytest.raises(FloatingPointError, match=rf"epoch 1, step 1; first not finite: layer {name} \({type(layer).__name__}"):
        train.fit(model, digits, epochs=1)


def test_an_input_that_is_not_finite_is_named(model, digits):
    x = digits[0].copy()
    x[3, 0, 0, 0] = np.nan
    with pytest.raises(FloatingPointError, match="first not finite: the input"):
        train.fit(model, (x, digits[1]), epochs=1)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_stops_between_two_steps(digits):
    """Ctrl-C stops within a step, with parameters, optimizer and random streams from one consistent step."""
    loss = from_call(6, interrupt)
    model, optimizer = fitted(digits, epochs=3, batch_size=40, loss_function=loss, error=(KeyboardInterrupt, "^$"))
    assert loss.calls == 6
    assert set(optimizer.counts.values()) == {6}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    expected, _ = fitted(digits, epochs=3, batch_size=40, loss_function=from_call(7, stop), error=(Stop, "^$"))
    assert_same_state(model, expected)
    assert [stream.state()[1] for _, stream in model.named_streams()] == [6]
    train.fit(model, digits, epochs=1, optimizer=optimizer)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("epochs", [1, 3])
def test_ctrl_c_in_a_callback_is_not_lost(digits, epochs):
    """Ctrl-C stops training, also when it comes after the last step."""
    _, optimizer = fitted(digits, epochs=epochs, callbacks=[lambda record: signal.raise_signal(signal.SIGINT)], error=(KeyboardInterrupt, "^$"))
    assert set(optimizer.counts.values()) == {5}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interruptible")
def test_a_second_ctrl_c_does_not_wait(digits):
    def twice(value, gradient):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    _, optimizer = fitted(digits, epochs=1, loss_function=from_call(2, twice), error=(KeyboardInterrupt, "^$"))
    assert set(optimizer.counts.values()) == {1}


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("chosen", [signal.SIG_IGN, lambda signum, frame: None], ids=["ignored", "the caller's own"])
def test_fit_does_not_take_ctrl_c_from_who_has_chosen_otherwise(digits, chosen):
    """Under `nohup` a program's SIGINT is ignored, and stays so."""
    signal.signal(signal.SIGINT, chosen)
    _, optimizer = fitted(digits, epochs=1, loss_function=from_call(1, interrupt))
    assert set(optimizer.counts.values()) == {5}
    assert signal.getsignal(signal.SIGINT) is chosen


def test_predict_in_batches_is_the_whole(model, digits):
    """conv(x)[i] == conv(x[i:i+1])[0]: a batch of any size gives the same bits."""
    x = digits[0]
    whole = model(x)
    for batch_size in (1, 7, 160, 1000):
        np.testing.assert_array_equal(train.predict(model, x, batch_size), whole)
    assert train.predict(model, x[:0]).shape == (0, 10)
    with pytest.raises(ValueError, match="predict: batch_size must be between 1"):
        train.predict(model, x, 0)


def test_evaluate_is_the_mean_loss_and_the_share_of_right_classes(model, digits):
    x, y = digits
    score = train.evaluate(model, x, y, batch_size=33)
    outputs = model(x)
    assert score == (losses.cross_entropy(outputs, y)[0], (outputs.argmax(axis=1) == y).mean())
    with pytest.raises(ValueError, match=r"x and y must have the same length N >= 1, got x\(160, 1, 8, 8\), y\(3,\)"):
        train.evaluate(model, x, y[:3])


def test_a_wrong_label_is_an_error_before_anything_was_trained(digits):
    """Labels out of range: ValueError before any kernel, so the parameters are untouched."""
    x, y = digits
    y = y.copy()
    y[-1] = 10
    fc.seed(1)
    expected = models.small_cnn()
    model, _ = fitted((x, y), epochs=2, batch_size=16, error=(ValueError, "= 10 is not a class 0..9"))
    assert_same_state(model, expected)


def test_what_fit_is_given_is_checked(model, digits):
    x, y = digits
    for examples, error, words in [
        (x, TypeError, r"examples must be a pair \(x, y\)"), ((x, y, y), TypeError, r"examples must be a pair"),
        ((x, y[:9]), ValueError, "the same length N >= 1"),
        ((x[:0], y[:0]), ValueError, "the same length N >= 1"),
        ((x.astype(np.int64), y), TypeError, r"write np\.asarray\(x\)\.astype\(np\.float32\)"),
    ]:  # fmt: skip
        with pytest.raises(error, match=words):
            train.fit(model, examples, epochs=1)
    for words in ({"epochs": 0}, {"batch_size": 0}, {"shift": -1}):
        (name,) = words
        with pytest.raises(ValueError, match=f"{name} must be between"):
            train.fit(model, digits, **words)


def test_what_validates_is_checked_before_the_first_epoch(digits):
    fc.seed(1)
    expected = models.small_cnn()
    for validation in (digits[0], (digits[0],), (digits[0], digits[1][:3])):
        model, _ = fitted(digits, epochs=1, validation=validation, error=((TypeError, ValueError), r"x and y|\(x, y\)"))
        assert_same_state(model, expected)
