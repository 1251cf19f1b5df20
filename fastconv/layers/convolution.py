"""Convolution layers: one class, three ranks."""

import numpy as np

from fastconv.geometry import Geometry, bind, conv_geometry, flag, integer, padding_pairs, padding_word, spatial
from fastconv.kernels.table import algorithm as using
from fastconv.kernels.table import checked_name, chosen, pick
from fastconv.layers.bound import BoundPasses, Options
from fastconv.layers.initial import weight_and_bias
from fastconv.layers.layer import Backward, Layer, once_of
from fastconv.layers.parameter import add_gradients
from fastconv.ops.convolution import bind_forward, conv_words
from fastconv.ops.operands import of_layer, shape_tuple
from fastconv.ops.passes import Convolution, relu_passes
from fastconv.reflexes import answered

PASSES = ("conv_forward", "conv_input_grad", "conv_weight_grad")
DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "padding_mode": "zeros", "output_padding": 0}


class _Conv(Layer):
    rank: int

    @answered("Layer")
    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True, padding_mode="zeros", *,
        algorithm="auto", dtype=np.float32, rng: np.random.Generator | None = None,
    ):  # fmt: skip
        op = type(self).__name__
        self.algorithm = checked_name(f"{op}: algorithm", algorithm)
        self.in_channels = integer(op, "in_channels", in_channels, 1)
        self.out_channels = integer(op, "out_channels", out_channels, 1)
        self.kernel_size = spatial(op, "kernel_size", kernel_size, self.rank)
        self.words = {"stride": stride, "padding": padding, "dilation": dilation, "groups": integer(op, "groups", groups, 1)}
        self.words = Options(self.words, padding_mode=padding_word(op, padding_mode))
        for name, channels in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if channels % groups:
                raise ValueError(f"{op}: {name}={channels} is not divisible by groups={groups}")
        # A bad stride, padding or dilation is better told here than at the first batch.
        strides, dilations = (spatial(op, name, self.words[name], self.rank) for name in ("stride", "dilation"))
        padding_pairs(op, padding, self.kernel_size, strides, dilations, (1,) * self.rank)
        biases = self.out_channels if flag(op, "bias", bias) else 0
        sizes = {name: getattr(self, name) for name in ("in_channels", "out_channels", "kernel_size")} | {"groups": groups}
        self.weight, self.bias = weight_and_bias(op, self.weight_shape(), biases, dtype, rng, **sizes)
        self._passes = BoundPasses()

    def weight_shape(self) -> tuple[int, ...]:
        return (self.out_channels, self.in_channels // self.words["groups"], *self.kernel_size)

    def forward(self, x: np.ndarray, training: bool = True, *, relu: bool = False) -> tuple[np.ndarray, Backward]:
        """relu: y = max(y, 0) before it is stored, as `Sequential` asks where a ReLU follows."""
        x, passes = self.bound(x)
        x = passes.x.laid(x)  # once for both passes that read it
        w = self.weight.memory
        y = passes.forward(x, w, None if self.bias is None else self.bias.memory, relu)
        clamped = y if relu else None

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            if clamped is not None:
                dy = relu_passes(clamped.shape, clamped.dtype).input_grad(dy, clamped)
            add_gradients(self.weight, self.bias, lambda *into: passes.weight_grad(x, dy, *into), lambda *into: passes.bias_grad(dy, *into))
            return passes.input_grad(dy, w) if input_grad else None

        return y, once_of(backward, y, self.weight, self.bias)

    def bound(self, x: np.ndarray) -> tuple[np.ndarray, Convolution]:
        """x as an array, and the passes for its shape."""
        if type(x) is not np.ndarray or x.dtype is not self.weight.dtype:
            of_layer(type(self).__name__, x, self.weight.dtype)
            x = np.asarray(x)
        name = self._algorithm()
        return x, self._passes.of((x.shape, name), lambda: self._bind_by(name, x))

    def _algorithm(self) -> str:
        """The layer's own, or what `fc.algorithm` says now."""
        return chosen.get() if self.algorithm == "auto" else self.algorithm

    def _bind_by(self, name: str, x: np.ndarray) -> Convolution:
        with using(name):
            return self._bind(x)

    def _bind(self, x: np.ndarray) -> Convolution:
        op = type(self).__name__
        words = conv_words(op, self.rank, *(self.words[name] for name in ("stride", "padding", "dilation", "groups", "padding_mode")))
        return bind_forward(op, self.rank, x, self.weight.shape, None if self.bias is None else self.bias.shape, words)

    def geometry(self, input_shape: tuple[int, ...]) -> Geometry:
        """All extents of this convolution for an input of this shape; ValueError where forward would raise."""
        N, IC, extent = self.input_extents(input_shape)
        return conv_geometry(type(self).__name__, N, IC, self.out_channels, extent, self.kernel_size, **self.words)

    def algorithms(self, input_shape: tuple[int, ...]) -> str:
        g, dtype, name = self.geometry(input_shape), self.weight.dtype, self._algorithm()
        return ", ".join(dict.fromkeys(pick(operation, g, dtype, name).name for operation in PASSES))

    def input_extents(self, input_shape: tuple[int, ...]) -> tuple[int, int, tuple[int, ...]]:
        """N, IC and the spatial extents; ValueError where they do not fit the layer."""
        axes = " ".join(("N", "IC", *("ID", "IH", "IW")[3 - self.rank :]))
        op = type(self).__name__
        input_shape = shape_tuple(op, "input_shape", input_shape, axes)
        bind(op, x=(input_shape, axes), layer=((self.in_channels,), "IC"))
        N, IC, *extent = input_shape
        return N, IC, tuple(extent)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.geometry(input_shape).output_shape

    def describe(self) -> str:
        changed = "".join(f", {name}={value!r}" for name, value in self.words.items() if value != DEFAULTS[name])
        changed += ", bias=False" if self.bias is None else ""
        changed += "" if self.algorithm == "auto" else f", algorithm={self.algorithm!r}"
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}{changed}"


class Conv1d(_Conv):
    """`ops.conv1d` with a weight (OC, IC/groups, KW) and a bias (OC,). padding also "causal". x: (N, IC, IW) -> (N, OC, OW)."""

    rank = 1


class Conv2d(_Conv):
    """`ops.conv2d` with a weight (OC, IC/groups, KH, KW) and a bias (OC,), initialized as PyTorch does. x: (N, IC, IH, IW) -> (N, OC, OH, OW).

    kernel_size, stride, dilation: an int or one per dimension; padding: also (before, after) pairs, "same", "valid"; padding_mode: "zeros",
    "reflect", "replicate" or "circular"; algorithm: "auto" (what `fastconv.algorithm` says), or one for this layer: "direct" keeps it from
    Winograd's, whose rounding, NaN and Inf reach neighbors; dtype float32 or float64; rng: a NumPy generator to draw the initial values from (None:
    the stream that `fastconv.seed` starts).
    """

    rank = 2


class Conv3d(_Conv):
    """`ops.conv3d` with a weight (OC, IC/groups, KD, KH, KW) and a bias (OC,). x: (N, IC, ID, IH, IW) -> (N, OC, OD, OH, OW)."""

    rank = 3
