"""Transposed convolution, its gradients and its layers: every row of the table meets every geometry."""

import math
import re
from typing import NamedTuple

import numpy as np
import pytest
from geometries import DTYPES, integers, normals
from laws import assert_adjoint, assert_whole

import fastconv as fc
from fastconv import layers, ops
from fastconv.geometry import Geometry, transposed_geometry
from fastconv.kernels import table

ROWS = ("conv_input_grad", "conv_forward", "conv_weight_grad")  # of y, dx and dw
ALGORITHMS = dict.fromkeys(row.name for operation in ROWS for row in table.OPERATIONS[operation])


class Transposed(NamedTuple):
    name: str
    x: tuple[int, ...]  # (N, IC, spatial...)
    w: tuple[int, ...]  # (IC, OC/groups, kernel...)
    y: tuple[int, ...]  # (N, OC, spatial...), worked out by hand
    words: dict = {}  # noqa: RUF012  # a caller's; never changed

    def call(self, suffix: str, *operands, **more):
        return getattr(ops, f"conv_transpose{len(self.x) - 2}d{suffix}")(*operands, **self.words, **more)

    def draw(self, kind, dtype) -> tuple[np.ndarray, ...]:
        """x, w, b and dy of this geometry's shapes."""
        rng = np.random.default_rng(0)
        return tuple(kind(rng, shape, dtype) for shape in (self.x, self.w, self.y[1:2], self.y))

    def passes(self, algorithm: str, x, w, b, dy) -> tuple[np.ndarray, ...]:
        with fc.algorithm(algorithm):
            dw, db = self.call("_weight_grad", x, dy, self.w[2:], return_bias_grad=True)
            return self.call("", x, w, b), self.call("_input_grad", dy, w, self.x), dw, db

    @property
    def g(self) -> Geometry:
        words = {"stride": 1, "padding": 0, "output_padding": 0, "output_size": None, "dilation": 1, "groups": 1} | self.words
        return transposed_geometry(self.name, self.x[0], self.x[1], self.y[1], self.x[2:], self.w[2:], **words)


