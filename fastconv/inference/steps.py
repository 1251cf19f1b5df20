"""What a compiled model does in turn. A step knows its options and weights; for a batch size it is bound to the memory that it reads and writes.

Binding runs the step's pass once: what it calls is noted (`kernels.compile.noting`), and a call of the model calls the same again.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.inference.fold import Affine
from fastconv.kernels import table
from fastconv.kernels.compile import Launch, noting
from fastconv.kernels.elementwise.activations import Add as AddPass
from fastconv.kernels.elementwise.activations import Map as MapPass
from fastconv.kernels.elementwise.norm import BatchNorm
from fastconv.kernels.elementwise.norm_plan import Options
from fastconv.kernels.elementwise.transpose import Transpose
from fastconv.kernels.resample import Resample as ResamplePass
from fastconv.layers import Layer
from fastconv.ops.layout import Layout


class Operand(NamedTuple):
    """An array between steps: how it lies, and its flat memory."""

    layout: Layout
    flat: np.ndarray

    @property
    def array(self) -> np.ndarray:
        """In its public shape."""
        return self.layout.view(self.flat)

    @property
    def pixels(self) -> tuple[int, int]:
        """Of an activation (N, C, ...): pixels and channels."""
        C = self.layout.shape[1]
        return self.layout.size // C, C


Call = Launch | tuple[Callable, tuple]  # a launch, or a Python function and its operands


def noted(make: Callable[[], tuple[Callable, tuple]]) -> list[Call]:
    """What the pass calls that `make` binds, with its operands."""
    run, operands = make()  # which may pack weights, once
    with noting() as notes:
        run(*operands)
    return notes.calls


class Step(ABC):
    """One pass or one call; `names` and `text` tell of which layers it was made."""

    def __init__(self, made_of: list[tuple[str, Layer]]):
        self.names = " + ".join(name for name, _ in made_of)
        self.text = " + ".join(type(layer).__name__ if any(layer.children()) else repr(layer) for _, layer in made_of)

    @abstractmethod
    def bind(self, x: list[Operand], y: Operand) -> list[Call]:
        """The calls that compute y from x."""

    def algorithm(self, N: int) -> str:
        """By name; "" where there is no choice."""
        return ""


class Convolve(Step):
    """A convolution or Linear with what was folded into it. w: flat (taps, IC/G, OC), b: (OC,)."""

    def __init__(self, made_of, g: Geometry, weights: tuple[np.ndarray, np.ndarray], relu: bool, algorithm: str):
        super().__init__(made_of)
        self.g, (self.w, self.b), self.chosen = g, weights, algorithm
        self.lower_bound = 0.0 if relu else -math.inf
        self.packed: dict = {}  # weights as passes read them, by their form

    def bind(self, x, y):
        return noted(lambda: self._run(self.g._replace(N=x[0].layout.shape[0]), x[0].flat, y.flat))

    def _run(self, g: Geometry, x: np.ndarray, y: np.ndarray) -> tuple[Callable, tuple]:
        row = self._row(g)
        if row.prepared is None:
            return row.bind(g, self.w.dtype, self.lower_bound), (x, self.w, self.b, y)
        run = row.prepared(g, self.w.dtype, self.lower_bound)
        if run.form not in self.packed:
            self.packed[run.form] = run.pack(self.w)
        return run, (x, self.packed[run.form], self.b, y)

    def _row(self, g: Geometry) -> table.Algorithm:
        return table.pick("conv_forward", g, self.w.dtype, self.chosen)

    def algorithm(self, N):
        return self._row(self.g._replace(N=N)).name


class ConvolveBack(Step):
    """A transposed convolution without bias: the input gradient of the convolution from y to x. w: flat, of that convolution."""

    def __init__(self, made_of, g: Geometry, w: np.ndarray, algorithm: str):
        super().__init__(made_of)
        self.g, self.w, self.chosen = g, w, algorithm

    def bind(self, x, y):
        g = self.g._replace(N=x[0].layout.shape[0])
        return noted(lambda: (self._row(g).bind(g, self.w.dtype), (x[0].flat, self.w, y.flat)))

    def _row(self, g: Geometry) -> table.Algorithm:
        return table.pick("conv_input_grad", g, self.w.dtype, self.chosen)

    def algorithm(self, N):
        return self._row(self.g._replace(N=N)).name


class Normalize(Step):
    """A batch normalization that nothing could take: a scale and a shift, then a ReLU or none. affine None: by the statistics of x itself."""

    def __init__(self, made_of, affine: Affine | None, parameters: tuple, eps: float, relu: bool):
        super().__init__(made_of)
        self.affine, self.parameters, self.eps, self.relu = affine, parameters, eps, relu

    def bind(self, x, y):
        def run_once():
            run = BatchNorm(x[0].pixels, y.flat.dtype, Options(relu=self.relu, of_batch=self.affine is None, eps=self.eps))
            saved = np.empty(2 * x[0].pixels[1]) if self.affine is None else np.concatenate([self.affine.mean, self.affine.rate])
            return run, ((x[0].flat,), self.parameters, y.flat, saved)

        return noted(run_once)


class MaxPool(Step):
    """The largest of each window, not below 0 if relu."""

    def __init__(self, made_of, pool, relu: bool, algorithm: str):
        super().__init__(made_of)
        self.pool, self.relu, self.chosen = pool, relu, algorithm

    def bind(self, x, y):
        passes, _ = self.pool._bind(x[0].array)
        taps = memory.scratch(passes.argmax.size, passes.argmax.dtype, "argmax")
        row = table.pick(passes.prefix + "max_pool", passes.windows, passes.dtype, self.chosen)
        return noted(lambda: (row.bind(passes.windows, passes.dtype, self.relu), (x[0].flat, y.flat, taps)))


class AvgPool(Step):
    """The mean of each window."""

    def __init__(self, made_of, pool, algorithm: str):
        super().__init__(made_of)
        self.pool, self.chosen = pool, algorithm

    def bind(self, x, y):
        passes, divisors = self.pool._bind(x[0].array)
        row = table.pick(passes.prefix + "avg_pool", passes.windows, passes.dtype, self.chosen)
        return noted(lambda: (row.bind(passes.windows, passes.dtype, *divisors), (x[0].flat, y.flat)))


class Map(Step):
    """A function of each element, by name."""

    def __init__(self, made_of, function: str, numbers: tuple[float, float] = (0.0, 0.0)):
        super().__init__(made_of)
        self.function, self.numbers = function, numbers

    def bind(self, x, y):
        return noted(lambda: (MapPass(y.flat.size, y.flat.dtype, self.function, self.numbers), (x[0].flat, y.flat)))


class Resample(Step):
    """Padding or upsampling."""

    def __init__(self, made_of, layer):
        super().__init__(made_of)
        self.layer = layer

    def bind(self, x, y):
        passes = self.layer.passes(x[0].layout.shape, y.flat.dtype)
        return noted(lambda: (ResamplePass(*passes.x.shape[:2], passes.axes, passes.dtype, passes.fill), (x[0].flat, y.flat)))


class Add(Step):
    """The sum of a Residual's two ways, then a ReLU or none."""

    def __init__(self, made_of, relu: bool):
        super().__init__(made_of)
        self.lower_bound = 0.0 if relu else -math.inf

    def bind(self, x, y):
        return noted(lambda: (AddPass(y.flat.size, y.flat.dtype), (x[0].flat, x[1].flat, y.flat, self.lower_bound)))


