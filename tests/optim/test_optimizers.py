"""Optimizers against the papers."""

import numpy as np
import pytest

from fastconv import layers, optim


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def sgd(value, gradients, lr, momentum, decay, nesterov):
    """Sutskever et al. 2013 in PyTorch's form."""
    v = np.zeros_like(value)
    for g in gradients:
        g = g + decay * value
        v = momentum * v + g
        value = value - lr * (g + momentum * v if nesterov else v)
    return value


def adam(value, gradients, lr, betas, eps, decay):
    """Kingma and Ba 2015, algorithm 1."""
    m, s = np.zeros_like(value), np.zeros_like(value)
    for t, g in enumerate(gradients, start=1):
        g = g + decay * value
        m = betas[0] * m + (1 - betas[0]) * g
        s = betas[1] * s + (1 - betas[1]) * g**2
        value = value - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(s / (1 - betas[1] ** t)) + eps)
    return value


def adamw(value, gradients, lr, betas, eps, decay):
    """Loshchilov and Hutter 2019, algorithm 2, the decay times lr."""
    m, s = np.zeros_like(value), np.zeros_like(value)
    for t, g in enumerate(gradients, start=1):
        m = betas[0] * m + (1 - betas[0]) * g
        s = betas[1] * s + (1 - betas[1]) * g**2
        value = value - lr * decay * value - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(s / (1 - betas[1] ** t)) + eps)
    return value


def rmsprop(value, gradients, lr, alpha, eps, decay, momentum, centered):
    """Tieleman and Hinton 2012, Graves 2013, in PyTorch's form."""
    s, m, v = np.zeros_like(value), np.zeros_like(value), np.zeros_like(value)
    for g in gradients:
        g = g + decay * value
        s = alpha * s + (1 - alpha) * g**2
        m = alpha * m + (1 - alpha) * g
        v = momentum * v + g / (np.sqrt(s - m**2 if centered else s) + eps)
        value = value - lr * v
    return value


WORDS = [
    (sgd, optim.SGD, {"lr": 0.1, "momentum": m, "weight_decay": d, "nesterov": n})
    for m, d, n in [(0, 0, False), (0.9, 0, False), (0.9, 0.01, True), (0, 0.1, False)]
]
WORDS += [(adam, optim.Adam, {"lr": 0.01, "betas": b, "eps": e, "weight_decay": d}) for b, e, d in [((0.9, 0.999), 1e-8, 0), ((0, 0.5), 1e-3, 0.1)]]
WORDS += [(adamw, optim.AdamW, {"lr": 0.01, "betas": b, "eps": e, "weight_decay": d}) for b, e, d in [((0.9, 0.999), 1e-8, 0.3), ((0, 0.5), 1e-3, 0)]]
WORDS += [
    (rmsprop, optim.RMSprop, {"lr": 0.01, "alpha": a, "eps": e, "weight_decay": d, "momentum": m, "centered": c})
    for a, e, d, m, c in [(0.99, 1e-8, 0, 0, False), (0.5, 1e-3, 0.1, 0.9, False), (0.7, 1e-2, 0, 0, True), (0.9, 1e-3, 0.1, 0.5, True)]
]
KINDS = [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("paper", "kind", "words"), WORDS)
def test_optimizers_are_the_papers(paper, kind, words, dtype, rng):
    value, gradients = rng.standard_normal((3, 4)), rng.standard_normal((6, 3, 4))
    p = layers.Parameter(value.astype(dtype))
    optimizer = kind([p], **words)
    for g in gradients:
        optimizer.zero_grad()
        p.add_grad(g.astype(dtype))
        optimizer.step()
    lr, *rest = words.values()
    tolerance = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(p.value, paper(p.dtype.type(value), gradients, lr, *rest), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("paper", "kind", "words"), WORDS)
def test_a_parameter_without_gradient_does_not_move_and_starts_afresh_later(paper, kind, words, rng):
    """As in PyTorch: neither decay nor momentum moves it, and its own steps count from its own first gradient."""
    early, late = (layers.Parameter(rng.standard_normal(4)) for _ in range(2))
    start, gradients = [early.value.copy(), late.value.copy()], rng.standard_normal((7, 4))
    optimizer = kind([early, late], **words)
    for number, g in enumerate(gradients):
        optimizer.zero_grad()
        early.add_grad(g)
        if number >= 4:
            late.add_grad(g)
        optimizer.step()
        if number < 4:
            np.testing.assert_array_equal(late.value, start[1])
            assert late.version == 0
    np.testing.assert_allclose(early.value, paper(start[0], gradients, *words.values()), rtol=1e-12)
    np.testing.assert_allclose(late.value, paper(start[1], gradients[4:], *words.values()), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_an_optimizer_goes_on_after_its_parameters_moved(kind):
    """A second optimizer, or a larger Sequential, moves the parameters into new buffers; the first one still trains them."""
    for move in (lambda model: optim.SGD(model.parameters(), lr=1), lambda model: layers.Sequential(model, layers.Linear(2, 2))):
        model = layers.Sequential(layers.Linear(3, 2))
        first = kind(model.parameters(), lr=0.1)
        kept = move(model)
        before = model.state_dict()
        for p in model.parameters():
            p.add_grad(np.ones(p.shape, np.float32))
        first.step()
        for name, value in model.state_dict().items():
            assert (value < before[name]).all(), f"{name} did not move, with {kept!r}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parameters", [layers.Linear(2, 2), layers.Sequential(layers.Linear(2, 2)), [np.zeros(3)], None], ids=repr)
