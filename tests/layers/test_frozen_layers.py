"""`layer.frozen`: parameters and running statistics inside stay as they are, in training, too."""

import copy
import pickle

import numpy as np
import pytest

from fastconv import layers, optim, train
from fastconv.losses import mse


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def net():
    return layers.Sequential(layers.Linear(4, 3), layers.BatchNorm1d(3), layers.ReLU(), layers.Sequential(layers.Linear(3, 2), layers.BatchNorm1d(2)))


def batches(rng, count=3):
    return [(rng.standard_normal((6, 4)).astype(np.float32), rng.standard_normal((6, 2)).astype(np.float32)) for _ in range(count)]


def same(again):
    return again


@pytest.mark.parametrize("again", [same, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_frozen_layer_stays_as_it_is_and_the_others_learn(again, rng):
    model = net()
    train.step(model, *batches(rng, 1)[0], mse, optim.SGD(model.parameters(), lr=0.1))
    model[1].frozen = model[3].frozen = True
    model = again(model)
    before = model.state_dict()
    optimizer = optim.AdamW(model.parameters(), lr=0.1)
    for x, y in batches(rng):
        train.step(model, x, y, mse, optimizer)
    changed = {name for name, value in model.state_dict().items() if (value != before[name]).any()}
    assert changed == {"0.weight", "0.bias"}
    model[3].frozen = False
    for x, y in batches(rng):
        train.step(model, x, y, mse, optimizer)
    changed = {name for name, value in model.state_dict().items() if (value != before[name]).any()}
    assert changed == {name for name in before if not name.startswith("1.")}


def test_a_frozen_batch_norm_normalizes_with_its_running_statistics(rng):
    """Also a batch of one number a channel, which has no variance."""
    layer = layers.BatchNorm1d(4)
    layer.running_mean.value, layer.running_var.value = rng.standard_normal(4).astype(np.float32), rng.uniform(1, 2, 4).astype(np.float32)
    layer.frozen = True
    for N in (1, 5):
        x = rng.standard_normal((N, 4)).astype(np.float32)
        (y, backward), (expected, other) = layer.forward(x), layer.forward(x, training=False)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(backward(y), other(y))


def test_frozen_says_whether_all_inside_is_frozen():
    model = net()
    assert not model.frozen
    for layer in (model[0], model[1], model[3][0]):
        layer.frozen = True
        assert layer.frozen
    assert not model[3].frozen
    assert not model.frozen
    model[3][1].frozen = np.True_
    assert model.frozen
    assert all(p.frozen for p in model.parameters())
    for p in model[1].parameters():
        p.frozen = False
    assert not model[1].frozen
    assert layers.ReLU().frozen, "of nothing inside, nothing moves"
    model.frozen = False
    assert not any(entry.frozen for entry in [*model.parameters(), *(buffer for _, buffer in model.named_buffers())])


@pytest.mark.parametrize("value", [1, "yes", None])
def test_frozen_is_true_or_false(value):
    model = net()
    with pytest.raises(TypeError, match=rf"^Sequential: frozen must be True or False, got {value!r}$"):
        model.frozen = value
    with pytest.raises(TypeError, match=rf"^Buffer: frozen must be True or False, got {value!r}$"):
        model[1].running_mean.frozen = value
    assert not model.frozen
