"""Where a number comes from: the listed sums are the kernels' results, and the matrices are the layers."""

import math
import re
import tracemalloc
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
from geometries import CONVOLUTIONS, DTYPES, integers, normals

from fastconv import layers
from fastconv.explain import Factor, Terms, as_dense_matrix, derivative, fold, input_terms, output_terms, ties, weight_terms
from fastconv.layers import Conv2d, Flatten, Linear, ReLU, Sequential

pytestmark = pytest.mark.usefixtures("one_thread")


class Skip(layers.Layer):
    """A caller's own layer: y = x + body(x)."""

    def __init__(self, body):
        self.body = body

    def forward(self, x, training=True):
        y, back = self.body.forward(x, training)
        return x + y, layers.once(lambda dy, input_grad=True: back(dy) + dy, y)

    def output_shape(self, input_shape):
        return self.body.output_shape(input_shape)


def convolution(case, dtype):
    kind, bias = getattr(layers, f"Conv{case.rank}d"), "stride" not in case.words  # some with, some without
    return pytest.param(kind(case.x[1], case.w[0], case.w[2:], **case.words, bias=bias, dtype=dtype), case.x, id=f"{case.name}, {dtype.__name__}")


F64 = {"dtype": np.float64}
SMALL = [case for case in CONVOLUTIONS if math.prod(case.x) <= 6000]  # a matrix has as many columns, or their square
WEIGHTED = [convolution(case, DTYPES[i % 2]) for i, case in enumerate(SMALL)]  # on integers, both are exact
DEEP = layers.Conv3d(2, 4, 2, stride=(2, 1, 3), dilation=(3, 1, 2), padding=((2, 0), (0, 1), (1, 2)), groups=2)
WEIGHTED += [(DEEP, (2, 2, 6, 3, 5)), (Linear(6, 4), (2, 6)), (Linear(6, 4, bias=False, **F64), (3, 6))]
LINEAR = [
    (layers.AvgPool1d(2, stride=1, divisor_override=3), (2, 3, 7)), (layers.AvgPool3d(2, stride=1), (2, 2, 3, 4, 3)), (Flatten(), (2, 3, 2, 2)),
    (layers.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False), (2, 3, 5, 6)), (layers.GlobalAvgPool2d(), (2, 3, 4, 5)),
    (layers.Dropout(), (2, 3, 4)), (Sequential(), (2, 3, 4)), (Sequential(Flatten(), Linear(12, 5, **F64)), (2, 3, 2, 2)),
    (Sequential(Conv2d(3, 4, 2, padding="same", **F64), layers.AvgPool2d(2), layers.Dropout(), Flatten(), Linear(16, 3, **F64)), (2, 3, 4, 5)),
    (Skip(Conv2d(3, 3, 3, padding=1, groups=3, **F64)), (2, 3, 4, 5)),
]  # fmt: skip
BENT = [
    (ReLU(), (2, 3, 4)), (layers.MaxPool1d(2, stride=1, dilation=3), (2, 3, 7)), (layers.MaxPool3d(2, stride=1), (2, 2, 3, 4, 3)),
    (layers.MaxPool2d(3, stride=2, padding=1), (2, 3, 5, 6)), (Skip(Sequential(Conv2d(3, 3, 3, padding=1, **F64), ReLU())), (2, 3, 4, 5)),
    (Sequential(Conv2d(3, 4, 2, stride=(1, 2), **F64), ReLU(), layers.MaxPool2d(2), Flatten(), Linear(8, 3, **F64)), (2, 3, 5, 6)),
]  # fmt: skip
each = partial(pytest.mark.parametrize, ("layer", "shape"), ids=repr)


def passes(layer, shape, kind=integers):
    """x, y, dy and dx of the layer; its parameters are of this kind, too, and have the gradients that belong to these."""
    rng, dtype = np.random.default_rng(5), next((p.dtype for p in layer.parameters()), np.float64)
    for p in layer.parameters():
        p.value = kind(rng, p.shape, dtype)
        p.zero_grad()
    x = kind(rng, shape, dtype)
    y, backward = layer.forward(x, training=False)
    dy = kind(rng, y.shape, dtype)
    return x, y, dy, backward(dy)


def ones(rng, shape, dtype):
    return np.ones(shape, dtype)


def places(shape):
    """The first and the last index, and some between."""
    return [(0,) * len(shape), tuple(n - 1 for n in shape), *map(tuple, np.random.default_rng(3).integers(shape, size=(4, len(shape))))]


def pairs(terms):
    return [(tuple(left), tuple(right)) for left, right in zip(terms.left.index.tolist(), terms.right.index.tolist())]


