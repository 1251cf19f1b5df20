"""What is seen of a training: a line for each epoch, a bar before it on terminals and in notebooks."""

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from runs import net

from fastconv import data, layers, losses, train
from fastconv.train import progress as showing

pytestmark = pytest.mark.usefixtures("one_thread")
RECORD = {"epoch": 2, "loss": 0.5, "accuracy": 0.75, "rate": 1e-3, "val_loss": 0.0002, "val_accuracy": 0.625}


@pytest.fixture(scope="module")
def digits():
    (x, y), _ = data.digits()
    return x[:160], y[:160]


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still; `clock[0] += 1` is a second."""
    now = [0.0]
    monkeypatch.setattr(showing, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def go(report, clock, seconds, epochs=5):
    """Epochs of so many seconds each, in 10 steps of 10 images."""
    with report:
        for epoch in range(1, epochs + 1):
            for seen in range(10, 101, 10):
                clock[0] += seconds / 10
                report.step(epoch, seen, 1.0, 0.5, 1e-3)
            report.epoch(RECORD | {"epoch": epoch})


def test_a_pipe_gets_a_line_for_each_epoch(digits, capsys, clock):
    for verbose in (1, 2):
        train.fit(net(), digits, epochs=2, validation=digits, verbose=verbose)
        out, err = capsys.readouterr()
        assert out == ""
        first, second = err.splitlines()
        for line, words in ((first, "epoch 1/2"), (second, "epoch 2/2")):
            assert re.fullmatch(
                rf"{words}  loss \d\.\d{{4}}  accuracy +\d+\.\d %  val_loss \d\.\d{{4}}  val_accuracy +\d+\.\d %  rate \S+  0\.0 s", line
            )
        assert "rate 2e-08" in second
    train.fit(net(), digits, epochs=2, verbose=0)
    assert capsys.readouterr() == ("", "")


def test_what_may_not_be_meant_is_told_once(digits, capsys):
    x, y = digits
    few = x[y < 2], y[y < 2]
    missing = "8 of the 10 classes are missing in the validation: data.stratified_split(x, y) takes some of each"
    for validation, said in ((few, [missing]), (digits, [])):
        train.fit(net(), digits, epochs=2, validation=validation)
        assert capsys.readouterr().err.splitlines()[:-2] == said
    train.fit(net(), digits, epochs=1, validation=few, verbose=0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("verbose", "seconds", "lines"), [(1, 0.1, 5), (1, 31, 15), (2, 31, 5)])
def test_long_epochs_say_how_far_they_are(capsys, clock, verbose, seconds, lines):
    go(showing.reporter(5, 100, verbose), clock, seconds)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == lines
    assert sum(line.endswith(f"rate 0.001  {seconds} s") or line.endswith(f"rate 0.001  {seconds}.0 s") for line in said) == 5
    if lines == 15:
        assert re.fullmatch(r"epoch 1/5  40%  loss 1\.0000  accuracy 50\.0 %  rate 0\.001  2:\d\d left", said[0])


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_a_terminals_bar_becomes_the_line(capsys, monkeypatch, clock, columns):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    go(showing.reporter(2, 100, 1), clock, 5, epochs=2)
    *kept, rest = capsys.readouterr().err.split("\n")
    assert rest == ""
    assert len(kept) == 2
    for epoch, line in enumerate(kept, 1):
        *bars, last = line.split("\r")[1:]
        words = f"epoch {epoch}/2  loss 0.5000  accuracy 75.0 %  val_loss 2.00e-04  val_accuracy 62.5 %  rate 0.001  5.0 s"
        short = f"{epoch}/2 loss 0.500 accuracy 75.0% val_loss 2.00e-04 val_accuracy 62.5% 0.001 5.0 s"
        assert len(short) < 80
        words = words if columns == 200 else short  # where that is still too long it wraps, and nothing of it is lost
        assert len(last) == max(len(words), columns - 1)  # nothing of the bar is left
        assert last.rstrip() == words
        assert len(bars) >= 8
        for share, bar in zip(range(1, 10), bars[-8:]):
            assert len(bar) == columns - 1  # the bar before is painted over
            assert bar.count("=") in (2 * share, 2 * share + 2)
            assert bar.rstrip().endswith("left")


def test_a_bar_that_an_error_ends_leaves_its_line(capsys, monkeypatch, clock):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    report = showing.reporter(2, 100, 1)

    def stop(*words):
        raise KeyboardInterrupt

    report.epoch = stop
    with pytest.raises(KeyboardInterrupt):
        go(report, clock, 5)
    assert re.search(r"left *\n$", capsys.readouterr().err)


class Bar:
    """tqdm's, as far as it is used."""

    made: list = []  # noqa: RUF012

    def __init__(self, total, **words):
        self.total, self.n, self.said, self.closed = total, 0, [], False
        Bar.made.append(self)

    def update(self, more):
        self.n += more

    def set_description(self, text, refresh):
        self.said.append(text)

    def close(self):
        self.closed = True


@pytest.mark.parametrize("progress", [object(), None], ids=["widgets", "no widgets"])
def test_a_notebook_gets_a_bar_of_widgets_and_its_lines_on_stdout(capsys, monkeypatch, clock, progress):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object())))
    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace(notebook=SimpleNamespace(tqdm=Bar, IProgress=progress)))
    Bar.made.clear()
    go(showing.reporter(2, 100, 1), clock, 5, epochs=2)
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.partition("  ")[0] for line in out.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    assert len(Bar.made) == (progress is not None)
    for bar in Bar.made:
        assert (bar.total, bar.n, bar.closed) == (200, 200, True)
        assert bar.said[-1] == "epoch 2/2  loss 1.0000  accuracy 50.0 %"


def test_without_stderr_nothing_is_shown(digits, monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    for verbose in (1, 2):
        train.fit(net(), digits, epochs=1, verbose=verbose)


def test_no_accuracy_no_words(capsys):
    model = layers.Sequential(layers.Linear(3, 2))
    x = np.ones((4, 3), np.float32)
    train.fit(model, (x, x[:, :2]), epochs=1, loss_function=losses.mse, validation=(x, x[:, :2]))
    assert re.fullmatch(r"epoch 1/1  loss \S+  val_loss \S+  rate \S+  \S+ s\n", capsys.readouterr().err)


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (59.96, "0:59"), (125, "2:05")])
def test_times(seconds, text):
    assert showing.clock(seconds) == text
