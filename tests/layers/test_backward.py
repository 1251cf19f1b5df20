"""The way back: used once, only while it is valid, and adding up."""

import numpy as np
import pytest

from fastconv import layers, losses, optim

ALL = [
    (lambda: layers.Conv1d(2, 3, 3), (2, 2, 6)),
    (lambda: layers.Conv2d(2, 3, 3), (2, 2, 6, 5)),
    (lambda: layers.Conv2d(2, 3, 3, padding=1, padding_mode="replicate"), (2, 2, 6, 5)),
    (lambda: layers.Conv3d(2, 3, 2), (2, 2, 3, 4, 3)),
    (lambda: layers.MaxPool1d(2), (2, 2, 6)),
    (lambda: layers.MaxPool2d(2), (2, 2, 6, 4)),
    (lambda: layers.AvgPool2d(2), (2, 2, 6, 4)),
    (lambda: layers.GlobalAvgPool2d(), (2, 2, 6, 4)),
    (lambda: layers.Linear(6, 3), (2, 6)),
    (lambda: layers.ReLU(), (2, 2, 6, 4)),
    (lambda: layers.Dropout(0.5), (2, 2, 6, 4)),
    (lambda: layers.Dropout(0), (2, 2, 6, 4)),
    (lambda: layers.Flatten(), (2, 2, 6, 4)),
]
each_layer = pytest.mark.parametrize(("make", "shape"), ALL, ids=[repr(make()) for make, _ in ALL])


def net():
    return layers.Sequential(
        layers.Conv2d(1, 3, 3), layers.ReLU(), layers.MaxPool2d(2), layers.Flatten(), layers.Linear(12, 4),
        layers.Sequential(layers.ReLU(), layers.Linear(4, 3)),
    )  # fmt: skip


def images(N, seed=0):
    return np.random.default_rng(seed).standard_normal((N, 1, 6, 6)).astype(np.float32)


def gradients(model):
    return [p.grad.copy() for p in model.parameters()]


def gradients_of(model, x):
    """What one forward and backward pass gives by itself, with dy = y."""
    for p in model.parameters():
        p.zero_grad()
    y, backward = model.forward(x)
    dx = backward(y)
    found = gradients(model)
    for p in model.parameters():
        p.zero_grad()
    return dx, found


def assert_equal(arrays, others):
    for a, b in zip(arrays, others, strict=True):
        np.testing.assert_array_equal(a, b)


@each_layer
def test_a_backward_used_twice_is_an_error(make, shape):
    """A backward used twice: RuntimeError."""
    y, backward = make().forward(np.ones(shape, np.float32))
    backward(y)
    with pytest.raises(RuntimeError, match="used a second time"):
        backward(y)


def test_a_nets_backward_used_twice_is_an_error_and_adds_nothing():
    """A backward used twice: RuntimeError."""
    model = net()
    y, backward = model.forward(images(2))
    backward(y, input_grad=False)
    before = gradients(model)
    with pytest.raises(RuntimeError, match="used a second time"):
        backward(y)
    assert_equal(gradients(model), before)


@pytest.mark.parametrize("change", ["assign", "add", "optimizer", "load"])
def test_a_backward_after_the_parameters_changed_is_an_error(change):
    """A backward after the parameters changed: RuntimeError."""
    model = net()
    y, stale = model.forward(images(2))
    if change == "assign":
        model[4].weight.value = np.zeros((4, 12), np.float32)
    elif change == "add":
        model[0].bias.value += 1
    elif change == "load":
        model.load_state_dict(net().state_dict())
    else:
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        model.forward(images(2))[1](y)
        optimizer.step()
    before = gradients(model)
    with pytest.raises(RuntimeError, match="a parameter has changed since forward; call forward again"):
        stale(y)
    assert_equal(gradients(model), before)


@each_layer
def test_without_input_grad_the_result_is_none_and_parameter_gradients_are_the_same(make, shape):
    """dx is None when it is not asked for."""
    layer, x = make(), np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    if isinstance(layer, layers.Dropout):
        layer.forward(x)[1](x, input_grad=False)
        return
    y, backward = layer.forward(x)
    assert backward(y, input_grad=False) is None
    found = gradients(layer)
    assert_equal(found, gradients_of(layer, x)[1])


def test_leading_layers_are_skipped_when_the_input_grad_is_not_asked_for():
    """Leading layers then skip it: nothing before the first layer with parameters runs, and that one gives no dx."""

    class Spy(layers.Layer):
        def __init__(self, body):
            self.body = body

        def forward(self, x, training=True):
            y, step = self.body.forward(x, training)

            def backward(dy, input_grad=True):
                calls.append((type(self.body).__name__, input_grad))
                return step(dy, input_grad)

            return y, backward

        def output_shape(self, input_shape):
            return self.body.output_shape(input_shape)

    model = layers.Sequential(Spy(layers.ReLU()), Spy(layers.Conv2d(1, 1, 3)), Spy(layers.MaxPool2d(2)))
    for wanted, expected in (
        (False, [("MaxPool2d", True), ("Conv2d", False)]),
        (True, [("MaxPool2d", True), ("Conv2d", True), ("ReLU", True)]),
    ):
        calls = []
        y, backward = model.forward(images(2))
        assert (backward(y, input_grad=wanted) is None) is not wanted
        assert calls == expected


def test_two_forwards_before_a_backward():
    """Two forwards before a backward: right gradients, in either order."""
    model, x, other = net(), images(3), images(2, seed=1)
    (dx, alone), (d_other, other_alone) = gradients_of(model, x), gradients_of(model, other)
    y, backward = model.forward(x)
    y_other, backward_other = model.forward(other)
    np.testing.assert_array_equal(backward(y), dx)
    assert_equal(gradients(model), alone)
    np.testing.assert_array_equal(backward_other(y_other), d_other)
    assert_equal(gradients(model), [a + b for a, b in zip(alone, other_alone, strict=True)])


