"""Batch normalisation: statistics, gradients, what is kept; skip connections, concatenation, activations."""

import numpy as np
import pytest
from geometries import DTYPES
from laws import ROUNDOFF

import fastconv as fc
from fastconv import layers, ops

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def by_definition(x, weight, bias, eps=1e-5, mean=None, variance=None):
    """In float64."""
    x = x.astype(np.float64)
    axes = (0, *range(2, x.ndim))
    column = (1, -1, *(1,) * (x.ndim - 2))
    mean = x.mean(axes) if mean is None else mean
    variance = x.var(axes) if variance is None else variance
    return (x - mean.reshape(column)) / np.sqrt(variance.reshape(column) + eps) * weight.reshape(column) + bias.reshape(column)


def trained(kind, x, dtype, rng, **words):
    layer = kind(x.shape[1], dtype=dtype, **words)
    layer.weight.value, layer.bias.value = rng.standard_normal((2, x.shape[1])).astype(dtype)
    return layer


@every_dtype
@pytest.mark.parametrize(
    ("kind", "shape"),
    [(layers.BatchNorm1d, (7, 5)), (layers.BatchNorm1d, (3, 5, 9)), (layers.BatchNorm2d, (40, 5, 9, 13)), (layers.BatchNorm3d, (2, 5, 2, 3, 4))],
)
def test_batch_norm_is_its_definition(kind, shape, dtype, rng):
    x = (rng.standard_normal(shape) * 3 + 2).astype(dtype)
    layer = trained(kind, x, dtype, rng)
    y, _ = layer.forward(x)
    exact = by_definition(x, layer.weight.value, layer.bias.value)
    np.testing.assert_allclose(y, exact, atol=300 * ROUNDOFF[dtype] * abs(exact).max())
    assert y.dtype == dtype


@every_dtype
def test_a_mean_of_a_thousand_deviations_does_not_hurt(dtype, rng):
    """Sums are of x minus a pivot."""
    x = (1000 + rng.standard_normal((16, 3, 12, 12))).astype(dtype)
    mean, variance = ops.batch_statistics(x)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean((0, 2, 3)), rtol=4 * ROUNDOFF[dtype])
    np.testing.assert_allclose(variance, exact.var((0, 2, 3)), rtol=300 * ROUNDOFF[dtype])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("track", [True, False])
def test_gradients_are_slopes(training, track, rng):
    x, dy = rng.standard_normal((2, 4, 3, 2, 3))
    layer = trained(layers.BatchNorm2d, x, np.float64, rng, track_running_stats=track)
    if track:
        layer.running_mean.value, layer.running_var.value = rng.standard_normal(3), rng.uniform(0.5, 2, 3)
    statistics = {"mean": layer.running_mean.value, "variance": layer.running_var.value} if track and not training else {}

    def loss(x, weight, bias):
        return float((by_definition(x, weight, bias, **statistics) * dy).sum())

    _, backward = layer.forward(x, training)
    gradients = backward(dy), layer.weight.grad, layer.bias.grad
    operands = [x, layer.weight.value.copy(), layer.bias.value.copy()]
    for i, gradient in enumerate(gradients):
        for place in np.ndindex(gradient.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [operand.copy() for operand in operands]
                moved[i][place] += step
                ends.append(loss(*moved))
            assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(gradient[place], abs=1e-6)


def test_running_statistics(rng):
    """momentum None: the average of all batches; else an exponential one. The variance that is kept divides by M - 1, as PyTorch's."""
    batches = rng.standard_normal((3, 4, 2, 5, 6)) + 7
    average, running = layers.BatchNorm2d(2, momentum=None, dtype=np.float64), layers.BatchNorm2d(2, momentum=0.25, dtype=np.float64)
    mean, variance = np.zeros(2), np.ones(2)
    for x in batches:
        for layer in (average, running):
            layer.forward(x)
            layer(x)  # inference changes nothing
        mean, variance = 0.75 * mean + 0.25 * x.mean((0, 2, 3)), 0.75 * variance + 0.25 * x.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(running.running_mean.value, mean, rtol=1e-12)
    np.testing.assert_allclose(running.running_var.value, variance, rtol=1e-12)
    np.testing.assert_allclose(average.running_mean.value, np.mean([x.mean((0, 2, 3)) for x in batches], axis=0), rtol=1e-12)
    assert average.num_batches_tracked.value == 3
    assert average.num_batches_tracked.value.dtype == np.int64
    assert list(average.state_dict()) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]


