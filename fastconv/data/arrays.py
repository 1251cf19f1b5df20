"""Images and labels in the forms that people have them in, made into (N, C, H, W) and integers 0..K-1."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fastconv.files import FileFormatError
from fastconv.geometry import array, entries, shown
from fastconv.memory import spared
from fastconv.ops.operands import floats

CHANNELS = (1, 3, 4)  # gray, colors, colors and transparency
BRIGHTEST = 255  # of uint8
FORMS = "(N, C, H, W), (N, H, W, C) or (N, H, W)"


def scaled(x: np.ndarray, dtype: np.dtype | type = np.float32) -> np.ndarray:
    """uint8 images as floats in 0..1, x / 255; anything else as it is."""
    return np.divide(x, np.asarray(BRIGHTEST, dtype), dtype=dtype, casting="unsafe") if x.dtype == np.uint8 else x


def images_or_floats(op: str, x) -> np.ndarray:
    """x as an array of float32, float64, or of uint8, which stands for 0..1. TypeError for others."""
    if isinstance(x, np.ndarray) and x.dtype == np.uint8 and not isinstance(x, np.ma.MaskedArray):
        return x
    return floats(op, x=x)[0]


def views(x: np.ndarray) -> Iterator[np.ndarray]:
    """x, and what else its shape can mean: channels last, one channel that is not told, square gray images in rows."""
    yield x
    if x.ndim == 4 and x.shape[3] in CHANNELS and x.shape[1] not in CHANNELS:
        yield x.transpose(0, 3, 1, 2)
    if x.ndim == 3:
        yield x[:, None]
    if x.ndim == 2 and x.shape[1] > 1 and math.isqrt(x.shape[1]) ** 2 == x.shape[1]:
        yield x.reshape(len(x), 1, math.isqrt(x.shape[1]), -1)


def channels_first(name: str, x: np.ndarray) -> np.ndarray:
    """Images of any of these forms as (N, C, H, W), without a copy. ValueError where the shape can mean two things, or nothing."""
    view = list(views(x))[-1]
    if view.ndim != 4 or not x.size:
        side = math.isqrt(x.shape[1] // 3) if x.ndim == 2 else 0
        rows = f": write {name}.reshape(-1, 3, {side}, {side}), or {name}.reshape(-1, {side}, {side}, 3) where a pixel's colors are neighbors"
        raise ValueError(f"{name} must be {FORMS}, got {x.shape}{rows if side and 3 * side**2 == x.shape[1] else ''}")
    if view is x:
        _, C, H, W = x.shape
        turn = f"{name}.transpose(0, 3, 1, 2)"
        if C > 4 >= W:
            raise ValueError(f"{name} {x.shape} looks like (N, H, W, C); (N, C, H, W) is needed: write {turn}")
        if C in CHANNELS and W in CHANNELS and H != W:
            raise ValueError(
                f"{name} {x.shape} may be (N, C, H, W) or (N, H, W, C): write {turn} if the channels are last; else W must be H, or over 4"
            )
    return view


@spared
def as_images(path: Path, name: str, x: np.ndarray) -> np.ndarray:
    """Images of any of these forms, integers 0..255 or floats 0..1, as (N, C, H, W) float32 in 0..1. FileFormatError."""
    if x.dtype.kind not in "iuf":
        raise FileFormatError(f"{path}: {name} must hold integers or floats, got {x.dtype}")
    try:
        x = channels_first(name, x)
    except ValueError as error:
        raise FileFormatError(f"{path}: {error}") from None
    return in_unit(path, name, x)


def in_unit(path: Path, name: str, x: np.ndarray) -> np.ndarray:
    """Integers 0..255 or floats 0..1 as float32 in 0..1. FileFormatError."""
    low, high = x.min(), x.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise FileFormatError(f"{path}: {name} holds NaN or Inf")
    whole = x.dtype.kind in "iu"
    if low < 0 or high > (BRIGHTEST if whole else 1):
        hint = "; divide by 255 before saving" if low >= 0 and high <= BRIGHTEST else ""
        raise FileFormatError(f"{path}: {name} must hold integers 0 to 255 or floats 0 to 1, got {x.dtype} from {low} to {high}{hint}")
    return scaled(x.astype(np.uint8, copy=False)) if whole else x.astype(np.float32)


def encode_labels(y, class_names: Sequence[str] | None = None) -> tuple[np.ndarray, list[str]]:
    """(labels, class_names): labels (N,) int64 in 0..K-1, and what the K classes are called.

    y: (N,) or (N, 1) texts, whose classes are those that occur, sorted; (N,) or (N, 1) integers from 0 or bools, called "0", "1" ...; or (N, K) of
    zeros and a single one in each row. class_names: those of the training set, so that labels to test with get the same numbers.
    TypeError, ValueError for anything else, and for what is not among class_names.
    """
    return numbered("encode_labels", "y", y, None if class_names is None else _names(class_names))


def numbered(where: str | Path, name: str, y, names: list[str] | None = None) -> tuple[np.ndarray, list[str]]:
    """`encode_labels` for an argument or an array of a file of another name."""
    y = array(str(where), name, y)
    K = y.shape[1] if y.ndim == 2 else 1
    y = label_column(where, name, y)
    if y.dtype.kind == "U":
        found, labels = np.unique(y, return_inverse=True)
        nameless = [each for each in found.tolist() if not each or "\0" in each]
        if nameless:
            raise ValueError(f"{where}: {name} holds the text {nameless[0]!r}, which cannot be the name of a class")
        names = found.tolist() if names is None else names
        strange = sorted(set(found.tolist()) - set(names))
        if strange:
            raise ValueError(f"{where}: {name} holds {shown(strange[0])}, which is none of the classes {', '.join(names)}")
        return np.array([names.index(each) for each in found.tolist()], np.int64)[labels], names
    if names is None and K > 1:
        names = [str(label) for label in range(K)]
    most = len(y) if names is None else len(names)  # more classes than examples there cannot be
    if y.min() < 0 or y.max() >= most:
        raise ValueError(f"{where}: {name} must hold labels 0 to {most - 1}, got {y.min()} to {y.max()}")
    return y.astype(np.int64), names or [str(label) for label in range(int(y.max()) + 1)]


def label_column(where: str | Path, name: str, y) -> np.ndarray:
    """Labels of any of these forms as (N,) texts or integers."""
    y = array(str(where), name, y)
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8", "replace")
    if y.dtype.kind == "O" and all(isinstance(label, str) for label in y.flat):
        y = y.astype(str)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if is_one_hot(y):
        y = y.argmax(axis=1)
    if y.ndim != 1 or not y.size:
        raise ValueError(f"{where}: {name} must be labels (N,), (N, 1), or (N, K) of zeros and a one in each row, got {y.shape}")
    if y.dtype.kind == "b":
        y = y.astype(np.int64)
    if y.dtype.kind not in "iuU":
        whole = f": write {name}.astype(np.int64)" if y.dtype.kind == "f" else ""
        raise TypeError(f"{where}: {name} must hold integers, the numbers of the classes, or texts, got {y.dtype}{whole}")
    return y


def is_one_hot(y: np.ndarray) -> bool:
    """(N, K) numbers, zeros and a one in each row."""
    return y.ndim == 2 and y.dtype.kind in "biuf" and y.size > 0 and bool(((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all())


def _names(class_names: Sequence[str]) -> list[str]:
    names = entries(class_names) if isinstance(class_names, (list, tuple, np.ndarray)) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"encode_labels: class_names must be a list of texts, got {shown(class_names)}")
    return list(map(str, names))
