"""What pooling's loops know of windows: tables, made once, so that they meet no padding, stride, dilation or phase.

A pixel, which owns what is written, meets a window of pixels on the other side. Three passes over tables of the same form:

    reads      an output meets the inputs of its window                           forward
    collects   an input meets the outputs whose windows hold it                   backward, where windows overlap
    covers     an output meets the inputs of its window and the gap after it      backward, where windows lie side by side

Along each axis a position has a row (origin, first, stop): it meets origin + step of each entry (step, tap) of the axis' taps[first:stop]. For a
kernel of 3, stride 2, padding 1 on 6 inputs, 3 outputs:

    reads       origin first stop     entries         collects   origin first stop     entries, phase after phase
    output 0      -1     1    3       0: 0  0         input 0      0     2    3         0:  0  0    inputs 1, 3, 5: windows
    output 1       1     0    3       1: 1  1         input 1      1     0    2         1: -1  2    o and o - 1, taps 0 and 2
    output 2       3     0    3       2: 2  2         input 2      1     2    3         2:  0  1    inputs 0, 2, 4: tap 1

Columns that meet windows of the same taps at equal distances form a group, whose pixels go through the registers side by side.

>>> from fastconv.geometry import pool_geometry
>>> windows = reads(pool_geometry("max_pool2d", 1, 1, (1, 6), (1, 3), 2, (0, 1), 1, False))
>>> windows.columns.tolist()                                # pixels; first position and step; its window's origin and step; first and last entry
[[1, 0, 1, -1, 1, 1, 3], [2, 1, 1, 1, 2, 0, 3]]
>>> windows.column_taps.tolist()
[[0, 0], [1, 1], [2, 2]]
"""

import math
from typing import NamedTuple

import numpy as np

from fastconv.geometry import Geometry, Shares


class Windows(NamedTuple):
    """What a pass walks over, as kernels see it. Positions count pixels; C elements lie in each."""

    items: int  # rows of pixels, of all images
    C: int
    D: int  # extents of the side that has the pixels
    H: int
    W: int
    image: int  # positions of an image of the other side, and of a row there
    row: int
    depths: np.ndarray  # (D, 3): origin of the window, first entry, stop
    rows: np.ndarray  # (H, 3)
    columns: np.ndarray  # (groups, 7): pixels; first position, step; origin of the first window, step; first entry, stop
    depth_taps: np.ndarray  # (entries, 2): step from the origin; tap, counted in the whole kernel
    row_taps: np.ndarray
    column_taps: np.ndarray
    relu: int  # whether the larger of maximum and 0 is wanted

    @property
    def longest(self) -> int:
        """The most taps of a pixel."""
        return max(1, math.prod(int((rows[:, -1] - rows[:, -2]).max()) for rows in (self.depths, self.rows, self.columns)))

    @property
    def work(self) -> int:
        """Scalar operations, about."""
        return self.items * self.W * self.C * self.longest


