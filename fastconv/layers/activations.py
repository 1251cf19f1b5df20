"""Functions of each element, and softmax along an axis. ReLU is in `simple`."""

import numpy as np

from fastconv.geometry import flag, number, shown
from fastconv.layers.bound import BoundPasses
from fastconv.layers.layer import Backward, Layer, once_of
from fastconv.layers.simple import ReLU
from fastconv.ops.operands import FLOATS, floats, shape_tuple
from fastconv.ops.passes import map_passes
from fastconv.ops.softmax import axis, softmax_passes


class Activation(Layer):
    """y = f(x), element by element, of a function in the table of `kernels.elementwise.functions`. x: float32 or float64 of any shape.

    inplace: as of `ReLU`.
    """

    function: str
    numbers = (0.0, 0.0)  # the function's own

    def __init__(self, inplace: bool = False):
        self.inplace = flag(type(self).__name__, "inplace", inplace)
        self._passes = BoundPasses()

    recorded = ReLU.recorded

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        if type(x) is not np.ndarray or x.dtype not in FLOATS:
            (x,) = floats(type(self).__name__, x=x)
        passes = self._passes.of((x.shape, x.dtype), lambda: map_passes(x.shape, x.dtype, self.function, self.numbers))
        y = passes.forward(x)
        kept = y if passes.of == "y" else x
        return y, once_of(lambda dy, input_grad=True: passes.input_grad(dy, kept) if input_grad else None, y)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape_tuple(type(self).__name__, "input_shape", input_shape)


class LeakyReLU(Activation):
    """y = x where x > 0, else negative_slope * x (Maas et al. 2013). negative_slope: at least 0; inplace: as of `ReLU`."""

    function = "leaky_relu"

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        super().__init__(inplace)
        self.negative_slope = number("LeakyReLU", "negative_slope", negative_slope)
        self.numbers = self.negative_slope, 0.0

    def describe(self) -> str:
        return f"{self.negative_slope}"


class ELU(Activation):
    """y = x where x > 0, else alpha * (exp(x) - 1) (Clevert et al. 2016). alpha: at least 0; inplace: as of `ReLU`."""

    function = "elu"

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        super().__init__(inplace)
        self.alpha = number("ELU", "alpha", alpha)
        self.numbers = self.alpha, 0.0

    def describe(self) -> str:
        return f"{self.alpha}"


class Sigmoid(Activation):
    """y = 1 / (1 + exp(-x)), for negative x exp(x) / (1 + exp(x)): no overflow, and no 1 that swallows the digits. dy/dx = y * (1 - y)"""

    function = "sigmoid"


class Tanh(Activation):
    """y = tanh(x). dy/dx = 1 - y^2"""

    function = "tanh"


class SiLU(Activation):
    """y = x / (1 + exp(-x)) (Elfwing et al. 2018), also known as Swish."""

    function = "silu"


class Hardswish(Activation):
    """y = x * min(max(x + 3, 0), 6) / 6 (Howard et al. 2019)."""

    function = "hardswish"


class GELU(Activation):
    """y = x * Phi(x), Phi(x) = (1 + erf(x / sqrt(2))) / 2, the normal distribution (Hendrycks and Gimpel 2016), to 5 ulp, far below 0 too.

    approximate: "none", or "tanh": y = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))), as networks were trained that used it.
    """

    def __init__(self, approximate: str = "none"):
        super().__init__()
        if not isinstance(approximate, str) or approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate must be 'none' or 'tanh', got {shown(approximate)}")
        self.approximate, self.function = approximate, "gelu" if approximate == "none" else "gelu_tanh"

    def describe(self) -> str:
        return "" if self.approximate == "none" else f"approximate={self.approximate!r}"


class Softplus(Activation):
    """y = log(1 + exp(beta * x)) / beta, and x itself where beta * x > threshold (Dugas et al. 2001). beta: above 0; threshold: at least 0."""

    function = "softplus"

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        super().__init__()
        self.beta, self.threshold = number("Softplus", "beta", beta), number("Softplus", "threshold", threshold)
        if not self.beta:
            raise ValueError(f"Softplus: beta must be above 0, got {beta}")
        self.numbers = self.beta, self.threshold

    def describe(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class _OverAxis(Layer):
    """dim: the axis over which the sum runs, negative from the end; 1 is that of the classes, (N, K), or channels."""

    log: bool

    def __init__(self, dim: int = 1):
        self._passes = BoundPasses()
        self.dim = axis(type(self).__name__, dim)

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        op = type(self).__name__
        if type(x) is not np.ndarray or x.dtype not in FLOATS:
            (x,) = floats(op, x=x)
        passes = self._passes.of((x.shape, x.dtype), lambda: softmax_passes(x.shape, x.dtype, axis(op, self.dim, x.shape), self.log))
        y = passes.forward(x)
        return y, once_of(lambda dy, input_grad=True: passes.input_grad(dy, y) if input_grad else None, y)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        op = type(self).__name__
        shape = shape_tuple(op, "input_shape", input_shape)
        axis(op, self.dim, shape)
        return shape

    def describe(self) -> str:
        return f"dim={self.dim}"


class Softmax(_OverAxis):
    """y = exp(x) / sum of exp(x) along the axis dim (negative: from the end), of x of any size. To train, use scores and `losses.cross_entropy`."""

    log = False


class LogSoftmax(_OverAxis):
    """y = x - log(sum of exp(x)) along the axis dim (negative: from the end), of x of any size."""

    log = True
