"""Write fastconv/data/digits.npz from scikit-learn's copy of the digits (pip install scikit-learn). Run once; the file is in the repository."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

images, labels = load_digits(return_X_y=True)
_, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
mask = np.zeros(len(labels), np.uint8)
mask[test] = 1
target = Path(__file__).parent.parent / "fastconv/data/digits.npz"
np.savez_compressed(target, images=images.astype(np.uint8).reshape(-1, 8, 8), labels=labels.astype(np.uint8), stratified_test=mask)
print(target.stat().st_size, "bytes")
