"""Transposed convolution layers: one class, three ranks."""

from functools import partial

import numpy as np

from fastconv.geometry import Geometry, shown, spatial, transposed_geometry, transposed_words
from fastconv.layers.bound import Options
from fastconv.layers.convolution import _Conv
from fastconv.layers.layer import Backward, once_of
from fastconv.layers.parameter import add_gradients
from fastconv.ops.convolution import sum_dy
from fastconv.ops.passes import Convolution
from fastconv.ops.transposed import add_bias, checked_options, transposed_passes
from fastconv.reflexes import answered


class _ConvTranspose(_Conv):
    @answered("Layer")
    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True, dilation=1,
        padding_mode="zeros", *, algorithm="auto", dtype=np.float32, rng: np.random.Generator | None = None,
    ):  # fmt: skip
        op = type(self).__name__
        kernel = spatial(op, "kernel_size", kernel_size, self.rank)
        if not isinstance(padding_mode, str) or padding_mode != "zeros":
            raise ValueError(f'{op}: padding_mode must be "zeros", a transposed convolution has no other; got {shown(padding_mode)}')
        transposed_words(op, kernel, stride, padding, output_padding, dilation)
        words = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        super().__init__(in_channels, out_channels, kernel, **words, bias=bias, algorithm=algorithm, dtype=dtype, rng=rng)
        kept = {name: value for name, value in self.words.items() if name != "padding_mode"}
        self.words = Options(kept, output_padding=output_padding)

    def weight_shape(self) -> tuple[int, ...]:
        return (self.in_channels, self.out_channels // self.words["groups"], *self.kernel_size)

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        x, passes = self.bound(x)  # of the convolution from y to x
        w, bias_grad = self.weight.memory, partial(sum_dy, algorithm=passes.algorithm)
        y = add_bias(passes.input_grad(x, w), None if self.bias is None else self.bias.memory)

        def weight_grad(dy: np.ndarray, dw: np.ndarray, db: np.ndarray | None, accumulate: bool) -> None:
            passes.weight_grad(dy, x, dw, None, accumulate)
            if db is not None:
                bias_grad(dy, db, accumulate)

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            add_gradients(self.weight, self.bias, partial(weight_grad, dy), partial(bias_grad, dy))
            return passes.forward(dy, w, None) if input_grad else None

        return y, once_of(backward, y, self.weight, self.bias)

    def _bind(self, x: np.ndarray) -> Convolution:
        op, names = type(self).__name__, ("stride", "padding", "output_padding", "output_size", "groups", "dilation")
        words = checked_options(op, self.rank, *((self.words | {"output_size": None})[name] for name in names))
        return transposed_passes(op, self.rank, x.dtype, (x.shape, self.weight.shape, None if self.bias is None else self.bias.shape, None), *words)

    def geometry(self, input_shape: tuple[int, ...]) -> Geometry:
        """All extents of the convolution from y to x, for an x of this shape; ValueError where forward would raise."""
        N, IC, extent = self.input_extents(input_shape)
        return transposed_geometry(type(self).__name__, N, IC, self.out_channels, extent, self.kernel_size, **self.words, output_size=None)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.geometry(input_shape).input_shape


class ConvTranspose1d(_ConvTranspose):
    """`ops.conv_transpose1d` with a weight (IC, OC/groups, KW) and a bias (OC,). x: (N, IC, IW) -> (N, OC, OW)."""

    rank = 1


class ConvTranspose2d(_ConvTranspose):
    """`ops.conv_transpose2d` with a weight (IC, OC/groups, KH, KW) and a bias (OC,), initialized as PyTorch does.

    x: (N, IC, IH, IW) -> (N, OC, OH, OW), OH = (IH - 1) * stride - before - after + dilation * (KH - 1) + output_padding + 1.
    kernel_size, stride, dilation, output_padding (smaller than stride or dilation): an int or one per dimension; padding: also (before,
    after) pairs; algorithm: as of `Conv2d`; dtype float32 or float64; rng: a NumPy generator to draw the initial values from (None: the stream that
    `fastconv.seed` starts).
    """

    rank = 2


class ConvTranspose3d(_ConvTranspose):
    """`ops.conv_transpose3d` with a weight (IC, OC/groups, KD, KH, KW) and a bias (OC,). x: (N, IC, ID, IH, IW) -> (N, OC, OD, OH, OW)."""

    rank = 3
