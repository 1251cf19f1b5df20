"""Resampling: along each axis an output is a sum of some inputs with weights. Padding and upsampling are no more than that.

The sums of an axis are a sparse matrix (O, I), kept by its rows. For the upsampling of 3 cells to 6, linear, and for a reflected cell at each end

    output 0   1 * x0                        output 0   1 * x1
    output 1   0.75 * x0 + 0.25 * x1         output 1   1 * x0
    output 2   0.25 * x0 + 0.75 * x1         output 2   1 * x1
    ...                                      ...

An image's resampling is one such matrix after the other, in any order; its gradient is that of the transposed matrices.

>>> resized = resized_axis(3, 6, 0.5, linear=True, align_corners=False)
>>> [list(zip(resized.inputs[a:b].tolist(), resized.weights[a:b].tolist())) for a, b in zip(resized.starts, resized.starts[1:4])]
[[(0, 1.0)], [(0, 0.75), (1, 0.25)], [(0, 0.25), (1, 0.75)]]
"""

from typing import NamedTuple

import numpy as np

from fastconv.geometry.padding import sources


class Sums(NamedTuple):
    """Output o is the sum over the entries e in starts[o]:starts[o + 1] of weights[e] * x[inputs[e]]; without entries, what is filled in."""

    I: int
    starts: np.ndarray  # (O + 1,)
    inputs: np.ndarray
    weights: np.ndarray  # float64

    @property
    def O(self) -> int:  # noqa: E743  # outputs, as in every formula here
        return len(self.starts) - 1

    @property
    def outputs(self) -> np.ndarray:
        """The output of each entry."""
        return np.repeat(np.arange(self.O), np.diff(self.starts))

    @property
    def transposed(self) -> "Sums":
        """From gradients of the outputs to those of the inputs."""
        return _sums(self.O, self.I, self.inputs, self.outputs, self.weights)

    def runs(self) -> np.ndarray:
        """(runs, 4): neighboring outputs whose inputs are neighbors, with the same weights. First output, count; first entry of the first, stop."""
        counts, e = np.diff(self.starts), np.arange(len(self.inputs))
        before = e - np.repeat(counts, counts)  # the same entry of the output before, if that has as many
        follows = (before >= 0) & (self.inputs == self.inputs[before] + 1) & (self.weights == self.weights[before])
        breaks = np.bincount(self.outputs, ~follows, self.O) > 0
        breaks[1:] |= counts[1:] != counts[:-1]
        breaks[0] = True
        first = np.flatnonzero(breaks)
        return np.stack([first, np.diff(first, append=self.O), self.starts[first], self.starts[first + 1]], 1)


def _sums(I: int, O: int, outputs: np.ndarray, inputs: np.ndarray, weights: np.ndarray) -> Sums:
    """From entries in any order; those of an output keep theirs."""
    order = np.argsort(outputs, kind="stable")
    return Sums(I, np.append(0, np.cumsum(np.bincount(outputs, minlength=O))), inputs[order], weights[order])


def unchanged_axis(I: int) -> Sums:
    return Sums(I, np.arange(I + 1), np.arange(I), np.ones(I))


def padded_axis(I: int, pair: tuple[int, int], mode: str) -> Sums:
    """`before` cells more at the one end, `after` at the other, less where they are negative; they hold what the padding mode says.

    The other end of a circle is that of what is left.
    """
    before, after = pair
    low, high = (max(0, -before), I + min(0, after)) if mode == "circular" else (0, I)
    inputs = sources(np.arange(-before, I + after) - low, high - low, mode) + low
    outputs = np.flatnonzero(inputs >= 0)
    return _sums(I, before + I + after, outputs, inputs[outputs], np.ones(len(outputs)))


def resized_axis(I: int, O: int, ratio: float, linear: bool, align_corners: bool) -> Sums:
    """Output o lies at (o + 0.5) * ratio - 0.5 of the input, or with align_corners at o * (I - 1) / (O - 1); linear: between two cells, else in one.

    The nearest cell is floor(o * ratio) in float32, as PyTorch has it.
    """
    o = np.arange(O)
    if not linear:
        cells = np.floor(o.astype(np.float32) * np.float32(ratio)).astype(np.int64)
        return _sums(I, O, o, np.minimum(cells, I - 1), np.ones(O))
    place = o * ((I - 1) / max(1, O - 1)) if align_corners else np.maximum(0, (o + 0.5) * ratio - 0.5)
    low = np.minimum(place.astype(np.int64), I - 1)
    share = np.clip(place - low, 0, 1) * (low < I - 1)  # of the cell after it
    outputs, inputs, weights = np.tile(o, 2), np.append(low, np.minimum(low + 1, I - 1)), np.append(1 - share, share)
    real = weights > 0
    return _sums(I, O, outputs[real], inputs[real], weights[real])
