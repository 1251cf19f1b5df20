"""Intrinsics that share a broadcast among the taps of a kernel row: of planes, where the pixels of a row are neighbors.

A tile is MR pixels x one vector of channels. Each docstring says what it means in NumPy. Nothing checks bounds.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.kernels.simd.tile import address, after, load, multiply_add, splat


@intrinsic(prefer_literal=True)
def fma_sliding(typing, tile, taps, acc, x, k, w, at):
    """acc + sum over t < taps of x[k + t : k + t + MR, None] * w[at + t * NR : at + (t + 1) * NR], t a constant

    Pixel j meets tap t in row j - t: MR + taps - 1 broadcasts for MR * taps products.
    """
    if not isinstance(taps, types.IntegerLiteral):
        return None
    count = taps.literal_value

    def generate(context, builder, signature, arguments):
        _, _, acc, x, k, w, at = arguments
        x, w = address(context, builder, signature.args[3], x, k), address(context, builder, signature.args[5], w, at)
        fused, values = multiply_add(builder, tile), [builder.extract_value(acc, m) for m in range(tile.MR)]
        weights = [load(builder, tile, after(builder, w, t * tile.LANES)) for t in range(count)]
        for j in range(tile.MR + count - 1):
            pixel = splat(builder, builder.load(after(builder, x, j)), tile.vector)
            for t in range(max(0, j - tile.MR + 1), min(count, j + 1)):
                values[j - t] = builder.call(fused, [pixel, weights[t], values[j - t]])
        result = ir.Constant(signature.return_type.registers, ir.Undefined)
        for m, value in enumerate(values):
            result = builder.insert_value(result, value, m)
        return result

    return acc(tile, taps, acc, x, types.intp, w, types.intp), generate
