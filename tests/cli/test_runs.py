"""What is a run and what is none; what `eval` and `predict` do with the folders and files that people have."""

import json
import re

import numpy as np
import pytest

import fastconv as fc
from fastconv import data
from fastconv.cli import main

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder in which digits were trained on once: runs/digits-1."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "--data", "digits:stratified", "--epochs", "1", "--batch-size", "256"]) == 0
    return folder


@pytest.fixture
def at_home(home, monkeypatch):
    monkeypatch.chdir(home)
    return home


def one_error(capsys) -> str:
    error = capsys.readouterr().err
    assert error.startswith("fastconv: error: ")
    assert error.count("\n") == 1
    return error[17:-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", str(2**64)], "seed: must be between 0 and 2**64 - 1, got 18446744073709551616"),
        (["--epochs", str(10**12)], "train: --epochs must be between 1 and 2147483647, got 1000000000000"),
        (["--epochs", str(10**8)], "OneCycle: total_steps must be between 2 and 2147483647, got 4500000000"),
        (["--batch-size", str(10**12)], "Batches: batch_size must be between 1 and 2147483647, got 1000000000000"),
        (["--val", ".999"], "--val 0.999 takes all 142 images of class 0 away from training; choose a smaller share"),
        (["--early-stop", str(10**12)], "train: --early-stop must be between 1 and 2147483647, got 1000000000000"),
        (["--out", "file"], "file is a file, so no run can be kept in it; choose another --out"),
    ],
)
def test_nothing_is_written_for_what_cannot_be_trained(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(["train", *words]) == 2
    assert one_error(capsys) == message
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_without_weights_is_no_run(tmp_path, monkeypatch, capsys):
    """As a training that failed in its first epoch leaves it: it is not the newest run, and the corrected command goes on in it."""
    monkeypatch.chdir(tmp_path)
    words = ["train", "--data", "digits:writers", "--epochs", "1", "--batch-size", "512"]
    assert main(words) == 0
    assert main([*words, "--lr", "1e30", "--out", "runs/digits-2"]) == 2
    assert [path.name for path in (tmp_path / "runs" / "digits-2").iterdir()] == ["config.json"]
    capsys.readouterr()
    assert main(["eval"]) == 0
    assert capsys.readouterr().out.startswith("runs/digits-1: ")
    assert main(["predict", "runs/digits-2"]) == 2
    assert one_error(capsys) == (
        "runs/digits-2 holds no weights: its training never came to the end of an epoch; train again with --out runs/digits-2"
    )
    assert main([*words, "--out", "runs/digits-2"]) == 0
    capsys.readouterr()
    assert main(["eval"]) == 0
    assert capsys.readouterr().out.startswith("runs/digits-2: ")


def test_a_wrong_folder_is_told_with_those_that_are_right(at_home, capsys):
    (at_home / "runs" / "digits-1" / "curves.png").touch()
    for verb, folder, *more in (["eval", "runs/digit-1"], ["predict", "runs/digit-1"], ["export", "runs/digit-1", "x.npz"], ["predict", "runs"]):
        assert main([verb, folder, *more]) == 2
        assert one_error(capsys).startswith(f"{folder} holds no run (no config.json); there are runs/digits-1; make one with: ")
    with pytest.raises(data.FileFormatError, match=r"^runs/digit-1 holds no run \(no config\.json\); there are runs/digits-1; make one with: "):
        fc.load_run("runs/digit-1")


def test_only_a_stopped_run_is_told_how_to_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "digits-1").mkdir(parents=True)
    (tmp_path / "runs" / "digits-1" / "checkpoint.npz").touch()
    assert main(["eval"]) == 2
    assert one_error(capsys) == "runs/digits-1 was stopped before its end; go on with: python -m fastconv train --resume runs/digits-1"


