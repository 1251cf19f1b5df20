"""Intrinsics of pooling: the best value of a window and its tap, or a float64 sum, stay in registers while the taps pass.

Each docstring says what it means in NumPy. Nothing checks bounds.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from fastconv.kernels.simd.tile import BIT, I32, I64, Accumulators, address, after, real_lanes, registers, splat, whole

DOUBLE = ir.DoubleType()


class Taps(types.Type):
    """The numbers of taps, (MR, NR), in integers as wide as the tile's elements."""

    def __init__(self, tile):
        self.vector = ir.VectorType(ir.IntType(8 * tile.bytes), tile.LANES)
        self.registers = ir.ArrayType(self.vector, tile.MR * tile.NV)
        super().__init__(name=f"Taps<{tile.name}>")


class Sums(types.Type):
    """Running sums in float64, (MR, NR)."""

    def __init__(self, tile):
        self.vector = ir.VectorType(DOUBLE, tile.LANES)
        self.registers = ir.ArrayType(self.vector, tile.MR * tile.NV)
        super().__init__(name=f"Sums<{tile.name}>")


@register_model(Taps)
@register_model(Sums)
class _InRegisters(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, kind.registers)


def _each(builder, tile, kind, compute):
    """compute(i) for each register i of a tile."""
    result = ir.Constant(kind.registers, ir.Undefined)
    for _, _, i in registers(tile):
        result = builder.insert_value(result, compute(i), i)
    return result


def _all_taps(builder, vector, tap):
    width = vector.element.width
    return splat(builder, builder.trunc(tap, vector.element) if width < 64 else tap, vector)


@intrinsic
def number_at(typing, table, i):
    """table.ravel()[i], i not negative: Numba would ask, at each access"""

    def generate(context, builder, signature, arguments):
        return builder.load(address(context, builder, signature.args[0], *arguments))

    return table.dtype(table, types.intp), generate


@intrinsic
def add_where(typing, y, at, value, kept):
    """y.ravel()[at] += value where kept is -1, += 0 where it is 0, whatever the value; at not negative. No branch"""

    def generate(context, builder, signature, arguments):
        y, at, value, kept = arguments
        pointer = address(context, builder, signature.args[0], y, at)
        bits = ir.IntType(signature.args[2].bitwidth)
        mask = builder.trunc(kept, bits) if bits.width < 64 else kept
        value = builder.bitcast(builder.and_(builder.bitcast(value, bits), mask), value.type)
        builder.store(builder.fadd(builder.load(pointer), value), pointer)
        return context.get_dummy_value()

    return types.void(y, types.intp, y.dtype, types.intp), generate


@intrinsic
def all_taps(typing, tile, tap):
    """np.full((MR, NR), tap)"""

    def generate(context, builder, signature, arguments):
        number = _all_taps(builder, signature.return_type.vector, arguments[1])
        return _each(builder, tile, signature.return_type, lambda i: number)

    return Taps(tile)(tile, types.intp), generate


@intrinsic
def larger(typing, tile, best, won, values, tap):
    """wins = ~(values <= best) & (best == best); np.where(wins, values, best), np.where(wins, tap, won): NaN wins, the first of equals stays"""

    def generate(context, builder, signature, arguments):
        _, best, won, values, tap = arguments
        tap = _all_taps(builder, signature.args[2].vector, tap)
        for _, _, i in registers(tile):
            value, old = builder.extract_value(values, i), builder.extract_value(best, i)
            wins = builder.and_(builder.fcmp_unordered(">", value, old), builder.fcmp_ordered("ord", old, old))
            best = builder.insert_value(best, builder.select(wins, value, old), i)
            won = builder.insert_value(won, builder.select(wins, tap, builder.extract_value(won, i)), i)
        return context.make_tuple(builder, signature.return_type, [best, won])

    return types.Tuple((best, won))(tile, best, won, values, types.intp), generate


@intrinsic
def rectify(typing, tile, best, won, clamped):
    """np.where(best <= 0, 0, best), np.where(best <= 0, clamped, won): NaN stays"""

    def generate(context, builder, signature, arguments):
        _, best, won, clamped = arguments
        clamped, zero = _all_taps(builder, signature.args[2].vector, clamped), ir.Constant(tile.vector, None)
        for _, _, i in registers(tile):
            value = builder.extract_value(best, i)
            low = builder.fcmp_ordered("<=", value, zero)
            best = builder.insert_value(best, builder.select(low, zero, value), i)
            won = builder.insert_value(won, builder.select(low, clamped, builder.extract_value(won, i)), i)
        return context.make_tuple(builder, signature.return_type, [best, won])

    return types.Tuple((best, won))(tile, best, won, types.intp), generate


@intrinsic
def where_tap(typing, tile, values, won, tap):
    """np.where(won == tap, values, 0)"""

    def generate(context, builder, signature, arguments):
        _, values, won, tap = arguments
        tap, zero = _all_taps(builder, signature.args[2].vector, tap), ir.Constant(tile.vector, None)

        def chosen(i):
            here = builder.icmp_unsigned("==", builder.extract_value(won, i), tap)
            return builder.select(here, builder.extract_value(values, i), zero)

        return _each(builder, tile, signature.return_type, chosen)

    return values(tile, values, won, types.intp), generate


def _stored(tile, array):
    """How taps lie in memory: a vector of an array's unsigned integers, and its name in LLVM."""
    bits = array.dtype.bitwidth
    return ir.VectorType(ir.IntType(bits), tile.LANES), f"v{tile.LANES}i{bits}.p0"


