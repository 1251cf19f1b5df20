"""Intrinsics for passes over flat arrays: one row of NV vectors at a time. Each docstring says what it means in NumPy. Nothing checks bounds."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd import tile as registers_of
from fastconv.kernels.simd.tile import Accumulators, address, after, load_channels, registers, store_real, whole


@intrinsic
def load_row(typing, tile, x, at, count):
    """x[at : at + NR], but 0 after the first `count` elements, where x is not read"""

    def generate(context, builder, signature, arguments):
        _, x, at, count = arguments
        acc = ir.Constant(signature.return_type.registers, ir.Undefined)
        for i, vector in enumerate(load_channels(builder, tile, address(context, builder, signature.args[1], x, at), count)):
            acc = builder.insert_value(acc, vector, i)
        return acc

    return Accumulators(tile)(tile, x, types.intp, types.intp), generate


@intrinsic
def store_row(typing, tile, acc, y, at, count):
    """y[at : at + NR] = acc, only the first `count` elements"""

    def generate(context, builder, signature, arguments):
        _, acc, y, at, count = arguments
        y = address(context, builder, signature.args[2], y, at)
        with builder.if_else(whole(builder, tile, count)) as cases:
            for is_whole, case in zip((True, False), cases):
                with case:
                    for _, v, i in registers(tile):
                        value, pointer = builder.extract_value(acc, i), after(builder, y, v * tile.LANES)
                        if is_whole:
                            registers_of.store(builder, tile, value, pointer)
                        else:
                            store_real(builder, tile, value, pointer, count, v)
        return context.get_dummy_value()

    return types.void(tile, acc, y, types.intp, types.intp), generate


@intrinsic
def subtract(typing, tile, acc, others):
    """acc - others"""

    def generate(context, builder, signature, arguments):
        _, acc, others = arguments
        for _, _, i in registers(tile):
            acc = builder.insert_value(acc, builder.fsub(builder.extract_value(acc, i), builder.extract_value(others, i)), i)
        return acc

    return acc(tile, acc, others), generate


@intrinsic
def fma(typing, tile, acc, a, b):
    """acc + a * b"""

    def generate(context, builder, signature, arguments):
        _, acc, a, b = arguments
        fused = registers_of.multiply_add(builder, tile)
        for _, _, i in registers(tile):
            acc = builder.insert_value(acc, builder.call(fused, [builder.extract_value(value, i) for value in (a, b, acc)]), i)
        return acc

    return acc(tile, acc, a, b), generate


@intrinsic
def zero_where_clamped(typing, tile, acc, y):
    """np.where(y <= 0, 0, acc): NaN in y lets acc pass"""

    def generate(context, builder, signature, arguments):
        _, acc, y = arguments
        zero = ir.Constant(tile.vector, None)
        for _, _, i in registers(tile):
            clamped = builder.fcmp_ordered("<=", builder.extract_value(y, i), zero)
            acc = builder.insert_value(acc, builder.select(clamped, zero, builder.extract_value(acc, i)), i)
        return acc

    return acc(tile, acc, y), generate
