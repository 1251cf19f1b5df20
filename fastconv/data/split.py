"""Some examples of each class, set apart."""

import numpy as np


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
