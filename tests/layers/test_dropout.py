"""Dropout: which elements, by how much, and again the same ones."""

import numba
import numpy as np
import pytest

import fastconv as fc
from fastconv import layers


@pytest.fixture
def x():
    return np.random.default_rng(2).standard_normal((4, 8, 40, 40)).astype(np.float32)


def test_only_training_drops(x):
    """`y = model(x)` infers: no dropout."""
    layer = layers.Dropout(0.5)
    state = layer.stream.state()
    np.testing.assert_array_equal(layer(x), x)
    y, backward = layer.forward(x, training=False)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(backward(x), x)
    assert layer.stream.state() == state, "inference draws nothing"
    assert (layer.forward(x)[0] == 0).any()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.75])
def test_a_share_p_is_zero_and_the_rest_is_scaled(x, p):
    y, _ = layers.Dropout(p).forward(x)
    dropped = y == 0
    np.testing.assert_array_equal(y[~dropped], x[~dropped] * np.float32(1 / (1 - p)))
    five_sigma = 5 * np.sqrt(p * (1 - p) / x.size)
    assert abs(dropped.mean() - p) < five_sigma
    in_each_channel = dropped.mean(axis=(0, 2, 3))
    assert np.abs(in_each_channel - p).max() < five_sigma * np.sqrt(8)


def test_p_0_changes_nothing(x):
    np.testing.assert_array_equal(layers.Dropout(0).forward(x)[0], x)


def test_backward_uses_the_same_mask(x):
    layer = layers.Dropout(0.3)
    dy = np.random.default_rng(3).standard_normal(x.shape).astype(np.float32)
    y, backward = layer.forward(x)
    layer.forward(x)  # another mask in between
    np.testing.assert_array_equal(backward(dy), np.where(y == 0, 0, dy * np.float32(1 / 0.7)))


def test_each_pass_has_a_mask_of_its_own(x):
    layer = layers.Dropout(0.5)
    first, second = (layer.forward(x)[0] == 0 for _ in range(2))
    assert abs((first == second).mean() - 0.5) < 5 * 0.5 / np.sqrt(x.size)


def test_two_layers_have_masks_of_their_own(x):
    first, second = (layers.Dropout(0.5).forward(x)[0] == 0 for _ in range(2))
    assert abs((first == second).mean() - 0.5) < 5 * 0.5 / np.sqrt(x.size)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
def test_the_same_bits_for_1_and_2_threads(x, threads):
    """Bitwise equal results for any thread count."""
    results = []
    for n in (1, 2):
        threads(n)
        fc.seed(4)
        results.append(layers.Dropout(0.5).forward(x)[0])
    np.testing.assert_array_equal(*results)


def test_the_same_bits_for_any_memory_layout(x):
    """Bitwise equal results for any memory layout of the inputs."""
    layer = layers.Dropout(0.5)
    state = layer.stream.state()
    expected, _ = layer.forward(x)
    for same in (np.asfortranarray(x), np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), np.flip(np.flip(x, 2).copy(), 2)):
        layer.stream.restore(state)
        np.testing.assert_array_equal(layer.forward(same)[0], expected)


def test_resumes_through_its_streams_state(x):
    """Resuming gives the same bits as never having stopped (random streams)."""
    layer = layers.Dropout(0.5)
    layer.forward(x)
    state = layer.stream.state()
    expected = [layer.forward(x)[0] for _ in range(2)]
    other = layers.Dropout(0.5)
    other.stream.restore(state)
    for y in expected:
        np.testing.assert_array_equal(other.forward(x)[0], y)


def test_seed_and_rng_make_the_masks_reproducible(x):
    def mask(rng=None):
        return layers.Dropout(0.5, rng=rng).forward(x)[0] == 0

    fc.seed(8)
    first = mask()
    fc.seed(8)
    np.testing.assert_array_equal(mask(), first)
    np.testing.assert_array_equal(mask(np.random.default_rng(1)), mask(np.random.default_rng(1)))


@pytest.mark.parametrize("p", [-0.1, 1, 1.5, np.nan, np.inf])
def test_p_out_of_bounds(p):
    with pytest.raises(ValueError, match="p must be in 0 <= p < 1"):
        layers.Dropout(p)


@pytest.mark.parametrize("p", [True, None, "0.5", [0.5]])
def test_p_must_be_a_number(p):
    with pytest.raises(TypeError, match="p must be a number"):
        layers.Dropout(p)


@pytest.mark.parametrize(
    ("kind", "shape"), [(layers.Dropout1d, (40, 30, 6)), (layers.Dropout2d, (40, 30, 3, 2)), (layers.Dropout3d, (40, 30, 2, 2, 2))]
)
def test_whole_channels_drop_together(kind, shape):
    rng = np.random.default_rng(5)
    x, dy = rng.standard_normal((2, *shape), np.float32)
    layer = kind(0.25, rng=rng)
    y, backward = layer.forward(x)
    spatial = tuple(range(2, len(shape)))
    dropped = (y == 0).all(spatial)
    np.testing.assert_array_equal(y, np.where(np.expand_dims(dropped, spatial), 0, x * np.float32(1 / 0.75)))
    np.testing.assert_array_equal(backward(dy), np.where(np.expand_dims(dropped, spatial), 0, dy * np.float32(1 / 0.75)))
    assert abs(dropped.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / dropped.size)
    assert (dropped != (layer.forward(x)[0] == 0).all(spatial)).any(), "each pass has its own"
    np.testing.assert_array_equal(layer(x), x)
    with pytest.raises(ValueError, match=rf"^{kind.__name__}: x must have {len(shape)} axes"):
        layer(x[..., 0])
    with pytest.raises(ValueError, match=rf"^{kind.__name__}: p must be in 0 <= p < 1, got 1"):
        kind(1)


def test_a_stream_set_back_drops_the_same_channels():
    x, layer = np.ones((4, 20, 2, 2), np.float32), layers.Dropout2d(0.5)
    state = layer.stream.state()
    first = layer.forward(x)[0]
    layer.stream.restore(state)
    np.testing.assert_array_equal(layer.forward(x)[0], first)
