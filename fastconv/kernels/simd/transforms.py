"""Intrinsics for transforms of small grids: a constant matrix times a grid of vectors times another transposed, all in registers.

A `Transform` is a Python object whose Numba type carries the numbers of both matrices. A grid is the accumulators of a tile of one vector a
row, the grid's rows one after another, so that `add_row` and `clamp` take it too. Each docstring says what it means in NumPy. Nothing checks
bounds.
"""

from functools import cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.kernels.compile import ConstantType
from fastconv.kernels.simd.tile import I32, I64, Accumulators, address, load, load_real, multiply_add, store, store_real, tile_type


class Transform:
    """left @ grid @ right.T, in float32, of a grid of vectors of LANES elements. Kernels read LANES."""

    def __init__(self, left, right, LANES: int):
        self._numba_type_ = transform_type(*(tuple(tuple(map(float, row)) for row in matrix) for matrix in (left, right)), LANES)


class TransformType(ConstantType):
    fields = ("LANES",)

    def __init__(self, left, right, LANES):
        self.left, self.right, self.LANES = np.array(left), np.array(right), LANES
        self.row = tile_type(1, 1, LANES, types.float32)
        (self.result_rows, self.rows), (self.result_columns, self.columns) = self.left.shape, self.right.shape
        self.grid, self.result = (
            tile_type(rows * columns, 1, LANES, types.float32)
            for rows, columns in ((self.rows, self.columns), (self.result_rows, self.result_columns))
        )
        super().__init__(name=f"Transform({left}, {right}, {LANES})")


transform_type = cache(TransformType)


@intrinsic
def result_tile(typing, transform):
    """The tile whose accumulators `both_sides` returns."""
    return transform.result(transform), lambda context, *_: context.get_dummy_value()


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
def both_sides(typing, transform, grid):
    """left @ grid @ right.T"""

    def generate(context, builder, signature, arguments):
        n = transform.columns
        values = [builder.extract_value(arguments[1], i) for i in range(transform.rows * n)]
        columns = [_times(builder, transform.row, transform.left, values[j::n]) for j in range(n)]
        rows = [_times(builder, transform.row, transform.right, [column[i] for column in columns]) for i in range(transform.result_rows)]
        result = ir.Constant(signature.return_type.registers, ir.Undefined)
        for i, value in enumerate(value for row in rows for value in row):
            result = builder.insert_value(result, value, i)
        return result

    return Accumulators(transform.result)(transform, grid), generate


def _cells(builder, start, down, across, rows: int, columns: int) -> list:
    """Addresses of a grid of rows x columns, row after row; the grid's rows are `down` apart, their entries `across`.

    LLVM is kept from preparing all of them before the loop that this stands in: it would read each from the stack (36 points: 55 ns, not 35).
    """
    barrier = ir.InlineAsm(ir.FunctionType(I64, [I64]), "", "=r,0", side_effect=True)
    down, across = (builder.call(barrier, [step]) for step in (down, across))
    starts = [builder.gep(start, [builder.mul(down, I64(i))]) for i in range(rows)]
    return [builder.gep(row, [builder.mul(across, I64(j))]) for row in starts for j in range(columns)]


@intrinsic
def load_grid(typing, transform, x, at, down, across):
    """x[at + i * down + j * across : ... + LANES] for all cells (i, j) of a grid that the transform takes"""

    def generate(context, builder, signature, arguments):
        _, x, at, down, across = arguments
        grid = ir.Constant(signature.return_type.registers, ir.Undefined)
        start = address(context, builder, signature.args[1], x, at)
        for i, cell in enumerate(_cells(builder, start, down, across, transform.rows, transform.columns)):
            grid = builder.insert_value(grid, load(builder, transform.row, cell), i)
        return grid

    return Accumulators(transform.grid)(transform, x, *[types.intp] * 3), generate


def _zeros(builder, tile):
    """The address of one vector of zeros."""
    zeros = ir.GlobalVariable(builder.module, tile.vector, builder.module.get_unique_name("zeros"))
    zeros.linkage, zeros.global_constant, zeros.align, zeros.initializer = "internal", True, 64, ir.Constant(tile.vector, None)
    return builder.bitcast(zeros, tile.vector.element.as_pointer())


