"""A folder with a sub-folder of pictures per class, as people keep their own: PNG, JPEG and others."""

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fastconv.data import npy, pictures
from fastconv.data.classes import class_names, parts, sub_folders
from fastconv.files import FileFormatError, as_path
from fastconv.reflexes import answered

Pair = tuple[np.ndarray, np.ndarray]
SHOWN = 10  # classes


@dataclass(frozen=True)
class ImageFolder:
    """Pictures (x, y) to train on, to validate with (None without a folder for them) and to test with, and what their classes are called.

    x: (N, C, H, W) uint8, y: (N,) int64. skipped: why which files were left out. It unpacks as what other readers return:
    `(x, y), (x_test, y_test) = data.image_folder("pets")`.
    """

    train: Pair
    validation: Pair | None
    test: Pair
    class_names: list[str]
    skipped: list[str] = field(default_factory=list, repr=False)

    def __iter__(self) -> Iterator[Pair]:
        return iter((self.train, self.test))

    def __repr__(self) -> str:
        (x, y), held = self.train, "" if self.validation is None else f", {len(self.validation[1])} to validate with"
        counts = [f"{name} {count}" for name, count in zip(self.class_names, np.bincount(y, minlength=len(self.class_names)))]
        counts = ", ".join(counts if len(counts) <= SHOWN else [*counts[:SHOWN], f"and {len(counts) - SHOWN} classes more"])
        return f"ImageFolder({len(y)} pictures {x.shape[1:]} to train on ({counts}){held}, {len(self.test[1])} to test with)"


@answered("image_folder")
def image_folder(folder: str | os.PathLike, size: int | tuple[int, int] = 32, *, grayscale: bool = False) -> ImageFolder:
    """The pictures of a folder whose sub-folders are the classes, numbered in the sorted order of their names.

    folder: dog/1.jpg, cat/a/2.png ... of which a fixed random fifth of each class is there to test with; or with train/, test/ and val/ (also valid/,
    validation/) above the classes, each for its purpose. Where only test/ or only val/ is there, it is what is tested with.
    size, grayscale: what each picture is made into, see `images`. A file that cannot be read as a picture is left out, and a warning says how
    many there are, and names the first ones; hidden files are not looked at.
    FileNotFoundError where a class has no pictures; FileFormatError (a ValueError) where none can be read; ImportError without Pillow.
    """
    folder, form = as_path("image_folder", "folder", folder), pictures.Form.of("image_folder", size, grayscale)
    names, skipped, count, found = class_names(folder), [], 0, {}
    for part, path in parts(folder).items():
        files, labels = _files(path, names, part == "train")
        x, failed = pictures.read(files, form)
        y = np.delete(labels, list(failed))
        _check_left(path, names if part == "train" else [], labels, y, failed)
        skipped, count, found[part] = [*skipped, *failed.values()], count + len(files), (x, y)
    if skipped:
        warnings.warn(f"image_folder: {folder}: {pictures.told(skipped, count)}", stacklevel=3)
    if "test" not in found and "validation" in found:
        found["test"] = found.pop("validation")
    if "test" not in found:
        found["train"], found["test"] = npy.split(folder, *found["train"])
    return ImageFolder(found["train"], found.get("validation"), found["test"], names, skipped)


def _files(folder: Path, names: list[str], needed: bool) -> tuple[list[Path], np.ndarray]:
    """All files that are not hidden below the classes' folders, and the numbers of their classes. needed: there must be some of each class."""
    strange = {path.name for path in sub_folders(folder)} - set(names)
    if strange:
        raise FileNotFoundError(f"{folder} holds {min(strange)}, which is none of the classes to train on: {', '.join(names)}")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        own = [Path(place, file) for place, below, held in os.walk(folder / name) for file in held if not _hidden(Path(place, file), folder)]
        if needed and not own:
            raise FileNotFoundError(f"no pictures of class {name}: {folder / name} has none; delete it, or put pictures into it")
        files, labels = files + sorted(own), labels + [label] * len(own)
    if not files:
        raise FileNotFoundError(f"no pictures below {folder}: delete it, or put pictures into the folders of its classes")
    return files, np.array(labels, np.int64)


def _hidden(path: Path, top: Path) -> bool:
    """Also what Windows hides in folders."""
    return path.name.lower() in ("thumbs.db", "desktop.ini") or any(part.startswith(".") for part in path.relative_to(top).parts)


def _check_left(folder: Path, names: list[str], labels: np.ndarray, y: np.ndarray, failed: dict[int, str]) -> None:
    """FileFormatError where no picture is left, or none of one of these classes. labels: those of all files, y: of those that were read."""
    for label, name in enumerate(names):
        if label not in y:
            own = [failed[i] for i in np.flatnonzero(labels == label)]
            raise FileFormatError(f"image_folder: {folder}: no picture is left of class {name}: {pictures.told(own, len(own))}")
    if not y.size:
        raise FileFormatError(f"image_folder: {folder}: no picture is left: {pictures.told([*failed.values()], len(failed))}")
