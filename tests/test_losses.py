"""Losses against their definitions, and the checks of their targets."""

import math
from functools import partial

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
    """`fit` turns a non-finite loss into its FloatingPointError, so the loss must be able to return one."""
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
    """Labels out of range, wrong length, NaN: ValueError; a tuple given to a loss: TypeError that says to unpack it."""
    with pytest.raises(error, match=words):
        losses.cross_entropy(np.zeros((3, 3), np.float32), targets)


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.mse, losses.huber, losses.bce_with_logits])
def test_the_pair_of_forward_given_to_a_loss_says_to_unpack_it(loss):
    """A tuple given to a loss (`model.forward`'s pair): TypeError that says to unpack it."""
    pair = layers.ReLU().forward(np.zeros((2, 3), np.float32))
    with pytest.raises(TypeError, match="unpack"):
        loss(pair, [0, 1])


@pytest.mark.parametrize("shape", [(3,), (0, 3), (3, 0), (2, 3, 1)])
def test_outputs_of_cross_entropy_are_one_row_of_scores_per_example(shape):
    with pytest.raises(ValueError, match=r"outputs must be \(N, K\)"):
        losses.cross_entropy(np.zeros(shape, np.float32), np.zeros(shape[:1], int))


ELEMENTWISE = {
    "mse": (losses.mse, lambda x, t: (x - t) ** 2),
    "huber": (losses.huber, lambda x, t: np.where(abs(x - t) <= 1, (x - t) ** 2 / 2, abs(x - t) - 0.5)),
    "huber 0.3": (partial(losses.huber, delta=0.3), lambda x, t: np.where(abs(x - t) <= 0.3, (x - t) ** 2 / 2, 0.3 * (abs(x - t) - 0.15))),
    "huber 100": (partial(losses.huber, delta=100), lambda x, t: (x - t) ** 2 / 2),
    "bce": (losses.bce_with_logits, lambda x, t: -t * np.log(1 / (1 + np.exp(-x))) - (1 - t) * np.log(1 - 1 / (1 + np.exp(-x)))),
}


@pytest.mark.parametrize(("loss", "definition"), ELEMENTWISE.values(), ids=ELEMENTWISE)
@pytest.mark.parametrize("shape", [(2, 3, 4), (6,), (4, 1)])
def test_losses_of_elements_are_means_of_their_definitions_and_gradients_the_slopes(loss, definition, shape, rng):
    outputs, targets = 2 * rng.standard_normal(shape), rng.random(shape)
    targets.flat[:2] = 0, 1
    value, gradient = loss(outputs, targets)
    assert type(value) is float
    assert value == pytest.approx(definition(outputs, targets).mean(), rel=1e-13)
    np.testing.assert_allclose(gradient, slopes(lambda a: loss(a, targets)[0], outputs), atol=1e-9)
    value32, gradient32 = loss(outputs.astype(np.float32), targets.astype(np.float32))
    assert gradient32.dtype == np.float32
    assert value32 == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(gradient32, gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["mse", "huber", "bce_with_logits"])
def test_losses_of_elements_check_their_operands(name):
    loss = getattr(losses, name)
    with pytest.raises(ValueError, match=rf"{name}: outputs\(2, 3\) and targets\(2,\) must have the same shape"):
        loss(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(TypeError, match=f"{name}: targets is float64, but outputs is float32"):
        loss(np.zeros(2, np.float32), np.zeros(2))
    with pytest.raises(TypeError, match=f"{name}: targets has dtype int64"):
        loss(np.zeros(2), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="NaN"):
        loss(np.zeros(2), np.array([0, np.nan]))
    with pytest.raises(ValueError, match="empty"):
        loss(np.zeros((0, 2)), np.zeros((0, 2)))


@pytest.mark.parametrize("name", ["mse", "huber", "bce_with_logits"])
def test_losses_of_elements_that_are_not_finite_neither_raise_nor_warn(name):
    """`fit` turns a non-finite loss into its FloatingPointError, so the loss must be able to return one."""
    for score in (np.inf, -np.inf, np.nan):
        value, gradient = getattr(losses, name)(np.array([score, 0.5]), np.array([0.25, 0.5]))
        assert not math.isfinite(value)
        assert gradient.shape == (2,)


def test_bce_of_huge_scores_is_stable():
    """exp(-1e4) is 0 and exp(1e4) would be infinite: neither is ever divided or taken the logarithm of."""
    outputs = np.array([1e4, -1e4, -1e4, 1e4, 800], np.float32)
    value, gradient = losses.bce_with_logits(outputs, np.array([1, 0, 1, 0, 0.5], np.float32))
    assert value == pytest.approx((0 + 0 + 1e4 + 1e4 + 400) / 5, rel=1e-12)
    np.testing.assert_allclose(gradient, np.array([0, 0, -1, 1, 0.5]) / 5, atol=1e-12)


def test_a_small_bce_keeps_its_digits():
    """log(1 + exp(-40)) is 4.2e-18, not 0."""
    value, _ = losses.bce_with_logits(np.array([40.0]), np.array([1.0]))
    assert value == pytest.approx(math.exp(-40), rel=1e-12)


def test_bce_of_one_question_is_the_cross_entropy_of_two_classes(rng):
    outputs, targets = rng.standard_normal(7), rng.integers(0, 2, 7)
    value, gradient = losses.bce_with_logits(outputs, targets.astype(float))
    pair, d_pair = losses.cross_entropy(np.stack([np.zeros(7), outputs], axis=1), targets)
    assert value == pytest.approx(pair, rel=1e-14)
    np.testing.assert_allclose(gradient, d_pair[:, 1], atol=1e-16)


def test_options_of_losses_of_elements_are_checked():
    for target in (-0.5, 1.5, np.inf):
        with pytest.raises(ValueError, match=rf"bce_with_logits: targets\[0, 1\] = {target} is not in 0\.\.1"):
            losses.bce_with_logits(np.zeros((1, 2)), np.array([[1, target]]))
    for delta in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="huber: delta must be"):
            losses.huber(np.zeros(2), np.zeros(2), delta=delta)
    with pytest.raises(TypeError, match="huber: delta must be a number, got '1'"):
        losses.huber(np.zeros(2), np.zeros(2), delta="1")


