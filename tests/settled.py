"""Models as training leaves them, without training."""

import numpy as np

from fastconv import layers


def settled(model: layers.Layer, seed: int = 0) -> layers.Layer:
    """With statistics, weights and biases of a trained net's kind: nothing is 0 or 1."""
    rng, state = np.random.default_rng(seed), model.state_dict()
    for name, value in state.items():
        if name.endswith("running_var"):
            state[name] = rng.uniform(0.5, 2, value.shape).astype(value.dtype)
        elif value.ndim == 1:
            state[name] = rng.normal(0.5, 0.5, value.shape).astype(value.dtype)
    model.load_state_dict(state)
    return model


def draw(shape: tuple[int, ...], dtype=np.float32) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(dtype)
