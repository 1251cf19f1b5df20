"""The three passes of a convolution and the bias gradient: every row of the table meets every geometry."""

import numpy as np
import pytest
import scipy.signal
from geometries import CONVOLUTIONS, DTYPES, NUMPYS, Convolution, integers, normals
from laws import assert_adjoint, assert_rounded, assert_whole, halves

import fastconv as fc
from fastconv import ops
from fastconv.geometry import Geometry
from fastconv.kernels import table

OPERATIONS = ("conv_forward", "conv_input_grad", "conv_weight_grad", "bias_grad")
ALGORITHMS = dict.fromkeys(row.name for operation in OPERATIONS for row in table.OPERATIONS[operation])

every_geometry = pytest.mark.parametrize("case", CONVOLUTIONS, ids=lambda case: case.name)
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
every_algorithm_that_fits = pytest.mark.parametrize(  # one of the passes; elsewhere its name would mean another's
    ("algorithm", "case"),
    [
        pytest.param(name, case, id=f"{name}-{case.name}")
        for name in ALGORITHMS
        for case in CONVOLUTIONS
        if any(row.name == name and row.fits(case.g) for operation in OPERATIONS for row in table.OPERATIONS[operation])
    ],
)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


def passes(case: Convolution, algorithm: str, x, w, b, dy) -> dict[str, np.ndarray]:
    """By operation; the bias gradient twice, alone and from the read of dy that the weights need."""
    with fc.algorithm(algorithm):
        dw, db = case.weight_grad(x, dy, return_bias_grad=True)
        y, dx = case.forward(x, w, b), case.input_grad(dy, w)
        return {"conv_forward": y, "conv_input_grad": dx, "conv_weight_grad": dw, "conv_weight_grad, bias": db, "bias_grad": ops.bias_grad(dy)}


def roundings(operation: str, algorithm: str, g: Geometry, dtype) -> float:
    with fc.algorithm(algorithm):
        name = operation.removesuffix(", bias")
        return table.pick(name, output_geometry(g) if name == "bias_grad" else g, dtype).error(g, dtype)


def output_geometry(g: Geometry) -> Geometry:
    return g._replace(IC=g.OC, ID=g.OD, IH=g.OH, IW=g.OW, KD=1, KH=1, KW=1)


def test_every_row_of_the_table_is_run_here():
    """By its name, in every geometry that it fits."""
    for case in CONVOLUTIONS:
        for operation in OPERATIONS:
            for row in table.OPERATIONS[operation]:
                with fc.algorithm(row.name):
                    assert table.pick(operation, case.g, np.float32).name == row.name or not row.fits(case.g)


@every_algorithm_that_fits
def test_adjoint_identity(case, algorithm):
    x, w, _, dy = case.draw(normals, np.float64)
    y, dx, dw, *_ = passes(case, algorithm, x, w, None, dy).values()
    c = max(roundings(operation, algorithm, case.g, np.float64) for operation in OPERATIONS[:3])
    assert_adjoint((y, dy), (x, dx), (w, dw), c=c, S=(case.forward(abs(x), abs(w)) * abs(dy)).sum())


@every_algorithm_that_fits
@every_dtype
def test_integers_are_exact(case, algorithm, dtype):
    """Whole numbers whose sums stay below 2**24: no order of summation rounds; Winograd's thirds do."""
    drawn = case.draw(integers, dtype)
    exact = passes(case, "reference", *(a.astype(np.float64) for a in drawn))
    for operation, result in passes(case, algorithm, *drawn).items():
        assert_whole(result, exact[operation].astype(dtype), algorithm)


@every_algorithm_that_fits
@every_dtype
def test_error_bound(case, algorithm, dtype):
    """|y - ref64(x, w, b)| <= c u ref64(|x|, |w|, |b|), c from the table's row; on random data c = 20 will do."""
    drawn = case.draw(normals, dtype)
    exact = passes(case, "reference", *(a.astype(np.float64) for a in drawn))
    S = passes(case, "reference", *(abs(a.astype(np.float64)) for a in drawn))
    for operation, result in passes(case, algorithm, *drawn).items():
        oracle = roundings(operation, "reference", case.g, np.float64)
        if algorithm == "winograd":  # a rounding in a window reaches all outputs of its tile, also those that do not read the number
            S[operation][...] = S[operation].max()
        assert_rounded(result, exact[operation], S[operation], (roundings(operation, algorithm, case.g, dtype), oracle), operation)
        assert_rounded(result, exact[operation], S[operation], (20, 0), operation)


