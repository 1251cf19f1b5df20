"""Passes that are noted and made again: of every layer, to the same bits as by the layers."""

import copy
import gc
import weakref

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv import layers
from fastconv.layers import Sequential
from fastconv.layers.reshape import Scale
from fastconv.train import replay
from fastconv.train.steps import add_gradients
from tests.layers.test_layers import CASES
from tests.train.replays import SHAPE, STEPS, assert_same, by_layers, compared, loss, net, normal, noted, state

pytestmark = pytest.mark.usefixtures("one_thread")


def before(shape) -> layers.Layer:
    """What has parameters and keeps the shape."""
    kinds = {2: layers.BatchNorm1d, 3: layers.BatchNorm1d, 4: layers.BatchNorm2d, 5: layers.BatchNorm3d}
    return kinds[len(shape)](shape[1])


OTHERS = [
    (layers.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 4, 5, 4)),
    (layers.ConvTranspose1d(3, 2, 2, bias=False), (2, 3, 6)),
    (layers.ConvTranspose3d(2, 3, 2, stride=2), (2, 2, 2, 3, 2)),
    (layers.Conv2d(8, 8, 3, padding=1, groups=8), (2, 8, 6, 6)),
    (layers.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"), (4, 16, 8, 8)),
    (layers.AdaptiveAvgPool2d((2, 3)), (2, 3, 5, 7)),
    (layers.AdaptiveMaxPool2d(2), (2, 3, 5, 6)),
    (layers.AdaptiveMaxPool1d(2), (2, 3, 5)),
    (layers.AdaptiveAvgPool3d(1), (2, 3, 2, 4, 5)),
    (layers.Pad(1, "replicate"), (2, 3, 4, 5)),
    (layers.Upsample(scale_factor=2, mode="bilinear"), (2, 3, 4, 5)),
    (layers.Reshape(3, -1), (2, 3, 4, 5)),
    (layers.LayerNorm((3, 4, 5)), (2, 3, 4, 5)),
    (layers.GroupNorm(3, 6), (2, 6, 4, 5)),
    (layers.Dropout1d(0.5), (2, 3, 4)),
    (layers.Dropout3d(0.5), (2, 3, 4, 2, 2)),
    (layers.Softmax(), (4, 5)),
    (layers.SiLU(), (2, 3, 4, 5)),
    (layers.Hardswish(), (2, 3, 4, 5)),
    (layers.InstanceNorm1d(3, affine=True), (2, 3, 6)),
    (layers.InstanceNorm3d(3), (2, 3, 4, 2, 2)),
    (Scale(2, 1), (2, 3, 4, 5)),
    (Sequential(layers.BatchNorm2d(3), layers.ReLU(), layers.MaxPool2d(2)), (2, 3, 6, 6)),
    (Sequential(layers.Residual(Sequential(layers.Conv2d(3, 3, 3, padding=1), layers.BatchNorm2d(3))), layers.ReLU()), (2, 3, 6, 6)),
    (Sequential(layers.Dropout(0.5), layers.Flatten(), layers.Linear(24, 5)), (2, 3, 2, 4)),
]
every_layer = pytest.mark.parametrize(("layer", "shape"), CASES + OTHERS, ids=lambda case: repr(case).replace("\n", ""))


@every_layer
def test_what_is_noted_does_what_the_layers_do(layer, shape):
    assert noted(compared(Sequential(before(shape), layer, layers.Identity()), shape)) == 1
    only = compared(Sequential(layer), shape)
    assert noted(only) or isinstance(layer, (layers.Identity, layers.Flatten, layers.Reshape))  # whose output is x


@pytest.mark.parametrize("algorithm", ["plain", "reference"])
def test_passes_that_are_not_launches_alone_are_noted(algorithm):
    with fc.algorithm(algorithm):
        reflecting = layers.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
        body = (layers.ReLU(), layers.MaxPool2d(3, stride=2), layers.ConvTranspose2d(4, 2, 2), layers.AvgPool2d(2), layers.Flatten())
        assert noted(compared(Sequential(before((2, 3)), layers.Linear(3, 3)), (2, 3))) == 1
        assert noted(compared(Sequential(layers.BatchNorm2d(3), reflecting, *body, layers.Linear(2, 3)), (2, 3, 6, 6))) == 1


