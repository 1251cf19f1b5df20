"""Layers: shapes, reprs, initial values, and what each of the simple ones computes."""

import math

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers, ops
from fastconv.layers.activations import Activation

# Each layer with an input that it takes: all ranks, all words.
CASES = [
    (layers.Conv1d(4, 6, 3, stride=2, padding=((1, 2),), groups=2), (2, 4, 9)),
    (layers.Conv2d(3, 5, 3), (2, 3, 7, 6)),
    (layers.Conv2d(3, 5, (2, 3), stride=(2, 1), padding=((0, 1), (2, 0)), dilation=(1, 2), bias=False), (2, 3, 8, 9)),
    (layers.Conv2d(2, 4, 2, stride=2, padding="same"), (2, 2, 7, 5)),
    (layers.Conv2d(2, 4, 2, padding="valid"), (2, 2, 7, 5)),
    (layers.Conv2d(2, 4, 3, padding=((1, 2), (0, 1)), padding_mode="reflect"), (2, 2, 4, 5)),
    (layers.Conv3d(2, 3, 2, stride=(1, 2, 1), padding=1), (2, 2, 4, 5, 3)),
    (layers.Conv3d(2, 3, 2, padding="same", padding_mode="circular"), (2, 2, 2, 3, 4)),
    (layers.MaxPool1d(3, stride=2, padding=1), (2, 3, 8)),
    (layers.MaxPool2d(2), (2, 3, 6, 7)),
    (layers.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 3, 8, 7)),
    (layers.MaxPool2d(2, stride=1, dilation=2), (2, 3, 6, 5)),
    (layers.MaxPool3d((1, 2, 2)), (2, 3, 2, 4, 5)),
    (layers.AvgPool1d(3, stride=2), (2, 3, 8)),
    (layers.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False), (2, 3, 8, 7)),
    (layers.AvgPool2d(2, divisor_override=3), (2, 3, 6, 7)),
    (layers.AvgPool3d(2), (2, 3, 2, 4, 5)),
    (layers.GlobalAvgPool2d(), (2, 3, 4, 5)),
    (layers.Linear(6, 4), (3, 6)),
    (layers.Linear(6, 4, bias=False), (3, 6)),
    (layers.ReLU(), (2, 3, 4, 5)),
    (layers.Dropout(0.25), (2, 3, 4, 5)),
    (layers.Flatten(), (2, 3, 4, 5)),
    (layers.BatchNorm1d(3), (2, 3, 4)),
    (layers.BatchNorm2d(3, eps=1e-3, momentum=None), (2, 3, 4, 5)),
    (layers.BatchNorm2d(3, affine=False, track_running_stats=False), (2, 3, 4, 5)),
    (layers.BatchNorm3d(3), (2, 3, 4, 1, 2)),
    (layers.LeakyReLU(0.25), (2, 3, 4, 5)),
    (layers.Sigmoid(), (2, 3, 4)),
    (layers.Tanh(), (2, 3)),
    (layers.ELU(0.5), (2, 3, 4, 5)),
    (layers.GELU(approximate="tanh"), (2, 3, 4, 5)),
    (layers.Softplus(2), (2, 3)),
    (layers.LogSoftmax(-1), (2, 3, 4)),
    (layers.Identity(), (2, 3, 4, 5)),
    (layers.Dropout2d(0.25), (2, 3, 4, 5)),
    (layers.GroupNorm(3, 6, eps=1e-3, affine=False), (2, 6, 4, 5)),
    (layers.InstanceNorm2d(3, affine=True), (2, 3, 4, 5)),
    (layers.LayerNorm((4, 5), bias=False), (2, 3, 4, 5)),
    (layers.Residual(layers.Conv2d(3, 3, 3, padding=1)), (2, 3, 4, 5)),
    (layers.Residual(layers.Conv2d(3, 6, 3, stride=2, padding=1), layers.Conv2d(3, 6, 1, stride=2)), (2, 3, 4, 5)),
    (layers.Concat(layers.Conv2d(3, 2, 1), layers.ReLU(), layers.Conv2d(3, 4, 3, padding=1)), (2, 3, 4, 5)),
]
OF_ANY_RANK = (
    Activation, layers.ReLU, layers.Dropout, layers.Flatten, layers.BatchNorm1d, layers.LogSoftmax, layers.Identity, layers.GroupNorm,
    layers.LayerNorm,
)  # fmt: skip
each_layer = pytest.mark.parametrize(("layer", "shape"), CASES, ids=lambda case: repr(case))


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@each_layer
@pytest.mark.parametrize("N", [0, 1, 3])
def test_output_shape_is_forwards_shape(layer, shape, N, rng):
    """N = 0 gives an empty result."""
    x = rng.standard_normal((N, *shape[1:])).astype(np.float32)
    y, backward = layer.forward(x)
    assert layer.output_shape(x.shape) == y.shape == layer(x).shape
    assert backward(np.ones_like(y)).shape == x.shape


