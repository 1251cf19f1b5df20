"""Layers one after another."""

from collections.abc import Iterator

import numpy as np

from fastconv.geometry import flag
from fastconv.layers.convolution import Conv1d, Conv2d, Conv3d
from fastconv.layers.layer import Backward, Layer, once_through, only_layers
from fastconv.layers.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from fastconv.layers.parameter import flatten, learn
from fastconv.layers.pooling import MaxPool1d, MaxPool2d, MaxPool3d
from fastconv.layers.simple import Linear, ReLU
from fastconv.ops.operands import shape_tuple

TAKE_RELU = Conv1d, Conv2d, Conv3d, Linear, BatchNorm1d, BatchNorm2d, BatchNorm3d
POOLS = MaxPool1d, MaxPool2d, MaxPool3d


def _learns(layer: Layer, step: Backward) -> bool:
    """Whether any parameter that the way back reaches takes a gradient; asked of it where it tells (0.2 us), else of the layer (5 us)."""
    kept = getattr(step, "kept", None)
    return learn(*layer.parameters()) if kept is None else learn(*(p for p, _ in kept))


class Sequential(Layer):
    """y = last(...second(first(x))). Parameter names are PyTorch's: "0.weight", "0.bias", "3.weight", ...

    All parameters move into one flat buffer. Backward with input_grad=False ends at the first layer with a parameter that is not frozen.
    A ReLU runs with the max pooling after it, or with the convolution, Linear or BatchNorm before it, to the same bits; not with fuse=False.
    """

    def __init__(self, *layers: Layer, fuse: bool = True):
        only_layers("Sequential", "layers", layers)
        self.layers = list(layers)
        self.fuse = flag("Sequential", "fuse", fuse)
        flatten(self.parameters())

    def children(self) -> Iterator[tuple[str, Layer]]:
        return ((str(i), layer) for i, layer in enumerate(self.layers))

    def _steps(self) -> Iterator[tuple[Layer, bool]]:
        """What runs in turn: a layer, and whether a ReLU runs with it: before a max pooling, else after a layer that can clamp what it stores."""
        layers, i = self.layers, 0
        while i < len(layers):
            layer, after = layers[i], layers[i + 1] if i + 1 < len(layers) else None
            if self.fuse and type(layer) is ReLU and type(after) in POOLS and after.takes_relu:
                yield after, True
                i += 2
            elif self.fuse and type(layer) in TAKE_RELU and type(after) is ReLU:
                pool = layers[i + 2] if i + 2 < len(layers) else None
                inside = type(pool) in POOLS and pool.takes_relu  # then the pooling is the next step
                yield layer, not inside
                i += 1 if inside else 2
            else:
                yield layer, False
                i += 1

    def __call__(self, x: np.ndarray) -> np.ndarray:
        for layer, fused in self._steps():
            x = layer.forward(x, training=False, relu=True)[0] if fused else layer(x)
        return x

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        steps: list[tuple[Layer, Backward]] = []
        for layer, fused in self._steps():
            x, step = layer.forward(x, training, relu=True) if fused else layer.forward(x, training)
            steps.append((layer, step))

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            gradient: np.ndarray | None = dy
            first = next((i for i, (layer, step) in enumerate(steps) if _learns(layer, step)), len(steps))
            while len(steps) > (0 if input_grad else first):
                asked = input_grad or len(steps) - 1 > first
                gradient = steps[-1][1](gradient, asked)
                steps.pop()  # with it go the arrays that the layer had saved
            return gradient if input_grad else None

        return x, once_through(steps, backward, x)

    def inner(self, input_shape: tuple[int, ...]) -> Iterator[tuple[str, Layer, tuple[int, ...]]]:
        for name, layer in self.children():
            yield name, layer, input_shape
            input_shape = layer.output_shape(input_shape)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        input_shape = shape_tuple("Sequential", "input_shape", input_shape)
        for layer in self.layers:
            input_shape = layer.output_shape(input_shape)
        return input_shape

    def __getitem__(self, index: int) -> Layer:
        return self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.children()]
        return "Sequential(\n  " + "\n  ".join(lines) + "\n)" if lines else "Sequential()"
