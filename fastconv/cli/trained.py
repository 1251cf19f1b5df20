"""eval and predict: what a trained run is good for."""

import argparse
from pathlib import Path

import numpy as np

import fastconv as fc
from fastconv.cli import datasets
from fastconv.cli.datasets import DataSet
from fastconv.cli.images import images, shape
from fastconv.cli.jobs import final_score
from fastconv.cli.runs import run_folder
from fastconv.cli.words import add_run
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
        description="Tell the class of each image in a file, and how probable that is. A .npy file holds (C, H, W) or (N, C, H, W), or without C "
        "where it is 1; integers 0 to 255 or floats 0 to 1, of digits (8, 8) from 0 (paper) to 16 (ink). A picture has the training images' size.",
    )  # fmt: skip
    add_run(predict)
    predict.add_argument(
        "file",
        type=Path,
        nargs="?",
        metavar="FILE",
        help="a .npy file, or a picture (needs matplotlib); unset, ten test images of the run's data, drawn",
    )
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
    if dataset.shape != shape(config) or len(dataset.class_names) != config["classes"]:
        there = f"{len(dataset.class_names)} classes of {dataset.shape} images"
        raise ValueError(f"{folder} was trained on {config['classes']} classes of {shape(config)} images, {word} has {there}")
    return dataset


def _predict(chosen: argparse.Namespace) -> None:
    folder, file = chosen.dir, chosen.file
    if file is None and folder and folder.is_file():
        folder, file = None, folder
    folder = run_folder(folder)
    model, config = load_run(folder)
    x = images(file, config) if file else _dataset(config, config["data"], folder).test[0][:10]
    change = normalise(config)
    scores = fc.train.predict(model, change(x) if change else x).astype(np.float64)
    probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    for i, probability in enumerate(probabilities):
        if file is None and x.shape[3] <= WIDEST:
            print("\n".join("".join(SHADES[int(9 * pixel)] * 2 for pixel in row) for row in x[i].mean(axis=0)))
        print(f"image {i}: {config['class_names'][probability.argmax()]}  ({100 * probability.max():.1f} %)")
