"""Layers one after another."""

from collections.abc import Iterator

import numpy as np

from fastconv.layers.layer import Backward, Layer, once
from fastconv.layers.parameter import flatten


class Sequential(Layer):
    """y = last(...second(first(x))). Parameter names are PyTorch's: "0.weight", "0.bias", "3.weight", ...

    All parameters move into one flat buffer. Backward with input_grad=False ends at the first layer that has parameters.
    """

    def __init__(self, *layers: Layer):
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                hint = ": write Sequential(*layers)" if isinstance(layer, (list, tuple)) else ""
                raise TypeError(f"Sequential: argument {i} is not a Layer but a {type(layer).__name__}{hint}")
        self.layers = list(layers)
        flatten(self.parameters())

    def children(self) -> Iterator[tuple[str, Layer]]:
        return ((str(i), layer) for i, layer in enumerate(self.layers))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        for layer in self.layers:
            x = layer(x)
        return x

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        steps: list[Backward] = []
        for layer in self.layers:
            x, step = layer.forward(x, training)
            steps.append(step)
        first = next((i for i, layer in enumerate(self.layers) if layer.parameters()), len(steps))

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            gradient: np.ndarray | None = dy
            while len(steps) > (0 if input_grad else first):
                asked = input_grad or len(steps) - 1 > first
                gradient = steps[-1](gradient, asked)
                steps.pop()  # with it go the arrays that the layer had saved
            return gradient if input_grad else None

        return x, once(backward, x, *self.parameters())

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
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
