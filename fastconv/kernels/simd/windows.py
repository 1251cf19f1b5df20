"""Intrinsics for rows of pixels whose lanes are channels: a window of K taps passes along a row, and each input is loaded once.

A `Window` is a tile of MR neighboring outputs x LANES channels; a `GradientWindow` of R x K taps x LANES channels. Where pixel m meets tap k:

    column(m, k) = (m * S + k + shift) / T, if it is whole        forward: T = 1; an input gradient, taps flipped: S = 1, T its stride

At the first and the last tile of a row, left and right columns are outside the image. The compiler knows them and leaves out what they would
add: `fma_window` and `fma_pixels` hold the code for each place where a window can stand, and are told whether it is the first and whether the last.

>>> Window(2, 1, 3, (1, 1, 0), 8, np.dtype("f4"))._numba_type_.columns  # pixel and tap by column: 3 taps pass over 2 pixels
{0: [(0, 0)], 1: [(0, 1), (1, 0)], 2: [(0, 2), (1, 1)], 3: [(1, 2)]}
>>> Window(2, 1, 3, (1, 2, 1), 8, np.dtype("f4"))._numba_type_.columns
{1: [(0, 1), (1, 0)], 2: [(1, 2)]}
>>> Window(2, 1, 3, (1, 1, 0), 8, np.dtype("f4"), (1, 1, SEVERAL))._numba_type_.at(True, False).columns  # padding 1
{1: [(0, 1), (1, 0)], 2: [(0, 2), (1, 1)], 3: [(1, 2)]}
"""

from functools import cache
from itertools import product

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.kernels.compile import ConstantType
from fastconv.kernels.simd.tile import ELEMENTS, I64, address, after, load, multiply_add, store, store_real

SEVERAL = 2  # tiles of a row


class Window:
    """MR outputs, R rows of K taps, LANES channels. Kernels read MR, R, K, LANES, step, the columns from tile to tile, and of `edges` the last.

    slide: S, T, shift; edges: left, right, and the tiles of a row: 1, SEVERAL, or 0 in a patch, which has no edges.
    """

    def __init__(self, MR: int, R: int, K: int, slide: tuple[int, int, int], LANES: int, dtype: np.dtype, edges: tuple[int, int, int] = (0, 0, 0)):
        self.MR, self.R, self.K, self.slide, self.LANES, self.dtype, self.edges = MR, R, K, slide, LANES, np.dtype(dtype), edges
        self.S, self.T, _ = slide
        self._numba_type_ = _window_type(MR, R, K, slide, LANES, numba.from_dtype(self.dtype), edges)

    @property
    def reach(self) -> int:
        """The columns that a tile may read."""
        return self._numba_type_.reach

    def __repr__(self) -> str:
        edges = f", {self.edges}" if any(self.edges) else ""
        return f"Window({self.MR}, {self.R}, {self.K}, {self.slide}, {self.LANES}, {self.dtype}{edges})"


class GradientWindow:
    """R rows of K taps and a sum of dy, LANES channels; U pixels at a time, of the last ones in a row V. edges: those of a `Window`, and V."""

    def __init__(self, U: int, R: int, K: int, S: int, LANES: int, dtype: np.dtype, edges: tuple[int, int, int, int] = (0, 0, 0, 1)):
        self.U, self.R, self.K, self.S, self.LANES, self.dtype, self.edges = U, R, K, S, LANES, np.dtype(dtype), edges
        self._numba_type_ = _gradient_type(U, R, K, S, LANES, numba.from_dtype(self.dtype), edges)

    def __repr__(self) -> str:
        return f"GradientWindow({self.U}, {self.R}, {self.K}, {self.S}, {self.LANES}, {self.dtype}, {self.edges})"


class _Vectors(ConstantType):
    """A tile of MR x 1 vectors, as the intrinsics of `arithmetic` and `memory` take it."""

    def __init__(self, MR, LANES, element, name):
        self.MR, self.NV, self.NR, self.LANES, self.element = MR, 1, LANES, LANES, element
        scalar, self.suffix, self.bytes = ELEMENTS[element]
        self.vector = ir.VectorType(scalar, LANES)
        super().__init__(name=name)