@pytest.mark.parametrize(
    "change", [{"lr": "fast"}, {"schedule": "none"}, {"augment": {"flop": 1}}, {"augment": 3}, {"val": "x"}, {"early_stop": "x"}]
)
def test_a_configuration_changed_by_hand_is_one_line(at_home, tmp_path, capsys, change):
    config = json.loads((at_home / "runs" / "digits-1" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    assert main(["train", "--resume", str(tmp_path)]) == 2
    assert re.match(rf"{re.escape(str(tmp_path / 'config.json'))} (is no run's|cannot be resumed): ", one_error(capsys))


def test_eval_warns_of_images_that_were_trained_on(at_home, tmp_path, capsys):
    """By the images themselves: in the other split, and in a file with some of them."""
    (x, y), (x_test, y_test) = data.digits("stratified")
    (_, _), (x_other, _) = data.digits("writers")
    mixed = np.concatenate([x[:7], x_test[:20]]), np.concatenate([y[:7], y_test[:20]])
    np.savez(tmp_path / "mixed.npz", x=x, y=y, x_test=mixed[0], y_test=mixed[1])
    known = {image.tobytes() for image in x}
    for word, count, total in (
        ("digits:writers", sum(image.tobytes() in known for image in x_other), 360),
        (str(tmp_path / "mixed.npz"), 7 + sum(image.tobytes() in known for image in x_test[:20]), 27),
    ):
        assert count > 5
        assert main(["eval", "runs/digits-1", "--data", word]) == 0
        assert capsys.readouterr().err == (
            f"fastconv: warning: the test images overlap the training images: runs/digits-1 was trained with {count} of these {total}, "
            "so the accuracy says little about new ones\n"
        )
    for words in ([], ["--data", "digits:stratified"]):
        assert main(["eval", "runs/digits-1", *words]) == 0
        assert capsys.readouterr().err == ""


def test_data_that_are_gone(at_home, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    for path in (at_home / "runs" / "digits-1").glob("*.*"):
        (run / path.name).write_bytes(path.read_bytes())
    config = json.loads((run / "config.json").read_text()) | {"data": str(tmp_path / "gone.npz")}
    (run / "config.json").write_text(json.dumps(config))
    gone = f"{run} was trained on {tmp_path / 'gone.npz'}, which is no longer there; eval takes other data by --data, predict takes a FILE"
    for words in (["eval", run], ["predict", run], ["train", "--resume", run]):
        assert main([*map(str, words)]) == 2
        assert one_error(capsys) == gone
    assert main(["eval", str(run), "--data", "digits"]) == 0
    assert capsys.readouterr().err == f"fastconv: warning: whether {run} was trained on some of these images is not known: {gone}\n"


def test_predict_takes_a_folder(at_home, tmp_path, capsys):
    """Its images by name; stray files are passed over. Without the run's folder too."""
    x = (16 * data.digits()[1][0][:4]).round().astype(np.uint8)[:, 0]
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for name, array in (("b.npy", x[1]), ("a.npy", x[0]), ("two.NPY", x[2:])):
        with open(folder / name, "wb") as file:
            np.save(file, array)
    (folder / "notes.txt").write_text("stray")
    (folder / ".hidden.npy").write_bytes(b"")
    np.save(tmp_path / "all.npy", x)
    assert main(["predict", str(tmp_path / "all.npy")]) == 0
    expected = [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()]
    for words in (["runs/digits-1", str(folder)], [str(folder)]):
        assert main(["predict", *words]) == 0
        lines = [line.partition(": ") for line in capsys.readouterr().out.splitlines()]
        assert [name for name, *_ in lines] == ["a.npy", "b.npy", "two.NPY[0]", "two.NPY[1]"]
        assert [answer for *_, answer in lines] == expected


def test_export_says_which_file_cannot_be_written(at_home, capsys):
    assert main(["export", "runs/digits-1", "nowhere/x.npz"]) == 2
    assert one_error(capsys) == "nowhere/x.npz: No such file or directory"


def test_predict_says_what_it_takes(at_home, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("stray")
    assert main(["predict", "runs/digits-1", str(tmp_path)]) == 2
    assert re.match(r"no images in .*, which holds notes.txt; pass a \.npy file, a picture \(\.png, .*\) or a folder with some$", one_error(capsys))
    assert main(["predict", "missing.npy"]) == 2
    assert one_error(capsys) == "no missing.npy in ., which holds runs"


@pytest.mark.parametrize(("model", "size"), [("lenet5", "1x28x28"), ("ds_cnn", "1x49x10")])
def test_warmup_takes_images_of_the_models_own_size(monkeypatch, capsys, model, size):
    seen = []
    monkeypatch.setattr(fc.train, "fit", lambda model, examples, **words: seen.append((model, *examples)))
    assert main(["warmup", "--model", model]) == 0
    assert re.fullmatch(rf"{model} on images of {size} is ready to train after \d+\.\d s; kernels are .*\n", capsys.readouterr().out)
    for net, x, y in seen:
        assert "x".join(map(str, x.shape[1:])) == size
        assert net.output_shape(x.shape)[1] > y.max()
