"""What is no file, or a trap: pipes, folders, devices and loops of links in a file's place; bombs; headers beyond all measure; runs' config.json."""

import json
import os
import zipfile

import numpy as np
import pytest
from data_files import npy_head, safetensors_bytes, spent, write_mnist, zipped

import fastconv as fc
from fastconv import data, memory
from fastconv.cli import main
from fastconv.cli.images import images
from fastconv.data import FileFormatError, npy
from fastconv.memory import shelves
from fastconv.plot.curves import _history
from fastconv.train.config import load_config

OWN = {"in_channels": 1, "size": [4, 4], "data": "own.npz"}
CIFAR = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
READERS = {
    "a.npz": data.npz, "w.npz": fc.load, "w.safetensors": fc.load, "a.npy": lambda path: images(path, OWN), "a.png": lambda path: images(path, OWN),
    "a.idx": data.idx, "train-images-idx3-ubyte": lambda path: data.mnist(path.parent), "data_batch_1.bin": lambda path: data.cifar10(path.parent),
    "config.json": lambda path: load_config(path.parent), "history.csv": _history, "class/0.npy": lambda path: data.npy_folder(path.parents[1]),
}  # fmt: skip


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def folder(path):
    path.mkdir()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize(("make", "word"), [(pipe, "a named pipe"), (device, "a device"), (folder, "a folder")])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused_by_name_and_not_waited_for(tmp_path, name, make, word):
    if name.endswith(".png"):
        pytest.importorskip("matplotlib")
    if name.endswith(".safetensors"):
        pytest.importorskip("safetensors")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if name.startswith("train"):
        write_mnist(tmp_path)
        path.unlink()
    make(path)
    for other in CIFAR if name in CIFAR else ():
        (tmp_path / other).exists() or (tmp_path / other).touch()
    looked_over = name in ("train-images-idx3-ubyte", "data_batch_1.bin", "history.csv") and make is folder  # in folders others may lie
    with pytest.raises((FileFormatError, FileNotFoundError) if looked_over else FileFormatError) as error:
        READERS[name](path)
    assert looked_over or str(error.value) == f"{path}: is {word}, a file is needed"


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
@pytest.mark.parametrize("name", READERS)
def test_a_loop_of_links_is_an_error_of_the_system_with_its_name(tmp_path, name):
    if name.endswith(".png"):
        pytest.importorskip("matplotlib")
    if name.endswith(".safetensors"):
        pytest.importorskip("safetensors")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(path)
    with pytest.raises(OSError, match=path.name):
        READERS[name](path)


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
@pytest.mark.parametrize("words", [
    ["train", "--data", "LOOP"], ["train", "--data", "LOOP.npz"], ["train", "--data", "mnist:LOOP"], ["train", "--resume", "LOOP"], ["eval", "LOOP"],
    ["predict", "LOOP"], ["train", "--data", "digits:writers", "--out", "LOOP"], ["export", "LOOP", "w.npz"],
])  # fmt: skip
def test_a_loop_of_links_given_to_a_command_is_one_line(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    for name in ("LOOP", "LOOP.npz"):
        (tmp_path / name).symlink_to(name)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "LOOP" in error


def test_many_members_below_the_limit_are_a_bomb_together(tmp_path):
    """12 of 20 MB each, of zeros."""
    member = npy_head("|u1", (20, 1 << 10, 1 << 10)) + bytes(20 << 20)
    zipped(tmp_path / "bomb.npz", zipfile.ZIP_DEFLATED, **{f"w{i}": member for i in range(12)})
    with pytest.raises(FileFormatError, match=r"bomb\.npz: \d+ bytes claim to unpack to 25165\d+, over 100 times as many"):
        fc.load(tmp_path / "bomb.npz")
    assert spent(lambda: fc.load(tmp_path / "bomb.npz")) < 4 << 20
    zipped(tmp_path / "three.npz", zipfile.ZIP_DEFLATED, **{f"w{i}": member for i in range(3)})
    assert len(fc.load(tmp_path / "three.npz")) == 3  # 60 MB are no bomb


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("(" + "9" * 4000 + ",)", r"impossible shape \(over 2\*\*63,\)"),
        ("(2, " + "9" * 4000 + ")", r"impossible shape \(2, over 2\*\*63\)"),
        ("(-" + "9" * 4000 + ",)", r"impossible shape \(-1,\)"),
        ("(" + "9" * 6000 + ",)", "not a .npy file, "),
        ("(True, 4)", r"impossible shape \(True, 4\)"),
        ("(" + "1, " * 40 + ")", r"impossible shape \(1, 1, 1, 1, 1, 1, 1, 1, ...\)"),
    ],
)
def test_shapes_beyond_all_measure(tmp_path, shape, message):
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(4))
    with pytest.raises(FileFormatError, match=f"a.npy: {message}") as error:
        npy.array(tmp_path / "a.npy")
    assert len(str(error.value)) < 500