@pytest.mark.parametrize("n", [1, 2])
def test_the_same_bits_for_any_threads_and_memory(n, rng):
    x, dy = rng.standard_normal((2, 33, 17, 9, 8)).astype(np.float32)
    results = []
    before = fc.get_num_threads()
    for threads, order in ((1, "C"), (min(n, before), "F")):
        fc.set_num_threads(threads)
        layer = layers.BatchNorm2d(17)
        y, backward = layer.forward(np.asarray(x, order=order))
        results.append((y, backward(np.asarray(dy, order=order)), layer.weight.grad, layer.bias.grad, layer.running_var.value))
    fc.set_num_threads(before)
    for a, b in zip(*results):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: layers.BatchNorm2d(0), ValueError, "num_features"),
        (lambda: layers.BatchNorm2d(3, eps=0), ValueError, "eps must be above 0, got 0"),
        (lambda: layers.BatchNorm2d(3, momentum=2), ValueError, "momentum must be from 0 to 1 or None, got 2"),
        (lambda: layers.BatchNorm2d(3, momentum="a"), TypeError, "momentum must be a number, got 'a'"),
        (lambda: layers.BatchNorm2d(3, dtype=int), TypeError, "dtype must be float32 or float64"),
        (lambda: layers.BatchNorm2d(3)(np.ones((2, 4, 5, 5), np.float32)), ValueError, r"BatchNorm2d: .*4.*3"),
        (lambda: layers.BatchNorm1d(3).forward(np.ones((1, 3), np.float32)), ValueError, "one element per channel has no variance"),
        (lambda: ops.batch_norm_grad(np.ones((2, 3)), np.ones((3, 3)), np.ones(3), np.ones(3)), ValueError, r"dy\(2, 3\) and x\(3, 3\)"),
        (lambda: ops.batch_statistics(np.ones((0, 3))), ValueError, r"x\(0, 3\) is empty"),
        (lambda: layers.LeakyReLU(-1), ValueError, "negative_slope must be finite and >= 0, got -1"),
        (lambda: layers.Residual(layers.ReLU), TypeError, "body must be a Layer, got ABCMeta"),
        (
            lambda: layers.Residual(layers.Conv2d(3, 4, 1))(np.ones((1, 3, 2, 2), np.float32)),
            ValueError,
            r"gives \(1, 4, 2, 2\), the shortcut",
        ),
        (lambda: layers.Concat(), ValueError, "at least one branch"),
        (lambda: layers.Concat([layers.ReLU()]), TypeError, r"write Concat\(\*branches\)"),
        (lambda: layers.Concat(layers.ReLU(), layers.MaxPool2d(2)).output_shape((1, 3, 4, 4)), ValueError, "only channels may differ"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_a_skip_connection_adds_both_ways(rng):
    x, dy = rng.standard_normal((2, 2, 3, 4, 5)).astype(np.float32)
    body = layers.Conv2d(3, 3, 3, padding=1, rng=rng)
    y, backward = layers.Residual(body).forward(x)
    inner, inner_backward = body.forward(x)
    np.testing.assert_array_equal(y, inner + x)
    np.testing.assert_array_equal(backward(dy), inner_backward(dy) + dy)


def test_concat_lays_channels_behind_each_other_and_splits_gradients(rng):
    x, dy = rng.standard_normal((2, 3, 4, 5)).astype(np.float32), rng.standard_normal((2, 7, 4, 5)).astype(np.float32)
    conv = layers.Conv2d(3, 4, 3, padding=1, rng=rng)
    y, backward = layers.Concat(layers.ReLU(), conv).forward(x)
    apart, conv_backward = conv.forward(x)
    np.testing.assert_array_equal(y, np.concatenate([np.maximum(x, 0), apart], axis=1))
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(backward(dy), dy[:, :3] * (x > 0) + conv_backward(dy[:, 3:]))


@pytest.mark.parametrize("layer", [layers.LeakyReLU(0.1), layers.Sigmoid(), layers.Tanh()], ids=repr)
def test_activations_and_their_slopes(layer, rng):
    x = np.append(rng.standard_normal(20) * 3, [1000, -1000]).reshape(1, -1)
    functions = {"LeakyReLU": lambda x: np.where(x > 0, x, 0.1 * x), "Tanh": np.tanh, "Sigmoid": lambda x: 1 / (1 + np.exp(-np.maximum(x, -700)))}
    function = functions[type(layer).__name__]
    y, backward = layer.forward(x)
    np.testing.assert_allclose(y, function(x), rtol=1e-15, atol=1e-300)
    slopes = (function(x + 1e-6) - function(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(backward(np.full_like(x, 3)), 3 * slopes, atol=1e-8)


@every_dtype
def test_sigmoid_keeps_its_digits_far_below_zero(dtype):
    x = np.linspace(-80, 80, 1001).astype(dtype)
    y, backward = layers.Sigmoid().forward(x)
    exact = 1 / (1 + np.exp(-x.astype(np.longdouble)))
    np.testing.assert_allclose(y, exact.astype(np.float64), rtol=4 * ROUNDOFF[dtype])
    assert y.dtype == dtype
    below = x < 0
    np.testing.assert_allclose(backward(np.ones_like(x))[below], (exact * (1 - exact)).astype(np.float64)[below], rtol=6 * ROUNDOFF[dtype])
    with np.errstate(all="raise"):
        edges = layers.Sigmoid()(np.array([-np.inf, -1e4, 1e4, np.inf, np.nan], dtype))
    np.testing.assert_array_equal(edges, [0, 0, 1, 1, np.nan])


CALLS = {
    "batch_norm": lambda x, mean, variance, weight=None, **words: ops.batch_norm(x, mean, variance, weight, **words),
    "batch_norm_grad": lambda x, mean, variance, weight=None, **words: ops.batch_norm_grad(x, x, mean, variance, weight, **words),
}
every_call = pytest.mark.parametrize("op", CALLS)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"eps": -1}, ValueError, "eps must be finite and >= 0, got -1"),
        ({"eps": 0}, ValueError, "eps must be above 0, got 0.0"),
        ({"eps": float("nan")}, ValueError, "eps must be finite and >= 0, got nan"),
        ({"eps": np.inf}, ValueError, "eps must be finite and >= 0, got inf"),
        ({"eps": True}, TypeError, "eps must be a number, got True"),
        ({"eps": "1e-5"}, TypeError, "eps must be a number, got '1e-5'"),
        ({"eps": 1j}, TypeError, "eps must be a number, got 1j"),
        ({"mean": np.zeros(3, complex)}, TypeError, "mean has dtype complex128, float32 or float64 is needed"),
        ({"mean": ["a", "b", "c"]}, TypeError, "mean has dtype <U1, float32 or float64 is needed"),
        ({"variance": np.ones(3, int)}, TypeError, "variance has dtype int64, float32 or float64 is needed"),
        ({"variance": np.ones(3, np.float16)}, TypeError, "variance has dtype <f2, float32 or float64 is needed"),
        ({"variance": None}, TypeError, "variance is None; an array is needed"),
        ({"variance": -np.ones(3)}, ValueError, r"variance \+ eps must be above 0, got a variance of -1.0 and eps=1e-05"),
        ({"variance": np.array([1, -1e-5, 1])}, ValueError, r"variance \+ eps must be above 0, got a variance of -1e-05 and eps=1e-05"),
        ({"weight": np.ones(3)}, TypeError, r"weight is float64, but x is float32; all operands must be alike: write weight.astype\(np.float32\)"),
        ({"weight": [1.0, 1.0, 1.0]}, TypeError, r"weight is float64, but x is float32; .*: write np.asarray\(weight, np.float32\)"),
        ({"mean": np.zeros(4)}, ValueError, r"mean has C=4, but x has C=3; got x\(2, 3, 4, 4\) as \(N, C, H, W\), mean\(4,\) as \(C\)"),
        ({"mean": np.zeros((1, 3))}, ValueError, r"mean must have 1 axes \(C\), got 2"),
        ({"variance": np.ones(2)}, ValueError, "variance has C=2, but x has C=3"),
        ({"weight": np.ones(4, np.float32)}, ValueError, "weight has C=4, but x has C=3"),
        ({"x": np.zeros(3, np.float32)}, ValueError, r"x must be \(N, C\) or \(N, C, spatial...\) with 1 to 3 spatial axes, got x\(3,\)"),
    ],
)
@every_call
def test_what_statistics_may_be(op, words, error, message):
    usual = {"x": np.zeros((2, 3, 4, 4), np.float32), "mean": np.zeros(3), "variance": np.ones(3)}
    with pytest.raises(error, match=rf"^{op}: {message}"):
        CALLS[op](**usual | words)


