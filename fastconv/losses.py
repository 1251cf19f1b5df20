"""Losses: `value, d_outputs = loss(outputs, targets)`. Any callable of that form is a loss.

Computed in float64 and given back in the dtype of the outputs; the value is a Python float, the mean over the batch. Options are keywords; where a
function of two arguments is wanted, `functools.partial(losses.cross_entropy, label_smoothing=0.1)` is one.
"""

import math
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from fastconv import reflexes
from fastconv.geometry import array, integer, number, whole
from fastconv.kernels.elementwise.cross_entropy import NO_WEIGHTS, NONE
from fastconv.kernels.elementwise.cross_entropy import cross_entropy as softmax_cross_entropy
from fastconv.kernels.elementwise.distance import distance
from fastconv.ops.layout import activation
from fastconv.ops.operands import dense, floats
from fastconv.reflexes import answered

LARGEST_LABEL = 2**63 - 1
__getattr__ = reflexes.of_module("losses", __name__)


class Loss(tuple[float, np.ndarray]):
    """The pair (value, d_outputs) that a loss function returns, to be unpacked: it is not a number, and says so."""

    __slots__ = ()

    if not TYPE_CHECKING:  # which knows that a pair has none of these

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(reflexes.answer("Loss", "a loss", name))

        def __format__(self, words: str) -> str:
            return self._no_number() if words else repr(self)

        def _no_number(self, other=None) -> NoReturn:
            raise TypeError(f"a loss is a pair and no number: {reflexes.UNPACK}")

        __float__ = __round__ = __add__ = __radd__ = __mul__ = __rmul__ = __truediv__ = _no_number
        __lt__ = __le__ = __gt__ = __ge__ = _no_number


@answered("loss")
def cross_entropy(outputs, targets, *, label_smoothing: float = 0.0, class_weights=None, ignore_index: int | None = None) -> Loss:
    """Mean over the batch of -log softmax(outputs)[target]; d_outputs = (softmax(outputs) - one_hot(targets)) / N.

    outputs: (N, K) scores, float32 or float64, of any size (the largest is subtracted first). targets: (N,) integers 0..K-1.
    With p = softmax(outputs), y = targets, e = label_smoothing in 0..1, w = class_weights, (K,) numbers >= 0 (None: ones):

        value = sum over n of ((1 - e) w[y] (-log p[y]) + e / K * sum over k of w[k] (-log p[k])) / W,    W = sum over n of w[y]
        d_outputs[n, k] = ((1 - e) w[y] (p[k] - [k = y]) + e / K * (p[k] sum(w) - w[k])) / W

    ignore_index: rows with this target are in no sum and have gradient 0; it need not be a class. If no row counts (W = 0) the value is NaN, and
    the gradient 0 where all rows are ignored, as in PyTorch. TypeError for targets that are not integers, ValueError for a wrong length, a label
    out of range, an empty batch, wrong options. Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7, for the smoothing.
    """
    (outputs,) = floats("cross_entropy", outputs=outputs)
    smoothing = float(number("cross_entropy", "label_smoothing", label_smoothing, most=1))
    labels, ignored = _labels("cross_entropy", outputs.shape, targets), NONE
    if ignore_index is not None:
        ignored = whole("cross_entropy", "ignore_index", ignore_index)
        ignored = ignored if abs(ignored) <= LARGEST_LABEL else NONE
    weights = NO_WEIGHTS if class_weights is None else _class_weights(class_weights, outputs.shape[1])
    d_outputs = np.empty(outputs.shape, outputs.dtype)
    value, wrong = softmax_cross_entropy(dense(outputs), labels, d_outputs, weights, smoothing, ignored)
    if wrong >= 0:
        raise _no_class("cross_entropy", outputs.shape, targets, wrong)
    return Loss((value, d_outputs))


def class_labels(op: str, shape: tuple[int, ...], targets, ignore_index: int | None = None) -> np.ndarray:
    """The targets as (N,) integers that index the K columns of outputs of this shape (N, K), or are ignore_index."""
    labels = _labels(op, shape, targets)
    wrong = (labels < 0) | (labels >= shape[1])
    if ignore_index is not None:
        wrong &= labels != whole(op, "ignore_index", ignore_index)
    if wrong.any():
        raise _no_class(op, shape, targets, int(np.flatnonzero(wrong)[0]))
    return labels


def _labels(op: str, shape: tuple[int, ...], targets) -> np.ndarray:
    """The targets as (N,) integers of any size."""
    if isinstance(targets, tuple):
        raise TypeError(f"{op}: targets is a tuple; unpack it")
    labels = array(op, "targets", targets)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{op}: outputs must be (N, K) with N, K >= 1, got {shape}")
    if labels.shape != shape[:1]:
        raise ValueError(f"{op}: targets must be ({shape[0]},), one label per row of outputs{shape}, got {labels.shape}")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(f"{op}: targets hold NaN or Inf")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{op}: targets must be integers, got {labels.dtype}: write targets.astype(np.int64)")
    if labels.dtype == np.uint64:
        labels = np.minimum(labels, LARGEST_LABEL)  # which is no class either
    return np.ascontiguousarray(labels, np.int64)


def _no_class(op: str, shape: tuple[int, ...], targets, n: int) -> ValueError:
    return ValueError(f"{op}: targets[{n}] = {np.asarray(targets)[n]} is not a class 0..{shape[1] - 1}")


