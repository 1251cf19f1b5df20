"""What `fit` is told: changes of images, schedules, accumulation, metrics, when to stop, what to keep."""

import re
from functools import partial

import numpy as np
import pytest
from runs import Stop, assert_same_state, from_call, net, stop

import fastconv as fc
from fastconv import data, layers, losses, optim, train
from fastconv.train import metrics

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits():
    (x, y), _ = data.digits()
    return x[:160], y[:160]


@pytest.fixture(scope="module")
def held_out():
    (x, y), _ = data.digits()
    return x[160:240], y[160:240]


def normed():
    fc.seed(2)
    return layers.Sequential(layers.Conv2d(1, 8, 3), layers.BatchNorm2d(8), layers.ReLU(), layers.Flatten(), layers.Linear(8 * 36, 10))


def test_images_change_as_in_batches_and_validation_is_normalised(digits, held_out):
    words = {"shift": 1, "flip": 0.5, "noise": 0.1, "normalise": data.Normalise.of(digits[0])}
    model = net()
    history = train.fit(model, digits, epochs=2, batch_size=40, optimizer=optim.SGD(model.parameters(), 0.1), validation=held_out, **words)
    other = net()
    optimizer = optim.SGD(other.parameters(), 0.1)
    batches = data.Batches(*digits, 40, **words)
    for _ in range(2):
        for x, y in batches:
            train.step(other, x, y, losses.cross_entropy, optimizer)
    assert_same_state(model, other)
    assert history[-1]["val_loss"] == train.evaluate(model, words["normalise"](held_out[0]), held_out[1]).loss


@pytest.mark.parametrize("k", [2, 3])
def test_accumulation_is_the_mean_over_its_batches(digits, k):
    """Written out, to the bit; 160 examples are five batches of 32, so that the last update has fewer."""
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1, clip_norm=0.5)
    train.fit(model, digits, epochs=1, batch_size=32, accumulate=k, optimizer=optimizer)
    other = net()
    expected = optim.SGD(other.parameters(), 0.1, clip_norm=0.5)
    batches = list(data.Batches(*digits, 32))
    for start in range(0, 5, k):
        group = batches[start : start + k]
        expected.zero_grad()
        for x, y in group:
            outputs, backward = other.forward(x)
            backward(losses.cross_entropy(outputs, y)[1] * (32 / (32 * len(group))))
        expected.step()
    assert_same_state(model, other)


def test_accumulated_batches_count_as_one_large_batch(digits):
    """Also where the last batch is smaller: 150 examples by 32 end with 22."""
    x, y = digits[0][:150], digits[1][:150]
    results = []
    for words in ({"batch_size": 96}, {"batch_size": 32, "accumulate": 3}):
        model = net()
        optimizer = optim.SGD(model.parameters(), 0.1)
        history = train.fit(model, (x, y), epochs=2, optimizer=optimizer, **words)
        assert set(optimizer.counts.values()) == {4}
        results.append((model.state_dict(), history[-1]["loss"]))
    (one, one_loss), (many, many_loss) = results
    for name, value in one.items():
        np.testing.assert_allclose(many[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    assert many_loss == pytest.approx(one_loss, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "rates"),
    [
        (lambda o: optim.Step(o, 2, 0.5), [0.1, 0.1, 0.05, 0.05]),
        (lambda o: optim.MultiStep(o, [1, 3], 0.5), [0.1, 0.05, 0.05, 0.025]),
        (lambda o: optim.Cosine(o, 4), [0.1, 0.05 + 0.05 * 0.5**0.5, 0.05, 0.05 - 0.05 * 0.5**0.5]),
        (lambda o: optim.Step(o, 5, 0.5, per="update"), [0.1, 0.05, 0.025, 0.0125]),
        (lambda o: optim.Cosine(o, 20, per="update"), [0.05 + 0.05 * np.cos(np.pi * k / 20) for k in (4, 9, 14, 19)]),
    ],
)
def test_schedules_count_epochs_or_updates_as_they_are_told(digits, make, rates):
    """Each epoch's record holds the rate of its last update; an epoch has 5."""
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    schedule = make(optimizer)
    history = train.fit(model, digits, epochs=4, optimizer=optimizer, schedule=schedule)
    assert [record["rate"] for record in history] == pytest.approx(rates)
    assert schedule.steps == (4 if schedule.per == "epoch" else 20)


def test_updates_are_counted_after_accumulation(digits):
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    schedule = optim.OneCycle(optimizer, 0.1, 6)
    train.fit(model, digits, epochs=2, accumulate=2, optimizer=optimizer, schedule=schedule)
    assert schedule.steps == 6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: optim.Cosine(o, 10), "Cosine has 10 epochs to go (total_steps=10), the run has 3: write total_steps=3, or per='update' and"),
        (lambda o: optim.Cosine(o, 2), "Cosine has 2 epochs to go (total_steps=2), the run has 3: "),
        (lambda o: optim.OneCycle(o, 1, 3), "OneCycle has 3 updates to go (total_steps=3), the run has 15: write total_steps=15, or per='epoch'"),
        (lambda o: optim.OneCycle(o, 1, 15, per="epoch"), "OneCycle has 15 epochs to go (total_steps=15), the run has 3: "),
    ],
)  # fmt: skip
def test_a_schedule_of_another_length_is_refused(digits, make, message):
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    with pytest.raises(ValueError, match=f"^fit: schedule {re.escape(message)}"):
        train.fit(model, digits, epochs=3, optimizer=optimizer, schedule=make(optimizer))
    assert_same_state(model, net())


