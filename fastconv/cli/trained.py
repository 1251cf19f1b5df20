"""eval and predict: what a trained run is good for."""

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np

import fastconv as fc
from fastconv import plot
from fastconv.cli import datasets
from fastconv.cli.datasets import DataSet
from fastconv.cli.images import SUFFIXES, files, readable_images
from fastconv.cli.runs import run_folder
from fastconv.cli.words import add_run
from fastconv.data.arrays import scaled
from fastconv.plot.tables import MOST_CLASSES
from fastconv.train import Run
from fastconv.train.history import told_loss
from fastconv.train.trained import told

SHADES = " .:-=+*#%@"
WIDEST = 40  # pixels of an image that is drawn, two characters each
FEW = 10  # images to show


def add(verbs) -> None:
    evaluate = verbs.add_parser(
        "eval", help="test a trained run",
        description="Test a run on the test images of its data: loss, accuracy, precision, recall and f1 of each class, and, where matplotlib is, a "
        "picture of how often each class was taken for each, confusion.png in the run's folder.",
    )  # fmt: skip
    add_run(evaluate)
    evaluate.add_argument(
        "--data", metavar="DATA", help="other data of the same classes and image size, in the words of train; default: the run's own"
    )
    evaluate.add_argument("--plot", type=Path, metavar="PNG", help="draw the picture there (needs matplotlib)")
    evaluate.set_defaults(run=_evaluate)
    predict = verbs.add_parser(
        "predict", help="tell what images show",
        description="Tell the three most probable classes of each image in a file or a folder, and whether that is right where the true one is "
        "known: of the run's test images, and of images in sub-folders that are called as the classes. A .npy file holds (C, H, W) or "
        "(N, C, H, W), or without C where it is 1; integers 0 to 255 or floats 0 to 1, of digits (8, 8) from 0 (paper) to 16 (ink). A picture "
        "is scaled and cut to the training images' size.",
    )  # fmt: skip
    add_run(predict)
    predict.add_argument(
        "file", type=Path, nargs="?", metavar="FILE",
        help="a .npy file, a picture (needs Pillow), or a folder of them; default: ten test images of the run's data, drawn, also as a picture "
        "where matplotlib is, predictions.png in the run's folder",
    )  # fmt: skip
    predict.add_argument("--plot", type=Path, metavar="PNG", help="draw the first ten images and their answers there (needs matplotlib)")
    predict.set_defaults(run=_predict)


def _evaluate(chosen: argparse.Namespace) -> None:
    run = fc.load_run(run_folder(chosen.dir))
    dataset = _dataset(run, chosen.data or run.config["data"])
    own = dataset.word == run.config["data"]
    if not own:
        _warn_of_known_images(dataset, run)
    found = run.evaluate(*dataset.test)
    print(f"{run.folder}: {run.config['model']}, {dataset.title}, {len(dataset.test[1])} test images, loss {told_loss(found.loss)}")
    print(f"test accuracy {100 * found.accuracy:.1f} %\n\n{found.classes}")
    usual = run.folder / "confusion.png" if own and len(run.class_names) <= MOST_CLASSES else None
    counts = found.classes.confusion
    labels, answers = (np.repeat(each, counts.ravel()) for each in np.indices(counts.shape).reshape(2, -1))
    _draw(chosen.plot, usual, plot.confusion_matrix, labels, answers, names=run.class_names, size=(6, 5.8))


def _draw(wanted: Path | None, usual: Path | None, draw, *arguments, **words) -> None:
    """Where it is wanted; else in its usual place, if that can be."""
    if wanted is None and usual is None:
        return
    try:
        plot.save(wanted or usual, draw, *arguments, **words)
    except (ImportError, OSError):  # matplotlib is an extra, and a run may be where nobody writes
        if wanted is not None:
            raise
        return
    print(f"drawn in {wanted or usual}")


