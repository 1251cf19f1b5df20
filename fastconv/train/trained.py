"""A run that was trained, ready to answer."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastconv.data import Normalise
from fastconv.data.digits import BRIGHTEST
from fastconv.files import as_path
from fastconv.geometry import array, integer
from fastconv.layers import Layer
from fastconv.losses import class_labels, cross_entropy
from fastconv.saving import load
from fastconv.train.arguments import image_array
from fastconv.train.class_table import ClassTable, class_table
from fastconv.train.config import load_config
from fastconv.train.history import History, read_history, told_loss
from fastconv.train.runs import normalise, rebuild
from fastconv.train.scores import predict, score

SHOWN = 10  # predictions


@dataclass(frozen=True, repr=False, eq=False)
class Predictions:
    """What images show: `labels` (N,), the most probable classes, their `names`, and `probabilities` (N, K)."""

    labels: np.ndarray
    names: list[str]
    probabilities: np.ndarray
    class_names: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def top(self, k: int = 3) -> list[list[tuple[str, float]]]:
        """For each image the k most probable classes, their names and probabilities, the most probable first."""
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, : integer("top", "k", k, 1)]
        return [[(self.class_names[label], float(row[label])) for label in best] for best, row in zip(order, self.probabilities)]

    def __repr__(self) -> str:
        rows = [f"{i}: {told(best)}" for i, best in enumerate(self.top()[:SHOWN])]
        more = [f"... and {len(self) - SHOWN} more"] if len(self) > SHOWN else []
        return "\n".join([f"Predictions of {len(self)} image{'s' * (len(self) != 1)}", *rows, *more])


def told(best: list[tuple[str, float]]) -> str:
    """Classes and how probable they are."""
    return ", ".join(f"{name} ({100 * share:.1f} %)" for name, share in best)


@dataclass(frozen=True, repr=False, eq=False)
class Evaluation:
    """The mean loss, the share of right answers, and the table of the classes; `str()` shows all."""

    loss: float
    accuracy: float
    classes: ClassTable

    def __repr__(self) -> str:
        return f"loss {told_loss(self.loss)}, accuracy {100 * self.accuracy:.1f} % of {self.classes.support.sum()} images\n\n{self.classes}"


class Run:
    """A trained model and all that its answers need: `run = fc.load_run("runs/digits-1"); print(run.predict(images))`.

    folder; model; config, as its config.json says; class_names; input_shape, (C, H, W); normalise, a `Normalise` or None, which `predict` and
    `evaluate` apply; history, empty where there is no history.csv.
    """

    def __init__(self, folder: Path, model: Layer, config: dict, history: History):
        self.folder, self.model, self.config, self.history = folder, model, config, history

    @property
    def class_names(self) -> list[str]:
        return self.config["class_names"]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.config["in_channels"], *self.config["size"]

    @property
    def normalise(self) -> Normalise | None:
        return normalise(self.config)

    def predict(self, images) -> Predictions:
        """What images show. images: one or several, channels first or last, (C, H, W), (H, W, C), (N, C, H, W), (N, H, W, C), C may miss where it is
        1; integers 0 to 255 (of embedded digits 0 to 16) or floats 0 to 1. ValueError, TypeError for others.
        """
        outputs = self._outputs("predict", images)
        shares = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        labels = shares.argmax(axis=1)
        return Predictions(labels, [self.class_names[label] for label in labels], shares, self.class_names)

    def evaluate(self, images, y) -> Evaluation:
        """How good the answers are. images: as for `predict`. y: (N,) integers 0..K-1, or names of classes."""
        outputs, y = self._outputs("evaluate", images), array("evaluate", "y", y)
        if y.dtype.kind == "U":
            unknown = sorted(set(y.ravel().tolist()) - set(self.class_names))
            if unknown:
                raise ValueError(f"evaluate: y must hold names of classes, one of {', '.join(self.class_names)}, got {unknown[0]!r}")
            y = np.array([self.class_names.index(name) for name in y.ravel().tolist()]).reshape(y.shape)
        y = class_labels("evaluate", outputs.shape, y)
        return Evaluation(*score(outputs, y, cross_entropy), class_table(outputs, y, self.class_names))

    def _outputs(self, op: str, images) -> np.ndarray:
        x = self.batch(op, images)
        change = self.normalise
        return predict(self.model, change(x) if change else x).astype(np.float64)

    def batch(self, op: str, images) -> np.ndarray:
        """Images as (N, C, H, W) float32 in 0..1."""
        C, H, W = self.input_shape
        x = image_array(op, "images", images, f"size=({H}, {W})" + ", grayscale=True" * (C == 1))
        if x.shape[-3:] == (C, H, W) and x.ndim in (3, 4):
            x = x.reshape(-1, C, H, W)
        elif x.shape[-3:] == (H, W, C) and x.ndim in (3, 4):
            x = x.reshape(-1, H, W, C).transpose(0, 3, 1, 2)
        elif C == 1 and x.shape[-2:] == (H, W) and x.ndim in (2, 3):
            x = x.reshape(-1, 1, H, W)
        else:
            plain = f"({H}, {W}), (N, {H}, {W}), " if C == 1 else ""
            raise ValueError(f"{op}: images must be {plain}({C}, {H}, {W}), (N, {C}, {H}, {W}) or with the channels last, got {x.shape}")
        if x.dtype.kind not in "uif":
            raise TypeError(f"{op}: images must hold integers or floats, got {x.dtype}")
        most = 1 if x.dtype.kind == "f" else BRIGHTEST if self.config["data"].startswith("digits:") else 255
        if not x.size or not ((x >= 0) & (x <= most)).all():
            found = f"{x.dtype} from {x.min():g} to {x.max():g}" if x.size else "none"
            raise ValueError(f"{op}: images must hold floats 0 to 1 or integers 0 to {255 if most == 1 else most}, got {found}")
        return x.astype(np.float32, copy=False) if most == 1 else np.divide(x, np.float32(most), dtype=np.float32, casting="unsafe")

    def __repr__(self) -> str:
        shape, names = "x".join(map(str, self.input_shape)), ", ".join(self.class_names[:10])
        more = f" and {len(self.class_names) - 10} more" if len(self.class_names) > 10 else ""
        kept, which = dict(self.history[-1]) if self.history else {}, "in the last"
        if self.history and self.config.get("early_stop") and "val_loss" in kept:
            kept = dict(min(self.history, key=lambda record: (math.isnan(loss := record.get("val_loss", math.nan)), loss)))
            which = f"in epoch {kept['epoch']}, which was kept"
        scores = ", ".join(f"{name} {kept[name]:.4g}" for name in ("val_accuracy", "test_accuracy") if name in kept)
        epochs = f"{len(self.history)} epoch{'s' * (len(self.history) != 1)}" + (f", {scores} {which}" if scores else "")
        return f"Run({str(self.folder)!r}: {self.config['model']} on {self.config['data']}, images {shape}, {epochs}; classes {names}{more})"


def load_run(folder: str | os.PathLike) -> Run:
    """The run that `python -m fastconv train` left in a folder; nothing is unpickled. ValueError names the file that is wrong and how, OSError."""
    folder = as_path("load_run", "folder", folder)
    config = load_config(folder)
    model = rebuild(folder, config)
    path = folder / "weights.npz"
    if not path.exists() and (folder / "checkpoint.npz").exists():
        raise ValueError(f"{folder} was stopped before its end; go on with: python -m fastconv train --resume {folder}")
    try:
        state = load(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    try:
        model.load_state_dict(state)
    except ValueError as error:
        raise ValueError(f"{path} does not fit the model {config['model']}: {error}") from None
    history = folder / "history.csv"
    return Run(folder, model, config, read_history(history) if history.exists() else History())
