"""Neighbors that run as one pass: the same bits, names and errors as apart."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers, losses, models, optim, profiling
from fastconv.layers import BatchNorm2d, Conv2d, Linear, MaxPool2d, ReLU, Residual, Sequential
from fastconv.layers.fusion import steps_of
from fastconv.layers.shortcut import Shortcut

C, SHAPE = 5, (3, 5, 6, 7)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def conv(rng, IC=C, OC=C, stride=1, dtype=np.float32):
    return Conv2d(IC, OC, 3, padding=1, stride=stride, dtype=dtype, rng=rng)


def block(kind: str, rng, fuse: bool, dtype=np.float32) -> Residual:
    """Bodies that end in a BatchNorm, which adds the shortcut, and others."""
    norm = BatchNorm2d(C, dtype=dtype)
    norm.weight.value, norm.bias.value = rng.normal(size=(2, C)).astype(dtype)
    if kind == "norm":
        return Residual(Sequential(conv(rng, dtype=dtype), ReLU(), conv(rng, dtype=dtype), norm, fuse=fuse))
    if kind == "projection":
        shortcut = Sequential(conv(rng, stride=2, dtype=dtype), BatchNorm2d(C, dtype=dtype), fuse=fuse)
        return Residual(Sequential(conv(rng, stride=2, dtype=dtype), norm, fuse=fuse), shortcut)
    if kind == "convolution":
        return Residual(Sequential(conv(rng, dtype=dtype), ReLU(), conv(rng, dtype=dtype), fuse=fuse))
    if kind == "relu":
        return Residual(Sequential(norm, ReLU(), fuse=fuse))
    return Residual(norm)  # no Sequential


def pair(kind: str, seed: int, relu: bool, dtype=np.float32) -> tuple[Sequential, Sequential]:
    """The same net, apart and fused."""
    nets = []
    for fuse in (False, True):
        rng = np.random.default_rng(seed)
        after = (ReLU(),) if relu else ()
        nets.append(Sequential(conv(rng, dtype=dtype), block(kind, rng, fuse, dtype), *after, conv(rng, dtype=dtype), fuse=fuse))
    return nets[0], nets[1]


def results(model, x, training=True, input_grad=True) -> list[np.ndarray]:
    for p in model.parameters():
        p.zero_grad()
    y, backward = model.forward(x, training)
    dx = backward(np.cos(np.arange(y.size, dtype=y.dtype)).reshape(y.shape), input_grad)
    found = [y, model(x)] + ([dx] if input_grad else [])
    return found + [p.grad.copy() for p in model.parameters() if p.has_grad] + [buffer.value for _, buffer in model.named_buffers()]


def assert_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


KINDS = "norm", "projection", "convolution", "relu", "bare"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_residual_runs_with_its_neighbors_to_the_same_bits(rng, kind, relu, training):
    apart, fused = pair(kind, 1, relu)
    assert list(apart.state_dict()) == list(fused.state_dict())
    assert repr(apart) == repr(fused)
    x = rng.standard_normal(SHAPE).astype(np.float32)
    for at in (x, np.asfortranarray(x), x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)):
        assert_equal(results(fused, at, training), results(apart, at, training))
    x[1, 2, 3, 3] = np.nan
    assert_equal(results(fused, x, training), results(apart, x, training))


@pytest.mark.parametrize("kind", ["norm", "projection"])
def test_also_in_float64_and_of_no_images(rng, kind):
    for x in (rng.standard_normal(SHAPE), np.empty((0, *SHAPE[1:]))):
        apart, fused = pair(kind, 2, True, np.float64)
        assert_equal(results(fused, x), results(apart, x))


@pytest.mark.parametrize("kind", ["norm", "projection"])
@pytest.mark.parametrize("input_grad", [False, True])
@pytest.mark.parametrize("frozen", ["body", "norm", "shortcut", "block"])
def test_what_is_frozen_changes_nothing(rng, kind, input_grad, frozen):
    """A body that has nothing to learn does not run, and then clamps nothing for the shortcut."""
    x = rng.standard_normal(SHAPE).astype(np.float32)
    found = []
    for model in pair(kind, 3, True):
        inner = model[1]
        part = {"body": inner.body, "norm": inner.body[-1], "shortcut": inner.shortcut or inner.body[0], "block": inner}[frozen]
        part.frozen = True
        found.append([results(model, x, input_grad=input_grad), results(inner, x, input_grad=input_grad)])
    assert_equal(found[1][0], found[0][0])
    assert_equal(found[1][1], found[0][1])


def test_a_projection_learns_though_the_body_is_frozen(rng):
    """Nothing before it does: the body's backward function is not run at all."""
    x = rng.standard_normal(SHAPE).astype(np.float32)
    gradients = []
    for fuse in (False, True):
        inner = block("projection", np.random.default_rng(4), fuse)
        inner.body.frozen = True
        y, backward = Sequential(inner, ReLU(), fuse=fuse).forward(x)
        backward(np.ones_like(y), input_grad=False)
        gradients.append([p.grad for p in inner.shortcut.parameters()])
    assert_equal(*gradients)


