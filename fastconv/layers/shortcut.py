"""What the last layer of a Residual's body is handed where it adds the shortcut itself."""

import numpy as np


class Shortcut:
    """The other term of a sum: its value on the way forward, and on the way back the gradient that the layer leaves here."""

    __slots__ = ("gradient", "value")

    def __init__(self, value: np.ndarray):
        self.value: np.ndarray | None = value
        self.gradient: np.ndarray | None = None


def check_sum(body: tuple[int, ...], shortcut: tuple[int, ...]) -> None:
    """ValueError where two shapes cannot be added."""
    if body != shortcut:
        raise ValueError(f"Residual: the body gives {body}, the shortcut {shortcut}; they must have the same shape to be added")
