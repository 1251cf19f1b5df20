"""Callbacks: told of each moment, once; the arguments of `fit` are short for some; one that raises leaves nothing half done."""

import re

import numpy as np
import pytest
from runs import Run, Stop, assert_same_state, net

import fastconv as fc
from fastconv import data, losses, optim, train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits():
    (x, y), _ = data.digits()
    return x[:130], y[:130]


class Diary(train.Callback):
    """Writes down all that it is told."""

    def __init__(self):
        self.told = []

    def on_train_begin(self, logs):
        self.told.append(("train begin", dict(logs)))

    def on_train_end(self, logs):
        self.told.append(("train end", dict(logs)))

    def on_epoch_begin(self, epoch, logs):
        self.told.append(("epoch begin", epoch, dict(logs)))

    def on_epoch_end(self, epoch, logs):
        self.told.append(("epoch end", epoch, dict(logs)))

    def on_batch_begin(self, batch, logs):
        self.told.append(("batch begin", batch, dict(logs)))

    def on_batch_end(self, batch, logs):
        self.told.append(("batch end", batch, dict(logs)))


def test_each_moment_is_told_once_and_in_order(digits):
    """130 examples by 50, two batches an update: two updates an epoch."""
    diary, model = Diary(), net()
    history = train.fit(model, digits, epochs=2, batch_size=50, accumulate=2, callbacks=[diary], verbose=0)
    updates = [("batch begin", 1), ("batch end", 1), ("batch begin", 2), ("batch end", 2)]
    epochs = [[("epoch begin", epoch), *updates, ("epoch end", epoch)] for epoch in (1, 2)]
    assert [told[:-1] for told in diary.told] == [("train begin",), *epochs[0], *epochs[1], ("train end",)]
    assert [told[-1] for told in diary.told if told[0] == "epoch end"] == history
    assert diary.told[-1] == ("train end", history[-1])
    last = [told[-1] for told in diary.told if told[:2] == ("batch end", 2)]
    assert last == [{name: record[name] for name in ("loss", "accuracy", "rate")} for record in history]
    assert all(told[-1] == {} for told in diary.told if told[0].endswith("begin"))
    assert (diary.model, diary.history, type(diary.optimizer)) == (model, history, optim.Adam)


