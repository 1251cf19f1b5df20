"""`python -m fastconv train` on any data: files made here train end to end, stop and go on."""

import csv
import json
import re
import signal

import numpy as np
import pytest
from data_files import write_folder, write_mnist

import fastconv as fc
from fastconv.cli import jobs, main
from fastconv.cli.images import images as read_images
from fastconv.data import cifar10
from fastconv.data.split import stratified

pytestmark = pytest.mark.usefixtures("one_thread")


def images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def mnist(folder, monkeypatch):
    write_mnist(folder, train_images=images(12, 8, 6), t10k_images=images(5, 8, 6))
    return f"mnist:{folder}", (1, 8, 6), [str(digit) for digit in range(10)]


def cifar(folder, monkeypatch):
    """A tenth of a percent of CIFAR-10's size, in its format."""
    monkeypatch.setitem(cifar10.__globals__, "IMAGES", 10)
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        records = np.concatenate([np.arange(10, dtype=np.uint8)[:, None], images(10, 3072)], axis=1)
        (folder / name).write_bytes(records.tobytes())
    return f"cifar10:{folder}", (3, 32, 32), ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def npz(folder, monkeypatch):
    np.savez(folder / "shapes.npz", x=images(40, 8, 8), y=np.arange(40) % 4)
    return str(folder / "shapes.npz"), (1, 8, 8), ["0", "1", "2", "3"]


def npy_folder(folder, monkeypatch):
    (folder / "pets").mkdir()
    return str(write_folder(folder / "pets", images(30, 3, 8, 8))), (3, 8, 8), ["ant", "bee", "cat"]


