"""Batch normalization: one class, three ranks."""

import numpy as np

from fastconv.geometry import bind, flag, integer, number
from fastconv.layers.bound import BoundPasses
from fastconv.layers.initial import float_dtype
from fastconv.layers.layer import Backward, Layer, once_of
from fastconv.layers.parameter import Buffer, Parameter, add_gradients
from fastconv.layers.shortcut import Shortcut, check_sum
from fastconv.ops.norm import Kept, Normalization, Options, normalization
from fastconv.ops.operands import floats, of_layer, shape_tuple


class _BatchNorm(Layer):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, channel by channel (Ioffe and Szegedy 2015), with PyTorch's names and statistics.

    In training, mean and variance are the batch's, and running averages of them are kept, the variance's unbiased (over M - 1):
    running = (1 - momentum) * running + momentum * batch's; momentum None: the average of all batches. Otherwise, and if the
    layer is frozen, the running ones are used, and stay.
    """

    axes: tuple[str, ...]  # that x may have

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, *, dtype=np.float32):
        op = type(self).__name__
        self.num_features = integer(op, "num_features", num_features, 1)
        self.eps, self.momentum = number(op, "eps", eps), None if momentum is None else number(op, "momentum", momentum)
        if not self.eps:
            raise ValueError(f"{op}: eps must be above 0, got {eps!r}")
        if momentum is not None and self.momentum > 1:
            raise ValueError(f"{op}: momentum must be from 0 to 1 or None, got {momentum!r}")
        dtype = float_dtype(op, dtype)
        self.weight = self.bias = self.running_mean = None
        self._passes = BoundPasses()
        if flag(op, "affine", affine):
            self.weight, self.bias = Parameter(np.ones(num_features, dtype)), Parameter(np.zeros(num_features, dtype))
        if flag(op, "track_running_stats", track_running_stats):
            self.running_mean, self.running_var = Buffer(np.zeros(num_features, dtype)), Buffer(np.ones(num_features, dtype))
            self.num_batches_tracked = Buffer(np.array(0, np.int64))

    def forward(self, x: np.ndarray, training: bool = True, *, relu: bool = False, shortcut: Shortcut | None = None) -> tuple[np.ndarray, Backward]:
        """shortcut: y + shortcut.value, as `Residual` asks; relu: y = max(y, 0), as `Sequential` asks where a ReLU follows; before y is stored."""
        if relu is not True and relu is not False:
            relu = flag(type(self).__name__, "relu", relu)
        if type(x) is not np.ndarray or x.dtype is not self.dtype:
            x = self._checked(x)
        of_batch = self.running_mean is None or (training and not (self.running_mean.frozen or self.running_var.frozen))
        plus = None if shortcut is None else self._plus(x, shortcut)
        key = x.shape, x.dtype, of_batch, relu, plus is not None
        passes = self._passes.of(key, lambda: self._bind(x, Options(relu, plus is not None, of_batch, self.eps)))
        if of_batch and training and x.size == self.num_features:
            op = type(self).__name__
            raise ValueError(f"{op}: one element per channel has no variance to train with, got x{x.shape}: use larger batches or training=False")
        parameters = () if self.weight is None else (self.weight.memory, self.bias.memory)
        saved = np.empty(2 * self.num_features)
        y = passes.forward(x, parameters, saved, self._running(), plus)
        kept = Kept(x, parameters, saved, y if passes.masked else None)

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            dx = shortcut_grad = None

            def both(dweight: np.ndarray, dbias: np.ndarray | None, accumulate: bool) -> None:
                nonlocal dx, shortcut_grad
                gradients = dweight, np.empty_like(dweight) if dbias is None else dbias
                dx, shortcut_grad = passes.backward(dy, kept, gradients, accumulate, input_grad)

            def bias_alone(dbias: np.ndarray, accumulate: bool) -> None:
                both(np.zeros_like(dbias), dbias, accumulate)

            learned = add_gradients(self.weight, self.bias, both, bias_alone)
            if input_grad and not learned:
                dx, shortcut_grad = passes.backward(dy, kept)
            if shortcut is not None:
                shortcut.gradient = shortcut_grad
            return dx

        return y, once_of(backward, y, self.weight, self.bias)

    def _checked(self, x) -> np.ndarray:
        op = type(self).__name__
        if self.dtype is not None:
            of_layer(op, x, self.dtype)
        return floats(op, x=x)[0]

    def _plus(self, x: np.ndarray, shortcut: Shortcut) -> np.ndarray:
        """What is added to x when it is normalized; TypeError or ValueError where it cannot be."""
        if not isinstance(shortcut, Shortcut):
            raise TypeError(f"{type(self).__name__}: shortcut must be a Shortcut, got {type(shortcut).__name__}")
        check_sum(x.shape, shortcut.value.shape)
        return shortcut.value if shortcut.value.dtype is x.dtype else floats(type(self).__name__, x=x, shortcut=shortcut.value)[1]

    def _bind(self, x: np.ndarray, options: Options) -> Normalization:
        self._check_shape(x.shape)
        return normalization(x.shape, x.dtype, options)

    def _running(self) -> tuple:
        """What the pass of a batch changes where it lies, and the others read; nothing where the layer keeps none."""
        if self.running_mean is None:
            return ()
        momentum = -1.0 if self.momentum is None else self.momentum
        return self.running_mean.value, self.running_var.value, self.num_batches_tracked.value.reshape(1), momentum

    @property
    def dtype(self) -> np.dtype | None:
        """What x must have; None where nothing is kept that has one."""
        if self.weight is not None:
            return self.weight.dtype
        return None if self.running_mean is None else self.running_mean.value.dtype

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
    """Batch normalization of x: (N, C) or (N, C, W). Returns the same shape."""

    axes = ("N C", "N C W")


class BatchNorm2d(_BatchNorm):
    """Batch normalization of x: (N, C, H, W). weight, bias, running_mean, running_var: (C,), num_batches_tracked: int64. Returns the same shape."""

    axes = ("N C H W",)


class BatchNorm3d(_BatchNorm):
    """Batch normalization of x: (N, C, D, H, W). Returns the same shape."""

    axes = ("N C D H W",)
