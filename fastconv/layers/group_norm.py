"""Normalizations by each image's own statistics, the same in training and in inference."""

import math
from abc import abstractmethod

import numpy as np

from fastconv.geometry import bind, flag, integer, number
from fastconv.kernels.compile import each_time
from fastconv.layers.bound import BoundPasses
from fastconv.layers.initial import float_dtype
from fastconv.layers.layer import Backward, Layer, once_of
from fastconv.layers.parameter import Parameter, learn
from fastconv.ops.group_norm import GroupNormalization, LayerNormalization, group_normalization, layer_normalization
from fastconv.ops.norm import AXES
from fastconv.ops.operands import FLOATS, dense, floats, of_layer, shape_tuple


class OwnStatistics(Layer):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, mean and (biased) variance of x itself, over what the layer says."""

    def __init__(self, shape: tuple[int, ...], eps, affine: bool, bias: bool, dtype):
        op = type(self).__name__
        self.eps, dtype = number(op, "eps", eps), float_dtype(op, dtype)
        if not self.eps:
            raise ValueError(f"{op}: eps must be above 0, got {eps!r}")
        self.weight = Parameter(np.ones(shape, dtype)) if affine else None
        self.bias = Parameter(np.zeros(shape, dtype)) if affine and bias else None
        self._passes = BoundPasses()

    @abstractmethod
    def _bind(self, shape: tuple[int, ...], dtype: np.dtype) -> GroupNormalization | LayerNormalization:
        """The passes for x of a shape that was checked."""

    @abstractmethod
    def _check_shape(self, shape: tuple[int, ...]) -> None:
        """ValueError for an x that does not fit."""

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        if type(x) is not np.ndarray or x.dtype not in FLOATS or (self.weight is not None and x.dtype is not self.weight.dtype):
            if self.weight is not None:
                of_layer(type(self).__name__, x, self.weight.dtype)
            (x,) = floats(type(self).__name__, x=x)
        passes = self._passes.of((x.shape, x.dtype), lambda: self._check_shape(x.shape) or self._bind(x.shape, x.dtype))
        parameters, saved = self._in_memory(passes), np.empty(passes.saved)
        y = passes.forward(x, parameters, saved)

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            learned = learn(self.weight, self.bias)
            if not (learned or input_grad):
                return None
            dx, dweight, dbias = passes.backward(dy, x, parameters, saved, input_grad, learned)
            for p, gradient in ((self.weight, dweight), (self.bias, dbias)) if learned else ():
                if p is not None:
                    each_time(p.add_grad, self._in_shape(passes, gradient))
            return dx

        return y, once_of(backward, y, self.weight, self.bias)

    def _in_memory(self, passes) -> tuple:
        """weight and bias as kernels take them, or nothing"""
        if self.weight is None:
            return ()
        return self.weight.memory, np.zeros_like(self.weight.memory) if self.bias is None else self.bias.memory

    def _in_shape(self, passes, gradient: np.ndarray) -> np.ndarray:
        return gradient

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        shape = shape_tuple(type(self).__name__, "input_shape", input_shape)
        self._check_shape(shape)
        return shape


class GroupNorm(OwnStatistics):
    """Group normalization (Wu and He 2018) of x: (N, C, ...): statistics of each image and group of C / num_groups neighboring channels.

    weight, bias: (C,), one for each channel, unless affine=False. ValueError where num_groups does not divide num_channels. Returns the same shape.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *, dtype=np.float32):
        self.num_groups, self.num_channels = integer("GroupNorm", "num_groups", num_groups, 1), integer("GroupNorm", "num_channels", num_channels, 1)
        if self.num_channels % self.num_groups:
            raise ValueError(f"GroupNorm: num_channels={num_channels} must be divisible by num_groups={num_groups}")
        super().__init__((self.num_channels,), eps, flag("GroupNorm", "affine", affine), True, dtype)

    def _bind(self, shape, dtype):
        return group_normalization(shape, dtype, self.num_groups, self.eps)

    def _check_shape(self, shape):
        bind("GroupNorm", x=(shape, AXES[min(max(len(shape) - 2, 0), 3)]), layer=((self.num_channels,), "C"))

    def describe(self) -> str:
        return f"{self.num_groups}, {self.num_channels}{_changed(self.eps, self.weight)}"