@pytest.mark.parametrize("make", [mnist, cifar, npz, npy_folder])
def test_files_train_end_to_end(make, tmp_path, monkeypatch, capsys):
    word, shape, names = make(tmp_path, monkeypatch)
    run = tmp_path / "run"
    assert main(["train", "--data", word, "--epochs", "1", "--batch-size", "16", "--out", str(run)]) == 0
    out, err = capsys.readouterr()
    saved, accuracy = out.splitlines()
    assert saved == f"run saved in {run}: try python -m fastconv predict {run}"
    assert re.search(r"^.*: \d+ images to train on, \d+ to test with, 1 thread$", err, re.MULTILINE)
    assert re.search(r"^epoch 1/1  loss .*  accuracy .*  test_loss .*  test_accuracy +\d+\.\d %  rate .* s$", err, re.MULTILINE)
    config = json.loads((run / "config.json").read_text())
    assert ((config["in_channels"], *config["size"]), config["class_names"], len(config["normalise"]["mean"])) == (shape, names, shape[0])
    monkeypatch.chdir(run)  # the run finds its data from anywhere
    assert main(["eval", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[1] == accuracy
    assert re.fullmatch(r"test accuracy \d+\.\d %", accuracy)
    np.save(tmp_path / "two.npy", images(2, *shape))
    assert main(["predict", str(run), str(tmp_path / "two.npy")]) == 0
    answer = rf"({'|'.join(names)}) \(\d+\.\d %\)"
    assert all(re.fullmatch(rf"image \d: {answer}, {answer}, {answer}", line) for line in capsys.readouterr().out.splitlines())
    np.save(tmp_path / "floats.npy", np.full(shape, 255.0))
    assert main(["predict", str(run), str(tmp_path / "floats.npy")]) == 2
    assert "must hold integers 0 to 255 or floats 0 to 1" in capsys.readouterr().err


def rows(run) -> list[dict[str, float]]:
    with open(run / "history.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def test_images_are_normalised_as_in_training(tmp_path, monkeypatch, capsys):
    """By eval, whose loss is that of the history, and by predict, whose answers are the model's."""
    word, _, _ = npz(tmp_path, monkeypatch)
    run = tmp_path / "run"
    assert main(["train", "--data", word, "--epochs", "3", "--out", str(run)]) == 0
    assert main(["eval", str(run)]) == 0
    assert f"loss {rows(run)[-1]['test_loss']:.4f}\n" in capsys.readouterr().out
    (x, _), (x_test, _) = fc.data.npz(word)
    np.save(tmp_path / "test.npy", x_test)
    assert main(["predict", str(run), str(tmp_path / "test.npy")]) == 0
    shares = np.exp(fc.load_run(run).model(fc.data.Normalise.of(x)(x_test)).astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    best = [", ".join(f"{k} ({100 * share[k]:.1f} %)" for k in np.argsort(-share)[:3]) for share in shares]
    assert capsys.readouterr().out.splitlines() == [f"image {i}: {told}" for i, told in enumerate(best)]


def test_a_picture_is_told_as_its_pixels(tmp_path, monkeypatch, capsys):
    imsave = pytest.importorskip("matplotlib.image").imsave
    pytest.importorskip("PIL")
    word, shape, _ = npy_folder(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", word, "--epochs", "1", "--batch-size", "16"]) == 0
    pixels = images(*shape)
    np.save("image.npy", pixels)
    imsave("image.png", pixels.transpose(1, 2, 0))
    capsys.readouterr()
    for words in (["image.npy"], ["image.png"], ["runs/pets-1", "image.png"]):  # without a folder, by the newest run
        assert main(["predict", *words]) == 0
    assert len(set(capsys.readouterr().out.splitlines())) == 1
    imsave("large.png", images(9, 8, 3))
    (tmp_path / "bad.png").write_bytes(b"GIF89a")
    assert main(["predict", "runs/pets-1", "large.png"]) == 0
    assert capsys.readouterr().out.startswith("image 0: ")
    for file, message in (
        ("bad", "not a picture of any of the formats PNG, .*"),
        ("none", r"no none\.png in \., which holds bad\.png, image\.npy, .*"),
    ):
        assert main(["predict", "runs/pets-1", f"{file}.png"]) == 2
        assert re.fullmatch(rf"fastconv: error: .*{message}.*\n", capsys.readouterr().err)


def test_colours_become_grey(tmp_path):
    imsave = pytest.importorskip("matplotlib.image").imsave
    grey = images(8, 6)
    imsave(tmp_path / "grey.png", np.repeat(grey[..., None], 3, axis=2))
    (found,) = read_images(tmp_path / "grey.png", {"in_channels": 1, "size": [8, 6]})
    np.testing.assert_allclose(found[0], grey / 255, atol=1e-6)
    with pytest.raises(ValueError, match="is a picture, but the model wants 2 channels"):
        read_images(tmp_path / "grey.png", {"in_channels": 2, "size": [8, 6]})


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The command that trains on an own file; more words and the folder may follow."""
    word, _, _ = npz(tmp_path, monkeypatch)

    def command(folder, *words):
        return main(["train", "--data", word, "--epochs", "3", "--batch-size", "16", "--out", str(tmp_path / folder), *words])

    return command


RATES = {
    "one-cycle": lambda lrs: 5e-3 > lrs[0] > lrs[1] > lrs[2] == pytest.approx(2e-8),
    "cosine": lambda lrs: 5e-3 > lrs[0] > lrs[1] > lrs[2] > 0,
    "step": lambda lrs: np.allclose(lrs, [5e-3, 5e-4, 5e-5]),
    "constant": lambda lrs: lrs == [5e-3] * 3,
    "plateau": lambda lrs: lrs == [5e-3] * 3,
}


@pytest.mark.parametrize("schedule", RATES)
def test_every_schedule(own, tmp_path, capsys, schedule):
    assert own("run", "--schedule", schedule, "--augment", "flip,shift=2,noise=0.1", "--clip-norm", "1") == 0
    lrs = [row["rate"] for row in rows(tmp_path / "run")]
    assert len(lrs) == 3
    assert RATES[schedule](lrs)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["augment"] == {"flip": 0.5, "shift": 2, "noise": 0.1}
    assert config["val"] == (0.1 if schedule == "plateau" else 0)


def test_early_stop_keeps_the_best_epoch_of_its_validation(own, tmp_path, capsys):
    assert own("run", "--early-stop", "2", "--val", "0.25", "--epochs", "50", "--lr", "0.05") == 0
    assert "shapes.npz: 24 images to train on, 8 to validate with, 8 to test with" in capsys.readouterr().err
    losses = [row["val_loss"] for row in rows(tmp_path / "run")]
    assert losses.index(min(losses)) == len(losses) - 3
    assert "test_loss" not in rows(tmp_path / "run")[0]
    (x, y), _ = fc.data.npz(tmp_path / "shapes.npz")
    held = stratified(y, 0.25)
    run = fc.load_run(tmp_path / "run")
    assert fc.train.evaluate(run.model, run.normalise(x[held]), y[held]).loss == pytest.approx(min(losses), rel=1e-12)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_says_how_to_go_on_and_nothing_is_lost(own, tmp_path, monkeypatch, capsys):
    """Stopped twice, gone on with twice: the weights and history.csv are, byte by byte, those of a run that never stopped."""
    assert own("whole") == 0
    usual, calls = jobs.add_test, []

    def pressed(*words):
        calls.append(words)
        if len(calls) in (2, 3):
            signal.raise_signal(signal.SIGINT)
        return usual(*words)

    monkeypatch.setattr(jobs, "add_test", pressed)
    capsys.readouterr()
    run = tmp_path / "run"
    assert own("run") == 130
    assert capsys.readouterr().err.splitlines()[-1] == f"fastconv: interrupted; go on with: python -m fastconv train --resume {run}"
    for verb in ("eval", "predict"):
        assert main([verb, str(run)]) == 2
        assert f"stopped before its end; go on with: python -m fastconv train --resume {run}" in capsys.readouterr().err
    assert main(["train", "--resume", str(run)]) == 130
    assert main(["train", "--resume", str(run)]) == 0
    assert (run / "history.csv").read_bytes() == (tmp_path / "whole" / "history.csv").read_bytes()
    with np.load(run / "weights.npz") as found, np.load(tmp_path / "whole" / "weights.npz") as expected:
        assert all(np.array_equal(found[name], expected[name]) for name in expected.files)


@pytest.mark.usefixtures("interruptible")
def test_both_splits_of_the_digits_go_on(tmp_path, monkeypatch, capsys):
    """Stopped in the first of them: the second is not forgotten."""
    usual = jobs.add_test
    monkeypatch.setattr(jobs, "add_test", lambda *words: (signal.raise_signal(signal.SIGINT), usual(*words))[1])
    run = str(tmp_path / "run")
    assert main(["train", "--epochs", "1", "--batch-size", "512", "--out", run]) == 130
    monkeypatch.setattr(jobs, "add_test", usual)
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"; go on with: python -m fastconv train --resume {run} {run}-writers")
    assert main(["train", "--resume", run, f"{run}-writers"]) == 0
    assert [re.search(r"\((\w+) split", line)[1] for line in capsys.readouterr().out.splitlines()[-2:]] == ["stratified", "writers"]


def test_one_split_of_the_digits(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "--data", "digits:writers", "--epochs", "1", "--batch-size", "512", "--out", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("(writers split: the last fifth in file order, by other writers: harder)")
    assert main(["eval", str(run), "--data", "digits:stratified"]) == 0
    assert "stratified split, 360 test images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nothing"], "--data nothing: no such data; it must be digits, digits:stratified"),
        (["--data", "nothing", "--size", "24"], "--data nothing: no such data; it must be digits, digits:stratified"),
        (["--data", "digits:other"], "digits: split must be one of 'stratified', 'writers', got 'other'"),
        (["--data", "mnist"], "write mnist:DIR, the folder with its files"),
        (["--data", "mnist:DIR"], "no train-images-idx3-ubyte"),
        (["--data", "cifar10:DIR"], "no data_batch_1.bin"),
        (["--data", "DIR"], "no sub-folders, one for each class"),
        (["--data", "DIR/bad.npz"], "bad.npz: broken, File is not a zip file"),
        (["--model", "lenet5"], "lenet5: images of size (8, 8) are too small"),
        (["--val", "0", "--early-stop", "2"], "--val 0 leaves nothing that --early-stop or the plateau schedule could watch"),
        (["--val", "0.0001"], "--val 0.0001 of 1437 images is none in each class"),
        (["--resume", "DIR"], "holds no run (no config.json)"),
        (["--resume", "DIR", "--seed", "2"], "--resume takes its words, but for --epochs, from the run's config.json: leave out --seed"),
        (["--lr", "1e30"], "fit: the loss is nan in epoch 1, step 2; first not finite: layer 2 (Conv2d(16, 32"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "bad.npz").write_bytes(b"no zip file" * 9)
    assert main(["train", *(word.replace("DIR", str(tmp_path / "data")) for word in words)]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(("stratified", "epoch"))]
    assert len(error) == 1
    assert error[0].startswith("fastconv: error: ")
    assert message in error[0]
    assert (tmp_path / "runs").exists() == (words[0] == "--lr")


@pytest.mark.parametrize(
    "words",
    [
        ["--augment", "flop"], ["--augment", "flip=2"], ["--augment", "shift"], ["--augment", "shift=0.5"], ["--augment", "noise=-1"],
        ["--augment", ""], ["--val", "1"], ["--val", "x"], ["--schedule", "none"], ["--model", "none"], ["--early-stop", "0"], ["--clip-norm", "0"],
    ],
)  # fmt: skip
def test_wrong_words_are_told_by_the_parser(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", *words])
    assert stop.value.code == 2
    assert f"error: argument {words[0]}" in capsys.readouterr().err


def test_a_run_is_not_tested_on_images_of_other_shapes(own, tmp_path, monkeypatch, capsys):
    assert own("run", "--epochs", "1") == 0
    capsys.readouterr()
    assert main(["eval", str(tmp_path / "run"), "--data", "digits"]) == 2
    assert "was trained on 4 classes of (1, 8, 8) images, digits has 10 classes of (1, 8, 8) images" in capsys.readouterr().err


def test_warmup_says_how_long_it_took(capsys):
    assert main(["warmup"]) == 0
    assert re.fullmatch(r"small_cnn on stratified split is ready to train after \d+\.\d s; kernels are .*\n", capsys.readouterr().out)
