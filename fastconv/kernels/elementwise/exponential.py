"""exp and what is made of it, for float32 and float64, as arithmetic that LLVM vectorizes (the C library's is one call for each number).

    x = n ln 2 + r, |r| <= 0.35        exp(x) = 2**n * (1 + rest), rest = exp(r) - 1, a polynomial
    tanh(x) = e / (e + 2), e = exp(2 x) - 1, which near 0 is the rest alone: no digits are lost

All are within 4 ulp, the normal distribution within 5, in float32 and float64 (8 where the CPU has no FMA). NaN stays NaN; what is too small for the
dtype becomes denormal, then 0.
"""

import math

from fastconv.kernels.compile import inlined, outlined, serial
from fastconv.kernels.simd.scalars import ROUNDER, leading_half, polynomial, power_of_two, times_power_of_two

LOWEST = polynomial((-104.0,), (-746.0,))  # exp of less is 0
LOG2_E = 1.4426950408889634
LN2_HIGH = polynomial((0.693359375,), (6.93147180369123816490e-01,))  # with zeros at its end: n * LN2_HIGH is exact
LN2_LOW = polynomial((-2.12194440054690583e-4,), (1.90821492927058770002e-10,))
SQUARES = polynomial(*([1 / math.factorial(k) for k in range(2, last + 1)] for last in (7, 13)))  # (exp(r) - 1 - r) / r**2; the rest is below u / 10
ARTANH = polynomial(*([2 / (2 * k + 1) for k in range(terms)] for terms in (9, 18)))  # 2 artanh(s) / s, of s**2 <= 1 / 9
SATURATED = polynomial((9.5,), (19.5,))  # tanh is 1 from here on

# Phi(-z) = exp(-z**2 / 2) * t * Q(1 - 2 k z t), t = 1 / (1 + k z): one smooth function from z = 0 to where the exponential is 0. Q was interpolated
# at Chebyshev points of t in 50 digits; its errors are 5e-9 and 2e-16.
FARTHEST = polynomial((14.5,), (39.0,))
NEARNESS = polynomial((0.3,), (0.25,))
TAIL = polynomial(
    (
        0.2219706133, 0.1645794899, 0.08654969223, 0.02776025541, 0.001816256244, -0.002423168326, -0.000570639451, 0.0002804780184, 7.795056206e-05,
        -4.092973484e-05,
    ),
    (
        0.18882128260393788, 0.15197416049297294, 0.09678435018555472, 0.04663046448992354, 0.015099143722674867, 0.0018850472413982648,
        -0.0008699230905606333, -0.0004077046104725899, 3.333606350476228e-05, 5.777370457984405e-05, -4.769666329153394e-07, -8.786045289440243e-06,
        1.7875139898040247e-07, 1.479723182940809e-06, -1.56283026011967e-07, -2.549512129533793e-07, 6.592062144101906e-08, 3.856580134192769e-08,
        -1.9095205133726126e-08, -3.644648336759115e-09, 3.4810059983754273e-09, -1.8173863697566723e-11, -2.413356355057126e-10,
    ),
)  # fmt: skip
DENSITY = 1 / math.sqrt(2 * math.pi)


@serial
def exponential_parts(x, low):
    """(rounded, rest): exp(x + low) = 2**n * (1 + rest), rounded = ROUNDER + n. x: about LOWEST..40, low: much less than 1"""
    rounded = x * type(x)(LOG2_E) + ROUNDER(x)
    n = rounded - ROUNDER(x)
    r = ((x - n * LN2_HIGH(x)) - n * LN2_LOW(x)) + low
    return rounded, r + r * r * SQUARES(r)


@serial
def exponential_sum(x, low):
    """exp(x + low), for x from about LOWEST to 40: those that are needed are of differences from a maximum, and of negative numbers"""
    rounded, rest = exponential_parts(x, low)
    return times_power_of_two(type(x)(1) + rest, rounded)


@serial
def exponential(x):
    """exp(x), for x up to 40"""
    x = LOWEST(x) if x < LOWEST(x) else x  # NaN stays
    return exponential_sum(x, type(x)(0))


@outlined
def exponentials(values):
    """values = exp(values), which are up to 40"""
    for i in range(values.size):
        values[i] = exponential(values[i])


@serial
def exponential_less_one(x):
    """exp(x) - 1, for x up to 40"""
    real = type(x)
    x = real(-40) if x < real(-40) else x
    rounded, rest = exponential_parts(x, real(0))
    power = power_of_two(rounded)
    return (power - real(1)) + power * rest


@serial
def tangent(x):
    """tanh(x)"""
    real, most = type(x), SATURATED(x)
    x = -most if x < -most else x
    x = most if x > most else x
    e = exponential_less_one(x + x)
    return e / (e + real(2))


@serial
def logistic(x):
    """1 / (1 + exp(-x)), for negative x exp(x) / (1 + exp(x)): no overflow, and no 1 that swallows the digits"""
    one = type(x)(1)
    small = exponential(-abs(x))
    return (small if x < 0 else one) / (one + small)


@serial
def logarithm_of_one_plus(u):
    """log(1 + u), for u in 0..1"""
    s = u / (u + type(u)(2))
    return s * ARTANH(s * s)


@inlined
def normal(x):
    """The standard normal distribution up to x, (1 + erf(x / sqrt(2))) / 2, and its density at x."""
    real, most = type(x), FARTHEST(x)
    z = abs(x)
    z = most if z > most else z
    high = leading_half(z)
    e = exponential_sum(high * high * real(-0.5), (z - high) * (z + high) * real(-0.5))
    kz = z * NEARNESS(x)
    t = real(1) / (real(1) + kz)
    tail = e * (t * TAIL(real(1) - real(2) * (kz * t)))
    return (tail if x < 0 else real(1) - tail), e * real(DENSITY)
