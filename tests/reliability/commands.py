"""`python -m fastconv` with bad words: an exit code of 0, 1, 2 or 130, an error of one line, and no files of a command that failed early."""

import contextlib
import io
import os
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from reliability.operands import labels

from fastconv.cli import main

COMMANDS = """
train --data data.npz --epochs 1 --batch-size 16 --lr 0.01 --schedule constant --augment none --clip-norm 1 --val 0 --seed 1 --out new --threads 1
train --data classes --epochs 1 --val 0.3 --early-stop 1 --schedule plateau --augment flip,shift=1,noise=0.1 --out new --model small_cnn
train --data pictures --size 8 --grayscale --epochs 1 --class-weights balanced --out new
train --data data.npz --lr 0.01 --find-lr rates.png
train --resume run
train --resume run --epochs 2
eval run --data data.npz --plot matrix.png
eval run
predict run images.npy --plot answers.png
predict run classes
predict run pictures/0
predict run
export run weights.npz
export run weights.safetensors
summary lenet5 --input 1x28x28
bench small_cnn --input 1x8x8 --batch 2 --steps 1
summary run
warmup --model small_cnn --data data.npz
warmup run
info --threads 1
explain
explain max-pool --figures pictures
explain max-pool --html page.html
""".strip().splitlines()  # small ones that succeed
LARGE = "2147483648", "18446744073709551616", "9" * 400
PLAIN = """
x - -- --nonsense --epochs -1 0 1 1.5 nan inf -inf 1e400 1e-400 1e300 é ١ %s {} none None null 1,2 1x2 1x1x1 1x99999x99999 0x0x0
flip shift=1e6 noise=nan flip=2 shift=1000000 = mnist: mnist:run cifar10:. digits:x digits: . .. run run/config.json images.npy
data.npz empty.npz empty.npz/x nowhere nowhere/below locked/new /proc/nowhere/new classes page.html weights.txt run/weights.npz
"""
WORDS = [*PLAIN.split(), "", " ", "x" * 300, "x" * 5000, "\udcff", *LARGE]
SLOW = "explain max-pool"  # some seconds, where it succeeds
PATIENT = ("--epochs", "--steps")  # large numbers of these are no fault


def tasks(seed: int, long: bool) -> list[str]:
    """`COMMAND NUMBER BAD-NUMBER` for each word replaced; a bad word is "drop" or "twice", too."""
    chance = random.Random(seed)
    every = []
    for i, command in enumerate(COMMANDS):
        words = command.split()
        for at in range(len(words)):
            bad = [j for j, word in enumerate(WORDS) if not (word in LARGE and words[at - 1] in PATIENT)]
            bad = chance.sample(bad, 8) if command.startswith(SLOW) else bad
            every += [f"{i} {at} {j}" for j in (*bad, "drop", "twice")]
    chance.shuffle(every)
    return every if long else [task for task in every if not COMMANDS[int(task.split()[0])].startswith(SLOW)][:12]


def prepare() -> None:
    folder = Path("fixtures")
    (folder / "locked").mkdir(parents=True)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (30, 1, 8, 8)).astype("u1")
    np.savez(folder / "data.npz", x=x, y=labels(30))
    np.save(folder / "images.npy", x[:3])
    (folder / "empty.npz").touch()
    for i in range(30):
        (folder / "classes" / str(i % 3)).mkdir(parents=True, exist_ok=True)
        np.save(folder / "classes" / str(i % 3) / f"{i}.npy", x[i])
        (folder / "pictures" / str(i % 3)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(x[i, 0]).save(folder / "pictures" / str(i % 3) / f"{i}.png")
    with _inside(folder), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main(["train", "--data", "data.npz", "--epochs", "1", "--out", "run"]) == 0
    (folder / "locked").chmod(0o500)


def judge(task: str) -> tuple[str, str]:
    words = _words(task)
    fixtures = Path("fixtures").absolute()
    with tempfile.TemporaryDirectory() as top, _inside(Path(top)):
        shutil.copytree(fixtures, "here")
        shutil.copy(Path("here/run/config.json"), "config.json")  # so that ".." is a folder with something in it, too
        with _inside(Path("here")):
            before = _files(Path(".."))
            code, stdout, stderr = run(words)
            new = sorted(_files(Path("..")) - before)
    shown = f"python -m fastconv {' '.join(repr(word)[:80] for word in words)}"
    if code not in (0, 1, 2, 130):
        return str(code)[:30], f"{shown}: {code}"
    if code and not stdout + stderr.strip():
        return f"exit {code}", f"{shown}: says nothing"
    if code and len(stderr[max(0, stderr.rfind("error: ")) :].strip().splitlines()) != 1:
        return f"exit {code}", f"{shown}: not one line: {stderr[-300:]!r}"
    if code and new and "images to train on" not in stderr:
        return f"exit {code}", f"{shown}: left {', '.join(new)[:200]} behind, with {stderr.splitlines()[-1][:200]!r}"
    return f"exit {code}", ""


def _words(task: str) -> list[str]:
    command, at, bad = task.split()
    words = COMMANDS[int(command)].split()
    new = {"drop": [], "twice": [words[int(at)]] * 2}.get(bad) if bad in ("drop", "twice") else [WORDS[int(bad)]]
    return [*words[: int(at)], *new, *words[int(at) + 1 :]]


def run(words: list[str]) -> tuple[object, str, str]:
    """The exit code, or the exception that came out; and what was printed, by streams as strict as a terminal's."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors=errors, write_through=True) for errors in ("strict", "backslashreplace"))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException as error:
            code = f"{type(error).__name__}: {str(error)[:200]}"
    return code, *(stream.buffer.getvalue().decode(errors="replace") for stream in (out, err))


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@contextlib.contextmanager
def _inside(folder: Path):
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
