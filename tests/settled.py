"""Models as training leaves them, without training, and images for them."""

import numpy as np

from bench.net import settled

__all__ = ["draw", "settled"]


def draw(shape: tuple[int, ...], dtype=np.float32) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(dtype)
