"""The convolutions and poolings that every row of the table meets, and how their arrays are drawn."""

from typing import NamedTuple

import numpy as np

from fastconv import ops
from fastconv.geometry import Geometry, conv_geometry, pool_geometry

DTYPES = (np.float32, np.float64)
NUMPYS = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # padding modes in `np.pad`


def integers(rng: np.random.Generator, shape: tuple, dtype) -> np.ndarray:
    """Whole numbers from -4 to 4: sums of their products stay far below 2**24, so every order of summation is exact."""
    return rng.integers(-4, 5, shape).astype(dtype)


def normals(rng: np.random.Generator, shape: tuple, dtype) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


class Convolution(NamedTuple):
    name: str
    x: tuple[int, ...]  # (N, IC, spatial...)
    w: tuple[int, ...]  # (OC, IC/groups, kernel...)
    words: dict = {}  # noqa: RUF012  # a caller's stride, padding, dilation, groups, padding_mode; never changed

    @property
    def rank(self) -> int:
        return len(self.x) - 2

    @property
    def g(self) -> Geometry:
        words = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | self.words
        return conv_geometry(self.name, *self.x[:2], self.w[0], self.x[2:], self.w[2:], **words)

    def draw(self, kind, dtype, seed: int = 0) -> tuple[np.ndarray, ...]:
        """x, w, b and dy of this geometry's shapes."""
        rng = np.random.default_rng(seed)
        return tuple(kind(rng, shape, dtype) for shape in (self.x, self.w, self.w[:1], self.g.output_shape))

    def forward(self, x, w, b=None):
        return getattr(ops, f"conv{self.rank}d")(x, w, b, **self.words)

    def input_grad(self, dy, w):
        return getattr(ops, f"conv{self.rank}d_input_grad")(dy, w, self.x, **self.words)

    def weight_grad(self, x, dy, **more):
        return getattr(ops, f"conv{self.rank}d_weight_grad")(x, dy, self.w[2:], **self.words, **more)


