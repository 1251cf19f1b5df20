"""eval and predict: what a trained run is good for."""

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np

import fastconv as fc
from fastconv.cli import datasets
from fastconv.cli.datasets import DataSet
from fastconv.cli.images import SUFFIXES, readable_images, shape
from fastconv.cli.jobs import final_score
from fastconv.cli.runs import run_folder
from fastconv.cli.words import add_run
from fastconv.data.arrays import scaled
from fastconv.train.runs import load_run, normalise

SHADES = " .:-=+*#%@"
WIDEST = 40  # pixels of an image that is drawn, two characters each


def add(verbs) -> None:
    evaluate = verbs.add_parser("eval", help="test a trained run", description="Test a run on the test images of its data.")
    add_run(evaluate)
    evaluate.add_argument(
        "--data", metavar="DATA", help="other data of the same classes and image size, in the words of train; default: the run's own"
    )
    evaluate.set_defaults(run=_evaluate)
    predict = verbs.add_parser(
        "predict", help="tell what images show",
        description="Tell the class of each image in a file or a folder, and how probable that is. A .npy file holds (C, H, W) or "
        "(N, C, H, W), or without C where it is 1; integers 0 to 255 or floats 0 to 1, of digits (8, 8) from 0 (paper) to 16 (ink). A picture "
        "is scaled and cut to the training images' size.",
    )  # fmt: skip
    add_run(predict)
    predict.add_argument(
        "file",
        type=Path,
        nargs="?",
        metavar="FILE",
        help="a .npy file, a picture (needs Pillow), or a folder of them; default: ten test images of the run's data, drawn",
    )
    predict.set_defaults(run=_predict)


def _evaluate(chosen: argparse.Namespace) -> None:
    folder = run_folder(chosen.dir)
    model, config = load_run(folder)
    dataset = _dataset(config, chosen.data or config["data"], folder)
    if dataset.word != config["data"]:
        _warn_of_known_images(dataset, config, folder)
    score = final_score(model, config, dataset)
    print(f"{folder}: {config['model']}, {dataset.title}, {len(dataset.test[1])} test images, loss {score.loss:.4f}")
    print(f"test accuracy {100 * score.accuracy:.1f} %")


def _warn_of_known_images(dataset: DataSet, config: dict, folder: Path) -> None:
    """Images are compared, not names: another split or another file may hold the same ones."""
    try:
        known = set(map(_digest, datasets.of_run(folder, config).train[0]))
    except (ValueError, OSError) as error:
        print(f"fastconv: warning: whether {folder} was trained on some of these images is not known: {error}", file=sys.stderr)
        return
    x = dataset.test[0]
    count = sum(_digest(image) in known for image in x)
    if count:
        print(
            f"fastconv: warning: the test images overlap the training images: {folder} was trained with {count} of these {len(x)}, "
            "so the accuracy says little about new ones",
            file=sys.stderr,
        )


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(scaled(image).tobytes(), digest_size=16).digest()


def _dataset(config: dict, word: str, folder: Path) -> DataSet:
    """ValueError where it is not of the shape and classes that the run was trained on."""
    dataset = datasets.of_run(folder, config) if word == config["data"] else datasets.load(word, tuple(config["size"]), config["in_channels"] == 1)
    if dataset.shape != shape(config) or len(dataset.class_names) != config["classes"]:
        there = f"{len(dataset.class_names)} classes of {dataset.shape} images"
        raise ValueError(f"{folder} was trained on {config['classes']} classes of {shape(config)} images, {word} has {there}")
    return dataset


def _predict(chosen: argparse.Namespace) -> None:
    folder, file = chosen.dir, chosen.file
    if file is None and folder and (folder.is_file() or folder.suffix.lower() in SUFFIXES or _holds_images_alone(folder)):
        folder, file = None, folder
    folder = run_folder(folder)
    model, config = load_run(folder)
    if file is None:
        x = _dataset(config, config["data"], folder).test[0][:10]
        names = [f"image {i}" for i in range(len(x))]
    else:
        parts = readable_images(file, config)
        x = np.concatenate([part for _, part in parts])
        names = _names(parts) if file.is_dir() else [f"image {i}" for i in range(len(x))]
    change = normalise(config)
    scores = fc.train.predict(model, change(x) if change else x).astype(np.float64)
    probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    for i, (name, probability) in enumerate(zip(names, probabilities)):
        if file is None and x.shape[3] <= WIDEST:
            print("\n".join("".join(SHADES[int(9 * pixel)] * 2 for pixel in row) for row in scaled(x[i]).mean(axis=0)))
        print(f"{name}: {config['class_names'][probability.argmax()]}  ({100 * probability.max():.1f} %)")


def _holds_images_alone(folder: Path) -> bool:
    """No run, but what could be shown to one."""
    return folder.is_dir() and not (folder / "config.json").exists() and any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _names(parts: list[tuple[Path, np.ndarray]]) -> list[str]:
    """A file's name for each image of it; a number follows where it holds several."""
    return [path.name if len(x) == 1 else f"{path.name}[{i}]" for path, x in parts for i in range(len(x))]
