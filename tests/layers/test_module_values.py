"""What a Module's forward may do with values: decide, use them twice or never, compute, give and take several."""

import pickle
import weakref
from functools import partial

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv import streams
from fastconv.layers import BatchNorm2d, Conv2d, Layer, LeakyReLU, Linear, MaxPool2d, Module, ReLU, once

C, SHAPE = 5, (3, 5, 6, 7)


@pytest.fixture(autouse=True)
def seeded():
    fc.seed(0)


def images(shape=SHAPE, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


class Chosen(Module):
    """Python decides what runs; pickled by its name."""

    def __init__(self):
        super().__init__()
        self.fcs = [Linear(3, 3) for _ in range(3)]
        self.depth = 3

    def forward(self, x):
        for layer in self.fcs[: self.depth]:
            x = layer(x).tanh()
        return F.dropout(x, 0.5, training=self.training)


def test_python_decides_anew_in_each_pass():
    net, x = Chosen(), images((4, 3))
    for depth in (1, 3, 2):
        net.depth = depth
        y = x
        for layer in net.fcs[:depth]:
            y = np.tanh(layer(y))
        np.testing.assert_allclose(net(x), y, rtol=1e-5, atol=1e-6)
    assert (net(x) != 0).all()
    assert (net.forward(x)[0] == 0).any()
    assert not net.training
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(net))(x), net(x))


def test_dropout_draws_from_the_stream_of_all_which_a_failure_puts_back():
    net, x = Chosen(), images((4, 3))
    fc.seed(3)
    y = net.forward(x)[0]
    fc.seed(3)
    np.testing.assert_array_equal(net.forward(x)[0], y)
    assert dict(net.named_streams())["default"] is streams.default


def test_a_value_used_twice_sums_its_gradients_and_one_used_never_has_none():
    class Twice(Module):
        def __init__(self):
            self.a, self.b, self.unused = (Linear(3, 3, rng=np.random.default_rng(i)) for i in range(3))

        def forward(self, x):
            x = self.a(x)
            self.unused(x)
            return self.b(x) + x + self.b(x + x)

    net, x = Twice(), images((4, 3))
    y, backward = net.forward(x)
    np.testing.assert_allclose(y, net.b(net.a(x)) + net.a(x) + net.b(2 * net.a(x)), rtol=1e-5, atol=1e-6)
    dx = backward(np.ones_like(y))
    assert not net.unused.weight.has_grad
    through = np.ones_like(y) @ net.b.weight.value
    np.testing.assert_allclose(dx, (through + 1 + 2 * through) @ net.a.weight.value, rtol=1e-5)
    shared = np.ones_like(y).T @ net.a(x)
    np.testing.assert_allclose(net.b.weight.grad, shared + 2 * shared, rtol=1e-4)
    np.testing.assert_array_equal(net.forward(x)[1](np.ones_like(y)), dx)


def test_a_normalization_used_twice_counts_in_the_order_of_its_calls():
    class Shared(Module):
        def __init__(self):
            self.bn = BatchNorm2d(C)

        def forward(self, x):
            first = self.bn(x)
            second = self.bn(x * 3.0).tanh()
            return first + second

    net, bn, x = Shared(), BatchNorm2d(C), images()
    y = net.forward(x)[0]
    first = bn.forward(x)[0]
    np.testing.assert_array_equal(y, first + F.tanh(bn.forward(x * np.float32(3))[0]))
    np.testing.assert_array_equal(net.bn.running_mean.value, bn.running_mean.value)


class Arithmetic(Module):
    def __init__(self):
        self.a, self.b = Conv2d(2, 3, 1), Conv2d(2, 3, 3, padding=1)

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        gate = a.mean((2, 3)).sigmoid().view(-1, 3, 1, 1)
        y = F.cat([a * gate - b, 1 - b / 2, -a + 0.5])
        return (2 * y).reshape(x.size(0), -1, 2).tanh(), (b + a).relu().flatten(1)


def test_a_square_is_the_product_with_itself():
    class Square(Module):
        def forward(self, x):
            return x**2

    np.testing.assert_array_equal(Square()(images((2, 3))), images((2, 3)) ** 2)


def test_arithmetic_has_gradients():
    class Summed(Arithmetic):
        def forward(self, x):
            left, right = super().forward(x)
            return left.flatten(1) ** 2 + F.cat([right, right, right])

    fc.gradcheck(Summed(), images((2, 2, 2, 4), dtype=np.float64))


