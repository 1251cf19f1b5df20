"""Windows that slide over positions: the geometry that convolution and pooling share.

One spatial rank: everything is written for depth, height and width; 1-D and 2-D are the same with extents of 1.
The one index equation of this package, spelled the same everywhere: output oh reads, through tap kh, the input row

    ih = oh * SH - PH + kh * DH          (and so for depth and width)
"""

import math
import sys
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastconv.geometry.words import AXES, padding_pairs, spatial

WIDEST = 8  # bytes of the widest dtype


class Geometry(NamedTuple):
    """All extents of one convolution or pooling, each with its field-standard name. PD, PH, PW pad before, QD, QH, QW behind."""

    N: int
    IC: int
    ID: int
    IH: int
    IW: int
    OC: int
    OD: int
    OH: int
    OW: int
    KD: int
    KH: int
    KW: int
    SD: int
    SH: int
    SW: int
    PD: int
    PH: int
    PW: int
    QD: int
    QH: int
    QW: int
    DD: int
    DH: int
    DW: int
    G: int
    rank: int

    @property
    def taps(self) -> int:
        return self.KD * self.KH * self.KW

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.N, self.IC, *self[2:5][3 - self.rank :])

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.N, self.OC, *self[6:9][3 - self.rank :])

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.OC, self.IC // self.G, *self[9:12][3 - self.rank :])

    @property
    def flops(self) -> int:
        """Multiplications and additions of one pass of a convolution."""
        return 2 * self.N * self.OC * self.OD * self.OH * self.OW * self.taps * (self.IC // self.G)

    def record(self) -> np.ndarray:
        """The same numbers as a one-element structured array, which a kernel takes in 0.3 us: `g = geometry[0]`, then `g.OH`."""
        return _record(self)


_RECORD = np.dtype([(name, np.int64) for name in Geometry._fields])


@lru_cache(maxsize=1024)
def _record(g: Geometry) -> np.ndarray:
    return np.array([tuple(g)], _RECORD)


def conv_geometry(op: str, N: int, IC: int, OC: int, extent: tuple, kernel: tuple, stride, padding, dilation, groups: int) -> Geometry:
    """The geometry of a convolution; ValueError where no output is left or an element count leaves the address space."""
    rank = len(extent)
    S = spatial(op, "stride", stride, rank)
    D = spatial(op, "dilation", dilation, rank)
    pairs = padding_pairs(op, padding, kernel, S, D, extent)
    outputs = tuple(_positions(op, *axis) for axis in zip(AXES[3 - rank :], extent, kernel, S, pairs, D))
    return _geometry(op, N, IC, OC, extent, outputs, kernel, S, pairs, D, groups)


def pool_words(op: str, rank: int, kernel_size, stride, padding, dilation) -> tuple:
    """Kernel, stride (None: the kernel), padding (at most half a window) and dilation, one per dimension."""
    K = spatial(op, "kernel_size", kernel_size, rank)
    S = K if stride is None else spatial(op, "stride", stride, rank)
    D = spatial(op, "dilation", dilation, rank)
    P = spatial(op, "padding", padding, rank, least=0)
    for name, k, d, p in zip(AXES[3 - rank :], K, D, P):
        if 2 * p > d * (k - 1) + 1:
            raise ValueError(f"{op}: padding {p} is over half the window of {d * (k - 1) + 1} cells along {name}")
    return K, S, P, D


def pool_geometry(op: str, N: int, C: int, extent: tuple, kernel_size, stride, padding, dilation, ceil_mode: bool) -> Geometry:
    """The geometry of a pooling; ValueError also where a window could lie wholly in the padding."""
    rank = len(extent)
    K, S, P, D = pool_words(op, rank, kernel_size, stride, padding, dilation)
    pairs = tuple((p, p) for p in P)
    outputs = tuple(_positions(op, *axis, ceil_mode) for axis in zip(AXES[3 - rank :], extent, K, S, pairs, D))
    g = _geometry(op, N, C, C, extent, outputs, K, S, pairs, D, 1)
    empty = empty_window(g)
    if empty is not None:
        name, position = empty
        raise ValueError(f"{op}: window {position} along {name} holds no cell of the input; got {_window_words(g, name)}")
    return g


def _positions(op: str, name: str, I: int, K: int, S: int, pair: tuple[int, int], D: int, ceil_mode: bool = False) -> int:
    """O = floor((I + before + after - D * (K - 1) - 1) / S) + 1, or ceil; the last window starts inside the input or the padding before it."""
    before, after = pair
    room = I + before + after - D * (K - 1) - 1
    outputs = (room + (S - 1 if ceil_mode else 0)) // S + 1
    if ceil_mode and (outputs - 1) * S >= I + before:
        outputs -= 1
    if room < 0 or outputs < 1:
        raise ValueError(
            f"{op}: no output along {name}: the window covers {D * (K - 1) + 1} cells (kernel {K}, dilation {D}), "
            f"the padded input has {I + before + after} ({before} + {I} + {after})"
        )
    return outputs


def _geometry(op, N, IC, OC, extent, outputs, kernel, stride, pairs, dilation, groups) -> Geometry:
    rank = len(extent)

    def three(values, fill):
        return (fill,) * (3 - rank) + tuple(values)

    before, after = zip(*pairs)
    g = Geometry(
        N, IC, *three(extent, 1), OC, *three(outputs, 1), *three(kernel, 1), *three(stride, 1),
        *three(before, 0), *three(after, 0), *three(dilation, 1), groups, rank,
    )  # fmt: skip
    for words, shape in (("input", g.input_shape), ("weight", g.weight_shape), ("output", g.output_shape)):
        if math.prod(shape) * WIDEST > sys.maxsize:
            raise ValueError(f"{op}: the {words} {shape} has more elements than this machine can address")
    return g


def _window_words(g: Geometry, name: str) -> str:
    I, K, S, P, D = (getattr(g, f"{letter}{name}") for letter in "IKSPD")
    return f"input {I}, kernel {K}, stride {S}, padding {P}, dilation {D}"


class Walk(NamedTuple):
    """Where taps find their cells: per axis a table over padded coordinates, and how to get to one.

    Along axis a, position p finds the cell table[start + p * step + tap * reach], -1 for none, where K, start, step, reach = steps[a].
    """

    depth: np.ndarray
    row: np.ndarray
    column: np.ndarray
    steps: np.ndarray


@lru_cache(maxsize=512)
def reads(g: Geometry) -> Walk:
    """[output, tap] -> the input cell that it reads: the table holds j - P, or -1 in the padding, at j = oh * SH + kh * DH."""
    tables, steps = [], []
    for I, O, K, S, P, D in _axes(g):
        i = np.arange((O - 1) * S + (K - 1) * D + 1) - P  # ih = oh * SH - PH + kh * DH
        tables.append(np.where((i >= 0) & (i < I), i, -1))
        steps.append((K, 0, S, D))
    return Walk(*tables, np.array(steps))


@lru_cache(maxsize=512)
def collects(g: Geometry) -> Walk:
    """[input, tap] -> the output that reads it there. The tap counts backwards, the flip of the input gradient: j = ih + (KH - 1 - kh) * DH."""
    tables, steps = [], []
    for I, O, K, S, P, D in _axes(g):
        o, rest = np.divmod(np.arange(I + (K - 1) * D) - (K - 1) * D + P, S)  # ih = oh * SH - PH + kh * DH, solved for oh
        tables.append(np.where((rest == 0) & (o >= 0) & (o < O), o, -1))
        steps.append((K, (K - 1) * D, 1, -D))
    return Walk(*tables, np.array(steps))


def _axes(g: Geometry):
    return (tuple(getattr(g, letter + name) for letter in "IOKSPD") for name in AXES)


def empty_window(g: Geometry) -> tuple[str, int] | None:
    """The first window that holds no cell of the input, as its axis and position."""
    for name, (I, O, K, S, P, D) in zip(AXES, _axes(g)):
        first = np.arange(O) * S - P
        first = np.where(first < 0, first + -(first // D) * D, first)  # the first tap at or behind cell 0
        empty = np.flatnonzero((first >= I) | (first > np.arange(O) * S - P + (K - 1) * D))
        if empty.size:
            return name, int(empty[0])
    return None


@lru_cache(maxsize=512)
def average_divisors(g: Geometry, count_include_pad: bool, divisor_override: int | None) -> np.ndarray:
    """(OD, OH, OW): by how much each window's sum is divided.

    With padding counted, a window has the cells inside the padded input, not those that ceil_mode lets hang over; without, the real cells.
    """
    if divisor_override is not None:
        return np.full(g[6:9], float(divisor_override))
    counts = []
    for name in AXES:
        I, O, K, S, P, Q = (getattr(g, letter + name) for letter in "IOKSPQ")
        first = np.arange(O) * S - P
        low, high = (-P, I + Q) if count_include_pad else (0, I)
        counts.append(np.minimum(first + K, high) - np.maximum(first, low))
    return np.einsum("d,h,w->dhw", *counts).astype(np.float64)