class _InstanceNorm(OwnStatistics):
    """Instance normalization (Ulyanov et al. 2016): statistics of each image and channel. Without parameters unless affine=True."""

    axes: str

    def __init__(self, num_features: int, eps: float = 1e-5, *, affine: bool = False, track_running_stats: bool = False, dtype=np.float32):
        op = type(self).__name__
        self.num_features = integer(op, "num_features", num_features, 1)
        if flag(op, "track_running_stats", track_running_stats):
            raise ValueError(f"{op}: track_running_stats must be False: each image has its own statistics; BatchNorm{op[-2:]} keeps running ones")
        super().__init__((self.num_features,), eps, flag(op, "affine", affine), True, dtype)

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        if type(x) is not np.ndarray:
            (x,) = floats(type(self).__name__, x=x)
        if training and x.ndim > 2 and math.prod(x.shape[2:]) == 1:
            raise ValueError(f"{type(self).__name__}: one position per channel has no variance to train with, got x{x.shape}")
        return super().forward(x, training)

    def _bind(self, shape, dtype):
        return group_normalization(shape, dtype, self.num_features, self.eps)

    def _check_shape(self, shape):
        bind(type(self).__name__, x=(shape, self.axes), layer=((self.num_features,), "C"))

    def describe(self) -> str:
        return f"{self.num_features}{_changed(self.eps)}{'' if self.weight is None else ', affine=True'}"


class InstanceNorm1d(_InstanceNorm):
    """Instance normalization (Ulyanov et al. 2016) of x: (N, C, W): statistics of each image and channel. weight, bias: (C,), if affine."""

    axes = "N C W"


class InstanceNorm2d(_InstanceNorm):
    """Instance normalization (Ulyanov et al. 2016) of x: (N, C, H, W): statistics of each image and channel. weight, bias: (C,), if affine."""

    axes = "N C H W"


class InstanceNorm3d(_InstanceNorm):
    """Instance normalization (Ulyanov et al. 2016) of x: (N, C, D, H, W): statistics of each image and channel. weight, bias: (C,), if affine."""

    axes = "N C D H W"


class LayerNorm(OwnStatistics):
    """Layer normalization (Ba et al. 2016) over the last axes of x, whose extents are normalized_shape: an integer for the last axis alone.

    weight, bias: of normalized_shape, unless elementwise_affine=False; bias=False: no bias. Returns the same shape. Memory stays channels-last where
    all axes but the first are normalized; elsewhere the rows that are normalized lie in one piece.
    """

    def __init__(self, normalized_shape, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True, *, dtype=np.float32):
        shape = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape = tuple(integer("LayerNorm", f"normalized_shape[{i}]", extent, 1) for i, extent in enumerate(shape))
        if not self.normalized_shape:
            raise ValueError("LayerNorm: normalized_shape must have at least 1 axis, got ()")
        shape_tuple("LayerNorm", "normalized_shape", self.normalized_shape)
        affine, bias = flag("LayerNorm", "elementwise_affine", elementwise_affine), flag("LayerNorm", "bias", bias)
        super().__init__(self.normalized_shape, eps, affine, bias, dtype)

    def _bind(self, shape, dtype):
        return layer_normalization(shape, dtype, len(self.normalized_shape), self.eps)

    def _check_shape(self, shape):
        if shape[-len(self.normalized_shape) :] != self.normalized_shape:
            raise ValueError(f"LayerNorm: x{shape} must end in normalized_shape={self.normalized_shape}")

    def _in_memory(self, passes):
        return tuple(dense(p.reshape(self.normalized_shape).transpose(passes.order)).reshape(-1) for p in super()._in_memory(passes))

    def _in_shape(self, passes, gradient):
        memory_shape = [self.normalized_shape[axis] for axis in passes.order]
        return gradient.reshape(memory_shape).transpose(np.argsort(passes.order))

    def describe(self) -> str:
        shape = self.normalized_shape if len(self.normalized_shape) > 1 else self.normalized_shape[0]
        no_bias = ", bias=False" if self.weight is not None and self.bias is None else ""
        return f"{shape}{_changed(self.eps)}{'' if self.weight is not None else ', elementwise_affine=False'}{no_bias}"


def _changed(eps: float, *affine: Parameter | None) -> str:
    """The words of a repr for what is not the default."""
    return f"{'' if eps == 1e-5 else f', eps={eps}'}{', affine=False' if None in affine else ''}"
