"""The values that a `Module`'s `forward` computes with: the methods and operators of a tensor, as far as a net needs them."""

import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NoReturn

import numpy as np

from fastconv import reflexes
from fastconv.geometry import described, whole
from fastconv.layers.activations import Sigmoid, Tanh
from fastconv.layers.adaptive import AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d
from fastconv.layers.joins import DIFFERENCE, PRODUCT, SUM
from fastconv.layers.parameter import Parameter
from fastconv.layers.recorded import Recorded
from fastconv.layers.reshape import Reshape, Rows, Scale
from fastconv.layers.simple import Flatten, ReLU

RELU, SIGMOID, TANH, FLATTEN = ReLU(), Sigmoid(), Tanh(), Flatten()
MEANS = {1: AdaptiveAvgPool1d(1), 2: AdaptiveAvgPool2d(1), 3: AdaptiveAvgPool3d(1)}  # over so many spatial axes
OPERATORS = {np.add: operator.add, np.subtract: operator.sub, np.multiply: operator.mul, np.true_divide: operator.truediv}
rows, reshape, scale = (lru_cache(128)(kind) for kind in (Rows, Reshape, Scale))


class Traced(Recorded):
    """A value of the pass that is being recorded. It has a shape, and no numbers until `forward` has returned."""

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.record.shape(self.number)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def dim(self) -> int:
        return self.ndim

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one of its extents."""
        return self.shape if dim is None else self.shape[dim]

    def relu(self) -> "Traced":
        return RELU(self)

    def sigmoid(self) -> "Traced":
        return SIGMOID(self)

    def tanh(self) -> "Traced":
        return TANH(self)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> "Traced":
        """(N, C, spatial...) -> (N, C * positions): `x.flatten(1)`."""
        if whole("flatten", "start_dim", start_dim) != 1 or whole("flatten", "end_dim", end_dim) != -1:
            raise ValueError(f"flatten: the first axis stays the batch's: write x.flatten(1), got start_dim={start_dim}, end_dim={end_dim}")
        return FLATTEN(self)

    def view(self, *shape: int | Sequence[int]) -> "Traced":
        """`x.view(-1, features)`, `x.view(N, C, H, W)`; N must be the batch's, or -1."""
        extents = list(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else list(shape)
        extents = [whole("view", f"shape[{i}]", extent) for i, extent in enumerate(extents)]
        if len(extents) < 2 or (extents[0] != -1 and extents[0] != self.shape[0]):
            raise ValueError(f"view: the first axis stays the batch's: write x.view(-1, features), got {tuple(extents)} for x{self.shape}")
        if len(extents) > 2:
            return reshape(*extents[1:])(self)
        return FLATTEN(self) if extents[1] == -1 else rows(extents[1])(self)

    reshape = view

    def mean(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> "Traced":
        """Over all spatial axes: `x.mean((2, 3))` is (N, C)."""
        dims = [] if dim is None else [whole("mean", "dim", each) for each in (dim if isinstance(dim, (tuple, list)) else [dim])]
        ndim, spatial = self.ndim, tuple(range(2, self.ndim))
        if tuple(sorted(each + ndim * (each < 0) for each in dims)) != spatial or len(spatial) not in MEANS:
            hint = f"write x.mean({spatial if ndim > 3 else 2})" if len(spatial) in MEANS else "it must have 1 to 3"
            raise ValueError(f"mean: over all spatial axes of x{self.shape} at once: {hint}, got dim={dim}")
        y = MEANS[len(dims)](self)
        return y if keepdim else y.flatten(1)

    def __add__(self, other: Any) -> "Traced":
        return self.through(SUM, other) if isinstance(other, Traced) else scale(1.0, _number("+", other))(self)

    def __sub__(self, other: Any) -> "Traced":
        return self.through(DIFFERENCE, other) if isinstance(other, Traced) else scale(1.0, -_number("-", other))(self)

    def __rsub__(self, other: Any) -> "Traced":
        return scale(-1.0, _number("-", other))(self)

    def __mul__(self, other: Any) -> "Traced":
        return self.through(PRODUCT, other) if isinstance(other, Traced) else scale(_number("*", other))(self)

    def __pow__(self, exponent: Any) -> "Traced":
        if whole("**", "exponent", exponent) != 2:
            raise ValueError(f"**: a traced value has its square alone, x ** 2, got x ** {exponent}: write a product, or a Layer")
        return self * self

    def __truediv__(self, other: Any) -> "Traced":
        return scale(1 / _number("/", other))(self)

    def __neg__(self) -> "Traced":
        return scale(-1.0)(self)

    def __iadd__(self, other: Any) -> Any:
        return self.become(self + other)

    def __isub__(self, other: Any) -> Any:
        return self.become(self - other)

    def __imul__(self, other: Any) -> Any:
        return self.become(self * other)

    __radd__, __rmul__ = __add__, __mul__

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(reflexes.answer("traced", "a traced value", name))

    def __array_ufunc__(self, ufunc, method, *operands, **words) -> Any:
        """`np.sqrt(0.5) * x`: NumPy's numbers are as good as Python's."""
        name = f"np.{ufunc.__name__}"
        if method != "__call__" or ufunc not in OPERATORS or words:
            _no_numbers(name)
        return OPERATORS[ufunc](*[operand if isinstance(operand, Traced) else _number(name, operand) for operand in operands])

    def __array_function__(self, function, *args) -> NoReturn:
        _no_numbers(f"np.{function.__name__}")

    def __array__(self, *args, **words) -> NoReturn:
        _no_numbers("np.asarray")

    def __bool__(self) -> NoReturn:
        _no_numbers("bool")

    def __float__(self) -> NoReturn:
        _no_numbers("float")

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> NoReturn:
        _no_numbers("iteration")

    def __getitem__(self, index) -> NoReturn:
        _no_numbers("x[...]")

    def __repr__(self) -> str:
        return f"Traced(shape={self.shape})"


def _no_numbers(what: str) -> NoReturn:
    raise TypeError(
        f"{what}: a traced value has a shape, but no numbers until forward has returned: use layers (self.conv(x)), functions of "
        "fastconv.functional, +, -, *, x.flatten(1), x.mean((2, 3)), or write a Layer, whose forward is given arrays"
    )


def _number(op: str, other: Any) -> float:
    """The other operand as a number. TypeError for an array, which no gradient would reach."""
    if isinstance(other, Parameter):
        raise TypeError(f"{op}: a Parameter is used outside of a layer: write a Layer, whose backward adds to its gradient")
    if isinstance(other, (bool, np.bool_)) or not isinstance(other, (int, float, np.integer, np.floating)):
        raise TypeError(f"{op}: a traced value goes together with others and with numbers, got {described(other)}: make it an input of forward")
    return float(other)
