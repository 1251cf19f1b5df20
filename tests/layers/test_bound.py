"""Bound passes: what a layer makes once for a shape it meets, and never mistakes for another's."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers
from fastconv.layers.bound import KEPT, BoundPasses
from fastconv.ops import passes

MADE = {
    "Conv2d": lambda: layers.Conv2d(3, 4, 3, padding=1),
    "ConvTranspose2d": lambda: layers.ConvTranspose2d(3, 4, 2),
    "MaxPool2d": lambda: layers.MaxPool2d(2),
    "AvgPool2d": lambda: layers.AvgPool2d(2),
    "AdaptiveAvgPool2d": lambda: layers.AdaptiveAvgPool2d(2),
    "BatchNorm2d": lambda: layers.BatchNorm2d(3),
    "ReLU": layers.ReLU,
    "Linear": lambda: layers.Linear(3, 4),
}
every_layer = pytest.mark.parametrize("name", MADE)
pytestmark = pytest.mark.usefixtures("one_thread")


def inputs(name: str, N: int = 2, seed: int = 0) -> np.ndarray:
    shape = (N, 3) if name == "Linear" else (N, 3, 4, 6)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def results(layer, x: np.ndarray) -> list[np.ndarray]:
    """y, dx and the gradients of the parameters."""
    for parameter in layer.parameters():
        parameter.zero_grad()
    y, backward = layer.forward(x)
    dx = backward(np.cos(np.arange(y.size, dtype=y.dtype)).reshape(y.shape))
    return [y, dx, *(parameter.grad.copy() for parameter in layer.parameters())]


def assert_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@every_layer
def test_they_are_made_once_for_a_shape(name):
    fc.seed(0)
    layer = MADE[name]()
    first = results(layer, inputs(name))
    kept = dict(layer._passes)
    assert len(kept) == 1
    assert_equal(results(layer, inputs(name)), first)
    assert layer._passes == kept
    assert all(layer._passes[key] is value for key, value in kept.items())
    results(layer, inputs(name, N=3))
    assert len(layer._passes) == 2


@every_layer
def test_they_are_few(name):
    """Whoever gives a layer a thousand shapes gets a thousand right answers, and no memory of each."""
    fc.seed(0)
    layer = MADE[name]()
    for N in range(1, 3 * KEPT):
        y = layer(inputs(name, N))
        assert y.shape[0] == N
        assert 1 <= len(layer._passes) <= KEPT
    fc.seed(0)
    assert_equal(results(layer, inputs(name)), results(MADE[name](), inputs(name)))


@every_layer
def test_any_order_of_shapes_and_layouts_gives_the_results_of_a_new_layer(name):
    fc.seed(0)
    used = MADE[name]()
    used_state = copy.deepcopy(used)
    x = inputs(name)
    others = inputs(name, 1), inputs(name, 5), np.asfortranarray(x), x[::-1].copy()[::-1], np.broadcast_to(x[:1], x.shape)
    for other in (x, *others, x):
        new = copy.deepcopy(used_state)
        assert_equal(results(used, other)[:2], results(new, np.ascontiguousarray(other))[:2])


@pytest.mark.parametrize("name", ["MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d", "ReLU"])
def test_another_dtype_is_another_pass(name):
    layer = MADE[name]()
    for dtype in (np.float32, np.float64, np.float32):
        x = inputs(name).astype(dtype)
        assert_equal(results(layer, x), results(MADE[name](), x))
        assert layer(x).dtype == dtype
    assert len(layer._passes) == 2


@every_layer
@pytest.mark.parametrize("again", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["deepcopy", "pickle"])
def test_copies_make_their_own(name, again):
    fc.seed(0)
    layer = MADE[name]()
    expected = results(layer, inputs(name))
    other = again(layer)
    assert len(layer._passes) == 1
    assert type(other._passes) is BoundPasses
    assert not other._passes
    assert_equal(results(other, inputs(name)), expected)
    assert other._passes is not layer._passes


def test_a_pickle_does_not_grow_with_the_shapes_that_were_met():
    layer = MADE["Conv2d"]()
    before = len(pickle.dumps(layer))
    layer(inputs("Conv2d"))
    assert len(pickle.dumps(layer)) == before


@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d", "Linear", "MaxPool2d", "AvgPool2d"])
@pytest.mark.parametrize("chosen", ["reference", "plain", "auto"])
def test_the_algorithm_of_the_way_forward_is_that_of_the_way_back(name, chosen, monkeypatch):
    """Whatever is chosen in between; and each choice has passes of its own."""
    picked = []
    pick = passes.table.pick
    monkeypatch.setattr(passes.table, "pick", lambda operation, g, dtype, name=None: picked.append(name) or pick(operation, g, dtype, name))
    for cached in (passes.convolution, passes.pooling):
        cached.cache_clear()
    layer = MADE[name]()
    with fc.algorithm(chosen):
        y, backward = layer.forward(inputs(name))
    with fc.algorithm("reference" if chosen == "plain" else "plain"):
        backward(np.ones_like(y))
    assert len(picked) >= 2
    assert set(picked) == {chosen}
    layer(inputs(name))
    assert len(layer._passes) == (1 if chosen == "auto" else 2)


def test_all_layers_of_one_geometry_share_their_passes():
    first, second = layers.Conv2d(3, 4, 3, padding=1), layers.Conv2d(3, 4, 3, padding=1)
    for layer in (first, second):
        layer(inputs("Conv2d"))
    assert next(iter(first._passes.values())) is next(iter(second._passes.values()))


@pytest.mark.parametrize(
    ("name", "option", "value"), [("MaxPool2d", "stride", (1, 1)), ("AvgPool2d", "count_include_pad", False), ("BatchNorm2d", "eps", 0.5)]
)
def test_a_changed_option_is_met_by_new_passes(name, option, value):
    """Also where the shape has been met before."""
    x, layer = inputs(name), MADE[name]()
    if name == "AvgPool2d":
        layer.padding = (1, 1)
    before = layer.forward(x)[0].copy()
    setattr(layer, option, value)
    after = layer.forward(x)[0]
    fresh = MADE[name]()
    if name == "AvgPool2d":
        fresh.padding = (1, 1)
    setattr(fresh, option, value)
    np.testing.assert_array_equal(after, fresh.forward(x)[0])
    assert before.shape != after.shape or not np.array_equal(before, after)


def test_a_shallow_copy_binds_its_own_passes():
    layer, x = layers.BatchNorm2d(3), inputs("BatchNorm2d")
    y = layer.forward(x)[0].copy()
    other = copy.copy(layer)
    other.eps = 0.5
    assert not np.array_equal(other.forward(x)[0], y)
    np.testing.assert_array_equal(layer.forward(x)[0], y)


def test_options_of_a_convolution_are_read_only():
    for layer in (layers.Conv2d(3, 4, 3), copy.deepcopy(layers.Conv2d(3, 4, 3)), pickle.loads(pickle.dumps(layers.ConvTranspose2d(3, 4, 3)))):
        with pytest.raises(TypeError, match=r"^a layer's options cannot be changed: make a new layer$"):
            layer.words["padding"] = 1


def test_running_statistics_keep_shape_and_dtype():
    layer = layers.BatchNorm2d(3)
    with pytest.raises(TypeError, match=r"^Buffer\.value: the new value must be float32, got float64; write value\.astype\(np\.float32\)$"):
        layer.running_mean.value = np.zeros(3)
    with pytest.raises(ValueError, match=r"^Buffer\.value: the new value must have the shape \(3,\), got \(4,\)$"):
        layer.running_mean.value = np.zeros(4, np.float32)


@pytest.mark.parametrize("step", [2, -1])
def test_weights_of_batch_norm_may_have_any_stride(step):
    x, rng = inputs("BatchNorm2d"), np.random.default_rng(1)
    mean, variance = np.zeros(3), np.ones(3)
    weight, bias = (rng.standard_normal(6).astype(np.float32)[::step][:3] for _ in range(2))
    expected = fc.ops.batch_norm(x, mean, variance, weight.copy(), bias.copy())
    np.testing.assert_array_equal(fc.ops.batch_norm(x, mean, variance, weight, bias), expected)


def test_options_of_optimizers_may_be_integers():
    """Whoever comes first in a process: its machine code is everybody's."""
    moved = []
    for lr in (1, 0.5):
        p = layers.Parameter(np.zeros(3, np.float32))
        optimizer = fc.optim.SGD([p], lr=1.0)
        optimizer.groups[0]["lr"] = lr
        p.add_grad(np.ones(3, np.float32))
        optimizer.step()
        moved.append(float(p.value[0]))
    assert moved == [-1, -0.5]


