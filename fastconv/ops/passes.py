"""Bound passes: what the passes of an operation need for one geometry, dtype and algorithm, made once; a call only runs.

Public functions and layers validate, then end here. A layer keeps those of the shapes that it meets; all of the same geometry share one.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fastconv.geometry import Geometry, Shares
from fastconv.kernels import table
from fastconv.kernels.elementwise.activations import Add, Map, MapGrad
from fastconv.kernels.elementwise.columns import AddRow, CopyColumns
from fastconv.memory import flat as new_memory
from fastconv.ops import layout

KEPT = 512  # bound passes of each operation, for all layers together


class bound_once:
    """An attribute that is made when it is first read.

    Before Python 3.12 `functools.cached_property` holds a lock meanwhile, which a child forked by another thread would wait for without end. Here two
    threads may both make it, to the same effect.
    """

    def __init__(self, make: Callable[[Any], Any]):
        self.make = make

    def __get__(self, owner: Any, kind: type) -> Any:
        made = vars(owner)[self.make.__name__] = self.make(owner)
        return made


class Convolution:
    """The three passes of a convolution. Activations are arrays of their public shapes, weights and bias flat memory, as `layout` says."""

    def __init__(self, g: Geometry, dtype: np.dtype, algorithm: str):
        self.g, self.dtype, self.algorithm = g, dtype, algorithm
        self.x, self.y = (layout.activation(shape, dtype) for shape in (g.input_shape, g.output_shape))
        self.w = layout.weight(g.weight_shape, dtype)
        self.no_bias = np.zeros(g.OC, dtype)

    def forward(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, relu: bool = False) -> np.ndarray:
        """y = conv(x, w) + b, then max(y, 0) if relu."""
        y, memory = self.y.empty()
        if self.g.N:
            run = self._clamped if relu else self._forward
            run(self.x.flat(x), w, self.no_bias if b is None else b, memory)
        return y

    def input_grad(self, dy: np.ndarray, w: np.ndarray) -> np.ndarray:
        dx, memory = self.x.empty()
        if self.g.N:
            self._input_grad(self.y.flat(dy), w, memory)
        return dx

    def weight_grad(self, x: np.ndarray, dy: np.ndarray, dw: np.ndarray, db: np.ndarray | None, accumulate: bool) -> None:
        """Into dw, and db where it is given: overwriting, or adding to what they hold."""
        if self.g.N:
            run = self._weight_grad if db is None else self._both_grads
            run(self.x.flat(x), self.y.flat(dy), dw, db, accumulate)
        elif not accumulate:
            dw[...] = 0
            if db is not None:
                db[...] = 0

    def bias_grad(self, dy: np.ndarray, db: np.ndarray, accumulate: bool) -> None:
        if self.g.N:
            self._bias_grad(self.y.flat(dy), db, accumulate)
        elif not accumulate:
            db[...] = 0

    def _bind(self, operation: str, *options):
        return table.pick(operation, self.g, self.dtype, self.algorithm).bind(self.g, self.dtype, *options)

    @bound_once
    def _forward(self):
        return self._bind("conv_forward", -np.inf)

    @bound_once
    def _clamped(self):
        return self._bind("conv_forward", 0.0)

    @bound_once
    def _input_grad(self):
        return self._bind("conv_input_grad")

    @bound_once
    def _weight_grad(self):
        return self._bind("conv_weight_grad", False)

    @bound_once
    def _both_grads(self):
        return self._bind("conv_weight_grad", True)

    @bound_once
    def _bias_grad(self):
        return self._bind("bias_grad")


convolution = lru_cache(KEPT)(Convolution)


class Pooling:
    """The passes of max and average pooling over windows: a geometry's, or those of adaptive pooling, which share the input out."""

    def __init__(self, windows: Geometry | Shares, shapes: tuple[tuple[int, ...], tuple[int, ...]], dtype: np.dtype, algorithm: str):
        """shapes: of x and y."""
        self.windows, self.dtype, self.algorithm = windows, dtype, algorithm
        self.prefix, taps = ("", windows.taps) if isinstance(windows, Geometry) else ("adaptive_", math.prod(windows.kernel))
        self.x, self.y = (layout.activation(shape, dtype) for shape in shapes)
        self.argmax = layout.activation(shapes[1], np.min_scalar_type(taps - 1))  # one byte up to 256 taps
        self.averages: dict = {}

    def max(self, x: np.ndarray, relu: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The largest of each window, and which tap it was, in the flat memory of `argmax`. relu: not below 0, and 255 where it is 0."""
        (y, memory), taps = self.y.empty(), new_memory(self.argmax.size, self.argmax.dtype)
        if y.size:
            run = self._clamped_max if relu else self._max
            run(self.x.flat(x), memory, taps)
        return y, taps

    def max_grad(self, dy: np.ndarray, taps: np.ndarray) -> np.ndarray:
        dx, memory = self.x.empty()
        if dx.size:
            self._max_grad(self.y.flat(dy), taps, memory)
        return dx

    def mean(self, x: np.ndarray, *divisors) -> np.ndarray:
        """The sum of each window over its divisor. divisors: (OD, OH, OW), omitted for adaptive windows."""
        y, memory = self.y.empty()
        if y.size:
            self._average("avg_pool", *divisors)(self.x.flat(x), memory)
        return y

    def mean_grad(self, dy: np.ndarray, *divisors) -> np.ndarray:
        dx, memory = self.x.empty()
        if dx.size:
            self._average("avg_pool_grad", *divisors)(self.y.flat(dy), memory)
        return dx

    def _bind(self, operation: str, *options):
        return table.pick(self.prefix + operation, self.windows, self.dtype, self.algorithm).bind(self.windows, self.dtype, *options)

    @bound_once
    def _max(self):
        return self._bind("max_pool", False)

    @bound_once
    def _clamped_max(self):
        return self._bind("max_pool", True)

    @bound_once
    def _max_grad(self):
        return self._bind("max_pool_grad")

    def _average(self, operation: str, *divisors):
        """Divisors are made once for each way of counting, and known by their identity."""
        key = operation, *map(id, divisors)
        if key not in self.averages:
            self.averages[key] = self._bind(operation, *divisors), divisors  # which stay alive with it
        return self.averages[key][0]


pooling = lru_cache(KEPT)(Pooling)


class MapPasses:
    """y = f(x) and its gradient, for a function by its name in `kernels.elementwise.functions`, and its numbers."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, function: str, numbers: tuple[float, float]):
        self.x = layout.activation(shape, dtype)
        self._forward, self._input_grad = (kind(self.x.size, dtype, function, numbers) for kind in (Map, MapGrad))
        self.of = self._input_grad.of

    def forward(self, x: np.ndarray) -> np.ndarray:
        y, memory = self.x.empty()
        if y.size:
            self._forward(self.x.flat(x), memory)
        return y

    def input_grad(self, dy: np.ndarray, v: np.ndarray) -> np.ndarray:
        """dx = dy * f'(x); v: x or y, as `of` says."""
        dx, memory = self.x.empty()
        if dx.size:
            self._input_grad(self.x.flat(dy), self.x.flat(v), memory)
        return dx


map_passes = lru_cache(KEPT)(MapPasses)


def relu_passes(shape: tuple[int, ...], dtype: np.dtype) -> MapPasses:
    return map_passes(shape, dtype, "relu", (0.0, 0.0))


class Columns:
    """Activations of so many channels each, one behind the other along these, and the way back. shape: of all together."""

    def __init__(self, shape: tuple[int, ...], channels: tuple[int, ...], dtype: np.dtype):
        N, C, *extent = shape
        self.y, rows = layout.activation(shape, dtype), N * math.prod(extent)
        self.parts = [layout.activation((N, own, *extent), dtype) for own in channels]
        firsts = [sum(channels[:i]) for i in range(len(channels))]
        self._join = [CopyColumns(rows, own, (own, 0), (C, first), dtype) for own, first in zip(channels, firsts)]
        self._split = [CopyColumns(rows, own, (C, first), (own, 0), dtype) for own, first in zip(channels, firsts)]

    def join(self, xs: Sequence[np.ndarray]) -> np.ndarray:
        y, memory = self.y.empty()
        for x, lies, run in zip(xs, self.parts, self._join):
            run(lies.flat(x), memory)
        return y

    def split(self, dy: np.ndarray, wanted: Sequence[bool]) -> list[np.ndarray | None]:
        """dy's part of each x that is wanted."""
        flat, parts = self.y.flat(dy), []
        for lies, run, wish in zip(self.parts, self._split, wanted):
            part, memory = lies.empty() if wish else (None, None)
            if wish:
                run(flat, memory)
            parts.append(part)
        return parts


columns = lru_cache(KEPT)(Columns)
add_row = lru_cache(KEPT)(AddRow)


class SumPass:
    """y = a + b, and max(y, 0) if relu, whose gradient `relu_passes` gives from y."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype):
        self.y = layout.activation(shape, dtype)
        self._forward = Add(self.y.size, dtype)

    def __call__(self, a: np.ndarray, b: np.ndarray, relu: bool = False) -> np.ndarray:
        y, memory = self.y.empty()
        if y.size:
            self._forward(self.y.flat(a), self.y.flat(b), memory, 0.0 if relu else -np.inf)
        return y


sum_pass = lru_cache(KEPT)(SumPass)
