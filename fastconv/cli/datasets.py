"""What `--data` names."""

import os
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastconv import data

WORDS = (
    "digits, digits:stratified, digits:writers, mnist:DIR, cifar10:DIR, FILE.npz, or a folder with a sub-folder per class of pictures (PNG, JPEG; "
    "train/, val/, test/ may be above them) or of .npy images"
)
SIZE = 32  # of pictures, where nothing else is asked for


class DataSet(NamedTuple):
    """Images to train on and to test with, (N, C, H, W) in 0..1 or uint8, and what their classes are called."""

    word: str  # that finds it again from any folder
    title: str
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    class_names: list[str]
    held: np.ndarray | None = None  # (N,) bool: the images of train that came to validate with

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)"""
        return self.train[0].shape[1:]


class Recipe(NamedTuple):
    """What suits some data where nothing else is asked for."""

    epochs: int
    augment: dict[str, float]
    normalise: bool


RECIPES = {
    "digits": Recipe(30, {"shift": 1}, False),
    "mnist": Recipe(5, {"shift": 2}, True),
    "cifar10": Recipe(20, {"flip": 0.5, "shift": 4}, True),
}
OTHERS = Recipe(30, {}, True)
DIGITS = [str(digit) for digit in range(10)]
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def kind(word: str) -> str:
    """digits, mnist, cifar10, or the name of the file or folder."""
    head = word.partition(":")[0]
    return head if head in RECIPES else _absolute(word).stem


def recipe(word: str) -> Recipe:
    return RECIPES.get(word.partition(":")[0], OTHERS)


def are_pictures(word: str) -> bool:
    """Whether this names a folder of pictures, whose size is to choose."""
    path = _absolute(word)
    return word.partition(":")[0] not in RECIPES and path.is_dir() and next(path.glob("*/*.npy"), None) is None


def check_there(word: str) -> None:
    """FileNotFoundError for what names no data."""
    path = _absolute(word)
    if word.partition(":")[0] not in RECIPES and not path.is_dir() and (path.suffix != ".npz" or not os.path.lexists(path)):
        raise FileNotFoundError(f"--data {word}: no such data; it must be {WORDS}")


def load(word: str, size: tuple[int, int] = (SIZE, SIZE), grayscale: bool = False) -> DataSet:
    """size, grayscale: of pictures, as `data.image_folder`. ValueError and OSError name the file and what is wrong with it."""
    head, _, rest = word.partition(":")
    if head == "digits":
        split = rest or "stratified"
        return DataSet(f"digits:{split}", f"{split} split", *data.digits(split), DIGITS)
    if head in ("mnist", "cifar10"):
        if not rest:
            raise ValueError(f"--data {word}: write {head}:DIR, the folder with its files")
        folder = _absolute(rest)
        train, test = (data.mnist if head == "mnist" else data.cifar10)(folder)
        return DataSet(f"{head}:{folder}", word, train, test, DIGITS if head == "mnist" else CIFAR10)
    path = _absolute(word)
    if are_pictures(word):
        return _pictures(path, word, size, grayscale)
    if path.is_dir():
        train, test = data.npy_folder(path)
        return DataSet(str(path), word, train, _mixed(test), data.class_names(path))
    check_there(word)
    train, test = data.npz(path)
    return DataSet(str(path), word, train, test, data.class_names(path))


def _pictures(path: Path, word: str, size: tuple[int, int], grayscale: bool) -> DataSet:
    """Those to validate with, where there are some, stand behind those to train on."""
    for head, mark in (("cifar10", "data_batch_1*"), ("mnist", "train-images*")):
        if any(path.glob(mark)):
            raise ValueError(f"--data {word}: the folder holds the files of {head}: write --data {head}:{word}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = data.image_folder(path, size, grayscale=grayscale)
    for warning in caught:
        print(f"fastconv: warning: {str(warning.message).removeprefix('image_folder: ')}", file=sys.stderr)
    title = f"{word}, {'gray' if grayscale else 'color'} at {size[0]}x{size[1]}"
    if found.validation is None:
        return DataSet(str(path), title, found.train, _mixed(found.test), found.class_names)
    train = tuple(np.concatenate(both) for both in zip(found.train, found.validation))
    held = np.arange(len(train[1])) >= len(found.train[1])
    return DataSet(str(path), title, train, _mixed(found.test), found.class_names, held)


def _mixed(pair: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Images of folders in a fixed random order, so that the first ones are not all of one class."""
    order = np.random.RandomState(0).permutation(len(pair[1]))
    return pair[0][order], pair[1][order]


def of_run(folder: Path, config: dict) -> DataSet:
    """The data that a run was trained on."""
    word = config["data"]
    if os.path.isabs(word) and not os.path.exists(word):
        raise FileNotFoundError(f"{folder} was trained on {word}, which is no longer there; eval takes other data by --data, predict takes a FILE")
    return load(word, tuple(config["size"]), config["in_channels"] == 1)


def _absolute(word: str) -> Path:
    """Without links; Path.resolve raises RuntimeError where they go round in circles."""
    return Path(os.path.realpath(word))
