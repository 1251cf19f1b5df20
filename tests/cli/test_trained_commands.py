"""eval, predict, --find-lr, --resume --epochs, and the verbs that take a run's folder, on one small run."""

import csv
import json
import re
import sys

import numpy as np
import pytest

import fastconv as fc
from fastconv import data, layers
from fastconv.cli import main
from fastconv.train.config import load_config
from fastconv.train.runs import save_run

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "run"
    words = ["--data", "digits:writers", "--epochs", "2", "--batch-size", "128", "--schedule", "cosine", "--out", str(folder)]
    assert main(["train", *words]) == 0
    return folder


@pytest.fixture
def run(made, tmp_path):
    """A copy that a test may change."""
    folder = tmp_path / "run"
    folder.mkdir()
    for path in made.glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def error(capsys) -> str:
    said = capsys.readouterr().err
    assert re.fullmatch(r"fastconv: error: .*\n", said)
    return said[17:-1]


def rows(run):
    with open(run / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_eval_prints_a_table_and_draws_a_matrix(run, capsys):
    pytest.importorskip("matplotlib")
    assert main(["eval", str(run)]) == 0
    head, accuracy, _, *table, drawn = capsys.readouterr().out.splitlines()
    found = fc.load_run(run).evaluate(*data.digits("writers")[1])
    assert head == f"{run}: small_cnn, writers split, 360 test images, loss {found.loss:.4f}"
    assert accuracy == f"test accuracy {100 * found.accuracy:.1f} %"
    assert "\n".join(table) == str(found.classes)
    assert drawn == f"drawn in {run / 'confusion.png'}"
    assert (run / "confusion.png").read_bytes().startswith(b"\x89PNG")
    for words in (["--plot", str(run / "own.png")], ["--data", "digits:stratified", "--plot", str(run / "own.png")]):
        (run / "confusion.png").unlink(missing_ok=True)
        assert main(["eval", str(run), *words]) == 0
        assert capsys.readouterr().out.endswith(f"drawn in {run / 'own.png'}\n")
        assert not (run / "confusion.png").exists()
    assert main(["eval", str(run), "--data", "digits:stratified"]) == 0
    assert "drawn" not in capsys.readouterr().out
    assert main(["eval", str(run), "--plot", str(run / "nowhere" / "own.png")]) == 2
    assert error(capsys).endswith("own.png: No such file or directory")


def test_without_matplotlib_nothing_is_drawn_but_what_is_asked_for(run, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for verb in ("eval", "predict"):
        assert main([verb, str(run)]) == 0
        assert "drawn" not in capsys.readouterr().out
        assert main([verb, str(run), "--plot", str(run / "own.png")]) == 2
        assert error(capsys) == 'pictures need matplotlib: pip install "fastconv[plot]"'
    assert main(["train", "--find-lr", str(run / "own.png")]) == 2
    assert error(capsys).startswith("pictures need matplotlib")


def test_predict_says_what_is_right_and_what_is_wrong(run, capsys):
    """Of the test images it knows; top three, and the sum of it."""
    pytest.importorskip("matplotlib")
    (x, y) = (part[:10] for part in data.digits("writers")[1])
    found = fc.load_run(run).predict(x)
    assert main(["predict", str(run)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if re.match(r"image|\d+ of|drawn", line)]
    for i, (line, best) in enumerate(zip(lines, found.top(3))):
        words = ", ".join(f"{name} ({100 * share:.1f} %)" for name, share in best)
        assert line == f"image {i}: {words}  " + ("right" if best[0][0] == str(y[i]) else f"WRONG, it is {y[i]}")
    assert any("WRONG" in line for line in lines)
    assert any(line.endswith("right") for line in lines[:10])
    assert lines[10:] == [f"{np.count_nonzero(found.labels == y)} of 10 right", f"drawn in {run / 'predictions.png'}"]
    assert (run / "predictions.png").read_bytes().startswith(b"\x89PNG")


def test_predict_knows_the_truth_of_sub_folders(run, tmp_path, capsys):
    (x, y) = (part[:6] for part in data.digits("writers")[1])
    images = tmp_path / "images"
    for i, (image, label) in enumerate(zip(x, y)):
        (images / str(label)).mkdir(parents=True, exist_ok=True)
        np.save(images / str(label) / f"{i}.npy", (16 * image).round().astype(np.uint8))
    found = fc.load_run(run).predict(x)
    assert main(["predict", str(run), str(images)]) == 0
    *lines, count = capsys.readouterr().out.splitlines()
    names = [f"{label}/{i}.npy" for label, i in sorted((label, i) for i, label in enumerate(y.tolist()))]
    assert [line.partition(":")[0] for line in lines] == names
    assert count == f"{np.count_nonzero(found.labels == y)} of 6 right"
    assert sum(line.endswith("  right") for line in lines) == np.count_nonzero(found.labels == y)


def test_a_rate_is_found_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", "digits:writers", "--find-lr"]) == 0
    found = r"small_cnn on writers split, \d+ steps of Adam at rates from 1e-06 to \S+: try --lr (\S+)\n"
    rate = re.fullmatch(found, capsys.readouterr().out)[1]
    assert 1e-4 < float(rate) < 1
    assert list(tmp_path.iterdir()) == []
    assert main(["train", "--data", "digits:writers", "--find-lr", "rates.png"]) == 0
    assert re.fullmatch(found + r"drawn in rates\.png\n", capsys.readouterr().out)[1] == rate
    assert [path.name for path in tmp_path.iterdir()] == ["rates.png"]
    assert main(["train", "--find-lr", "--resume", "run"]) == 2
    assert error(capsys) == "--find-lr looks for the rate of a new run: leave out --resume"


def test_resume_goes_further(run, capsys):
    """On the schedule of all epochs, and the run says so afterwards; again with the same number there is nothing to do."""
    before = rows(run)
    assert main(["train", "--resume", str(run), "--epochs", "3"]) == 0
    assert load_config(run)["epochs"] == 3
    after = rows(run)
    assert after[:2] == before
    assert [row["epoch"] for row in after] == ["1", "2", "3"]
    assert float(after[2]["rate"]) < float(after[0]["rate"]) / 10  # the cosine's end
    assert len(fc.load_run(run).history) == 3
    capsys.readouterr()
    for epochs in ("2", "3"):
        assert main(["train", "--resume", str(run), "--epochs", epochs]) == 2
        assert error(capsys) == f"{run} has 3 epochs already: --epochs must be more, got {epochs}"
    assert main(["train", "--resume", str(run), "--epochs", "4", "--lr", "1"]) == 2
    assert error(capsys) == "--resume takes its words, but for --epochs, from the run's config.json: leave out --lr"


def test_an_early_end_is_told(run, tmp_path, capsys):
    words = ["--data", "digits:writers", "--epochs", "9", "--early-stop", "1", "--lr", "1e-20", "--schedule", "constant", "--batch-size", "512"]
    assert main(["train", *words, "--augment", "none", "--out", str(tmp_path / "early")]) == 0
    *_, ending, clock = capsys.readouterr().err.splitlines()
    assert ending == "stopped after epoch 2 of 9; the model is that of epoch 1, the best val_loss"
    assert re.fullmatch(r"trained in \S+ s", clock)
    assert len(rows(tmp_path / "early")) == 2
    assert re.search(r", 2 epochs, val_accuracy \S+ in epoch 1, which was kept; ", repr(fc.load_run(tmp_path / "early")))


def test_summary_bench_and_warmup_take_a_run(tmp_path, monkeypatch, capsys):
    """Its net, at its size, for its classes; trained or not."""
    names = ["ant", "bee", "cat"]
    config = {"model": "lenet5", "in_channels": 3, "size": [20, 24], "classes": 3, "class_names": names, "data": "own", "normalise": None}
    save_run(tmp_path, layers.Sequential(), config, [])
    net = fc.models.lenet5(3, (20, 24), 3)
    assert main(["summary", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{net.summary((1, 3, 20, 24))}\n"
    assert main(["bench", str(tmp_path), "--batch", "2", "--steps", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"lenet5 of {tmp_path}, 2 images of 3x20x24, ")
    seen = []
    monkeypatch.setattr(fc.train, "fit", lambda model, examples, **words: seen.append((model, *examples)))
    assert main(["warmup", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith(f"lenet5 of {tmp_path} on images of 3x20x24 is ready to train after ")
    model, x, y = seen[0]
    assert (model.output_shape(x.shape)[1], x.shape[1:], y.max()) == (3, (3, 20, 24), 2)
    for words, message in [
        (["summary", str(tmp_path), "--input", "1x28x28"], f"{tmp_path} is a run, whose images have their shape: leave out --input, or write"),
        (["warmup", str(tmp_path), "--model", "lenet5"], f"warmup {tmp_path} takes the net and the size of images from the run: leave out --model"),
        (["warmup", str(tmp_path / "nowhere")], f"{tmp_path / 'nowhere'} holds no run"),
    ]:
        assert main(words) == 2
        assert error(capsys).startswith(message)
    with pytest.raises(SystemExit):
        main(["summary", str(tmp_path / "nowhere")])
    assert f"or the folder of a run, got '{tmp_path / 'nowhere'}'" in capsys.readouterr().err
    (tmp_path / "config.json").write_text(json.dumps(config | {"size": [1, 1]}))
    assert main(["summary", str(tmp_path)]) == 2
    assert "lenet5 cannot be built" in error(capsys)
