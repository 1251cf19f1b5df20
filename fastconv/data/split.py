"""Some examples of each class, set apart."""

import numpy as np

from fastconv.data.arrays import label_column
from fastconv.geometry import array, real

Pair = tuple[np.ndarray, np.ndarray]


def stratified_split(x, y, share: float = 0.2) -> tuple[Pair, Pair]:
    """((x, y), (x_held, y_held)): the same share of each class set apart, rounded, to validate or to test with; always the same examples.

    x: (N, ...). y: (N,), (N, 1) or one-hot (N, K), integers or texts. Both keep their order. ValueError where no example would be set apart, or all
    of a class.
    """
    x, y, share = array("stratified_split", "x", x), array("stratified_split", "y", y), real("stratified_split", "share", share)
    labels = label_column("stratified_split", "y", y)
    if not 0 < share < 1:
        raise ValueError(f"stratified_split: share must be above 0 and below 1, got {share}")
    if not x.ndim or len(x) != len(y):
        raise ValueError(f"stratified_split: x and y must have the same length N, got x{x.shape}, y{y.shape}")
    held = stratified(labels, share)
    gone = np.setdiff1d(labels, labels[~held])
    if len(gone):
        count = np.count_nonzero(labels == gone[0])
        raise ValueError(f"stratified_split: share {share:g} leaves none of class {gone[0]}, {count} in all: write a smaller one")
    if not held.any():
        most = np.unique(labels, return_counts=True)[1].max()
        raise ValueError(f"stratified_split: share {share:g} of at most {most} examples of a class is none: write a larger one")
    return (x[~held], y[~held]), (x[held], y[held])


def stratified(y: np.ndarray, share: float) -> np.ndarray:
    """(N,) bool: a fixed random share of each class, rounded; y: (N,) integers."""
    # NumPy's legacy generator is frozen: the same ones with every version, now and later
    order = np.random.RandomState(0).permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]  # class by class, in random order within each
    _, counts = np.unique(y, return_counts=True)
    place_in_class = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.empty(len(y), bool)
    chosen[order] = place_in_class < np.repeat(np.floor(counts * share + 0.5), counts)
    return chosen