class WindowType(_Vectors):
    fields = "MR", "R", "K", "LANES", "step", "tiles"

    def __init__(self, MR, R, K, slide, LANES, element, edges):
        missing = edges[3:] or (0, 0)  # columns before and after the row, where the window stands
        S, T, shift = slide
        self.R, self.K, self.edges, self.tiles = R, K, edges, edges[2]
        self.step, self.shape = MR * S // T, (MR, R, K, slide, LANES, element)
        self.columns: dict[int, list[tuple[int, int]]] = {}
        self.reach = ((MR - 1) * S + K - 1 + shift) // T + 1
        for column, m, k in sorted(((m * S + k + shift) // T, m, k) for m in range(MR) for k in range(K) if (m * S + k + shift) % T == 0):
            if missing[0] <= column < self.reach - missing[1]:
                self.columns.setdefault(column, []).append((m, k))
        super().__init__(MR, LANES, element, f"Window({MR}, {R}, {K}, {slide}, {LANES}, {element}, {edges})")

    def at(self, first: bool, last: bool) -> "WindowType":
        """The window at the first or last tile of a row, or both."""
        return _window_type(*self.shape, (0, 0, 0, self.edges[0] if first else 0, self.edges[1] if last else 0))


class GradientWindowType(_Vectors):
    fields = "MR", "U", "R", "S", "LANES", "tiles"

    def __init__(self, U, R, K, S, LANES, element, edges, missing=(0, 0)):
        self.U, self.R, self.K, self.S, self.edges, self.missing, self.tiles = U, R, K, S, edges, missing, edges[2]
        self.shape = R, K, S, LANES, element
        super().__init__(R * K + 1, LANES, element, f"GradientWindow({U}, {R}, {K}, {S}, {LANES}, {element}, {edges}, {missing})")

    def at(self, first: bool, last: bool) -> "GradientWindowType":
        left, right, _, V = self.edges
        return _gradient_type(V if last else self.U, *self.shape, (0, 0, 0, 1), (left if first else 0, right if last else 0))


_window_type, _gradient_type = cache(WindowType), cache(GradientWindowType)


def _steps(builder, pointer, step, count: int) -> list:
    return [builder.gep(pointer, [builder.mul(step, I64(m))]) for m in range(count)]


def _as_it_stands(builder, window, place, sums: list, add) -> list:
    """add(the window as it stands, sums). place: whether its tile is the first of a row, and whether it is the last. Sums stay in registers."""
    if window.tiles != SEVERAL:
        return add(window.at(window.tiles == 1, window.tiles == 1), sums)
    done, found = builder.append_basic_block(), []
    for is_there, stands in zip((*cgutils.unpack_tuple(builder, place), None), ((True, False), (False, True), (False, False))):
        if is_there is not None:
            here, elsewhere = builder.append_basic_block(), builder.append_basic_block()
            builder.cbranch(is_there, here, elsewhere)
            builder.position_at_end(here)
        found.append((add(window.at(*stands), sums), builder.block))
        builder.branch(done)
        if is_there is not None:
            builder.position_at_end(elsewhere)
    builder.position_at_end(done)
    results = [builder.phi(window.vector) for _ in sums]
    for values, block in found:
        for result, value in zip(results, values):
            result.add_incoming(value, block)
    return results


def _unpacked(builder, window, acc) -> list:
    return [builder.extract_value(acc, i) for i in range(window.MR)]


def _packed(builder, acc, values: list):
    for i, value in enumerate(values):
        acc = builder.insert_value(acc, value, i)
    return acc


@intrinsic
def single(typing, window):
    """The gradient window of one pixel, none of whose columns is outside."""
    return _gradient_type(1, *window.shape, (0, 0, 0, 1))(window), lambda context, *_: context.get_dummy_value()


def _row(builder, x, row, start, zeros):
    """The address of x[row + start], or of zeros where row is negative."""
    return builder.select(builder.icmp_signed("<", row, I64(0)), zeros, builder.gep(x, [builder.add(row, start)]))


@intrinsic
def fma_window(typing, window, acc, place, inputs, panels, panel):
    """acc[m] + sum over r, k of x[rows[row + r] + start + column(m, k) * step : ...] * panels[panel + (r * K + k) * LANES : ...], of LANES elements,
    r rising, then k

    place: of the window's tile, whether it is the first and whether the last of its row; inputs: x, rows, row, start, step; where rows is negative,
    the row of x counts as panels[: its columns * step], which holds zeros.
    """

    def generate(context, builder, signature, arguments):
        _, acc, place, inputs, panels, panel = arguments
        x, rows, row, start, step = cgutils.unpack_tuple(builder, inputs)
        arrays, fused = signature.args[3].types, multiply_add(builder, window)
        x, table = (address(context, builder, arrays[i], array, at) for i, array, at in ((0, x, I64(0)), (1, rows, row)))
        zeros, panel = (address(context, builder, signature.args[4], panels, at) for at in (I64(0), panel))
        lines = [_row(builder, x, builder.load(after(builder, table, r)), start, zeros) for r in range(window.R)]
        taps = [load(builder, window, after(builder, panel, i * window.LANES)) for i in range(window.R * window.K)]

        def staggered(at):
            """Row r follows K columns behind row r - 1: so many products in a row do not wait for each other (48 -> 50 GFLOP/s of 93)."""
            c, r = at
            return c + r * window.K, -r

        def add(window, sums):
            sums = list(sums)
            for c, r in sorted(product(window.columns, range(window.R)), key=staggered):
                value = load(builder, window, builder.gep(lines[r], [builder.mul(step, I64(c))]))
                for m, k in window.columns[c]:
                    sums[m] = builder.call(fused, [value, taps[r * window.K + k], sums[m]])
            return sums

        return _packed(builder, acc, _as_it_stands(builder, window, place, _unpacked(builder, window, acc), add))

    return acc(window, acc, place, inputs, panels, types.intp), generate


@intrinsic
def store_pixels(typing, window, acc, y, at, step, pixels, channels):
    """y[at + m * step : ... + channels] = acc[m, :channels] for m < pixels; no masks where only pixels are few (25x5, 64 channels: 513 -> 246 us)"""

    def generate(context, builder, signature, arguments):
        _, acc, y, at, step, pixels, channels = arguments
        values = [builder.extract_value(acc, m) for m in range(window.MR)]
        pointers = _steps(builder, address(context, builder, signature.args[2], y, at), step, window.MR)
        all_lanes = builder.icmp_signed(">=", channels, I64(window.LANES))
        whole = builder.and_(all_lanes, builder.icmp_signed(">=", pixels, I64(window.MR)))
        with builder.if_else(whole, likely=True) as (regular, ragged):
            with regular:
                for value, pointer in zip(values, pointers):
                    store(builder, window, value, pointer)
            with ragged, builder.if_else(all_lanes) as cases:
                for whole_vectors, case in zip((True, False), cases):
                    with case:
                        for m, (value, pointer) in enumerate(zip(values, pointers)):
                            with builder.if_then(builder.icmp_signed("<", I64(m), pixels)):
                                if whole_vectors:
                                    store(builder, window, value, pointer)
                                else:
                                    store_real(builder, window, value, pointer, channels, 0)
        return context.get_dummy_value()

    return types.void(window, acc, y, *[types.intp] * 4), generate


@intrinsic
def fma_pixels(typing, window, acc, place, inputs, gradients):
    """acc[r, k] + sum over m < U of x[rows[row + r] + start + (m * S + k) * step] * dy[at + m * pixel], LANES elements each; last, acc + sum of dy

    place: as of `fma_window`; inputs: x, rows, row, start, step, and zeros, which a row of x counts as where rows is negative; gradients: dy, at,
    pixel
    """

    def generate(context, builder, signature, arguments):
        _, acc, place, inputs, gradients = arguments
        x, rows, row, start, step, zeros = cgutils.unpack_tuple(builder, inputs)
        dy, at, pixel = cgutils.unpack_tuple(builder, gradients)
        arrays, fused = signature.args[3].types, multiply_add(builder, window)
        x, table, zeros = (address(context, builder, arrays[i], array, at) for i, array, at in ((0, x, I64(0)), (1, rows, row), (5, zeros, I64(0))))
        dy = address(context, builder, signature.args[4].types[0], dy, at)
        lines = [_row(builder, x, builder.load(after(builder, table, r)), start, zeros) for r in range(window.R)]

        def add(window, sums):
            sums, gradients = list(sums), [load(builder, window, pointer) for pointer in _steps(builder, dy, pixel, window.U)]
            (left, right), reach = window.missing, (window.U - 1) * window.S + window.K
            for r, line in enumerate(lines):
                for c in range(left, reach - right):
                    meetings = [(m, c - m * window.S) for m in range(window.U) if 0 <= c - m * window.S < window.K]
                    value = load(builder, window, builder.gep(line, [builder.mul(step, I64(c))])) if meetings else None
                    for m, k in meetings:
                        i = r * window.K + k
                        sums[i] = builder.call(fused, [value, gradients[m], sums[i]])
            for value in gradients:
                sums[-1] = builder.fadd(sums[-1], value)
            return sums

        return _packed(builder, acc, _as_it_stands(builder, window, place, _unpacked(builder, window, acc), add))

    return acc(window, acc, place, inputs, gradients), generate
