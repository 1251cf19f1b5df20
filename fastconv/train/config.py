"""A run's config.json: every entry is checked before anything is made of it."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fastconv.files import FileFormatError, opened
from fastconv.models import MODELS

LARGEST = 1 << 26  # numbers of one image
RUNS = Path("runs")


class Entry(NamedTuple):
    """What an entry must be: a test, and the same in words."""

    right: Callable[[object], bool]
    words: str


def _whole(least: int) -> Entry:
    return Entry(lambda value: type(value) is int and least <= value < 1 << 63, f"a whole number from {least}")


def _number(right: Callable[[float], bool], words: str) -> Entry:
    """JSON as Python reads it has NaN and infinities, and integers of any size."""
    return Entry(lambda value: type(value) in (int, float) and abs(value) < 1e300 and right(value), f"a number {words}")


def _or_none(entry: Entry) -> Entry:
    return Entry(lambda value: value is None or entry.right(value), f"null or {entry.words}")


def _list(entry: Entry, length: int | None = None) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and value != [] and length in (None, len(value)) and all(map(entry.right, value))


def _is_word(value) -> bool:
    """Any text but what no path and no terminal takes: zero characters and halves of surrogate pairs."""
    return isinstance(value, str) and value != "" and "\0" not in value and value == value.encode(errors="ignore").decode()


_word = Entry(_is_word, "a word")
_above_0 = _number(lambda value: value > 0, "above 0")
_share = _number(lambda value: 0 <= value <= 1, "from 0 to 1")
_deviations = {"shift": _whole(0), "flip": _share, "noise": _number(lambda value: value >= 0, "from 0")}

MODEL = {
    "in_channels": _whole(1),
    "size": Entry(_list(_whole(1), 2), "two whole numbers from 1, [H, W]"),
    "classes": _whole(1),
    "class_names": Entry(_list(_word), "words, one for each class"),
    "data": _word,
    "normalise": Entry(lambda value: value is None or isinstance(value, dict), "null, or mean and std"),
}
TRAINING = {
    "epochs": _whole(1),
    "batch_size": _whole(1),
    "lr": _above_0,
    "schedule": _word,
    "augment": Entry(
        lambda value: isinstance(value, dict) and all(name in _deviations and _deviations[name].right(value[name]) for name in value),
        "some of shift, a whole number from 0, flip, a number from 0 to 1, and noise, a number from 0",
    ),
    "class_weights": Entry(lambda value: value in (None, "balanced"), 'null or "balanced"'),
    "clip_norm": _or_none(_above_0),
    "val": _number(lambda value: 0 <= value < 1, "from 0 to below 1"),
    "early_stop": _or_none(_whole(1)),
    "seed": _whole(0),
}  # what resuming needs, too


def load_config(folder: Path) -> dict:
    """FileFormatError (a ValueError) names the file, the entry that is wrong and how; OSError."""
    path = folder / "config.json"
    try:
        with opened(path) as file:
            config = json.loads(file.read().decode())
    except FileNotFoundError:
        raise FileFormatError(no_run(folder)) from None
    except FileFormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} is not JSON: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("model"), str) or config["model"] not in MODELS:
        raise FileFormatError(f"{path} must name a model, one of {', '.join(MODELS)}")
    _check(path, config, MODEL)
    C, (H, W), classes = config["in_channels"], config["size"], config["classes"]
    if C * H * W > LARGEST:
        raise FileFormatError(f"{path} is no run's: in_channels and size make images of {shown(C * H * W)} numbers, more than {LARGEST}")
    if len(config["class_names"]) != classes:
        raise FileFormatError(f"{path} is no run's: class_names must be {classes} words, one for each class, got {len(config['class_names'])}")
    if config["normalise"] is not None:
        finite = _number(lambda value: True, "")
        numbers = {"mean": Entry(_list(finite, C), f"{C} numbers, one for each channel"), "std": Entry(_list(_above_0, C), f"{C} numbers above 0")}
        _check(path, config["normalise"], numbers, "normalise.")
        if config["normalise"].keys() != numbers.keys():
            raise FileFormatError(f"{path} is no run's: normalise must hold mean and std, got {shown(list(config['normalise']))}")
    return config


def no_run(folder: Path) -> str:
    """That the folder is none, and which are."""
    others = sorted(path.parent for path in RUNS.glob("*/weights.npz"))
    there = f"; there are {', '.join(map(str, others[-5:]))}" if others else ""
    return f"{folder} holds no run (no config.json){there}; make one with: python -m fastconv train --out {folder}"


def check_training(folder: Path, config: dict) -> None:
    """What going on with a run needs. FileFormatError as `load_config`."""
    path = folder / "config.json"
    config.setdefault("class_weights", None)  # of a run that was made when there were none
    missing = [name for name in TRAINING if name not in config]
    if missing:
        raise FileFormatError(f"{path} cannot be resumed: it says nothing of {', '.join(missing)}")
    _check(path, config, TRAINING)


def _check(path: Path, config: dict, entries: dict[str, Entry], above: str = "") -> None:
    for name, entry in entries.items():
        if name not in config:
            raise FileFormatError(f"{path} is no run's: it says nothing of {above + name!r}")
        if not entry.right(config[name]):
            raise FileFormatError(f"{path} is no run's: {above}{name} must be {entry.words}, got {shown(config[name])}")


def shown(value: object) -> str:
    """A value of a JSON file, not longer than a line."""
    if type(value) is int and not math.log2(abs(value) + 1) < 100:
        return "a number of more than 30 digits"
    try:
        text = json.dumps(value)
    except RecursionError:
        return "something nested too deeply"
    return text if len(text) <= 80 else f"{text[:80]}..."
