"""What a parameter is made of, what NumPy sees of it, and that a copy of model and optimizer trains as the original does."""

import copy
import pickle

import numpy as np
import pytest

from fastconv import layers, optim, train
from fastconv.losses import cross_entropy


def small_net():
    return layers.Sequential(layers.Linear(4, 3), layers.BatchNorm1d(3), layers.Sequential(layers.ReLU(), layers.Linear(3, 2, bias=False)))


def batch():
    rng = np.random.default_rng(1)
    return rng.standard_normal((6, 4)).astype(np.float32), rng.integers(0, 2, 6)


def steps(model, optimizer, count):
    return [train.step(model, *batch(), cross_entropy, optimizer) for _ in range(count)]


def pickled(pair):
    return pickle.loads(pickle.dumps(pair))


@pytest.mark.parametrize("again", [copy.deepcopy, pickled])
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.RMSprop])
def test_a_copy_of_model_and_optimizer_trains_to_the_same_bits(again, kind):
    model = small_net()
    optimizer = kind(model.parameters(), lr=0.05)
    steps(model, optimizer, 2)
    model[0].bias.frozen = True
    twin, twin_optimizer = again((model, optimizer))
    assert steps(twin, twin_optimizer, 3) == steps(model, optimizer, 3)
    for (name, value), mine in zip(twin.state_dict().items(), model.state_dict().values(), strict=True):
        np.testing.assert_array_equal(value, mine, err_msg=name)
    assert not np.shares_memory(twin[0].weight.value, model[0].weight.value)
    assert twin_optimizer.parameters == twin.parameters()


@pytest.mark.parametrize("again", [copy.deepcopy, pickled])
def test_a_copy_keeps_gradients_versions_and_what_is_shared(again):
    linear = layers.Linear(3, 3)
    net = layers.Sequential(linear, linear)
    y, backward = net.forward(np.ones((2, 3), np.float32))
    backward(y)
    linear.bias.frozen = True
    twin = again(net)
    assert twin[0] is twin[1]
    np.testing.assert_array_equal(twin[0].weight.grad, linear.weight.grad)
    for p, mine in zip(twin.parameters(), net.parameters(), strict=True):
        assert (p.has_grad, p.frozen, p.version) == (mine.has_grad, mine.frozen, mine.version)
    assert not np.shares_memory(twin[0].weight.value, linear.weight.value)


def test_a_pickled_optimizer_holds_each_value_once():
    """One number in the parameter, one in each array of the state: not once more in the flat buffer."""
    model = layers.Sequential(layers.Linear(100, 100))
    assert len(pickle.dumps((model, optim.SGD(model.parameters(), lr=1)))) < 2.2 * 4 * 100 * 101


@pytest.mark.parametrize("value", [[1, 2], np.arange(3), np.ones(2, np.float16), np.ones(2, complex), np.ones(2, ">f4"), [True], 7])
def test_a_parameter_of_anything_but_float32_and_float64_is_refused(value):
    dtype = np.asarray(value).dtype
    found = dtype.str if dtype.kind == "f" else dtype
    with pytest.raises(TypeError) as caught:
        layers.Parameter(value)
    assert str(caught.value) == (f"Parameter: value has dtype {found}, float32 or float64 is needed: write np.asarray(value).astype(np.float32)")


def test_a_parameter_of_a_list_of_floats_is_numpys_float64():
    p = layers.Parameter([[1.5, 2.5]])
    assert (p.shape, p.dtype) == ((1, 2), np.float64)


@pytest.mark.parametrize("given", [np.broadcast_to(np.float32(3), (2, 3)), np.asfortranarray(np.full((2, 3), 3.0)), np.full((2, 6), 3.0)[:, ::2]])
def test_a_parameter_copies_what_it_is_made_of(given):
    p = layers.Parameter(given)
    p.value[0] = 4
    assert (given == 3).all()
    assert p.value.flags.c_contiguous


@pytest.mark.parametrize("value", [None, "a", np.array([None]), 1j])
def test_a_buffer_holds_numbers(value):
    with pytest.raises(TypeError, match=r"^Buffer: value must be an array of numbers, got dtype \S+$"):
        layers.Buffer(value)


def test_numpy_sees_a_parameters_values():
    p = layers.Linear(3, 2).weight
    seen = np.asarray(p)
    assert (seen.dtype, seen.shape, type(seen)) == (np.float32, (2, 3), np.ndarray)
    np.testing.assert_array_equal(seen, p.value)
    assert np.shares_memory(seen, p.value)
    assert np.asarray(p, np.float64).dtype == np.float64
    np.testing.assert_array_equal(np.ones((1, 2), np.float32) @ p, p.value.sum(axis=0, keepdims=True))
    assert type(np.array(p)[0, 0]) is np.float32


def test_what_numpy_sees_cannot_change_a_parameter_behind_its_back():
    """Only `.value` counts changes; a copy is the caller's own."""
    p = layers.Linear(3, 2).weight
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(p)[0] = 1
    for mine in (np.array(p), np.asarray(p, np.float64), p.__array__(copy=True)):
        mine[0] = 1
        assert not np.shares_memory(mine, p.value)
    with pytest.raises(ValueError, match="copy"):
        p.__array__(np.float64, copy=False)
    assert p.__array__(copy=False).base is not None