@pytest.mark.parametrize("operation", OPERATIONS)
@every_algorithm
@every_dtype
@pytest.mark.parametrize("terms", [400, 600])
def test_error_bound_where_every_addition_rounds(operation, algorithm, dtype, terms):
    """A running sum loses all terms but the first, and the row's c must say so."""
    many, S = halves(terms, dtype)
    many = many[None, None]
    one, ones = np.ones((1, 1, 1), dtype), np.ones_like(many)
    long, short = Convolution("", many.shape, many.shape), Convolution("", many.shape, one.shape)
    wide = Convolution("", (1, 1, 1), (terms, 1, 1))
    with fc.algorithm(algorithm):
        g, result = {
            "conv_forward": lambda: (long.g, long.forward(many, ones)),
            "conv_input_grad": lambda: (wide.g, wide.input_grad(many.swapaxes(1, 2), ones.swapaxes(0, 2))),
            "conv_weight_grad": lambda: (short.g, short.weight_grad(many, ones)),
            "bias_grad": lambda: (short.g, ops.bias_grad(many)),
        }[operation]()
    assert_rounded(result, S, S, (roundings(operation, algorithm, g, dtype) + 1, 0))


def correlated(x, w, g: Geometry):
    """The forward pass by scipy: pad the input, put zeros between the taps, correlate all, keep every stride-th."""
    pads = [(0, 0), (0, 0), (g.PD, g.QD), (g.PH, g.QH), (g.PW, g.QW)]
    x = np.pad(x.reshape(g.N, g.IC, g.ID, g.IH, g.IW), pads, NUMPYS[g.padding_mode])
    taps = w.reshape(g.OC, g.IC // g.G, g.KD, g.KH, g.KW)
    spread = np.zeros((*taps.shape[:2], g.DD * (g.KD - 1) + 1, g.DH * (g.KH - 1) + 1, g.DW * (g.KW - 1) + 1))
    spread[:, :, :: g.DD, :: g.DH, :: g.DW] = taps
    y = np.empty((g.N, g.OC, g.OD, g.OH, g.OW))
    for n, oc in np.ndindex(g.N, g.OC):
        first = oc // (g.OC // g.G) * (g.IC // g.G)
        # all input channels at once: as long as the axis, "valid" leaves one position of it
        whole = scipy.signal.correlate(x[n, first : first + g.IC // g.G], spread[oc], "valid", method="direct")[0]
        y[n, oc] = whole[:: g.SD, :: g.SH, :: g.SW]
    return y.reshape(g.output_shape)


@every_geometry
def test_scipy_agrees(case):
    """Cross-correlation: the kernel is not flipped. Exactly, on integers."""
    x, w, _, _ = case.draw(integers, np.float64)
    np.testing.assert_array_equal(case.forward(x, w), correlated(x, w, case.g))


@every_algorithm
def test_bias_is_added_once(algorithm):
    x, w, b, _ = CONVOLUTIONS[1].draw(integers, np.float32)
    with fc.algorithm(algorithm):
        with_bias, without = CONVOLUTIONS[1].forward(x, w, b), CONVOLUTIONS[1].forward(x, w)
    np.testing.assert_array_equal(with_bias, without + b[:, None, None])


def test_linear_is_a_matrix_product():
    rng = np.random.default_rng(0)
    x, w, b, dy = (integers(rng, shape, np.float32) for shape in ((7, 45), (33, 45), (33,), (7, 33)))
    np.testing.assert_array_equal(ops.linear(x, w, b), x @ w.T + b)
    np.testing.assert_array_equal(ops.linear_input_grad(dy, w), dy @ w)
    dw, db = ops.linear_weight_grad(x, dy, return_bias_grad=True)
    np.testing.assert_array_equal(dw, dy.T @ x)
    np.testing.assert_array_equal(db, dy.sum(axis=0))
