"""The matrices of Winograd's convolution, derived anew in exact fractions, and the vector code that multiplies with them."""

from fractions import Fraction

import numpy as np
import pytest
from numba import njit

from fastconv.kernels.compile.flags import FLAGS
from fastconv.kernels.simd.host import menu
from fastconv.kernels.simd.transforms import both_sides, gather_grid, load_grid, store_grid, store_part
from fastconv.kernels.winograd.matrices import OUTPUTS, POINTS, amplification, axis, cook_toom, transforms

LANES = menu(np.dtype(np.float32))[0][0].LANES
TAPS = [(KH, KW) for KH in OUTPUTS for KW in OUTPUTS]
every_kernel = pytest.mark.parametrize("taps", TAPS, ids=lambda taps: "x".join(map(str, taps)))
NAMES = ("AT", "G", "BT", "A", "GT")


def fractions(rng, *shape) -> np.ndarray:
    return np.array([Fraction(int(n), 7) for n in rng.integers(-9, 10, shape).ravel()]).reshape(shape)


def exact(KH: int, KW: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Both matrices of each transform."""
    found = {name: tuple(np.array(matrix, object) for matrix in pair) for name, pair in zip(NAMES, zip(axis(KH), axis(KW)))}
    return found | {"A": tuple(a.T for a in found["AT"]), "GT": tuple(g.T for g in found["G"])}


def sides(pair, grid):
    return pair[0] @ grid @ pair[1].T


@every_kernel
def test_three_transforms_are_the_correlation(taps):
    """y = A^T [(G w G^T) * (B^T d B)] A, and dw = G^T [(B^T d B) * (A dy A^T)] G, exactly."""
    rng, m = np.random.default_rng(0), [OUTPUTS[K] for K in taps]
    by = exact(*taps)
    d, w, dy = fractions(rng, *(o + K - 1 for o, K in zip(m, taps))), fractions(rng, *taps), fractions(rng, *m)
    V = sides(by["BT"], d)
    y, dw = sides(by["AT"], sides(by["G"], w) * V), sides(by["GT"], V * sides(by["A"], dy))
    for h, k in np.ndindex(*m):
        assert y[h, k] == (d[h : h + taps[0], k : k + taps[1]] * w).sum()
    for h, k in np.ndindex(*taps):
        assert dw[h, k] == (d[h : h + m[0], k : k + m[1]] * dy).sum()


def test_matrices_are_polynomials_at_their_points():
    """Rows of A and G: powers of a point, infinity's the last power alone, G's over the product of distances; B^T: products of (x - point)."""
    AT, G, BT = cook_toom(4, 3, POINTS)
    for k, p in enumerate(POINTS):
        others = [q for q in POINTS if q != p]
        scale = Fraction(1)
        for q in others:
            scale *= p - q
        assert [row[k] for row in AT] == [p**i for i in range(4)]
        assert [entry * scale for entry in G[k]] == [p**i for i in range(3)]
        for x in map(Fraction, range(-3, 9)):  # a polynomial of degree 5 that equals another in 12 places is the same
            product = Fraction(1)
            for q in others:
                product *= x - q
            assert sum(c * x**i for i, c in enumerate(BT[k])) == product
    assert ([row[5] for row in AT], G[5]) == ([0, 0, 0, 1], [0, 0, 1])


@njit(**FLAGS)
def transformed(transform, x, at, steps, y, to, apart):
    store_grid(transform, both_sides(transform, load_grid(transform, x, at, steps[0], steps[1])), y, to, apart[0], apart[1])


@every_kernel
@pytest.mark.parametrize("name", NAMES)
def test_vector_code_multiplies_with_the_matrices(name, taps):
    """Every number within a few roundings, of a grid anywhere in memory, into cells anywhere, and nothing beside them."""
    rng, transform = np.random.default_rng(0), getattr(transforms(*taps, LANES), name)
    left, right = (np.array(matrix, np.float64) for matrix in exact(*taps)[name])
    rows, columns = left.shape[1], right.shape[1]
    x = rng.standard_normal((rows + 1, columns + 2, LANES)).astype(np.float32)
    y = np.full((left.shape[0] + 1, right.shape[0] + 1, LANES), np.nan, np.float32)
    transformed(transform, x.ravel(), LANES, (x[0].size, LANES), y.ravel(), 0, (y[0].size, LANES))
    grid = x[:rows, 1 : columns + 1].astype(np.float64)
    expected = np.einsum("ik,klc,jl->ijc", left, grid, right)
    size = np.einsum("ik,klc,jl->ijc", abs(left), abs(grid), abs(right))
    assert (abs(y[:-1, :-1] - expected) <= 12 * 2.0**-24 * size).all()
    assert np.isnan(y[-1]).all()
    assert np.isnan(y[:, -1]).all()


@njit(**FLAGS)
def gathered(transform, x, rows, columns, channels, y, shape):
    grid = both_sides(transform, gather_grid(transform, x, 0, (rows, 1, 1), (columns, 0, 1), channels))
    store_part(transform, grid, y, 0, (4 * LANES, LANES), shape, channels)


@pytest.mark.parametrize("channels", [1, LANES - 1, LANES, LANES + 3])
def test_ragged_windows_and_tiles(channels):
    """Offsets of -1 and channels past the last are zeros and not read; outputs past the map's end are not stored."""
    rng, transform = np.random.default_rng(0), transforms(3, 3, LANES).AT
    x = rng.standard_normal((6, 6, LANES)).astype(np.float32)
    rows, columns = np.arange(-1, 6) * 6 * LANES, np.arange(6) * LANES
    rows[3], columns[5] = -1, -1
    read = x[..., :channels].copy()
    read[2] = read[:, 5] = 0
    x[2] = x[:, 5] = x[..., channels:] = np.nan
    y = np.full((4, 4, LANES), np.nan, np.float32)
    gathered(transform, x.ravel(), rows, columns, channels, y.ravel(), (3, 2))
    left, right = (np.array(matrix, np.float64) for matrix in exact(3, 3)["AT"])
    expected = np.einsum("ik,klc,jl->ijc", left, read.astype(np.float64), right)
    np.testing.assert_allclose(y[:3, :2, :channels], expected[:3, :2], rtol=0, atol=1e-4)
    assert np.isnan(y).sum() == y.size - 6 * min(channels, LANES)


def test_how_much_larger_sums_may_be():
    """The error bound's factor: of one tap nothing, of more the larger the more outputs a tile has."""
    assert amplification(1, 1) == 1
    assert 1 < amplification(1, 5) < amplification(1, 3) < amplification(3, 3)
