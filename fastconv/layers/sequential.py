"""Layers one after another."""

from collections.abc import Iterator

import numpy as np

from fastconv.geometry import flag
from fastconv.layers.fusion import steps_of
from fastconv.layers.layer import Backward, Layer, once_through, only_layers
from fastconv.layers.parameter import flatten, learn
from fastconv.layers.shortcut import Shortcut, Sum
from fastconv.ops.operands import shape_tuple

SUM = Sum()


def _learns(layer: Layer, step: Backward) -> bool:
    """Whether any parameter that the way back reaches takes a gradient; asked of it where it tells (0.2 us), else of the layer (5 us)."""
    kept = getattr(step, "kept", None)
    return learn(*layer.parameters()) if kept is None else learn(*(p for p, _ in kept))


class Sequential(Layer):
    """y = last(...second(first(x))). Parameter names are PyTorch's: "0.weight", "0.bias", "3.weight", ...

    All parameters move into one flat buffer. Backward with input_grad=False ends at the first layer with a parameter that is not frozen.
    Neighbors that have a common pass run as one, to the same bits; not with fuse=False. A ReLU runs with the max pooling after it, or with the
    convolution, Linear, BatchNorm or Residual before it, a Residual's sum with the BatchNorm that its body ends in.
    """

    def __init__(self, *layers: Layer, fuse: bool = True):
        only_layers("Sequential", "layers", layers)
        self.layers = list(layers)
        self.fuse = flag("Sequential", "fuse", fuse)
        flatten(self.parameters())

    def children(self) -> Iterator[tuple[str, Layer]]:
        return ((str(i), layer) for i, layer in enumerate(self.layers))

    def _steps(self, *after: Sum) -> Iterator[tuple[Layer | Sum, dict]]:
        """What runs in turn, if `after` follow, and the words that its `forward` takes besides."""
        return steps_of([*self.layers, *after]) if self.fuse else ((layer, {}) for layer in (*self.layers, *after))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        for layer, words in self._steps():
            x = layer.forward(x, training=False, **words)[0] if words else layer(x)
        return x

    @property
    def takes_shortcut(self) -> bool:
        """Whether the last layer adds the shortcut of a Residual that has this body: `_forward_to_sum`."""
        own = type(self).forward is Sequential.forward
        return own and bool(self.layers) and all(type(layer) is not Sum for layer, _ in self._steps(SUM))

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        return self._through(x, training, list(self._steps()))

    def _forward_to_sum(self, x: np.ndarray, training: bool, shortcut: Shortcut, relu: bool) -> tuple[np.ndarray, Backward]:
        """`forward`, whose last layer adds the shortcut and, if relu, clamps the sum."""
        *before, (last, words) = self._steps()
        return self._through(x, training, [*before, (last, words | {"shortcut": shortcut, "relu": relu})])

    def _through(self, x: np.ndarray, training: bool, to_run: list[tuple[Layer, dict]]) -> tuple[np.ndarray, Backward]:
        steps: list[tuple[Layer, Backward]] = []
        for layer, words in to_run:
            x, step = layer.forward(x, training, **words)
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
