"""`fc.gradcheck` passes right backward passes and names what is wrong in others."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers, losses
from fastconv.streams import Stream

random = np.random.default_rng(0)
X = random.standard_normal((3, 4))


class Scale(layers.Layer):
    """y = x * factor + shift; `spoil` changes the gradients of factor, shift and x."""

    def __init__(self, spoil=lambda *gradients: gradients):
        self.factor, self.shift = layers.Parameter(np.full(4, 1.5, np.float32)), layers.Parameter(np.zeros(4, np.float32))
        self.spoil = spoil

    def forward(self, x, training=True):
        def backward(dy, input_grad=True):
            d_factor, d_shift, dx = self.spoil((dy * x).sum(axis=0), dy.sum(axis=0), dy * self.factor.value)
            self.factor.add_grad(d_factor)
            self.shift.add_grad(d_shift)
            return dx if input_grad else None

        y = x * self.factor.value + self.shift.value
        return y, layers.once(backward, y, self.factor, self.shift)

    def output_shape(self, input_shape):
        return input_shape


class Mask(layers.Layer):
    """Dropout in NumPy: draws another mask in each forward pass."""

    def __init__(self):
        self.stream = Stream(0)

    def forward(self, x, training=True):
        mask = self.stream.generator().random(x.shape) < 0.5
        return x * mask, lambda dy, input_grad=True: dy * mask

    def output_shape(self, input_shape):
        return input_shape


def at(array, index, by):
    array[index] += by
    return array


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda df, ds, dx: (at(df, 2, 1e-3), ds, dx), r"the gradient of factor is wrong at 1 of 4 elements, most at \[2\]: .*off by 0.001$"),
        (
            lambda df, ds, dx: (df, ds, at(dx, (1, 3), 0.5)),
            r"the input is wrong at 1 of 12 elements, most at \[1, 3\]: .*off by 0.5$",
        ),
        (lambda df, ds, dx: (df, ds, -dx), r"the gradient of the input is wrong at 12 of 12 elements"),
        (lambda df, ds, dx: (df, at(ds, 0, np.nan), dx), r"shift is wrong at 1 of 4 elements, most at \[0\]: backward gives nan"),
        (lambda df, ds, dx: (2 * df, 0 * ds, dx), r"factor is wrong at 4 of 4 .*; the gradient of shift is wrong at 4 of 4 elements"),
    ],
)
def test_a_wrong_backward_is_caught_and_named(spoil, message):
    fc.gradcheck(Scale(), X)
    with pytest.raises(fc.GradientError, match=f"^gradcheck: Scale: .*{message}"):
        fc.gradcheck(Scale(spoil), X)


def test_a_gradient_that_is_never_added_is_caught():
    class Forgets(Scale):
        def forward(self, x, training=True):
            y = x * self.factor.value
            return y, layers.once(lambda dy, input_grad=True: dy * self.factor.value, y)

    with pytest.raises(fc.GradientError, match=r"factor is wrong at 4 of 4 elements.*backward gives 0,"):
        fc.gradcheck(Forgets(), X)


def test_the_layer_stays_as_it_was():
    net = layers.Sequential(layers.Linear(4, 3), layers.BatchNorm1d(3), Mask(), layers.Linear(3, 2))
    net[0].weight.frozen = True
    before, state = net.state_dict(), net[2].stream.state()
    fc.gradcheck(net, X)
    fc.gradcheck(net, X, training=False)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name], strict=True)
    assert net[2].stream.state() == state
    assert not any(p.has_grad for p in net.parameters())


def test_of_large_arrays_some_elements_are_compared_unless_all_are_asked_for():
    passes = []

    def square(x):
        passes.append(1)
        return x * x, lambda dy: 2 * x * dy

    fc.gradcheck(square, np.ones((30, 10)))
    assert len(passes) == 2 + 2 * 200
    passes.clear()
    fc.gradcheck(square, np.ones((30, 10)), elements=None)
    assert len(passes) == 2 + 2 * 300
    with pytest.raises(fc.GradientError, match=r"input 0 is wrong at 7 of 7 elements compared, most at"):
        fc.gradcheck(lambda x: (x * x, lambda dy: 3 * x * dy), np.ones((30, 10)), elements=7)


def test_functions_and_losses():
    def product(a, b):
        return a * b, lambda dy: (dy * b, dy * a)

    fc.gradcheck(product, (X, X + 2))
    fc.gradcheck(lambda outputs: losses.cross_entropy(outputs, np.array([0, 3, 1])), X)

    def swapped(a, b):
        return a * b, lambda dy: (dy * a, dy * b)

    with pytest.raises(fc.GradientError, match=r"^gradcheck: swapped: the gradient of input 0 .*; the gradient of input 1"):
        fc.gradcheck(swapped, (X, X + 2))
    with pytest.raises(fc.GradientError, match=r"the gradient of input 0 is wrong at 1 of 1 elements, most at .*backward gives 5"):
        fc.gradcheck(lambda x: (x.sum(), np.full(1, 5.0)), np.ones(1))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fc.gradcheck(Scale(), X, elements=0), ValueError, "elements must be between 1 and"),
        (lambda: fc.gradcheck(3, X), TypeError, "layer_or_function must be a Layer or a function, got int"),
        (lambda: fc.gradcheck(Scale(), (X, X)), TypeError, "inputs must be one array for a layer, got 2"),
        (lambda: fc.gradcheck(np.sin, X), TypeError, r"sin must return a pair, \(y, backward\) or \(value, gradient\), got ndarray"),
        (lambda: fc.gradcheck(lambda x: (x.astype(np.float32), None), X), TypeError, "<lambda> gives float32 for a float64 input"),
        (lambda: fc.gradcheck(lambda x, z: (x, lambda dy: dy), (X, X)), ValueError, "<lambda> has 2 inputs, but its way back gives 1 gradients"),
        (lambda: fc.gradcheck(lambda x: (x, lambda dy: dy[0]), X), ValueError, r"the gradient of input 0 has the shape \(4,\), it must be \(3, 4\)"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=f"^gradcheck: .*{message}"):
        call()
