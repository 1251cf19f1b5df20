"""exp as arithmetic that LLVM vectorizes (the C library's is one call for each element): x = n ln 2 + r, exp(x) = 2**n * exp(r), |r| <= 0.35."""

import numpy as np

from fastconv.kernels.compile import serial
from fastconv.kernels.simd.lanewise import times_power_of_two

LOWEST, HIGHEST = -708.0, 709.5  # below 0, above Inf
ROUNDER = 1.5 * 2.0**52  # a number plus this has no fraction
LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # the first with zeros at its end: n * LN2_HIGH is exact


@serial
def exponential_parts(x):
    """(power, rest) of a float64: exp(x) = power + power * rest, to 2 ulp. power is NaN for NaN, 0 below -708, Inf above 709.5."""
    inside = x if x > LOWEST else LOWEST  # NaN, too: it comes back below
    inside = inside if inside < HIGHEST else HIGHEST
    shifted = inside * LOG2_E + ROUNDER
    n = shifted - ROUNDER
    r = (inside - n * LN2_HIGH) - n * LN2_LOW
    s = 1 / 39916800 + r * (1 / 479001600 + r * (1 / 6227020800))  # the Taylor series from 1 / 11! to 1 / 13!: its rest is below 2**-55
    s = 1 / 40320 + r * (1 / 362880 + r * (1 / 3628800 + r * s))
    s = 1 / 120 + r * (1 / 720 + r * (1 / 5040 + r * s))
    rest = r + r * r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * s)))
    power = times_power_of_two(1.0, shifted)
    power = 0.0 if x < LOWEST else power
    power = np.inf if x > HIGHEST else power
    rest = rest if x <= HIGHEST else 1.0  # Inf + Inf * rest must not be NaN
    power = power if x == x else x
    return power, rest