def test_several_outputs_have_several_gradients():
    net, x = Arithmetic(), images((2, 2, 2, 4))
    y, backward = net.forward(x)
    assert [each.shape for each in y] == [each.shape for each in net(x)] == list(net.output_shape(x.shape)) == [(2, 36, 2), (2, 24)]
    assert not y[0].flags.writeable
    left = backward((np.ones_like(y[0]), None))
    for p in net.parameters():
        p.zero_grad()
    y, backward = net.forward(x)
    right = backward((None, np.ones_like(y[1])))
    y, backward = net.forward(x)
    np.testing.assert_allclose(backward((np.ones_like(y[0]), np.ones_like(y[1]))), left + right, rtol=1e-4, atol=1e-5)


def test_several_inputs_have_several_gradients():
    class Product(Module):
        def __init__(self):
            self.a, self.b = Linear(3, 4), Linear(2, 4)

        def forward(self, u, v=None):
            u = self.a(u)
            return u if v is None else u * self.b(v)

    net, u, v = Product(), images((5, 3)), images((5, 2), seed=1)
    np.testing.assert_array_equal(net(u, v), net.a(u) * net.b(v))
    np.testing.assert_array_equal(net(u), net.a(u))
    assert net.output_shape(((5, 3), (5, 2))) == (5, 4)
    y, backward = net.forward((u, v))
    du, dv = backward(np.ones_like(y))
    np.testing.assert_allclose(du, net.b(v) @ net.a.weight.value, rtol=1e-5)
    np.testing.assert_allclose(dv, net.a(u) @ net.b.weight.value, rtol=1e-5)
    fc.gradcheck(net, (u, v))


def test_a_tuple_of_one_output_is_a_tuple_everywhere():
    class One(Module):
        def forward(self, x):
            return (x.tanh(),)

    net, x = One(), images((2, 3))
    (y,), backward = net.forward(x)
    np.testing.assert_array_equal(net(x)[0], y)
    assert net.output_shape((2, 3)) == ((2, 3),)
    np.testing.assert_allclose(backward((np.ones_like(y),)), 1 - y**2, rtol=1e-6)


@pytest.mark.parametrize("kind", [ReLU, partial(LeakyReLU, 0.0)])
def test_in_place_means_what_it_does_in_pytorch(kind):
    """Every name of the value has the result."""

    class InPlace(Module):
        def __init__(self):
            self.relu = kind(inplace=True)

        def forward(self, x):
            y = x * 1.0
            kept = y
            self.relu(y)
            y += x
            y *= np.sqrt(np.float32(4)) - x * 0
            y -= 1
            return kept

    x = images((2, 3))
    np.testing.assert_allclose(InPlace()(x), 2 * (np.maximum(x, 0) + x) - 1, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(kind(inplace=True)(x), np.maximum(x, 0))
    assert (x < 0).any()


def test_shapes_stay_true_where_options_change():
    class Sized(Module):
        def __init__(self):
            self.pool = MaxPool2d(2, 2)

        def forward(self, x):
            x = self.pool(x)
            return x.reshape(len(x), x.size(1) * x.size(2) * x.shape[3])

    net, x = Sized(), images((2, 3, 8, 8))
    assert net(x).shape == net(x).shape == (2, 48)
    net.pool.stride = (1, 1)
    assert net(x).shape == (2, 147)
    assert net(x[:, :2]).shape == (2, 98)


def test_shapes_stay_true_where_other_layers_run():
    which = []

    class Either(Module):
        def __init__(self):
            self.pools = MaxPool2d(2, 2), MaxPool2d(4, 4)

        def forward(self, x):
            x = self.pools[len(which)](x)
            return x.view(-1, x.size(1) * x.size(2) * x.size(3))

    net, x = Either(), images((2, 3, 8, 8))
    assert net(x).shape == (2, 48)
    which.append("the other")
    assert net(x).shape == (2, 12)


def test_values_that_nobody_reads_any_more_are_dropped():
    class Watch(Layer):
        def __init__(self):
            self.made = []

        def forward(self, x, training=True):
            alive.append(sum(y() is not None for y in self.made))
            y = x + 1
            self.made.append(weakref.ref(y))
            return y, once(lambda dy, input_grad=True: dy, y)

        def output_shape(self, input_shape):
            return input_shape

    class Chain(Module):
        def __init__(self):
            self.watch = Watch()

        def forward(self, x):
            skip = self.watch(x)
            for _ in range(4):
                x = self.watch(x)
            return x + skip

    for run in (lambda net: net(images()), lambda net: net.forward(images())):
        alive = []
        run(Chain())
        assert alive == [0, 1, 2, 2, 2]  # the skip, and what is read now


def test_an_inference_keeps_nothing_and_gives_memory_of_its_own():
    class Same(Module):
        def forward(self, x):
            return x

    x = images((2, 3))
    y = Same()(x)
    assert not np.shares_memory(x, y)
    y, backward = Same().forward(x)
    np.testing.assert_array_equal(backward(x), x)
    assert not y.flags.writeable


def test_gradients_are_those_of_differences():
    fc.gradcheck(Chosen(), images((2, 3), dtype=np.float64))
