"""What training tells of its epochs: loss and accuracy of training, val_ of the images to validate with, test_ of those to test with, rate."""

import csv
import io
import math
import re
from pathlib import Path
from typing import SupportsIndex, TypedDict, overload

import numpy as np

from fastconv.files import FileFormatError, opened
from fastconv.geometry import shown

HISTORY = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "rate")  # the same for the same seed
SHOWN = 20  # epochs
TEST = ("test_loss", "test_accuracy")


class Record(TypedDict):
    """An epoch of a history: a dict with these numbers, of which val_... are there with a validation and test_... where a callback adds them.

    More names may be in it, of metrics and callbacks: `history["val_top_3"]` lists them.
    """

    epoch: int  # counted from 1
    loss: float
    accuracy: float  # NaN where targets are not classes
    rate: float  # of the epoch's last update
    images_per_second: float
    val_loss: float
    val_accuracy: float
    test_loss: float
    test_accuracy: float


class History(list[Record]):
    """The records of all epochs: `history[-1]["val_loss"]`, or by name a list with a value for each epoch, `history["val_loss"]`.

    `history.history` is the same as Keras has it, a dict of these lists. KeyError for a name that is in no record; where only some records have
    it, the others count as NaN.
    """

    @overload
    def __getitem__(self, key: str) -> list: ...
    @overload
    def __getitem__(self, key: SupportsIndex) -> Record: ...
    @overload
    def __getitem__(self, key: slice) -> list[Record]: ...
    def __getitem__(self, key):
        if not isinstance(key, str):
            return super().__getitem__(key)
        if not any(key in record for record in self):
            raise KeyError(f"history: no epoch has {shown(key)}; there are {', '.join(self.history)}")
        return [record.get(key, math.nan) for record in self]

    @property
    def history(self) -> dict[str, list]:
        """A list with a value for each epoch, by name."""
        return {name: self[name] for name in dict.fromkeys(name for record in self for name in record)}

    def __repr__(self) -> str:
        """A table of the numbers, an epoch a line; of many epochs the first and last ones."""
        names = [name for name, values in self.history.items() if all(isinstance(value, (int, float, np.number)) for value in values)]
        lines = [names, *([_number(name, record.get(name, math.nan)) for name in names] for record in self)]
        widths = [max(map(len, column)) for column in zip(*lines)]
        told = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines]
        return "\n".join(told if len(self) <= SHOWN else [*told[: SHOWN // 2 + 1], "...", *told[-SHOWN // 2 :]]) or "History()"


def _number(name: str, value: float) -> str:
    if isinstance(value, int) or name == "images_per_second":
        return f"{value:.0f}"
    return f"{value:.2g}" if name == "rate" else told_loss(value)


def told_loss(loss: float) -> str:
    """With four digits behind the point, where these say enough and it is not too long."""
    return f"{loss:.2e}" if 0 < loss < 1e-3 or loss >= 1e6 else f"{loss:.4f}"


def columns(history: list[Record]) -> tuple[str, ...]:
    """What history.csv holds of it; the test only where it was looked at."""
    return HISTORY + tuple(name for name in TEST if any(name in record for record in history))


def renamed(record: dict) -> dict:
    """A record that an older run wrote, with validation_loss and lr, under the names of today."""
    return {"rate" if name == "lr" else re.sub("^validation_", "val_", name): value for name, value in record.items()}


def read_history(path: Path) -> History:
    """The records in a history.csv, floats, without those of empty fields. FileFormatError names the file, OSError."""
    try:
        with opened(path) as file:
            rows = list(csv.DictReader(io.StringIO(file.read().decode(), newline="")))
        history = History(renamed({name: int(float(text)) if name == "epoch" else float(text) for name, text in row.items() if text}) for row in rows)
    except FileFormatError:
        raise
    except (ValueError, TypeError, OverflowError, csv.Error) as error:
        raise FileFormatError(f"{path} is not the history of a run: {error}") from None
    if not all("epoch" in record for record in history):
        raise FileFormatError(f"{path} is not the history of a run: each epoch must have its number")
    return history
