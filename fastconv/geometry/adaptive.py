"""Windows that share an input out among a given number of outputs: along each axis output o has the cells floor(o * I / O) .. ceil((o + 1) * I / O).

Windows differ in their size by at most one cell; a cell lies in several of them where O does not divide I. Tables tell where, as a `Walk`
does for windows that slide: the kernels of pooling walk over them alike.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastconv.geometry.walks import Walk


class Shares(NamedTuple):
    """Extents of the input and of the output, (D, H, W) each; 1-D and 2-D have leading ones. N images of C channels."""

    inputs: tuple[int, int, int]
    outputs: tuple[int, int, int]
    N: int = 1
    C: int = 1

    @property
    def input_memory(self) -> tuple[int, ...]:
        """(N, ID, IH, IW, C): how the input lies in memory."""
        return (self.N, *self.inputs, self.C)

    @property
    def output_memory(self) -> tuple[int, ...]:
        """(N, OD, OH, OW, C): how the output lies in memory."""
        return (self.N, *self.outputs, self.C)

    @property
    def even(self) -> bool:
        """Whether this is an ordinary pooling."""
        return all(I % O == 0 for I, O in zip(self.inputs, self.outputs))

    @property
    def kernel(self) -> tuple[int, ...]:
        """The widest window, by which taps are numbered."""
        return tuple(int((end - start).max()) for start, end in self.spans())

    def spans(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Per axis each output's first cell, and the one behind its last."""
        return [_spans(I, O) for I, O in zip(self.inputs, self.outputs)]


def _spans(I: int, O: int) -> tuple[np.ndarray, np.ndarray]:
    o = np.arange(O)
    return o * I // O, -(-(o + 1) * I // O)


@lru_cache(maxsize=512)
def share_reads(shares: Shares) -> Walk:
    """[output, tap] -> the input cell, -1 behind the end of a narrower window."""
    return _walk([(start, end - start) for start, end in shares.spans()])


@lru_cache(maxsize=512)
def share_collects(shares: Shares) -> Walk:
    """[input, m] -> the m-th of the outputs whose windows hold it, -1 for none; not the tap by which they do."""
    axes = []
    for I, (start, end) in zip(shares.inputs, shares.spans()):
        first = np.searchsorted(end, np.arange(I), side="right")
        axes.append((first, np.searchsorted(start, np.arange(I), side="right") - first))
    return _walk(axes)


def _walk(axes: list[tuple[np.ndarray, np.ndarray]]) -> Walk:
    """From each position's first partner and the number of its partners, one behind the other."""
    tables, steps = [], []
    for first, count in axes:
        most = int(count.max())
        m = np.arange(most)
        tables.append(np.where(m < count[:, None], first[:, None] + m, -1).ravel())
        steps.append((most, 0, most, 1))
    return Walk(*tables, np.array(steps))


@lru_cache(maxsize=512)
def share_sizes(shares: Shares) -> np.ndarray:
    """(OD, OH, OW) float64: how many cells each window has."""
    return np.einsum("d,h,w->dhw", *(end - start for start, end in shares.spans())).astype(np.float64)


def share_taps(shares: Shares, argmax: np.ndarray) -> list[np.ndarray]:
    """An argmax (N, C, OD, OH, OW) as a tap along each axis, int64."""
    taps, (_, KH, KW) = argmax.astype(np.int64), shares.kernel
    return [taps // (KH * KW), taps // KW % KH, taps % KW]


def along(axis: int, numbers: np.ndarray) -> np.ndarray:
    """A number for each position of a spatial axis, to be combined with (N, C, D, H, W)."""
    return numbers.reshape([-1 if i == 2 + axis else 1 for i in range(5)])
