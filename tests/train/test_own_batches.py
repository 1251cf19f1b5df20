"""Batches of one's own in `fit`: what may give them, what they may hold, when they are used up."""

import signal

import numpy as np
import pytest
from runs import assert_same_state, fitted, net

from fastconv import data, optim, train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits():
    """60 images of bytes, of all ten digits."""
    (x, y), _ = data.digits()
    return (255 * x[:60]).astype(np.uint8), y[:60]


class Loader:
    """Batches anew each time, without a length, as some loaders are."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        yield from self.batches


def own(digits, size=16):
    x, y = digits
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def kinds(batches):
    def function():
        yield from batches

    return {"list": batches, "tuple": tuple(batches), "loader": Loader(batches), "generator function": function, "function": lambda: batches}


@pytest.mark.parametrize("kind", kinds([]))
def test_batches_of_ones_own_train_as_those_of_fit(digits, kind):
    x, y = digits
    words = {"epochs": 2, "accumulate": 3, "optimizer": "sgd"}  # 60 = 3 batches of 16, and one of 12
    expected, history = fitted((x, y), shuffle=False, validation=(x, y), **words)
    model, same = fitted(kinds(own(digits))[kind], validation=kinds(own(digits, 25))[kind], batch_size=32, **words)
    assert_same_state(model, expected)
    assert same == history


def test_tensors_are_taken_as_they_are(digits):
    torch = pytest.importorskip("torch")
    utils = pytest.importorskip("torch.utils.data")
    x, y = digits
    loader = utils.DataLoader(utils.TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=16)
    expected, history = fitted((x, y), shuffle=False)
    model, same = fitted(loader, batch_size=32)
    assert_same_state(model, expected)
    assert same == history


def test_batches_may_be_of_any_form_and_size(digits):
    x, y = digits
    batches = [(x[:10, 0], y[:10]), (x[10:30].transpose(0, 2, 3, 1) / np.float32(255), np.eye(10)[y[10:30]]), (x[30:58], y[30:58, None].tolist())]
    batches += [(x[58:], np.eye(10)[y[58:]])]  # of fewer images than classes
    expected, history = fitted([(x[:10], y[:10]), (x[10:30], y[10:30]), (x[30:58], y[30:58]), (x[58:], y[58:])], batch_size=32)
    model, same = fitted(batches, batch_size=32)
    assert_same_state(model, expected)
    assert same == history


def test_the_rate_has_a_schedule_where_the_length_is_not_known(digits):
    """One-cycle after each update where it is, after each epoch where it is not."""
    _, history = fitted(Loader(own(digits)), epochs=5, batch_size=32)
    assert history["rate"] == pytest.approx([2e-4, 4.75e-3, 3.06e-3, 9.4e-4, 2e-8], rel=1e-2)
    assert fitted(own(digits), epochs=5, batch_size=32)[1] == fitted(digits, epochs=5, shuffle=False)[1]


def test_a_generator_is_used_up(digits):
    batches = own(digits)
    assert len(fitted((pair for pair in batches), batch_size=32)[1]) == 1
    with pytest.raises(ValueError, match=r"^fit: a generator can be gone through once: pass the function that makes it, .*, or a list$"):
        train.fit(net(), (pair for pair in batches), epochs=2)
    with pytest.raises(ValueError, match=r"^fit: there is no batch in this epoch: a list_iterator can be gone through once: pass the function"):
        train.fit(net(), iter(batches), epochs=2, verbose=0)
    with pytest.raises(ValueError, match=r"^fit: there is no batch in this epoch: none came"):
        train.fit(net(), lambda: [])


def test_wrong_batches_are_named(digits):
    x, y = digits
    good = x, y
    for batches, error, message in (
        ([good, (x, y, y)], TypeError, r"batch 2 must be a pair \(x, y\), got tuple"),
        (lambda: [good, x], TypeError, r"batch 2 must be a pair \(x, y\), got ndarray"),
        ([good, (x[:, :, :7], y)], ValueError, r"batch 2: Linear: layer has I=288, but x has I=240"),
        ([(x, y[:9])], ValueError, "x and y of batch 1 must have the same length"),
        ([(x.astype(int), y)], TypeError, "batch 1: x has dtype int64"),
        (lambda: 3, TypeError, "examples must be a list of batches .*; the function returned 3"),
        (lambda: None, TypeError, "examples must be a list of batches .*; the function returned None"),
    ):
        with pytest.raises(error, match=f"^fit: {message}"):
            train.fit(net(), batches, epochs=1, verbose=0)
    with pytest.raises(ValueError, match=r"^fit: validation: batch 1: Linear: layer has I=288, but x has I=240"):
        train.fit(net(), good, validation=[(x[:, :, :7], y)])
    words = {"batch_size": 8, "shuffle": False, "shift": 1, "flip": 0.5, "noise": 1, "normalise": data.Normalise([0], [1]), "transform": abs}
    for name, value in words.items():
        with pytest.raises(ValueError, match=rf"^fit: {name} is for examples \(x, y\); batches of one's own are taken as they come"):
            train.fit(net(), [good], **{name: value})


@pytest.mark.usefixtures("interruptible")
def test_a_run_over_batches_resumes_within_an_epoch(digits, tmp_path):
    batches, words = own(digits), {"optimizer": "sgd", "batch_size": 32, "epochs": 2}
    expected, history = fitted(Loader(batches), **words)
    asked = iter(range(100))

    def stopped_by_ctrl_c():
        for pair in batches:
            if next(asked) == 6:
                signal.raise_signal(signal.SIGINT)
            yield pair

    path = tmp_path / "checkpoint.npz"
    with pytest.raises(KeyboardInterrupt, match=r"holds everything up to here"):
        fitted(stopped_by_ctrl_c, checkpoint=path, **words)
    model, same = fitted(stopped_by_ctrl_c, checkpoint=path, resume=True, **words)
    assert_same_state(model, expected)
    assert same == history


def test_an_optimizer_without_a_schedule_takes_batches_of_unknown_length(digits):
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    schedule = optim.OneCycle(optimizer, 0.1, 8)
    history = train.fit(model, Loader(own(digits)), epochs=2, optimizer=optimizer, schedule=schedule, verbose=0)
    assert schedule.steps == 8
    assert len(history) == 2
