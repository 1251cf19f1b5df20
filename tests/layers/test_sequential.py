"""A Sequential as a list and as a dict: slices, names, changes."""

from collections import OrderedDict

import numpy as np
import pytest

from fastconv.layers import BatchNorm2d, Conv2d, Flatten, Linear, ReLU, Sequential

X = np.random.default_rng(0).standard_normal((2, 1, 6, 6)).astype(np.float32)


def plain() -> Sequential:
    return Sequential(Conv2d(1, 2, 3), ReLU(), Flatten(), Linear(32, 3))


def named(kind=dict) -> Sequential:
    return Sequential(kind([("conv", Conv2d(1, 2, 3)), ("relu", ReLU()), ("flat", Flatten()), ("fc", Linear(32, 3))]))


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_names_are_those_of_the_dict(kind):
    model = named(kind)
    assert list(model.state_dict()) == ["conv.weight", "conv.bias", "fc.weight", "fc.bias"]
    assert model.conv is model[0] is model["conv"]
    assert model.fc is model[-1]
    assert repr(model).splitlines()[1] == "  (conv): Conv2d(1, 2, kernel_size=(3, 3))"
    assert [type(layer) for layer in model] == [Conv2d, ReLU, Flatten, Linear]
    np.testing.assert_array_equal(model(X), Sequential(*model)(X))


def test_a_slice_is_a_sequential_of_the_same_layers_and_names():
    for model, names in ((plain(), ["0.weight", "0.bias"]), (named(), ["conv.weight", "conv.bias"])):
        features, head = model[:-1], model[2:]
        assert type(features) is Sequential
        assert features[0] is model[0]
        assert list(features.state_dict()) == names
        assert list(head.state_dict()) == list(model.state_dict())[2:]
        np.testing.assert_array_equal(head(features[:2](X)), model(X))
        features[0].bias.value = np.ones(2, np.float32)
        assert (model[0].bias.value == 1).all()
        del features[0]
        assert len(model) == 4
    assert list(plain()[::3].state_dict()) == ["0.weight", "0.bias", "3.weight", "3.bias"]


def test_a_sequential_is_changed_in_place():
    model = plain()
    assert model.append(ReLU()) is model
    model.extend([Linear(3, 3), ReLU()]).insert(1, BatchNorm2d(2))
    assert [type(layer).__name__ for layer in model] == ["Conv2d", "BatchNorm2d", "ReLU", "Flatten", "Linear", "ReLU", "Linear", "ReLU"]
    del model[-1]
    model[-1] = Linear(3, 7)
    assert list(model.state_dict())[-2:] == ["6.weight", "6.bias"]
    assert model(X).shape == model.output_shape(X.shape) == (2, 7)


def test_named_layers_stay_named():
    model = named()
    model.append(ReLU()).append(Linear(3, 3), "last").insert(1, BatchNorm2d(2), name="bn")
    assert [name for name, _ in model.named_children()] == ["conv", "bn", "relu", "flat", "fc", "4", "last"]
    model["last"] = Linear(3, 5)
    del model["4"]
    assert model(X).shape == (2, 5)
    assert [name for name, _ in model[1:].append(ReLU()).named_children()][-2:] == ["last", "5"]
    with pytest.raises(ValueError, match="Sequential: there is a layer 'bn': give another name"):
        model.append(ReLU(), "bn")
    model.layers.append(ReLU())
    with pytest.raises(RuntimeError, match="Sequential: 7 layers have 6 names: change named layers by append"):
        model.state_dict()


@pytest.mark.parametrize("name", ["", "a.b", "forward", "layers", "frozen", 1, None])
def test_a_name_is_a_word_that_no_attribute_has(name):
    with pytest.raises(ValueError, match="Sequential: a layer cannot be named"):
        Sequential({name: ReLU()})


def test_what_is_no_layer_or_place_is_told():
    model = named()
    for call, error, message in (
        (lambda: model[4], IndexError, "Sequential: there is no layer 4 among 4"),
        (lambda: model[1.0], TypeError, "a layer has a number, or the name that it was given, got 1.0"),
        (lambda: model["fc2"], TypeError, "got 'fc2'"),
        (lambda: model.insert(9, ReLU()), IndexError, "insert: there is no layer 9"),
        (lambda: model.append(3), TypeError, "Sequential: argument 0 is not a Layer but a int"),
        (lambda: model.__setitem__(0, 3), TypeError, "is not a Layer"),
        (lambda: Sequential([ReLU()]), TypeError, r"write Sequential\(\*layers\)"),
        (lambda: model.fc2, AttributeError, "^Sequential has no 'fc2'$"),
    ):
        with pytest.raises(error, match=message):
            call()
    assert len(model) == 4