def test_what_is_no_list_of_parameters_is_an_error_that_says_what_to_write(kind, parameters):
    with pytest.raises(TypeError, match=r"write model\.parameters\(\)"):
        kind(parameters, lr=0.1)


NUMBERS = [(optim.SGD, "lr"), (optim.SGD, "momentum"), (optim.SGD, "weight_decay"), (optim.Adam, "lr"), (optim.Adam, "eps")]
NUMBERS += [(optim.AdamW, "weight_decay"), (optim.RMSprop, "alpha"), (optim.RMSprop, "momentum")]


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
def test_numbers_of_optimizers_are_checked(kind, name):
    p = [layers.Parameter(np.zeros(2))]
    for value in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"{name} must be finite and >= 0"):
            kind(p, **({"lr": 0.1} | {name: value}))
    for value in ("1", None, True, [0.1]):
        with pytest.raises(TypeError, match=f"{name} must be a number"):
            kind(p, **({"lr": 0.1} | {name: value}))


def test_nesterov_and_betas_are_checked():
    p = [layers.Parameter(np.zeros(2))]
    with pytest.raises(ValueError, match="nesterov needs a momentum > 0"):
        optim.SGD(p, lr=0.1, nesterov=True)
    for betas in ((0.9, 1), (-0.1, 0.9), (np.nan, 0.9), (0.9,), (0.9, 0.9, 0.9)):
        with pytest.raises(ValueError, match="betas must be"):
            optim.Adam(p, betas=betas)
    for betas in (None, 0.9, "ab", ("a", "b"), [0.9, [1]], [None, 0.9]):
        with pytest.raises(TypeError, match="Adam: betas"):
            optim.Adam(p, betas=betas)
    for value in (True, "1", [1.0], np.ones(2)):
        with pytest.raises(TypeError, match="SGD: clip_norm must be a number"):
            optim.SGD(p, lr=0.1, clip_norm=value)
    with pytest.raises(ValueError, match="SGD: lr must be finite"):
        optim.SGD(p, lr=10**400)
    for value in (1, None, "yes", [True]):
        with pytest.raises((TypeError, ValueError), match="nesterov"):
            optim.SGD(p, lr=0.1, nesterov=value)
    with pytest.raises(ValueError, match=r"alpha must be in 0 <= alpha < 1, got 1\.0"):
        optim.RMSprop(p, alpha=1)


def test_adamw_decays_at_the_same_rate_whatever_the_gradients_size(rng):
    """The point of the paper: with Adam large gradients shield a value from its decay."""
    left = {}
    for kind in (optim.Adam, optim.AdamW):
        p = layers.Parameter(np.array([1.0, 1.0]))
        optimizer = kind([p], lr=1e-3, weight_decay=0.5)
        for sign in [1, -1] * 50:
            optimizer.zero_grad()
            p.add_grad(sign * np.array([1e-3, 1e3]))
            optimizer.step()
        left[kind] = p.value
    np.testing.assert_allclose(*left[optim.AdamW], rtol=1e-4)
    assert left[optim.Adam][1] > left[optim.Adam][0] + 0.05


def test_a_centered_root_of_equal_gradients_is_never_of_a_negative_number():
    """Where gradients do not change, square - mean**2 is 0 up to rounding, of either sign."""
    p = layers.Parameter(np.zeros(1000, np.float32))
    optimizer = optim.RMSprop([p], lr=1e-6, alpha=0.5, eps=1e-3, centered=True)
    p.add_grad(np.random.default_rng(0).standard_normal(1000).astype(np.float32))
    for _ in range(60):
        optimizer.step()
    assert np.isfinite(p.value).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adams_first_step_is_the_rate_whatever_the_gradient(dtype):
    """Not so exactly where 1 - beta2 is made of a rounded beta2."""
    p = layers.Parameter(np.zeros(1000, dtype))
    p.add_grad(np.geomspace(1e-3, 1e3, 1000).astype(dtype))
    optim.Adam([p], 0.5, eps=1e-30).step()
    np.testing.assert_allclose(p.value, -0.5, rtol=8 * np.finfo(dtype).eps)
