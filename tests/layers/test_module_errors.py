"""What cannot be recorded is refused in words that lead on."""

import re

import numpy as np
import pytest

from fastconv import functional as F
from fastconv import layers
from fastconv.layers import Conv2d, Linear, Module, Parameter, Sequential

X = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)


def net(written, **inside):
    class Net(Module):
        def __init__(self):
            self.conv, self.p = Conv2d(1, 2, 3, padding=1), Parameter(np.ones(1, np.float32))
            for name, layer in inside.items():
                setattr(self, name, layer)

        def forward(self, x):
            return written(self, x)

    return Net()


NO_NUMBERS = "a traced value has a shape, but no numbers until forward has returned: use layers"
WRONG = {
    "array": (lambda s, x: np.ones(3), TypeError, "Net.forward: must return what its layers gave, .* got ndarray"),
    "nothing": (lambda s, x: None, TypeError, "Net.forward: must return .* got None"),
    "no outputs": (lambda s, x: (), TypeError, "Net.forward: must return .* got None"),
    "ufunc": (lambda s, x: np.maximum(s.conv(x), 0), TypeError, f"np.maximum: {NO_NUMBERS}"),
    "function": (lambda s, x: np.concatenate([s.conv(x)]), TypeError, f"np.concatenate: {NO_NUMBERS}"),
    "forward": (lambda s, x: s.conv.forward(x), TypeError, f"np.asarray: {NO_NUMBERS}"),
    "if": (lambda s, x: x if x.mean((2, 3)) else -x, TypeError, f"bool: {NO_NUMBERS}"),
    "float": (lambda s, x: float(x), TypeError, f"float: {NO_NUMBERS}"),
    "for": (lambda s, x: list(x), TypeError, f"iteration: {NO_NUMBERS}"),
    "index": (lambda s, x: x[0], TypeError, rf"x\[...\]: {NO_NUMBERS}"),
    "parameter": (lambda s, x: s.conv(x) * s.p, TypeError, r"^\*: a Parameter is used outside of a layer: write a Layer"),
    "its value": (lambda s, x: s.p.value * x, TypeError, "np.multiply: .* got ndarray"),
    "left array": (lambda s, x: np.ones(3) + x, TypeError, "np.add: a traced value goes together with others and with numbers, got ndarray"),
    "right array": (lambda s, x: x - np.ones(3), TypeError, "-: a traced value goes together with others and with numbers, got ndarray"),
    "truth": (lambda s, x: x + True, TypeError, r"\+: .* got True"),
    "cat": (lambda s, x: F.cat([x, np.ones(3)]), TypeError, r"cat: xs\[1\] is no traced value but ndarray"),
    "permute": (lambda s, x: x.permute(0, 2, 3, 1), AttributeError, "a traced value has no 'permute': write a Layer"),
    "nonsense": (lambda s, x: x.nonsense(), AttributeError, "^a traced value has no 'nonsense'$"),
    "view": (lambda s, x: x.view(-1, 65), ValueError, r"view: each example of x\(2, 1, 8, 8\) has 64 elements, not 65: write \(-1, 64\)"),
    "view of one": (lambda s, x: x.view(64), ValueError, r"view: the first axis stays the batch's: write x.view\(-1, features\), got \(64,\)"),
    "view of more": (lambda s, x: x.view(1, -1), ValueError, r"view: the first axis stays the batch's.*got \(1, -1\) for x\(2, 1, 8, 8\)"),
    "reshape": (lambda s, x: x.reshape(-1, 3, 5), ValueError, r"Reshape: the 64 elements of each example of x\(2, 1, 8, 8\) cannot be \(3, 5\)"),
    "flatten": (lambda s, x: x.flatten(), ValueError, r"flatten: .* write x.flatten\(1\), got start_dim=0"),
    "mean": (lambda s, x: x.mean(1), ValueError, r"mean: over all spatial axes of x\(2, 1, 8, 8\) at once: write x.mean\(\(2, 3\)\), got dim=1"),
    "mean, mean": (lambda s, x: x.mean(2).mean(2), ValueError, r"mean: over all spatial axes of x\(2, 1, 8, 8\) at once: .*, got dim=2"),
    "mean of rows": (lambda s, x: x.flatten(1).mean(1), ValueError, r"mean: over .* of x\(2, 64\) at once: it must have 1 to 3, got dim=1"),
    "cube": (lambda s, x: x**3, ValueError, r"\*\*: a traced value has its square alone, x \*\* 2, got x \*\* 3"),
    "root": (lambda s, x: x**0.5, TypeError, r"\*\*: exponent must be an integer, got 0.5"),
    "shape of a sum": (lambda s, x: s.conv(x) + x.flatten(1), ValueError, r"Net.forward: sum: \(2, 2, 8, 8\) and \(2, 64\) must have the same shape"),
    "shape of a product": (lambda s, x: s.conv(x) * x.flatten(1), ValueError, r"Net.forward: product: .* but for extents of 1"),
    "missing": (lambda s, x: s.conv2(x), AttributeError, "^Net has no 'conv2'$"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_recorded_is_refused(name):
    forward, error, message = WRONG[name]
    model = net(forward)
    for call in (model, model.forward):
        with pytest.raises(error, match=message):
            call(X)
    assert net(lambda s, x: s.conv(x))(X).shape == (2, 2, 8, 8)  # nothing is left over


@pytest.mark.parametrize("inside", ["layer", "block.0", "stages.1.block.1"])
def test_a_wrong_shape_is_told_with_the_path_of_the_layer(inside):
    wrong = Conv2d(3, 2, 3)
    block = net(lambda s, x: s.block(x), block=Sequential(Conv2d(1, 1, 1), wrong))
    inner = {
        "layer": {"layer": wrong},
        "block.0": {"block": Sequential(wrong)},
        "stages.1.block.1": {"stages": [layers.ReLU(), block]},
    }[inside]
    run = {"layer": lambda s, x: s.layer(x), "block.0": lambda s, x: s.block(x), "stages.1.block.1": lambda s, x: s.stages[1](x)}[inside]
    model = net(run, **inner)
    for call in (lambda: model(X), lambda: model.forward(X), lambda: model.output_shape(X.shape), lambda: model.summary(X.shape)):
        with pytest.raises(ValueError, match=rf"^Net\.{re.escape(inside)}: Conv2d: \w+ has IC=3, but x has IC=1"):
            call()


def test_a_module_without_forward_says_so():
    class Empty(Module):
        pass

    for call in (Empty(), Empty().forward, lambda x: Empty().output_shape(x.shape)):
        with pytest.raises(TypeError, match=r"^Empty: a Module needs a forward: write def forward\(self, x\)"):
            call(X)


def test_inputs_are_arrays_and_no_more_than_forward_takes():
    model = net(lambda s, x: s.conv(x))
    for call in (lambda: model(X, X), lambda: model.forward((X, X))):
        with pytest.raises(TypeError, match="Net: forward takes 1 input, got a tuple of 2: unpack it"):
            call()
    with pytest.raises(TypeError, match="Net: training must be True or False, got 3"):
        model.forward(X, 3)
    with pytest.raises(TypeError, match="Net: x has dtype int64"):
        model(X.astype(np.int64))
    with pytest.raises(TypeError, match=r"Net\.conv: Conv2d: the layer is float32, x is float64"):
        model(X.astype(np.float64))
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        Two()(X)


class Two(Module):
    def forward(self, a, b):
        return a + b, a


def test_gradients_of_several_outputs_are_checked():
    y, backward = Two().forward((X, X))
    with pytest.raises(TypeError, match=r"backward: dy must be a tuple of 2 gradients, one for each output \(None: it has none\), got ndarray"):
        backward(y[0])
    with pytest.raises(ValueError, match=r"backward: dy\[1\]\(3,\) does not fit the output \(2, 1, 8, 8\)"):
        backward((y[0], np.ones(3, np.float32)))
    with pytest.raises(TypeError, match=r"dy\[0\] has dtype float64"):
        backward((y[0].astype(np.float64), None))
    backward((y[0], None))
    with pytest.raises(RuntimeError, match="used a second time"):
        backward((y[0], None))


def test_a_value_of_a_pass_that_has_ended_is_refused():
    kept = []

    def forward(s, x):
        kept.append(s.conv(x))
        return kept[-1]

    model = net(forward)
    model(X)
    with pytest.raises(RuntimeError, match="a value of a forward pass that has ended is used again: return it from forward"):
        model.conv(kept[0])
    other = net(lambda s, x: s.conv(x) + kept[0])
    with pytest.raises(RuntimeError, match="has ended"):
        other(X)


def test_a_value_of_another_pass_is_no_output():
    kept = []

    def forward(s, x):
        kept.append(x)
        return kept[0]

    model = net(forward)
    model(X)
    with pytest.raises(TypeError, match=r"Net\.forward: must return what its layers gave, a traced value or a tuple of them, got Traced"):
        model(X)


def test_the_names_of_methods_are_taken():
    for name in ("inner", "record", "forward"):
        with pytest.raises(AttributeError, match=f"Net: every Module has a '{name}' of its own: give the layer another name"):
            net(lambda s, x: x, **{name: Linear(1, 1)})


def test_a_way_back_after_a_change_is_refused():
    norm = layers.BatchNorm2d(2)
    model = net(lambda s, x: F.relu(s.norm(s.conv(x)) + s.conv(x)), norm=norm)
    for changed in (model.conv.weight, norm.bias):
        y, backward = model.forward(X)
        changed.value += 1
        with pytest.raises(RuntimeError, match="a parameter has changed since forward"):
            backward(y)