@intrinsic
def gather_grid(typing, transform, x, at, rows, columns, channels):
    """x[at + rows[i + k * down] + columns[j + l * across] : ...] for all cells (k, l); 0 where an offset is negative and after the first `channels`,
    not read. rows, columns: of a table, its entry for the first cell, and entries from cell to cell"""

    def generate(context, builder, signature, arguments):
        _, x, at, rows, columns, channels = arguments
        x, nothing = address(context, builder, signature.args[1], x, at), _zeros(builder, transform.row)

        def offsets(lies, kind, count: int) -> list:
            table, first, step = cgutils.unpack_tuple(builder, lies)
            first = address(context, builder, kind[0], table, first)
            return [builder.load(builder.gep(first, [builder.mul(step, I64(k))])) for k in range(count)]

        rows, columns = offsets(rows, signature.args[3], transform.rows), offsets(columns, signature.args[4], transform.columns)
        grid = ir.Constant(signature.return_type.registers, ir.Undefined)
        for k, row in enumerate(rows):
            for l, column in enumerate(columns):
                real = builder.icmp_signed(">=", builder.or_(row, column), I64(0))
                pointer = builder.select(real, builder.gep(x, [builder.add(row, column)]), nothing)
                grid = builder.insert_value(grid, load_real(builder, transform.row, pointer, channels, 0), k * len(columns) + l)
        return grid

    return Accumulators(transform.grid)(transform, x, types.intp, rows, columns, types.intp), generate


@intrinsic
def store_grid(typing, transform, grid, y, at, down, across):
    """y[at + i * down + j * across : ... + LANES] = grid[i, j] for all cells (i, j) of the transform's result"""

    def generate(context, builder, signature, arguments):
        _, grid, y, at, down, across = arguments
        start = address(context, builder, signature.args[2], y, at)
        for i, cell in enumerate(_cells(builder, start, down, across, transform.result_rows, transform.result_columns)):
            store(builder, transform.row, builder.extract_value(grid, i), cell)
        return context.get_dummy_value()

    return types.void(transform, grid, y, *[types.intp] * 3), generate


@intrinsic
def store_part(typing, transform, grid, y, at, steps, shape, channels):
    """y[at + i * steps[0] + j * steps[1] : ... + channels] = grid[i, j, :channels] for those cells (i, j) of the result with i, j < shape"""

    def generate(context, builder, signature, arguments):
        _, grid, y, at, steps, shape, channels = arguments
        start = address(context, builder, signature.args[2], y, at)
        (down, across), (height, width) = (cgutils.unpack_tuple(builder, pair) for pair in (steps, shape))
        for number, cell in enumerate(_cells(builder, start, down, across, transform.result_rows, transform.result_columns)):
            i, j = divmod(number, transform.result_columns)
            real = builder.and_(builder.icmp_signed("<", I64(i), height), builder.icmp_signed("<", I64(j), width))
            with builder.if_then(real):
                store_real(builder, transform.row, builder.extract_value(grid, number), cell, channels, 0)
        return context.get_dummy_value()

    pair = types.UniTuple(types.intp, 2)
    return types.void(transform, grid, y, types.intp, pair, pair, types.intp), generate


@intrinsic
def total_of_grid(typing, transform, grid):
    """grid.sum((0, 1)), in order, as one row"""

    def generate(context, builder, signature, arguments):
        values = [builder.extract_value(arguments[1], i) for i in range(transform.rows * transform.columns)]
        while len(values) > 1:
            values = [builder.fadd(a, b) for a, b in zip(values[::2], values[1::2])] + values[len(values) // 2 * 2 :]
        return builder.insert_value(ir.Constant(signature.return_type.registers, ir.Undefined), values[0], 0)

    return Accumulators(transform.row)(transform, grid), generate


@intrinsic
def prefetch(typing, x, start, stop):
    """Have the cache lines of x[start:stop] brought into L2; this changes nothing."""

    def generate(context, builder, signature, arguments):
        x, start, stop = arguments
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), I32, I32, I32])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        x, lines = address(context, builder, signature.args[0], x, start), builder.ashr(builder.add(builder.sub(stop, start), I64(15)), I64(4))
        with cgutils.for_range(builder, lines) as loop:
            pointer = builder.bitcast(builder.gep(x, [builder.shl(loop.index, I64(4))]), ir.IntType(8).as_pointer())
            builder.call(fetch, [pointer, I32(0), I32(2), I32(1)])
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp), generate
