"""Parameters: their names, the flat buffers they live in, and taking over a state."""

import copy

import numpy as np
import pytest

from fastconv import layers, optim
from fastconv.layers import transposed
from fastconv.ops import passes


def small_net(dtype=np.float32):
    conv, linear = layers.Conv2d(1, 2, 3, dtype=dtype), layers.Linear(8, 3, dtype=dtype)
    return layers.Sequential(conv, layers.ReLU(), layers.Flatten(), layers.Sequential(linear, layers.ReLU()))


def are_neighbors(arrays):
    """One after the other in memory, each on a cache line, so that at most 63 bytes are left between two."""
    starts = [a.__array_interface__["data"][0] for a in arrays]
    gaps = [start - (before + a.nbytes) for before, a, start in zip(starts, arrays, starts[1:])]
    return all(start % 64 == 0 for start in starts) and all(0 <= gap < 64 for gap in gaps)


def test_names_and_shapes_are_pytorchs():
    head = layers.Sequential(layers.Flatten(), layers.Linear(5, 4, bias=False))
    net = layers.Sequential(layers.Conv2d(3, 8, (2, 3)), layers.ReLU(), head)
    assert {name: value.shape for name, value in net.state_dict().items()} == {"0.weight": (8, 3, 2, 3), "0.bias": (8,), "2.1.weight": (4, 5)}
    assert [p.shape for p in net.parameters()] == [(8, 3, 2, 3), (8,), (4, 5)]
    assert layers.Conv1d(4, 6, 5, groups=2).weight.shape == (6, 2, 5)
    assert layers.Conv3d(4, 6, 5, groups=2).weight.shape == (6, 2, 5, 5, 5)


def test_state_dict_is_a_copy():
    net = small_net()
    state = net.state_dict()
    before = {name: value.copy() for name, value in state.items()}
    for p in net.parameters():
        p.value = p.value + 1
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(state[name], before[name])
        np.testing.assert_array_equal(value, before[name] + 1)


def test_load_state_dict_makes_two_models_equal():
    a, b = small_net(), small_net()
    x = np.ones((2, 1, 4, 4), np.float32)
    b.load_state_dict(a.state_dict())
    np.testing.assert_array_equal(a(x), b(x))
    assert not np.shares_memory(a[0].weight.value, b[0].weight.value)


def test_load_state_dict_is_all_or_nothing_and_lists_every_problem():
    """Missing, unexpected, wrong shape, wrong dtype are all listed in one error, and the model is untouched."""
    net = small_net()
    before, versions = net.state_dict(), [p.version for p in net.parameters()]
    state = {name: value + 1 for name, value in before.items()}
    del state["0.bias"]
    state |= {"0.wheight": state["0.weight"], "3.0.weight": np.zeros((3, 9), np.float32), "3.0.bias": np.zeros(3)}
    everything = "(?=.*missing 0.bias)(?=.*unexpected 0.wheight)" + r"(?=.*3.0.weight has the shape \(3, 9\), the model's is \(3, 8\))"
    with pytest.raises(ValueError, match=everything + "(?=.*3.0.bias is float64, the model's is float32)"):
        net.load_state_dict(state)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert [p.version for p in net.parameters()] == versions


def test_load_state_dict_takes_no_name_of_a_file():
    with pytest.raises(TypeError, match=r"^load_state_dict: state must be a dict of arrays, as fastconv.load\(path\) returns it, got str$"):
        small_net().load_state_dict("weights.npz")


class Failing(dict):
    """A file that is read as it is asked, and whose last entry is damaged."""

    def __getitem__(self, name):
        if name == list(self)[-1]:
            raise OSError(f"{name} cannot be read")
        return super().__getitem__(name)


def test_a_state_that_fails_late_loads_nothing():
    net = small_net()
    optimizer = optim.Adam(net.parameters())
    schedule = optim.Step(optimizer, 2)
    for owner in (net, optimizer, schedule):
        before = owner.state_dict()
        with pytest.raises(OSError, match="cannot be read"):
            owner.load_state_dict(Failing({name: np.asarray(value) + 1 for name, value in before.items()}))
        for name, value in owner.state_dict().items():
            np.testing.assert_array_equal(value, before[name])


def test_each_entry_of_a_state_is_read_once():
    class Once(dict):
        def __getitem__(self, name):
            read.append(name)
            return super().__getitem__(name)

    net, read = small_net(), []
    net.load_state_dict(Once(net.state_dict()))
    assert sorted(read) == sorted(net.state_dict())


