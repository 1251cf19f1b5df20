"""Where runs are kept: runs/digits-1, runs/mnist-2, ..."""

import re
from pathlib import Path

RUNS = Path("runs")


def next_folder(name: str) -> Path:
    return RUNS / f"{name}-{max((number for number, _ in _numbered()), default=0) + 1}"


def refuse_old(folder: Path) -> None:
    """A run is not overwritten."""
    if any((folder / name).exists() for name in ("config.json", "checkpoint.npz")):
        raise FileExistsError(f"{folder} already holds a run; go on with it by --resume {folder}, delete it, or choose another --out")


def run_folder(given: Path | None) -> Path:
    """The folder that is named, or the newest one."""
    if given is not None:
        return given
    if not _numbered():
        raise FileNotFoundError("there is no run under runs/ yet; make one with: python -m fastconv train")
    return _numbered()[-1][1]


def _numbered() -> list[tuple[int, Path]]:
    """The runs under runs/ by their numbers."""
    names = ((re.fullmatch(r".+-(\d+)", path.name), path) for path in (RUNS.iterdir() if RUNS.is_dir() else ()))
    return sorted((int(match[1]), path) for match, path in names if match)