def reads(source: Geometry | Shares, relu: bool = False) -> Windows:
    """Outputs meet the inputs that they read."""
    if isinstance(source, Shares):
        axes = []
        for start, end in source.spans():
            taps = np.arange((end - start).max())
            axes.append((_rows(start, 0 * start, end - start), _entries(taps, taps)))
        return _windows(source, axes, True, relu)
    axes = []
    for I, O, K, S, P, D in _axes(source):
        origin, k = np.arange(O) * S - P, np.arange(K)
        axes.append((_rows(origin, np.maximum(0, -(origin // D)), np.minimum(K, (I - 1 - origin) // D + 1)), _entries(k * D, k)))
    return _windows(source, axes, True, relu)


def collects(source: Geometry | Shares) -> Windows:
    """Inputs meet the outputs that read them: of sliding windows in the order of taps, of adaptive ones in the order of outputs."""
    if isinstance(source, Shares):
        axes = [_holders(I, *span) for I, span in zip(source.inputs, source.spans())]
    else:
        axes = [_phases(*axis) for axis in _axes(source)]
    return _windows(source, axes, False, False)


def covers(g: Geometry) -> Windows:
    """Outputs meet the inputs from their window's first to the next window's, or to the end. Positions in gaps have a negative tap index."""
    axes = []
    for I, O, K, S, P, _ in _axes(g):
        origin = np.arange(O) * S - P
        stop = np.append(np.full(O - 1, S), I - origin[-1])
        k = np.arange(max(stop[-1], S))
        axes.append((_rows(origin, np.append(P, np.zeros(O - 1, int)), stop), _entries(k, np.where(k < K, k, -g.taps))))
    return _windows(g, axes, True, False)


def side_by_side(source: Geometry | Shares) -> bool:
    """Whether no input lies in two windows, nor in a gap inside one."""
    return isinstance(source, Geometry) and all(S >= K and D == 1 for _, _, K, S, _, D in _axes(source))


def taps(source: Geometry | Shares) -> int:
    """Of the kernel; of adaptive windows, of the widest."""
    return math.prod(_kernel(source))


def _axes(g: Geometry) -> list[tuple[int, ...]]:
    return [tuple(getattr(g, letter + name) for letter in "IOKSPD") for name in "DHW"]


def _kernel(source) -> tuple[int, ...]:
    return source.kernel if isinstance(source, Shares) else source[9:12]


def _rows(origin, first, stop) -> np.ndarray:
    return np.stack([origin, first, stop], 1)


def _entries(step, tap) -> np.ndarray:
    return np.stack([step, tap], 1)


def _phases(I: int, O: int, K: int, S: int, P: int, D: int) -> tuple[np.ndarray, np.ndarray]:
    """i = o * S - P + k * D, solved for o: inputs of a phase (i + P) % S meet the same taps, o = (i + P) // S + (phase - k * D) / S."""
    k = np.arange(K)
    k = k[np.argsort(k * D % S, kind="stable")]  # phase after phase
    phase = k * D % S
    steps = (phase - k * D) // S
    origin, own = np.divmod(np.arange(I) + P, S)
    start, end = np.searchsorted(phase, own), np.searchsorted(phase, own, side="right")
    # in a phase outputs fall: those >= O come first, those < 0 last
    late = np.array([np.count_nonzero(origin[i] + steps[start[i] : end[i]] >= O) for i in range(I)], int)
    early = np.array([np.count_nonzero(origin[i] + steps[start[i] : end[i]] < 0) for i in range(I)], int)
    return _rows(origin, start + late, end - early), _entries(steps, k)


def _holders(I: int, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each input has entries of its own: it is another tap in each window that holds it."""
    i = np.arange(I)
    first, stop = np.searchsorted(end, i, side="right"), np.searchsorted(start, i, side="right")
    before = np.append(0, np.cumsum(stop - first))
    outputs = np.concatenate([np.arange(a, b) for a, b in zip(first, stop)])
    return _rows(0 * i, before[:-1], before[1:]), _entries(outputs, np.repeat(i, stop - first) - start[outputs])


def _groups(rows: np.ndarray) -> np.ndarray:
    """Positions with the same entries at equal distances from each other, and so their windows."""
    alike: dict[tuple, list] = {}
    for position, (origin, first, stop) in enumerate(rows.tolist()):
        groups = alike.setdefault((first, stop), [])
        if groups:
            group = groups[-1]
            pixels, start, step, window, window_step = group
            if pixels == 1:
                group[:] = [2, start, position - start, window, origin - window]
                continue
            if position == start + pixels * step and origin == window + pixels * window_step:
                group[0] += 1
                continue
        groups.append([1, position, 1, origin, 1])
    return np.array([[*group, *entries] for entries, groups in alike.items() for group in groups], np.int64)


def _windows(source, axes, from_outputs: bool, relu: bool) -> Windows:
    _, KH, KW = _kernel(source)
    if isinstance(source, Shares):
        N, C, inputs, outputs = source.N, source.C, source.inputs, source.outputs
    else:
        N, C, inputs, outputs = source.N, source.IC, source[2:5], source[6:9]
    (D, H, W), other = (outputs, inputs) if from_outputs else (inputs, outputs)
    (depths, depth_taps), (rows, row_taps), (columns, column_taps) = axes
    image, row = math.prod(other), other[2]
    return Windows(
        N * D * H, C, D, H, W, image, row, _scaled(depths, other[1] * row), _scaled(rows, row), _groups(columns),
        _table(depth_taps * (other[1] * row, KH * KW)), _table(row_taps * (row, KW)), _table(column_taps), int(relu),
    )  # fmt: skip


def _scaled(rows: np.ndarray, by: int) -> np.ndarray:
    return _table(rows * (by, 1, 1))


def _table(numbers: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(numbers, np.int64)