def test_passes_that_are_merged_do_not_run(rng, monkeypatch):
    monkeypatch.setattr(ReLU, "forward", None)
    monkeypatch.setattr("fastconv.layers.branches.relu_passes", lambda *of: Once())
    _, fused = pair("norm", 5, True)
    y, backward = fused.forward(rng.standard_normal(SHAPE).astype(np.float32))
    backward(np.ones_like(y))


class Once:
    input_grad = None  # a call is a TypeError


def test_threads_change_no_bit(rng, threads):
    x = rng.standard_normal((9, 5, 40, 41)).astype(np.float32)
    found = results(pair("norm", 6, True)[1], x)
    fc.set_num_threads(1)
    assert_equal(results(pair("norm", 6, True)[1], x), found)


def test_the_table_gives_the_relu_to_the_pooling_first():
    relu, pool, convolution, linear = ReLU(), MaxPool2d(2), Conv2d(1, 1, 3), Linear(1, 1)
    shown = {
        (convolution, relu, pool): [(convolution, {}), (pool, {"relu": True})],
        (convolution, relu, linear, relu): [(convolution, {"relu": True}), (linear, {"relu": True})],
        (convolution, relu, relu): [(convolution, {"relu": True}), (relu, {})],
        (relu, pool, relu): [(pool, {"relu": True}), (relu, {})],
        (convolution, relu, wide := MaxPool2d(16)): [(convolution, {"relu": True}), (wide, {})],
        (pool, relu, layers.Flatten()): None,
        (): [],
    }
    for before, after in shown.items():
        assert list(steps_of(before)) == ([(layer, {}) for layer in before] if after is None else after)


def test_layers_of_ones_own_are_left_alone(rng):
    """A subclass may compute anything, in forward or in what it is made of."""

    class Halved(BatchNorm2d):
        def forward(self, x, training=True):
            return super().forward(x / 2, training)

    class Other(Sequential):
        def forward(self, x, training=True):
            return super().forward(2 * x, training)

    x = rng.standard_normal(SHAPE).astype(np.float32)
    for body in (Sequential(Halved(C)), Other(BatchNorm2d(C)), Sequential(BatchNorm2d(C), fuse=False), Sequential()):
        assert not body.takes_shortcut
        inner = body.forward(x, training=False)[0]
        np.testing.assert_array_equal(Sequential(Residual(body), ReLU())(x), np.maximum(inner + x, 0))
    assert Sequential(BatchNorm2d(C)).takes_shortcut


@pytest.mark.parametrize("body", [Sequential(Conv2d(C, 4, 3), BatchNorm2d(4)), Conv2d(C, 4, 3)])
def test_sums_of_other_shapes_change_nothing(rng, body):
    before = body.state_dict()
    with pytest.raises(ValueError, match=r"Residual: the body gives \(3, 4, 4, 5\), the shortcut \(3, 5, 6, 7\); they must have the same shape"):
        Residual(body).forward(rng.standard_normal(SHAPE).astype(np.float32))
    assert_equal(list(body.state_dict().values()), list(before.values()))


def test_a_shortcut_that_is_none():
    norm, x = BatchNorm2d(C), np.ones(SHAPE, np.float32)
    with pytest.raises(TypeError, match="BatchNorm2d: shortcut must be a Shortcut, got ndarray"):
        norm.forward(x, shortcut=x)
    with pytest.raises(TypeError, match="shortcut is float64, but x is float32"):
        norm.forward(x, shortcut=Shortcut(x.astype(np.float64)))
    with pytest.raises(TypeError, match="Residual: relu must be True or False"):
        Residual(norm).forward(x, relu=1)


def test_the_profile_says_what_runs_where(rng):
    model = models.resnet8(3, 8)
    x = rng.standard_normal((4, 3, 8, 8)).astype(np.float32)
    found = profiling.profile(model, x, np.arange(4), losses.cross_entropy, optim.SGD(model.parameters(), 0.1), steps=1)
    last = next(row for row in found.rows if row.name == "3.body.4")
    assert last.layer == "BatchNorm2d(16) + shortcut + ReLU"
    assert not any(row.layer == "ReLU()" for row in found.rows)