def test_safetensors_of_70_axes(tmp_path):
    pytest.importorskip("safetensors")
    (tmp_path / "w.safetensors").write_bytes(safetensors_bytes({"w": {"dtype": "F32", "shape": [1] * 70, "data_offsets": [0, 4]}}, bytes(4)))
    with pytest.raises(FileFormatError, match=r"w\.safetensors: w has 70 axes, at most 32 can be read"):
        fc.load(tmp_path / "w.safetensors")


GOOD = {
    "model": "small_cnn", "in_channels": 1, "size": [8, 8], "classes": 2, "class_names": ["a", "b"], "data": "digits:writers",
    "normalise": {"mean": [0.5], "std": [0.25]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": ["small_cnn"]}, "must name a model, one of"),
        ({"in_channels": True}, "in_channels must be a whole number from 1, got true"),
        ({"classes": 10**40}, "classes must be a whole number from 1, got a number of more than 30 digits"),
        ({"size": [8]}, r"size must be two whole numbers from 1, \[H, W\], got \[8\]"),
        ({"size": [8, 8.5]}, r"size must be two whole numbers from 1, \[H, W\], got \[8, 8.5\]"),
        ({"size": [10**6, 10**6]}, "in_channels and size make images of 1000000000000 numbers, more than 67108864"),
        ({"class_names": 3}, "class_names must be words, one for each class, got 3"),
        ({"class_names": ["a"]}, "class_names must be 2 words, one for each class, got 1"),
        ({"class_names": ["a", "\ud800"]}, "class_names must be words"),
        ({"data": "digits:\0"}, "data must be a word"),
        ({"normalise": [1]}, r"normalise must be null, or mean and std, got \[1\]"),
        ({"normalise": {"mean": [0.5]}}, "it says nothing of 'normalise.std'"),
        ({"normalise": {"mean": [float("nan")], "std": [1]}}, r"normalise.mean must be 1 numbers, one for each channel, got \[NaN\]"),
        ({"normalise": {"mean": [0.5], "std": [0]}}, r"normalise.std must be 1 numbers above 0, got \[0\]"),
        ({"normalise": {"mean": [0.5], "std": [1], "more": 1}}, "normalise must hold mean and std, got"),
        ({"size": [1, 1]}, "small_cnn cannot be built: small_cnn: images of size"),
    ],
)
def test_a_wrong_entry_of_a_configuration_is_named(tmp_path, changed, message):
    (tmp_path / "config.json").write_text(json.dumps(GOOD | changed))
    with pytest.raises(FileFormatError, match=f"config.json .*{message}"):
        fc.load_run(tmp_path)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"model": ' * 100_000, b"\xff\xfe", b"9" * 5000, b""])
def test_what_is_no_json_is_said_to_be_none(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"config\.json is not JSON: "):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epochs": "3"}, 'epochs must be a whole number from 1, got "3"'),
        ({"lr": float("inf")}, "lr must be a number above 0, got Infinity"),
        ({"augment": {"spin": 1}}, "augment must be some of shift, a whole number from 0, flip"),
        ({"val": 1}, "val must be a number from 0 to below 1, got 1"),
        ({"early_stop": 0}, "early_stop must be null or a whole number from 1, got 0"),
        ({"seed": None}, "seed must be a whole number from 0, got null"),
        ({"schedule": 1}, "schedule must be a word, got 1"),
    ],
)
def test_a_wrong_entry_is_named_where_a_run_would_go_on(tmp_path, capsys, changed, message):
    config = GOOD | {"epochs": 1, "batch_size": 8, "lr": 0.1, "schedule": "constant", "augment": {}, "clip_norm": None, "val": 0.0}
    (tmp_path / "config.json").write_text(json.dumps(config | {"early_stop": None, "seed": 0} | changed))
    assert main(["train", "--resume", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'config.json'} is no run's: {message}" in error
    assert error.count("\n") == 1


def test_readers_get_the_memory_that_waits(tmp_path, monkeypatch):
    """What the shelves hold is freed, and the file is read once more from its start."""
    np.save(tmp_path / "a.npy", np.arange(6))
    usual, refused = npy.exactly, []

    def none_left(*words):
        if not refused:
            refused.append(shelves.made)
            raise MemoryError
        return usual(*words)

    monkeypatch.setattr(npy, "exactly", none_left)
    memory.empty((1 << 28,), np.uint8)
    np.testing.assert_array_equal(npy.array(tmp_path / "a.npy"), np.arange(6))
    assert shelves.made <= refused[0] - (1 << 28)