def test_an_object_is_a_function_of_records_and_more(digits):
    class Adds(train.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["square"] = epoch**2
            return epoch == 3

    history = train.fit(net(), digits, epochs=5, callbacks=[Adds(), lambda record: record.update(cube=record["epoch"] ** 3)], verbose=0)
    assert (history["square"], history["cube"]) == ([1, 4, 9], [1, 8, 27])


@pytest.mark.parametrize("moment", ["on_epoch_end", "on_batch_end"])
def test_keras_way_to_stop(digits, moment):
    class Stops(train.Callback):
        pass

    setattr(Stops, moment, lambda self, number, logs: setattr(self.model, "stop_training", True))
    model = net()
    assert len(train.fit(model, digits, epochs=3, callbacks=[Stops()], verbose=0)) == 1
    model.stop_training = True  # of the run before: it does not count in this one
    assert len(train.fit(model, digits, epochs=2, verbose=0)) == 2
    assert "stop_training" not in vars(model)


@pytest.mark.parametrize("name", ["model", "optimizer", "history"])
def test_names_that_are_taken(name):
    with pytest.raises(AttributeError, match=f"^Diary: self.{name} is the training's, in fit: leave the line out, or take another name$"):
        setattr(Diary(), name, 3)


def test_wrong_moments_are_told_before_anything_is_trained(digits):
    message = (
        "^Own: training has no moment on_train_batch_end; a callback's are on_train_begin, on_train_end, on_epoch_begin, on_epoch_end, on_batch_"
    )
    with pytest.raises(TypeError, match=message):
        type("Own", (train.Callback,), {"on_train_batch_end": lambda self, batch, logs: None})
    for moment, words in (("on_train_end", "self, logs"), ("on_epoch_end", "self, epoch, logs"), ("on_batch_begin", "self, batch, logs")):
        own = type("Own", (train.Callback,), {moment: lambda self: None})()
        model = net()
        with pytest.raises(TypeError, match=rf"^fit: callbacks: Own\.{moment} must take \({words}\)$"):
            train.fit(model, digits, epochs=1, callbacks=[own])
        assert_same_state(model, net())


def test_the_arguments_are_short_for_callbacks(digits, tmp_path):
    """patience, keep_best, checkpoint and schedule, to the bit; in whatever order they are given."""
    short = Run("cosine").fit(digits, patience=2, checkpoint=tmp_path / "short.npz")
    run = Run("cosine")
    callbacks = [train.Checkpoint(tmp_path / "long.npz"), train.KeepBest(), train.EarlyStopping(patience=2), train.Scheduler(run.schedule)]
    run.fit(digits, schedule=None, keep_best=False, callbacks=callbacks)
    assert len(short.history) == len(run.history)
    for name, value in short.ends().items():
        np.testing.assert_array_equal(run.ends()[name], value, err_msg=name)
    with np.load(tmp_path / "short.npz") as one, np.load(tmp_path / "long.npz") as other:
        assert [name for name in one.files if name != "progress" and not np.array_equal(one[name], other[name])] == []


def told(values, **words):
    """The history of a run whose validation has these losses, and how the model was after each epoch."""
    values, states, model = iter(values), [], net()
    (x, y), _ = data.digits()

    def loss(outputs, targets):
        value, gradient = losses.cross_entropy(outputs, targets)
        return (next(values) if len(outputs) == 30 else value), gradient

    words["callbacks"] = [*words.get("callbacks", ()), lambda record: states.append(model.state_dict())]
    history = train.fit(model, (x[:60], y[:60]), epochs=6, loss=loss, validation=(x[60:90], y[60:90]), verbose=0, **words)
    return model, history, states


@pytest.mark.parametrize(
    ("words", "epochs"),
    [
        ({"patience": 2}, 6),
        ({"patience": 2, "min_delta": 0.3}, 4),
        ({"patience": 1, "mode": "max"}, 2),
        ({"patience": 4, "monitor": "loss"}, 6),
        ({}, 4),
    ],
)
def test_early_stopping_watches_what_it_is_told(words, epochs):
    _, history, _ = told([3.0, 2.0, 1.8, 1.9, 1.7, 5.0], callbacks=[train.EarlyStopping(**words)])
    assert len(history) == epochs


def test_early_stopping_puts_the_best_weights_back():
    model, history, states = told([3.0, 2.0, 4.0, 5.0], callbacks=[train.EarlyStopping(patience=2, restore_best_weights=True)])
    assert len(history) == 4
    assert all(np.array_equal(value, states[1][name]) for name, value in model.state_dict().items())


def test_the_best_epoch_by_any_name_and_its_file(tmp_path):
    def rises_and_falls(record):
        record["score"] = [1, 3, 2, 3, 0, 1][record["epoch"] - 1]

    best = train.KeepBest(tmp_path / "best.npz", monitor="score", mode="max")
    model, _, states = told([1.0] * 6, callbacks=[rises_and_falls, best])
    for found in (model.state_dict(), fc.load(tmp_path / "best.npz")):
        assert all(np.array_equal(value, states[1][name]) for name, value in found.items())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: train.EarlyStopping(5), TypeError, "EarlyStopping: monitor must be a name in the history such as 'val_loss', got 5"),
        (
            lambda: train.EarlyStopping("val_f1"),
            ValueError,
            "EarlyStopping: mode must be given for .*'val_f1', .* none of .*, val_accuracy,.* 'max' where",
        ),
        (lambda: train.EarlyStopping(mode="best"), ValueError, "EarlyStopping: mode must be 'min', 'max' or None, got 'best'"),
        (lambda: train.EarlyStopping(min_delta=-1), ValueError, "EarlyStopping: min_delta must be finite and >= 0"),
        (lambda: train.EarlyStopping(restore_best_weights=1), TypeError, "EarlyStopping: restore_best_weights must be True or False"),
        (lambda: train.KeepBest("best.keras"), ValueError, r"KeepBest: path must end in \.npz or \.safetensors, got best\.keras"),
        (lambda: train.KeepBest(monitor="x", mode="max"), ValueError, "KeepBest: monitor must be a name in the history, one of epoch, loss, .*'x'"),
        (lambda: train.Scheduler("cosine"), TypeError, "Scheduler: schedule must be a Schedule such as .*, got 'cosine'"),
    ],
)
def test_what_callbacks_refuse(digits, make, error, message):
    with pytest.raises(error, match=f"^{message}"):
        train.fit(net(), digits, epochs=1, callbacks=[make()], verbose=0)


def test_callbacks_that_do_not_go_together(digits):
    for callbacks, words, message in [
        ([train.KeepBest(), train.KeepBest(monitor="loss")], {}, "callbacks and the other arguments make more than one KeepBest; one is all"),
        ([train.EarlyStopping(restore_best_weights=True)], {"keep_best": True}, "callbacks and the other arguments make more than one KeepBest"),
        ([train.EarlyStopping()], {"validation": None}, r"EarlyStopping\(monitor='val_loss'\) needs validation=\(x, y\)"),
        ([train.KeepBest(monitor="val_top_3")], {"validation": None}, r"KeepBest\(monitor='val_top_3'\) needs validation=\(x, y\)"),
    ]:
        with pytest.raises(ValueError, match=f"^fit: {message}"):
            train.fit(net(), digits, **({"validation": digits} | words), callbacks=callbacks)


