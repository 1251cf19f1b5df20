"""Metrics: `metric(outputs, targets)` over all examples at once, a number or an array. Any callable of that form is a metric.

outputs: (N, K) scores, targets: (N,) classes 0..K-1; ValueError and TypeError for others.
"""

from collections.abc import Callable

import numpy as np

from fastconv.geometry import array, integer
from fastconv.losses import class_labels


def accuracy(outputs, targets) -> float:
    """The share of rows whose largest score is the target's; the first of equal ones counts."""
    outputs, labels = _scores("accuracy", outputs, targets)
    return float(np.mean(outputs.argmax(axis=1) == labels))


def top_k(k: int) -> Callable[[np.ndarray, np.ndarray], float]:
    """`top_k(5)(outputs, targets)`: the share of rows whose target is among the k largest scores; of equal ones the first are larger."""
    k = integer("top_k", "k", k, 1)

    def metric(outputs, targets) -> float:
        outputs, labels = _scores(metric.__name__, outputs, targets)
        own = np.take_along_axis(outputs, labels[:, None], axis=1)
        ahead = ~(outputs <= own) | ((outputs == own) & (np.arange(outputs.shape[1]) < labels[:, None]))  # a NaN is ahead of all
        return float(np.mean(ahead.sum(axis=1) < k))

    metric.__name__ = f"top_{k}"
    return metric


def confusion(outputs, targets) -> np.ndarray:
    """(K, K) int64: how many examples of class [row] have their largest score at [column]. accuracy = trace / sum."""
    outputs, labels = _scores("confusion", outputs, targets)
    classes = outputs.shape[1]
    return np.bincount(labels * classes + outputs.argmax(axis=1), minlength=classes**2).reshape(classes, classes)


def _scores(op: str, outputs, targets) -> tuple[np.ndarray, np.ndarray]:
    outputs = array(op, "outputs", outputs)
    return outputs, class_labels(op, outputs.shape, targets)
