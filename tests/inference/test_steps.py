"""What a compiled model is made of: which layers become one step, and which values share memory."""

import math

import pytest

import fastconv as fc
from fastconv import layers, models
from fastconv.inference.graph import Graph
from fastconv.inference.program import share


def steps(model: layers.Layer, shape: tuple[int, ...]) -> list[tuple[str, str]]:
    return [(type(node.step).__name__, node.step.names) for node in Graph(model, shape).nodes]


def test_neighbors_become_one_step():
    assert steps(models.vgg_small(3, 8), (1, 3, 8, 8)) == [
        ("Convolve", "0 + 1 + 2"), ("Convolve", "3 + 4 + 5"), ("MaxPool", "6"), ("Convolve", "7 + 8 + 9"), ("Convolve", "10 + 11 + 12"),
        ("MaxPool", "13"), ("Convolve", "14 + 15 + 16"), ("Convolve", "17 + 18 + 19"), ("MaxPool", "20"), ("Convolve", "22"),
    ]  # fmt: skip
    assert [kind for kind, _ in steps(models.keras_mnist(), (1, 1, 28, 28))] == ["Convolve", "MaxPool"] * 2 + ["Convolve"]


def test_a_residual_and_its_relu_are_one_step():
    conv, norm = layers.Conv2d(4, 4, 3, padding=1), layers.BatchNorm2d(4)
    block = layers.Residual(layers.Sequential(norm, layers.ReLU(), conv, norm), layers.Sequential(layers.Conv2d(4, 4, 1), norm))
    assert steps(layers.Sequential(block, layers.Dropout(), layers.ReLU(), layers.ReLU()), (1, 4, 5, 5)) == [
        ("Normalize", "0.body.0 + 0.body.1"), ("Convolve", "0.body.2 + 0.body.3"), ("Convolve", "0.shortcut.0 + 0.shortcut.1"), ("Add", "0 + 2"),
        ("Map", "3"),
    ]  # fmt: skip


def test_relu_goes_with_the_pooling_before_or_after_it():
    pool, shape = layers.MaxPool2d(2), (1, 4, 8, 8)
    assert steps(layers.Sequential(layers.ReLU(), pool, pool, layers.ReLU()), shape) == [("MaxPool", "0 + 1"), ("MaxPool", "2 + 3")]
    large = layers.MaxPool2d(17, stride=1)
    assert [kind for kind, _ in steps(layers.Sequential(layers.ReLU(), large, layers.ReLU()), (1, 4, 18, 18))] == ["Map", "MaxPool", "Map"]


def test_transposed_convolutions_take_bias_norm_and_relu_in_one_pass():
    up, norm, shape = layers.ConvTranspose2d(4, 4, 2), layers.BatchNorm2d(4), (1, 4, 5, 5)
    assert steps(layers.Sequential(up, norm, layers.ReLU()), shape) == [("ConvolveBack", "0"), ("Normalize", "1 + 2")]
    assert steps(layers.Sequential(up, layers.ReLU()), shape) == [("ConvolveBack", "0"), ("Normalize", "0 + 1")]
    assert steps(layers.Sequential(layers.ConvTranspose2d(4, 4, 2, bias=False)), shape) == [("ConvolveBack", "0")]


def test_what_may_not_be_merged_is_not():
    conv, norm = layers.Conv2d(4, 4, 3, padding=1), layers.BatchNorm2d(4)
    assert [kind for kind, _ in steps(layers.Sequential(conv, norm, layers.ReLU(), fuse=False), (1, 4, 5, 5))] == ["Convolve", "Normalize", "Map"]
    of_batch = layers.BatchNorm2d(4, track_running_stats=False)
    assert steps(layers.Sequential(conv, of_batch, layers.ReLU()), (1, 4, 5, 5)) == [("Convolve", "0"), ("Normalize", "1 + 2")]

    class Own(layers.Conv2d):
        """May do anything in its forward pass."""

    assert [kind for kind, _ in steps(layers.Sequential(Own(4, 4, 3), norm), (1, 4, 5, 5))] == ["Ask", "Normalize"]


def test_flatten_copies_only_where_its_order_is_asked_for():
    shape, linear = (1, 4, 5, 5), layers.Linear(100, 3)
    assert steps(layers.Sequential(layers.Flatten(), layers.ReLU(), layers.Dropout(), linear), shape) == [("Map", "1"), ("Convolve", "3")]
    assert [kind for kind, _ in steps(layers.Sequential(layers.Flatten(), layers.Softmax(), linear), shape)] == ["Rows", "Ask", "Convolve"]
    assert steps(layers.Flatten(), (1, 1, 5, 5)) == steps(layers.Flatten(), (1, 4, 1, 1)) == []


def _unet() -> layers.Layer:
    deep = layers.Sequential(layers.MaxPool2d(2), layers.Conv2d(8, 16, 3, padding=1), layers.ConvTranspose2d(16, 8, 2, stride=2))
    return layers.Sequential(layers.Conv2d(3, 8, 3, padding=1), layers.Concat(layers.Sequential(), deep), layers.Conv2d(16, 3, 1))


@pytest.mark.parametrize("model", [models.resnet20(), models.mobilenet_v1(), _unet()], ids=("resnet20", "mobilenet", "unet"))
def test_no_value_lies_in_memory_that_another_still_needs(model):
    graph = Graph(model, (1, 3, 32, 32))
    where, sizes = share(graph)
    for i, node in enumerate(graph.nodes):
        later = {value.number for after in graph.nodes[i:] for value in after.inputs} | {graph.output.number}
        alive = {value.number for before in graph.nodes[:i] for value in (before.output,)} | {0}
        assert where[node.output.number] not in {where[number] for number in later & alive}
        assert all(sizes[where[value.number]] >= math.prod(value.shape) for value in (*node.inputs, node.output))
    assert len(sizes) <= 5


def test_the_summary_says_what_runs():
    report = fc.compile(models.resnet8(3, 16), (2, 3, 16, 16)).summary()
    text = str(report)
    assert "3 + 4" in text
    assert "Residual + ReLU()" in text
    assert {row.algorithm for row in report.rows} == {"", "direct", "winograd"}
    assert report.rows[0].output_shape == (2, 16, 16, 16)
    assert report.bytes < sum(row.bytes for row in report.rows) / 2
    assert "in memory" in text.splitlines()[-1]
    assert repr(fc.compile(layers.Linear(3, 2), (1, 3))) == "<compiled Linear: (1, 3) -> (1, 2), 1 steps>"
