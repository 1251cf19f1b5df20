"""Files of every kind that the library reads, damaged in any way: each is read, or refused by its name with FileFormatError or OSError."""

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import fastconv as fc
from fastconv import data, layers, models, optim
from fastconv.cli.images import images
from fastconv.files import FileFormatError
from fastconv.plot.curves import _history
from fastconv.saving import as_npz
from fastconv.train.config import check_training, load_config
from fastconv.train.runs import rebuild
from fastconv.train.training import Training


class Kind(NamedTuple):
    """A file of this kind: its name, the bytes of a good one, and who reads it."""

    name: str
    content: bytes
    read: Callable[[Path], object]
    mutate: Callable[[random.Random, bytes], bytes]


PIECES = (
    b"", b"\0", b"\xff", b"-1", b"0", b"1e999", b"NaN", b"True", b"null", b'"', b"[", b"{}", b"()", b"'", b"\n", b"9" * 30, b"9" * 4000, b"9" * 5000,
    b"[" * 5000, b"\xff\xff\xff\xff", b"\0\0\0\x80", b"PK\x05\x06", b"1, " * 70,
)  # fmt: skip


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Bytes changed, cut, doubled, or replaced by a piece that has hurt readers before."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        start = rng.randrange(len(content) + 1)
        # headers are short and hold most of what can be wrong
        start = start if rng.random() < 0.5 else min(start, rng.randrange(160))
        stop = min(len(content), start + rng.choice((0, 1, 1, 2, 4, 8, len(content))))
        piece = rng.choice((bytes([rng.randrange(256)]), rng.choice(PIECES), content[start:stop] * 2, content[start:stop][::-1]))
        content = content[:start] + piece + content[stop:]
    return content


def damaged_npz(rng: random.Random, content: bytes) -> bytes:
    """The archive, or one of its members in an archive that is whole, checksums included."""
    if rng.random() < 0.3:
        return damaged(rng, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice([*members, "progress.npy"] if "progress.npy" in members else list(members))
    if name == "progress.npy" and rng.random() < 0.8:
        text = np.lib.format.read_array(io.BytesIO(members[name])).tobytes()
        changed = np.frombuffer((damaged_json if rng.random() < 0.8 else damaged)(rng, text), np.uint8)
        members[name] = npy_bytes(changed)
    elif rng.random() < 0.3:
        arrays = (np.float64(rng.random()), np.zeros((2,) * rng.randrange(6), rng.choice("fdBqe")), np.full(3, 2**63, np.uint64), np.full(4, np.nan))
        members[name] = npy_bytes(rng.choice(arrays))
    else:
        members[name] = damaged(rng, members[name])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for member, value in members.items():
            archive.writestr(member, value)
    return packed.getvalue()


def damaged_json(rng: random.Random, content: bytes) -> bytes:
    """One value somewhere in the tree becomes another, is doubled or goes; or the text is damaged."""
    if rng.random() < 0.2:
        return damaged(rng, content)
    tree = json.loads(content)
    owner = tree
    while True:
        key = rng.choice(list(owner) if isinstance(owner, dict) else range(len(owner)))
        if not isinstance(owner[key], (dict, list)) or not owner[key] or rng.random() < 0.4:
            break
        owner = owner[key]
    others = (
        None,
        True,
        0,
        -1,
        1,
        2**70,
        10**4000,
        0.5,
        float("nan"),
        float("inf"),
        1e308,
        "",
        "word",
        "\0",
        "\ud800",
        [],
        {},
        [[]],
        [1, 2, 3],
        {"a": {}},
    )
    if rng.random() < 0.15:
        del owner[key]
    else:
        owner[key] = rng.choice(others)
    return json.dumps(tree).encode()


def damaged_gzip(rng: random.Random, content: bytes) -> bytes:
    return damaged(rng, content) if rng.random() < 0.5 else gzip.compress(damaged(rng, gzip.decompress(content)), mtime=0)


def npy_bytes(array) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array))
    return stream.getvalue()


def idx_bytes() -> bytes:
    return bytes([0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes(range(24))


def safetensors_bytes() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}, "n": {"dtype": "I64", "shape": [], "data_offsets": [8, 16]}})
    return len(header).to_bytes(8, "little") + header.encode() + bytes(16)


def training(make: Callable[[list], optim.Optimizer] = optim.Adam) -> Training:
    """Of a tiny net, with an epoch done."""
    fc.seed(0)
    model = layers.Sequential(layers.Flatten(), layers.Dropout(0.5), layers.Linear(4, 2))
    optimizer = make(model.parameters(), lr=0.1)
    batches = data.Batches(np.zeros((6, 1, 2, 2), np.float32), np.arange(6) % 2, 3)
    made = Training(model, optimizer, optim.Cosine(optimizer, 4), batches, {"batches": "6", "schedule": "Cosine(4)"}, epochs=4)
    made.history = [{"epoch": 1, "loss": 1.0, "accuracy": 0.5, "lr": 0.1, "images_per_second": 10.0, "validation_loss": 1.0, "validation_top": [0.5]}]
    made.best = model.state_dict()
    return made


