"""A net in NumPy whose first layer is a matrix with tied entries: the same code trains it as a dense layer or as a convolution.

x (N, inputs) -> h = relu(matrix @ x) -> q = pool(h), squares of 2x2 cells -> scores = V @ q + c.  `ties` says what the matrix holds.
"""

from collections.abc import Callable

import numpy as np

from fastconv.explain import fold
from fastconv.losses import cross_entropy

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]


def to_the_largest(windows: np.ndarray, dq: np.ndarray) -> np.ndarray:
    """Max pooling's gradient: (N, squares, 4) cells and (N, squares) gradients of their maxima -> (N, squares, 4)."""
    spread = np.zeros_like(windows)
    np.put_along_axis(spread, windows.argmax(axis=2)[:, :, None], dq[:, :, None], axis=2)
    return spread


def to_all_four(windows: np.ndarray, dq: np.ndarray) -> np.ndarray:
    """The wrong rule: each cell gets a quarter."""
    return np.broadcast_to(dq[:, :, None] / 4, windows.shape)


class TiedNet:
    """`ties`: (maps * size * size, inputs), as `fastconv.explain.ties` gives them; `rule`: the way back through the pooling."""

    def __init__(self, ties: np.ndarray, maps: int, size: int, *, seed: int, fan_in: int, rule: Rule = to_the_largest):
        rng = np.random.default_rng(seed)
        squares = maps * (size // 2) ** 2
        self.ties, self.maps, self.size, self.rule = ties, maps, size, rule
        self.w = rng.standard_normal(ties.max() + 1) * np.sqrt(2 / fan_in)
        self.V = rng.standard_normal((10, squares)) / np.sqrt(squares)
        self.c = np.zeros(10)

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        """The cells of the maps after ReLU, by squares (N, squares, 4), their maxima, the scores."""
        matrix = np.where(self.ties >= 0, self.w[self.ties], 0)  # forced zeros, and shared weights
        h = np.maximum(x @ matrix.T, 0)
        half = self.size // 2
        windows = h.reshape(-1, self.maps, half, 2, half, 2).transpose(0, 1, 2, 4, 3, 5).reshape(len(x), -1, 4)
        q = windows.max(axis=2)
        return windows, q, q @ self.V.T + self.c

    def gradients(self, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray, tuple[np.ndarray, ...]]:
        """The loss, the gradient as it leaves the pooling (N, squares, 4), and those of w, V, c."""
        windows, q, scores = self.forward(x)
        loss, d_scores = cross_entropy(scores, y)
        half = self.size // 2
        spread = self.rule(windows, d_scores @ self.V)
        dh = np.where(windows > 0, spread, 0)  # the way back through ReLU
        dh = dh.reshape(-1, self.maps, half, half, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(len(x), -1)
        dw = fold(dh.T @ x, self.ties, self.w.shape)  # a dense layer's gradient, then: tied entries add up, forced zeros get none
        return loss, spread, (dw, d_scores.T @ q, d_scores.sum(axis=0))

    def fit(self, x: np.ndarray, y: np.ndarray, *, epochs: int, lr: float = 0.05, momentum: float = 0.9, seed: int = 0) -> list[float]:
        """Train on batches of 20; the mean loss of each epoch."""
        rng = np.random.default_rng(seed)
        parameters = (self.w, self.V, self.c)
        velocities = [np.zeros_like(p) for p in parameters]
        history = []
        for _ in range(epochs):
            losses = []
            for batch in np.split(rng.permutation(len(x)), range(20, len(x), 20)):
                loss, _, gradients = self.gradients(x[batch], y[batch])
                losses.append(loss)
                for p, v, gradient in zip(parameters, velocities, gradients):
                    v *= momentum
                    v += gradient
                    p -= lr * v
            history.append(float(np.mean(losses)))
        return history

    def accuracy(self, x: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean(self.forward(x)[2].argmax(axis=1) == y))
