"""Max and average pooling: which tap wins, what is counted, and the table's rows against the textbook."""

import math

import numpy as np
import pytest
from geometries import DTYPES, POOLINGS, Pooling, integers, normals
from laws import assert_adjoint, assert_rounded, halves

import fastconv as fc
from fastconv import ops
from fastconv.kernels import table
from fastconv.kernels.pooling import scatter
from fastconv.kernels.simd.host import registers
from fastconv.layers import MaxPool2d, ReLU, Sequential
from fastconv.ops import passes

OPERATIONS = ("max_pool", "max_pool_grad", "avg_pool", "avg_pool_grad")
ALGORITHMS = dict.fromkeys(row.name for operation in OPERATIONS for row in table.OPERATIONS[operation])
WORDS = tuple({"count_include_pad": include, "divisor_override": divisor} for include, divisor in ((True, None), (False, None), (True, 3)))

every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
every_case = pytest.mark.parametrize("case", POOLINGS, ids=lambda case: case.name)


@pytest.fixture(params=ALGORITHMS)
def chosen(request):
    """Each algorithm in turn, for laws about single windows."""
    with fc.algorithm(request.param):
        yield request.param


def window(*rows) -> np.ndarray:
    return np.array(rows, np.float32)[None, None]


def test_worked_example(chosen):
    """[[2, 5], [8, 3]] -> 8; its gradient goes to the 8 alone; raising 3 to 7 changes nothing."""
    y, argmax = ops.max_pool2d(window([2, 5], [8, 3]), 2)
    assert (y.item(), argmax.item()) == (8, 2)
    np.testing.assert_array_equal(ops.max_pool2d_grad(np.ones_like(y), argmax, (1, 1, 2, 2), 2), window([0, 0], [1, 0]))
    assert ops.max_pool2d(window([2, 5], [8, 7]), 2)[0].item() == 8


NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("x", "tap"),
    [
        ([[1, 1], [1, 1]], 0), ([[0, 3], [3, 3]], 1), ([[-0.0, 0.0], [0.0, 0.0]], 0),  # the first tap wins a tie
        ([[1, NAN], [9, INF]], 1), ([[INF, 2], [3, NAN]], 3), ([[5, NAN], [NAN, 7]], 1), ([[NAN, NAN], [NAN, NAN]], 0),  # NaN wins, the first stays
        ([[-INF, -INF], [-INF, -INF]], 0), ([[-INF, -INF], [-INF, -5]], 3),  # an all -inf window answers with its first tap
    ],
)  # fmt: skip
def test_who_wins(chosen, x, tap):
    """The first tap wins a tie, NaN wins and the first NaN stays, -inf can win."""
    y, argmax = ops.max_pool2d(window(*x), 2)
    assert argmax.item() == tap
    np.testing.assert_array_equal(y.item(), np.float32(x[tap // 2][tap % 2]))


@pytest.mark.parametrize("fill", [-3.0, -INF, NAN])
def test_padding_never_wins(chosen, fill):
    """Padding never wins, whatever the cells hold; the argmax is the first valid tap."""
    y, argmax = ops.max_pool2d(np.full((1, 2, 2, 2), fill), 2, stride=2, padding=1)
    np.testing.assert_array_equal(y, np.full((1, 2, 2, 2), fill))
    np.testing.assert_array_equal(argmax, np.broadcast_to([[3, 2], [1, 0]], (1, 2, 2, 2)))  # the one cell in each corner's window


def test_ceil_mode_starts_inside(chosen):
    """The last window starts inside the input or the left padding: if (OW - 1) * SW >= IW + PW: OW -= 1."""
    for IW in range(2, 9):
        for kernel, stride, padding in ((2, 2, 0), (2, 3, 0), (2, 3, 1), (3, 2, 1), (2, 2, 1)):
            if IW + 2 * padding < kernel:
                continue
            y, _ = ops.max_pool1d(np.ones((1, 1, IW)), kernel, stride=stride, padding=padding, ceil_mode=True)
            OW = math.ceil((IW + 2 * padding - kernel) / stride) + 1
            assert y.shape[2] == OW - ((OW - 1) * stride >= IW + padding)


def test_average_of_sixteen(chosen):
    """The pinned average of arange(1..16); the divisor counts padding, not the overhang of ceil mode."""
    x = np.arange(1, 17, dtype=np.float64).reshape(1, 1, 4, 4)
    y = ops.avg_pool2d(x, 3, stride=2, padding=1, ceil_mode=True, count_include_pad=True)
    np.testing.assert_allclose(y.ravel(), [14 / 9, 30 / 9, 2, 57 / 9, 11, 6, 4.5, 7.5, 4], rtol=1e-15)
    ones = ops.avg_pool2d(np.ones_like(x), 3, stride=2, padding=1, ceil_mode=True, count_include_pad=False)
    np.testing.assert_array_equal(ones, np.ones_like(ones))  # without: only real cells


@pytest.mark.parametrize("divisor", [1, 5, 2**31 - 1])
def test_divisor_override(chosen, divisor):
    """Divisor_override >= 1 replaces every count, in the gradient as well."""
    case = Pooling("", (1, 2, 4, 4), 3, {"stride": 2, "padding": 1})
    x = np.full(case.x, float(divisor))
    cells = ops.avg_pool2d(np.ones(case.x), 3, stride=2, padding=1) * 9
    np.testing.assert_array_equal(case.avg(x, divisor_override=divisor), cells)
    dx = case.avg_grad(np.full(case.g.output_shape, float(divisor)), divisor_override=divisor)
    np.testing.assert_array_equal(dx[0, 0], np.outer([1, 2, 1, 1], [1, 2, 1, 1]))  # in how many windows each cell lies


@pytest.mark.parametrize(("kernel", "dtype"), [((16, 16), np.uint8), ((1, 257), np.uint16), ((257, 1), np.uint16)])
def test_argmax_dtype(chosen, kernel, dtype):
    """The smallest unsigned type that holds every tap: one byte up to 256 taps; the last tap comes back right."""
    x = np.zeros((1, 1, *kernel))
    x[0, 0, -1, -1] = 1
    y, argmax = ops.max_pool2d(x, kernel)
    assert argmax.dtype == dtype
    assert argmax.item() == x.size - 1
    np.testing.assert_array_equal(ops.max_pool2d_grad(y, argmax, x.shape, kernel), x)


@every_case
@every_algorithm
@every_dtype
def test_max_equals_the_textbook(case, algorithm, dtype):
    """To the bit, NaN, too; and the passes are adjoint exactly, because y is linear where the argmax is fixed."""
    rng = np.random.default_rng(0)
    x, dy = integers(rng, case.x, dtype), integers(rng, case.g.output_shape, dtype)
    x[rng.random(x.shape) < 0.1] = NAN
    with fc.algorithm("reference"):
        expected = case.max(x)
        expected += (case.max_grad(dy, expected[1]),)
    with fc.algorithm(algorithm):
        found = case.max(x)
        found += (case.max_grad(dy, found[1]),)
    for result, textbook in zip(found, expected):
        np.testing.assert_array_equal(result, textbook, strict=True)
    y, argmax = case.max(np.nan_to_num(x))
    assert_adjoint((y, dy), (np.nan_to_num(x), case.max_grad(dy, argmax)))


@every_case
@every_algorithm
@every_dtype
@pytest.mark.parametrize("words", WORDS, ids=["padded", "real cells", "override"])
def test_average_error_bound(case, algorithm, dtype, words):
    """|y - y64| <= c u S with c from the table's row, forward and backward."""
    rng = np.random.default_rng(0)
    drawn = normals(rng, case.x, dtype), normals(rng, case.g.output_shape, dtype)

    def both(name, x, dy):
        with fc.algorithm(name):
            return {"avg_pool": case.avg(x, **words), "avg_pool_grad": case.avg_grad(dy, **words)}

    exact, S = (both("reference", *(f(a.astype(np.float64)) for a in drawn)) for f in (np.positive, np.abs))
    for operation, result in both(algorithm, *drawn).items():
        with fc.algorithm(algorithm):
            c = table.pick(operation, case.g, dtype).error(case.g, dtype)
        assert result.dtype == dtype
        assert_rounded(result, exact[operation], S[operation], (c, 2 * (case.g.taps + 1)), operation)


@every_algorithm
@every_dtype
def test_average_bound_where_every_addition_rounds(algorithm, dtype):
    """A running sum loses 599 of 600 terms, and the row's c must say so."""
    case, (x, total) = Pooling("", (1, 1, 600), 600), halves(600, dtype)
    with fc.algorithm(algorithm):
        y, c = case.avg(x[None, None]), table.pick("avg_pool", case.g, dtype).error(case.g, dtype)
    assert_rounded(y, total / 600, total / 600, (c + 1, 0))


@every_case
@pytest.mark.parametrize("words", WORDS, ids=["padded", "real cells", "override"])
def test_average_adjoint_identity(case, words):
    rng = np.random.default_rng(1)
    x, dy = normals(rng, case.x, np.float64), normals(rng, case.g.output_shape, np.float64)
    S = (case.avg(abs(x), **words) * abs(dy)).sum()
    assert_adjoint((case.avg(x, **words), dy), (x, case.avg_grad(dy, **words)), c=2 * (case.g.taps + 1), S=S)


def test_overlapping_windows_add_up(chosen):
    """One maximum that wins nine windows collects nine gradients."""
    x = np.zeros((1, 1, 5, 5))
    x[0, 0, 2, 2] = 1
    y, argmax = ops.max_pool2d(x, 3, stride=1)
    np.testing.assert_array_equal(ops.max_pool2d_grad(np.ones_like(y), argmax, x.shape, 3, stride=1), 9 * x)


def argmax_errors():
    good = np.full((1, 1, 2, 2), 3, np.uint8)
    where = r"at \(0, 0, 0, 1, 0\) as \(N, C, OD, OH, OW\), which is outside its window or in the padding"
    outside, padding = good.copy(), good.copy()
    outside[0, 0, 1, 0], padding[0, 0, 1, 0] = 9, 6  # of 3x3 taps over 4x4 cells: 9 is none, and row 1's window ends inside, column 0 does not
    return [
        (TypeError, "argmax must be a uint8 array, got int64", good.astype(np.int64)),
        (TypeError, "argmax must be a uint8 array, got list", good.tolist()),
        (ValueError, r"argmax\(1, 1, 2\) must have the output's shape, \(1, 1, 2, 2\)", good[:, :, 0]),
        (ValueError, r"argmax\(1, 1, 1, 2\) must have the output's shape, \(1, 1, 2, 2\)", good[:, :, :1]),
        (ValueError, f"argmax names tap 9 {where}", outside),
        (ValueError, f"argmax names tap 6 {where}", padding),
    ]


@pytest.mark.parametrize(("error", "message", "argmax"), argmax_errors())
def test_a_wrong_argmax(error, message, argmax):
    """An argmax given to a public gradient is checked: shape, dtype, inside the window, not in the padding."""
    argmax = np.where(argmax == 3, 4, argmax).astype(argmax.dtype) if isinstance(argmax, np.ndarray) else argmax  # 4: the middle, always valid
    with pytest.raises(error, match=f"^max_pool2d_grad: {message}"):
        ops.max_pool2d_grad(np.ones((1, 1, 2, 2)), argmax, (1, 1, 4, 4), 3, stride=2, padding=1)


@every_case
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_gradient_in_bands_is_that_of_the_whole(case, rows, monkeypatch, threads):
    """Windows that hang over the end of a band give each of the two its part, and an item writes its own band alone."""
    monkeypatch.setattr(scatter, "REACHES", 0)
    monkeypatch.setattr(scatter, "BAND", rows * case.g.IW * case.g.IC)
    monkeypatch.setattr(passes, "pooling", passes.Pooling)
    monkeypatch.setattr(ops.pooling, "pooling", passes.Pooling)
    assert scatter.bands_of(case.g).bands == -(-case.g.IH // rows)
    rng = np.random.default_rng(0)
    x, dy = integers(rng, case.x, np.float32), integers(rng, case.g.output_shape, np.float32)
    argmax = case.max(x)[1]
    with fc.algorithm("reference"):
        expected = case.max_grad(dy, argmax)
    with fc.algorithm("scatter"):
        for count in (1, 2):
            threads(count)
            np.testing.assert_array_equal(case.max_grad(dy, argmax), expected, strict=True)
    bands_of, dx = scatter.bands_of, np.full(x.size, 7, np.float32)
    monkeypatch.setattr(scatter, "bands_of", lambda g: bands_of(g)._replace(items=1))
    in_memory = [np.ascontiguousarray(np.moveaxis(a, 1, -1)).reshape(-1) for a in (dy, argmax, expected)]
    scatter.ScatterGrad(case.g, x.dtype)(*in_memory[:2], dx)
    own = min(rows, case.g.IH) * case.g.IW * case.g.IC
    np.testing.assert_array_equal(dx[:own], in_memory[2][:own])
    assert (dx[own:] == 7).all()


@pytest.mark.parametrize("algorithm", ["scatter", "direct", "plain"])
def test_what_a_relu_clamped_gets_no_gradient(algorithm):
    """Not even where dy is NaN or infinite."""
    rng = np.random.default_rng(3)
    pool = MaxPool2d(3, stride=2, padding=1)
    x = rng.standard_normal((2, 3, 9, 8), np.float32) - np.float32(1)
    with fc.algorithm(algorithm):
        y, backward = Sequential(ReLU(), pool).forward(x)
        apart, apart_backward = Sequential(ReLU(), pool, fuse=False).forward(x)
        np.testing.assert_array_equal(y, apart)
        dy = integers(rng, y.shape, np.float32)
        dy[y == 0] = rng.choice([NAN, INF, 1], (y == 0).sum())
        dx = backward(dy)
        assert 0 < (y == 0).mean() < 1
        assert np.isfinite(dx).all()
        np.testing.assert_array_equal(dx, apart_backward(np.where(y == 0, np.float32(0), dy)))


def test_the_gradient_scatters_where_channels_are_few():
    def row(C, H, *words):
        g = fc.geometry.pool_geometry("max_pool2d", 8, C, (H, H), *words, (1, 1), False)
        return table.pick("max_pool_grad", g, np.dtype(np.float32)).name

    overlapping, apart = ((3, 3), (2, 2), (1, 1)), ((2, 2), (2, 2), (0, 0))
    assert [row(C, 32, *overlapping) for C in (1, 3, 6)] == ["scatter"] * 3
    assert row(64, 32, *overlapping) == ("direct" if registers().bytes >= 32 else "scatter")  # a vector of 4 asks as often for half as much
    assert [row(C, 32, *apart) for C in (1, 8, 16, 64)] == ["scatter", "direct", "direct", "direct"]