CONFIG = {
    "fastconv": "1", "data": "digits:stratified", "model": "small_cnn", "epochs": 3, "batch_size": 32, "lr": 5e-3, "schedule": "one-cycle", "seed": 0,
    "augment": {"shift": 1, "flip": 0.5, "noise": 0.1}, "clip_norm": None, "early_stop": 2, "val": 0.1, "in_channels": 1, "size": [8, 8],
    "classes": 2, "class_names": ["a", "b"], "normalise": {"mean": [0.5], "std": [0.25]},
}  # fmt: skip


def read_config(path: Path) -> None:
    config = load_config(path.parent)
    check_training(path.parent, config)
    if config["in_channels"] * config["size"][0] * config["size"][1] < 1 << 16:
        rebuild(path.parent, config)


def predicted(path: Path) -> np.ndarray:
    return images(path, {"in_channels": 1, "size": [4, 4], "data": "own.npz"})


def picture(kind: str) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(packed, kind)
    return packed.getvalue()


@cache
def kinds() -> dict[str, Kind]:
    x, y = np.arange(12 * 16, dtype=np.uint8).reshape(12, 4, 4), np.arange(12) % 2
    packed = io.BytesIO()
    np.savez_compressed(packed, x=x, y=y)
    sgd = partial(optim.SGD, momentum=0.9, nesterov=True)
    every = {
        "npz": Kind("images.npz", as_npz({"x": x, "y": y}), data.npz, damaged_npz),
        "packed-npz": Kind("packed.npz", packed.getvalue(), data.npz, damaged_npz),
        "npy": Kind("image.npy", npy_bytes(x), predicted, damaged),
        "png": Kind("image.png", picture("PNG"), predicted, damaged),
        "jpeg": Kind("image.jpg", picture("JPEG"), predicted, damaged),
        "idx": Kind("idx", idx_bytes(), data.idx, damaged),
        "idx.gz": Kind("idx.gz", gzip.compress(idx_bytes(), mtime=0), data.idx, damaged_gzip),
        "cifar10": Kind("data_batch_1.bin", _cifar10_file(), lambda path: data.cifar10(path.parent), damaged),
        "weights": Kind("weights.npz", as_npz(models.MODELS["small_cnn"](1, (8, 8), 2).state_dict()), fc.load, damaged_npz),
        "safetensors": Kind("weights.safetensors", safetensors_bytes(), fc.load, damaged),
        "checkpoint": Kind("checkpoint.npz", as_npz(training().state_dict()), lambda path: training().resume(path), damaged_npz),
        "SGD-checkpoint": Kind("checkpoint.npz", as_npz(training(sgd).state_dict()), lambda path: training(sgd).resume(path), damaged_npz),
        "config": Kind("config.json", json.dumps(CONFIG).encode(), read_config, damaged_json),
        "history": Kind("history.csv", b"epoch,loss,validation_loss\r\n1,0.5,\r\n2,0.25,0.5\r\n", _history, damaged),
    }  # fmt: skip
    return {kind: entry for kind, entry in every.items() if kind != "safetensors" or find_spec("safetensors")}


def tasks(seed: int, long: bool) -> list[str]:
    """`KIND NUMBER` for each damaged file."""
    chance, count = random.Random(seed), 3000 if long else 100
    return [f"{kind} {chance.randrange(10**9)}" for kind in kinds() for _ in range(count)]


def prepare() -> None:
    """A folder with a good file for each kind; each of them can be read."""
    data.cifar10.__globals__["IMAGES"] = 3  # per file, not 10,000
    for kind, (name, content, read, _) in kinds().items():
        folder = Path(kind)
        folder.mkdir()
        if kind == "cifar10":
            _write_cifar10(folder)
        else:
            (folder / name).write_bytes(content)
        read(folder / name)


def judge(task: str) -> tuple[str, str]:
    """Damage the good file of that kind: what its reader answers, and what is wrong with that."""
    kind = task.split()[0]
    name, content, read, change = kinds()[kind]
    path = Path(kind) / name
    path.write_bytes(change(random.Random(task), content))
    try:
        read(path)
    except (FileFormatError, OSError) as error:
        outcome = type(error).__name__
        return outcome, "" if str(path) in str(error) else f"{outcome} names no file: {error}"
    except BaseException as error:  # a panic of a reader in Rust is no Exception
        return type(error).__name__, f"{type(error).__name__}: {str(error)[:200]}"
    return "read", ""


def _cifar10_file() -> bytes:
    """Of three images, the labels in order."""
    records = np.zeros((3, 3073), np.uint8)
    records[:, 0] = np.arange(3)
    return records.tobytes()


def _write_cifar10(folder: Path) -> None:
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        (folder / name).write_bytes(_cifar10_file())