def test_an_inference_between_forward_and_backward():
    """An inference between them: right gradients."""
    model, x = net(), images(3)
    dx, alone = gradients_of(model, x)
    y, backward = model.forward(x)
    model(images(5, seed=1))
    np.testing.assert_array_equal(backward(y), dx)
    assert_equal(gradients(model), alone)


def test_a_smaller_last_batch():
    """A smaller last batch: right gradients, those of its images alone."""
    model, x = net(), images(7)
    dx, _ = gradients_of(model, x[4:])
    for start in (0, 4):
        y, backward = model.forward(x[start : start + 4])
        last = backward(y)
    np.testing.assert_array_equal(last, dx)


def test_gradients_add_until_zero_grad_and_the_first_overwrites():
    """`zero_grad` only marks; the first gradient overwrites."""
    model, x = net(), images(3)
    _, once = gradients_of(model, x)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for p in model.parameters():
        p.grad.fill(np.nan)  # what is in the memory of a marked gradient does not matter
    for times in (1, 2, 3):
        y, backward = model.forward(x)
        backward(y)
        np.testing.assert_allclose(gradients(model)[0], times * once[0], rtol=1e-6)
    optimizer.zero_grad()
    assert all((p.grad == 0).all() for p in model.parameters())
    y, backward = model.forward(x)
    backward(y)
    assert_equal(gradients(model), once)


@each_layer
@pytest.mark.parametrize("training", [True, False])
def test_gradient_calls_are_checked_like_forward_calls(make, shape, training):
    """A dy of a wrong shape is an error that adds nothing; the right one still works afterwards."""
    layer = make()
    y, backward = layer.forward(np.ones(shape, np.float32), training=training)
    with pytest.raises(ValueError, match="dy"):
        backward(np.ones((*y.shape[:-1], y.shape[-1] + 1), np.float32))
    assert not any(p.has_grad for p in layer.parameters())
    assert backward(np.ones_like(y)).shape == shape


@pytest.mark.parametrize("input_grad", [True, False])
@pytest.mark.parametrize(("make", "shape"), [case for case in ALL if case[0]().parameters()])
def test_a_dy_of_one_channel_is_not_broadcast(make, shape, input_grad):
    """Gradient calls are checked like forward calls; nothing is added when they fail."""
    layer = make()
    y, backward = layer.forward(np.ones(shape, np.float32))
    with pytest.raises(ValueError, match="dy"):
        backward(np.ones((len(y), 1, *y.shape[2:]), np.float32), input_grad=input_grad)
    assert not any(p.has_grad for p in layer.parameters())


@each_layer
def test_a_dy_of_another_dtype_is_an_error(make, shape):
    """Float32 and float64, all operands alike, never silently upcast or downcast."""
    y, backward = make().forward(np.ones(shape, np.float32))
    with pytest.raises(TypeError, match=r"dy is float64.*float32|dy.*float64"):
        backward(np.ones(y.shape))


def test_a_failed_backward_leaves_the_parameters_untouched():
    """An exception anywhere leaves the library usable and the parameters untouched."""
    model, x = net(), images(3)
    _, alone = gradients_of(model, x)
    state = model.state_dict()
    _, backward = model.forward(x)
    with pytest.raises(ValueError, match="dy"):
        backward(np.ones((3, 4), np.float32))
    assert_equal(model.state_dict().values(), state.values())
    assert not any(p.has_grad for p in model.parameters())
    assert_equal(gradients_of(model, x)[1], alone)


def test_forward_in_inference_mode_has_a_backward():
    """`forward(x, training=False)` gives a backward in inference mode: no dropout on the way back either."""
    plain = layers.Sequential(layers.Conv2d(1, 2, 3), layers.Flatten(), layers.Linear(32, 3))
    dropping = layers.Sequential(plain[0], layers.Dropout(0.9), plain[1], layers.Dropout(0.9), plain[2])
    x = images(2)
    dx, alone = gradients_of(plain, x)
    y, backward = dropping.forward(x, training=False)
    np.testing.assert_array_equal(backward(y), dx)
    assert_equal(gradients(plain), alone)


def test_backward_does_not_write_its_dy_or_the_input():
    """Inputs may be read-only; they are never written."""
    model, x = net(), images(2)
    dy = np.ones((2, 3), np.float32)
    x.flags.writeable = dy.flags.writeable = False
    _, backward = model.forward(x)
    backward(dy)
    value, d_outputs = losses.cross_entropy(model(x), np.array([0, 2]))
    assert np.isfinite(value)
    assert d_outputs.shape == dy.shape


@pytest.mark.parametrize(
    ("dys", "error", "message"),
    [
        ((), TypeError, "dy is missing, the gradient of the loss with respect to the output: write value, d_outputs ="),
        ((None,), TypeError, "dy is missing"),
        ((0.5,), ValueError, r"dy\(\) does not fit the output \(2, 3\): if it is the loss, pass its gradient, which"),
        ((losses.mse(np.ones((2, 3)), np.ones((2, 3))),), TypeError, "dy is a pair, the loss and its gradient; pass the second: write value"),
        ((np.ones((3, 2)),), ValueError, r"dy\(3, 2\) does not fit the output \(2, 3\)$"),
    ],
)
def test_what_is_no_gradient_is_told_before_its_dtype(dys, error, message):
    _, backward = layers.Linear(4, 3).forward(np.ones((2, 4), np.float32))
    with pytest.raises(error, match=f"^backward: {message}"):
        backward(*dys)
