"""Intrinsics that share a broadcast among the taps of a kernel row: of planes, where the pixels of a row are neighbors.

A tile is MR pixels x one vector of channels. Each docstring says what it means in NumPy. Nothing checks bounds.
"""

from functools import cache

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.kernels.simd.tile import I64, Accumulators, TileType, address, after, load, load_real, multiply_add, splat, tile_type


def _packed(builder, tile, values: list):
    """The accumulators of these registers."""
    acc = ir.Constant(Accumulators(tile).registers, ir.Undefined)
    for i, value in enumerate(values):
        acc = builder.insert_value(acc, value, i)
    return acc


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
        return _packed(builder, tile, values)

    return acc(tile, taps, acc, x, types.intp, w, types.intp), generate


class Taps:
    """R rows of K taps x one vector of channels: the sums of a weight gradient. Kernels read R, K, MR = R * K, NR and LANES."""

    def __init__(self, R: int, K: int, LANES: int, dtype: np.dtype):
        self.R, self.K, self.LANES, self.dtype = R, K, LANES, np.dtype(dtype)
        self.MR, self.NR = R * K, LANES
        self._numba_type_ = _taps_type(R, K, LANES, numba.from_dtype(self.dtype))

    def __repr__(self) -> str:
        return f"Taps({self.R}, {self.K}, {self.LANES}, {self.dtype})"


class TapsType(TileType):
    """A tile, for all other intrinsics, of R * K rows."""

    fields = *TileType.fields, "R"

    def __init__(self, R, K, LANES, element):
        super().__init__(R * K, 1, LANES, element)
        self.R, self.K, self.rows = R, K, tile_type(R, 1, LANES, element)
        self.name = f"Taps({R}, {K}, {LANES}, {element})"


_taps_type = cache(TapsType)


@intrinsic
def tap_rows(typing, taps):
    """The tile of R rows, for the offsets of rows of pixels."""
    return taps.rows(taps), lambda context, *_: context.get_dummy_value()


def _fma_taps(builder, taps, acc, rows, x, gradients):
    """acc[r * K + t] + sum over i of x[rows[r] + i + t] * gradients[i]; a function in the place of a gradient loads it when it is first needed"""
    fused, values, K, window = multiply_add(builder, taps), [builder.extract_value(acc, i) for i in range(taps.MR)], taps.K, {}
    starts = [builder.gep(x, [builder.extract_value(rows, r)]) for r in range(taps.R)]
    for j in range(len(gradients) + K - 1):
        if j < len(gradients):
            window[j] = gradients[j]()
        for r, start in enumerate(starts):
            pixel = splat(builder, builder.load(after(builder, start, j)), taps.vector)
            for t in range(max(0, j - len(gradients) + 1), min(K, j + 1)):
                values[r * K + t] = builder.call(fused, [pixel, window[j - t], values[r * K + t]])
    return _packed(builder, taps, values)


@intrinsic(prefer_literal=True)
def fma_taps(typing, taps, pixels, acc, rows, x, k, dy):
    """acc[r * K + t] + sum over i < pixels of x[rows[r] + k + i + t] * gradients[at + i * step : ... + NR], dy = (gradients, at, step)

    A pixel, broadcast once a row, meets the K gradients of the outputs that it reached: (pixels + K - 1) * R broadcasts for pixels * K * R products.
    """
    if not isinstance(pixels, types.IntegerLiteral):
        return None
    count = pixels.literal_value

    def generate(context, builder, signature, arguments):
        _, _, acc, rows, x, k, dy = arguments
        gradients, at, step = cgutils.unpack_tuple(builder, dy)
        x, start = address(context, builder, signature.args[4], x, k), address(context, builder, signature.args[6][0], gradients, at)
        loads = [lambda i=i: load(builder, taps, builder.gep(start, [builder.mul(step, I64(i))])) for i in range(count)]
        return _fma_taps(builder, taps, acc, rows, x, loads)

    return acc(taps, pixels, acc, rows, x, types.intp, types.unliteral(dy)), generate


@intrinsic
def fma_taps_of_pixel(typing, taps, acc, rows, x, k, dy, at, channels):
    """acc[r * K + t] + x[rows[r] + k + t] * dy[at : at + NR], of dy only the first `channels` channels, 0 after them"""

    def generate(context, builder, signature, arguments):
        _, acc, rows, x, k, dy, at, channels = arguments
        x, dy = address(context, builder, signature.args[3], x, k), address(context, builder, signature.args[5], dy, at)
        return _fma_taps(builder, taps, acc, rows, x, [lambda: load_real(builder, taps, dy, channels, 0)])

    return acc(taps, acc, rows, x, types.intp, dy, types.intp, types.intp), generate