def balanced_weights(targets, classes: int | None = None) -> np.ndarray:
    """(K,) float64 class weights with which each class counts alike, however many examples it has: N / (C count[k]).

    targets: (N,) integers of a whole training set; count: how often each occurs; C: how many classes do. A class that does not occur weighs 0.
    classes: K; None: the largest target + 1. `partial(losses.cross_entropy, class_weights=losses.balanced_weights(y))`; scikit-learn's "balanced".
    """
    targets = array("balanced_weights", "targets", targets)
    if targets.ndim != 1 or not targets.size:
        raise ValueError(f"balanced_weights: targets must be (N,) with N >= 1, got {targets.shape}")
    if classes is None and targets.dtype.kind in "iu":
        classes = min(int(targets.max()) + 1, targets.size)  # more classes than examples there cannot be
    classes = integer("balanced_weights", "classes", classes if classes is not None else 1, 1)
    counts = np.bincount(class_labels("balanced_weights", (len(targets), classes), targets), minlength=classes)
    return np.where(counts, len(targets) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 0.0)


def _class_weights(class_weights, classes: int) -> np.ndarray:
    if isinstance(class_weights, str):
        hint = "losses.balanced_weights(y) makes them of all labels, train.fit(..., class_weights='balanced') of its own"
        raise TypeError(f"cross_entropy: class_weights must be numbers, one for each class, got {class_weights!r}; {hint}")
    weights = array("cross_entropy", "class_weights", class_weights)
    if weights.dtype.kind not in "fiu":
        raise TypeError(f"cross_entropy: class_weights must be numbers, got {weights.dtype}")
    if weights.shape != (classes,):
        raise ValueError(f"cross_entropy: class_weights must be ({classes},), one for each column of outputs, got {weights.shape}")
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("cross_entropy: class_weights must be finite and >= 0")
    return weights.astype(np.float64)


@answered("loss")
def mse(outputs, targets) -> Loss:
    """Mean over all elements of (outputs - targets)**2; d_outputs = 2 (outputs - targets) / count. The same shapes and dtypes."""
    return _distance("mse", outputs, targets, math.inf, 2.0)


@answered("loss")
def huber(outputs, targets, *, delta: float = 1.0) -> Loss:
    """Mean over all elements of d**2 / 2 where |d| <= delta, else delta * (|d| - delta / 2), with d = outputs - targets.

    d_outputs = d / count, but not beyond -delta / count..delta / count: outliers pull no harder. The same shapes and dtypes; ValueError for other
    shapes, NaN in targets and unless delta > 0. PyTorch's HuberLoss (its SmoothL1Loss is this divided by delta). Huber 1964, "Robust Estimation
    of a Location Parameter".
    """
    if not number("huber", "delta", delta):
        raise ValueError(f"huber: delta must be > 0, got {delta}")
    return _distance("huber", outputs, targets, delta, 1.0)


@answered("loss")
def bce_with_logits(outputs, targets) -> Loss:
    """Binary cross-entropy: mean over all elements of -t log s - (1 - t) log(1 - s), with s = 1 / (1 + exp(-outputs)), t = targets in 0..1.

    Computed as max(x, 0) - t x + log(1 + exp(-|x|)), x = outputs, which overflows nowhere; d_outputs = (s - t) / count. The same shapes and
    float dtypes (one number per yes-or-no question, such as (N, K) for K labels of which any may hold); ValueError for other shapes, NaN in
    targets or targets outside 0..1. PyTorch's BCEWithLogitsLoss.
    """
    outputs, targets = _alike("bce_with_logits", outputs, targets)
    _no_nan("bce_with_logits", targets)
    wrong = (targets < 0) | (targets > 1)
    if wrong.any():
        at = tuple(int(i[0]) for i in np.nonzero(wrong))
        raise ValueError(f"bce_with_logits: targets{list(at)} = {targets[at]} is not in 0..1")
    x = outputs.astype(np.float64)
    with np.errstate(invalid="ignore", under="ignore"):
        small = np.exp(-np.abs(x))
        value = float(np.mean(np.maximum(x, 0) - targets * x + np.log1p(small)))
        sigmoid = np.where(x < 0, small, 1) / (1 + small)
    return Loss((value, ((sigmoid - targets) / x.size).astype(outputs.dtype)))


def _distance(op: str, outputs, targets, delta: float, scale: float) -> Loss:
    outputs, targets = _alike(op, outputs, targets)
    lies = activation(outputs.shape, outputs.dtype)
    d_outputs, memory = lies.empty()
    value = distance(lies.flat(outputs), lies.flat(targets), memory, delta, scale)
    if value != value:
        _no_nan(op, targets)
    return Loss((value, d_outputs))


def _alike(op: str, outputs, targets) -> list[np.ndarray]:
    """Both as float arrays of one shape and dtype, neither empty."""
    outputs, targets = floats(op, outputs=outputs, targets=targets)
    if outputs.shape != targets.shape:
        raise ValueError(f"{op}: outputs{outputs.shape} and targets{targets.shape} must have the same shape")
    if not outputs.size:
        raise ValueError(f"{op}: outputs{outputs.shape} is empty")
    return [outputs, targets]


def _no_nan(op: str, targets: np.ndarray) -> None:
    if np.isnan(targets).any():
        raise ValueError(f"{op}: targets hold NaN")