CONVOLUTIONS = tuple(
    Convolution(*case)
    for case in (
        ("1x1", (2, 5, 4, 3), (7, 5, 1, 1)),
        ("3x3", (2, 3, 7, 5), (4, 3, 3, 3), {"padding": 1}),
        ("kernel 3x2", (1, 3, 7, 9), (5, 3, 3, 2)),
        ("kernel 1x5", (2, 2, 5, 9), (3, 2, 1, 5), {"padding": (0, 2)}),
        ("stride over kernel", (2, 3, 9, 11), (4, 3, 2, 2), {"stride": (3, 4)}),
        ("stride 2 that leaves a rest", (2, 3, 8, 8), (4, 3, 3, 3), {"stride": 2}),
        ("dilation", (1, 3, 9, 10), (4, 3, 3, 2), {"dilation": (2, 3), "padding": (2, 1)}),
        ("stride and dilation", (1, 2, 11, 10), (3, 2, 3, 3), {"dilation": 2, "stride": (2, 3), "padding": 2}),
        ("padding over kernel", (1, 2, 3, 3), (2, 2, 2, 2), {"padding": 4}),
        ("groups", (2, 6, 5, 6), (4, 3, 3, 3), {"groups": 2, "padding": 1}),
        ("depthwise with multiplier", (2, 5, 6, 6), (10, 1, 3, 3), {"groups": 5, "padding": 1}),
        ("depthwise", (2, 37, 7, 13), (37, 1, 3, 3), {"groups": 37, "padding": 1}),  # more groups than lanes, the last vector ragged
        ("depthwise, no column meets the input", (2, 17, 7, 1), (17, 1, 1, 1), {"groups": 17, "stride": 3, "padding": (2, 1), "dilation": (1, 2)}),
        ("depthwise, fewer groups than lanes", (2, 3, 6, 9), (3, 1, 3, 2), {"groups": 3, "padding": (0, 1)}),
        ("depthwise, stride 2", (2, 16, 9, 18), (16, 1, 3, 3), {"groups": 16, "stride": 2, "padding": 1}),
        ("depthwise, dilation as stride", (1, 16, 9, 14), (16, 1, 3, 3), {"groups": 16, "stride": 2, "dilation": 2, "padding": 3}),
        ("depthwise, no padding", (2, 40, 11, 10), (40, 1, 5, 2), {"groups": 40}),
        ("depthwise, padding over kernel", (1, 16, 3, 4), (16, 1, 3, 3), {"groups": 16, "padding": ((4, 0), (3, 5))}),
        ("depthwise, asymmetric", (1, 33, 9, 8), (33, 1, 3, 3), {"groups": 33, "padding": ((2, 0), (0, 2))}),
        ("depthwise, stride over kernel", (2, 16, 7, 9), (16, 1, 2, 1), {"groups": 16, "stride": (3, 2)}),
        ("depthwise, 289 taps", (1, 16, 6, 10), (16, 1, 17, 17), {"groups": 16, "padding": 8}),
        ("1-D depthwise, 100 taps", (1, 17, 60), (17, 1, 100), {"groups": 17, "padding": 50}),
        ("289 taps and a multiplier", (1, 6, 5, 4), (12, 1, 17, 17), {"groups": 6, "padding": 8}),
        ("many pixels, depthwise", (3, 17, 20, 21), (17, 1, 3, 3), {"groups": 17, "padding": 1}),
        ("few channels a group", (2, 12, 6, 7), (18, 2, 3, 2), {"groups": 6, "stride": (1, 2), "padding": 1}),
        ("few channels a group, 32 groups", (1, 96, 4, 5), (64, 3, 3, 3), {"groups": 32, "padding": 1}),
        ("one output", (3, 4, 5, 3), (6, 4, 5, 3)),
        ("one pixel", (4, 6, 1, 1), (5, 6, 3, 3), {"padding": 1}),
        ("same, even kernel", (1, 3, 6, 5), (4, 3, 4, 2), {"padding": "same"}),
        ("same, stride 2", (1, 3, 7, 8), (4, 3, 3, 4), {"padding": "same", "stride": (2, 3)}),
        ("same, dilation", (1, 2, 6, 7), (3, 2, 2, 3), {"padding": "same", "dilation": (3, 2)}),
        ("valid", (1, 3, 6, 5), (4, 3, 3, 2), {"padding": "valid", "stride": 2}),
        ("asymmetric pairs", (2, 3, 6, 5), (4, 3, 3, 3), {"padding": ((0, 2), (3, 1)), "stride": (1, 2)}),
        ("258 input channels", (1, 258, 3, 3), (3, 258, 2, 2), {"padding": 1}),
        ("600 input channels, 2 groups", (1, 600, 2, 3), (4, 300, 2, 1), {"groups": 2}),
        ("300 output channels", (1, 2, 3, 3), (300, 2, 2, 2)),
        ("32 and 64 channels", (2, 32, 4, 5), (64, 32, 3, 3), {"padding": 1}),
        ("33 and 45 channels", (1, 33, 5, 4), (45, 33, 3, 3), {"padding": 1}),
        ("many pixels", (3, 2, 20, 21), (3, 2, 3, 3), {"padding": 1}),  # over 4 chunks of the weight gradient
        ("bands of rows, few channels", (1, 2, 45, 37), (5, 2, 3, 4), {"padding": ((3, 1), (0, 2)), "stride": (2, 1)}),
        ("bands of rows, one channel", (1, 1, 40, 34), (1, 1, 5, 3), {"padding": 2, "dilation": (1, 2)}),
        ("narrow, tiles of 10", (2, 1, 9, 19), (6, 1, 5, 5), {"padding": 2}),
        ("narrow, ragged tiles of 8", (2, 3, 10, 11), (3, 3, 3, 3), {"padding": ((0, 2), (3, 1))}),
        ("narrow, 572 terms", (1, 22, 4, 12), (10, 22, 13, 2), {"padding": (5, 0)}),
        ("narrow, groups and 7 taps", (2, 4, 5, 14), (10, 2, 1, 7), {"groups": 2, "padding": (0, 2), "padding_mode": "circular"}),
        ("narrow, 4 taps of 3-D", (1, 2, 3, 4, 9), (5, 2, 2, 2, 4), {"padding": (1, 0, 2), "padding_mode": "reflect"}),
        ("narrow, padding over kernel", (1, 9, 3, 2), (9, 9, 2, 3), {"padding": 5}),
        ("reflect", (2, 3, 6, 5), (4, 3, 3, 3), {"padding": 1, "padding_mode": "reflect"}),
        ("reflect, groups", (2, 4, 4, 3), (6, 2, 3, 2), {"padding": ((3, 0), (1, 2)), "stride": (2, 1), "groups": 2, "padding_mode": "reflect"}),
        ("replicate, padding over kernel and extent", (1, 2, 3, 2), (3, 2, 2, 2), {"padding": ((4, 5), (2, 4)), "padding_mode": "replicate"}),
        ("replicate, same, dilation", (1, 2, 6, 7), (3, 2, 2, 3), {"padding": "same", "dilation": (3, 2), "padding_mode": "replicate"}),
        ("circular, the whole input again", (1, 3, 2, 5), (4, 3, 2, 3), {"padding": ((2, 1), (0, 5)), "stride": (1, 2), "padding_mode": "circular"}),
        ("circular, 33 and 45 channels", (1, 33, 5, 4), (45, 33, 3, 3), {"padding": 1, "padding_mode": "circular"}),
        ("1-D, circular, same", (2, 3, 9), (4, 3, 4), {"padding": "same", "padding_mode": "circular"}),
        ("3-D, replicate and groups", (1, 4, 4, 3, 5), (6, 2, 3, 2, 2), {"padding": (1, 0, 2), "groups": 2, "padding_mode": "replicate"}),
        ("1-D", (3, 4, 17), (6, 2, 4), {"groups": 2, "stride": 2, "padding": ((1, 2),)}),
        ("1-D same", (2, 3, 10), (4, 3, 4), {"padding": "same"}),
        ("1-D depthwise", (2, 33, 19), (33, 1, 5), {"groups": 33, "stride": 2, "padding": ((1, 3),)}),
        ("3-D depthwise", (1, 18, 3, 4, 9), (18, 1, 1, 3, 3), {"groups": 18, "padding": (0, 1, 1)}),
        ("3-D depthwise, dilation", (1, 17, 4, 5, 4), (17, 1, 3, 2, 2), {"groups": 17, "padding": 1, "dilation": (1, 2, 1)}),
        ("3-D", (2, 3, 4, 5, 3), (4, 3, 2, 3, 2), {"padding": (1, 0, 1), "stride": (1, 2, 1)}),
        ("3-D, strides and padding of depth", (1, 3, 7, 5, 4), (4, 3, 3, 2, 2), {"stride": (2, 1, 1), "padding": ((2, 1), (0, 1), (1, 0))}),
        ("3-D groups", (1, 4, 4, 3, 5), (6, 2, 3, 2, 2), {"groups": 2, "dilation": (1, 2, 1), "padding": 1}),
    )
)


