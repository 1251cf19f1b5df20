"""Models as classes: the same bits as a Sequential, gradients of values that are used twice or never, names, nesting."""

import copy

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv import layers, losses, optim, profiling, train
from fastconv.layers import BatchNorm2d, Conv2d, Linear, MaxPool2d, Module, ReLU, Residual, Sequential

C, SHAPE = 5, (3, 5, 6, 7)


def images(shape=SHAPE, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def conv(rng, IC=C, OC=C, stride=1):
    return Conv2d(IC, OC, 3, stride, 1, rng=rng)


class Block(Module):
    def __init__(self, rng, stride=1):
        super().__init__()
        self.conv1, self.bn1 = conv(rng, stride=stride), BatchNorm2d(C)
        self.conv2, self.bn2 = conv(rng), BatchNorm2d(C)
        self.shortcut = Sequential(conv(rng, stride=stride), BatchNorm2d(C)) if stride > 1 else Sequential()

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class Net(Module):
    def __init__(self, seed=0):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.conv1, self.pool = conv(rng), MaxPool2d(2, 2)
        self.layer1 = Sequential(Block(rng), Block(rng, stride=2))
        self.fc = Linear(C * 2 * 2, 4, rng=rng)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.layer1(x)
        return self.fc(x.view(x.size(0), -1))


def block_of_layers(block: Block) -> list:
    body = Sequential(block.conv1, block.bn1, ReLU(), block.conv2, block.bn2)
    return [Residual(body, block.shortcut if len(block.shortcut) else None), ReLU()]


def layers_of(net: Net) -> Sequential:
    """The same layers without a class."""
    blocks = [layer for block in net.layer1 for layer in block_of_layers(block)]
    return Sequential(net.conv1, ReLU(), net.pool, *blocks, layers.Flatten(), net.fc)


def results(model, x, training=True, input_grad=True):
    for p in model.parameters():
        p.zero_grad()
    y, backward = model.forward(x, training)
    dx = backward(np.cos(np.arange(y.size, dtype=y.dtype)).reshape(y.shape), input_grad)
    assert (dx is None) is not input_grad
    found = {name: p.grad.copy() for name, p in model.named_parameters() if p.has_grad}
    return [y, model(x), *([dx] if input_grad else []), *found.values(), *(b.value for _, b in model.named_buffers())]


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("input_grad", [True, False])
def test_a_class_computes_the_bits_of_a_sequential(training, input_grad):
    x = images()
    assert_same(results(Net(), x, training, input_grad), results(layers_of(Net()), x, training, input_grad))
    x[1, 2, 3, 3] = np.nan
    assert_same(results(Net(), x, training, input_grad), results(layers_of(Net()), x, training, input_grad))


FROZEN = {
    "first": ["conv1"],
    "blocks": ["layer1"],
    "norm": ["layer1.0.bn2"],
    "shortcut": ["layer1.1.shortcut"],
    "last": ["fc"],
    "all but a shortcut": ["conv1", "layer1.0", "layer1.1.conv1", "layer1.1.bn1", "layer1.1.conv2", "layer1.1.bn2"],
    "all but a norm": ["conv1", "layer1.0", "layer1.1.conv1", "layer1.1.bn1", "layer1.1.conv2", "layer1.1.shortcut"],
}


@pytest.mark.parametrize("case", FROZEN)
def test_what_is_frozen_learns_nothing_and_changes_nothing_else(case):
    found = []
    for build in (lambda net: net, layers_of):
        net = Net()
        for name in FROZEN[case]:
            dict(net.named_modules())[name].frozen = True
        found.append(results(build(net), images(), input_grad=False))
    assert_same(*found)


def test_neighbors_run_as_one(monkeypatch):
    """No ReLU runs by itself, none of the sums does."""
    monkeypatch.setattr(ReLU, "forward", None)
    monkeypatch.setattr(layers.joins.Sum, "forward", None)
    y, backward = Net().forward(images())
    backward(np.ones_like(y))


def test_names_are_pytorchs():
    net = Net()
    assert list(net.state_dict())[:3] == ["conv1.weight", "conv1.bias", "layer1.0.conv1.weight"]
    assert "layer1.1.shortcut.0.weight" in net.state_dict()
    assert "layer1.1.shortcut.1.running_mean" in net.state_dict()
    assert [name for name, _ in net.named_children()] == ["conv1", "pool", "layer1", "fc"]
    assert next(net.modules()) is net
    assert dict(net.named_modules())["layer1.1.bn2"] is net.layer1[1].bn2
    assert net.num_parameters == sum(p.size for p in net.parameters())


def test_what_each_layer_gives_can_be_looked_at():
    net, x = Net(), images()
    found = list(net.values(x))
    assert [name for name, _, _ in found][:4] == ["conv1", "F", "pool", "layer1.0.conv1"]
    np.testing.assert_array_equal(found[0][2], net.conv1(x))
    np.testing.assert_array_equal(found[-1][2], net(x))


def test_a_profile_shows_the_layers():
    net, x = Net(), images((2, *SHAPE[1:]))
    found = profiling.profile(net, x, np.arange(2), losses.cross_entropy, optim.SGD(net.parameters(), 0.1), steps=1)
    assert [row.name for row in found.rows][:3] == ["conv1", "pool", "layer1.0.conv1"]
    assert next(row.layer for row in found.rows if row.name == "layer1.0.bn2") == "BatchNorm2d(5) + shortcut + ReLU"


def test_a_loss_that_is_not_finite_is_told_with_the_layer():
    net, x, y = Net(), images((4, *SHAPE[1:])), np.arange(4)
    net.layer1[1].conv2.weight.value = np.full_like(net.layer1[1].conv2.weight.value, np.inf)
    with pytest.raises(FloatingPointError, match=r"first not finite: layer layer1\.1\.conv2 \(Conv2d\(5, 5"):
        train.fit(net, (x, y), epochs=1, verbose=0)


def test_layers_in_lists_and_dicts_have_names():
    class Listed(Module):
        def __init__(self):
            self.stages = [[Linear(2, 2)], [Linear(2, 2), Linear(2, 2)]]
            self.heads = {"left": Linear(2, 3), "right": Linear(2, 3)}

        def forward(self, x):
            for stage in self.stages:
                for layer in stage:
                    x = F.relu(layer(x))
            return self.heads["left"](x), self.heads["right"](x)

    names = [name for name, _ in Listed().named_parameters() if name.endswith("weight")]
    assert names == ["stages.0.0.weight", "stages.1.0.weight", "stages.1.1.weight", "heads.left.weight", "heads.right.weight"]


def test_a_module_is_trained_saved_and_summed_up_as_a_layer(tmp_path):
    net, x, y = Net(), images((8, *SHAPE[1:])), np.arange(8) % 4
    optimizer = optim.SGD(net.parameters(), 0.05, momentum=0.9)
    values = [train.step(net, x, y, losses.cross_entropy, optimizer) for _ in range(8)]
    assert values[-1] < values[0]
    assert len(train.fit(net, (x, y), epochs=1, verbose=0)) == 1
    fc.save(net, tmp_path / "net.npz")
    other = Net(seed=1)
    other.load_state_dict(fc.load(tmp_path / "net.npz"))
    np.testing.assert_array_equal(other(x), net(x))
    assert train.evaluate(other, x, y) == train.evaluate(net, x, y)
    assert net.output_shape(SHAPE) == net(images()).shape == (3, 4)
    summary = net.summary(SHAPE)
    assert summary.parameters == net.num_parameters
    assert [row.name for row in summary.rows][:4] == ["conv1", "F", "pool", "layer1.0.conv1"]
    assert repr(net).startswith("Net(\n  (conv1): Conv2d(5, 5")
    for again in (copy.deepcopy(net), copy.copy(net)):
        np.testing.assert_array_equal(again(x), net(x))


def test_layers_before_the_first_that_learns_do_not_run_back(monkeypatch):
    net = Net()
    net.conv1.frozen = net.layer1[0].frozen = True
    y, backward = net.forward(images())
    monkeypatch.setattr("fastconv.ops.passes.Pooling.max_grad", None)
    backward(np.ones_like(y), input_grad=False)
    assert not net.conv1.weight.has_grad
    assert net.layer1[1].conv1.weight.has_grad


def test_a_sequential_of_ones_own_runs_as_it_is_written():
    class Doubled(Sequential):
        def forward(self, x, training=True):
            return super().forward(2 * x, training)

    class Outer(Module):
        def __init__(self):
            self.parts = [Doubled(ReLU()), Sequential(ReLU(), fuse=False)]

        def forward(self, x):
            for part in self.parts:
                x = part(x)
            return x

    net, x = Outer(), images()
    np.testing.assert_array_equal(net.forward(x)[0], 2 * np.maximum(x, 0))
    assert [layer for _, layer, _ in net.values(x)] == net.parts


def test_modules_stand_where_layers_do():
    """In a Sequential that notes its layers one by one, in one that does not, in a Residual, in a subclass."""
    rng = np.random.default_rng(1)
    block, x = Block(rng), images()
    alone = results(block, x)
    for outer in (Sequential(block), Sequential(block, fuse=False)):
        block.bn1.load_state_dict(BatchNorm2d(C).state_dict())
        block.bn2.load_state_dict(BatchNorm2d(C).state_dict())
        assert_same(results(outer, x), alone)

    class Outer(Module):
        def __init__(self):
            self.first, self.second = Sequential(block, fuse=False), Residual(Block(rng))

        def forward(self, x):
            return self.second(self.first(x))

    y, backward = Outer().forward(x)
    assert backward(np.ones_like(y)).shape == x.shape
