"""Intrinsics for transforms of small grids: a constant matrix times a grid of vectors times another transposed, all in registers.

A `Matrix` is a Python object whose Numba type carries its numbers. A grid is the accumulators of a tile of one vector a row, the grid's rows
one after another, so that `add_row` and `clamp` take it too. Each docstring says what it means in NumPy. Nothing checks bounds.
"""

from functools import cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import NativeValue, intrinsic, models, overload_attribute, register_model, unbox

from fastconv.kernels.simd.tile import I32, I64, Accumulators, address, after, load, load_real, multiply_add, store, store_real, tile_type


class Matrix:
    """ROWS x COLS constants in float32, for vectors of LANES elements. Kernels read LANES."""

    def __init__(self, numbers, LANES: int):
        self.numbers = tuple(tuple(map(float, row)) for row in numbers)
        self._numba_type_ = matrix_type(self.numbers, LANES)


class MatrixType(types.Type):
    def __init__(self, numbers, LANES):
        self.numbers, self.ROWS, self.COLS, self.LANES = np.array(numbers), len(numbers), len(numbers[0]), LANES
        self.window = tile_type(self.COLS**2, 1, LANES, types.float32)  # of a grid that it is multiplied with
        super().__init__(name=f"Matrix({numbers}, {LANES})")


matrix_type = cache(MatrixType)
register_model(MatrixType)(models.OpaqueModel)
unbox(MatrixType)(lambda kind, matrix, c: NativeValue(c.context.get_dummy_value()))


def _constant(name: str) -> None:
    @overload_attribute(MatrixType, name)
    def number(matrix):
        value = getattr(matrix, name)
        return lambda matrix: value


_constant("LANES")


@intrinsic
def result_tile(typing, left, right):
    """The tile whose accumulators `both_sides` returns."""
    return _result(left, right)(left, right), lambda context, *_: context.get_dummy_value()


def _result(left, right):
    return tile_type(left.ROWS * right.ROWS, 1, right.LANES, types.float32)


def _combination(builder, tile, coefficients, values):
    """The sum of coefficients[j] * values[j], terms with a coefficient of 1 or -1 first."""
    total = None
    for j in sorted(np.flatnonzero(coefficients), key=lambda j: (coefficients[j] != 1, coefficients[j] != -1)):
        c = coefficients[j]
        constant = ir.Constant(tile.vector, [c] * tile.LANES)
        if total is None:
            total = values[j] if c == 1 else builder.fmul(values[j], constant)
        elif abs(c) == 1:
            total = (builder.fadd if c == 1 else builder.fsub)(total, values[j])
        else:
            total = builder.call(multiply_add(builder, tile), [values[j], constant, total])
    return total


def _times(builder, tile, matrix, values):
    """matrix @ values. Neighboring columns, or rows, of equal size (points a and -a) share their even and odd parts."""
    matrix, values, rows = matrix.copy(), list(values), []
    for j in range(1, matrix.shape[1]):
        a, b = matrix[:, j - 1].copy(), matrix[:, j].copy()
        if (abs(a) == abs(b)).all() and (a != b).any() and np.count_nonzero(a) > 2:
            values[j - 1], values[j] = builder.fadd(values[j - 1], values[j]), builder.fsub(values[j - 1], values[j])
            matrix[:, j - 1], matrix[:, j] = (a + b) / 2, (a - b) / 2
    while len(rows) < len(matrix):
        i = len(rows)
        even, odd = ((matrix[i] + sign * matrix[i + 1]) / 2 if i + 1 < len(matrix) else np.zeros(1) for sign in (1, -1))
        if even.any() and odd.any() and not (even * odd).any():
            even, odd = (_combination(builder, tile, part, values) for part in (even, odd))
            rows += [builder.fadd(even, odd), builder.fsub(even, odd)]
        else:
            rows.append(_combination(builder, tile, matrix[i], values))
    return rows


@intrinsic
def both_sides(typing, left, grid, right):
    """left @ grid @ right.T"""

    def generate(context, builder, signature, arguments):
        n, tile = right.COLS, right.window
        values = [builder.extract_value(arguments[1], i) for i in range(left.COLS * n)]
        columns = [_times(builder, tile, left.numbers, values[j::n]) for j in range(n)]
        rows = [_times(builder, tile, right.numbers, [column[i] for column in columns]) for i in range(left.ROWS)]
        result = ir.Constant(signature.return_type.registers, ir.Undefined)
        for i, value in enumerate(value for row in rows for value in row):
            result = builder.insert_value(result, value, i)
        return result

    return Accumulators(_result(left, right))(left, grid, right), generate


def _steps(builder, step, count: int) -> list:
    return [builder.mul(step, I64(i)) for i in range(count)]


@intrinsic
def load_grid(typing, matrix, x, at, down, across):
    """x[at + i * down + j * across : ... + LANES] for i, j < COLS"""

    def generate(context, builder, signature, arguments):
        _, x, at, down, across = arguments
        x, n = address(context, builder, signature.args[1], x, at), matrix.COLS
        grid = ir.Constant(signature.return_type.registers, ir.Undefined)
        for i, row in enumerate(_steps(builder, down, n)):
            for j, column in enumerate(_steps(builder, across, n)):
                value = load(builder, matrix.window, builder.gep(builder.gep(x, [row]), [column]))
                grid = builder.insert_value(grid, value, i * n + j)
        return grid

    return Accumulators(matrix.window)(matrix, x, *[types.intp] * 3), generate


