"""Intrinsics that move tiles between registers and memory. Each docstring says what it means in NumPy. Nothing checks bounds."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.kernels.simd import tile as tiles
from fastconv.kernels.simd.tile import I64, Accumulators, Offsets, address, after, load, load_channels, load_real, registers, store, whole


@intrinsic
def offsets(typing, tile, table, first, last):
    """table[np.minimum(first + np.arange(MR), last)]: where a tile is ragged, the last pixel again"""

    def generate(context, builder, signature, arguments):
        _, table, first, last = arguments
        result = ir.Constant(signature.return_type.registers, ir.Undefined)
        for m in range(tile.MR):
            i = builder.add(first, ir.Constant(I64, m))
            i = builder.select(builder.icmp_signed("<", i, last), i, last)
            result = builder.insert_value(result, builder.load(address(context, builder, signature.args[1], table, i)), m)
        return result

    return Offsets(tile)(tile, table, types.intp, types.intp), generate


@intrinsic
def offsets_apart(typing, tile, step, count):
    """np.minimum(np.arange(MR), count - 1) * step: rows at equal distances, past the end the last row is repeated"""

    def generate(context, builder, signature, arguments):
        _, step, count = arguments
        last = builder.sub(count, ir.Constant(I64, 1))
        result = ir.Constant(signature.return_type.registers, ir.Undefined)
        for m in range(tile.MR):
            i = ir.Constant(I64, m)
            i = builder.select(builder.icmp_signed("<", i, last), i, last)
            result = builder.insert_value(result, builder.mul(i, step), m)
        return result

    return Offsets(tile)(tile, types.intp, types.intp), generate


@intrinsic
def load_rows(typing, tile, x, offsets, at, channels):
    """x[offsets[:, None] + at + np.arange(NR)], but 0 after the first `channels` channels, where x is not read"""

    def generate(context, builder, signature, arguments):
        _, x, offsets, at, channels = arguments
        x = address(context, builder, signature.args[1], x, at)
        loaded = []
        with builder.if_else(whole(builder, tile, channels)) as cases:
            for is_whole, case in zip((True, False), cases):
                with case:
                    acc = ir.Constant(signature.return_type.registers, ir.Undefined)
                    for m, v, i in registers(tile):
                        pointer = after(builder, builder.gep(x, [builder.extract_value(offsets, m)]), v * tile.LANES)
                        row = load(builder, tile, pointer) if is_whole else load_real(builder, tile, pointer, channels, v)
                        acc = builder.insert_value(acc, row, i)
                    loaded.append((acc, builder.block))
        result = builder.phi(signature.return_type.registers)
        for acc, block in loaded:
            result.add_incoming(acc, block)
        return result

    return Accumulators(tile)(tile, x, offsets, types.intp, types.intp), generate


@intrinsic
def store_rows(typing, tile, acc, y, offsets, at, channels):
    """y[offsets[:, None] + at + np.arange(channels)] = acc[:, :channels], no channel if there are none"""

    def generate(context, builder, signature, arguments):
        _, acc, y, offsets, at, channels = arguments
        y = address(context, builder, signature.args[2], y, at)
        with builder.if_else(whole(builder, tile, channels)) as (all_of_them, some):
            with all_of_them:
                for m, v, i in registers(tile):
                    pointer = after(builder, builder.gep(y, [builder.extract_value(offsets, m)]), v * tile.LANES)
                    store(builder, tile, builder.extract_value(acc, i), pointer)
            with some:
                _copy_channels(builder, tile, acc, y, offsets, channels)
        return context.get_dummy_value()

    return types.void(tile, acc, y, offsets, types.intp, types.intp), generate


def _copy_channels(builder, tile, acc, y, offsets, channels):
    """The ragged rows of `store_rows`, by way of memory: 8, 4, 2 and 1 elements, as `channels` has such bits. Masked stores of vectors take twelve
    cycles on Zen 3, these two or three."""
    rows, starts = (cgutils.alloca_once_value(builder, value) for value in (acc, offsets))
    rows = builder.bitcast(rows, tile.vector.element.as_pointer())
    with cgutils.for_range(builder, I64(tile.MR)) as loop:
        row = builder.gep(rows, [builder.mul(loop.index, I64(tile.NR))])
        to = builder.gep(y, [builder.load(builder.gep(starts, [I64(0), loop.index]))])
        size = 1 << (tile.NR - 1).bit_length() >> 1
        while size:
            with builder.if_then(builder.icmp_signed("!=", builder.and_(channels, I64(size)), I64(0))):
                done = builder.and_(channels, I64(-2 * size))
                a, b = (builder.gep(pointer, [done]) for pointer in (row, to))
                cgutils.raw_memcpy(builder, b, a, I64(size), tile.bytes, align=tile.bytes)
            size //= 2


@intrinsic
def move_row(typing, tile, x, at, channels, y, to):
    """y[to : to + NR] = x[at : at + NR], but 0 after the first `channels` channels, where x is not read"""

    def generate(context, builder, signature, arguments):
        _, x, at, channels, y, to = arguments
        x, y = address(context, builder, signature.args[1], x, at), address(context, builder, signature.args[4], y, to)
        for v, row in enumerate(load_channels(builder, tile, x, channels)):
            store(builder, tile, row, after(builder, y, v * tile.LANES))
        return context.get_dummy_value()

    return types.void(tile, x, types.intp, types.intp, y, types.intp), generate


@intrinsic
def move_column(typing, tile, x, at, y, to):
    """y[to : to + MR] = x[at : at + MR]"""

    def generate(context, builder, signature, arguments):
        _, x, at, y, to = arguments
        x, y = address(context, builder, signature.args[1], x, at), address(context, builder, signature.args[3], y, to)
        cgutils.raw_memcpy(builder, y, x, ir.Constant(I64, tile.MR * tile.bytes), 1, align=tile.bytes)
        return context.get_dummy_value()

    return types.void(tile, x, types.intp, y, types.intp), generate


@intrinsic
def add_to_row(typing, tile, x, at, channels, y, to):
    """y[to : to + NR] += x[at : at + NR], only in the first `channels` channels"""

    def generate(context, builder, signature, arguments):
        _, x, at, channels, y, to = arguments
        x, y = address(context, builder, signature.args[1], x, at), address(context, builder, signature.args[4], y, to)
        for v in range(tile.NV):
            more, here = after(builder, x, v * tile.LANES), after(builder, y, v * tile.LANES)
            row = builder.fadd(load_real(builder, tile, here, channels, v), load_real(builder, tile, more, channels, v))
            tiles.store_real(builder, tile, row, here, channels, v)
        return context.get_dummy_value()

    return types.void(tile, x, types.intp, types.intp, y, types.intp), generate


@intrinsic
def add_to_totals(typing, tile, acc, totals, at, fresh):
    """totals[at : at + MR * NR] = (0 if fresh else totals[at : at + MR * NR]) + acc.astype(totals.dtype).ravel()

    No branch: sums that met those of another way would pass through memory.
    """

    def generate(context, builder, signature, arguments):
        _, acc, totals, at, fresh = arguments
        totals = address(context, builder, signature.args[2], totals, at)
        scalar, _, alignment = tiles.ELEMENTS[signature.args[2].dtype]
        vector = ir.VectorType(scalar, tile.LANES)
        anew = builder.icmp_signed("!=", fresh, ir.Constant(I64, 0))
        for _, _, i in registers(tile):
            pointer = builder.bitcast(after(builder, totals, i * tile.LANES), vector.as_pointer())
            value = builder.extract_value(acc, i)
            value = value if tile.vector == vector else builder.fpext(value, vector)
            before = builder.load(pointer)
            before.align = alignment
            before = builder.select(anew, ir.Constant(vector, None), before)
            builder.store(builder.fadd(before, value), pointer).align = alignment
        return context.get_dummy_value()

    return types.void(tile, acc, totals, types.intp, types.intp), generate


@intrinsic
def load_or_zeros(typing, tile, x, offsets, at, fresh):
    """np.zeros((MR, NR)) if fresh else x[offsets[:, None] + at + np.arange(NR)], without a branch"""

    def generate(context, builder, signature, arguments):
        _, x, offsets, at, fresh = arguments
        x, anew = address(context, builder, signature.args[1], x, at), builder.icmp_signed("!=", fresh, ir.Constant(I64, 0))
        acc, nothing = ir.Constant(signature.return_type.registers, ir.Undefined), ir.Constant(tile.vector, None)
        for m, v, i in registers(tile):
            row = load(builder, tile, after(builder, builder.gep(x, [builder.extract_value(offsets, m)]), v * tile.LANES))
            acc = builder.insert_value(acc, builder.select(anew, nothing, row), i)
        return acc

    return Accumulators(tile)(tile, x, offsets, types.intp, types.intp), generate
