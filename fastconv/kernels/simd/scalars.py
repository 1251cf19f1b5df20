"""Intrinsics on single float32 or float64 numbers, for loops that LLVM makes vectors of: no calls, no branches. What a polynomial rounds is the same
in a vector and in the ragged end behind it, as each step is one instruction by name.
"""

from collections.abc import Callable, Sequence

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

ROUNDERS = {types.float32: 1.5 * 2.0**23, types.float64: 1.5 * 2.0**52}  # a number plus this has no fraction
FORMATS = {types.float32: (ir.FloatType(), ir.IntType(32), 23, 127), types.float64: (ir.DoubleType(), ir.IntType(64), 52, 1023)}  # mantissa, bias
HEADROOM = {types.float32: 64, types.float64: 512}


def polynomial(float32: Sequence[float], float64: Sequence[float]) -> Callable:
    """x -> c[0] + x * (c[1] + x * (c[2] + ...)) in x's dtype, of the coefficients for that dtype; a single one is a constant."""

    def horner(typing, x):
        coefficients = {types.float32: float32, types.float64: float64}[x]

        def generate(context, builder, signature, arguments):
            real = FORMATS[x][0]
            fused = cgutils.get_or_insert_function(builder.module, ir.FunctionType(real, [real] * 3), f"llvm.fmuladd.f{x.bitwidth}")
            *lower, value = (ir.Constant(real, c) for c in coefficients)
            for c in reversed(lower):
                value = builder.call(fused, [value, arguments[0], c])
            return value

        return x(x), generate

    return intrinsic(horner)


ROUNDER = polynomial((ROUNDERS[types.float32],), (ROUNDERS[types.float64],))


def _power(builder, kind, exponent):
    """2**exponent, of an integer inside the normal range"""
    real, word, mantissa, bias = FORMATS[kind]
    bits = builder.shl(builder.add(exponent, ir.Constant(word, bias)), ir.Constant(word, mantissa))
    return builder.bitcast(bits, real)


def _exponent(builder, kind, rounded):
    """n of rounded = ROUNDER + n: the difference of their bits"""
    real, word, _, _ = FORMATS[kind]
    return builder.sub(builder.bitcast(rounded, word), builder.bitcast(ir.Constant(real, ROUNDERS[kind]), word))


@intrinsic
def power_of_two(typing, rounded):
    """2**n, where rounded = ROUNDER + n: only inside the normal range"""

    def generate(context, builder, signature, arguments):
        return _power(builder, rounded, _exponent(builder, rounded, arguments[0]))

    return rounded(rounded), generate


@intrinsic
def times_power_of_two(typing, value, rounded):
    """value * 2**n, where rounded = ROUNDER + n, n < 64, in float64 512: in two factors, 2**(n + 64) and 2**-64, as the result may be denormal"""

    def generate(context, builder, signature, arguments):
        n, more = _exponent(builder, rounded, arguments[1]), HEADROOM[rounded]
        power = _power(builder, rounded, builder.add(n, ir.Constant(n.type, more)))
        return builder.fmul(builder.fmul(arguments[0], power), ir.Constant(power.type, 2.0**-more))

    return value(value, rounded), generate


@intrinsic
def leading_half(typing, x):
    """x without the lower half of its digits: its square is exact"""

    def generate(context, builder, signature, arguments):
        real, word, mantissa, _ = FORMATS[x]
        mask = ir.Constant(word, -1 << (mantissa // 2 + 1))
        return builder.bitcast(builder.and_(builder.bitcast(arguments[0], word), mask), real)

    return x(x), generate
