"""Windows that share an input out among a given number of outputs: along each axis output o has the cells floor(o * I / O) .. ceil((o + 1) * I / O).

Windows differ in their size by at most one cell; a cell lies in several of them where O does not divide I. Tables tell where, as a `Walk`
does for windows that slide: the kernels of pooling walk over them alike.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastconv.geometry.windows import Walk


class Shares(NamedTuple):
    """Extents of the input and of the output, (D, H, W) each; 1-D and 2-D have leading ones."""

    inputs: tuple[int, int, int]
    outputs: tuple[int, int, int]

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
    tables = []
    for (start, end), K in zip(shares.spans(), shares.kernel):
        cells = start[:, None] + np.arange(K)
        tables.append(np.where(cells < end[:, None], cells, -1).ravel())
    return Walk(*tables, _steps(shares.kernel))


@lru_cache(maxsize=512)
def share_collects(shares: Shares) -> Walk:
    """[input, tap * R + twin] -> the output that reads it there, -1 for none."""
    tables = []
    for I, (start, end), K, R, twin in zip(shares.inputs, shares.spans(), shares.kernel, *share_twins(shares)):
        readers = np.full((I, K * R), -1)
        for tap in range(K):
            o = np.flatnonzero(start + tap < end)
            readers[start[o] + tap, tap * R + twin[o]] = o
        tables.append(readers.ravel())
    return Walk(*tables, _steps(K * R for K, R in zip(shares.kernel, share_twins(shares)[0])))


def _steps(taps) -> np.ndarray:
    """One position's entries behind the other's."""
    return np.array([(K, 0, K, 1) for K in taps])


@lru_cache(maxsize=512)
def share_twins(shares: Shares) -> tuple[list[int], list[np.ndarray]]:
    """Per axis how many windows begin at one cell, at most (1 unless O > I), and each output's number among those that do."""
    twins = [np.arange(len(start)) - np.searchsorted(start, start) for start, _ in shares.spans()]
    return [int(twin.max()) + 1 for twin in twins], twins


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