def test_all_values_of_a_sequential_share_one_buffer_and_all_gradients_another():
    """Each parameter is a view, neighbours without a gap."""
    net = small_net()
    parameters = net.parameters()
    for arrays in ([np.asarray(p) for p in parameters], [p.grad for p in parameters]):
        assert are_neighbors(arrays)
        assert all(np.shares_memory(a.base, arrays[0].base) for a in arrays)
    assert not np.shares_memory(np.asarray(parameters[0]).base, parameters[0].grad.base)


def test_moving_into_a_larger_net_keeps_values_gradients_and_results():
    net = small_net()
    x = np.random.default_rng(0).standard_normal((2, 1, 4, 4)).astype(np.float32)
    y, backward = net.forward(x)
    backward(np.ones_like(y))
    values, gradients = net.state_dict(), [p.grad.copy() for p in net.parameters()]
    outer = layers.Sequential(net, layers.Linear(3, 2))
    for (name, value), p, gradient in zip(values.items(), net.parameters(), gradients, strict=True):
        np.testing.assert_array_equal(p.value, value, err_msg=name)
        np.testing.assert_array_equal(p.grad, gradient, err_msg=name)
    assert are_neighbors([p.value for p in outer.parameters()])
    np.testing.assert_array_equal(net(x), y)


def test_assigning_value_copies_in_place():
    net = small_net()
    p = net[0].weight
    array, new = p.value, np.full((2, 1, 3, 3), 7, np.float32)
    p.value = new
    assert p.value is array
    new[...] = 0
    assert (p.value == 7).all()
    p.value += 1
    assert p.value is array
    assert (array == 8).all()


def test_parameters_and_buffers_tell_their_shape_and_dtype():
    norm = layers.BatchNorm2d(3)
    assert (norm.weight.ndim, norm.weight.shape, norm.weight.dtype) == (1, (3,), np.float32)
    assert (norm.running_var.shape, norm.running_var.dtype) == ((3,), np.float32)


def test_assigning_a_wrong_shape_or_dtype_is_an_error_and_changes_nothing():
    p = layers.Linear(3, 2).weight
    before = p.value.copy()
    with pytest.raises(ValueError, match=r"must have the shape \(2, 3\), got \(3,\)"):
        p.value = np.zeros(3, np.float32)
    with pytest.raises(TypeError, match=r"must be float32, got float64; write value\.astype\(np\.float32\)"):
        p.value = np.zeros((2, 3))
    np.testing.assert_array_equal(p.value, before)


@pytest.mark.parametrize(("name", "kind"), [("weight", "Parameter"), ("running_mean", "Buffer")])
def test_an_array_in_place_of_a_parameter_or_buffer_is_an_error(name, kind):
    norm = layers.BatchNorm2d(3)
    held = getattr(norm, name)
    with pytest.raises(TypeError, match=f"BatchNorm2d: {name} is a {kind}, got ndarray: write layer.{name}.value = ..."):
        setattr(norm, name, np.zeros(3, np.float32))
    assert getattr(norm, name) is held
    setattr(norm, name, type(held)(np.zeros(3, np.float32)))
    setattr(norm, name, None)


def test_a_shared_parameter_is_listed_once():
    """Shared parameters once; the state has it under each of its names, as in PyTorch."""
    layer = layers.Linear(4, 4)
    net = layers.Sequential(layer, layers.ReLU(), layer)
    assert net.parameters() == [layer.weight, layer.bias]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    tied = layers.Linear(4, 4)
    tied.weight = layer.weight
    assert layers.Sequential(layer, tied).parameters() == [layer.weight, layer.bias, tied.bias]


def test_a_layer_of_ones_own_is_searched_for_parameters_layers_buffers_and_streams():
    class Own(layers.Layer):
        def __init__(self):
            self.scale = layers.Parameter(np.ones(2, np.float32))
            self.seen = layers.Buffer(np.zeros(3, np.float32))
            self.branches = [layers.Linear(2, 2), layers.Dropout(0.5)]

        def forward(self, x, training=True):
            raise RuntimeError

        def output_shape(self, input_shape):
            return input_shape

    net = layers.Sequential(Own())
    assert list(net.state_dict()) == ["0.scale", "0.seen", "0.branches.0.weight", "0.branches.0.bias"]
    assert [name for name, _ in net.named_streams()] == ["0.branches.1.stream"]
    state = net.state_dict()
    state["0.seen"] = np.full(3, 5, np.float32)
    net.load_state_dict(state)
    assert (net[0].seen.value == 5).all()
    assert len(net.parameters()) == 3


