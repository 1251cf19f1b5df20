"""Laws that passes of every kind obey: the adjoint identity, and the bound of rounding errors."""

import math

import numpy as np

ROUNDOFF = {np.float32: 2.0**-24, np.float64: 2.0**-53}  # u: half the distance from 1 to the next number


def assert_adjoint(*pairs: tuple[np.ndarray, np.ndarray], c: float = 0, S: float = 0) -> None:
    """<y, dy> = <x, dx> = <w, dw> for pairs of an array and its gradient, b = 0: all passes are derivatives of one multilinear form.

    Exactly, or in float64 within c roundings of S, which is the form of the absolute values.
    """
    forms = [math.fsum((a * da).ravel()) for a, da in pairs]
    assert max(forms) - min(forms) <= 2 * (c + 2) * ROUNDOFF[np.float64] * S, forms  # 2 more: the product with dy, fsum's own rounding


def assert_rounded(result: np.ndarray, exact: np.ndarray, S: np.ndarray, bounds: tuple[float, float], what: str = "") -> None:
    """|result - exact| <= c u S, where S is the same sum of absolute values. bounds: c, and that of the float64 textbook, which rounds as well."""
    c, oracle = bounds
    u = ROUNDOFF[result.dtype.type]
    assert (abs(result - exact) <= (c * u + oracle * ROUNDOFF[np.float64]) * S).all(), what


def assert_whole(found: np.ndarray, expected: np.ndarray, algorithm: str) -> None:
    """Sums of products of whole numbers: the same in every algorithm, but for Winograd's thirds in float32."""
    off = 0.01 if algorithm == "winograd" and found.dtype == np.float32 else 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=off, err_msg=algorithm, strict=True)


def halves(terms: int, dtype) -> tuple[np.ndarray, float]:
    """1 and then halves of its last digit: a running sum loses each of them. And their sum, rounded to float64."""
    u = ROUNDOFF[dtype]
    numbers = np.full(terms, u, dtype)
    numbers[0] = 1
    return numbers, 1 + (terms - 1) * u