def _fitted(builder, value, vector):
    """Integers made wider or narrower."""
    have, want = value.type.element.width, vector.element.width
    return value if have == want else builder.trunc(value, vector) if have > want else builder.zext(value, vector)


@intrinsic
def load_taps(typing, tile, argmax, offsets, at, channels):
    """argmax[offsets[:, None] + at + np.arange(NR)], but 0 after the first `channels` channels, where it is not read"""

    def generate(context, builder, signature, arguments):
        _, argmax, offsets, at, channels = arguments
        argmax, kind = address(context, builder, signature.args[1], argmax, at), signature.return_type
        vector, name = _stored(tile, signature.args[1])
        shape = ir.FunctionType(vector, [vector.as_pointer(), I32, ir.VectorType(BIT, tile.LANES), vector])
        masked = cgutils.get_or_insert_function(builder.module, shape, f"llvm.masked.load.{name}")
        loaded = []
        with builder.if_else(whole(builder, tile, channels)) as cases:
            for is_whole, case in zip((True, False), cases):
                with case:
                    taps = ir.Constant(kind.registers, ir.Undefined)
                    for m, v, i in registers(tile):
                        pointer = after(builder, builder.gep(argmax, [builder.extract_value(offsets, m)]), v * tile.LANES)
                        pointer = builder.bitcast(pointer, vector.as_pointer())
                        if is_whole:
                            row = builder.load(pointer)
                            row.align = vector.element.width // 8
                        else:
                            lanes = real_lanes(builder, tile, channels, v)
                            row = builder.call(masked, [pointer, I32(vector.element.width // 8), lanes, ir.Constant(vector, None)])
                        taps = builder.insert_value(taps, _fitted(builder, row, kind.vector), i)
                    loaded.append((taps, builder.block))
        result = builder.phi(kind.registers)
        for taps, block in loaded:
            result.add_incoming(taps, block)
        return result

    return Taps(tile)(tile, argmax, offsets, types.intp, types.intp), generate


@intrinsic
def store_taps(typing, tile, won, argmax, offsets, at, channels):
    """argmax[offsets[:, None] + at + np.arange(channels)] = won[:, :channels]"""

    def generate(context, builder, signature, arguments):
        _, won, argmax, offsets, at, channels = arguments
        argmax = address(context, builder, signature.args[2], argmax, at)
        vector, name = _stored(tile, signature.args[2])
        shape = ir.FunctionType(ir.VoidType(), [vector, vector.as_pointer(), I32, ir.VectorType(BIT, tile.LANES)])
        masked = cgutils.get_or_insert_function(builder.module, shape, f"llvm.masked.store.{name}")
        with builder.if_else(whole(builder, tile, channels)) as cases:
            for is_whole, case in zip((True, False), cases):
                with case:
                    for m, v, i in registers(tile):
                        value = _fitted(builder, builder.extract_value(won, i), vector)
                        pointer = after(builder, builder.gep(argmax, [builder.extract_value(offsets, m)]), v * tile.LANES)
                        pointer = builder.bitcast(pointer, vector.as_pointer())
                        if is_whole:
                            builder.store(value, pointer).align = vector.element.width // 8
                        else:
                            builder.call(masked, [value, pointer, I32(vector.element.width // 8), real_lanes(builder, tile, channels, v)])
        return context.get_dummy_value()

    return types.void(tile, won, argmax, offsets, types.intp, types.intp), generate


@intrinsic
def no_sums(typing, tile):
    """np.zeros((MR, NR))"""
    return Sums(tile)(tile), lambda context, builder, signature, arguments: ir.Constant(signature.return_type.registers, None)


def _widened(builder, value):
    wide = ir.VectorType(DOUBLE, value.type.count)
    return value if value.type == wide else builder.fpext(value, wide)


@intrinsic
def widen(typing, tile, acc):
    """acc.astype(np.float64)"""

    def generate(context, builder, signature, arguments):
        return _each(builder, tile, signature.return_type, lambda i: _widened(builder, builder.extract_value(arguments[1], i)))

    return Sums(tile)(tile, acc), generate


@intrinsic
def rounded(typing, tile, sums):
    """sums.astype(dtype)"""

    def generate(context, builder, signature, arguments):
        def narrow(i):
            value = builder.extract_value(arguments[1], i)
            return value if value.type == tile.vector else builder.fptrunc(value, tile.vector)

        return _each(builder, tile, signature.return_type, narrow)

    return Accumulators(tile)(tile, sums), generate


@intrinsic
def add_sums(typing, tile, sums, more):
    """sums + more"""

    def generate(context, builder, signature, arguments):
        _, sums, more = arguments
        return _each(builder, tile, signature.return_type, lambda i: builder.fadd(builder.extract_value(sums, i), builder.extract_value(more, i)))

    return sums(tile, sums, more), generate


@intrinsic
def divide_rows(typing, tile, sums, divisors, at, step, last):
    """sums / divisors[at + np.minimum(np.arange(MR), last) * step][:, None]"""

    def generate(context, builder, signature, arguments):
        _, sums, divisors, at, step, last = arguments
        divisors = address(context, builder, signature.args[2], divisors, at)
        rows = []
        for m in range(tile.MR):
            i = ir.Constant(I64, m)
            i = builder.select(builder.icmp_signed("<", i, last), i, last)
            divisor = builder.load(builder.gep(divisors, [builder.mul(i, step)]))
            rows.append(splat(builder, divisor, signature.args[1].vector))
        for m, _, i in registers(tile):
            sums = builder.insert_value(sums, builder.fdiv(builder.extract_value(sums, i), rows[m]), i)
        return sums

    return sums(tile, sums, divisors, types.intp, types.intp, types.intp), generate