class Join(Step):
    """The channels of all inputs, one behind the other: a copy each."""

    def bind(self, x, y):
        ends = np.cumsum([operand.layout.shape[1] for operand in x])
        return [(np.copyto, (part, operand.array)) for part, operand in zip(np.split(y.array, ends[:-1], axis=1), x)]


class Combine(Step):
    """A product or difference."""

    def __init__(self, made_of, join):
        super().__init__(made_of)
        self.join = join

    def bind(self, x, y):
        return [(self._call, ([operand.array for operand in x], y.array))]

    def _call(self, xs: list[np.ndarray], y: np.ndarray) -> None:
        np.copyto(y, self.join.forward(xs, False)[0])


class Rows(Step):
    """Flatten, where what follows needs PyTorch's order: from pixels of channels to planes of pixels."""

    def bind(self, x, y):
        N, C = x[0].layout.shape[:2]
        return noted(lambda: (Transpose(N, y.flat.size // (N * C), C, y.flat.dtype), (x[0].flat, y.flat)))


class Ask(Step):
    """A layer that is not known here runs through its own `__call__`."""

    def __init__(self, made_of, layer: Layer):
        super().__init__(made_of)
        self.layer = layer

    def bind(self, x, y):
        return [(self._call, (x[0].array, y.array))]

    def _call(self, x: np.ndarray, y: np.ndarray) -> None:
        found = self.layer(x)
        if not isinstance(found, np.ndarray) or found.shape != y.shape or found.dtype != y.dtype:
            given = f"{found.dtype}{found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
            raise ValueError(f"{self.text}: gives {given} for x{x.shape}, but its output_shape says {y.shape}, and x is {y.dtype}")
        np.copyto(y, found)