@pytest.mark.parametrize("moment", ["on_batch_begin", "on_batch_end", "on_epoch_begin", "on_epoch_end", "on_train_end"])
def test_a_callback_that_raises_leaves_a_whole_checkpoint(digits, tmp_path, moment):
    """The run goes on from it, to the bits of one that never stopped; and the model is that of a whole update."""

    class Raises(train.Callback):
        calls = 0

    def raises(self, *words):
        Raises.calls += 1
        if Raises.calls == (1 if moment == "on_train_end" else 2):
            raise Stop

    setattr(Raises, moment, raises)
    run = Run("cosine")
    with pytest.raises(Stop):
        run.fit(digits, epochs=4, checkpoint=tmp_path / "c.npz", callbacks=[Raises()])
    counts = set(run.optimizer.counts.values())
    assert counts == {run.schedule.steps}
    expected = Run("cosine").fit(digits).ends()
    for name, value in Run("cosine").fit(digits, checkpoint=tmp_path / "c.npz", resume=True).ends().items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def further(epochs, path):
    """A run of so many epochs on a schedule that ends with them."""
    fc.seed(5)
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    (x, y), _ = data.digits()
    words = {"checkpoint": path, "resume": True, "verbose": 0}
    return train.fit(model, x[:60], y[:60], epochs=epochs, optimizer=optimizer, schedule=optim.Cosine(optimizer, epochs), **words)


def test_a_run_goes_further_than_it_was_begun_with(tmp_path):
    """Its schedule is then the longer one, from where it stood; with the same epochs it must be the same."""
    assert further(2, tmp_path / "c.npz")["rate"] == pytest.approx([0.1, 0.05])
    assert further(4, tmp_path / "c.npz")["rate"] == pytest.approx([0.1, 0.05, 0.05, 0.05 - 0.05 * 0.5**0.5])
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    (x, y), _ = data.digits()
    for epochs, schedule, message in [
        (4, optim.Cosine(optimizer, 4, warmup=1), "made with schedule Cosine.*now it is Cosine"),
        (6, optim.Step(optimizer, 3), "made with schedule Cosine.*now it is Step"),
    ]:
        with pytest.raises(ValueError, match=message):
            train.fit(model, x[:60], y[:60], epochs=epochs, optimizer=optimizer, schedule=schedule, checkpoint=tmp_path / "c.npz", resume=True)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("adam", lambda p: optim.Adam(p, 1e-3)),
        ("SGD", lambda p: optim.SGD(p, 0.01)),
        ("rmsprop", lambda p: optim.RMSprop(p, 1e-3)),
        ("adamw", lambda p: optim.AdamW(p, 1e-3)),
    ],
)
def test_words_of_other_frameworks(digits, name, make):
    """fit(model, x, y, validation_data=..., optimizer="adam", loss="mse") is what it says, to the bit."""
    x, y = digits[0][:40], np.eye(10, dtype=np.float32)[digits[1][:40]]
    model, other = net(), net()
    history = train.fit(model, x, y, epochs=2, batch_size=20, shuffle=False, optimizer=name, loss="mse", validation_data=(x, y), verbose=0)
    optimizer = make(other.parameters())
    for start in (0, 20, 0, 20):
        train.step(other, x[start : start + 20], y[start : start + 20], "mse", optimizer)
    assert_same_state(model, other)
    assert (
        history[-1]["val_loss"] == train.evaluate(other, x, y, loss_function=losses.mse).loss == train.evaluate(other, x, y, loss_function="mse").loss
    )


def test_words_that_are_no_names(digits):
    for words, message in [
        ({"optimizer": "lion"}, "optimizer must be an Optimizer such as .*, or one of 'sgd', 'adam', 'adamw', 'rmsprop', got 'lion'"),
        ({"loss": "sparse_categorical_crossentropy"}, "loss_function must be a function .*, or one of 'cross_entropy', 'mse', .*got 'sparse"),
        ({"loss": "mse", "loss_function": "mse"}, "loss is loss_function by another name: leave one of them out"),
        ({"validation": digits, "validation_data": digits}, "validation_data is validation by another name: leave one of them out"),
        ({"verbose": 3}, re.escape("verbose must be 0 (silent), 1 (a bar, and a line for each epoch) or 2 (the lines alone), got 3")),
    ]:
        with pytest.raises(ValueError, match=f"^fit: {message}"):
            train.fit(net(), digits, **words)
    with pytest.raises(TypeError, match=r"^fit: examples is a pair already, and y is given too: write fit\(model, \(x, y\)\) or fit\(model, x, y\)$"):
        train.fit(net(), digits, digits[1])
