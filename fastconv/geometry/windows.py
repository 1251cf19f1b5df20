"""Windows that slide over positions: the geometry that convolution and pooling share.

One spatial rank: everything is written for depth, height and width; 1-D and 2-D are the same with extents of 1.
The one index equation of this package, spelled the same everywhere: output oh reads, through tap kh, the input row

    ih = oh * SH - PH + kh * DH          (and so for depth and width)
"""

import math
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastconv.geometry.padding import check_reach, padding_word
from fastconv.geometry.words import AXES, padding_pairs, spatial

WIDEST = 8  # bytes of the widest dtype
PADDING = 1 << 12  # cells of a pooling, where the input has fewer
TABLE = 1 << 22, 64  # entries of a table of where taps find their cells: so many, and so many more for each element of the arrays


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
    padding_mode: str = "zeros"  # also where nothing is padded, whatever the caller's word

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
    def input_memory(self) -> tuple[int, ...]:
        """(N, ID, IH, IW, IC): how the input lies in memory."""
        return (self.N, *self[2:5], self.IC)

    @property
    def output_memory(self) -> tuple[int, ...]:
        """(N, OD, OH, OW, OC): how the output lies in memory."""
        return (self.N, *self[6:9], self.OC)

    @property
    def weight_memory(self) -> tuple[int, ...]:
        """(KD, KH, KW, IC/G, OC): how the weights lie in memory."""
        return (*self[9:12], self.IC // self.G, self.OC)

    @property
    def flops(self) -> int:
        """Multiplications and additions of one pass of a convolution."""
        return 2 * self.N * self.OC * self.OD * self.OH * self.OW * self.taps * (self.IC // self.G)

    @property
    def padded(self) -> "Geometry":
        """The same convolution of an input that brings the copies in its padding along; itself where zeros are all that is padded."""
        if self.padding_mode == "zeros":
            return self
        ID, IH, IW = self.PD + self.ID + self.QD, self.PH + self.IH + self.QH, self.PW + self.IW + self.QW
        return self._replace(ID=ID, IH=IH, IW=IW, PD=0, PH=0, PW=0, QD=0, QH=0, QW=0, padding_mode="zeros")

    @property
    def axes(self) -> Iterator[tuple[int, ...]]:
        """I, O, K, S, P, D of depth, height and width."""
        return (tuple(getattr(self, letter + name) for letter in "IOKSPD") for name in AXES)


def conv_geometry(
    op: str, N: int, IC: int, OC: int, extent: tuple, kernel: tuple, stride, padding, dilation, groups: int, padding_mode="zeros"
) -> Geometry:
    """The geometry of a convolution; ValueError where no output is left, an element count leaves the address space, or a mode cannot pad that far."""
    rank = len(extent)
    S = spatial(op, "stride", stride, rank)
    D = spatial(op, "dilation", dilation, rank)
    pairs = padding_pairs(op, padding, kernel, S, D, extent)
    mode = padding_word(op, padding_mode)
    check_reach(op, mode, extent, pairs)
    outputs = tuple(_positions(op, *axis) for axis in zip(AXES[3 - rank :], extent, kernel, S, pairs, D))
    g = _geometry(op, N, IC, OC, extent, outputs, kernel, S, pairs, D, groups)
    return g._replace(padding_mode=mode) if any(map(any, pairs)) else g


def transposed_words(op: str, kernel: tuple, stride, padding, output_padding, dilation) -> tuple:
    """Stride, padding pairs, output padding (smaller than stride or dilation) and dilation of a transposed convolution, one per dimension."""
    rank = len(kernel)
    S, D = spatial(op, "stride", stride, rank), spatial(op, "dilation", dilation, rank)
    if isinstance(padding, str):
        raise ValueError(f'{op}: padding must be an integer or a tuple (a transposed convolution has no "same" or "valid"), got {padding!r}')
    pairs = padding_pairs(op, padding, kernel, S, D, (1,) * rank)
    rows = spatial(op, "output_padding", output_padding, rank, least=0)
    for name, added, s, d in zip(AXES[3 - rank :], rows, S, D):
        if added >= max(s, d):
            raise ValueError(f"{op}: output_padding must be smaller than stride or dilation, got {added} along {name} with stride {s}, dilation {d}")
    return S, pairs, rows, D


def transposed_geometry(
    op: str, N: int, IC: int, OC: int, extent: tuple, kernel: tuple, stride, padding, output_padding, output_size, dilation, groups: int
) -> Geometry:
    """A transposed convolution from (N, IC, I...) to (N, OC, O...) as the geometry of the convolution back, whose input is (N, OC, O...).

    O = (I - 1) * S - before - after + D * (K - 1) + output_padding + 1; output_size (or None) may instead ask for up to
    S - 1 more than without output_padding. ValueError where there is no such output.
    """
    rank = len(extent)
    S, pairs, rows, D = transposed_words(op, kernel, stride, padding, output_padding, dilation)
    least = tuple((I - 1) * s - sum(pair) + d * (K - 1) + 1 for I, K, s, pair, d in zip(extent, kernel, S, pairs, D))
    got = f"for the input {extent} with kernel {kernel}, stride {S}, padding {pairs}, dilation {D}"
    if output_size is None:
        outputs = tuple(map(sum, zip(least, rows)))
    elif any(rows):
        raise ValueError(f"{op}: output_padding={rows} and output_size={output_size} are given; either of them tells the output's size")
    else:
        outputs = spatial(op, "output_size", output_size, rank)
        if not all(low <= O < low + s for O, low, s in zip(outputs, least, S)):
            first, last = tuple(max(low, 1) for low in least), tuple(low + s - 1 for low, s in zip(least, S))
            raise ValueError(f"{op}: output_size={outputs} is impossible: valid sizes range from {first} to {last} {got}")
    for name, O in zip(AXES[3 - rank :], outputs):
        if O < 1:
            raise ValueError(f"{op}: no output along {name}: its size would be {O} {got}, output_padding {rows}")
    return _geometry(op, N, OC, IC, outputs, extent, kernel, S, pairs, D, groups, names=("output", "weight", "input"))


def pool_words(op: str, rank: int, kernel_size, stride, padding, dilation) -> tuple:
    """Kernel, stride (None: the kernel), padding (less than a window) and dilation, one per dimension.

    Padding comes as an int where it is the same before and after, else as a pair; "same", "valid" and "causal" stay what they are.
    """
    K = spatial(op, "kernel_size", kernel_size, rank)
    S = K if stride is None else spatial(op, "stride", stride, rank)
    D = spatial(op, "dilation", dilation, rank)
    pairs = padding_pairs(op, padding, K, S, D, (1,) * rank)
    for name, k, d, pair in zip(AXES[3 - rank :], K, D, pairs):
        if max(pair) > d * (k - 1):
            raise ValueError(f"{op}: padding {max(pair)} along {name} has room for a whole window of {d * (k - 1) + 1} cells: at most {d * (k - 1)}")
    words = padding if isinstance(padding, str) else tuple(before if before == after else (before, after) for before, after in pairs)
    return K, S, words, D


def pool_geometry(op: str, N: int, C: int, extent: tuple, kernel_size, stride, padding, dilation, ceil_mode: bool) -> Geometry:
    """The geometry of a pooling; ValueError also where a window could lie wholly in the padding."""
    rank = len(extent)
    K, S, words, D = pool_words(op, rank, kernel_size, stride, padding, dilation)
    pairs = padding_pairs(op, words, K, S, D, extent)
    for name, I, pair in zip(AXES[3 - rank :], extent, pairs):
        if max(pair) > max(I, PADDING):
            raise ValueError(f"{op}: padding {max(pair)} along {name} is over the input's extent of {I} cells, and over {PADDING}")
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


def _geometry(op, N, IC, OC, extent, outputs, kernel, stride, pairs, dilation, groups, names=("input", "weight", "output")) -> Geometry:
    rank = len(extent)

    def three(values, fill):
        return (fill,) * (3 - rank) + tuple(values)

    before, after = zip(*pairs)
    g = Geometry(
        N, IC, *three(extent, 1), OC, *three(outputs, 1), *three(kernel, 1), *three(stride, 1),
        *three(before, 0), *three(after, 0), *three(dilation, 1), groups, rank,
    )  # fmt: skip
    for name, shape in zip(names, (g.input_shape, g.weight_shape, g.output_shape)):
        if math.prod(shape) * WIDEST > sys.maxsize:
            raise ValueError(f"{op}: the {name} {shape} has more elements than this machine can address")
    _check_tables(op, g)
    return g


def _check_tables(op: str, g: Geometry) -> None:
    """ValueError where so few numbers are so far apart that to tell where they are would take far more memory than they do."""
    least, each = TABLE
    for name, (I, O, K, S, _, D) in zip(AXES, g.axes):
        entries = max(min((O - 1) * S + (K - 1) * D, O * K), min(I + (K - 1) * D, I * K))
        if entries > least and entries > least + each * sum(map(math.prod, (g.input_shape, g.weight_shape, g.output_shape))):
            raise ValueError(
                f"{op}: {O} outputs of {K} taps along {name}, with stride {S} and dilation {D} far apart in an input of {I}, would take tables of "
                f"{entries} entries: use a smaller padding, stride or dilation"
            )


def _window_words(g: Geometry, name: str) -> str:
    I, K, S, P, D = (getattr(g, f"{letter}{name}") for letter in "IKSPD")
    return f"input {I}, kernel {K}, stride {S}, padding {P}, dilation {D}"


def empty_window(g: Geometry) -> tuple[str, int] | None:
    """The first window that holds no cell of the input, as its axis and position: its taps step over the whole of it.

    With padding that is less than a window only windows that begin in the padding can, and the loop ends after a few rounds.
    """
    for name, (I, O, _, S, P, D) in zip(AXES, g.axes):
        o = 0
        while o < O and o * S < P and D > I:
            first = (o * S - P) % D  # the first tap at or behind cell 0
            if first >= I:
                return name, o
            o += -(-(I - first) // S)  # the next window whose tap is no longer there
    return None


@lru_cache(maxsize=512)
def average_divisors(g: Geometry, count_include_pad: bool, divisor_override: int | None) -> np.ndarray:
    """(OD, OH, OW): by how much each window's sum is divided.

    With padding counted, a window has its taps inside the padded input, not those that ceil_mode lets hang over; without, its taps on real cells.
    """
    if divisor_override is not None:
        return np.full(g[6:9], float(divisor_override))
    counts = []
    for name in AXES:
        I, O, K, S, P, Q, D = (getattr(g, letter + name) for letter in "IOKSPQD")
        first = np.arange(O) * S - P
        low, high = (-P, I + Q) if count_include_pad else (0, I)
        counts.append(np.minimum(K, -((first - high) // D)) - np.maximum(0, -((first - low) // D)))  # taps before high, less those before low
    return np.einsum("d,h,w->dhw", *counts).astype(np.float64)
