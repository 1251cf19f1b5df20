"""Intrinsics for rows of pixels whose lanes are channels: a window of K taps passes along a row, and each input is loaded once.

A `Window` is a tile of MR neighboring outputs x LANES channels; a `GradientWindow` of R x K taps x LANES channels. Inputs are
found by tables of the starts of rows and of the columns in a row, where -1 stands for zeros. Where pixel m meets tap k:

    column(m, k) = (m * S + k + shift) / T, if it is whole        forward: T = 1; an input gradient, taps flipped: S = 1, T its stride

>>> Window(2, 3, 1, 1, 0, 8, np.dtype("f4"))._numba_type_.columns  # pixel and tap by column: 3 taps pass over 2 pixels
{0: [(0, 0)], 1: [(0, 1), (1, 0)], 2: [(0, 2), (1, 1)], 3: [(1, 2)]}
>>> Window(2, 3, 1, 2, 1, 8, np.dtype("f4"))._numba_type_.columns
{1: [(0, 1), (1, 0)], 2: [(1, 2)]}
"""

from functools import cache

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import NativeValue, intrinsic, models, overload_attribute, register_model, unbox

from fastconv.kernels.simd.tile import ELEMENTS, I64, address, after, load, multiply_add, store, store_real


class Window:
    """MR outputs, K taps, LANES channels. Kernels read MR, K, LANES and step, the inputs from tile to tile."""

    def __init__(self, MR: int, K: int, S: int, T: int, shift: int, LANES: int, dtype: np.dtype):
        self.MR, self.K, self.S, self.T, self.shift, self.LANES, self.dtype = MR, K, S, T, shift, LANES, np.dtype(dtype)
        self._numba_type_ = _window_type(MR, K, S, T, shift, LANES, numba.from_dtype(self.dtype))

    def __repr__(self) -> str:
        return f"Window({self.MR}, {self.K}, {self.S}, {self.T}, {self.shift}, {self.LANES}, {self.dtype})"


class GradientWindow:
    """R rows of K taps and a sum of dy, LANES channels; U pixels at a time."""

    def __init__(self, U: int, R: int, K: int, S: int, LANES: int, dtype: np.dtype):
        self.U, self.R, self.K, self.S, self.LANES, self.dtype = U, R, K, S, LANES, np.dtype(dtype)
        self._numba_type_ = _gradient_type(U, R, K, S, LANES, numba.from_dtype(self.dtype))

    def __repr__(self) -> str:
        return f"GradientWindow({self.U}, {self.R}, {self.K}, {self.S}, {self.LANES}, {self.dtype})"


class _Vectors(types.Type):
    """A tile of MR x 1 vectors, as the intrinsics of `arithmetic` and `memory` take it."""

    def __init__(self, MR, LANES, element, name):
        self.MR, self.NV, self.NR, self.LANES, self.element = MR, 1, LANES, LANES, element
        scalar, self.suffix, self.bytes = ELEMENTS[element]
        self.vector = ir.VectorType(scalar, LANES)
        super().__init__(name=name)


