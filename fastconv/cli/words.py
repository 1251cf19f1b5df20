"""The words of a command line, checked: what is wrong is said in one line by argparse."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from fastconv.data.pictures import LARGEST


def at_least(least: int) -> Callable[[str], int]:
    def integer(text: str) -> int:  # argparse says: invalid integer value: 'x'
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    return integer


def positive(text: str) -> float:
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return value


def share(text: str) -> float:
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to below 1, got {text}")
    return value


def size(text: str) -> tuple[int, int]:
    """ "32" or "24x32", height times width"""
    sides = text.split("x") if "x" in text else [text, text]
    if len(sides) != 2 or not all(side.isdecimal() and len(side) < 5 and 1 <= int(side) <= LARGEST for side in sides):
        raise argparse.ArgumentTypeError(f"must be N or HxW, pixels from 1 to {LARGEST}, got {text}")
    H, W = map(int, sides)
    return H, W


def augment(text: str) -> dict[str, float]:
    """ "flip,shift=2,noise=0.1" as words of `Batches`; "none" as no words."""
    words: dict[str, float] = {}
    for part in text.split(",") if text != "none" else ():
        name, _, value = part.partition("=")
        amount = _number(value) if "=" in part else 0.5 if name == "flip" else math.nan
        most = {"flip": 1, "shift": 1e6, "noise": 1e6}.get(name, math.nan)
        if not 0 <= amount <= most or (name == "shift" and amount != int(amount)):
            raise argparse.ArgumentTypeError(f"must be none, or flip=SHARE,shift=PIXELS,noise=DEVIATION or some of these, got {text}")
        words[name] = int(amount) if name == "shift" else amount
    return words


def add_run(verb: argparse.ArgumentParser, told: str = "the run's folder; default: the newest under runs/") -> None:
    verb.add_argument("dir", type=Path, nargs="?", metavar="RUN", help=told)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