def test_every_layer_is_here():
    kinds = {type(inside) for layer, _ in CASES + OTHERS for inside in layer.modules()}
    ours = {kind for kind in vars(layers).values() if isinstance(kind, type) and issubclass(kind, layers.Layer)}
    same = {layers.AdaptiveMaxPool3d: layers.AdaptiveMaxPool2d, layers.AdaptiveAvgPool1d: layers.AdaptiveAvgPool2d}  # one class, another rank
    assert ours - kinds - same.keys() <= {layers.Layer, *replay.NOT_NOTED}


def test_joins_of_a_module():
    class Net(fc.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (layers.Conv2d(3, 4, 3, padding=1) for _ in range(2))
            self.norm, self.gate = layers.BatchNorm2d(4), layers.Linear(4, 4)

        def forward(self, x):
            x = F.relu(self.norm(self.a(x)) + self.b(x))
            gate = F.sigmoid(self.gate(x.mean((2, 3)))).view(-1, 4).view(-1, 4, 1, 1)
            return F.cat([x * gate, x - gate, x])

    assert noted(compared(Net(), (2, 3, 5, 6))) == 1


@pytest.mark.parametrize(
    "batches",
    [
        np.asfortranarray,
        lambda x: x.transpose(0, 1, 3, 2),
        lambda x: np.frombuffer(b"0" + x.tobytes(), np.uint8, offset=1).view(np.float32).reshape(x.shape),  # not aligned
        lambda x: x[::-1],
    ],
    ids=["Fortran", "transposed", "unaligned", "from the end"],
)
def test_batches_that_lie_otherwise(batches):
    compared(net(), SHAPE, batches=batches)


def test_batches_of_two_sizes_are_noted_both():
    sizes = iter((4, 3, 4, 3))
    model = compared(net(), SHAPE, batches=lambda x: x[: next(sizes)])
    assert noted(model) == 2


def test_in_turn_what_lies_as_it_was_noted_and_what_does_not():
    model = net()
    for step in range(2):
        add_gradients(model, normal(SHAPE, step), normal((4, 3), step), loss)
    plain = by_layers(copy.deepcopy(model))
    for step, order in enumerate("CFCF"):
        dy = np.asarray(normal((4, 3), step), order=order)
        results = [add_gradients(each, normal(SHAPE, step), dy, lambda outputs, targets: (0.0, targets)) for each in (plain, model)]
        assert_same(state(model, results[1][1]), state(plain, results[0][1]))
    assert noted(model) == 1


class TwoLinears(fc.Module):
    def __init__(self):
        self.first, self.second = layers.Linear(4, 5), layers.Linear(5, 3)

    def forward(self, x):
        return self.second(F.relu(self.first(x)))


@pytest.mark.parametrize(("model", "shape"), [(net(), SHAPE), (TwoLinears(), (4, 4))], ids=["Sequential", "Module"])
def test_other_models_change_nothing(model, shape):
    """Layers that are made, or set, between steps, and are not the model's: what was noted stays."""
    other, seen = layers.Dropout(0.25), []
    for step in range(STEPS):
        model.zero_grad()
        add_gradients(model, normal(shape, step), normal((4, 3), step), loss)
        seen.append([kind for kind in vars(model)["_replays"]._kinds.values() if isinstance(kind, replay.Noted)])
        other.p = step / 10
        net()
    assert [len(kinds) for kinds in seen] == [0, 1, 1, 1]
    assert seen[1] == seen[2] == seen[3]


@pytest.mark.parametrize(("make", "shape"), [(net, SHAPE), (TwoLinears, (4, 4))], ids=["Sequential", "Module"])
def test_a_model_goes_without_garbage_collection(make, shape):
    """Its own notes do not hold it: no memory waits for the collector, and none of the models that keep notes is one of the dead."""
    gc.disable()
    try:
        model = make()
        for step in range(STEPS):
            add_gradients(model, normal(shape, step), normal((4, 3), step), loss)
        gone = weakref.ref(model)
        del model
        assert gone() is None
    finally:
        gc.enable()
