"""What is changed between forward and backward: parameters are found out, outputs cannot be changed, inputs of inference are safe."""

import threading

import numpy as np
import pytest

from fastconv import layers
from fastconv.kernels.igemm.forward import correlate
from fastconv.ops import layout

F32 = np.float32


def net():
    return layers.Sequential(layers.Linear(3, 4), layers.ReLU(), layers.Linear(4, 2))


def add(w, g):
    w += g


WRITES = {
    "items": lambda w: w.__setitem__((0, slice(None)), 7),
    "a view's items": lambda w: w[0].__setitem__(1, 7),
    "of the transposed": lambda w: w.T.__setitem__(0, 7),
    "of the raveled": lambda w: w.T.ravel().__setitem__(0, 7),
    "in place": lambda w: add(w, np.ones_like(w)),
    "a row in place": lambda w: add(w[1], 1),
    "out": lambda w: np.multiply(w, 2, out=w),
    "out of a function": lambda w: np.clip(w, 0, 1, out=w),
    "out of no ufunc": lambda w: np.dot(np.ones((w.shape[1], 2), F32), np.ones((2, len(w)), F32), out=w.T),
    "one of two outs": lambda w: np.modf(np.ones_like(w), out=(None, w)),
    "at": lambda w: np.add.at(w, (0, 0), 1),
    "copyto": lambda w: np.copyto(w, 3),
    "fill": lambda w: w.fill(3),
    "sort": lambda w: w.sort(axis=0),
    "put": lambda w: np.put(w, 0, 3),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_backward_after_a_parameter_was_written_in_place_is_an_error(write):
    model = net()
    y, backward = model.forward(np.ones((2, 3), F32))
    write(model[0].weight.value)
    with pytest.raises(RuntimeError, match=r"^backward: a parameter has changed since forward; call forward again$"):
        backward(y)
    y, backward = model.forward(np.ones((2, 3), F32))
    backward(y)


READS = {
    "print": lambda w: f"{w} {w!r}",
    "sums": lambda w: (w.sum(), w.mean(), np.linalg.norm(w), w.argmax(), w.max(axis=0), np.median(w), w @ w.T, w > 0),
    "copies": lambda w: (w.copy().fill(1), add(w * 2, 1), add(w[[0, 1]], 1), add(w[w > 0], 1), add(w.astype(F32), 1), np.copy(w).sort()),
    "operand": lambda w: np.subtract(w, 1, out=np.ones(w.shape, F32)),
    "source": lambda w: np.copyto(np.ones(w.shape, F32), w),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_reading_a_parameter_is_no_change(read):
    model = net()
    before = model.state_dict()
    y, backward = model.forward(np.ones((2, 3), F32))
    read(model[0].weight.value)
    backward(y)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_running_statistics_that_are_written_meanwhile_change_no_gradient():
    layer, x = layers.BatchNorm1d(3, dtype=np.float64), np.ones((2, 3))
    y, backward = layer.forward(x, training=False)
    expected = backward(y)
    y, backward = layer.forward(x, training=False)
    layer.running_var.value[...] = 100
    np.testing.assert_array_equal(backward(y), expected)


def test_what_was_the_value_before_a_move_is_no_parameter_any_more():
    linear = layers.Linear(3, 4)
    old = linear.weight.value
    model = layers.Sequential(linear)
    y, backward = model.forward(np.ones((2, 3), F32))
    old += 1
    backward(y)


def test_a_value_is_an_array_like_any_other():
    w = layers.Linear(2, 1).weight.value
    w[...] = [[1, 2]]
    assert repr(w) == "array([[1., 2.]], dtype=float32)"
    assert str(w) == "[[1. 2.]]"
    assert {type(w * 2), type(w > 1), type(np.exp(w)), type(w @ w.T), type(np.asarray(w))} == {np.ndarray}
    assert type(w.sum()) is F32
    assert w.tolist() == [[1, 2]]


class Own(layers.Layer):
    """Layers called by hand, as a user writes them: what they return is changed in place before it goes on."""

    def __init__(self, body):
        self.body = body

    def forward(self, x, training=True):
        y, step = self.body.forward(x, training)
        y += 1
        return y, layers.once(step, y)

    def output_shape(self, input_shape):
        return self.body.output_shape(input_shape)


WHOLE = {
    "relu": layers.ReLU(),
    "flatten": layers.Flatten(),
    "dropout": layers.Dropout(0.0),
    "sigmoid": layers.Sigmoid(),
    "nothing": layers.Sequential(),
    "sequential": layers.Sequential(layers.Conv2d(2, 3, 1), layers.ReLU()),
    "residual": layers.Residual(layers.Sequential()),
    "concat": layers.Concat(layers.ReLU(), layers.Dropout(0.0)),
    "own": Own(layers.Conv2d(2, 3, 1)),
    "own inside": layers.Sequential(Own(layers.Conv2d(2, 3, 1)), layers.ReLU()),
}
each_whole = pytest.mark.parametrize("layer", WHOLE.values(), ids=WHOLE)


@each_whole
def test_the_output_of_a_training_pass_is_read_only_and_the_input_stays_writable(layer):
    x = np.ones((2, 2, 3, 3), F32)
    y, _ = layer.forward(x)
    with pytest.raises(ValueError, match="read-only"):
        y += 1
    x += 0


@each_whole
def test_the_output_of_inference_is_the_callers_own(layer):
    """It may be changed, and shares no memory with the input."""
    x = np.ones((2, 2, 3, 3), F32)
    for y in (layer(x), layer.forward(x, training=False)[0]):
        y[...] = 7
        assert (x == 1).all()


def test_outputs_between_layers_are_not_copied():
    """Only the outermost output would share the input's memory."""
    seen = []

    class Spy(layers.Layer):
        def forward(self, x, training=True):
            seen.append(x)
            return x, layers.once(lambda dy, input_grad=True: dy, x)

        def output_shape(self, input_shape):
            return input_shape

    x = np.ones((2, 2), F32)
    model = layers.Sequential(Spy(), layers.Dropout(0.5), layers.Flatten(), Spy())
    model(x)
    assert np.shares_memory(seen[0], seen[1])
    model.forward(x)
    assert seen[-1].flags.writeable


def test_a_pass_that_failed_leaves_the_next_one_outermost():
    model = net()
    for call in (model, model.forward):
        with pytest.raises(ValueError, match="linear"):
            call(np.ones((2, 5), F32))
    assert not model.forward(np.ones((2, 3), F32))[0].flags.writeable


def test_each_thread_has_an_outermost_pass_of_its_own():
    found = []

    class Other(Own):
        def forward(self, x, training=True):
            thread = threading.Thread(target=lambda: found.append(self.body.forward(x)[0].flags.writeable))
            thread.start()
            thread.join()
            return super().forward(x, training)

    Other(layers.Linear(3, 2)).forward(np.ones((2, 3), F32))
    assert found == [False]


def test_a_read_only_view_goes_into_a_kernel_without_a_copy():
    """Layers called one by one, by hand: each output is the next one's input."""
    y, _ = layers.Conv2d(2, 3, 1).forward(np.ones((2, 2, 3, 3), F32))
    assert np.shares_memory(layout.activation(y.shape, y.dtype).flat(y), y)
    assert not y.flags.writeable


def test_read_only_memory_compiles_nothing_and_is_not_written():
    x = np.ones((2, 3, 3, 2), F32)
    layer = layers.Conv2d(2, 3, 1)
    expected = layer(x.transpose(0, 3, 1, 2))
    x.flags.writeable = False
    compiled = set(correlate.code.overloads)
    np.testing.assert_array_equal(layer(x.transpose(0, 3, 1, 2)), expected)
    assert set(correlate.code.overloads) == compiled
    assert (x == 1).all()


@pytest.mark.parametrize("training", [1, None, "no", np.ones(2)])
def test_training_is_true_or_false(training):
    with pytest.raises(TypeError, match=r"^Sequential: training must be True or False, got "):
        net().forward(np.ones((2, 3), F32), training)
