"""The vector vocabulary: the words that micro-kernels are written in, and the only file that speaks LLVM.

A `Tile` is a Python object whose Numba *type* carries MR pixels, NV vectors of LANES channels, and the dtype: a kernel that takes one is
compiled once for each tile, by its signature. Its accumulators (`Sums`) stay in MR * NV registers. Each word's docstring says what it means
in NumPy. Code generation unrolls over registers only, never over data. No word checks bounds.
"""

from dataclasses import dataclass

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import NativeValue, intrinsic, models, overload_attribute, register_model, unbox

BIT, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
ELEMENTS = {types.float32: (ir.FloatType(), "f32", 4), types.float64: (ir.DoubleType(), "f64", 8)}  # in LLVM: type, suffix, bytes


@dataclass(frozen=True)
class Tile:
    """MR pixels x NV vectors of LANES channels; NR = NV * LANES. Kernels read MR, NR and LANES of theirs."""

    MR: int
    NV: int
    LANES: int
    dtype: np.dtype

    @property
    def NR(self) -> int:
        return self.NV * self.LANES

    @property
    def _numba_type_(self) -> types.Type:
        return TileType(self.MR, self.NV, self.LANES, numba.from_dtype(self.dtype))


class TileType(types.Type):
    def __init__(self, MR, NV, LANES, element):
        self.MR, self.NV, self.NR, self.LANES = MR, NV, NV * LANES, LANES
        scalar, self.suffix, self.bytes = ELEMENTS[element]
        self.vector = ir.VectorType(scalar, LANES)
        super().__init__(name=f"Tile({MR}, {NV}, {LANES}, {element})")


class Sums(types.Type):
    """The accumulators of a tile: (MR, NR) numbers."""

    def __init__(self, tile):
        self.registers = ir.ArrayType(tile.vector, tile.MR * tile.NV)
        super().__init__(name=f"Sums<{tile.name}>")


class Places(types.Type):
    """Where the MR pixels of a tile are: (MR,) element numbers."""

    def __init__(self, tile):
        self.registers = ir.ArrayType(I64, tile.MR)
        super().__init__(name=f"Places<{tile.name}>")


register_model(TileType)(models.OpaqueModel)


@register_model(Sums)
@register_model(Places)
class _InRegisters(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, kind.registers)


@unbox(TileType)
def _unbox(kind, tile, c):
    return NativeValue(c.context.get_dummy_value())


def _constant(name: str) -> None:
    """Kernels may read this number of their tile; to LLVM it is a constant."""

    @overload_attribute(TileType, name)
    def number(tile):
        value = getattr(tile, name)
        return lambda tile: value


for name in ("MR", "NR", "LANES"):
    _constant(name)


