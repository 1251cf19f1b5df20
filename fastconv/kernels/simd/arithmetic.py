"""Intrinsics that compute in registers. Each docstring says what it means in NumPy.

Code is generated to unroll over registers only, never over data. Nothing checks bounds.
"""

import math

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.tile import I32, Accumulators, address, after, load, load_channels, multiply_add, registers, splat


@intrinsic
def zeros(typing, tile):
    """np.zeros((MR, NR))"""

    def generate(context, builder, signature, arguments):
        return ir.Constant(signature.return_type.registers, None)

    return Accumulators(tile)(tile), generate


@intrinsic
def full(typing, tile, value):
    """np.full((MR, NR), value), value a float64"""

    def generate(context, builder, signature, arguments):
        value = arguments[1] if tile.element == types.float64 else builder.fptrunc(arguments[1], tile.vector.element)
        value, acc = splat(builder, value, tile.vector), ir.Constant(signature.return_type.registers, ir.Undefined)
        for _, _, i in registers(tile):
            acc = builder.insert_value(acc, value, i)
        return acc

    return Accumulators(tile)(tile, types.float64), generate


@intrinsic
def fma_scaled(typing, tile, acc, weight, rows):
    """acc + weight * rows, weight a number of the tile's dtype"""

    def generate(context, builder, signature, arguments):
        _, acc, weight, rows = arguments
        weight, fused = splat(builder, weight, tile.vector), multiply_add(builder, tile)
        for _, _, i in registers(tile):
            acc = builder.insert_value(acc, builder.call(fused, [weight, builder.extract_value(rows, i), builder.extract_value(acc, i)]), i)
        return acc

    return acc(tile, acc, tile.element, rows), generate


def _rank1(builder, tile, acc, pointers, w):
    """acc[m] + x[m] * w[:NR], x[m] the scalar at pointers[m]"""
    fused = multiply_add(builder, tile)
    weights = [load(builder, tile, after(builder, w, v * tile.LANES)) for v in range(tile.NV)]
    numbers = [splat(builder, builder.load(pointer), tile.vector) for pointer in pointers]
    for m, v, i in registers(tile):
        acc = builder.insert_value(acc, builder.call(fused, [numbers[m], weights[v], builder.extract_value(acc, i)]), i)
    return acc


@intrinsic
def fma_gathered(typing, tile, acc, x, offsets, k, w, at):
    """acc + x[offsets + k][:, None] * w[at : at + NR]"""

    def generate(context, builder, signature, arguments):
        _, acc, x, offsets, k, w, at = arguments
        x, w = address(context, builder, signature.args[2], x, k), address(context, builder, signature.args[5], w, at)
        return _rank1(builder, tile, acc, [builder.gep(x, [builder.extract_value(offsets, m)]) for m in range(tile.MR)], w)

    return acc(tile, acc, x, offsets, types.intp, w, types.intp), generate


@intrinsic
def fma_contiguous(typing, tile, acc, x, k, w, at):
    """acc + x[k : k + MR, None] * w[at : at + NR]: one address for all MR, twice as fast as `fma_gathered` where it will do"""

    def generate(context, builder, signature, arguments):
        _, acc, x, k, w, at = arguments
        x, w = address(context, builder, signature.args[2], x, k), address(context, builder, signature.args[4], w, at)
        return _rank1(builder, tile, acc, [after(builder, x, m) for m in range(tile.MR)], w)

    return acc(tile, acc, x, types.intp, w, types.intp), generate


@intrinsic
def add(typing, tile, acc, others):
    """acc + others"""

    def generate(context, builder, signature, arguments):
        _, acc, others = arguments
        for _, _, i in registers(tile):
            acc = builder.insert_value(acc, builder.fadd(builder.extract_value(acc, i), builder.extract_value(others, i)), i)
        return acc

    return acc(tile, acc, others), generate


@intrinsic
def add_row(typing, tile, acc, b, at, channels):
    """acc + b[at : at + NR], only in the first `channels` channels"""

    def generate(context, builder, signature, arguments):
        _, acc, b, at, channels = arguments
        b = address(context, builder, signature.args[2], b, at)
        row = load_channels(builder, tile, b, channels)
        for _, v, i in registers(tile):
            acc = builder.insert_value(acc, builder.fadd(builder.extract_value(acc, i), row[v]), i)
        return acc

    return acc(tile, acc, b, types.intp, types.intp), generate


@intrinsic
def clamp(typing, tile, acc, lower_bound):
    """np.where(acc <= lower_bound, lower_bound, acc): NaN stays, -0 becomes 0; nothing is done where nothing bounds acc"""

    def generate(context, builder, signature, arguments):
        _, acc, lower_bound = arguments
        bounds, before, free = builder.fcmp_ordered(">", lower_bound, ir.Constant(lower_bound.type, -math.inf)), builder.block, acc
        with builder.if_then(bounds):
            if tile.element != types.float64:
                lower_bound = builder.fptrunc(lower_bound, tile.vector.element)
            lower_bound = splat(builder, lower_bound, tile.vector)
            for _, _, i in registers(tile):
                value = builder.extract_value(acc, i)
                value = builder.select(builder.fcmp_ordered("<=", value, lower_bound), lower_bound, value)
                acc = builder.insert_value(acc, value, i)
            within = builder.block
        result = builder.phi(acc.type)
        result.add_incoming(acc, within)
        result.add_incoming(free, before)
        return result

    return acc(tile, acc, types.float64), generate


@intrinsic
def transpose(typing, tile, acc):
    """acc.T, of a tile with MR = NR = LANES"""

    def generate(context, builder, signature, arguments):
        rows = [builder.extract_value(arguments[1], i) for i in range(tile.LANES)]
        step = 1
        while step < tile.LANES:  # 2 x 2 blocks of step x step elements swap their off-diagonal blocks
            low = [i if i // step % 2 == 0 else tile.LANES + i - step for i in range(tile.LANES)]
            high = [i + step if i // step % 2 == 0 else tile.LANES + i for i in range(tile.LANES)]
            for i in range(tile.LANES):
                if i // step % 2 == 0:
                    a, b = rows[i], rows[i + step]
                    rows[i] = builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, tile.LANES), low))
                    rows[i + step] = builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, tile.LANES), high))
            step *= 2
        acc = arguments[1]
        for i, row in enumerate(rows):
            acc = builder.insert_value(acc, row, i)
        return acc

    return acc(tile, acc), generate
