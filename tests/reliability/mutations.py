"""Files of every kind that the library reads, damaged in any way: each is read, or refused by its name with FileFormatError or OSError.

`mutate(kind, folder, count, seed)` makes a good file of that kind, damages it `count` times, and returns what happened otherwise.
"""

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

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


def training() -> Training:
    """Of a tiny net, with an epoch done."""
    fc.seed(0)
    model = layers.Sequential(layers.Flatten(), layers.Dropout(0.5), layers.Linear(4, 2))
    optimizer = optim.Adam(model.parameters(), 0.1)
    batches = data.Batches(np.zeros((6, 1, 2, 2), np.float32), np.arange(6) % 2, 3)
    made = Training(model, optimizer, optim.Cosine(optimizer, 4), batches, {"batches": "6"})
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


def kinds() -> dict[str, Kind]:
    x, y = np.arange(12 * 16, dtype=np.uint8).reshape(12, 4, 4), np.arange(12) % 2
    packed = io.BytesIO()
    np.savez_compressed(packed, x=x, y=y)
    checkpoint = as_npz(training().state_dict())
    return {
        "npz": Kind("images.npz", as_npz({"x": x, "y": y}), data.npz, damaged_npz),
        "packed npz": Kind("packed.npz", packed.getvalue(), data.npz, damaged_npz),
        "npy": Kind("image.npy", npy_bytes(x), predicted, damaged),
        "idx": Kind("idx", idx_bytes(), data.idx, damaged),
        "idx.gz": Kind("idx.gz", gzip.compress(idx_bytes(), mtime=0), data.idx, damaged_gzip),
        "cifar10": Kind("data_batch_1.bin", b"", lambda path: data.cifar10(path.parent), damaged),
        "weights": Kind("weights.npz", as_npz(models.MODELS["small_cnn"](1, (8, 8), 2).state_dict()), fc.load, damaged_npz),
        "safetensors": Kind("weights.safetensors", safetensors_bytes(), fc.load, damaged),
        "checkpoint": Kind("checkpoint.npz", checkpoint, lambda path: training().resume(path), damaged_npz),
        "config": Kind("config.json", json.dumps(CONFIG).encode(), read_config, damaged_json),
        "history": Kind("history.csv", b"epoch,loss,validation_loss\r\n1,0.5,\r\n2,0.25,0.5\r\n", _history, damaged),
    }  # fmt: skip


def mutate(kind: str, folder: Path, count: int, seed: int = 0) -> list[str]:
    """What went wrong, one line each: another error, or one that does not name the file."""
    name, content, read, change = kinds()[kind]
    if kind == "cifar10":
        content = write_cifar10(folder)
    path, rng, wrong = folder / name, random.Random(f"{kind} {seed}"), []
    path.write_bytes(content)
    read(path)  # the good one
    for number in range(count):
        path.write_bytes(change(rng, content))
        try:
            read(path)
        except (FileFormatError, OSError) as error:
            if str(path) not in str(error):
                wrong.append(f"{kind} {seed}, number {number}: {type(error).__name__} names no file: {error}")
        except BaseException as error:  # a panic of a reader in Rust is no Exception
            wrong.append(f"{kind} {seed}, number {number}: {type(error).__name__}: {error}")
    return wrong


def write_cifar10(folder: Path) -> bytes:
    """Files of as many images as `data.cifar10` wants now, the labels in order."""
    count = data.cifar10.__globals__["IMAGES"]
    records = np.zeros((count, 3073), np.uint8)
    records[:, 0] = np.arange(count) % 10
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        (folder / name).write_bytes(records.tobytes())
    return records.tobytes()
