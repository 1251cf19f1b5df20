"""The nets whose whole training steps are timed, each with its batch; the same initial weights and images in every process."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import fastconv as fc
from fastconv import models
from fastconv.layers import (
    AdaptiveAvgPool1d,
    BatchNorm1d,
    Concat,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool1d,
    MaxPool2d,
    ReLU,
    Sequential,
)

CLASSES = 10


class Net(NamedTuple):
    line: str  # its name
    batch: int
    shape: tuple[int, ...]  # of an image: C, H, W
    build: Callable[[], Layer]
    loss: str = "cross_entropy"

    def model(self, dropout: bool = True) -> Layer:
        """With the same initial weights each time; without dropout, whose masks everybody draws in another way."""
        fc.seed(0)
        model = self.build()
        for layer in () if dropout else model.layers:
            if isinstance(layer, Dropout):
                layer.p = 0.0
        return model

    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """x: (batch, C, H, W) float32, y: (batch,) int64 or, for the squared error, what the net returns."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.batch, *self.shape), np.float32)
        if self.loss == "cross_entropy":
            return x, rng.integers(0, CLASSES, self.batch)
        return x, rng.standard_normal(self.build().output_shape(x.shape), np.float32)

    @property
    def flops(self) -> float:
        """Of the three passes of a step, each counted as the forward pass."""
        return 6 * self.build().summary((self.batch, *self.shape)).macs

    @property
    def bytes(self) -> float:
        """Of the arrays that a step cannot do without: outputs of convolutions, linear layers and pools, and their gradients."""
        rows = self.build().summary((self.batch, *self.shape)).rows
        return 2 * sum(row.bytes for row in rows if row.macs or "Pool" in row.layer)

    def with_images(self, n: int) -> "Net":
        return self._replace(batch=n)


def settled(model: Layer, seed: int = 0) -> Layer:
    """A model as training leaves it, without training: statistics, weights and biases of that kind, nothing is 0 or 1."""
    rng, state = np.random.default_rng(seed), model.state_dict()
    for name, value in state.items():
        if name.endswith("running_var"):
            state[name] = rng.uniform(0.5, 2, value.shape).astype(value.dtype)
        elif value.ndim == 1:
            state[name] = rng.normal(0.5, 0.5, value.shape).astype(value.dtype)
    model.load_state_dict(state)
    return model


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


def _dqn() -> Sequential:
    """Four frames of a game to the worth of each move (Mnih et al. 2013)."""
    return Sequential(
        *(Conv2d(4, 16, 8, stride=4), ReLU(), Conv2d(16, 32, 4, stride=2), ReLU(), Flatten()),
        *(Linear(32 * 9 * 9, 256), ReLU(), Linear(256, CLASSES)),
    )


def _mobilenet() -> Sequential:
    return models.mobilenet_v1(3, 96, CLASSES, width=0.25)


def _unet() -> Sequential:
    """One step down and up again, with a skip connection (Ronneberger et al. 2015): an image to an image."""
    deep = (MaxPool2d(2), Conv2d(16, 32, 3, padding=1), ReLU(), Conv2d(32, 32, 3, padding=1), ReLU(), ConvTranspose2d(32, 16, 2, stride=2))
    return Sequential(
        *(Conv2d(1, 16, 3, padding=1), ReLU(), Conv2d(16, 16, 3, padding=1), ReLU()),
        Concat(Sequential(), Sequential(*deep)),
        *(Conv2d(32, 16, 3, padding=1), ReLU(), Conv2d(16, 1, 1)),
    )


def _signals() -> Sequential:
    """For 1-D signals: sound, sensors, an electrocardiogram."""
    body, before = [], 1
    for channels in (16, 32, 64):
        body += [Conv1d(before, channels, 9, padding=4, bias=False), BatchNorm1d(channels), ReLU(), MaxPool1d(4)]
        before = channels
    return Sequential(*body, AdaptiveAvgPool1d(1), Flatten(), Linear(before, CLASSES))


TUNED = ("digits", "lenet5", "keras_mnist", "pytorch_mnist", "vgg_small", "resnet20")  # those that kernels are chosen for
NETS = {
    net.line: net
    for net in (
        Net("digits", 32, (1, 8, 8), _digits),
        Net("lenet5", 64, (1, 28, 28), models.lenet5),
        Net("keras_mnist", 128, (1, 28, 28), models.keras_mnist),
        Net("pytorch_mnist", 64, (1, 28, 28), _pytorch_mnist),
        Net("vgg_small", 64, (3, 32, 32), models.vgg_small),
        Net("resnet20", 128, (3, 32, 32), models.resnet20),
        Net("mobilenet", 16, (3, 96, 96), _mobilenet),
        Net("ds_cnn", 64, (1, 49, 10), models.ds_cnn),
        Net("dqn", 32, (4, 84, 84), _dqn),
        Net("resnet8", 64, (3, 32, 32), models.resnet8),
        Net("unet", 8, (1, 64, 64), _unet, "mse"),
        Net("signals", 64, (1, 1024), _signals),
    )
}
