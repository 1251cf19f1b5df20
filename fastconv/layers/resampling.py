"""Padding and upsampling as layers: of any rank, which the input tells."""

from abc import abstractmethod

import numpy as np

from fastconv.geometry import pad_words
from fastconv.layers.bound import BoundPasses
from fastconv.layers.layer import Backward, Layer, once_of
from fastconv.ops.operands import FLOATS, floats, shape_tuple
from fastconv.ops.resampling import Resampling, pad_fill, pad_passes, upsample_passes, upsample_words


class Resampled(Layer):
    """A subclass says which passes there are for a shape and dtype."""

    def __init__(self):
        self._passes = BoundPasses()

    @abstractmethod
    def passes(self, shape: tuple[int, ...], dtype: np.dtype) -> Resampling: ...

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        if type(x) is not np.ndarray or x.dtype not in FLOATS:
            (x,) = floats(type(self).__name__, x=x)
        bound = self._passes.of((x.shape, x.dtype), lambda: self.passes(x.shape, x.dtype))
        y = bound.forward(x)
        return y, once_of(lambda dy, input_grad=True: bound.input_grad(dy) if input_grad else None, y)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.passes(shape_tuple(type(self).__name__, "input_shape", input_shape), FLOATS[0]).y.shape


class Pad(Resampled):
    """`ops.pad`: cells around an image, zeros, a constant, or copies of its own. x: (N, C, spatial...) of any rank.

    padding: an int for all ends; or numbers in PyTorch's order, (left, right, top, bottom, front, back), fewer for fewer dimensions; or a (before,
    after) pair for each dimension, outermost first. mode: "zeros", "constant" (`value`), "reflect", "replicate", "circular".
    """

    def __init__(self, padding, mode="zeros", value=0):
        super().__init__()
        self.padding, self.mode, self.value = pad_words("Pad", padding), mode, value
        pad_fill("Pad", mode, value)  # better told here than at the first batch

    def passes(self, shape: tuple[int, ...], dtype: np.dtype) -> Resampling:
        return pad_passes("Pad", shape, dtype, self.padding, *pad_fill("Pad", self.mode, self.value))

    def describe(self) -> str:
        return f"{self.padding}, mode={self.mode!r}{f', value={self.value}' if self.mode == 'constant' else ''}"


class Upsample(Resampled):
    """`ops.upsample`: images of another size. x: (N, C, spatial...) of any rank -> (N, C, O...), of the given size or floor(I * scale_factor).

    mode: "nearest"; "linear", "bilinear", "trilinear" for 1, 2, 3 dimensions, with align_corners None (False) or True.
    """

    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=None):
        super().__init__()
        self.words = upsample_words("Upsample", size, scale_factor, mode, align_corners)

    def passes(self, shape: tuple[int, ...], dtype: np.dtype) -> Resampling:
        return upsample_passes("Upsample", shape, dtype, self.words)

    def describe(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.words._asdict().items() if value is not None)