def test_a_schedule_that_was_begun_must_end_with_the_run(digits):
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    schedule = optim.Cosine(optimizer, 4)
    schedule.step()
    train.fit(model, digits, epochs=3, optimizer=optimizer, schedule=schedule)
    with pytest.raises(ValueError, match=r"Cosine has 0 epochs to go \(total_steps=4\), the run has 2: write total_steps=6"):
        train.fit(model, digits, epochs=2, optimizer=optimizer, schedule=schedule)


def test_a_run_of_one_update_has_a_cycle(digits):
    assert len(train.fit(net(), digits, epochs=1, batch_size=160)) == 1


def test_plateau_watches_the_val_loss(digits, held_out):
    model = net()
    optimizer = optim.SGD(model.parameters(), 1e-9)
    schedule = optim.Plateau(optimizer, patience=0, factor=0.5, threshold=0.9)
    optimizer.lr = schedule.base_lrs[0] = 1e-3
    history = train.fit(model, digits, epochs=3, optimizer=optimizer, schedule=schedule, validation=held_out)
    assert schedule.steps == 3
    assert [record["rate"] for record in history] == [1e-3, 1e-3, 5e-4]
    assert schedule.best == history[0]["val_loss"]


def test_metrics_are_in_each_record(digits, held_out):
    model = net()
    history = train.fit(model, digits, epochs=2, validation=held_out, metrics=[metrics.accuracy, metrics.top_k(3), metrics.confusion])
    outputs = train.predict(model, held_out[0])
    last = history[-1]
    assert last["val_accuracy"] == metrics.accuracy(outputs, held_out[1]) == metrics.top_k(1)(outputs, held_out[1])
    assert last["val_accuracy"] < last["val_top_3"] == metrics.top_k(3)(outputs, held_out[1]) < 1
    assert last["val_confusion"].sum() == 80
    assert np.trace(last["val_confusion"]) == pytest.approx(80 * last["val_accuracy"])


def test_metrics_of_a_small_case():
    outputs = np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0], [np.nan, 0, 1], [3, 2, 1]])
    targets = np.array([1, 1, 2, 2])
    assert metrics.accuracy(outputs, targets) == 0.25  # of equal scores the first counts, and NaN is the largest
    assert [metrics.top_k(k)(outputs, targets) for k in (1, 2, 3, 9)] == [0.25, 0.75, 1, 1]
    np.testing.assert_array_equal(metrics.confusion(outputs, targets), [[0, 0, 0], [1, 1, 0], [2, 0, 0]])
    assert metrics.top_k(5).__name__ == "top_5"
    with pytest.raises(ValueError, match="top_k: k must be between 1"):
        metrics.top_k(0)
    with pytest.raises(ValueError, match=r"confusion: targets\[0\] = 3 is not a class"):
        metrics.confusion(outputs, targets + 2)


def losing(digits, held_out, **words):
    """A fit whose validation loss is lowest after its second epoch: an own loss says so. The states after each epoch come along."""
    told = iter([3.0, 2.0, 2.5, 2.0, 4.0, 1.0])

    def loss(outputs, targets):
        value, gradient = losses.cross_entropy(outputs, targets)
        return (next(told) if len(outputs) == 80 else value), gradient

    model, states = normed(), []
    callbacks = [lambda record: states.append(model.state_dict())]
    history = train.fit(model, digits, epochs=6, batch_size=40, loss_function=loss, validation=held_out, callbacks=callbacks, **words)
    return model, history, states


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (3, 5), (4, 6), (None, 6)])
def test_patience_ends_a_run_that_gets_no_better(digits, held_out, patience, epochs):
    _, history, _ = losing(digits, held_out, patience=patience)
    assert len(history) == epochs