CASES = tuple(Transposed(*case) for case in (
    ("1x1", (2, 5, 4, 3), (5, 7, 1, 1), (2, 7, 4, 3)),
    ("3x3", (2, 3, 7, 5), (3, 4, 3, 3), (2, 4, 7, 5), {"padding": 1}),
    ("2x2 doubles", (2, 4, 3, 5), (4, 3, 2, 2), (2, 3, 6, 10), {"stride": 2}),
    ("stride over kernel", (1, 3, 3, 2), (3, 4, 2, 1), (1, 4, 8, 5), {"stride": (3, 4)}),
    ("output_padding", (2, 3, 4, 5), (3, 4, 3, 3), (2, 4, 8, 10), {"stride": 2, "padding": 1, "output_padding": 1}),
    ("output_padding below dilation", (1, 3, 4, 5), (3, 2, 3, 2), (1, 2, 10, 9), {"dilation": 3, "padding": (1, 0), "output_padding": (2, 1)}),
    ("output_size", (1, 3, 4, 4), (3, 2, 3, 3), (1, 2, 10, 11), {"stride": 3, "padding": 1, "output_size": (10, 11)}),
    ("asymmetric pairs", (2, 3, 6, 5), (3, 4, 3, 3), (2, 4, 6, 8), {"padding": ((0, 2), (3, 0)), "stride": (1, 2)}),
    ("stride and dilation", (1, 2, 4, 5), (2, 3, 3, 3), (1, 3, 9, 15), {"dilation": 2, "stride": (2, 3), "padding": (1, 1)}),
    ("groups", (2, 6, 5, 6), (6, 2, 3, 3), (2, 4, 11, 13), {"groups": 2, "stride": 2}),
    ("depthwise", (2, 5, 4, 4), (5, 2, 3, 3), (2, 10, 4, 4), {"groups": 5, "padding": 1}),
    ("33 and 45 channels", (1, 33, 3, 1), (33, 45, 3, 2), (1, 45, 3, 2), {"padding": (1, 0)}),
    ("300 input channels", (1, 300, 2, 1), (300, 2, 2, 2), (1, 2, 4, 2), {"stride": 2}),
    ("1-D", (3, 4, 7), (4, 3, 4), (3, 6, 13), {"groups": 2, "stride": 2, "padding": ((1, 2),)}),
    ("3-D", (2, 3, 2, 3, 3), (3, 4, 2, 3, 2), (2, 4, 3, 7, 2), {"padding": (0, 0, 1), "stride": (1, 2, 1)}),
    ("3-D groups", (1, 4, 2, 3, 2), (4, 3, 2, 2, 1), (1, 6, 4, 5, 3), {"groups": 2, "dilation": (1, 2, 1), "stride": 2, "padding": (0, 1, 0)}),
))  # fmt: skip
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def scatter(case: Transposed, x, w, b, dy) -> list[np.ndarray]:
    """The textbook: every input adds its filter to the output, and with y[o] += x[i] * w[k] come the derivatives of that product."""
    g = case.g
    shapes = [(*shape[:2], *(1,) * (5 - len(shape)), *shape[2:]) for shape in (case.y, case.x, case.w)]
    (y, dx, dw), dy5, x5, w5 = map(np.zeros, shapes), *(a.reshape(shape) for a, shape in zip((dy, x, w), shapes))
    for n, ic, *i in np.ndindex(dx.shape):
        for j, *k in np.ndindex(dw.shape[1:]):
            o = np.array(i) * g[12:15] - g[15:18] + np.array(k) * g[21:24]  # oh = ih * SH - PH + kh * DH
            if (o >= 0).all() and (o < y.shape[2:]).all():
                to, at, by = (n, ic // (g.OC // g.G) * w.shape[1] + j, *o), (n, ic, *i), (ic, j, *k)
                y[to] += x5[at] * w5[by]
                dx[at] += dy5[to] * w5[by]
                dw[by] += dy5[to] * x5[at]
    y += b.reshape(-1, 1, 1, 1)
    return [y.reshape(case.y), dx.reshape(case.x), dw.reshape(case.w), dy.sum(axis=(0, *range(2, dy.ndim)))]


@every_case
def test_integers_equal_the_textbook(case):
    """Integer-valued data are exact, in every algorithm and dtype, for every pass."""
    expected = scatter(case, *case.draw(integers, np.float64))
    for dtype in DTYPES:
        for algorithm in ALGORITHMS:
            for result, exact in zip(case.passes(algorithm, *case.draw(integers, dtype)), expected, strict=True):
                assert_whole(result, exact.astype(dtype), algorithm)


@every_case
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_adjoint_identity(case, algorithm):
    """The bounds are those of the rows that ran."""
    x, w, _, dy = case.draw(normals, np.float64)
    y, dx, dw, _ = case.passes(algorithm, x, w, None, dy)
    with fc.algorithm(algorithm):
        c = max(table.pick(row, case.g, np.float64).error(case.g, np.float64) for row in ROWS)
        S = (case.call("", abs(x), abs(w)) * abs(dy)).sum()
    assert_adjoint((y, dy), (x, dx), (w, dw), c=c, S=S)


def test_it_is_the_input_gradient_of_a_convolution():
    """For every O that a convolution with a stride takes to the same I; bit by bit."""
    x, w, *_ = CASES[0].draw(normals, np.float32)
    for rows in range(3):
        y = ops.conv_transpose2d(x, w, stride=3, output_padding=rows)
        assert y.shape == (2, 7, 10 + rows, 7 + rows)
        np.testing.assert_array_equal(y, ops.conv2d_input_grad(x, w, y.shape, stride=3))
        np.testing.assert_array_equal(y, ops.conv_transpose2d(x, w, stride=3, output_size=y.shape))


def test_inf_and_nan_are_silent():
    x, w, b = np.full((1, 1, 2), np.inf), np.ones((1, 2, 1)), np.array([-np.inf, 3])
    np.testing.assert_array_equal(ops.conv_transpose1d(x, w, b, stride=2), [[[np.nan, -np.inf, np.nan], [np.inf, 3, np.inf]]])


@every_case
def test_out_accumulate_and_an_empty_batch(case):
    x, w, b, dy = case.draw(integers, np.float32)
    expected, out = case.call("_weight_grad", x, dy, case.w[2:]), np.full_like(w, 7)
    assert case.call("_weight_grad", x, dy, case.w[2:], out=out, accumulate=True) is out
    np.testing.assert_array_equal(out, expected + 7)
    np.testing.assert_array_equal(case.call("_weight_grad", x, dy, case.w[2:], out=out), expected)
    assert case.call("", x[:0], w, b).shape == (0, *case.y[1:])
    assert case.call("_input_grad", dy[:0], w, (0, *case.x[1:])).shape == (0, *case.x[1:])
    assert not case.call("_weight_grad", x[:0], dy[:0], case.w[2:]).any()
    with pytest.raises(ValueError, match=r"^conv_transpose.d_weight_grad: out overlaps dy"):
        case.call("_weight_grad", x, np.lib.stride_tricks.as_strided(out, case.y, (0,) * dy.ndim), case.w[2:], out=out)


X, W, DY = np.zeros((2, 4, 5, 6), np.float32), np.zeros((4, 3, 3, 3), np.float32), np.zeros((2, 3, 7, 8), np.float32)
CALLS = {
    "conv_transpose2d": lambda **words: ops.conv_transpose2d(X, W, **words),
    "conv_transpose2d_input_grad": lambda **words: ops.conv_transpose2d_input_grad(DY, W, X.shape, **words),
    "conv_transpose2d_weight_grad": lambda **words: ops.conv_transpose2d_weight_grad(X, DY, 3, **words),
    "ConvTranspose2d": lambda **words: layers.ConvTranspose2d(4, 3, 3, **words),
}


@pytest.mark.parametrize("op", CALLS)
def test_bad_words(op):
    """Raised before anything is allocated; by the gradients alike, and by a layer when it is made."""
    for word in ("stride", "padding", "output_padding", "dilation", "groups", *("output_size",) * (op != "ConvTranspose2d")):
        for value, error, message in (
            (-1, ValueError, r"be between [01] and 2147483647, got -1"), (2**64, ValueError, r"be between [01] and 2147483647, got 1844674407"),
            (True, TypeError, "be an integer, got True"), (1.0, TypeError, r"be an integer, got 1\.0"),
        ):  # fmt: skip
            with pytest.raises(error, match=rf"^{op}: {word} must {message}"):
                CALLS[op](**{word: value})
        if word != "groups":
            with pytest.raises(ValueError, match=rf"^{op}: {word}=\(1, 1, 1\) has 3 entries for 2 spatial dimensions \(H, W\)$"):
                CALLS[op](**{word: (1, 1, 1)})
    for padding in ("same", "valid"):
        with pytest.raises(ValueError, match=rf'^{op}: padding must be .* has no "same" or "valid"\), got \'{padding}\'$'):
            CALLS[op](padding=padding)
    with pytest.raises(ValueError, match=rf"^{op}: output_padding must be smaller than .*, got 3 along W with stride 2, dilation 3$"):
        CALLS[op](stride=(4, 2), dilation=(1, 3), output_padding=3)
    with pytest.raises(ValueError, match=rf"^{op}: (IC=4|in_channels=4) is not divisible by groups=3"):
        CALLS[op](groups=3)


@pytest.mark.parametrize(("run", "message"), [
    (lambda: ops.conv_transpose2d(X, W, stride=2, padding=1, output_size=(11, 12)),
     "conv_transpose2d: output_size=(11, 12) is impossible: valid sizes range from (9, 11) to (10, 12) for the input (5, 6) with kernel (3, 3)"),
    (lambda: ops.conv_transpose2d(X, W, stride=2, output_padding=1, output_size=11),
     "conv_transpose2d: output_padding=(1, 1) and output_size=(11, 11) are given"),
    (lambda: ops.conv_transpose2d(X, W, padding=(1, 4)), "conv_transpose2d: no output along W: its size would be 0 for the input (5, 6) with"),
    (lambda: ops.conv_transpose2d(X, W[:3]),
     "conv_transpose2d: w has IC=3, but x has IC=4; got x(2, 4, 5, 6) as (N, IC, IH, IW), w(3, 3, 3, 3) as (IC, OC, KH, KW)"),
    (lambda: ops.conv_transpose2d(X, W, X[0, :, 0, 0], groups=2), "conv_transpose2d: w has OC/groups=3, but b has OC=4 and groups=2 make 2"),
    (lambda: ops.conv_transpose2d(X[0], W), "conv_transpose2d: x must have 4 axes (N, IC, IH, IW), got 3; for a single example write x[None]"),
    (lambda: ops.conv_transpose2d(X, W, stride=2**31 - 1), "conv_transpose2d: the output (2, 3, 8589934591, 10737418238) has more elements"),
    (lambda: ops.conv_transpose2d_input_grad(DY, W, (2, 4, 5, 5)),
     "conv_transpose2d_input_grad: dy(2, 3, 7, 8) as (N, OC, OH, OW) does not fit: the forward pass gives (2, 3, 7, 7); got x(2, 4, 5, 5)"),
    (lambda: ops.conv_transpose2d_weight_grad(X, DY, 4), "conv_transpose2d_weight_grad: dy(2, 3, 7, 8) as (N, OC, OH, OW) does not fit"),
    (lambda: ops.conv_transpose2d(X.astype(np.int64), W), "conv_transpose2d: x has dtype int64, float32 or float64 is needed"),
    (lambda: ops.conv_transpose2d_weight_grad(X, DY.astype(float), 3), "conv_transpose2d_weight_grad: dy is float64, but x is float32"),
])  # fmt: skip
def test_shapes_are_shown_by_axis_name(run, message):
    """One sentence: where, what is wrong, with which numbers, all shapes by the names of their axes."""
    with pytest.raises((ValueError, TypeError), match=rf"^{re.escape(message)}"):
        run()


@pytest.mark.parametrize(("layer", "shape", "y_shape"), [
    (layers.ConvTranspose1d(4, 6, 3, stride=2, padding=((1, 0),), groups=2, output_padding=1, dtype=np.float64), (2, 4, 4), (2, 6, 9)),
    (layers.ConvTranspose2d(3, 2, (2, 3), stride=(2, 1), dilation=(1, 2), dtype=np.float64), (2, 3, 3, 2), (2, 2, 6, 6)),
    (layers.ConvTranspose3d(2, 3, 2, stride=(1, 2, 1), bias=False, dtype=np.float64), (1, 2, 2, 2, 3), (1, 3, 3, 4, 4)),
], ids=repr)  # fmt: skip
def test_layer_gradients_are_differences(layer, shape, y_shape):
    """The output is linear in each single value, so a step of 1 gives its derivative."""
    rng = np.random.default_rng(0)
    x, dy = normals(rng, shape, np.float64), normals(rng, y_shape, np.float64)
    y, backward = layer.forward(x)
    dx = backward(dy)
    assert y.shape == layer.output_shape(shape) == y_shape
    assert repr(eval(repr(layer), vars(layers))) == repr(layer)
    for value, grad in ((x, dx), *((p.value, p.grad) for p in layer.parameters())):
        for i in np.ndindex(value.shape):
            value[i] += 1
            assert math.fsum(((layer(x) - y) * dy).ravel()) == pytest.approx(grad[i], rel=1e-9, abs=1e-9)
            value[i] -= 1


def test_parameters_have_pytorchs_names_shapes_and_initial_values():
    """Uniform within 1 / sqrt(fan_in), for which PyTorch counts (OC/groups, K...) also here."""
    fc.seed(4)
    state = layers.ConvTranspose2d(6, 64, 3, groups=2).state_dict()
    assert {name: value.shape for name, value in state.items()} == {"weight": (6, 32, 3, 3), "bias": (64,)}
    for value in state.values():
        assert 0.8 / math.sqrt(32 * 9) < abs(value).max() <= np.float32(1 / math.sqrt(32 * 9))
    fc.seed(4)
    np.testing.assert_array_equal(layers.ConvTranspose2d(6, 64, 3, groups=2).weight.value, state["weight"])