class Pooling(NamedTuple):
    name: str
    x: tuple[int, ...]  # (N, C, spatial...)
    kernel_size: int | tuple[int, ...]
    words: dict = {}  # noqa: RUF012  # a caller's stride, padding, ceil_mode; never changed

    @property
    def rank(self) -> int:
        return len(self.x) - 2

    @property
    def g(self) -> Geometry:
        words = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False} | self.words
        return pool_geometry(self.name, *self.x[:2], self.x[2:], self.kernel_size, **words)

    def max(self, x):
        return getattr(ops, f"max_pool{self.rank}d")(x, self.kernel_size, **self.words)

    def max_grad(self, dy, argmax):
        return getattr(ops, f"max_pool{self.rank}d_grad")(dy, argmax, self.x, self.kernel_size, **self.words)

    def avg(self, x, **more):
        return getattr(ops, f"avg_pool{self.rank}d")(x, self.kernel_size, **self.words, **more)

    def avg_grad(self, dy, **more):
        return getattr(ops, f"avg_pool{self.rank}d_grad")(dy, self.x, self.kernel_size, **self.words, **more)


POOLINGS = tuple(
    Pooling(*case)
    for case in (
        ("2x2", (2, 5, 6, 4), 2),
        ("2x2 with a rest", (2, 3, 7, 5), 2),
        ("ceil", (2, 3, 7, 5), 2, {"ceil_mode": True}),
        ("overlapping", (2, 3, 8, 7), 3, {"stride": 2, "padding": 1}),
        ("overlapping, ceil", (1, 3, 8, 6), 3, {"stride": 2, "padding": 1, "ceil_mode": True}),
        ("every pixel", (1, 2, 5, 6), 3, {"stride": 1, "padding": 1}),
        ("kernel 3x2", (2, 2, 8, 9), (3, 2), {"stride": (2, 3), "padding": (1, 0)}),
        ("stride over kernel", (1, 3, 9, 8), 2, {"stride": 3, "ceil_mode": True}),
        ("global", (2, 33, 4, 5), (4, 5)),
        ("1-D", (2, 3, 11), 3, {"stride": 2, "padding": 1, "ceil_mode": True}),
        ("3-D", (1, 3, 5, 4, 6), (2, 3, 2), {"stride": (1, 2, 2), "padding": (1, 1, 0)}),
        ("dilation", (1, 3, 9, 8), (3, 2), {"dilation": 2, "stride": 1}),
        ("dilation and stride, 1-D", (2, 2, 12), 3, {"dilation": 3, "stride": 2}),
        ("dilation, ceil", (1, 2, 5, 6), (2, 3), {"dilation": (3, 2), "stride": 2, "padding": ((3, 1), (0, 4)), "ceil_mode": True}),
        ("asymmetric pairs", (2, 3, 7, 6), 3, {"stride": 2, "padding": ((2, 0), (1, 2))}),
        ("side by side, pairs", (1, 3, 7, 8), (2, 3), {"padding": ((1, 0), (0, 2)), "ceil_mode": True}),
        ("padding of K - 1", (1, 2, 5, 6), 3, {"stride": 1, "padding": 2}),
        ("same", (2, 3, 7, 8), (3, 4), {"stride": (2, 3), "padding": "same"}),
        ("1-D, causal, dilation", (2, 2, 12), 3, {"dilation": 2, "stride": 3, "padding": "causal"}),
        ("3-D, pairs", (1, 3, 4, 3, 5), (2, 3, 2), {"stride": (1, 2, 3), "padding": ((0, 1), (2, 0), (1, 1))}),
    )
)