@pytest.mark.parametrize(("patience", "best"), [(3, 1), (None, 5)])
def test_the_best_epoch_is_put_back_with_its_buffers(digits, held_out, patience, best):
    model, _, states = losing(digits, held_out, patience=patience, keep_best=True)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, states[best][name], err_msg=name)
    assert not np.array_equal(states[best]["1.running_mean"], states[best - 1]["1.running_mean"])


def test_a_callback_that_returns_true_stops_the_run(digits):
    seen = []
    for answer, epochs in ((lambda r: r["epoch"] == 2, 2), (lambda r: np.True_, 1), (lambda r: "yes", 3)):
        assert len(train.fit(net(), digits, epochs=3, callbacks=[answer, seen.append])) == epochs
    assert [record["epoch"] for record in seen] == [1, 2, 1, 1, 2, 3]


@pytest.mark.parametrize(
    ("action", "error"),
    [(lambda value, gradient: (np.nan, gradient), FloatingPointError), (stop, Stop)],
    ids=["not finite", "an exception"],
)
@pytest.mark.parametrize("k", [1, 2])
def test_a_step_that_fails_leaves_statistics_and_streams_of_the_last_good_one(digits, action, error, k):
    """Parameters and buffers are those of the last good step. With k = 2 the first batch of the step was fine."""
    states = []
    for steps in (None, 4 // k):
        model = normed()
        model = layers.Sequential(*model, layers.Dropout(0.5))
        optimizer = optim.SGD(model.parameters(), 0.1)
        if steps is None:
            with pytest.raises(error):
                train.fit(
                    model, digits, epochs=3, batch_size=20, accumulate=k, optimizer=optimizer, loss_function=from_call(6 if k == 2 else 5, action)
                )
        else:
            batches = iter(data.Batches(*digits, 20))
            for _ in range(steps):
                optimizer.zero_grad()
                for x, y in (next(batches) for _ in range(k)):
                    outputs, backward = model.forward(x)
                    backward(losses.cross_entropy(outputs, y)[1] / np.float32(k))
                optimizer.step()
        states.append((model, [stream.state() for _, stream in model.named_streams()]))
    assert_same_state(states[0][0], states[1][0])
    assert states[0][1] == states[1][1]


def test_labels_are_checked_for_losses_with_options_too(digits):
    x, y = digits
    bad = y.copy()
    bad[7] = 10
    loss = partial(losses.cross_entropy, label_smoothing=0.1)
    with pytest.raises(ValueError, match=r"fit: examples: targets\[7\] = 10 is not a class 0\.\.9"):
        train.fit(net(), (x, bad), epochs=1, loss_function=loss)
    with pytest.raises(ValueError, match=r"fit: validation: targets\[7\] = 10"):
        train.fit(net(), digits, epochs=1, loss_function=partial(loss, ignore_index=-1), validation=(x, bad))
    train.fit(net(), (x, bad), epochs=1, loss_function=partial(loss, ignore_index=10))


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"accumulate": 0}, ValueError, "fit: accumulate must be between 1"),
        ({"patience": 0, "validation": "it"}, ValueError, "EarlyStopping: patience must be between 1"),
        ({"patience": 2}, ValueError, r"fit: patience needs validation=\(x, y\)"),
        ({"keep_best": True}, ValueError, "fit: keep_best needs validation"),
        ({"keep_best": 1, "validation": "it"}, TypeError, "fit: keep_best must be True or False"),
        ({"metrics": [metrics.accuracy]}, ValueError, "fit: metrics needs validation"),
        ({"metrics": ["accuracy"]}, TypeError, r"fit: metrics must be .*; loss and accuracy are there without, got 'accuracy'"),
        ({"metrics": [partial(len)]}, TypeError, "fit: metrics must be functions"),
        ({"resume": True}, ValueError, "fit: resume=True needs checkpoint"),
        ({"flip": 2}, ValueError, "Batches: flip must be between 0 and 1"),
        ({"normalise": 3}, TypeError, r"Batches: normalise must be a data\.Normalise"),
        ({"schedule": "own"}, ValueError, "fit: schedule must be made for the optimizer that fit is given"),
        ({"schedule": len}, TypeError, "Scheduler: schedule must be a Schedule such as .*, got the function len"),
    ],
)
def test_wrong_words_are_said_before_anything_is_trained(digits, words, error, message):
    model = net()
    if "validation" in words:
        words = words | {"validation": digits}
    if words.get("schedule") == "own":
        words = {"schedule": optim.Step(optim.SGD(model.parameters(), 0.1), 5)}
    with pytest.raises(error, match=message):
        train.fit(model, digits, epochs=1, **words)
    assert_same_state(model, net())


def test_a_plateau_needs_a_validation(digits):
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    with pytest.raises(ValueError, match=r"fit: a schedule that watches a metric needs validation"):
        train.fit(model, digits, optimizer=optimizer, schedule=optim.Plateau(optimizer))
