"""What classes are called, and where the images for each purpose are: by the folders that hold them, or the labels of a file."""

import os
from pathlib import Path

from fastconv.data import npy
from fastconv.data.reading import contents
from fastconv.files import FileFormatError, as_path

PARTS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}  # what folders are for


def class_names(path: str | os.PathLike) -> list[str]:
    """What class i is called, class_names(path)[i].

    path: of `image_folder` or `npy_folder`: the names of the sub-folders (of train/, where that is above them) in sorted order; or of a .npz file for
    `npz`: its text labels, sorted, or "0", "1" ... FileNotFoundError; FileFormatError (a ValueError).
    """
    path = as_path("class_names", "path", path)
    if path.suffix == ".npz" and not path.is_dir():
        return npy.label_names(path)
    return [folder.name for folder in sub_folders(parts(path)["train"])]


def parts(folder: Path) -> dict[str, Path]:
    """The folder for each purpose, "train" and perhaps "validation" and "test": itself to train on, unless train/ in it holds the classes."""
    found = sub_folders(folder)
    names = {path.name for path in found}
    if "train" not in names or not names <= PARTS.keys() or not sub_folders(folder / "train", needed=False):
        return {"train": folder}
    several = {PARTS[path.name]: path for path in found}
    if len(several) < len(found):
        raise FileFormatError(f"{folder} has more than one folder to validate with: {', '.join(sorted(names - {'train', 'test'}))}")
    return several


def sub_folders(folder: Path, needed: bool = True) -> list[Path]:
    """Those that are not hidden, by name. FileNotFoundError where there is none and one is needed."""
    found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")) if folder.is_dir() else []
    if needed and not found:
        raise FileNotFoundError(f"no sub-folders, one for each class, in {folder}, {contents(folder)}")
    return found
