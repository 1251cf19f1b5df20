"""A test part for data that comes without one."""

import numpy as np


def stratified_fifth(y: np.ndarray) -> np.ndarray:
    """(N,) bool: a fixed random fifth of each class, rounded; y: (N,) integers."""
    # NumPy's legacy generator is frozen: the same fifth with every version, now and later
    order = np.random.RandomState(0).permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]  # class by class, in random order within each
    _, counts = np.unique(y, return_counts=True)
    place_in_class = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.empty(len(y), bool)
    chosen[order] = place_in_class < np.repeat((counts + 2) // 5, counts)
    return chosen
