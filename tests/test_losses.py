"""Losses against their definitions, and the checks of their targets."""

import math

import numpy as np
import pytest

from fastconv import layers, losses

STEP = 1e-5


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def slopes(f, a):
    d = np.empty_like(a)
    for i in np.ndindex(a.shape):
        up, down = a.copy(), a.copy()
        up[i] += STEP
        down[i] -= STEP
        d[i] = (f(up) - f(down)) / (2 * STEP)
    return d


def test_cross_entropy_is_minus_the_log_of_softmax_and_its_gradient_the_slope(rng):
    outputs, targets = rng.standard_normal((4, 5)), np.array([0, 4, 2, 2])
    softmax = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    value, gradient = losses.cross_entropy(outputs, targets)
    assert type(value) is float
    assert value == pytest.approx(-np.log(softmax[np.arange(4), targets]).mean(), rel=1e-14)
    np.testing.assert_allclose(gradient, slopes(lambda a: losses.cross_entropy(a, targets)[0], outputs), atol=1e-9)
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-16)


def test_cross_entropy_of_huge_scores_is_stable():
    """The largest score is subtracted first: 1e4 in float32 neither overflows nor warns."""
    outputs = np.array([[1e4, 0, -1e4], [-1e4, 1e4, 1e4]], np.float32)
    value, gradient = losses.cross_entropy(outputs, [1, 2])
    assert value == pytest.approx((1e4 + math.log(2)) / 2, rel=1e-12)
    np.testing.assert_allclose(gradient, [[0.5, -0.5, 0], [0, 0.25, -0.25]], atol=1e-12)
    assert gradient.dtype == np.float32


def test_cross_entropy_does_not_change_with_a_constant_added_to_a_row(rng):
    outputs, targets = rng.integers(-8, 8, (6, 3)).astype(np.float64), rng.integers(0, 3, 6)
    value, gradient = losses.cross_entropy(outputs, targets)
    moved, same = losses.cross_entropy(outputs + rng.integers(-512, 512, (6, 1)), targets)
    assert moved == value
    np.testing.assert_array_equal(same, gradient)


@pytest.mark.parametrize("score", [np.inf, -np.inf, np.nan])
def test_not_finite_scores_give_a_not_finite_loss_without_a_warning(score):
    """SEMANTICS: `fit` turns a non-finite loss into its FloatingPointError, so the loss must be able to return one."""
    outputs = np.zeros((2, 3), np.float32)
    outputs[0, 1] = score
    assert not math.isfinite(losses.cross_entropy(outputs, [1, 0])[0])


BAD_LABELS = [
    ([0, 3, 1], ValueError, r"targets\[1\] = 3 is not a class 0\.\.2"), ([0, 1, -1], ValueError, r"targets\[2\] = -1 is not a class"),
    ([0, 1], ValueError, r"one label per row of outputs\(3, 3\), got \(2,\)"), ([[0], [1], [2]], ValueError, r"one label per row"),
    ([0, np.nan, 1], ValueError, "NaN"), ([0.0, 1.0, 2.0], TypeError, r"must be integers, got float64: write targets\.astype\(np\.int64\)"),
    ([True, False, True], TypeError, "must be integers, got bool"), (["0", "1", "2"], TypeError, "must be integers"),
    ((0, 1, 2), TypeError, "unpack"),
    (np.array([0, 2**63, 1], np.uint64), ValueError, "9223372036854775808 is not a class"),
]  # fmt: skip


@pytest.mark.parametrize(("targets", "error", "words"), BAD_LABELS)
def test_labels_are_checked(targets, error, words):
    """SEMANTICS: labels out of range, wrong length, NaN: ValueError; a tuple given to a loss: TypeError that says to unpack it."""
    with pytest.raises(error, match=words):
        losses.cross_entropy(np.zeros((3, 3), np.float32), targets)


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.mse])
def test_the_pair_of_forward_given_to_a_loss_says_to_unpack_it(loss):
    """SEMANTICS: a tuple given to a loss (`model.forward`'s pair): TypeError that says to unpack it."""
    pair = layers.ReLU().forward(np.zeros((2, 3), np.float32))
    with pytest.raises(TypeError, match="unpack"):
        loss(pair, [0, 1])


@pytest.mark.parametrize("shape", [(3,), (0, 3), (3, 0), (2, 3, 1)])
def test_outputs_of_cross_entropy_are_one_row_of_scores_per_example(shape):
    with pytest.raises(ValueError, match=r"outputs must be \(N, K\)"):
        losses.cross_entropy(np.zeros(shape, np.float32), np.zeros(shape[:1], int))


def test_mse_is_the_mean_square_and_its_gradient_the_slope(rng):
    outputs, targets = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3, 4))
    value, gradient = losses.mse(outputs, targets)
    assert value == pytest.approx(((outputs - targets) ** 2).mean(), rel=1e-14)
    np.testing.assert_allclose(gradient, slopes(lambda a: losses.mse(a, targets)[0], outputs), atol=1e-9)


def test_mse_checks_its_operands():
    with pytest.raises(ValueError, match=r"outputs\(2, 3\) and targets\(2,\) must have the same shape"):
        losses.mse(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(TypeError, match="targets is float64, but outputs is float32"):
        losses.mse(np.zeros(2, np.float32), np.zeros(2))
    with pytest.raises(ValueError, match="NaN"):
        losses.mse(np.zeros(2), np.array([0, np.nan]))
    with pytest.raises(ValueError, match="empty"):
        losses.mse(np.zeros((0, 2)), np.zeros((0, 2)))
