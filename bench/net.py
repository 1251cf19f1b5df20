"""The nets whose whole training steps are timed, each with its batch; the same initial weights and images in every process."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import fastconv as fc
from fastconv import models
from fastconv.layers import Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential

CLASSES = 10


class Net(NamedTuple):
    line: str  # its name
    batch: int
    shape: tuple[int, int, int]  # C, H, W
    build: Callable[[], Layer]

    def model(self, dropout: bool = True) -> Layer:
        """With the same initial weights each time; without dropout, whose masks everybody draws in another way."""
        fc.seed(0)
        model = self.build()
        for layer in () if dropout else model.layers:
            if isinstance(layer, Dropout):
                layer.p = 0.0
        return model

    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """x: (batch, C, H, W) float32, y: (batch,) int64."""
        rng = np.random.default_rng(0)
        return rng.standard_normal((self.batch, *self.shape), np.float32), rng.integers(0, CLASSES, self.batch)

    @property
    def flops(self) -> float:
        """Of the three passes of a step, each counted as the forward pass."""
        return 6 * self.build().summary((self.batch, *self.shape)).macs

    def with_images(self, n: int) -> "Net":
        return self._replace(batch=n)


def _digits() -> Sequential:
    return Sequential(
        *(Conv2d(1, 16, 3, padding=1), ReLU(), MaxPool2d(2)),
        *(Conv2d(16, 32, 3, padding=1), ReLU(), MaxPool2d(2)),
        *(Flatten(), Linear(32 * 2 * 2, CLASSES)),
    )


def _pytorch_mnist() -> Sequential:
    """The net of PyTorch's MNIST example."""
    return Sequential(
        *(Conv2d(1, 32, 3), ReLU(), Conv2d(32, 64, 3), ReLU(), MaxPool2d(2), Dropout(0.25), Flatten()),
        *(Linear(64 * 12 * 12, 128), ReLU(), Dropout(0.5), Linear(128, CLASSES)),
    )


NETS = {
    net.line: net
    for net in (
        Net("digits", 32, (1, 8, 8), _digits),
        Net("lenet5", 64, (1, 28, 28), models.lenet5),
        Net("keras_mnist", 128, (1, 28, 28), models.keras_mnist),
        Net("pytorch_mnist", 64, (1, 28, 28), _pytorch_mnist),
        Net("vgg_small", 64, (3, 32, 32), models.vgg_small),
        Net("resnet20", 128, (3, 32, 32), models.resnet20),
    )
}