@each_layer
def test_repr_is_the_call_that_makes_the_layer(layer, shape):
    again = eval(repr(layer), vars(layers))
    assert repr(again) == repr(layer)
    x = np.abs(np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    if layer.parameters():
        again.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(again(x), layer(x))


def test_repr_of_sequential_is_indented_and_numbered():
    net = layers.Sequential(layers.ReLU(), layers.Sequential(layers.Flatten(), layers.Linear(4, 2)))
    assert repr(net).splitlines() == [
        "Sequential(", "  (0): ReLU()", "  (1): Sequential(", "    (0): Flatten()", "    (1): Linear(4, 2)", "  )", ")",
    ]  # fmt: skip
    assert repr(layers.Sequential()) == "Sequential()"


@each_layer
def test_tuple_given_to_a_layer_is_a_type_error_that_says_to_unpack(layer, shape):
    """A tuple given to a layer (`model.forward`'s pair): TypeError that says to unpack it."""
    pair = layers.ReLU().forward(np.ones(shape, np.float32))
    with pytest.raises(TypeError, match="unpack"):
        layer(pair)


@each_layer
def test_integer_input_is_a_type_error_that_writes_the_conversion(layer, shape):
    """Integers are a TypeError naming the argument and the conversion to write."""
    with pytest.raises(TypeError, match=r"x has dtype int64.*np\.asarray\(x\)\.astype\(np\.float32\)"):
        layer(np.ones(shape, np.int64))


@pytest.mark.parametrize(("layer", "shape"), [case for case in CASES if not isinstance(case[0], OF_ANY_RANK)], ids=repr)
def test_unbatched_input_is_an_error_that_shows_how_to_add_the_batch_axis(layer, shape):
    """Unbatched input: ValueError whose text shows `x[None]`; output_shape raises where forward does."""
    with pytest.raises(ValueError, match=r"x\[None\]"):
        layer(np.ones(shape[1:], np.float32))
    with pytest.raises(ValueError, match=r"x\[None\]"):
        layer.output_shape(shape[1:])


def weighted_layers(**words):
    convolutions = [layers.Conv1d(8, 64, 5, groups=2, **words), layers.Conv2d(3, 64, 3, **words), layers.Conv3d(2, 64, 3, **words)]
    return [*convolutions, layers.Linear(50, 64, **words)]


def test_initial_values_are_pytorchs_uniform():
    """PyTorch's default: weight and bias uniform within 1 / sqrt(fan_in), fan_in the number of terms of one output's sum."""
    fc.seed(3)
    for layer in weighted_layers():
        bound = 1 / math.sqrt(math.prod(layer.weight.shape[1:]))
        for p in (layer.weight, layer.bias):
            largest, middle = np.abs(p.value).max(), p.value.mean()
            assert largest <= np.float32(bound)
            assert largest > bound * (1 - 12 / p.size), "of n uniform values the largest is within 12 / n of the bound, but for one draw in 160,000"
            assert abs(middle) < 5 * bound / math.sqrt(3 * p.size)


def test_seed_makes_initial_values_reproducible():
    def values(seed):
        fc.seed(seed)
        return np.concatenate([p.value.ravel() for layer in weighted_layers() for p in layer.parameters()])

    np.testing.assert_array_equal(values(5), values(5))
    assert (values(5) != values(6)).mean() > 0.99


def test_rng_is_used_instead_of_the_seeded_stream():
    fc.seed(1)
    first = [layer.state_dict() for layer in weighted_layers(rng=np.random.default_rng(9))]
    alone = layers.Linear(3, 3).weight.value.copy()
    again = [layer.state_dict() for layer in weighted_layers(rng=np.random.default_rng(9))]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a["weight"], b["weight"])
    fc.seed(1)
    np.testing.assert_array_equal(layers.Linear(3, 3).weight.value, alone)


