"""Padding and upsampling, and their gradients: sums of inputs along each axis, in 1, 2 and 3 dimensions by the axes of x."""

import math
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastconv.geometry import Sums, bind, flag, integer, pad_pairs, pad_words, real, shown, spatial
from fastconv.geometry.resampling import padded_axis, resized_axis, unchanged_axis
from fastconv.kernels.resample import Resample
from fastconv.ops import layout
from fastconv.ops.operands import floats, shape_tuple
from fastconv.ops.passes import KEPT, bound_once
from fastconv.ops.pooling import AXES

PAD_MODES = ("zeros", "constant", "reflect", "replicate", "circular")
RANKS = {"nearest": (1, 2, 3), "linear": (1,), "bilinear": (2,), "trilinear": (3,)}  # of each mode


def pad(x, padding, *, mode="zeros", value=0) -> np.ndarray:
    """x with cells around it: zeros, the constant `value`, or copies of cells of x.

    reflect: d c b | a b c d | c b a      replicate: a a a | a b c d | d d d      circular: b c d | a b c d | a b c

    x: (N, C, spatial...), float32 or float64. padding: an int for all ends; or numbers in PyTorch's order, from the last dimension outwards, (left,
    right), (left, right, top, bottom) or (left, right, top, bottom, front, back), of which dimensions that are left out get none; or one (before,
    after) pair for each dimension, outermost first, as in a convolution: ((top, bottom), (left, right)). Numbers below 0 crop. value: with
    mode="constant" alone. Returns (N, C, before + I + after, ...). "reflect" pads at most I - 1 cells at an end,
    "circular" at most I: ValueError for more.
    """
    (x,) = floats("pad", x=x)
    return pad_passes("pad", x.shape, x.dtype, pad_words("pad", padding), *pad_fill("pad", mode, value)).forward(x)


def pad_grad(dy, input_shape, padding, *, mode="zeros") -> np.ndarray:
    """Each input's gradient: the sum of those of its copies, its own among them. What is a constant takes none.

    dy: the shape that `pad` gives, input_shape: (N, C, spatial...). Returns dx of that shape.
    """
    (dy,) = floats("pad_grad", dy=dy)
    x_shape = shape_tuple("pad_grad", "input_shape", input_shape)
    mode, _ = pad_fill("pad_grad", mode, 0)
    return pad_passes("pad_grad", x_shape, dy.dtype, pad_words("pad_grad", padding), mode, 0.0).checked_grad("pad_grad", dy)


def upsample(x, size=None, scale_factor=None, *, mode="nearest", align_corners=None) -> np.ndarray:
    """Images of another size, each output the nearest input or a mean of its two neighbors along each axis.

    nearest: y[o] = x[floor(o * ratio)]      linear, bilinear, trilinear: y[o] = (1 - t) * x[i] + t * x[i + 1] along each axis in turn, where
    i + t = max(0, (o + 0.5) * ratio - 0.5), or with align_corners o * (I - 1) / (O - 1)

    x: (N, C, spatial...), float32 or float64. Either size, the output's extents, or scale_factor: O = floor(I * scale_factor); an int, or one for
    each dimension. ratio: I / O, or 1 / scale_factor where that is given (PyTorch's `interpolate`). The linear modes are named by rank: "linear" of
    (N, C, IW), "bilinear" of (N, C, IH, IW), "trilinear" of (N, C, ID, IH, IW). Smaller images come without a filter. Returns (N, C, O...).
    """
    (x,) = floats("upsample", x=x)
    return upsample_passes("upsample", x.shape, x.dtype, upsample_words("upsample", size, scale_factor, mode, align_corners)).forward(x)


def upsample_grad(dy, input_shape, size=None, scale_factor=None, *, mode="nearest", align_corners=None) -> np.ndarray:
    """Each input's gradient: the sum over the outputs that it is part of, by its share in them.

    dy: the shape that `upsample` gives, input_shape: (N, C, spatial...). Returns dx of that shape.
    """
    (dy,) = floats("upsample_grad", dy=dy)
    x_shape = shape_tuple("upsample_grad", "input_shape", input_shape)
    words = upsample_words("upsample_grad", size, scale_factor, mode, align_corners)
    return upsample_passes("upsample_grad", x_shape, dy.dtype, words).checked_grad("upsample_grad", dy)


class Resampling:
    """Both passes for the shapes of x and y. make: the sums of each spatial axis; fill: what an output without inputs is."""

    def __init__(self, shapes: tuple[tuple[int, ...], tuple[int, ...]], dtype: np.dtype, make: Callable[[], list[Sums]], fill: float = 0.0):
        self.x, self.y = (layout.activation(shape, dtype) for shape in shapes)
        self.dtype, self.make, self.fill = dtype, make, fill

    def forward(self, x: np.ndarray) -> np.ndarray:
        y, memory = self.y.empty()
        if y.size:
            self.run(self.x.flat(x), memory)
        return y

    def input_grad(self, dy: np.ndarray) -> np.ndarray:
        dx, memory = self.x.empty()
        if dx.size:
            self._input_grad(self.y.flat(dy), memory)
        return dx

    def checked_grad(self, op: str, dy: np.ndarray) -> np.ndarray:
        if dy.shape != self.y.shape:
            raise ValueError(f"{op}: dy{dy.shape} does not fit: the forward pass gives {self.y.shape} for the input {self.x.shape}")
        return self.input_grad(dy)

    @bound_once
    def axes(self) -> list[Sums]:
        sums = self.make()
        return [unchanged_axis(1)] * (3 - len(sums)) + sums

    @bound_once
    def run(self) -> Resample:
        return Resample(*self.x.shape[:2], self.axes, self.dtype, self.fill)

    @bound_once
    def _input_grad(self) -> Resample:
        return Resample(*self.x.shape[:2], [axis.transposed for axis in self.axes], self.dtype)