class WindowType(_Vectors):
    def __init__(self, MR, K, S, T, shift, LANES, element):
        self.K, self.S, self.T = K, S, T
        self.step = MR * S // T
        self.columns: dict[int, list[tuple[int, int]]] = {}
        for column, m, k in sorted(((m * S + k + shift) // T, m, k) for m in range(MR) for k in range(K) if (m * S + k + shift) % T == 0):
            self.columns.setdefault(column, []).append((m, k))
        super().__init__(MR, LANES, element, f"Window({MR}, {K}, {S}, {T}, {shift}, {LANES}, {element})")


class GradientWindowType(_Vectors):
    def __init__(self, U, R, K, S, LANES, element):
        self.U, self.R, self.K, self.S = U, R, K, S
        super().__init__(R * K + 1, LANES, element, f"GradientWindow({U}, {R}, {K}, {S}, {LANES}, {element})")


_window_type, _gradient_type = cache(WindowType), cache(GradientWindowType)


def _constant(kind: type, name: str) -> None:
    @overload_attribute(kind, name)
    def number(window):
        value = getattr(window, name)
        return lambda window: value


for kind, names in ((WindowType, ("MR", "K", "LANES", "step")), (GradientWindowType, ("MR", "U", "R", "S", "LANES"))):
    register_model(kind)(models.OpaqueModel)
    unbox(kind)(lambda kind, window, c: NativeValue(c.context.get_dummy_value()))
    for name in names:
        _constant(kind, name)


def _steps(builder, pointer, step, count: int) -> list:
    return [builder.gep(pointer, [builder.mul(step, I64(m))]) for m in range(count)]


def _place(builder, x, start, offset, zeros):
    """The address of x[offset], or of zeros where a row's start or a column's offset is negative."""
    return builder.select(builder.icmp_signed("<", builder.or_(start, offset), I64(0)), zeros, builder.gep(x, [offset]))


@intrinsic
def fma_window(typing, window, acc, x, start, columns, column, panel, w):
    """acc[m] + sum over k of x[start + columns[column + c] : ...] * panel[w + k * LANES : ...], c = column(m, k), LANES elements each, k rising.

    Where start or an entry of columns is negative, x counts as panel[:LANES], which holds zeros.
    """

    def generate(context, builder, signature, arguments):
        _, acc, x, start, columns, column, panel, w = arguments
        x, table = address(context, builder, signature.args[2], x, start), address(context, builder, signature.args[4], columns, column)
        zeros, panel = (address(context, builder, signature.args[6], panel, at) for at in (I64(0), w))
        fused = multiply_add(builder, window)
        taps = [load(builder, window, after(builder, panel, k * window.LANES)) for k in range(window.K)]
        for c, meetings in window.columns.items():
            value = load(builder, window, _place(builder, x, start, builder.load(after(builder, table, c)), zeros))
            for m, k in meetings:
                acc = builder.insert_value(acc, builder.call(fused, [value, taps[k], builder.extract_value(acc, m)]), m)
        return acc

    return acc(window, acc, x, types.intp, columns, types.intp, panel, types.intp), generate


@intrinsic
def store_pixels(typing, window, acc, y, at, step, pixels, channels):
    """y[at + m * step : ... + channels] = acc[m, :channels] for m < pixels"""

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
            with ragged:
                for m, (value, pointer) in enumerate(zip(values, pointers)):
                    with builder.if_then(builder.icmp_signed("<", I64(m), pixels)):
                        store_real(builder, window, value, pointer, channels, 0)
        return context.get_dummy_value()

    return types.void(window, acc, y, *[types.intp] * 4), generate


def _products(pixels_of):
    """A function that generates the products of some pixels of dy with the inputs in R x K taps, and their sum."""

    def intrinsics(typing, window, acc, inputs, gradients):
        def generate(context, builder, signature, arguments):
            _, acc, inputs, gradients = arguments
            x, start, rows, row, columns, column, zeros = cgutils.unpack_tuple(builder, inputs)
            dy, at, step = cgutils.unpack_tuple(builder, gradients)
            arrays = signature.args[2].types
            x, table = address(context, builder, arrays[0], x, start), address(context, builder, arrays[2], rows, row)
            columns, zeros = address(context, builder, arrays[4], columns, column), address(context, builder, arrays[6], zeros, I64(0))
            pixels, fused = pixels_of(window), multiply_add(builder, window)
            dy = _steps(builder, address(context, builder, signature.args[3].types[0], dy, at), step, pixels)
            gradients = [load(builder, window, pointer) for pointer in dy]
            for r in range(window.R):
                offset = builder.load(after(builder, table, r))
                here = builder.gep(x, [offset])
                for c in range((pixels - 1) * window.S + window.K):
                    meetings = [(m, c - m * window.S) for m in range(pixels) if 0 <= c - m * window.S < window.K]
                    if not meetings:
                        continue
                    value = load(builder, window, _place(builder, here, offset, builder.load(after(builder, columns, c)), zeros))
                    for m, k in meetings:
                        i = r * window.K + k
                        acc = builder.insert_value(acc, builder.call(fused, [value, gradients[m], builder.extract_value(acc, i)]), i)
            total = builder.extract_value(acc, window.R * window.K)
            for value in gradients:
                total = builder.fadd(total, value)
            return builder.insert_value(acc, total, window.R * window.K)

        return acc(window, acc, inputs, gradients), generate

    return intrinsics


@intrinsic
def fma_pixel(typing, window, acc, inputs, gradients):
    """acc[r, k] + x[start + rows[row + r] + columns[column + k]] * dy[at], LANES elements each; the last of acc + dy[at].

    inputs: x, start, rows, row, columns, column, zeros: LANES of them, which x counts as where an entry of rows or columns is negative;
    gradients: dy, at, and the step from pixel to pixel
    """
    return _products(lambda window: 1)(typing, window, acc, inputs, gradients)


@intrinsic
def fma_pixels(typing, window, acc, inputs, gradients):
    """`fma_pixel` for U pixels: the sums over m of those with column + m * S and at + m * step"""
    return _products(lambda window: window.U)(typing, window, acc, inputs, gradients)


@intrinsic
def move_vector(typing, window, x, at, y, to):
    """y[to : to + LANES] = x[at : at + LANES]"""

    def generate(context, builder, signature, arguments):
        _, x, at, y, to = arguments
        value = load(builder, window, address(context, builder, signature.args[1], x, at))
        store(builder, window, value, address(context, builder, signature.args[3], y, to))
        return context.get_dummy_value()

    return types.void(window, x, types.intp, y, types.intp), generate


@intrinsic
def clear_vector(typing, window, y, to):
    """y[to : to + LANES] = 0"""

    def generate(context, builder, signature, arguments):
        _, y, to = arguments
        store(builder, window, ir.Constant(window.vector, None), address(context, builder, signature.args[1], y, to))
        return context.get_dummy_value()

    return types.void(window, y, types.intp), generate


@intrinsic
def move_lanes(typing, window, x, at, lanes, lane, channels, y, to):
    """y[to + i] = x[at + lanes[lane + i]] for i < channels, else 0: the vector is put together from single elements"""

    def generate(context, builder, signature, arguments):
        _, x, at, lanes, lane, channels, y, to = arguments
        x, table = address(context, builder, signature.args[1], x, at), address(context, builder, signature.args[3], lanes, lane)
        last = builder.sub(channels, I64(1))
        value = ir.Constant(window.vector, None)
        for i in range(window.LANES):
            real = builder.icmp_signed("<", I64(i), channels)
            element = builder.load(builder.gep(x, [builder.load(builder.gep(table, [builder.select(real, I64(i), last)]))]))
            element = builder.select(real, element, ir.Constant(window.vector.element, 0.0))
            value = builder.insert_element(value, element, ir.Constant(ir.IntType(32), i))
        store(builder, window, value, address(context, builder, signature.args[6], y, to))
        return context.get_dummy_value()

    return types.void(window, x, types.intp, lanes, types.intp, types.intp, y, types.intp), generate