def test_a_frozen_parameter_takes_no_gradient_and_its_layer_still_passes_one_on():
    net = small_net()
    frozen, free = net[0], net[3][0]
    frozen.weight.frozen = frozen.bias.frozen = True
    assert repr(frozen.bias) == "Parameter(2,) float32, frozen"
    y, backward = net.forward(np.ones((2, 1, 4, 4), np.float32))
    dx = backward(np.ones_like(y))
    assert dx.shape == (2, 1, 4, 4)
    assert free.weight.has_grad
    for p in (frozen.weight, frozen.bias):
        assert not p.has_grad
        assert (p.grad == 0).all()
    with pytest.raises(TypeError, match="Parameter: frozen must be True or False, got 1"):
        free.weight.frozen = 1


@pytest.mark.parametrize("kind", ["Conv2d", "ConvTranspose2d", "Linear"])
def test_the_weight_gradient_of_frozen_parameters_is_not_computed(kind, monkeypatch):
    """And the input's is the same."""
    layer = layers.Linear(4, 3) if kind == "Linear" else getattr(layers, kind)(4, 3, 3)
    x = np.random.default_rng(0).standard_normal((2, 4) if kind == "Linear" else (2, 4, 5, 5)).astype(np.float32)
    y, backward = layer.forward(x)
    dx = backward(y)
    layer.weight.frozen = True
    layer.bias.zero_grad()
    y, backward = layer.forward(x)
    backward(y)
    assert layer.bias.has_grad  # not frozen yet
    layer.bias.frozen = True

    def refuse(*args, **words):
        raise AssertionError("not wanted")

    monkeypatch.setattr(passes.Convolution, "weight_grad", refuse)
    y, backward = layer.forward(x)
    np.testing.assert_array_equal(backward(y), dx)


@pytest.mark.parametrize("kind", ["Conv2d", "ConvTranspose2d", "Linear"])
@pytest.mark.parametrize("bias", ["none", "frozen", "learns"])
def test_a_bias_gradient_is_summed_only_where_a_bias_learns(kind, bias, monkeypatch):
    words = {"bias": bias != "none"}
    layer = layers.Linear(4, 3, **words) if kind == "Linear" else getattr(layers, kind)(4, 3, 3, **words)
    if bias == "frozen":
        layer.bias.frozen = True
    summed = []
    weight_grad, sum_dy = passes.Convolution.weight_grad, transposed.sum_dy
    monkeypatch.setattr(passes.Convolution, "weight_grad", lambda self, *args: summed.append(args[3] is not None) or weight_grad(self, *args))
    monkeypatch.setattr(transposed, "sum_dy", lambda *args, **words: summed.append(True) or sum_dy(*args, **words))
    y, backward = layer.forward(np.ones((2, 4) if kind == "Linear" else (2, 4, 5, 5), np.float32))
    backward(y)
    assert any(summed) == (bias == "learns")
    assert [p.has_grad for p in layer.parameters()] == ([True] if bias == "none" else [True, bias == "learns"])


def test_backward_ends_at_the_first_layer_that_learns():
    class Broken(layers.Linear):
        def forward(self, x, training=True):
            y, _ = super().forward(x, training)
            return y, layers.once(lambda dy, input_grad=True: 1 / 0, y)

    net = layers.Sequential(Broken(4, 4), layers.Linear(4, 3))
    x = np.ones((2, 4), np.float32)
    for p in net[0].parameters():
        p.frozen = True
    y, backward = net.forward(x)
    assert backward(y, input_grad=False) is None
    assert net[1].weight.has_grad
    net[0].bias.frozen = False
    y, backward = net.forward(x)
    with pytest.raises(ZeroDivisionError):
        backward(y, input_grad=False)


def test_a_deep_copy_keeps_what_is_frozen_shared_and_drawn_next():
    linear = layers.Linear(4, 4)
    net = layers.Sequential(linear, layers.Dropout(0.5), linear)
    linear.bias.frozen = True
    again = copy.deepcopy(net)
    assert again[0] is again[2]
    assert again[0] is not linear
    assert [p.frozen for p in again.parameters()] == [False, True]
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(again.forward(x)[0], net.forward(x)[0])
