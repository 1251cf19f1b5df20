"""State dicts whose names are others, or that lack some."""

import numpy as np
import pytest

from fastconv.layers import BatchNorm2d, Conv2d, Linear, Module, Sequential


class Net(Module):
    def __init__(self):
        self.features = Sequential(Conv2d(1, 2, 3), BatchNorm2d(2))
        self.classifier = Sequential({"fc": Linear(2, 3)})

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def state() -> dict[str, np.ndarray]:
    return {name: np.full_like(value, 7) for name, value in Net().state_dict().items()}


def assert_loaded(model) -> None:
    assert all((value == 7).all() for value in model.state_dict().values())


RENAMED = {
    "a beginning more": (lambda name: f"module.{name}", {"module.": ""}),
    "two beginnings": (
        lambda name: name.replace("features", "backbone").replace("classifier", "head"), {"backbone.": "features.", "head.": "classifier."},
    ),
    "the longest": (lambda name: name.replace("features", "a").replace("classifier", "a.b"), {"a.": "features.", "a.b.": "classifier."}),
    "a function": (lambda name: name.upper(), str.lower),
}  # fmt: skip


@pytest.mark.parametrize("case", RENAMED)
def test_names_are_changed_by_their_beginnings_or_a_function(case):
    change, rename = RENAMED[case]
    model = Net()
    assert model.load_state_dict({change(name): value for name, value in state().items()}, rename=rename) == ([], [])
    assert_loaded(model)


def test_the_error_tells_the_rename_that_helps():
    for other, hint in (
        ({f"module.{name}": value for name, value in state().items()}, r'; write rename=\{"module.": ""\}$'),
        ({name.replace("features", "conv"): value for name, value in state().items()}, r'; write rename=\{"conv\.": "features\."\}$'),
        (dict(enumerate_names(state())), r"the same, in the same order: write rename=dict\(zip\(state, model.state_dict\(\)\)\)$"),
        (state() | {"more": np.ones(1)}, r"unexpected more; rename=\{...\} gives names of the state others, strict=False loads what fits$"),
        ({name: value for name, value in state().items() if "fc" not in name}, "missing classifier.fc.bias; missing classifier.fc.weight; rename"),
    ):
        model = Net()
        before = model.state_dict()
        with pytest.raises(ValueError, match=hint):
            model.load_state_dict(other)
        assert all((before[name] == value).all() for name, value in model.state_dict().items())
    model.load_state_dict(dict(enumerate_names(state())), rename=dict(zip(dict(enumerate_names(state())), model.state_dict())))
    assert_loaded(model)


def enumerate_names(values):
    return ((f"p{i}", value) for i, value in enumerate(values.values()))


def test_shapes_are_told_without_a_hint_about_names():
    wrong = state() | {"features.0.weight": np.ones((2, 1, 5, 5), np.float32)}
    told = r"nothing was loaded: features.0.weight has the shape \(2, 1, 5, 5\), the model's is \(2, 1, 3, 3\)"
    for strict, hint in ((True, ""), (False, r"; to keep the model's own, take them out of the dict: state.pop\('features.0.weight'\)")):
        with pytest.raises(ValueError, match=f"{told}{hint}$"):
            Net().load_state_dict(wrong, strict)


def test_what_only_one_side_has_may_be_left_out():
    part = {name: value for name, value in state().items() if name.startswith("features")} | {"more": np.ones(1)}
    model = Net()
    fc = model.classifier.fc.weight.value.copy()
    missing, unexpected = model.load_state_dict(part, strict=False)
    assert missing == ["classifier.fc.weight", "classifier.fc.bias"]
    assert unexpected == ["more"]
    assert (model.features[0].weight.value == 7).all()
    np.testing.assert_array_equal(model.classifier.fc.weight.value, fc)


def test_a_count_of_batches_may_be_missing():
    """Files of other frameworks have none; it matters with momentum=None alone."""
    values = state()
    del values["features.1.num_batches_tracked"]
    model = Net()
    model.features[1].num_batches_tracked.value = np.array(5)
    assert model.load_state_dict(values) == ([], [])
    assert model.features[1].num_batches_tracked.value == 5


def test_the_order_is_pytorchs():
    assert [name.rpartition(".")[2] for name in Net().features.state_dict()] == [
        "weight", "bias", "weight", "bias", "running_mean", "running_var", "num_batches_tracked",
    ]  # fmt: skip


def test_bad_words_are_told():
    model = Net()
    for words, error, message in (
        ({"rename": 5}, TypeError, r'rename must be a dict such as \{"module.": ""\}, or a function .* got 5'),
        ({"rename": {1: "a"}}, TypeError, "rename must hold beginnings of names"),
        ({"rename": lambda name: None}, TypeError, "rename must return a name, got None for 'features.0.weight'"),
        ({"rename": lambda name: "x"}, ValueError, "rename makes 'x' of both 'features.0.weight' and 'features.0.bias'"),
        ({"strict": "no"}, TypeError, "strict must be True or False, got 'no'"),
    ):
        with pytest.raises(error, match=f"load_state_dict: {message}"):
            model.load_state_dict(state(), **words)