def _address(context, builder, array_type, array, offset):
    """Of array.ravel()[offset]."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [offset])


def _behind(builder, pointer, offset: int):
    return builder.gep(pointer, [ir.Constant(I64, offset)])


def _splat(builder, scalar, vector):
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, vector.count), None))


def _load(builder, tile, pointer):
    value = builder.load(builder.bitcast(pointer, tile.vector.as_pointer()))
    value.align = tile.bytes
    return value


def _store(builder, tile, value, pointer):
    builder.store(value, builder.bitcast(pointer, tile.vector.as_pointer())).align = tile.bytes


def _real_lanes(builder, tile, channels, v):
    """Which lanes of vector v belong to the first `channels` channels."""
    numbers = ir.Constant(ir.VectorType(I64, tile.LANES), [v * tile.LANES + i for i in range(tile.LANES)])
    return builder.icmp_signed("<", numbers, _splat(builder, channels, numbers.type))


def _load_real(builder, tile, pointer, channels, v):
    name = f"llvm.masked.load.v{tile.LANES}{tile.suffix}.p0"
    arguments = [tile.vector.as_pointer(), I32, ir.VectorType(BIT, tile.LANES), tile.vector]
    masked = cgutils.get_or_insert_function(builder.module, ir.FunctionType(tile.vector, arguments), name)
    lanes = _real_lanes(builder, tile, channels, v)
    return builder.call(masked, [builder.bitcast(pointer, arguments[0]), I32(tile.bytes), lanes, ir.Constant(tile.vector, None)])


def _store_real(builder, tile, value, pointer, channels, v):
    name = f"llvm.masked.store.v{tile.LANES}{tile.suffix}.p0"
    arguments = [tile.vector, tile.vector.as_pointer(), I32, ir.VectorType(BIT, tile.LANES)]
    masked = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), arguments), name)
    lanes = _real_lanes(builder, tile, channels, v)
    builder.call(masked, [value, builder.bitcast(pointer, arguments[1]), I32(tile.bytes), lanes])


def _registers(tile):
    """m, v and the number of the register that holds them."""
    return [(m, v, m * tile.NV + v) for m in range(tile.MR) for v in range(tile.NV)]


def _multiply_add_word(builder, tile):
    # fmuladd, not fma: where the CPU has no such instruction, llvm.fma would call the C library
    shape = ir.FunctionType(tile.vector, [tile.vector] * 3)
    return cgutils.get_or_insert_function(builder.module, shape, f"llvm.fmuladd.v{tile.LANES}{tile.suffix}")


def _multiply_add(builder, tile, sums, pointers, w):
    """sums[m] + the number at pointers[m] * the NR numbers from w on"""
    multiply_add = _multiply_add_word(builder, tile)
    weights = [_load(builder, tile, _behind(builder, w, v * tile.LANES)) for v in range(tile.NV)]
    numbers = [_splat(builder, builder.load(pointer), tile.vector) for pointer in pointers]
    for m, v, i in _registers(tile):
        sums = builder.insert_value(sums, builder.call(multiply_add, [numbers[m], weights[v], builder.extract_value(sums, i)]), i)
    return sums


def _whole(builder, tile, channels):
    return builder.icmp_signed(">=", channels, ir.Constant(I64, tile.NV * tile.LANES))


@intrinsic
def zeros(typing, tile):
    """np.zeros((MR, NR))"""

    def generate(context, builder, signature, arguments):
        return ir.Constant(signature.return_type.registers, None)

    return Sums(tile)(tile), generate


@intrinsic
def places(typing, tile, table, first, last):
    """table[np.minimum(first + np.arange(MR), last)]: where a tile is ragged, the last pixel again"""

    def generate(context, builder, signature, arguments):
        _, table, first, last = arguments
        result = ir.Constant(signature.return_type.registers, ir.Undefined)
        for m in range(tile.MR):
            i = builder.add(first, ir.Constant(I64, m))
            i = builder.select(builder.icmp_signed("<", i, last), i, last)
            result = builder.insert_value(result, builder.load(_address(context, builder, signature.args[1], table, i)), m)
        return result

    return Places(tile)(tile, table, types.intp, types.intp), generate


@intrinsic
def fma(typing, tile, sums, x, pixels, k, w, at):
    """sums + x[pixels + k][:, None] * w[at : at + NR]"""

    def generate(context, builder, signature, arguments):
        _, sums, x, pixels, k, w, at = arguments
        x, w = _address(context, builder, signature.args[2], x, k), _address(context, builder, signature.args[5], w, at)
        return _multiply_add(builder, tile, sums, [builder.gep(x, [builder.extract_value(pixels, m)]) for m in range(tile.MR)], w)

    return sums(tile, sums, x, pixels, types.intp, w, types.intp), generate


@intrinsic
def fma_run(typing, tile, sums, x, k, w, at):
    """sums + x[k : k + MR, None] * w[at : at + NR]: one address for all MR, twice as fast as `fma` where it will do"""

    def generate(context, builder, signature, arguments):
        _, sums, x, k, w, at = arguments
        x, w = _address(context, builder, signature.args[2], x, k), _address(context, builder, signature.args[4], w, at)
        return _multiply_add(builder, tile, sums, [_behind(builder, x, m) for m in range(tile.MR)], w)

    return sums(tile, sums, x, types.intp, w, types.intp), generate


@intrinsic
def fma_rows(typing, tile, sums, x, pixels, k, w, at):
    """sums + x[pixels[:, None] + k + np.arange(NR)] * w[at : at + NR]: a lane of x meets its own lane of w"""

    def generate(context, builder, signature, arguments):
        _, sums, x, pixels, k, w, at = arguments
        x, w = _address(context, builder, signature.args[2], x, k), _address(context, builder, signature.args[5], w, at)
        multiply_add = _multiply_add_word(builder, tile)
        weights = [_load(builder, tile, _behind(builder, w, v * tile.LANES)) for v in range(tile.NV)]
        for m, v, i in _registers(tile):
            row = _load(builder, tile, _behind(builder, builder.gep(x, [builder.extract_value(pixels, m)]), v * tile.LANES))
            sums = builder.insert_value(sums, builder.call(multiply_add, [row, weights[v], builder.extract_value(sums, i)]), i)
        return sums

    return sums(tile, sums, x, pixels, types.intp, w, types.intp), generate


@intrinsic
def fma_columns(typing, tile, sums, x, rows, at, w):
    """sums[m] + (x[rows[:, None] + at + np.arange(NR)] * w.reshape(MR, MR, NR)[:, MR - 1 - m]).sum(axis=0): a column of MR rows meets MR sums"""

    def generate(context, builder, signature, arguments):
        _, sums, x, rows, at, w = arguments
        x = _address(context, builder, signature.args[2], x, at)
        multiply_add = _multiply_add_word(builder, tile)
        for k in range(tile.MR):
            row = builder.gep(x, [builder.extract_value(rows, k)])
            numbers = [_load(builder, tile, _behind(builder, row, v * tile.LANES)) for v in range(tile.NV)]
            for m, v, i in _registers(tile):
                weight = builder.extract_value(w, (k * tile.MR + tile.MR - 1 - m) * tile.NV + v)
                sums = builder.insert_value(sums, builder.call(multiply_add, [numbers[v], weight, builder.extract_value(sums, i)]), i)
        return sums

    return sums(tile, sums, x, rows, types.intp, w), generate


@intrinsic
def shift_out(typing, tile, sums, start, y, to):
    """y[to : to + NR] = sums[0]; np.concatenate([sums[1:], start[:1]])"""

    def generate(context, builder, signature, arguments):
        _, sums, start, y, to = arguments
        y = _address(context, builder, signature.args[3], y, to)
        moved = sums
        for m, v, i in _registers(tile):
            if m == 0:
                _store(builder, tile, builder.extract_value(sums, i), _behind(builder, y, v * tile.LANES))
            source, j = (sums, i + tile.NV) if m < tile.MR - 1 else (start, v)
            moved = builder.insert_value(moved, builder.extract_value(source, j), i)
        return moved

    return sums(tile, sums, start, y, types.intp), generate


@intrinsic
def add_row(typing, tile, sums, b, at, channels):
    """sums + b[at : at + NR], only in the first `channels` channels"""

    def generate(context, builder, signature, arguments):
        _, sums, b, at, channels = arguments
        b = _address(context, builder, signature.args[2], b, at)
        row = [_load_real(builder, tile, _behind(builder, b, v * tile.LANES), channels, v) for v in range(tile.NV)]
        for _, v, i in _registers(tile):
            sums = builder.insert_value(sums, builder.fadd(builder.extract_value(sums, i), row[v]), i)
        return sums

    return sums(tile, sums, b, types.intp, types.intp), generate


@intrinsic
def load_rows(typing, tile, x, pixels, at, channels):
    """x[pixels[:, None] + at + np.arange(NR)], but 0 behind the first `channels` channels, where x is not read"""

    def generate(context, builder, signature, arguments):
        _, x, pixels, at, channels = arguments
        x = _address(context, builder, signature.args[1], x, at)
        sums = ir.Constant(signature.return_type.registers, ir.Undefined)
        for m, v, i in _registers(tile):
            pointer = _behind(builder, builder.gep(x, [builder.extract_value(pixels, m)]), v * tile.LANES)
            sums = builder.insert_value(sums, _load_real(builder, tile, pointer, channels, v), i)
        return sums

    return Sums(tile)(tile, x, pixels, types.intp, types.intp), generate


@intrinsic
def transpose(typing, tile, sums):
    """sums.T, of a tile with MR = NR = LANES"""

    def generate(context, builder, signature, arguments):
        rows = [builder.extract_value(arguments[1], i) for i in range(tile.LANES)]
        step = 1
        while step < tile.LANES:  # 2 x 2 blocks of step x step numbers swap their corners
            low = [i if i // step % 2 == 0 else tile.LANES + i - step for i in range(tile.LANES)]
            high = [i + step if i // step % 2 == 0 else tile.LANES + i for i in range(tile.LANES)]
            for i in range(tile.LANES):
                if i // step % 2 == 0:
                    a, b = rows[i], rows[i + step]
                    rows[i] = builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, tile.LANES), low))
                    rows[i + step] = builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, tile.LANES), high))
            step *= 2
        sums = arguments[1]
        for i, row in enumerate(rows):
            sums = builder.insert_value(sums, row, i)
        return sums

    return sums(tile, sums), generate


@intrinsic
def add(typing, tile, sums, others):
    """sums + others"""

    def generate(context, builder, signature, arguments):
        _, sums, others = arguments
        for _, _, i in _registers(tile):
            sums = builder.insert_value(sums, builder.fadd(builder.extract_value(sums, i), builder.extract_value(others, i)), i)
        return sums

    return sums(tile, sums, others), generate


@intrinsic
def move_row(typing, tile, x, at, channels, y, to):
    """y[to : to + NR] = x[at : at + NR], but 0 behind the first `channels`, where x is not read"""

    def generate(context, builder, signature, arguments):
        _, x, at, channels, y, to = arguments
        x, y = _address(context, builder, signature.args[1], x, at), _address(context, builder, signature.args[4], y, to)
        for v in range(tile.NV):
            row = _load_real(builder, tile, _behind(builder, x, v * tile.LANES), channels, v)
            _store(builder, tile, row, _behind(builder, y, v * tile.LANES))
        return context.get_dummy_value()

    return types.void(tile, x, types.intp, types.intp, y, types.intp), generate


@intrinsic
def add_to_row(typing, tile, x, at, channels, y, to):
    """y[to : to + NR] += x[at : at + NR], only in the first `channels` channels"""

    def generate(context, builder, signature, arguments):
        _, x, at, channels, y, to = arguments
        x, y = _address(context, builder, signature.args[1], x, at), _address(context, builder, signature.args[4], y, to)
        for v in range(tile.NV):
            more, here = _behind(builder, x, v * tile.LANES), _behind(builder, y, v * tile.LANES)
            row = builder.fadd(_load_real(builder, tile, here, channels, v), _load_real(builder, tile, more, channels, v))
            _store_real(builder, tile, row, here, channels, v)
        return context.get_dummy_value()

    return types.void(tile, x, types.intp, types.intp, y, types.intp), generate


@intrinsic
def at_least(typing, tile, sums, least):
    """np.where(sums <= least, least, sums): NaN stays, -0 becomes 0"""

    def generate(context, builder, signature, arguments):
        _, sums, least = arguments
        least = _splat(builder, least, tile.vector)
        for _, _, i in _registers(tile):
            value = builder.extract_value(sums, i)
            value = builder.select(builder.fcmp_ordered("<=", value, least), least, value)
            sums = builder.insert_value(sums, value, i)
        return sums

    return sums(tile, sums, least), generate


@intrinsic
def store_rows(typing, tile, sums, y, pixels, at, channels):
    """y[pixels[:, None] + at + np.arange(channels)] = sums[:, :channels]"""

    def generate(context, builder, signature, arguments):
        _, sums, y, pixels, at, channels = arguments
        y = _address(context, builder, signature.args[2], y, at)
        with builder.if_else(_whole(builder, tile, channels)) as (whole, ragged):
            for case in (whole, ragged):
                with case:
                    for m, v, i in _registers(tile):
                        value = builder.extract_value(sums, i)
                        pointer = _behind(builder, builder.gep(y, [builder.extract_value(pixels, m)]), v * tile.LANES)
                        if case is whole:
                            _store(builder, tile, value, pointer)
                        else:
                            _store_real(builder, tile, value, pointer, channels, v)
        return context.get_dummy_value()

    return types.void(tile, sums, y, pixels, types.intp, types.intp), generate


@intrinsic
def add_wide(typing, tile, sums, totals, at, fresh):
    """totals[at : at + MR * NR] = (0 if fresh else the same) + sums.astype(np.float64).ravel()"""

    def generate(context, builder, signature, arguments):
        _, sums, totals, at, fresh = arguments
        totals = _address(context, builder, signature.args[2], totals, at)
        wide = ir.VectorType(ir.DoubleType(), tile.LANES)
        for _, _, i in _registers(tile):
            pointer = builder.bitcast(_behind(builder, totals, i * tile.LANES), wide.as_pointer())
            value = builder.extract_value(sums, i)
            value = value if tile.vector == wide else builder.fpext(value, wide)
            before = builder.load(pointer)
            before.align = 8
            before = builder.select(builder.icmp_signed("!=", fresh, ir.Constant(I64, 0)), ir.Constant(wide, None), before)
            builder.store(builder.fadd(before, value), pointer).align = 8
        return context.get_dummy_value()

    return types.void(tile, sums, totals, types.intp, types.intp), generate


@intrinsic
def add_rows_wide(typing, tile, sums, totals, rows, at):
    """totals[rows[:, None] + at + np.arange(NR)] += sums.astype(np.float64), row after row"""

    def generate(context, builder, signature, arguments):
        _, sums, totals, rows, at = arguments
        totals = _address(context, builder, signature.args[2], totals, at)
        wide = ir.VectorType(ir.DoubleType(), tile.LANES)
        for m, v, i in _registers(tile):
            pointer = builder.gep(totals, [builder.add(builder.extract_value(rows, m), ir.Constant(I64, v * tile.LANES))])
            pointer = builder.bitcast(pointer, wide.as_pointer())
            value = builder.extract_value(sums, i)
            before = builder.load(pointer)
            before.align = 8
            value = value if tile.vector == wide else builder.fpext(value, wide)
            builder.store(builder.fadd(before, value), pointer).align = 8
        return context.get_dummy_value()

    return types.void(tile, sums, totals, rows, types.intp), generate