def pad_fill(op: str, mode, value) -> tuple[str, float]:
    """The padding mode, and what a constant is."""
    if not isinstance(mode, str) or mode not in PAD_MODES:
        raise ValueError(f"{op}: mode must be one of {', '.join(map(repr, PAD_MODES))}, got {shown(mode)}")
    fill = real(op, "value", value)
    if mode != "constant" and fill != 0:
        raise ValueError(f'{op}: value={fill} is for mode="constant", got mode={mode!r}')
    return "zeros" if mode == "constant" else mode, fill


@lru_cache(KEPT)
def pad_passes(op: str, x_shape: tuple[int, ...], dtype: np.dtype, padding: int | tuple, mode: str, fill: float) -> Resampling:
    """padding, mode, fill: as `pad_words` and `pad_fill` give them."""
    _check_rank(op, x_shape)
    if math.isfinite(fill) and abs(fill) > float(np.finfo(dtype).max):
        raise ValueError(f"{op}: value={fill} is beyond the range of {dtype}")
    pairs = pad_pairs(op, padding, x_shape[2:], mode)
    y_shape = (*x_shape[:2], *(before + I + after for I, (before, after) in zip(x_shape[2:], pairs)))
    _check_size(op, y_shape)
    return Resampling((x_shape, y_shape), dtype, lambda: [padded_axis(I, pair, mode) for I, pair in zip(x_shape[2:], pairs)], fill)


class UpsampleWords(NamedTuple):
    """Checked and hashable; one of size and scale_factor is None."""

    size: int | tuple[int, ...] | None
    scale_factor: float | tuple[float, ...] | None
    mode: str
    align_corners: bool | None


def upsample_words(op: str, size, scale_factor, mode, align_corners) -> UpsampleWords:
    """What can be checked before the rank is known."""
    if (size is None) == (scale_factor is None):
        raise ValueError(f"{op}: either size or scale_factor must be given, got size={shown(size)}, scale_factor={shown(scale_factor)}")
    if not isinstance(mode, str) or mode not in RANKS:
        raise ValueError(f"{op}: mode must be one of {', '.join(map(repr, RANKS))}, got {shown(mode)}")
    if align_corners is not None and flag(op, "align_corners", align_corners) is not None and mode == "nearest":
        raise ValueError(f'{op}: align_corners is for the linear modes, got {align_corners} with mode="nearest"')
    if isinstance(size, (tuple, list)):
        size = tuple(integer(op, f"size[{i}]", O, 1) for i, O in enumerate(size))
    elif size is not None:
        size = integer(op, "size", size, 1)
    if isinstance(scale_factor, (tuple, list)):
        scale_factor = tuple(_scale(op, f"scale_factor[{i}]", scale) for i, scale in enumerate(scale_factor))
    elif scale_factor is not None:
        scale_factor = _scale(op, "scale_factor", scale_factor)
    return UpsampleWords(size, scale_factor, mode, align_corners)


def _scale(op: str, name: str, value) -> float:
    scale = real(op, name, value)
    if not 0 < scale < math.inf:
        raise ValueError(f"{op}: {name} must be above 0 and finite, got {scale}")
    return scale


@lru_cache(KEPT)
def upsample_passes(op: str, x_shape: tuple[int, ...], dtype: np.dtype, words: UpsampleWords) -> Resampling:
    rank, extent = _check_rank(op, x_shape), x_shape[2:]
    if rank not in RANKS[words.mode]:
        right = next(mode for mode, ranks in RANKS.items() if ranks == (rank,))
        raise ValueError(f'{op}: mode="{words.mode}" is for another rank: of x{x_shape} write mode="{right}" or mode="nearest"')
    if words.size is not None:
        size = spatial(op, "size", words.size, rank)
        ratios = tuple(I / O for I, O in zip(extent, size))
    else:
        scales = words.scale_factor if isinstance(words.scale_factor, tuple) else (words.scale_factor,) * rank
        if len(scales) != rank:
            raise ValueError(f"{op}: scale_factor={scales} has {len(scales)} entries for {rank} spatial dimensions; got x{x_shape}")
        size, ratios = tuple(math.floor(I * scale) for I, scale in zip(extent, scales)), tuple(1 / scale for scale in scales)
        if min(size) < 1:
            raise ValueError(f"{op}: scale_factor={words.scale_factor} leaves nothing of x{x_shape}")
    y_shape = (*x_shape[:2], *size)
    _check_size(op, y_shape)
    options = words.mode != "nearest", bool(words.align_corners)
    return Resampling((x_shape, y_shape), dtype, lambda: [resized_axis(*axis, *options) for axis in zip(extent, size, ratios)])


def _check_rank(op: str, shape: tuple[int, ...]) -> int:
    """How many spatial axes there are: 1 to 3."""
    rank = len(shape) - 2
    if rank not in AXES:
        raise ValueError(f"{op}: x must have 3 to 5 axes (N, C, spatial...), got {len(shape)}: x{shape}")
    bind(op, x=(shape, AXES[rank]))
    return rank


def _check_size(op: str, shape: tuple[int, ...]) -> None:
    if math.prod(shape) * 8 > sys.maxsize:  # bytes of float64
        raise ValueError(f"{op}: the output {shape} has more elements than this machine can address")
