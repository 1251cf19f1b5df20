"""The named nets, their summaries and their copies."""

import copy

import numpy as np
import pytest

from fastconv import layers, losses, models, optim, train

SHAPES = {"small_cnn": (2, 1, 8, 8), "lenet5": (2, 1, 28, 28), "keras_mnist": (2, 1, 28, 28), "ds_cnn": (2, 1, 49, 10)}
# Counted by hand from the papers' layers; resnet20 and its 1x1 shortcuts have 272,474 in many places.
PARAMETERS = {"lenet5": 61_706, "keras_mnist": 34_826, "resnet20": 272_474, "resnet8": 78_042}
every_model = pytest.mark.parametrize("name", models.MODELS)


@every_model
def test_a_step_of_training(name):
    model, shape = models.MODELS[name](), SHAPES.get(name, (2, 3, 32, 32))
    classes = 12 if name == "ds_cnn" else 10
    assert model.output_shape(shape) == (2, classes)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(shape).astype(np.float32), np.array([1, 7])
    before = model.state_dict()
    assert np.isfinite(train.step(model, x, y, losses.cross_entropy, optim.SGD(model.parameters(), 0.1)))
    after = model.state_dict()
    assert all((before[name] != after[name]).any() for name, _ in model.named_parameters())
    assert np.isfinite(model(x)).all()


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_numbers_of_parameters(name, count):
    assert sum(p.size for p in models.MODELS[name]().parameters()) == count


@every_model
def test_images_that_are_not_square(name):
    N, _, H, W = SHAPES.get(name, (2, 3, 32, 32))
    model = models.MODELS[name](2, (H + 3, W + 9), 5)
    assert model(np.ones((N, 2, H + 3, W + 9), np.float32)).shape == (2, 5)


def test_images_that_are_too_small():
    for name in ("small_cnn", "lenet5", "keras_mnist", "vgg_small"):
        with pytest.raises(ValueError, match=f"{name}: images of size 1 are too small"):
            models.MODELS[name](size=1)


def test_summary_adds_up():
    """MACs by hand: output positions times weights, for each convolution and linear layer."""
    model = models.resnet8(3, 32, 10)
    found = model.summary((4, 3, 32, 32))
    assert found.parameters == sum(p.size for p in model.parameters())
    macs = 4 * (
        1024 * (3 * 16 * 9 + 2 * 16 * 16 * 9) + 256 * (16 * 32 * 9 + 32 * 32 * 9 + 16 * 32) + 64 * (32 * 64 * 9 + 64 * 64 * 9 + 32 * 64) + 640
    )
    assert found.macs == macs
    by_name = {row.name: row for row in found.rows}
    assert by_name["5.shortcut.0"].output_shape == (4, 32, 16, 16)
    assert by_name["5.shortcut.0"].bytes == 4 * 32 * 16 * 16 * 4
    lines = str(found).splitlines()
    assert len(lines) == len(found.rows) + 4
    assert f"{macs:,}" in lines[-1]


def test_summary_counts_shared_parameters_once_and_raises_where_forward_would():
    conv = layers.Conv2d(3, 3, 3, padding=1)
    assert layers.Sequential(conv, layers.ReLU(), conv).summary((1, 3, 5, 5)).parameters == 84
    with pytest.raises(ValueError, match="Conv2d"):
        layers.Sequential(conv).summary((1, 4, 5, 5))


def test_a_deep_copy_is_a_model_of_its_own():
    """Its parameters are trained, not leftovers of the first model's flat buffer."""
    model = layers.Sequential(layers.Conv2d(1, 2, 3), layers.BatchNorm2d(2), layers.Flatten(), layers.Linear(2 * 4, 3))
    again = copy.deepcopy(model)
    x, y = np.ones((2, 1, 4, 4), np.float32) + np.arange(2, dtype=np.float32).reshape(2, 1, 1, 1), np.array([0, 2])
    first = model.state_dict()
    train.step(again, x, y, losses.cross_entropy, optim.SGD(again.parameters(), 0.1))
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, first[name])
    assert all((again.state_dict()[name] != first[name]).any() for name, _ in model.named_parameters() if "0.bias" not in name)
