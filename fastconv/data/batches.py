"""Shuffled, shifted batches of a data set."""

from collections.abc import Iterator

import numpy as np

from fastconv import memory, streams
from fastconv.geometry import integer
from fastconv.kernels.batches import take_shifted
from fastconv.ops.operands import dense, floats


class Batches:
    """Iterate over (x, y) once: `for x_batch, y_batch in Batches(x, y, 32): ...`; each iteration is a new order.

    x: (N, C, H, W) images, or any (N, ...) floats if shift is 0; y: (N, ...). shuffle: a random order from `stream` (None: the stream
    of `fastconv.seed`). shift: each image is moved by up to so many pixels in each direction, zeros move in. The last batch may be smaller.
    """

    def __init__(self, x, y, batch_size: int, *, shuffle: bool = True, shift: int = 0, stream: streams.Stream | None = None):
        (x,) = floats("Batches", x=x)
        self.y = np.asarray(y)
        self.batch_size = integer("Batches", "batch_size", batch_size, 1)
        self.shift = integer("Batches", "shift", shift, 0)
        if x.ndim < 2 or len(x) != len(self.y) or not len(x):
            raise ValueError(f"Batches: x and y must have the same length N >= 1, got x{x.shape}, y{self.y.shape}")
        if self.shift and x.ndim != 4:
            raise ValueError(f"Batches: shift needs images (N, C, H, W), got x{x.shape}")
        self.shape = x.shape
        self.shuffle = shuffle
        self.stream = stream or streams.default.fork()
        last = dense(np.moveaxis(x, 1, -1))
        self._pixels = last if x.ndim == 4 else last.reshape(len(x), 1, 1, -1)
        self._last_shape = last.shape[1:]

    def __len__(self) -> int:
        """Batches per iteration."""
        return -(-self.shape[0] // self.batch_size)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        N = self.shape[0]
        random = self.stream.generator()
        order = random.permutation(N) if self.shuffle else np.arange(N)
        shifts = random.integers(-self.shift, self.shift + 1, (N, 2)) if self.shift else np.zeros((N, 2), np.int64)
        for start in range(0, N, self.batch_size):
            chosen = order[start : start + self.batch_size]
            batch = memory.empty((len(chosen), *self._pixels.shape[1:]), self._pixels.dtype)
            take_shifted(batch.size, self._pixels, chosen, shifts[start : start + self.batch_size], batch)
            yield np.moveaxis(batch.reshape(len(chosen), *self._last_shape), -1, 1), self.y[chosen]

    def __repr__(self) -> str:
        return f"Batches({self.shape[0]} examples of {self.shape[1:]}, {self.batch_size} at a time, shift={self.shift})"
