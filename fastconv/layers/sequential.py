"""Layers one after another."""

from collections.abc import Iterator

import numpy as np

from fastconv.geometry import flag
from fastconv.layers.convolution import Conv1d, Conv2d, Conv3d
from fastconv.layers.layer import Backward, Layer, once, only_layers
from fastconv.layers.parameter import flatten, learn
from fastconv.layers.simple import ReLU
from fastconv.ops.operands import shape_tuple


class Sequential(Layer):
    """y = last(...second(first(x))). Parameter names are PyTorch's: "0.weight", "0.bias", "3.weight", ...

    All parameters move into one flat buffer. Backward with input_grad=False ends at the first layer with a parameter that is not frozen.
    A convolution and the ReLU behind it run as one, to the same bits; not with fuse=False.
    """

    def __init__(self, *layers: Layer, fuse: bool = True):
        only_layers("Sequential", "layers", layers)
        self.layers = list(layers)
        self.fuse = flag("Sequential", "fuse", fuse)
        flatten(self.parameters())

    def children(self) -> Iterator[tuple[str, Layer]]:
        return ((str(i), layer) for i, layer in enumerate(self.layers))

    def _steps(self) -> Iterator[tuple[Layer, bool]]:
        """What runs in turn: a layer, and whether the ReLU behind it runs with it."""
        layers = iter(zip(self.layers, [*self.layers[1:], None]))
        for layer, behind in layers:
            fused = self.fuse and type(layer) in (Conv1d, Conv2d, Conv3d) and type(behind) is ReLU
            yield layer, fused
            if fused:
                next(layers)

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
            first = next((i for i, (layer, _) in enumerate(steps) if learn(*layer.parameters())), len(steps))
            while len(steps) > (0 if input_grad else first):
                asked = input_grad or len(steps) - 1 > first
                gradient = steps[-1][1](gradient, asked)
                steps.pop()  # with it go the arrays that the layer had saved
            return gradient if input_grad else None

        return x, once(backward, x, *self.parameters())

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
