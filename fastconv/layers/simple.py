"""Linear, ReLU, Flatten, Dropout."""

import math

import numpy as np

from fastconv import streams
from fastconv.geometry import Geometry, bind, flag, integer
from fastconv.kernels.compile import each_time
from fastconv.kernels.table import chosen
from fastconv.layers.bound import BoundPasses
from fastconv.layers.initial import generator, weight_and_bias
from fastconv.layers.layer import Backward, Layer, once_of
from fastconv.layers.parameter import add_gradients
from fastconv.layers.recorded import Recorded
from fastconv.ops.elementwise import drop, probability
from fastconv.ops.layout import activation
from fastconv.ops.linear import linear_geometry, linear_passes
from fastconv.ops.operands import FLOATS, dense, floats, of_layer, shape_tuple
from fastconv.ops.passes import Convolution, relu_passes
from fastconv.reflexes import answered


class Linear(Layer):
    """y = x w^T + b on the convolution's kernels. weight: (out_features, in_features), bias: (out_features,). x: (N, in_features)."""

    @answered("Layer")
    def __init__(self, in_features, out_features, bias=True, *, dtype=np.float32, rng: np.random.Generator | None = None):
        self.in_features = integer("Linear", "in_features", in_features, 1)
        self.out_features = integer("Linear", "out_features", out_features, 1)
        sizes = {"in_features": self.in_features, "out_features": self.out_features}
        biases = self.out_features if flag("Linear", "bias", bias) else 0
        self.weight, self.bias = weight_and_bias("Linear", (self.out_features, self.in_features), biases, dtype, rng, **sizes)
        self._passes = BoundPasses()

    def forward(self, x: np.ndarray, training: bool = True, *, relu: bool = False) -> tuple[np.ndarray, Backward]:
        """relu: y = max(y, 0) before it is stored, as `Sequential` asks where a ReLU follows."""
        if relu is not True and relu is not False:
            relu = flag("Linear", "relu", relu)
        if type(x) is not np.ndarray or x.dtype is not self.weight.dtype:
            of_layer("Linear", x, self.weight.dtype)
            x = np.asarray(x)
        passes = self._passes.of((x.shape, chosen.get()), lambda: self._bind(x))
        w = self.weight.memory
        y = passes.forward(x, w, None if self.bias is None else self.bias.memory, relu)
        clamped = y if relu else None

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            if clamped is not None:
                dy = relu_passes(clamped.shape, clamped.dtype).input_grad(dy, clamped)
            add_gradients(self.weight, self.bias, lambda *into: passes.weight_grad(x, dy, *into), lambda *into: passes.bias_grad(dy, *into))
            return passes.input_grad(dy, w) if input_grad else None

        return y, once_of(backward, y, self.weight, self.bias)

    def _bind(self, x: np.ndarray) -> Convolution:
        bind("linear", x=(x.shape, "N I"), w=(self.weight.shape, "O I"))
        return linear_passes(x, self.out_features)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.geometry(input_shape).output_shape

    def geometry(self, input_shape: tuple[int, ...]) -> Geometry:
        """This layer as a convolution of images without extent, rank 0: one pixel, one tap."""
        input_shape = shape_tuple("Linear", "input_shape", input_shape, "N I")
        bind("Linear", x=(input_shape, "N I"), layer=((self.in_features,), "I"))
        return linear_geometry(*input_shape, self.out_features)

    def describe(self) -> str:
        return f"{self.in_features}, {self.out_features}{', bias=False' if self.bias is None else ''}"


class ReLU(Layer):
    """y = max(x, 0). The gradient passes where not (y <= 0).

    inplace: in the `forward` of a `Module`, every name of x then has y, as in PyTorch. Arrays are never written: memory is recycled as it is.
    """

    def __init__(self, inplace: bool = False):
        self.inplace = flag("ReLU", "inplace", inplace)
        self._passes = BoundPasses()

    def recorded(self, x: Recorded) -> Recorded:
        y = x.through(self)
        return x.become(y) if self.inplace else y

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        if type(x) is not np.ndarray or x.dtype not in FLOATS:
            (x,) = floats("ReLU", x=x)
        passes = self._passes.of((x.shape, x.dtype), lambda: relu_passes(x.shape, x.dtype))
        y = passes.forward(x)
        return y, once_of(lambda dy, input_grad=True: passes.input_grad(dy, y) if input_grad else None, y)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape_tuple("ReLU", "input_shape", input_shape)


class Flatten(Layer):
    """(N, C, spatial...) -> (N, C * positions), in PyTorch's order: all positions of channel 0 first. (N,) -> (N, 1)."""

    def __init__(self):
        self._passes = BoundPasses()

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        (x,) = floats("Flatten", x=x)
        if not x.ndim:
            raise ValueError("Flatten: x must have at least 1 axis (N, ...), got x()")
        shape = x.shape
        y = self._passes.of((shape, x.dtype), lambda: activation(shape, x.dtype)).rows(x)

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            return dense(dy).reshape(shape) if input_grad else None

        return y, once_of(backward, y)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        shape = shape_tuple("Flatten", "input_shape", input_shape)
        if not shape:
            raise ValueError("Flatten: x must have at least 1 axis (N, ...), got x()")
        return (shape[0], math.prod(shape[1:]))


class Dropout(Layer):
    """In training, zero each element with probability p and scale the others by 1 / (1 - p); else nothing.

    Element i of forward pass k is decided by number i of stream (seed, k): the same bits on any number of threads, and again
    after the stream's state was restored. inplace: as of `ReLU`.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, *, rng: np.random.Generator | None = None):
        op = type(self).__name__
        self.p, self.inplace = probability(op, p), flag(op, "inplace", inplace)
        rng = generator(op, rng)
        self.stream = streams.default.fork() if rng is None else streams.Stream(int(rng.integers(2**63)))

    recorded = ReLU.recorded

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        (x,) = floats("Dropout", x=x)
        if not training or self.p == 0:
            return x, once_of(lambda dy, input_grad=True: dy if input_grad else None, x)
        key, p = self._drawn(), self.p
        y = drop(x, p, key)

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            return drop(dy, p, key) if input_grad else None

        return y, once_of(backward, y)

    def _drawn(self) -> np.ndarray:
        """The key of a pass, in an array: another one each time."""
        key = np.empty(1, np.uint64)
        each_time(lambda: key.fill(self.stream.key()))
        return key

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape_tuple("Dropout", "input_shape", input_shape)

    def describe(self) -> str:
        return f"{self.p}"
