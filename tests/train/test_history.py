"""What a history calls its numbers: val_ and test_ are told apart, and old files keep their meaning."""

import csv
import json
import math

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers, optim, train
from fastconv.files import FileFormatError
from fastconv.saving import as_npz
from fastconv.train.history import read_history
from fastconv.train.runs import save_run

pytestmark = pytest.mark.usefixtures("one_thread")

OLD = {"epoch": 1, "loss": 2.0, "accuracy": 0.25, "lr": 1e-3, "validation_loss": 3.0, "validation_accuracy": 0.5}
NEW = {"epoch": 1, "loss": 2.0, "accuracy": 0.25, "rate": 1e-3, "val_loss": 3.0, "val_accuracy": 0.5}


def test_history_csv_has_these_columns_in_this_order(tmp_path):
    for more in ({}, {"test_loss": 1.0, "test_accuracy": 0.75}):
        save_run(tmp_path, layers.Sequential(), {}, [NEW | more])
        with open(tmp_path / "history.csv", newline="") as file:
            reader = csv.DictReader(file)
            assert reader.fieldnames == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "rate", *more]
            assert [{name: float(text) for name, text in row.items()} for row in reader] == [NEW | more]


def test_a_history_is_shown_as_a_table():
    history = train.History([NEW | {"images_per_second": 12345.6, "val_confusion": np.eye(2)}, NEW | {"epoch": 2, "loss": 1.5e30, "val_f1": 0.5}])
    assert str(history).splitlines() == [
        "epoch      loss  accuracy   rate  val_loss  val_accuracy  images_per_second  val_f1",
        "    1    2.0000    0.2500  0.001    3.0000        0.5000              12346     nan",
        "    2  1.50e+30    0.2500  0.001    3.0000        0.5000                nan  0.5000",
    ]
    many = repr(train.History(NEW | {"epoch": epoch} for epoch in range(1, 31))).splitlines()
    assert [line.split()[0] for line in many] == ["epoch", *map(str, range(1, 11)), "...", *map(str, range(21, 31))]
    assert repr(train.History()) == "History()"


def test_a_test_is_called_test_in_the_curves():
    pytest.importorskip("matplotlib")
    history = [{"epoch": epoch, "loss": 1 / epoch, "test_loss": 2 / epoch, "test_accuracy": 0.5} for epoch in (1, 2, 3)]
    ax = _curves(history)
    (legend,) = (panel.get_legend() for panel in ax.figure.axes if panel.get_legend())
    assert [text.get_text() for text in legend.get_texts()] == ["training", "test"]


def _curves(history):
    from matplotlib.figure import Figure

    from fastconv import plot

    return plot.learning_curves(history, ax=Figure().add_subplot())


def test_the_curves_of_an_old_file_are_those_of_a_new_one(tmp_path):
    pytest.importorskip("matplotlib")
    lines = []
    for record in (OLD, NEW):
        with open(tmp_path / "history.csv", "w", newline="") as file:
            rows = csv.DictWriter(file, record)
            rows.writeheader()
            rows.writerow(record)
        lines.append([line.get_xydata().tolist() for panel in _curves(tmp_path).figure.axes for line in panel.lines])
    assert lines[0] == lines[1]
    assert len(lines[0]) == 4


def test_an_old_checkpoint_goes_on(tmp_path):
    """Its history under the names of today; the best epoch so far is looked for in all of it."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 3)).astype(np.float32), np.arange(8) % 2
    path = tmp_path / "checkpoint.npz"

    def fit(epochs):
        fc.seed(0)
        net = layers.Sequential(layers.Linear(3, 2))
        words = {"checkpoint": path, "resume": True, "keep_best": True, "patience": 9, "verbose": 0}
        return train.fit(net, (x, y), epochs=epochs, optimizer=optim.Adam(net.parameters()), validation=(x, y), **words)

    fit(2)
    with np.load(path) as stored:
        state = dict(stored)
    progress = json.loads(bytes(state["progress"]))
    old = {"rate": "lr", "val_loss": "validation_loss", "val_accuracy": "validation_accuracy"}
    progress["history"] = [{old.get(name, name): value for name, value in record.items()} for record in progress["history"]]
    path.write_bytes(as_npz(state | {"progress": np.frombuffer(json.dumps(progress).encode(), np.uint8)}))
    history = fit(3)
    assert [record["epoch"] for record in history] == [1, 2, 3]
    assert len({tuple(record) for record in history}) == 1


def test_a_history_is_a_list_of_records_and_lists_by_name():
    """As Keras has it: history["val_loss"], history.history."""
    history = train.History([NEW, NEW | {"epoch": 2, "val_loss": 1.5}])
    assert history["val_loss"] == [3.0, 1.5]
    assert history[-1]["val_loss"] == 1.5
    assert history[:1] == [NEW]
    assert history.history == {name: [value, 1.5 if name == "val_loss" else 2 if name == "epoch" else value] for name, value in NEW.items()}
    history.append(NEW | {"test_loss": 4.0})
    assert math.isnan(history["test_loss"][0])
    assert history["test_loss"][2] == 4.0
    with pytest.raises(KeyError, match="history: no epoch has 'val_los'; there are epoch, loss, accuracy, rate, val_loss, val_accuracy, test_loss"):
        history["val_los"]


def test_a_file_gives_the_history_back(tmp_path):
    save_run(tmp_path, layers.Sequential(), {}, [NEW, NEW | {"epoch": 2}])
    assert read_history(tmp_path / "history.csv") == [NEW, NEW | {"epoch": 2}]
    (tmp_path / "history.csv").write_text("")
    assert read_history(tmp_path / "history.csv") == []
    (tmp_path / "history.csv").write_text("loss\n1\n")
    with pytest.raises(FileFormatError, match=r"history\.csv is not the history of a run: each epoch must have its number"):
        read_history(tmp_path / "history.csv")
