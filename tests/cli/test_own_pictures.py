"""Folders of pictures at the command line: `train`, `eval` and `predict` read them alike."""

import json
import re
import shutil

import numpy as np
import pytest

import fastconv as fc
from fastconv import data
from fastconv.cli import main

Image = pytest.importorskip("PIL.Image")

pytestmark = pytest.mark.usefixtures("one_thread")

random = np.random.default_rng(5)


@pytest.fixture
def pets(tmp_path, monkeypatch):
    """A folder of larger pictures in colors, 12 of ant, 6 of bee, and where it is."""
    monkeypatch.chdir(tmp_path)
    for name, count in (("ant", 12), ("bee", 6)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(count):
            array = random.integers(0, 256, (9, 12, 3), np.uint8) // (4 if name == "ant" else 1)
            Image.fromarray(array).save(tmp_path / "pets" / name / f"{i}.png")
    return tmp_path / "pets"


def config(run):
    return json.loads((fc.load_run(run).folder / "config.json").read_text())


def test_a_folder_of_pictures_from_training_to_answers(pets, capsys):
    words = ["--size", "8", "--grayscale", "--epochs", "1", "--batch-size", "16", "--class-weights", "balanced"]
    assert main(["train", "--data", "pets", *words]) == 0
    told = capsys.readouterr().err
    assert told.startswith("pets, gray at 8x8: 15 images to train on, 3 to test with, 1 thread\nx is uint8: scaled to 0..1, x / 255\n")
    kept = config("runs/pets-1")
    assert (kept["in_channels"], kept["size"], kept["class_names"], kept["class_weights"]) == (1, [8, 8], ["ant", "bee"], "balanced")
    assert main(["eval"]) == 0
    assert "runs/pets-1: small_cnn, " in capsys.readouterr().out
    assert main(["eval", "--data", "pets"]) == 0
    x, y = data.image_folder("pets", 8, grayscale=True).test
    assert main(["predict", "pets"]) == 0
    lines = capsys.readouterr().out.splitlines()[-19:]
    names = [f"{name}/{i}.png" for name, count in (("ant", 12), ("bee", 6)) for i in sorted(range(count), key=str)]
    assert [line.partition(":")[0] for line in lines[:-1]] == names
    run = fc.load_run("runs/pets-1")
    assert run.evaluate(x, y).accuracy == np.mean(run.predict(x).labels == y)
    assert main(["export", "runs/pets-1", "pets.npz"]) == 0
    mean, std = (f"{values[0]:.6g}" for values in config("runs/pets-1")["normalise"].values())
    told = f"its images, 0..1, must be normalised first, (x - mean) / std of each channel: mean {mean}; std {std}"
    assert capsys.readouterr().out.splitlines()[-1] == told
    assert main(["train", "--data", "pets", *words[:-2], "--out", "even"]) == 0
    assert not np.array_equal(fc.load("even/weights.npz")["0.weight"], fc.load("runs/pets-1/weights.npz")["0.weight"])
    capsys.readouterr()
    assert main(["predict", "runs/pets-1", "pets/bee/3.png"]) == 0
    expected = run.predict(data.images("pets/bee/3.png", 8, grayscale=True)).top()[0][0]
    assert capsys.readouterr().out.startswith(f"image 0: {expected[0]} ({100 * expected[1]:.1f} %)")


def test_pictures_of_other_folders_have_the_size_of_the_runs(pets, capsys):
    assert main(["train", "--data", "pets", "--size", "6x8", "--epochs", "1"]) == 0
    assert "pets, color at 6x8: " in capsys.readouterr().err
    shutil.copytree(pets, pets.parent / "more")
    assert main(["eval", "--data", "more"]) == 0
    assert "the test images overlap the training images" not in capsys.readouterr().err


def test_what_cannot_be_read_is_told_once_and_left_out(pets, capsys):
    (pets / "ant" / "3.png").write_text("no picture")
    assert main(["train", "--data", "pets", "--size", "8", "--epochs", "1"]) == 0
    told = capsys.readouterr().err.splitlines()
    bad = "cannot be read as pictures: pets/ant/3.png: not a picture of any of the formats PNG, JPEG, BMP, GIF, TIFF, WEBP"
    assert told[0] == f"fastconv: warning: {pets}: 1 of 18 files {bad.replace('pets/ant', f'{pets}/ant')}"
    assert told[1].startswith("pets, color at 8x8: 14 images to train on, 3 to test with")
    assert main(["predict", "pets"]) == 0
    out, err = capsys.readouterr()
    assert err == f"fastconv: warning: 1 of 18 files {bad}\n"
    assert "ant/3.png" not in out
    assert main(["predict", "pets/ant/3.png"]) == 2
    assert capsys.readouterr().err == "fastconv: error: pets/ant/3.png: not a picture of any of the formats PNG, JPEG, BMP, GIF, TIFF, WEBP\n"


def test_a_val_folder_is_what_is_validated_with(pets, capsys):
    top = pets.parent / "split"
    for part in ("train", "val", "test"):
        (top / part).mkdir(parents=True)
        for name in ("ant", "bee"):
            (top / part / name).symlink_to(pets / name)
    words = ["train", "--data", "split", "--size", "8", "--epochs", "1"]
    assert main([*words, "--early-stop", "1", "--grayscale"]) == 0
    assert "split, gray at 8x8: 18 images to train on, 18 to validate with, 18 to test with, 1 thread" in capsys.readouterr().err
    assert fc.load_run("runs/split-1").history[0]["val_accuracy"] >= 0
    assert main([*words, "--val", "0.2"]) == 2
    assert capsys.readouterr().err == f"fastconv: error: --val 0.2: {top} has a folder of images to validate with; leave --val out\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "digits", "--size", "8"], "--size and --grayscale are for a folder of pictures, --data FOLDER"),
        (["--grayscale"], "--size and --grayscale are for a folder of pictures, --data FOLDER"),
        (["--data", "pets/ant"], "no sub-folders, one for each class, in .*ant, which holds 0.png, 1.png, .* and 4 more"),
        (["--data", "cifar"], "--data cifar: the folder holds the files of cifar10: write --data cifar10:cifar"),
        (["--resume", "runs/x", "--grayscale"], "--resume takes its words, but for --epochs, from the run's config.json: leave out --grayscale"),
    ],
)
def test_words_that_do_not_fit_are_told(pets, capsys, words, message):
    (pets.parent / "cifar").mkdir()
    (pets.parent / "cifar" / "data_batch_1").touch()
    assert main(["train", *words]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(f"fastconv: error: {message}\n", error), error


@pytest.mark.parametrize("word", ["0", "4097", "8x", "8x8x3", "-8", "big", "9" * 400])
def test_a_size_is_pixels(pets, capsys, word):
    with pytest.raises(SystemExit):
        main(["train", "--data", "pets", f"--size={word}"])
    assert f"argument --size: must be N or HxW, pixels from 1 to 4096, got {word}" in capsys.readouterr().err.replace("\n", " ")


def test_texts_of_a_file_name_the_classes_of_a_run(tmp_path, monkeypatch, capsys):
    """Keras's names, channels last, labels as texts: class names are kept."""
    monkeypatch.chdir(tmp_path)
    x, y = random.integers(0, 256, (20, 8, 8, 3), np.uint8), np.array(["cat", "ant"] * 10)
    np.savez("own.npz", x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    assert main(["train", "--data", "own.npz", "--epochs", "1"]) == 0
    assert config("runs/own-1")["class_names"] == ["ant", "cat"]
    np.save("one.npy", x[0])
    capsys.readouterr()
    assert main(["predict", "one.npy"]) == 0
    assert capsys.readouterr().out.startswith("image 0: ")
    assert fc.load_run("runs/own-1").evaluate(x, y).accuracy >= 0


def test_a_run_from_before_there_were_class_weights_resumes(pets):
    assert main(["train", "--data", "pets", "--size", "8", "--epochs", "1"]) == 0
    path = pets.parent / "runs" / "pets-1" / "config.json"
    before = json.loads(path.read_text())
    del before["class_weights"]
    path.write_text(json.dumps(before))
    assert main(["train", "--resume", "runs/pets-1"]) == 0
