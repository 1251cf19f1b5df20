"""1,797 handwritten digits of 8x8 pixels, embedded.

The test half of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak 1998, UCI Machine Learning Repository,
doi 10.24432/C50P49), CC BY 4.0. Each pixel counts the dark cells, 0 to 16, of a 4x4 block of a 32x32 scan.
"""

from functools import cache
from importlib.resources import files

import numpy as np

BRIGHTEST = 16
SPLITS = {
    "stratified": "a fixed random fifth of each digit",
    "writers": "the last fifth in file order, by other writers: harder",
}


@cache
def _arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with files("fastconv.data").joinpath("digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return stored["images"], stored["labels"], stored["stratified_test"]


def digits(split: str = "stratified") -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """(x, y) to train on and (x, y) to test with. x: (N, 1, 8, 8) float32 in 0..1, y: (N,) int64 in 0..9.

    split: "stratified" (a fixed random 80 / 20 of each digit) or "writers" (the last 20 % in file order: other hands).
    """
    if not isinstance(split, str) or split not in SPLITS:
        raise ValueError(f"digits: split must be one of {', '.join(map(repr, SPLITS))}, got {split!r}")
    images, labels, stratified_test = _arrays()
    test = stratified_test.astype(bool) if split == "stratified" else np.arange(len(labels)) >= len(labels) * 4 // 5
    x = (images[:, None] / BRIGHTEST).astype(np.float32)
    y = labels.astype(np.int64)
    return (x[~test], y[~test]), (x[test], y[test])
