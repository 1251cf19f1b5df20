"""eval and predict: what a trained run is good for."""

import argparse
from pathlib import Path

import numpy as np

import fastconv as fc
from fastconv.cli import datasets
from fastconv.cli.datasets import DataSet
from fastconv.cli.runs import run_folder
from fastconv.cli.train import final_score
from fastconv.cli.words import add_run
from fastconv.data.digits import BRIGHTEST
from fastconv.data.reading import as_images
from fastconv.train.runs import load_run, normalise

SHADES = " .:-=+*#%@"
WIDEST = 40  # pixels of an image that is drawn, two characters each


def add(verbs) -> None:
    evaluate = verbs.add_parser("eval", help="test a trained run", description="Test a run on the test images of its data.")
    add_run(evaluate)
    evaluate.add_argument("--data", metavar="DATA", help="other data of the same classes and image size, in the words of train; unset, the run's own")
    evaluate.set_defaults(run=_evaluate)
    predict = verbs.add_parser(
        "predict", help="tell what the images in a file show",
        description="Tell the class of each image of a NumPy file, and how probable that is: (C, H, W) or (N, C, H, W), or without C where "
        "it is 1; integers 0 to 255 or floats 0 to 1, of digits (8, 8) from 0 (paper) to 16 (ink).",
    )  # fmt: skip
    add_run(predict)
    predict.add_argument("file", type=Path, nargs="?", metavar="FILE", help="a .npy file; unset, ten test images of the run's data, drawn")
    predict.set_defaults(run=_predict)


def _evaluate(chosen: argparse.Namespace) -> None:
    folder = run_folder(chosen.dir)
    model, config = load_run(folder)
    dataset = _dataset(config, chosen.data or config["data"], folder)
    score = final_score(model, config, dataset)
    print(f"{folder}: {config['model']}, {dataset.title}, {len(dataset.test[1])} test images, loss {score.loss:.4f}")
    print(f"test accuracy {100 * score.accuracy:.1f} %")


def _dataset(config: dict, word: str, folder: Path) -> DataSet:
    """ValueError where it is not of the shape and classes that the run was trained on."""
    dataset = datasets.load(word)
    if dataset.shape != _shape(config) or len(dataset.class_names) != config["classes"]:
        there = f"{len(dataset.class_names)} classes of {dataset.shape} images"
        raise ValueError(f"{folder} was trained on {config['classes']} classes of {_shape(config)} images, {word} has {there}")
    return dataset


def _predict(chosen: argparse.Namespace) -> None:
    folder = run_folder(chosen.dir)
    model, config = load_run(folder)
    x = _images(chosen.file, config) if chosen.file else _dataset(config, config["data"], folder).test[0][:10]
    change = normalise(config)
    scores = fc.train.predict(model, change(x) if change else x).astype(np.float64)
    probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    for i, probability in enumerate(probabilities):
        if chosen.file is None and x.shape[3] <= WIDEST:
            print("\n".join("".join(SHADES[int(9 * pixel)] * 2 for pixel in row) for row in x[i].mean(axis=0)))
        print(f"image {i}: {config['class_names'][probability.argmax()]}  ({100 * probability.max():.1f} %)")


def _images(path: Path, config: dict) -> np.ndarray:
    """The images of a .npy file as (N, C, H, W) float32 in 0..1."""
    try:
        images = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a .npy file of numbers: {error}") from None
    if not isinstance(images, np.ndarray) or images.dtype.kind not in "iuf":
        raise ValueError(f"{path} must hold one array of numbers")
    C, H, W = _shape(config)
    several = images.shape[-3:] == (C, H, W) and images.ndim in (3, 4)
    if not images.size or not (several or (C == 1 and images.shape[-2:] == (H, W) and images.ndim in (2, 3))):
        plain = f"({H}, {W}), (N, {H}, {W})" if C == 1 else f"({C}, {H}, {W})"
        raise ValueError(f"{path} must hold {plain} or (N, {C}, {H}, {W}), got {images.shape}")
    images = images.reshape(-1, C, H, W)
    if not config["data"].startswith("digits:"):
        return as_images(path, "the file", images)
    if not ((images >= 0) & (images <= BRIGHTEST)).all():
        raise ValueError(f"{path} must hold values from 0 (paper) to {BRIGHTEST} (ink)")
    return (images / BRIGHTEST).astype(np.float32)


def _shape(config: dict) -> tuple[int, ...]:
    """(C, H, W)"""
    return config["in_channels"], *config["size"]
