"""Layers side by side: skip connections and concatenation."""

from collections.abc import Iterator
from functools import reduce

import numpy as np

from fastconv.geometry import flag
from fastconv.layers.joins import CONCATENATION
from fastconv.layers.layer import Backward, Layer, once_through, only_layers
from fastconv.layers.shortcut import Shortcut, check_sum
from fastconv.ops.operands import floats, shape_tuple
from fastconv.ops.passes import relu_passes, sum_pass


class Residual(Layer):
    """y = body(x) + shortcut(x), shortcut None: x itself (He et al. 2015). x: whatever both take; they return the same shape."""

    def __init__(self, body: Layer, shortcut: Layer | None = None):
        for name, part in (("body", body), ("shortcut", shortcut)):
            if not isinstance(part, Layer) and not (name == "shortcut" and part is None):
                raise TypeError(f"Residual: {name} must be a Layer, got {type(part).__name__}")
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: np.ndarray, training: bool = True, *, relu: bool = False) -> tuple[np.ndarray, Backward]:
        """relu: y = max(y, 0) before it is stored, as `Sequential` asks where a ReLU follows."""
        if relu is not True and relu is not False:
            relu = flag("Residual", "relu", relu)
        if type(x) is not np.ndarray:
            (x,) = floats("Residual", x=x)
        around, shortcut_backward = (x, None) if self.shortcut is None else self.shortcut.forward(x, training)
        shortcut, merged = Shortcut(around), getattr(self.body, "takes_shortcut", False)
        if merged:
            y, body_backward = self.body._forward_to_sum(x, training, shortcut, relu)
            shortcut.value = None  # nobody needs it any more
        else:
            through, body_backward = self.body.forward(x, training)
            check_sum(through.shape, around.shape)
            through, around = floats("Residual", body=through, shortcut=around)
            y = sum_pass(through.shape, through.dtype)(through, around, relu)
        clamped = relu_passes(y.shape, y.dtype) if relu else None
        steps = [(self.body, body_backward)] + ([] if shortcut_backward is None else [(self.shortcut, shortcut_backward)])

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            if clamped and not merged:
                dy = clamped.input_grad(dy, y)  # once for both branches
            dx = body_backward(dy, input_grad)
            if clamped and merged:  # the body has clamped, if it has run: frozen, it may not
                dy = clamped.input_grad(dy, y) if shortcut.gradient is None else shortcut.gradient
            more = dy if shortcut_backward is None else shortcut_backward(dy, input_grad)
            return sum_pass(dx.shape, dx.dtype)(dx, more) if input_grad else None

        return y, once_through(steps, backward, y)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        input_shape = shape_tuple("Residual", "input_shape", input_shape)
        shapes = self.body.output_shape(input_shape), input_shape if self.shortcut is None else self.shortcut.output_shape(input_shape)
        check_sum(*shapes)
        return shapes[0]


class Concat(Layer):
    """The outputs of all branches, one behind the other along the channels. x: whatever all take; only their channels may differ."""

    def __init__(self, *branches: Layer):
        if not branches:
            raise ValueError("Concat: needs at least one branch")
        only_layers("Concat", "branches", branches)
        self.branches = list(branches)

    def named_children(self) -> Iterator[tuple[str, Layer]]:
        return ((str(i), branch) for i, branch in enumerate(self.branches))

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        outputs, backwards = zip(*(branch.forward(x, training) for branch in self.branches))
        y, split = CONCATENATION.forward(outputs, training)

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            parts = [step(part, input_grad) for step, part in zip(backwards, split(dy, [True] * len(backwards)))]
            return reduce(lambda a, b: sum_pass(a.shape, a.dtype)(a, b), parts) if input_grad else None

        return y, once_through(list(zip(self.branches, backwards)), backward, y)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return CONCATENATION.output_shape(*[branch.output_shape(input_shape) for branch in self.branches])

    def describe(self) -> str:
        return ", ".join(map(repr, self.branches))