@every_dtype
@every_call
def test_statistics_are_combined_in_float64(op, dtype, rng):
    """Whatever x is, float32 and float64 are welcome, and lists of them; a NaN goes where it belongs."""
    x, mean, variance = rng.standard_normal((2, 3, 4)).astype(dtype), np.array([0.5, -1, 2]), np.array([1.0, 0.25, 4])
    expected = CALLS[op](x, mean, variance)[0]
    for given in (mean.astype(np.float32), variance.astype(np.float32)), (mean.tolist(), variance.tolist()):
        np.testing.assert_array_equal(CALLS[op](x, *given)[0], expected, strict=True)
    y = ops.batch_norm(x, mean, np.array([1, np.nan, 4]))
    assert np.isnan(y).any(axis=(0, 2)).tolist() == [False, True, False]


def test_flags_and_biases_of_batch_norm():
    x, c = np.zeros((2, 3), np.float32), np.ones(3)
    with pytest.raises(TypeError, match=r"^batch_norm_grad: of_batch must be True or False, got 1$"):
        ops.batch_norm_grad(x, x, c, c, of_batch=1)
    with pytest.raises(TypeError, match=r"^batch_norm: bias is float64, but x is float32; .*: write bias.astype\(np.float32\)$"):
        ops.batch_norm(x, c, c, None, c)
    with pytest.raises(ValueError, match=r"^batch_norm: bias has C=2, but x has C=3"):
        ops.batch_norm(x, c, c, None, np.zeros(2, np.float32))
    for op in (ops.batch_statistics, lambda x: ops.batch_norm(x, c, c)):
        with pytest.raises(ValueError, match=r"^batch_(statistics|norm): x has C=0; only the batch N may be empty; got x"):
            op(x[:, :0])