WEIGHTS = np.array([0.5, 2, 0, 1, 3])


def smoothed(outputs, targets, label_smoothing, class_weights, ignore_index):
    """PyTorch's documented formula: the mean over what is not ignored, by weights, of the cross-entropy with (1 - e) one_hot + e / K."""
    K = outputs.shape[1]
    w = np.ones(K) if class_weights is None else np.asarray(class_weights, float)
    total, norm = 0.0, 0.0
    for row, target in zip(outputs, targets, strict=True):
        if target == ignore_index:
            continue
        logs = row - np.log(np.exp(row).sum())
        q = np.full(K, label_smoothing / K)
        q[target] += 1 - label_smoothing
        # the smooth part is weighted by class, the hard part by its target's class
        total -= sum(q[k] * w[k] * logs[k] for k in range(K))
        norm += w[target]
    return total / norm


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("class_weights", [None, WEIGHTS, [1, 2, 3, 4, 5]])
@pytest.mark.parametrize("ignore_index", [None, -100, 4])
def test_options_of_cross_entropy_are_pytorchs(label_smoothing, class_weights, ignore_index, rng):
    outputs, targets = 3 * rng.standard_normal((7, 5)), np.array([0, 4, 2, 1, 3, 4, 1])
    if ignore_index == -100:
        targets[[1, 3]] = -100
    words = {"label_smoothing": label_smoothing, "class_weights": class_weights, "ignore_index": ignore_index}
    loss = partial(losses.cross_entropy, **words)
    value, gradient = loss(outputs, targets)
    assert value == pytest.approx(smoothed(outputs, targets, **words), rel=1e-13)
    np.testing.assert_allclose(gradient, slopes(lambda a: loss(a, targets)[0], outputs), atol=1e-9)
    assert (gradient[targets == ignore_index] == 0).all()
    assert loss(outputs.astype(np.float32), targets)[1].dtype == np.float32


def test_ignored_rows_may_hold_anything_and_a_batch_of_them_has_a_loss_of_nan_and_no_gradient():
    outputs = np.array([[np.inf, np.nan], [0, 0]])
    value, gradient = losses.cross_entropy(outputs, [-1, 0], ignore_index=-1)
    assert value == pytest.approx(math.log(2))
    np.testing.assert_array_equal(gradient, [[0, 0], [-0.5, 0.5]])
    for label_smoothing in (0, 0.1):
        value, gradient = losses.cross_entropy(outputs, [-1, -1], ignore_index=-1, label_smoothing=label_smoothing)
        assert math.isnan(value)
        assert (gradient == 0).all()
        value, _ = losses.cross_entropy(np.zeros((2, 2)), [1, 1], class_weights=[1, 0], label_smoothing=label_smoothing)
        assert math.isnan(value), "the mean of weights that are all 0"


def test_a_class_ruled_out_by_minus_infinity_does_not_hurt_the_others():
    value, gradient = losses.cross_entropy(np.array([[-np.inf, 0, 0]]), [1], class_weights=[1, 2, 3])
    assert value == pytest.approx(math.log(2))
    np.testing.assert_allclose(gradient, [[0, -0.5, 0.5]])


BAD_OPTIONS = [
    ({"label_smoothing": -0.1}, ValueError, "label_smoothing must be finite and >= 0 and <= 1, got -0.1"),
    ({"label_smoothing": 1.5}, ValueError, "label_smoothing must be"),
    ({"label_smoothing": np.nan}, ValueError, "label_smoothing must be"),
    ({"label_smoothing": True}, TypeError, "label_smoothing must be a number"),
    ({"class_weights": [1, 2]}, ValueError, r"class_weights must be \(3,\), one for each column of outputs, got \(2,\)"),
    ({"class_weights": [1, -2, 1]}, ValueError, "class_weights must be finite and >= 0"),
    ({"class_weights": [1, np.inf, 1]}, ValueError, "class_weights must be finite"),
    ({"class_weights": ["1", "2", "3"]}, TypeError, "class_weights must be numbers"),
    ({"class_weights": [[1], [2, 3], 1]}, ValueError, "class_weights is no array: its rows differ in length"),
    ({"ignore_index": 1.0}, TypeError, "ignore_index must be an integer"),
    ({"ignore_index": -1}, ValueError, r"targets\[2\] = -100 is not a class 0\.\.2"),
]


@pytest.mark.parametrize(("words", "error", "message"), BAD_OPTIONS)
def test_options_of_cross_entropy_are_checked(words, error, message):
    with pytest.raises(error, match=f"cross_entropy: {message}"):
        losses.cross_entropy(np.zeros((3, 3)), [0, 1, -100 if words == {"ignore_index": -1} else 2], **words)


def test_ragged_targets_are_named():
    with pytest.raises(ValueError, match=r"^cross_entropy: targets is no array: its rows differ in length"):
        losses.cross_entropy(np.zeros((3, 3)), [[1], [2, 3], 1])
