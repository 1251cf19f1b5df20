"""train, eval, predict."""

import argparse
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

import fastconv as fc
from fastconv import data, models, plot
from fastconv.data.digits import BRIGHTEST
from fastconv.optim import Adam, OneCycle
from fastconv.train.runs import load_run, save_run

RUNS = Path("runs")
SHADES = " .:-=+*#%@"


def train(chosen: argparse.Namespace) -> None:
    folder = _new_folder(chosen.out)
    accuracies = {}
    for split in data.SPLITS:
        accuracies[split] = _train_split(chosen, split, folder if split == "stratified" else folder / split)
    print(f"runs saved in {folder} and {folder / 'writers'}: try python -m fastconv predict {folder}")
    for split, meaning in data.SPLITS.items():
        print(f"test accuracy {100 * accuracies[split]:.1f} %  ({split} split: {meaning})")


def _train_split(chosen: argparse.Namespace, split: str, folder: Path) -> float:
    (x, y), test = data.digits(split)
    fc.seed(chosen.seed)
    model = models.small_cnn()
    optimizer = Adam(model.parameters(), chosen.lr)
    schedule = OneCycle(optimizer, chosen.lr, max(2, chosen.epochs * -(-len(y) // chosen.batch_size)))
    threads = fc.get_num_threads()
    print(f"{split} split: {len(y)} images to train on, {len(test[1])} to test with, {threads} thread{'s' * (threads > 1)}", file=sys.stderr)
    start = time.perf_counter()
    options = {"epochs": chosen.epochs, "batch_size": chosen.batch_size, "shift": 1}
    history = fc.train.fit(model, (x, y), **options, optimizer=optimizer, schedule=schedule, validation=test, progress=True)
    print(f"trained in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    config = {"fastconv": fc.__version__, "model": "small_cnn", "data": "digits", "split": split, "seed": chosen.seed, "lr": chosen.lr, **options}
    save_run(folder, model, config, history)
    with suppress(ImportError):  # matplotlib is an extra
        plot.save(folder / "curves.png", plot.learning_curves, history)
    return history[-1]["validation_accuracy"]


def _new_folder(out: Path | None) -> Path:
    if out is None:
        return RUNS / f"digits-{max((number for number, _ in _numbered()), default=0) + 1}"
    if (out / "config.json").exists():
        raise FileExistsError(f"{out} already holds a run; delete it or choose another --out")
    return out


def _numbered() -> list[tuple[int, Path]]:
    """The runs under runs/ by their numbers."""
    names = ((re.fullmatch(r"digits-(\d+)", path.name), path) for path in (RUNS.iterdir() if RUNS.is_dir() else ()))
    return sorted((int(match[1]), path) for match, path in names if match)


def _run_folder(given: Path | None) -> Path:
    if given is not None:
        return given
    if not _numbered():
        raise FileNotFoundError("there is no run under runs/ yet; make one with: python -m fastconv train")
    return _numbered()[-1][1]


def evaluate(chosen: argparse.Namespace) -> None:
    folder = _run_folder(chosen.dir)
    model, config = load_run(folder)
    x, y = _test_images(folder, config)
    score = fc.train.evaluate(model, x, y)
    print(f"{folder}: {config['model']}, {config['split']} split, {len(y)} test images, loss {score.loss:.4f}")
    print(f"test accuracy {100 * score.accuracy:.1f} %")


def _test_images(folder: Path, config: dict) -> tuple[np.ndarray, np.ndarray]:
    if config.get("split") not in data.SPLITS:
        raise ValueError(f"{folder / 'config.json'} must name a split, one of {', '.join(data.SPLITS)}")
    return data.digits(config["split"])[1]


def predict(chosen: argparse.Namespace) -> None:
    folder = _run_folder(chosen.dir)
    model, config = load_run(folder)
    x = _test_images(folder, config)[0][:10] if chosen.file is None else _images(chosen.file)
    scores = fc.train.predict(model, x).astype(np.float64)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    for i, share in enumerate(shares):
        if chosen.file is None:
            print("\n".join("".join(SHADES[int(9 * pixel)] * 2 for pixel in row) for row in x[i, 0]))
        print(f"image {i}: {share.argmax()}  ({100 * share.max():.1f} %)")


def _images(path: Path) -> np.ndarray:
    """The images of a .npy file as (N, 1, 8, 8) float32 in 0..1."""
    try:
        images = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a .npy file of numbers: {error}") from None
    if not isinstance(images, np.ndarray) or images.dtype.kind not in "iuf":
        raise ValueError(f"{path} must hold one array of numbers")
    if images.shape[-2:] != (8, 8) or images.ndim > 4 or (images.ndim == 4 and images.shape[1] != 1) or not images.size:
        raise ValueError(f"{path} must hold (8, 8), (N, 8, 8) or (N, 1, 8, 8), got {images.shape}")
    if not ((images >= 0) & (images <= BRIGHTEST)).all():
        raise ValueError(f"{path} must hold values from 0 (paper) to {BRIGHTEST} (ink)")
    return (images.reshape(-1, 1, 8, 8) / BRIGHTEST).astype(np.float32)
