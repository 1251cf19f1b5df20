"""`fc.save` and `fc.load`: what was saved comes back, PyTorch reads it, and a bad file is an error with its name."""

import copy
import os
import pickle
import struct
import sys

import numpy as np
import pytest
from data_files import npy_bytes, npy_head, safetensors_bytes, zipped

import fastconv as fc
from fastconv import layers, losses, models, optim, train
from fastconv.data import FileFormatError

INPUTS = {"small_cnn": (2, 1, 8, 8), "lenet5": (2, 1, 28, 28), "keras_mnist": (2, 1, 28, 28), "ds_cnn": (2, 1, 49, 10)}
every_kind = pytest.mark.parametrize("kind", ["npz", "safetensors"])


def trained(name="resnet8"):
    """A model after a step of training, and images for it."""
    fc.seed(1)
    model, rng = models.MODELS[name](), np.random.default_rng(0)
    x = rng.standard_normal(INPUTS.get(name, (2, 3, 32, 32))).astype(np.float32)
    train.step(model, x, np.array([1, 7]), losses.cross_entropy, optim.SGD(model.parameters(), 0.01))
    return model, x


def need(kind):
    if kind == "safetensors":
        pytest.importorskip("safetensors")


@every_kind
def test_what_was_saved_comes_back(tmp_path, kind):
    need(kind)
    model, x = trained()
    fc.save(model, tmp_path / f"model.{kind}")
    again = models.resnet8()
    state = fc.load(str(tmp_path / f"model.{kind}"))
    assert state.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(state[name], value, strict=True)
    assert state["1.num_batches_tracked"].shape == ()
    again.load_state_dict(state)
    np.testing.assert_array_equal(again(x), model(x))


@every_kind
def test_a_file_of_ones_own(tmp_path, kind):
    """Names that are words of `np.savez`; another framework's dtypes."""
    need(kind)

    class Own(layers.Linear):
        def __init__(self):
            super().__init__(2, 3, dtype=np.float64)
            self.file, self.count = layers.Buffer(np.float16(3) * np.ones(2, np.float16)), layers.Buffer(np.arange(3, dtype=np.uint8))

    model = Own()
    fc.save(model, tmp_path / f"own.{kind}")
    for name, value in fc.load(tmp_path / f"own.{kind}").items():
        np.testing.assert_array_equal(value, model.state_dict()[name], strict=True)


@every_kind
def test_the_same_weights_are_the_same_bytes(tmp_path, kind):
    need(kind)
    model = models.small_cnn()
    for name in ("a", "b"):
        fc.save(copy.deepcopy(model), tmp_path / f"{name}.{kind}")
    assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_an_npz_is_what_numpy_writes(tmp_path):
    model = models.small_cnn()
    fc.save(model, tmp_path / "ours.npz")
    np.savez(tmp_path / "numpys.npz", **model.state_dict())
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpys.npz").read_bytes()