@pytest.mark.parametrize("make", [layers.Conv2d, layers.ConvTranspose2d])
def test_a_layer_may_have_an_algorithm_of_its_own(make):
    """Whatever holds around it; "auto" is what does."""
    x, found = inputs("Conv2d"), {}
    for own, around in (("direct", "auto"), ("direct", "plain"), ("auto", "plain"), ("auto", "direct"), ("plain", "direct")):
        fc.seed(0)
        layer = make(3, 8, 3, algorithm=own)
        with fc.algorithm(around):
            found[own, around] = results(layer, x), layer.algorithms(x.shape)
    assert [names for _, names in found.values()] == ["direct", "direct", "plain", "direct", "plain"]
    for same in (("direct", "auto"), ("direct", "plain")):
        assert_equal(found[same][0], found["auto", "direct"][0])
    assert_equal(found["plain", "direct"][0], found["auto", "plain"][0])


def test_an_algorithm_shows_where_it_was_chosen():
    assert "algorithm" not in repr(layers.Conv2d(3, 8, 3))
    assert repr(layers.Conv2d(3, 8, 3, algorithm="direct")) == "Conv2d(3, 8, kernel_size=(3, 3), algorithm='direct')"
    layer = layers.Conv2d(16, 16, 3)
    assert layer.algorithms((1, 16, 10, 10)) == "winograd"
    assert layer.algorithms((1, 16, 4, 4)) in ("direct", "direct, col2im")
    for name in ("fast", None, 3, "Winograd"):
        with pytest.raises(ValueError, match=r"^Conv2d: algorithm .* is not one of 'auto', "):
            layers.Conv2d(3, 8, 3, algorithm=name)


@pytest.mark.parametrize(("value", "says"), [("plain", "plain"), ("", "winograd"), ("fast", "FASTCONV_ALGORITHM: 'fast' is not one of 'auto', ")])
def test_the_environment_may_choose_for_a_program(value, says):
    script = "from fastconv import layers; print(layers.Conv2d(16, 16, 3).algorithms((1, 16, 10, 10)))"
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | {"FASTCONV_ALGORITHM": value}, capture_output=True, text=True)
    assert says in done.stdout + done.stderr
