"""A compiled class model answers as the model does; what can run in one pass is merged as in a Sequential."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv import layers
from fastconv.layers import BatchNorm2d, Conv2d, Linear, Module, Sequential

X = np.random.default_rng(0).standard_normal((2, 2, 8, 8)).astype(np.float32)


class Block(Module):
    def __init__(self, IC, OC, stride):
        self.conv, self.bn = Conv2d(IC, OC, 3, stride, 1), BatchNorm2d(OC)
        self.shortcut = Sequential(Conv2d(IC, OC, 1, stride), BatchNorm2d(OC))
        self.drop = layers.Dropout(0.5)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)) + self.drop(self.shortcut(x)))


class Net(Module):
    def __init__(self):
        self.block = Block(2, 4, 2)
        self.fc = Linear(4 * 2 * 2, 3)

    def forward(self, x):
        x = F.max_pool2d(self.block(x), 2)
        return self.fc(F.dropout(x.view(-1, 16), training=self.training))


class Odd(Module):
    def __init__(self):
        self.a, self.b = Conv2d(2, 3, 1), Conv2d(2, 3, 3, padding=1)

    def forward(self, x):
        a, b = F.relu(self.a(x)), self.b(x)
        gate = a.flatten(1).view(-1, 3, 64).view(-1, 3, 8, 8).mean((2, 3), keepdim=True).sigmoid()
        return F.cat([a * gate, a - b, F.relu(b) + a]).flatten(1) * 2


class Flat(Module):
    """Rows that lie as the image does are put in order before they are added, or given to another Module."""

    def __init__(self):
        self.a, self.b = Conv2d(2, 3, 1), Conv2d(2, 3, 3, padding=1)
        self.head = Head()

    def forward(self, x):
        return self.head(self.a(x).flatten(1) - self.b(x).flatten(1))


class Head(Module):
    def forward(self, x):
        return x.view(-1, 3, 64)


def settled(model):
    for _ in range(3):
        model.forward(4 * X + 1)
    return model


MAKERS = {
    "net": Net,
    "odd": Odd,
    "flat": Flat,
    "inside": lambda: Sequential(Conv2d(2, 2, 1), layers.ReLU(), Odd(), Linear(576, 2)),
    "behind rows": lambda: Sequential(Conv2d(2, 3, 1), layers.Flatten(), Head()),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_answers_are_the_models(make):
    model = settled(make())
    fast = fc.compile(model, X.shape)
    for x in (X, X[:1], np.concatenate([X, X])):
        np.testing.assert_allclose(fast(x), model(x), rtol=1e-5, atol=1e-6)
    assert fast.output_shape == model.output_shape(X.shape)


def test_layers_are_merged_as_in_a_sequential():
    rows = fc.compile(settled(Net()), X.shape).summary().rows
    assert [row.name for row in rows] == ["block.conv + block.bn", "block.shortcut.0 + block.shortcut.1", "F", "F", "fc"]
    assert rows[0].layers.endswith("BatchNorm2d(4)")
    assert rows[2].layers == "Sum()"


def test_what_is_no_single_answer_is_refused():
    class Two(Module):
        def forward(self, x):
            return x, F.relu(x)

    with pytest.raises(ValueError, match="compile: Two gives several outputs, a compiled model has one"):
        fc.compile(Two(), X.shape)
    with pytest.raises(ValueError, match=r"Net\.block\.conv: Conv2d: layer has IC=2, but x has IC=3"):
        fc.compile(Net(), (1, 3, 8, 8))