@every_kind
def test_a_file_is_written_whole_or_not_at_all(tmp_path, kind, monkeypatch):
    need(kind)
    path = tmp_path / f"model.{kind}"
    fc.save(models.small_cnn(), path)
    before = path.read_bytes()

    def full(handle):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        fc.save(models.small_cnn(), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", models.MODELS)
def test_a_model_trained_here_gives_the_same_logits_in_pytorch_and_back(tmp_path, name):
    torch, files = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    from bench.torch_nets import as_torch

    model, x = trained(name)
    fc.save(model, tmp_path / "ours.safetensors")
    other = as_torch(model).eval()
    other.load_state_dict(files.load_file(tmp_path / "ours.safetensors"))  # strict: the very names and shapes
    with torch.no_grad():
        logits = other(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(logits, model(x), rtol=1e-5, atol=1e-5 * abs(logits).max())
    files.save_file(other.state_dict(), tmp_path / "theirs.safetensors")
    again = models.MODELS[name]()
    again.load_state_dict(fc.load(tmp_path / "theirs.safetensors"))
    np.testing.assert_array_equal(again(x), model(x))


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


GOOD = safetensors_bytes(entry())
BAD_SAFETENSORS = {
    "empty": (b"", "not a safetensors file"),
    "a pickle": (pickle.dumps([1, 2, 3]), "not a safetensors file"),
    "cut in the header": (GOOD[:20], "not a safetensors file"),
    "short": (GOOD[:-1], "not a safetensors file"),
    "long": (GOOD + b"\0", "not a safetensors file"),
    "a header of 2**60 bytes": (struct.pack("<Q", 2**60) + GOOD[8:], "not a safetensors file"),
    "not JSON": (safetensors_bytes(b"{'w': 1}"), "not a safetensors file"),
    "a shape of 2**62 numbers": (safetensors_bytes(entry(shape=(2**31, 2**31))), "not a safetensors file"),
    "bfloat16": (safetensors_bytes(entry("BF16", (4,))), "w is BF16; integers or NumPy's floats are needed: save it as F32"),
    "bools": (safetensors_bytes(entry("BOOL", (8,))), "w is BOOL"),
    "an unknown dtype": (safetensors_bytes(entry("Q4")), "not a safetensors file"),
}


@pytest.mark.parametrize("case", BAD_SAFETENSORS)
def test_a_bad_safetensors_file_is_refused_by_name(tmp_path, case):
    pytest.importorskip("safetensors")
    content, message = BAD_SAFETENSORS[case]
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(FileFormatError, match=f"bad.safetensors: {message}"):
        fc.load(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda good: b"", "broken, "),
        (lambda good: good[:-9], "broken, "),
        (lambda good: good.replace(b"'<f4'", b"'<f2'"), "broken, Bad CRC-32 for file 'w.npy'"),
        (lambda good: b"GIF89a" + bytes(50), "broken, File is not a zip file"),
        (lambda good: pickle.dumps(np.ones(3)), "holds pickled Python objects"),
    ],
    ids=["empty", "cut", "changed", "another format", "pickle"],
)
def test_a_bad_npz_is_refused_by_name(tmp_path, spoil, message):
    zipped(tmp_path / "bad.npz", w=npy_bytes(np.arange(4, dtype=np.float32)))
    (tmp_path / "bad.npz").write_bytes(spoil((tmp_path / "bad.npz").read_bytes()))
    with pytest.raises(FileFormatError, match=f"bad.npz: {message}"):
        fc.load(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy_bytes(np.array([None, {}], object)), "holds pickled Python objects, which will not be read"),
        (npy_head("|V2", (4,)) + bytes(8), r"must hold integers or floats, got \|V2"),  # what NumPy makes of bfloat16
        (npy_head("<f4", (5,)) + bytes(16), "short, 20 bytes of data are wanted and 16 are there"),
    ],
    ids=["objects", "no number of NumPy's", "short"],
)
def test_a_bad_array_in_an_npz_is_refused_by_name(tmp_path, content, message):
    zipped(tmp_path / "bad.npz", w=content)
    with pytest.raises(FileFormatError, match=f"bad.npz.w.npy: {message}"):
        fc.load(tmp_path / "bad.npz")


def test_names_that_are_neither(tmp_path):
    for name, more in (("model.pt", r"; PyTorch writes the latter: safetensors.torch.save_file\(model.state_dict\(\), path\)"), ("model", "")):
        (tmp_path / name).touch()
        with pytest.raises(FileFormatError, match=rf"{name}: the name must end in .npz or .safetensors{more}$"):
            fc.load(tmp_path / name)
    with pytest.raises(ValueError, match=r"^save: path must end in .npz or .safetensors, got model.pt$"):
        fc.save(models.small_cnn(), "model.pt")
    with pytest.raises(TypeError, match=r"^save: model must be a Layer, got dict: write fc.save\(model, path\), which takes its state itself$"):
        fc.save(models.small_cnn().state_dict(), tmp_path / "model.npz")
    for name in ("no.npz", "no.safetensors"):
        with pytest.raises(FileNotFoundError, match=name):
            fc.load(tmp_path / name)


def test_without_safetensors_the_error_says_what_brings_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    message = r'^\.safetensors files need safetensors: pip install "fastconv\[io\]"$'
    with pytest.raises(ImportError, match=message):
        fc.save(models.small_cnn(), tmp_path / "model.safetensors")
    (tmp_path / "there.safetensors").touch()
    with pytest.raises(ImportError, match=message):
        fc.load(tmp_path / "there.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["there.safetensors"]
