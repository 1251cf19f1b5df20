"""Transposed convolution layers: one class, three ranks."""

from functools import partial

import numpy as np

from fastconv.geometry import Geometry, spatial, transposed_geometry, transposed_words
from fastconv.layers.convolution import _Conv
from fastconv.layers.layer import Backward, once
from fastconv.layers.parameter import add_gradients
from fastconv.ops import transposed
from fastconv.ops.operands import of_layer


class _ConvTranspose(_Conv):
    def __init__(
        self, in_channels, out_channels, kernel_size, *, stride=1, padding=0, output_padding=0, dilation=1, groups=1, bias=True,
        padding_mode="zeros", dtype=np.float32, rng: np.random.Generator | None = None,
    ):  # fmt: skip
        op = type(self).__name__
        kernel = spatial(op, "kernel_size", kernel_size, self.rank)
        if padding_mode != "zeros":
            raise ValueError(f'{op}: padding_mode must be "zeros", a transposed convolution has no other; got {padding_mode!r}')
        transposed_words(op, kernel, stride, padding, output_padding, dilation)
        words = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        super().__init__(in_channels, out_channels, kernel, **words, bias=bias, dtype=dtype, rng=rng)
        del self.words["padding_mode"]
        self.words["output_padding"] = output_padding

    def weight_shape(self) -> tuple[int, ...]:
        return (self.in_channels, self.out_channels // self.words["groups"], *self.kernel_size)

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        op, w = type(self).__name__, self.weight.value
        of_layer(op, x, w.dtype)
        words = self.words | {"output_size": None}
        y = transposed.forward(op, self.rank, x, w, None if self.bias is None else self.bias.value, **words)

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            add_gradients(
                self.weight, self.bias, partial(transposed.weight_grad, op, self.rank, x, dy, self.kernel_size, **words, out=None, accumulate=False)
            )
            return transposed.input_grad(op, self.rank, dy, w, np.shape(x), **words) if input_grad else None

        return y, once(backward, y, self.weight, self.bias)

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
    """`ops.conv_transpose2d` with a weight (IC, OC/groups, KH, KW) and a bias (OC,), initialised as PyTorch does.

    x: (N, IC, IH, IW) -> (N, OC, OH, OW), OH = (IH - 1) * stride - before - after + dilation * (KH - 1) + output_padding + 1.
    kernel_size, stride, dilation, output_padding (smaller than stride or dilation): an int or one per dimension; padding: also (before,
    after) pairs; dtype float32 or float64; rng: a NumPy generator to draw the initial values from (None: the stream that `fastconv.seed` starts).
    """

    rank = 2


class ConvTranspose3d(_ConvTranspose):
    """`ops.conv_transpose3d` with a weight (IC, OC/groups, KD, KH, KW) and a bias (OC,). x: (N, IC, ID, IH, IW) -> (N, OC, OD, OH, OW)."""

    rank = 3
