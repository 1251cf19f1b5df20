"""The network in plain lists computes what fastconv computes, function by function and as a whole."""

import ast
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers, losses, ops

PATH = Path(__file__).resolve().parents[2] / "examples" / "cnn_from_scratch.py"
SIZES = (3, 1, 3, 3), (3,), (4, 3, 2, 2), (4,), (4, 16), (4,)  # of the example's weights and biases
CONVOLUTIONS = [  # x and w
    ((1, 8, 8), (3, 1, 3, 3)), ((3, 3, 3), (4, 3, 2, 2)), ((2, 6, 5), (3, 2, 3, 2)), ((2, 4, 5), (1, 2, 1, 3)), ((3, 4, 2), (2, 3, 4, 2)),
]  # fmt: skip
every_convolution = pytest.mark.parametrize(("x_shape", "w_shape"), CONVOLUTIONS, ids=str)


def load():
    spec = importlib.util.spec_from_file_location("cnn_from_scratch", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


scratch = load()


@pytest.fixture(autouse=True)
def textbook():
    """The textbook's loops compile nothing."""
    with fc.algorithm("reference"):
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def same(found, expected):
    """Alike up to the order of summation: to 1e-12 of the largest entry."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def draw_convolution(rng, x_shape, w_shape):
    """x, w, b and dy."""
    (OC, _, KH, KW), (_, IH, IW) = w_shape, x_shape
    return tuple(rng.standard_normal(shape) for shape in (x_shape, w_shape, (OC,), (OC, IH - KH + 1, IW - KW + 1)))


def test_it_imports_the_standard_library_alone():
    imported = set()
    for node in ast.walk(ast.parse(PATH.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add("." * node.level + (node.module or ""))
    assert imported
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


def test_importing_it_runs_nothing(capsys):
    load()
    assert capsys.readouterr().out == ""


@every_convolution
def test_convolution(rng, x_shape, w_shape):
    x, w, b, _ = draw_convolution(rng, x_shape, w_shape)
    same([scratch.convolve(x.tolist(), w.tolist(), b.tolist())], ops.conv2d(x[None], w, b))


@every_convolution
def test_convolution_gradients(rng, x_shape, w_shape):
    x, w, _, dy = draw_convolution(rng, x_shape, w_shape)
    same(scratch.weight_gradient(x.tolist(), dy.tolist(), *w_shape[2:]), ops.conv2d_weight_grad(x[None], dy[None], w_shape[2:]))
    same([scratch.input_gradient(dy.tolist(), w.tolist(), *x_shape[1:])], ops.conv2d_input_grad(dy[None], w, (1, *x_shape)))
    same(scratch.bias_gradient(dy.tolist()), ops.bias_grad(dy[None]))


def test_relu(rng):
    x, dy = rng.standard_normal((2, 3, 4, 5))
    x[0, 0, :3] = 0, -1, 1  # the slope at 0 is 0
    y = scratch.relu(x.tolist())
    same([y], ops.relu(x[None]))
    same([scratch.relu_gradient(dy.tolist(), y)], ops.relu_grad(dy[None], np.array([y])))


@pytest.mark.parametrize("shape", [(3, 6, 6), (2, 4, 8), (2, 5, 7)], ids=str)
@pytest.mark.parametrize("ties", [False, True])
def test_max_pooling(rng, shape, ties):
    """With ties the values are 0 and 1 alone, so that which pixel wins is put to the test."""
    x = rng.integers(0, 2, shape).astype(np.float64) if ties else rng.standard_normal(shape)
    y, winner = scratch.max_pool(x.tolist())
    expected, argmax = ops.max_pool2d(x[None], 2)
    same([y], expected)
    taps = [[[(ih - 2 * oh) * 2 + iw - 2 * ow for ow, (ih, iw) in enumerate(row)] for oh, row in enumerate(rows)] for rows in winner]
    np.testing.assert_array_equal([taps], argmax)
    dy = rng.standard_normal(expected.shape)
    same([scratch.max_pool_gradient(dy[0].tolist(), winner, *shape[1:])], ops.max_pool2d_grad(dy, argmax, (1, *shape), 2))


def test_linear(rng):
    x, w, b, dy = (rng.standard_normal(shape) for shape in (7, (3, 7), 3, 3))
    same([scratch.linear(x.tolist(), w.tolist(), b.tolist())], ops.linear(x[None], w, b))
    dx, dw, db = scratch.linear_gradients(x.tolist(), w.tolist(), dy.tolist())
    same([dx], ops.linear_input_grad(dy[None], w))
    for found, expected in zip((dw, db), ops.linear_weight_grad(x[None], dy[None], return_bias_grad=True)):
        same(found, expected)


@pytest.mark.parametrize("label", range(4))
@pytest.mark.parametrize("shift", [0, 1000, -1000])
def test_loss(rng, label, shift):
    """Large scores as well: a softmax does not overflow."""
    scores = rng.standard_normal(4) + shift
    loss, d_scores = scratch.softmax_loss(scores.tolist(), label)
    expected, expected_gradient = losses.cross_entropy(scores[None], np.array([label]))
    same(loss, expected)
    same([d_scores], expected_gradient)


@pytest.fixture
def net(rng):
    """Weights that let errors through everywhere, as arrays in the order of the example and of the model."""
    return [rng.normal(0, 0.4, size) for size in SIZES]


def lists(net):
    return [p.tolist() for p in net]


@pytest.mark.parametrize("label", range(4))
def test_the_whole_net(rng, net, label):
    """The same weights, one picture: the same scores, loss and gradients as layers.Sequential."""
    words = {"dtype": np.float64}
    model = layers.Sequential(
        layers.Conv2d(1, 3, 3, **words), layers.ReLU(), layers.MaxPool2d(2), layers.Conv2d(3, 4, 2, **words), layers.ReLU(),
        layers.Flatten(), layers.Linear(16, 4, **words),
    )  # fmt: skip
    for p, value in zip(model.parameters(), net, strict=True):
        p.value = value
    x = rng.standard_normal((1, 8, 8))
    outputs, backward = model.forward(x[None])
    expected, d_outputs = losses.cross_entropy(outputs, np.array([label]))
    backward(d_outputs, input_grad=False)
    loss, scores, gradients = scratch.forward_and_back(x.tolist(), label, *lists(net))
    same([scores], outputs)
    same(loss, expected)
    for found, p in zip(gradients, model.parameters(), strict=True):
        assert np.abs(p.grad).max() > 1e-3, "a net whose gradient is 0 shows nothing"
        same(found, p.grad)


def test_a_step_goes_downhill_and_leaves_the_old_weights(rng, net):
    x, label, before = rng.standard_normal((1, 8, 8)).tolist(), 2, lists(net)
    loss, _, gradients = scratch.forward_and_back(x, label, *before)
    after = scratch.step(before, gradients, 0.03)
    for old, gradient, new, kept in zip(before, gradients, after, net, strict=True):
        same(new, np.subtract(old, np.multiply(0.03, gradient)))
        np.testing.assert_array_equal(old, kept)
    assert scratch.forward_and_back(x, label, *after)[0] < loss


def test_pictures():
    """One map of 8x8; the pixels of 1 are the shape: a row, a column, a diagonal of 5, or a row and a column that cross."""
    scratch.random.seed(0)
    pictures = [scratch.picture() for _ in range(50)]
    assert {label for _, label in pictures} == {0, 1, 2, 3}
    for x, label in pictures:
        assert np.shape(x) == (1, 8, 8)
        rows, columns = np.nonzero(np.array(x[0]) == 1)
        expected = [(1, 5, 5), (5, 1, 5), (5, 5, 5), (5, 5, 9)][label]
        assert (len(set(rows)), len(set(columns)), len(rows)) == expected
