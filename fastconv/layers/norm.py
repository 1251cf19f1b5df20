"""Batch normalisation: one class, three ranks."""

import numpy as np

from fastconv import ops
from fastconv.geometry import bind, flag, integer, number
from fastconv.layers.initial import float_dtype
from fastconv.layers.layer import Backward, Layer, once
from fastconv.layers.parameter import Buffer, Parameter
from fastconv.ops.operands import floats, of_layer, shape_tuple


class _BatchNorm(Layer):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, channel by channel (Ioffe and Szegedy 2015), with PyTorch's names and statistics.

    In training, mean and variance are the batch's, and running averages of them are kept, the variance's without bias:
    running = (1 - momentum) * running + momentum * batch's; momentum None: the average of all batches. Otherwise, and if the
    layer is frozen, the running ones are used, and stay.
    """

    axes: tuple[str, ...]  # that x may have

    def __init__(self, num_features, *, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, dtype=np.float32):
        op = type(self).__name__
        self.num_features = integer(op, "num_features", num_features, 1)
        self.eps, self.momentum = number(op, "eps", eps), None if momentum is None else number(op, "momentum", momentum)
        if not self.eps:
            raise ValueError(f"{op}: eps must be above 0, got {eps!r}")
        if momentum is not None and self.momentum > 1:
            raise ValueError(f"{op}: momentum must be from 0 to 1 or None, got {momentum!r}")
        dtype = float_dtype(op, dtype)
        self.weight = self.bias = self.running_mean = None
        if flag(op, "affine", affine):
            self.weight, self.bias = Parameter(np.ones(num_features, dtype)), Parameter(np.zeros(num_features, dtype))
        if flag(op, "track_running_stats", track_running_stats):
            self.running_mean, self.running_var = Buffer(np.zeros(num_features, dtype)), Buffer(np.ones(num_features, dtype))
            self.num_batches_tracked = Buffer(np.array(0, np.int64))

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        op = type(self).__name__
        if self.dtype is not None:
            of_layer(op, x, self.dtype)
        (x,) = floats(op, x=x)
        self._check_shape(x.shape)
        of_batch = self.running_mean is None or (training and not (self.running_mean.frozen or self.running_var.frozen))
        if not x.size:
            mean, variance = np.zeros(self.num_features), np.ones(self.num_features)
        elif of_batch:
            M = x.size // self.num_features
            if M == 1 and training:
                raise ValueError(f"{op}: one number a channel has no variance to train with, got x{x.shape}: use larger batches or training=False")
            mean, variance = ops.batch_statistics(x)
            if self.running_mean is not None:
                self._track(mean, variance * M / (M - 1))
        else:
            mean, variance = self.running_mean.value.copy(), self.running_var.value.copy()  # the way back is of these, whatever is written there
        weight, bias = (None, None) if self.weight is None else (self.weight.value, self.bias.value)
        y = ops.batch_norm(x, mean, variance, weight, bias, eps=self.eps)

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            dx, dweight, dbias = ops.batch_norm_grad(dy, x, mean, variance, weight, eps=self.eps, of_batch=of_batch)
            if self.weight is not None:
                self.weight.add_grad(dweight)
                self.bias.add_grad(dbias)
            return dx if input_grad else None

        return y, once(backward, y, self.weight, self.bias)

    def _track(self, mean: np.ndarray, variance: np.ndarray) -> None:
        """Into new arrays: whoever holds the old ones has the statistics of the step before."""
        count = self.num_batches_tracked.value + 1
        momentum = 1 / int(count) if self.momentum is None else self.momentum
        for buffer, batch in ((self.running_mean, mean), (self.running_var, variance)):
            buffer.value = ((1 - momentum) * buffer.value + momentum * batch).astype(buffer.value.dtype)
        self.num_batches_tracked.value = np.array(count, np.int64)

    @property
    def dtype(self) -> np.dtype | None:
        """What x must have; None where nothing is kept that has one."""
        held = self.weight or self.running_mean
        return held and held.value.dtype

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        shape = shape_tuple(type(self).__name__, "input_shape", input_shape)
        self._check_shape(shape)
        return shape

    def _check_shape(self, input_shape: tuple[int, ...]) -> None:
        axes = next((axes for axes in self.axes if len(axes.split()) == len(input_shape)), self.axes[-1])
        bind(type(self).__name__, x=(input_shape, axes), layer=((self.num_features,), "C"))

    def describe(self) -> str:
        words = {"eps": 1e-5, "momentum": 0.1}
        changed = "".join(f", {name}={getattr(self, name)}" for name, usual in words.items() if getattr(self, name) != usual)
        affine, tracks = self.weight is not None, self.running_mean is not None
        return f"{self.num_features}{changed}{'' if affine else ', affine=False'}{'' if tracks else ', track_running_stats=False'}"


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of x: (N, C) or (N, C, W). Returns the same shape."""

    axes = ("N C", "N C W")


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of x: (N, C, H, W). weight, bias, running_mean, running_var: (C,), num_batches_tracked: int64. Returns the same shape."""

    axes = ("N C H W",)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of x: (N, C, D, H, W). Returns the same shape."""

    axes = ("N C D H W",)
