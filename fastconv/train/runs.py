"""A run is a folder: config.json says what was trained and how, weights.npz holds the result, history.csv an epoch a line."""

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np

from fastconv.files import write_whole
from fastconv.layers import Layer
from fastconv.models import MODELS

HISTORY = ("epoch", "loss", "accuracy", "lr", "validation_loss", "validation_accuracy")


def save_run(folder: Path, model: Layer, config: dict, history: list[dict]) -> None:
    """Write the three files; config must name the model: {"model": a name in `models.MODELS`, ...}."""
    folder.mkdir(parents=True, exist_ok=True)
    weights, table = io.BytesIO(), io.StringIO(newline="")
    np.savez(weights, **model.state_dict())
    rows = csv.DictWriter(table, HISTORY, extrasaction="ignore")
    rows.writeheader()
    rows.writerows(history)
    write_whole(folder / "weights.npz", weights.getvalue())
    write_whole(folder / "history.csv", table.getvalue().encode())
    write_whole(folder / "config.json", json.dumps(config, indent=2).encode() + b"\n")


def load_run(folder: Path) -> tuple[Layer, dict]:
    """The trained model and its configuration. ValueError names the file that is wrong and how; nothing is unpickled."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no run (no config.json); make one with: python -m fastconv train --out {folder}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(config, dict) or config.get("model") not in MODELS:
        raise ValueError(f"{path} must name a model, one of {', '.join(MODELS)}")
    model = MODELS[config["model"]]()
    path = folder / "weights.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            state = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    try:
        model.load_state_dict(state)
    except ValueError as error:
        raise ValueError(f"{path} does not fit the model {config['model']}: {error}") from None
    return model, config