def test_dtype_float64_throughout():
    for layer, shape in zip(weighted_layers(dtype=np.float64), [(1, 8, 7), (1, 3, 4, 4), (1, 2, 3, 3, 3), (1, 50)], strict=True):
        y, backward = layer.forward(np.ones(shape))
        assert {y.dtype, backward(y).dtype, layer.weight.value.dtype, layer.bias.grad.dtype} == {np.dtype(np.float64)}
        with pytest.raises(TypeError, match="the layer is float64, x is float32"):
            layer(np.ones(shape, np.float32))


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.complex64, ">f4"])
def test_other_dtypes_are_refused(dtype):
    for make in (lambda: layers.Conv2d(1, 1, 1, dtype=dtype), lambda: layers.Linear(1, 1, dtype=dtype)):
        with pytest.raises(TypeError, match="dtype must be float32 or float64"):
            make()


BAD = [
    (lambda v: layers.Conv2d(v, 4, 3), "in_channels"),
    (lambda v: layers.Conv2d(4, v, 3), "out_channels"), (lambda v: layers.Conv2d(4, 4, v), "kernel_size"),
    (lambda v: layers.Conv2d(4, 4, 3, stride=v), "stride"), (lambda v: layers.Conv2d(4, 4, 3, dilation=v), "dilation"),
    (lambda v: layers.Conv2d(4, 4, 3, groups=v), "groups"),
    (lambda v: layers.MaxPool2d(v), "kernel_size"), (lambda v: layers.MaxPool2d(2, dilation=v), "dilation"),
    (lambda v: layers.AvgPool2d(2, stride=v), "stride"),
    (lambda v: layers.Linear(v, 2), "in_features"), (lambda v: layers.Linear(2, v), "out_features"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "name"), BAD)
@pytest.mark.parametrize("value", [0, -1, 2**31, 2**63, 2**64, True, 1.0, "2"])
def test_bad_hyper_parameters_raise_when_the_layer_is_made(make, name, value):
    """k, s, d <= 0, bool, float, str, 2**31 ... 2**64 raise before anything is allocated."""
    with pytest.raises(ValueError if type(value) is int else TypeError, match=rf"{name} must be"):
        make(value)


def test_bad_combinations_raise_when_the_layer_is_made():
    with pytest.raises(ValueError, match="in_channels=3 is not divisible by groups=2"):
        layers.Conv2d(3, 4, 3, groups=2)
    with pytest.raises(ValueError, match="out_channels=3 is not divisible by groups=2"):
        layers.Conv2d(4, 3, 3, groups=2)
    with pytest.raises(ValueError, match="3 entries for 2 spatial dimensions"):
        layers.Conv2d(4, 3, (3, 3, 3))
    with pytest.raises(ValueError, match=r"write padding=\(\(1, 2\),\)"):
        layers.Conv1d(4, 3, 3, padding=(1, 2))


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (lambda: layers.Conv1d(1, 1, 2**15 + 1), (1, 1, 2**16), (1, 1, 2**15)),
        (lambda: layers.Conv1d(1, 1, 2, dilation=2**15), (1, 1, 2**16), (1, 1, 2**15)),
        (lambda: layers.Conv3d(1, 2**16, 1), (1, 1, 2, 2, 2), (1, 2**16, 2, 2, 2)),
    ],
)
def test_large_but_possible_layers_can_be_made(layer, shape, expected):
    assert layer().output_shape(shape) == expected


