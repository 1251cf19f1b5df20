"""exp, tanh and their kin against float64, over all exponents of float32, and against more than float64's digits."""

import math

import numpy as np
import pytest
from geometries import DTYPES
from numba import njit

from fastconv.kernels.compile.flags import FLAGS
from fastconv.kernels.elementwise import exponential
from fastconv.kernels.simd.host import registers

EVERY = np.arange(0, 2**32, 60_013, dtype=np.uint32).view(np.float32)  # all exponents and signs, denormal numbers, Inf and NaN
NEAR = np.linspace(-110, 110, 100_001).astype(np.float32)
WIDER = np.finfo(np.longdouble).nmant > 60  # x86's 80 bits; elsewhere it may be float64
ULP = 4 if registers().feature not in ("avx", "sse") else 8  # without FMA each product is rounded


def loop(function):
    """function(x[i]) of each element; of a pair its first."""

    def each(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    compiled = njit(**FLAGS)(each)

    def values(x):
        y = np.empty_like(x)
        compiled(x, y)
        return y

    return values


@njit(**FLAGS)
def up_to(x):
    return exponential.normal(x)[0]


@njit(**FLAGS)
def density(x):
    return exponential.normal(x)[1]


distribution = np.vectorize(lambda x: math.erfc(-x / math.sqrt(2)) / 2, otypes=[np.float64])
FUNCTIONS = {  # ours, the reference, and from where to where it is made for
    "exp": (exponential.exponential, np.exp, -np.inf, 40),
    "exp - 1": (exponential.exponential_less_one, np.expm1, -np.inf, 40),
    "tanh": (exponential.tangent, np.tanh, -np.inf, np.inf),
    "logistic": (exponential.logistic, lambda x: np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x))), -np.inf, np.inf),
    "log(1 + x)": (exponential.logarithm_of_one_plus, np.log1p, 0, 1),
    "normal": (up_to, distribution, -np.inf, np.inf),
    "normal density": (density, lambda x: np.exp(-x * x / 2) / np.sqrt(2 * np.pi), -14, 14),
}


def off(found: np.ndarray, exact: np.ndarray) -> float:
    """The largest distance in units in the last place, denormal numbers' too; Inf, NaN and 0 must be the same."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        rounded = exact.astype(found.dtype)
        finite = np.isfinite(rounded)
        np.testing.assert_array_equal(found[~finite], rounded[~finite])
        ulp = np.spacing(np.abs(rounded[finite]))
        return float((np.abs(found[finite] - exact[finite]) / ulp).max())


@pytest.mark.parametrize("name", FUNCTIONS)
@np.errstate(over="ignore", under="ignore", invalid="ignore")
def test_in_float32_all_are_within_4_ulp_of_float64(name):
    ours, reference, least, most = FUNCTIONS[name]
    x = np.concatenate([EVERY, NEAR])
    x = x[~((x < least) | (x > most))]
    found = loop(ours)(x)
    assert found.dtype == np.float32
    assert off(found, reference(x.astype(np.float64))) <= ULP + (name == "normal")  # 4.3, of 40 million numbers


@pytest.mark.skipif(not WIDER, reason="nothing here has more digits than float64")
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not name.startswith("normal")])
@np.errstate(over="ignore", under="ignore", invalid="ignore")
def test_in_float64_all_are_within_4_ulp_of_more(name):
    ours, reference, least, most = FUNCTIONS[name]
    rng = np.random.default_rng(3)
    x = np.concatenate([*(rng.uniform(-1, 1, 20_000) * scale for scale in (1e-300, 1e-9, 1, 5, 50, 750)), [0, np.inf, -np.inf, np.nan, 709.7, -745]])
    x = x[~((x < least) | (x > most))]
    assert off(loop(ours)(x), reference(x.astype(np.longdouble))) <= ULP


def test_the_normal_distribution_in_float64():
    """math.erfc is itself off by an ulp, and by what rounding x / sqrt(2) makes of it."""
    x = np.linspace(-30, 8, 5001)
    np.testing.assert_allclose(loop(up_to)(x), distribution(x), rtol=2.0**-52 * (4 + 30 * 30))
    x = np.linspace(-1.5, 8, 5001)
    assert off(loop(up_to)(x), distribution(x)) <= ULP + 3


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_a_vector_and_what_is_behind_it_have_the_same_bits(dtype):
    run, x = loop(exponential.tangent), np.random.default_rng(0).standard_normal(300).astype(dtype)
    np.testing.assert_array_equal(np.concatenate([run(x[i : i + 1]) for i in range(300)]), run(x))