def _zeros(builder, tile):
    """The address of one vector of zeros."""
    zeros = ir.GlobalVariable(builder.module, tile.vector, builder.module.get_unique_name("zeros"))
    zeros.linkage, zeros.global_constant, zeros.align, zeros.initializer = "internal", True, 64, ir.Constant(tile.vector, None)
    return builder.bitcast(zeros, tile.vector.element.as_pointer())


@intrinsic
def gather_grid(typing, matrix, x, at, rows, i, columns, j, channels):
    """x[at + rows[i + k] + columns[j + l] : ...] for k, l < COLS; 0 where an offset is negative and after the first `channels`, not read there"""

    def generate(context, builder, signature, arguments):
        x, at, channels = arguments[1], arguments[2], arguments[7]
        x, n = address(context, builder, signature.args[1], x, at), matrix.COLS
        nothing = _zeros(builder, matrix.window)
        tables = (address(context, builder, signature.args[k], arguments[k], arguments[k + 1]) for k in (3, 5))
        rows, columns = ([builder.load(after(builder, table, k)) for k in range(n)] for table in tables)
        grid = ir.Constant(signature.return_type.registers, ir.Undefined)
        for k, row in enumerate(rows):
            for l, column in enumerate(columns):
                real = builder.icmp_signed(">=", builder.or_(row, column), I64(0))
                pointer = builder.select(real, builder.gep(x, [builder.add(row, column)]), nothing)
                grid = builder.insert_value(grid, load_real(builder, matrix.window, pointer, channels, 0), k * n + l)
        return grid

    return Accumulators(matrix.window)(matrix, x, types.intp, rows, types.intp, columns, types.intp, types.intp), generate


@intrinsic
def store_grid(typing, left, right, grid, y, at, down, across):
    """y[at + i * down + j * across : ... + LANES] = grid[i, j] for i < left.ROWS, j < right.ROWS"""

    def generate(context, builder, signature, arguments):
        _, _, grid, y, at, down, across = arguments
        y, n = address(context, builder, signature.args[3], y, at), right.ROWS
        for i, row in enumerate(_steps(builder, down, left.ROWS)):
            for j, column in enumerate(_steps(builder, across, n)):
                store(builder, right.window, builder.extract_value(grid, i * n + j), builder.gep(builder.gep(y, [row]), [column]))
        return context.get_dummy_value()

    return types.void(left, right, grid, y, *[types.intp] * 3), generate


@intrinsic
def store_part(typing, matrix, grid, y, at, steps, shape, channels):
    """y[at + i * steps[0] + j * steps[1] : ... + channels] = grid[i, j, :channels] for i, j < shape; both sides were the matrix"""

    def generate(context, builder, signature, arguments):
        _, grid, y, at, steps, shape, channels = arguments
        y, n = address(context, builder, signature.args[2], y, at), matrix.ROWS
        (down, across), (height, width) = (cgutils.unpack_tuple(builder, pair) for pair in (steps, shape))
        for i, row in enumerate(_steps(builder, down, n)):
            for j, column in enumerate(_steps(builder, across, n)):
                real = builder.and_(builder.icmp_signed("<", I64(i), height), builder.icmp_signed("<", I64(j), width))
                with builder.if_then(real):
                    pointer = builder.gep(builder.gep(y, [row]), [column])
                    store_real(builder, matrix.window, builder.extract_value(grid, i * n + j), pointer, channels, 0)
        return context.get_dummy_value()

    pair = types.UniTuple(types.intp, 2)
    return types.void(matrix, grid, y, types.intp, pair, pair, types.intp), generate


@intrinsic
def total_of_grid(typing, matrix, grid):
    """grid.sum((0, 1)), in order, as one row"""

    def generate(context, builder, signature, arguments):
        values = [builder.extract_value(arguments[1], i) for i in range(matrix.COLS**2)]
        while len(values) > 1:
            values = [builder.fadd(a, b) for a, b in zip(values[::2], values[1::2])] + values[len(values) // 2 * 2 :]
        return builder.insert_value(ir.Constant(signature.return_type.registers, ir.Undefined), values[0], 0)

    return Accumulators(tile_type(1, 1, matrix.LANES, types.float32))(matrix, grid), generate


@intrinsic
def prefetch_grid(typing, left, right, y, at, down, across):
    """Have the lines of y that `store_grid` will write brought into L1, to be written; this changes nothing."""

    def generate(context, builder, signature, arguments):
        _, _, y, at, down, across = arguments
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), I32, I32, I32])
        fetch, y = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0"), address(context, builder, signature.args[2], y, at)
        for row in _steps(builder, down, left.ROWS):
            for column in _steps(builder, across, right.ROWS):
                pointer = builder.bitcast(builder.gep(builder.gep(y, [row]), [column]), ir.IntType(8).as_pointer())
                builder.call(fetch, [pointer, I32(1), I32(3), I32(1)])
        return context.get_dummy_value()

    return types.void(left, right, y, *[types.intp] * 3), generate


@intrinsic
def prefetch(typing, x, start, stop):
    """Have the cache lines of x[start:stop] brought into L2; this changes nothing."""

    def generate(context, builder, signature, arguments):
        x, start, stop = arguments
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), I32, I32, I32])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        with cgutils.for_range_slice(builder, start, stop, I64(16)) as (at, _):
            pointer = builder.bitcast(address(context, builder, signature.args[0], x, at), ir.IntType(8).as_pointer())
            builder.call(fetch, [pointer, I32(0), I32(2), I32(1)])
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp), generate