def _warn_of_known_images(dataset: DataSet, run: Run) -> None:
    """Images are compared, not names: another split or another file may hold the same ones."""
    try:
        known = set(map(_digest, datasets.of_run(run.folder, run.config).train[0]))
    except (ValueError, OSError) as error:
        print(f"fastconv: warning: whether {run.folder} was trained on some of these images is not known: {error}", file=sys.stderr)
        return
    x = dataset.test[0]
    count = sum(_digest(image) in known for image in x)
    if count:
        print(
            f"fastconv: warning: the test images overlap the training images: {run.folder} was trained with {count} of these {len(x)}, "
            "so the accuracy says little about new ones",
            file=sys.stderr,
        )


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(scaled(image).tobytes(), digest_size=16).digest()


def _dataset(run: Run, word: str) -> DataSet:
    """ValueError where it is not of the shape and classes that the run was trained on."""
    size, gray = run.input_shape[1:], run.input_shape[0] == 1
    dataset = datasets.of_run(run.folder, run.config) if word == run.config["data"] else datasets.load(word, size, gray)
    if dataset.shape != run.input_shape or len(dataset.class_names) != len(run.class_names):
        there = f"{len(dataset.class_names)} classes of {dataset.shape} images"
        raise ValueError(f"{run.folder} was trained on {len(run.class_names)} classes of {run.input_shape} images, {word} has {there}")
    return dataset


def _predict(chosen: argparse.Namespace) -> None:
    folder, file = chosen.dir, chosen.file
    if file is None and folder and (folder.is_file() or folder.suffix.lower() in SUFFIXES or _holds_images_alone(folder)):
        folder, file = None, folder
    run = fc.load_run(run_folder(folder))
    if file is None:
        x, labels = (part[:FEW] for part in _dataset(run, run.config["data"]).test)
        x, names = scaled(x), [f"image {i}" for i in range(len(x))]
    else:
        x, names, labels = _from_files(file, run)
    found = run.predict(x)
    if folder is None:
        print(f"{run.folder}, the newest run: {run.config['model']} on {run.config['data']}", file=sys.stderr)
    for i, (name, best) in enumerate(zip(names, found.top(3))):
        if file is None and x.shape[3] <= WIDEST:
            print("\n".join("".join(SHADES[int(9 * pixel)] * 2 for pixel in row) for row in x[i].mean(axis=0)))
        verdict = "" if labels is None else "  right" if found.labels[i] == labels[i] else f"  WRONG, it is {run.class_names[labels[i]]}"
        print(f"{name}: {told(best)}{verdict}")
    if labels is not None:
        print(f"{np.count_nonzero(found.labels == labels)} of {len(x)} right")
    usual = run.folder / "predictions.png" if file is None and run.input_shape[0] in (1, 3) else None
    few = slice(FEW)
    truth = None if labels is None else labels[few]
    _draw(chosen.plot, usual, plot.predictions, x[few], found.labels[few], truth, names=run.class_names, probabilities=found.probabilities[few])


def _from_files(file: Path, run: Run) -> tuple[np.ndarray, list[str], np.ndarray | None]:
    """Images, what each is called, and their true classes where sub-folders tell them."""
    folders = [(label, file / name) for label, name in enumerate(run.class_names) if (file / name).is_dir()]
    paths = [(path, label) for label, folder in folders for path in files(folder)] or [(path, 0) for path in files(file)]
    found = readable_images([path for path, _ in paths], run.config)
    parts = [(path, label, found[path]) for path, label in paths if path in found]
    x = np.concatenate([part for *_, part in parts])
    if not file.is_dir():
        return x, [f"image {i}" for i in range(len(x))] if len(x) > 1 else [file.name], None
    called = [(path.relative_to(file).as_posix(), part) for path, _, part in parts]
    names = [name if len(part) == 1 else f"{name}[{i}]" for name, part in called for i in range(len(part))]
    return x, names, np.repeat([label for _, label, _ in parts], [len(part) for *_, part in parts]) if folders else None


def _holds_images_alone(folder: Path) -> bool:
    """No run, nor a folder of runs, but what could be shown to one: images, also in sub-folders."""
    if not folder.is_dir() or any(True for pattern in ("config.json", "*/config.json") for _ in folder.glob(pattern)):
        return False
    return any(path.suffix.lower() in SUFFIXES for pattern in ("*", "*/*") for path in folder.glob(pattern))
