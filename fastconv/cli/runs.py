"""Where runs are kept: runs/digits-1, runs/mnist-2, ..."""

import re
from pathlib import Path

from fastconv.train.config import RUNS, no_run


def next_folder(name: str) -> Path:
    return RUNS / f"{name}-{max((number for number, _ in _numbered()), default=0) + 1}"


def beside(folder: Path, split: str) -> Path:
    """The folder of the run on another split: runs/digits-1-writers."""
    return folder.parent / f"{folder.resolve().name}-{split}"


def refuse_old(folder: Path) -> None:
    """A run is not overwritten; a folder of which nothing but config.json was written is no run."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file, so no run can be kept in it; choose another --out")
    if any((folder / name).exists() for name in ("weights.npz", "checkpoint.npz")):
        raise FileExistsError(f"{folder} already holds a run; go on with it by --resume {folder}, delete it, or choose another --out")


def run_folder(given: Path | None) -> Path:
    """The folder that is named, or the newest run that was trained to its end."""
    folders = [folder for _, folder in _numbered()]
    trained = [folder for folder in folders if (folder / "weights.npz").exists()]
    if given is None:
        stopped = [folder for folder in folders if (folder / "checkpoint.npz").exists()]
        if not trained and stopped:
            raise FileNotFoundError(f"{stopped[-1]} was stopped before its end; go on with: python -m fastconv train --resume {stopped[-1]}")
        if not trained:
            raise FileNotFoundError("there is no run under runs/ yet; make one with: python -m fastconv train")
        return trained[-1]
    if not (given / "config.json").exists():
        raise FileNotFoundError(no_run(given))
    if not any((given / name).exists() for name in ("weights.npz", "checkpoint.npz")):
        raise FileNotFoundError(f"{given} holds no weights: its training never came to the end of an epoch; train again with --out {given}")
    return given


def _numbered() -> list[tuple[int, Path]]:
    """The runs under runs/ by their numbers."""
    names = ((re.fullmatch(r".+-(\d+)", path.name), path) for path in (RUNS.iterdir() if RUNS.is_dir() else ()))
    return sorted((int(match[1]), path) for match, path in names if match)
