"""What has several inputs: sums, products, concatenation. `y, backward = join.forward(xs, training)`; backward(dy, wanted) gives a gradient for each.

A `Layer` has one input; joins are what runs between layers where the `forward` of a `Module` says `x + y` or `cat([x, y])`. They have no parameters.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from fastconv.kernels.compile import each_time
from fastconv.layers.norm import _BatchNorm
from fastconv.layers.parameter import Parameter, learn
from fastconv.layers.shortcut import Shortcut
from fastconv.ops.layout import activation
from fastconv.ops.operands import floats
from fastconv.ops.passes import columns, relu_passes, sum_pass

Ways = Callable[[np.ndarray, Sequence[bool]], Sequence[np.ndarray | None]]


class Join(ABC):
    """A sum, a product, ...: one object for all places where it stands."""

    @abstractmethod
    def forward(self, xs: Sequence[np.ndarray], training: bool) -> tuple[np.ndarray, Ways]:
        """The output, and the way back: a gradient for each x that is wanted."""

    @abstractmethod
    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """ValueError where forward would raise."""

    def parameters(self) -> list[Parameter]:
        return []

    def children(self) -> tuple:
        return ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Sum(Join):
    """y = a + b, of one shape. relu: y = max(y, 0)."""

    def forward(self, xs, training, *, relu: bool = False):
        a, b = floats("sum", left=xs[0], right=xs[1])
        shape = self.output_shape(a.shape, b.shape)
        y = sum_pass(shape, a.dtype)(a, b, relu)

        def backward(dy, wanted):
            if relu:
                dy = relu_passes(shape, y.dtype).input_grad(dy, y)  # once for both
            return dy, dy

        return y, backward

    def output_shape(self, *shapes):
        if shapes[0] != shapes[1]:
            raise ValueError(f"sum: {shapes[0]} and {shapes[1]} must have the same shape to be added")
        return shapes[0]


class NormSum(Sum):
    """bn(x) + other in one pass of the normalization, as the table of fusions has it."""

    def __init__(self, norm: _BatchNorm):
        self.norm = norm

    def parameters(self):
        return self.norm.parameters()

    def forward(self, xs, training, *, relu: bool = False):
        shortcut = Shortcut(xs[1])
        self.output_shape(xs[0].shape, xs[1].shape)
        y, norm_backward = self.norm.forward(xs[0], training, relu=relu, shortcut=shortcut)
        shortcut.value = None  # nobody needs it any more

        def backward(dy, wanted):
            dx = norm_backward(dy, wanted[0]) if wanted[0] or learn(self.norm.weight, self.norm.bias) else None
            if relu and wanted[1]:
                dy = relu_passes(y.shape, y.dtype).input_grad(dy, y) if shortcut.gradient is None else shortcut.gradient
            return dx, dy

        backward.kept = getattr(norm_backward, "kept", None)  # where it tells
        return y, backward


class Concatenation(Join):
    """One behind the other along the channels, which alone may differ."""

    def forward(self, xs, training):
        xs = floats("Concat", **{f"branch {i}": x for i, x in enumerate(xs)})
        passes = columns(self.output_shape(*[x.shape for x in xs]), tuple([x.shape[1] for x in xs]), xs[0].dtype)
        return passes.join(xs), passes.split

    def output_shape(self, *shapes):
        if min(map(len, shapes)) < 2:
            raise ValueError(f"Concat: the branches must give (N, C, ...), there are no channels in {', '.join(map(str, shapes))}")
        if len({(shape[:1], shape[2:]) for shape in shapes}) > 1:
            raise ValueError(f"Concat: the branches give {', '.join(map(str, shapes))}; only channels may differ")
        return (shapes[0][0], sum(shape[1] for shape in shapes), *shapes[0][2:])


class Elementwise(Join):
    """Of two values whose extents are equal or 1, which is repeated: (N, C, H, W) and (N, C, 1, 1)."""

    def output_shape(self, *shapes):
        a, b = shapes
        if len(a) != len(b) or a[:1] != b[:1] or any(m != n and 1 not in (m, n) for m, n in zip(a, b)):
            raise ValueError(f"{type(self).__name__.lower()}: {a} and {b} must have the same shape, but for extents of 1")
        return tuple(map(max, a, b))


class Product(Elementwise):
    """y = a * b"""

    def forward(self, xs, training):
        a, b = floats("product", left=xs[0], right=xs[1])
        shape = self.output_shape(a.shape, b.shape)

        def backward(dy, wanted):
            da = _summed(_of(np.multiply, shape, dy, b), a.shape) if wanted[0] else None
            return da, _summed(_of(np.multiply, shape, dy, a), b.shape) if wanted[1] else None

        return _of(np.multiply, shape, a, b), backward


class Difference(Elementwise):
    """y = a - b"""

    def forward(self, xs, training):
        a, b = floats("difference", left=xs[0], right=xs[1])
        shape = self.output_shape(a.shape, b.shape)

        def backward(dy, wanted):
            return _summed(dy, a.shape), _summed(_of(np.negative, shape, dy), b.shape) if wanted[1] else None

        return _of(np.subtract, shape, a, b), backward


def _of(function: np.ufunc, shape: tuple[int, ...], *operands: np.ndarray) -> np.ndarray:
    result, _ = activation(shape, operands[0].dtype).empty()
    return each_time(function, *operands, result)


def _summed(gradient: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Over the axes along which a value was repeated, in float64."""
    axes = tuple(i for i, (many, own) in enumerate(zip(gradient.shape, shape)) if many != own)
    if not axes:
        return gradient
    result, _ = activation(shape, gradient.dtype).empty()

    def add_up(gradient: np.ndarray, result: np.ndarray) -> None:
        result[...] = gradient.sum(axis=axes, keepdims=True, dtype=np.float64)

    each_time(add_up, gradient, result)
    return result


SUM, CONCATENATION, PRODUCT, DIFFERENCE = Sum(), Concatenation(), Product(), Difference()
