"""`python -m fastconv`: what a person at a terminal sees."""

import csv
import json
import os
import re
import sys

import numpy as np
import pytest
from data_files import npy_bytes

from fastconv import data
from fastconv.cli import info, main, parser
from fastconv.kernels.compile import threads as policy


def beside(run):
    """The run on the other split of the digits."""
    return run.with_name(f"{run.name}-writers")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one epoch, made by the command."""
    folder = tmp_path_factory.mktemp("runs") / "short"
    assert main(["train", "--epochs", "1", "--out", str(folder)]) == 0
    return folder


def test_train_ends_with_both_runs_and_their_test_accuracies(tmp_path, capsys):
    words = ["train", "--epochs", "1", "--batch-size", "128", "--lr", "0.01", "--seed", "3", "--threads", "1", "--out"]
    assert main([*words, str(tmp_path / "run")]) == 0
    saved, *lines = capsys.readouterr().out.splitlines()
    run = tmp_path / "run"
    assert saved == f"runs saved in {run} (stratified split) and {run}-writers (writers split): try python -m fastconv predict {run}"
    assert len(lines) == 2
    assert all(re.match(rf"test accuracy \d+\.\d %  \({split} split", line) for split, line in zip(data.SPLITS, lines))


def test_a_run_is_a_folder_of_files(trained):
    config = json.loads((trained / "config.json").read_text())
    assert (config["model"], config["data"], config["epochs"]) == ("small_cnn", "digits:stratified", 1)
    assert set(np.load(trained / "weights.npz").files) >= {"0.weight", "0.bias"}
    with open(trained / "history.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["epoch"] == "1"
    assert float(row["loss"]) > 0
    assert json.loads((beside(trained) / "config.json").read_text())["data"] == "digits:writers"


def test_a_run_holds_its_learning_curves_where_matplotlib_is(trained):
    pytest.importorskip("matplotlib")
    for folder in (trained, beside(trained)):
        assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_train_works_without_matplotlib(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["train", "--epochs", "1", "--batch-size", "512", "--out", str(tmp_path / "run")]) == 0
    assert "matplotlib" not in capsys.readouterr().err
    names = {"config.json", "weights.npz", "history.csv", "timings.csv", "checkpoint.npz"}
    assert all({path.name for path in folder.iterdir()} == names for folder in (tmp_path / "run", tmp_path / "run-writers"))


def test_the_same_seed_gives_the_same_weights(trained, tmp_path):
    assert main(["train", "--epochs", "1", "--out", str(tmp_path / "again")]) == 0
    first, second = np.load(trained / "weights.npz"), np.load(tmp_path / "again" / "weights.npz")
    assert all(np.array_equal(first[name], second[name]) for name in first.files)


def test_train_does_not_overwrite_a_run(trained, tmp_path, capsys):
    (tmp_path / "new-writers").mkdir()
    (tmp_path / "new-writers" / "checkpoint.npz").touch()
    for folder, old in ((trained, trained), (tmp_path / "new", tmp_path / "new-writers")):
        assert main(["train", "--out", str(folder)]) == 2
        assert f"{old} already holds a run; go on with it by --resume {old}, delete it, or choose another --out" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_runs_are_numbered_and_the_newest_is_the_default(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number in ("1", "2"):
        assert main(["train", "--epochs", "1", "--batch-size", "512"]) == 0
        assert (tmp_path / "runs" / f"digits-{number}" / "weights.npz").exists()
    capsys.readouterr()
    assert main(["eval"]) == 0
    assert re.match(r"runs/digits-2: .*\ntest accuracy \d+\.\d %\n", capsys.readouterr().out)


def test_eval_repeats_the_accuracy_of_the_history(trained, capsys):
    assert main(["eval", str(trained)]) == 0
    printed = float(re.search(r"test accuracy (\d+\.\d) %", capsys.readouterr().out)[1])
    with open(trained / "history.csv", newline="") as file:
        assert printed == pytest.approx(100 * float(next(csv.DictReader(file))["test_accuracy"]), abs=0.051)


def test_predict_tells_each_image_of_a_file(trained, tmp_path, capsys):
    x, _ = data.digits()[1]
    for shape in ((3, 8, 8), (3, 1, 8, 8), (3, 8, 8, 1)):
        np.save(tmp_path / "three.npy", (16 * x[:3]).astype(np.uint8).reshape(shape))
        assert main(["predict", str(trained), str(tmp_path / "three.npy")]) == 0
        lines = capsys.readouterr().out.splitlines()
        answer = r"\d \(\d+\.\d %\)"
        assert [re.match(rf"image (\d): {answer}, {answer}, {answer}$", line)[1] for line in lines] == ["0", "1", "2"]


def test_predict_without_a_file_draws_test_images(trained, capsys):
    assert main(["predict", str(trained)]) == 0
    out = capsys.readouterr().out
    assert out.count("image ") == 10
    assert "@@" in out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((8, 9)), "must hold"),
        (np.zeros((8, 8, 3)), "must hold (8, 8), (N, 8, 8), (N, 1, 8, 8) or (N, 8, 8, 1), got (8, 8, 3)"),
        (np.zeros((0, 8, 8)), "impossible shape (0, 8, 8)"),
        (np.full((8, 8), 17), "from 0"),
        (np.full((8, 8), np.nan), "from 0"),
        (np.array([["a"] * 8] * 8), "must hold integers or floats, got <U1"),
        (np.array([None]), "holds pickled Python objects, which will not be read"),
        (b"", "not a .npy file"),
        (b"GIF89a", "not a .npy file"),
    ],
    ids=["shape", "channels", "empty", "too dark", "NaN", "text", "pickled", "no bytes", "another format"],
)
def test_predict_says_what_is_wrong_with_a_file(trained, tmp_path, capsys, content, message):
    path = tmp_path / "bad.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    assert main(["predict", str(trained), str(path)]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert str(path) in error
    assert "\n" not in error


def broken(name, content):
    def spoil(folder):
        path = folder / name
        path.write_bytes(content(path.read_bytes())) if content else path.unlink()

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (broken("config.json", None), "holds no run"),
        (broken("config.json", lambda old: old[:-9]), "not JSON"),
        (broken("config.json", lambda old: b"[]"), "must name a model"),
        (broken("config.json", lambda old: old.replace(b"in_channels", b"channels")), "says nothing of 'in_channels'"),
        (broken("config.json", lambda old: old.replace(b'"classes": 10', b'"classes": 9')), "class_names must be 9"),
        (broken("config.json", lambda old: old.replace(b"stratified", b"other")), "digits: split must be one of"),
        (broken("weights.npz", None), "stopped before its end; go on with: python -m fastconv train --resume"),
        (broken("config.json", lambda old: old.replace(b'"digits:stratified"', b"3")), "data must be a word"),
        (broken("weights.npz", lambda old: npy_bytes(np.zeros(3))), "broken"),
        (broken("weights.npz", lambda old: old[:1000]), "broken"),
        (broken("weights.npz", lambda old: b""), "broken"),
    ],
)
def test_a_damaged_run_is_one_line_and_exit_code_2(trained, tmp_path, capsys, spoil, message):
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in trained.glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    spoil(folder)
    assert main(["eval", str(folder)]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def test_info_names_versions_threads_and_cache(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for line in ("fastconv:", "numba:", "cpu:", "lanes:", "threads:", "threading layer:", "kernel cache:"):
        assert line in out


@pytest.mark.parametrize("arguments", [["train", "--epochs", "0"], ["train", "--lr", "-1"], ["train", "--lr", "nan"], ["nonsense"], []])
def test_wrong_words_are_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        parser().parse_args(arguments)
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_too_many_threads_is_one_line(capsys):
    assert main(["info", "--threads", "100000"]) == 2
    assert "set_num_threads: n must be between 1 and" in capsys.readouterr().err


def test_info_tells_of_a_busy_machine(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(policy, "get_num_threads", lambda: 4)
    for busy, advice in ((0.2, False), (3.0, True)):
        monkeypatch.setattr(os, "getloadavg", lambda busy=busy: (busy, 0.0, 0.0), raising=False)
        found = info.load()
        assert found.startswith(f"{busy} of 4 CPUs busy")
        assert ("fewer threads may be faster" in found) is advice


@pytest.mark.parametrize("verb", ["train", "eval", "predict", "warmup", "info"])
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        parser().parse_args([verb, "--help"])
    assert stop.value.code == 0
    assert "--threads" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="modes of folders are POSIX's")
def test_info_tells_of_a_cache_in_a_folder_that_cannot_be_read(monkeypatch, tmp_path):
    from fastconv.cli import info

    class Closed(type(tmp_path)):
        def stat(self, **words):
            raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(info, "folder", lambda: Closed(tmp_path))
    assert info.cache() == f"{tmp_path} is not used: Permission denied; FASTCONV_CACHE may name another folder"
