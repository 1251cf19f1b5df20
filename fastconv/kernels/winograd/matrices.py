"""The three matrices of F(4, 3): four neighboring outputs of three taps by six multiplications instead of twelve (Cook 1966, Toom 1963).

    y = A^T [(G w) * (B^T d)]          d: six inputs, w: three taps, y: y[i] = d[i] w[0] + d[i+1] w[1] + d[i+2] w[2]

Taps and (transposed) outputs are polynomials, multiplied by their values at six points, infinity the last of them. Five taps by the same six
points are F(2, 5), with the same B^T; one tap is F(1, 1), 1 times 1. In two dimensions a matrix stands on either side, one for each axis
(Lavin and Gray 2015, arXiv:1509.09308): 3x3 taps take 36 multiplications instead of 144, 5x5 taps 36 instead of 100, 1x3 taps 6 instead of 12.

>>> AT, G, BT = cook_toom(4, 3, POINTS)
>>> d, w = [3, -1, 4, 1, -5, 9], [2, 7, 1]
>>> product = [u * v for u, v in zip(times(G, w), times(BT, d))]
>>> times(AT, product) == [sum(d[i + k] * w[k] for k in range(3)) for i in range(4)]
True
>>> [str(entry) for entry in AT[1]]
['0', '2/3', '-2/3', '3/2', '-3/2', '0']
"""

from fractions import Fraction
from functools import cache
from math import prod
from typing import NamedTuple

from fastconv.kernels.simd.transforms import Transform

OUTPUTS = {1: 1, 3: 4, 5: 2}  # of a tile, along an axis of so many taps
# Relative error of a forward pass in L2 with 64 channels: 7.5e-7; with 1, -1, 2, -2 instead 1.6e-6, with 1/2, -1/2, 2, -2 1.1e-6.
POINTS = Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2)


def cook_toom(outputs: int, taps: int, points: tuple[Fraction, ...]) -> tuple[list, list, list]:
    """A^T, G and B^T in exact fractions; infinity is the last point.

    A and G evaluate polynomials at the points; row i of B^T is the product of (x - q) over the other points q, the last one over all of them.
    """
    AT = [[p**i for p in points] + [int(i == outputs - 1)] for i in range(outputs)]
    others = [[q for q in points if q != p] for p in points]
    G = [[p**k / prod(p - q for q in rest) for k in range(taps)] for p, rest in zip(points, others)] + [[int(k == taps - 1) for k in range(taps)]]
    BT = [coefficients(rest) + [0] for rest in others] + [coefficients(points)]
    return AT, G, BT


def coefficients(roots) -> list[Fraction]:
    """Those of the product of (x - root), the constant first."""
    c = [Fraction(1)]
    for root in roots:
        c = [(c[i - 1] if i else 0) - (root * c[i] if i < len(c) else 0) for i in range(len(c) + 1)]
    return c


def times(matrix, column) -> list:
    return [sum(a * b for a, b in zip(row, column)) for row in matrix]


@cache
def axis(taps: int) -> tuple[list, list, list]:
    """A^T, G and B^T of an axis of so many taps."""
    return cook_toom(OUTPUTS[taps], taps, POINTS if taps > 1 else ())


class Transforms(NamedTuple):
    """As kernels take them, for both axes; the last two are the weight gradient's."""

    AT: Transform
    G: Transform
    BT: Transform
    A: Transform
    GT: Transform


@cache
def transforms(KH: int, KW: int, LANES: int) -> Transforms:
    AT, G, BT = zip(axis(KH), axis(KW))
    A, GT = ([[*zip(*matrix)] for matrix in pair] for pair in (AT, G))
    return Transforms(*(Transform(*pair, LANES) for pair in (AT, G, BT, A, GT)))


@cache
def amplification(KH: int, KW: int) -> float:
    """How much larger than its result a sum over absolute values may be: the largest entry of |A^T| (|G| 1 * |B^T| 1), of both axes."""
    return _amplification(KH) * _amplification(KW)


def _amplification(taps: int) -> float:
    AT, G, BT = axis(taps)
    values = [sum(map(abs, g)) * sum(map(abs, b)) for g, b in zip(G, BT)]
    return float(max(times([list(map(abs, row)) for row in AT], values)) / taps)