def test_sequential_of_a_list_says_to_unpack_it():
    with pytest.raises(TypeError, match=r"argument 0 is not a Layer but a list: write Sequential\(\*layers\)"):
        layers.Sequential([layers.ReLU()])
    with pytest.raises(TypeError, match="argument 1 is not a Layer but a function"):
        layers.Sequential(layers.ReLU(), lambda x: x)


def test_linear_is_the_matrix_product(rng):
    """Integer-valued data are exact, in all three passes."""
    layer = layers.Linear(7, 4)
    x, w, dy = (rng.integers(-5, 6, shape).astype(np.float32) for shape in ((5, 7), (4, 7), (5, 4)))
    layer.weight.value, layer.bias.value = w, np.arange(4, dtype=np.float32)
    y, backward = layer.forward(x)
    np.testing.assert_array_equal(y, np.einsum("ni,oi->no", x, w) + np.arange(4))
    np.testing.assert_array_equal(backward(dy), np.einsum("no,oi->ni", dy, w))
    np.testing.assert_array_equal(layer.weight.grad, np.einsum("ni,no->oi", x, dy))
    np.testing.assert_array_equal(layer.bias.grad, dy.sum(axis=0))


def test_relu_keeps_nan_and_its_gradient_passes_where_not_y_le_0():
    """ReLU's gradient passes where `not (y <= 0)`, so NaN passes."""
    x = np.array([[-np.inf, -1, -0.0, 0, 1, np.inf, np.nan]], np.float32)
    y, backward = layers.ReLU().forward(x)
    np.testing.assert_array_equal(y, [[0, 0, 0, 0, 1, np.inf, np.nan]])
    np.testing.assert_array_equal(backward(np.full_like(x, 3)), [[0, 0, 0, 0, 3, 3, 3]])


def test_flatten_has_all_positions_of_channel_0_first(rng):
    """Whatever the memory order: a channels-last activation gives the same vector as a plain array."""
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for given in (x, last, ops.relu(x) - ops.relu(-x)):
        y, backward = layers.Flatten().forward(given)
        np.testing.assert_array_equal(y, [image.ravel() for image in x])
        np.testing.assert_array_equal(backward(y), x)


def test_global_average_is_the_mean_of_each_channel(rng):
    x = rng.integers(-9, 10, (2, 3, 4, 8)).astype(np.float32)
    y, backward = layers.GlobalAvgPool2d().forward(x)
    np.testing.assert_array_equal(y, x.mean(axis=(2, 3), keepdims=True))
    np.testing.assert_array_equal(backward(y), np.broadcast_to(y / 32, x.shape))


@pytest.mark.parametrize("algorithm", ["auto", "plain", "reference"])
@pytest.mark.parametrize("training", [True, False])
def test_a_convolution_and_its_relu_run_as_one_to_the_same_bits(rng, algorithm, training):
    """Fusing changes no bit and no name; NaN passes through both."""
    body = layers.Conv2d(3, 20, 3, padding=1, rng=rng), layers.ReLU(), layers.Conv2d(20, 4, 3, rng=rng), layers.ReLU(), layers.ReLU()
    apart, fused = layers.Sequential(*body, fuse=False), layers.Sequential(*body)
    assert list(apart.state_dict()) == list(fused.state_dict())
    x = rng.standard_normal((2, 3, 9, 8)).astype(np.float32)
    x[1, 0, 4, 4] = np.nan
    with fc.algorithm(algorithm):
        found = []
        for model in (apart, fused):
            y, backward = model.forward(x, training)
            for p in model.parameters():
                p.zero_grad()
            dx = backward(np.ones_like(y))
            found.append([y, dx, *(p.grad.copy() for p in model.parameters())])
            np.testing.assert_array_equal(model(x), y)
    assert np.isnan(found[0][0]).any()
    for a, b in zip(*found):
        np.testing.assert_array_equal(a, b)


def test_sequential_runs_a_convolution_and_its_relu_once(rng, monkeypatch):
    monkeypatch.setattr(layers.ReLU, "forward", None)
    model = layers.Sequential(layers.Conv2d(1, 2, 3, rng=rng), layers.ReLU())
    assert (model(np.ones((1, 1, 4, 4), np.float32)) >= 0).all()
