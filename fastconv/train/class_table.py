"""How good the answers are, class by class."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastconv.geometry import array, entries
from fastconv.layers.summary import columns
from fastconv.losses import class_labels
from fastconv.train.metrics import confusion


class ClassTable(NamedTuple):
    """Of each class, (K,) arrays; NaN where nothing can be said: `str()` shows "-", and the mean is that of the others."""

    names: list[str]
    precision: np.ndarray  # right answers of all answers with this class
    recall: np.ndarray  # right answers of all examples of this class
    f1: np.ndarray  # their harmonic mean
    support: np.ndarray  # examples of this class
    confusion: np.ndarray  # (K, K): how many of class [row] were taken for [column]

    def __str__(self) -> str:
        means = [np.nanmean(each) if np.isfinite(each).any() else np.nan for each in (self.precision, self.recall, self.f1)]
        rows = [*zip(self.names, self.precision, self.recall, self.f1, self.support), ("mean", *means, self.support.sum())]
        told = [(name, *("-" if np.isnan(value) else f"{value:.3f}" for value in values), str(count)) for name, *values, count in rows]
        return columns(("class", "precision", "recall", "f1", "examples"), told[:-1], told[-1], texts=1)


def class_table(outputs, targets, class_names: Sequence[str] | None = None) -> ClassTable:
    """Precision, recall, f1 and support of each class: `print(train.class_table(train.predict(model, x), y))`.

    outputs: (N, K) scores; targets: (N,) classes 0..K-1; class_names: K of them, else their numbers. With tp right answers, fp wrong ones, and
    fn examples that were taken for others: precision = tp / (tp + fp), recall = tp / (tp + fn), f1 = 2 tp / (2 tp + fp + fn). ValueError and
    TypeError as the metrics.
    """
    outputs = array("class_table", "outputs", outputs)
    counts = confusion(outputs, class_labels("class_table", outputs.shape, targets))
    K = len(counts)
    names = [str(name) for name in (range(K) if class_names is None else entries(class_names))]
    if len(names) != K or isinstance(class_names, str):
        raise ValueError(f"class_table: class_names must be {K} names, one for each column of outputs, got {len(names)}")
    right, answers, support = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)
    return ClassTable(names, _share(right, answers), _share(right, support), _share(2 * right, answers + support), support, counts)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
