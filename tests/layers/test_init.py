"""Initial values: their distributions, the same for the same seed, what is refused."""

import math

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers
from fastconv.layers import init

SHAPE = 60, 50, 3, 3  # fans 450 and 540


def drawn(draw, *args, **words) -> np.ndarray:
    p = layers.Parameter(np.zeros(SHAPE, np.float32))
    assert draw(p, *args, **words) is p
    return p.value


STANDARD_DEVIATIONS = {  # PyTorch's formulas
    "kaiming_normal": ((), math.sqrt(2 / 450)),
    "kaiming_uniform": (("fan_out",), math.sqrt(2 / 540)),
    "kaiming_normal of leaky_relu": (("fan_in", "leaky_relu", 0.2), math.sqrt(2 / 1.04 / 450)),
    "kaiming_uniform of tanh": (("fan_in", "tanh"), 5 / 3 / math.sqrt(450)),
    "xavier_normal": ((), math.sqrt(2 / 990)),
    "xavier_uniform": ((2,), 2 * math.sqrt(2 / 990)),
    "normal": ((0, 0.3), 0.3),
    "uniform": ((-0.1, 0.1), 0.2 / math.sqrt(12)),
    "orthogonal": ((3,), 3 / math.sqrt(450)),
    "truncated_normal": ((0, 0.5, -1, 1), 0.5 * 0.879626),  # of a normal distribution cut at two deviations
    "truncated_normal, narrow": ((0, 1, -0.4, 0.4), 0.227268),
}


@pytest.mark.parametrize("name", STANDARD_DEVIATIONS)
def test_mean_and_standard_deviation_are_those_of_the_formula(name):
    args, std = STANDARD_DEVIATIONS[name]
    fc.seed(1)
    values = drawn(getattr(init, name.replace(",", " ").split()[0]), *args).astype(np.float64)
    five_sigma = 5 / math.sqrt(values.size)
    assert abs(values.mean()) < five_sigma * std
    assert values.std() == pytest.approx(std, rel=five_sigma)


@pytest.mark.parametrize("draw", [init.kaiming_normal, init.xavier_uniform, init.truncated_normal, init.orthogonal], ids=lambda draw: draw.__name__)
def test_the_same_seed_draws_the_same_bits(draw):
    fc.seed(3)
    first = drawn(draw).copy()
    second = drawn(draw).copy()
    fc.seed(3)
    np.testing.assert_array_equal(drawn(draw), first)
    assert (first != second).any()
    np.testing.assert_array_equal(*(drawn(draw, rng=np.random.default_rng(0)) for _ in range(2)))


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 2, 3), (4, 4, 1, 1)])
def test_rows_or_columns_are_orthogonal(shape):
    w = init.orthogonal(np.empty(shape), 2).reshape(shape[0], -1)
    small = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)


def test_a_truncated_normal_distribution_ends_where_it_shall():
    for low, high in ((-2, 2), (0, 0.1), (1.9, 2.5), (2, 5), (-3, -2)):
        values = init.truncated_normal(np.empty(5000), 0, 1, low, high, rng=np.random.default_rng(1))
        assert low <= values.min() < low + (high - low) / 5
        assert high - (high - low) * 0.6 < values.max() <= high
    assert (init.truncated_normal(np.empty(3), 1, 0, 0, 2) == 1).all()


def test_numbers():
    p = layers.Parameter(np.ones((2, 3), np.float32))
    version = p.version
    assert (init.zeros(p).value == 0).all()
    assert p.version > version, "a backward pass of before is out of date"
    assert (init.constant(p, 0.5).value == 0.5).all()
    assert (init.ones(np.zeros(3)) == 1).all()


def test_a_whole_model():
    conv, norm, rows = layers.Conv2d(1, 4, 3), layers.BatchNorm2d(4), layers.LayerNorm((4, 2, 2))
    net = layers.Sequential(layers.Residual(layers.Sequential(conv, norm)), rows, layers.Flatten(), layers.Linear(16, 3))
    norm.weight.value, rows.weight.value = np.full(4, 7, np.float32), np.full((4, 2, 2), 7, np.float32)
    init.whole_model(net, init.constant, value=2)
    found = {name: set(p.value.ravel().tolist()) for name, p in net.named_parameters()}
    assert found == {
        "0.body.0.weight": {2.0}, "0.body.0.bias": {0.0}, "0.body.1.weight": {7.0}, "0.body.1.bias": {0.0}, "1.weight": {7.0}, "1.bias": {0.0},
        "3.weight": {2.0}, "3.bias": {0.0},
    }  # fmt: skip


def test_gains_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name in ("linear", "sigmoid", "tanh", "relu", "selu", "leaky_relu"):
        assert init.gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert init.gain("leaky_relu", 0.3) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.3))


W = np.zeros((2, 3), np.float32)
READ_ONLY = W.view()
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: init.kaiming_normal(np.zeros(3)), ValueError, r"kaiming_normal: p must be a weight of at least 2 axes \(O, I, \.\.\.\), got \(3,\)"),
        (
            lambda: init.xavier_normal(layers.Linear(2, 3)),
            TypeError,
            "xavier_normal: p must be a Parameter, or an array of float32 or float64, got a Linear",
        ),
        (lambda: init.zeros(np.zeros(3, int)), TypeError, "zeros: p must be a Parameter, .*, got an array of int64"),
        (lambda: init.ones(READ_ONLY), ValueError, "ones: p is read-only"),
        (lambda: init.kaiming_uniform(W, "in"), ValueError, "kaiming_uniform: mode must be 'fan_in' or 'fan_out', got 'in'"),
        (lambda: init.kaiming_uniform(W, "fan_in", "gelu"), ValueError, "gain: nonlinearity 'gelu' is not one of 'linear', "),
        (lambda: init.normal(W, 0, -1), ValueError, "normal: std must be finite and >= 0, got -1"),
        (lambda: init.normal(W, np.nan), ValueError, "normal: mean must be finite, got nan"),
        (lambda: init.uniform(W, 1, 0), ValueError, "uniform: low must be at most high, got low=1.0, high=0.0"),
        (lambda: init.truncated_normal(W, 0, 1, 3, 4), ValueError, "truncated_normal: mean=0.0 must lie within 2 standard deviations of low=3.0"),
        (lambda: init.normal(W, rng=3), TypeError, "normal: rng must be a NumPy generator, got 3"),
        (lambda: init.whole_model(W, init.zeros), TypeError, "whole_model: model must be a Layer, got ndarray"),
        (lambda: init.whole_model(layers.ReLU(), "zeros"), TypeError, "whole_model: draw must be a function of a parameter"),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make()
