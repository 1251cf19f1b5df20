"""Intrinsics that lay the patches of a depthwise pass out: vectors of neighboring channels, and vectors put together from single elements.

Each docstring says what it means in NumPy. Nothing checks bounds.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.tile import I64, address, load, store


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
