"""A run is a folder: config.json says what was trained and how, weights.npz holds the result, history.csv an epoch a line, timings.csv how
fast each was, checkpoint.npz what `fit` needs to go on.
"""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from fastconv.data import Normalise
from fastconv.files import FileFormatError, write_whole
from fastconv.layers import Layer
from fastconv.models import MODELS
from fastconv.saving import save
from fastconv.train.history import columns

TIMINGS = ("epoch", "images_per_second")


def save_config(folder: Path, config: dict) -> None:
    """config: {"model": a name in `models.MODELS`, "in_channels": C, "size": [H, W], "classes": K, "class_names": K words, "data": where it came
    from, "normalise": `vars` of a `data.Normalise` or None, ...}.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "config.json", json.dumps(config, indent=2).encode() + b"\n")


def save_run(folder: Path, model: Layer, config: dict, history: list[dict]) -> None:
    """Write all of a run but its checkpoint."""
    save_config(folder, config)
    save(model, folder / "weights.npz")
    write_whole(folder / "history.csv", _table(columns(history), history))
    write_whole(folder / "timings.csv", _table(TIMINGS, history))


def _table(columns: Sequence[str], history: list[dict]) -> bytes:
    table = io.StringIO(newline="")
    rows = csv.DictWriter(table, columns, extrasaction="ignore")
    rows.writeheader()
    rows.writerows(history)
    return table.getvalue().encode()


def normalise(config: dict) -> Normalise | None:
    """What images pass through before this run's model."""
    return None if config["normalise"] is None else Normalise(**config["normalise"])


def build(config: dict) -> Layer:
    """A new model of this configuration, with parameters drawn from the stream of `fastconv.seed`."""
    return MODELS[config["model"]](config["in_channels"], tuple(config["size"]), config["classes"])


def rebuild(folder: Path, config: dict) -> Layer:
    """`build` for the folder's own configuration. FileFormatError where no such model can be."""
    try:
        return build(config)
    except (ValueError, MemoryError, OverflowError) as error:
        raise FileFormatError(f"{folder / 'config.json'} is no run's: {config['model']} cannot be built: {error}") from None