def check(terms, name, index, total, count, **arrays):
    """The sum is this number of products, none listed twice, and each factor is what stands at its index."""
    assert (terms.name, len(terms), len(set(pairs(terms)))) == (f"{name}[{','.join(map(str, index))}]", count, count)
    assert abs(terms.total - total) < 1e-12  # averages round; all else are small integers
    for factor, (letter, array) in zip((terms.left, terms.right), arrays.items(), strict=True):
        assert (factor.name, factor.index.shape) == (letter, (count, array.ndim))
        np.testing.assert_array_equal(factor.values, array[tuple(factor.index.T)])


@each(WEIGHTED)
def test_sums_are_the_three_passes(layer, shape):
    """Exactly, on integers; on ones, the passes count the products. What meets in output o meets in the lists of w and of x."""
    _, counts, _, dx_counts = passes(layer, shape, ones)
    dw_counts = layer.weight.grad.copy()
    x, y, dy, dx = passes(layer, shape)
    w, dw = layer.weight.value, layer.weight.grad
    for index in places(y.shape):
        terms = output_terms(layer, x, index)
        check(terms, "y", index, y[index], counts[index] - (layer.bias is not None), x=x, w=w)
        for at_x, at_w in pairs(terms)[:: 1 + len(terms) // 3]:
            assert (at_x, index) in pairs(weight_terms(layer, x, dy, at_w))
            assert (index, at_w) in pairs(input_terms(layer, x, dy, at_x))
    for index in places(w.shape):
        check(weight_terms(layer, x, dy, index), "dw", index, dw[index], dw_counts[index], x=x, dy=dy)
    for index in places(x.shape):
        check(input_terms(layer, x, dy, index), "dx", index, dx[index], dx_counts[index], dy=dy, w=w)


@each(LINEAR + BENT)
def test_sums_of_other_layers_have_slopes_for_weights(layer, shape):
    x, y, dy, dx = passes(layer, shape)
    slopes = np.stack([derivative(layer, x[n : n + 1]) for n in range(len(x))])
    rows, columns = np.count_nonzero(slopes, axis=2).reshape(y.shape), np.count_nonzero(slopes, axis=1).reshape(x.shape)
    for index in places(y.shape):
        check(output_terms(layer, x, index), "y", index, y[index], rows[index], x=x, slope=slopes[index[0]])
    for index in places(x.shape):
        check(input_terms(layer, x, dy, index), "dx", index, dx[index], columns[index], dy=dy, slope=slopes[index[0]])


@each(WEIGHTED + LINEAR)
def test_matrix_is_the_layer_and_its_transpose_the_way_back(layer, shape):
    """Of Conv and Linear it holds w where ties say so, 0 elsewhere, and its gradient, folded, is the weight's; ties refuse sums of weights."""
    sums = hasattr(layer, "weight") and passes(layer, shape, ones) and as_dense_matrix(layer, shape).max() > 1
    x, y, dy, dx = passes(layer, shape)
    matrix, biases = as_dense_matrix(layer, shape), layer(np.zeros_like(x[:1])).ravel()
    assert matrix.dtype == x.dtype
    x, y, dy, dx = (a.reshape(len(a), -1) for a in (x, y, dy, dx))
    np.testing.assert_allclose(x @ matrix.T + biases, y, rtol=0, atol=1e-12)
    np.testing.assert_allclose(dy @ matrix, dx, rtol=0, atol=1e-12)
    if hasattr(layer, "weight"):
        if sums:  # copies in the padding: an output has read an input through several weights
            with pytest.raises(ValueError, match=r'^ties: with padding_mode="(reflect|replicate|circular)" here, .* entries of the matrix are sums'):
                ties(layer, shape)
            return
        w, table = layer.weight.value, ties(layer, shape)
        np.testing.assert_array_equal(matrix, np.where(table == -1, 0, w.ravel()[table]))
        np.testing.assert_array_equal(fold(dy.T @ x, table, w.shape), layer.weight.grad)
        assert not isinstance(layer, Linear) or (table == np.arange(w.size).reshape(w.shape)).all()


@each(BENT)
def test_derivative_of_bent_layers_is_the_central_difference(layer, shape):
    x, y, _, _ = passes(layer, (1, *shape[1:]), normals)
    units = np.eye(x.size).reshape(-1, *x.shape[1:]) * 2.0**-20  # no kink is as near; between kinks all of these are straight
    slopes = (layer(x + units) - layer(x - units)) * 2.0**19
    np.testing.assert_allclose(derivative(layer, x), slopes.reshape(x.size, y.size).T, atol=1e-8)
    with pytest.raises(ValueError, match=rf"as_dense_matrix: {type(layer).__name__} is not linear.*derivative\(layer, x\)"):
        as_dense_matrix(layer, shape)


@pytest.mark.parametrize("error", [None, "forward", "backward"])
def test_looking_changes_nothing(error):
    """Values, gradients, their marks, versions and random streams stay, whatever fails; a way back from before still works."""
    broken, body = ReLU(), Sequential(Conv2d(2, 3, 2), layers.Dropout(), Flatten(), Linear(12, 2))
    broken.forward = lambda x, training=True: (x if error == "backward" else 1 / 0, lambda dy, input_grad=True: 1 / 0)
    net = Sequential(broken, *body) if error else body
    x, dy = np.ones((1, 2, 3, 3), np.float32), np.ones((1, 2), np.float32)
    body.forward(x)[1](dy)
    body[0].bias.zero_grad()  # one without among those that have
    _, backward = body.forward(x)

    def state():
        return [(p.has_grad, p.version, *p.grad.flat, *p.value.flat) for p in net.parameters()], [s.state() for _, s in net.named_streams()]

    before = state()
    for look, *arguments in ((derivative, x), (as_dense_matrix, x.shape), (output_terms, x, (0, 1)), (input_terms, x, dy, (0, 1, 2, 2))):
        with pytest.raises(ZeroDivisionError, match="division by zero") if error else nullcontext():
            look(net, *arguments)
        assert state() == before
    assert backward(dy).shape == x.shape


def test_str_writes_the_sum_out():
    """With indices, with numbers, as products, as one number; negative numbers in parentheses; what repeats, once."""
    x, layer, alone = np.float32([[3, -4]]), Linear(2, 1), Linear(1, 1, bias=False)
    alone.weight.value, layer.weight.value, layer.bias.value = np.float32([[2]]), np.float32([[2, 0.5]]), np.float32([-1])
    written = "y[0,0] = bias + x[0,0] * w[0,0] + x[0,1] * w[0,1]\n  = (-1) + 3 * 2 + (-4) * 0.5\n  = (-1) + 6 + (-2)\n  = 3"
    assert str(output_terms(layer, x, (0, 0))) == written
    assert str(weight_terms(alone, x[:, :1], x[:, 1:], (0, 0))) == "dw[0,0] = x[0,0] * dy[0,0]\n  = 3 * (-4)\n  = -12"
    assert str(input_terms(alone, x[:, :1], x[:, 1:], (0, 0))) == "dx[0,0] = dy[0,0] * w[0,0]\n  = (-4) * 2\n  = -8"
    assert [str(output_terms(ReLU(), x, (0, i))) for i in (0, 1)] == ["y[0,0] = x[0,0] * slope[0,0]\n  = 3 * 1\n  = 3", "y[0,1] = 0"]
    assert str(weight_terms(alone, x[:0, :1], x[:0, 1:], (0, 0))) == "dw[0,0] = 0"  # no images, no terms


def test_str_leaves_out_the_middle_of_more_than_nine():
    for terms, middle in ((9, "3 + 4 + 5 + 6 + 7"), (10, "3 + ... 4 more ... + 8"), (25, "3 + ... 19 more ... + 23")):
        numbers, index = np.arange(1, terms + 1), np.arange(terms)[:, None]
        written = str(Terms("s", Factor("a", index, numbers), Factor("b", index, np.ones(terms)), 0.5))
        assert written.endswith(f"\n  = 0.5 + 1 + 2 + {middle} + {terms - 1} + {terms}\n  = {sum(numbers) + 0.5}")


CONV, X, DY, BIG, O = Conv2d(3, 4, 3), np.ones((2, 3, 5, 6), np.float32), np.ones((2, 4, 3, 4), np.float32), (1, 3, 4000, 4000), (0,) * 4
LISTS = [("y(2, 4, 3, 4)", output_terms, [X]), ("w(4, 3, 3, 3)", weight_terms, [X, DY]), ("x(2, 3, 5, 6)", input_terms, [X, DY])]
WRONG = (
    (ValueError, "is outside ", [(), (0, 0, 0), (0,) * 5, (4, 0, 0, 0), (0, 4, 0, 0), (0, 0, 5, 0), (0, 0, 0, 6), (0, -1, 0, 0), (0, 0, 2**70, 0)]),
    (TypeError, "must be 4 integers, one per axis of ", [0, None, "0000", (0, 0, 0, 1.0), (0, 0, True, 0), np.zeros(4), np.zeros((4, 2), int)]),
)


@pytest.mark.parametrize(("array", "terms", "given"), LISTS)
def test_index_is_four_integers_of_any_kind_within_the_array(array, terms, given):
    for index in ([1, 2, 0, 2], np.array([1, 2, 0, 2]), (np.int32(1), np.uint8(2), 0, 2)):
        assert terms(CONV, *given, index).name.endswith("[1,2,0,2]")
    for error, words, indices in WRONG:
        for index in indices:
            with pytest.raises(error, match=f"{terms.__name__}: index .*{words}{re.escape(array)}"):
                terms(CONV, *given, index)


ERRORS = [
    (lambda: weight_terms(CONV, X, DY[:1], O), ValueError, "weight_terms: dy(1, 4, 3, 4) does not fit the output (2, 4, 3, 4)"),
    (lambda: input_terms(ReLU(), X, DY, O), ValueError, "input_terms: dy(2, 4, 3, 4) does not fit the output (2, 3, 5, 6)"),
    (lambda: weight_terms(ReLU(), X, X, O), ValueError, "weight_terms: ReLU has no weight of its own"),
    (lambda: ties(Flatten(), X.shape), ValueError, "ties: Flatten is no convolution"),
    (lambda: output_terms(CONV, X[:0], O), ValueError, "index (0, 0, 0, 0) is outside y(0, 4, 3, 4)"),
    (lambda: input_terms(CONV, X, DY.astype(float), O), TypeError, "input_terms: dy is float64, but x is float32"),
    (lambda: derivative(CONV, X), ValueError, "derivative: x must be one image, (1, ...), got (2, 3, 5, 6): write x[:1]"),
    (lambda: ties(CONV, BIG), ValueError, "ties: a matrix of 63936016 x 48000000 is too large"),
    (lambda: as_dense_matrix(CONV, BIG), ValueError, "a matrix of 63936016 x 48000000 is too large"),
    (lambda: fold(np.ones((3, 2)), np.ones((2, 3), int), (6,)), ValueError, "fold: matrix_gradient(3, 2) and ties(2, 3) must have the same shape"),
]


@pytest.mark.parametrize(("call", "error", "words"), ERRORS)
def test_errors_say_what_is_wrong(call, error, words):
    tracemalloc.start()
    with pytest.raises(error, match=re.escape(words)):
        call()
    assert tracemalloc.get_traced_memory()[1] <= 4 * np.prod(BIG) + 2**20, "more than one image was allocated"
    tracemalloc.stop()


def test_a_subclass_that_computes_something_else_is_no_convolution():
    class Half(layers.Conv2d):
        def forward(self, x, training=True):
            y, backward = super().forward(x, training)
            return y / 2, layers.once(lambda dy, input_grad=True: backward(dy / 2, input_grad), y)

    layer, x = Half(1, 2, 3), np.random.default_rng(0).standard_normal((1, 1, 4, 4)).astype(np.float32)
    assert output_terms(layer, x, (0, 1, 1, 0)).total == pytest.approx(float(layer(x)[0, 1, 1, 0]), rel=1e-5)
    with pytest.raises(ValueError, match="Half has no weight of its own"):
        weight_terms(layer, x, np.ones((1, 2, 2, 2), np.float32), (0, 0, 0, 0))


def test_what_cannot_be_explained_is_one_sentence():
    conv, x = layers.Conv2d(1, 2, 3), np.ones((1, 1, 4, 4))
    with pytest.raises(TypeError, match=r"output_terms: w is float32, but x is float64"):
        output_terms(conv, x, (0, 0, 0, 0))
    with pytest.raises(ValueError, match=r"output_terms: x must be a batch.* write x\[None\]"):
        output_terms(layers.ReLU(), np.ones(3), (1,))
    with pytest.raises(ValueError, match="derivative: x must be one image"):
        derivative(layers.ReLU(), np.float32(1))
    with pytest.raises(ValueError, match="ties name weight 8, but weight_shape"):
        fold(np.ones((4, 16)), ties(conv, (1, 1, 4, 4))[:4], (2, 2))


def test_few_points_do_not_hide_a_bend():
    biased = Linear(2, 1)
    biased.bias.value = np.float32([50])
    for layer, shape in ((layers.MaxPool1d(2), (1, 1, 2)), (Sequential(biased, ReLU()), (1, 2))):
        with pytest.raises(ValueError, match="is not linear"):
            as_dense_matrix(layer, shape)


def test_many_outputs_of_a_small_input_need_no_square_of_them():
    tracemalloc.start()
    as_dense_matrix(Linear(1, 20000), (1, 1))
    assert tracemalloc.get_traced_memory()[1] < 2**29
    tracemalloc.stop()


def test_odd_shapes_and_signs():
    assert as_dense_matrix(Flatten(), (1, 0, 3)).shape == (0, 0)
    with pytest.raises(ValueError, match=r"as_dense_matrix: a matrix of .* is too large"):
        as_dense_matrix(Flatten(), (1, 2**20, 2**20))
    d = Linear(2, 1, bias=False)
    d.weight.value = np.float32([[-2, 3]])
    terms = output_terms(d, np.float32([[0, 1]]), (0, 0))
    assert "-0" not in str(terms)
    assert terms == terms
    assert terms != output_terms(d, np.float32([[0, 1]]), (0, 0))
