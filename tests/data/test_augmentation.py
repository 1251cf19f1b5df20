"""Mirrored, moved, noisy, normalised batches against plain NumPy, and what chance must look like."""

import json
from statistics import NormalDist

import numba
import numpy as np
import pytest

import fastconv as fc
from fastconv import data, streams
from fastconv.data.batches import quarter_normals
from fastconv.streams import mix

STEP = 0x9E3779B97F4A7C15
EVERYTHING = {"shift": 2, "flip": 0.5, "noise": 0.25}


@pytest.fixture
def images():
    return np.random.default_rng(1).uniform(1, 2, (23, 3, 5, 4)).astype(np.float32)


def passes(x, batch_size=6, count=1, **words):
    """(images of `count` passes in the order they came, their numbers in x)"""
    batches = data.Batches(x, np.arange(len(x)), batch_size, stream=streams.Stream(7), **words)
    pairs = [pair for _ in range(count) for pair in batches]
    return np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])


def by_hand(image, plan, noise, normalise):
    """One image (C, H, W) as the plan says, in NumPy and Python integers."""
    C, H, W = image.shape
    down, right, mirror, key = (int(part) for part in plan)
    image = image[:, :, ::-1] if mirror else image
    border = max(abs(down), abs(right))
    image = np.pad(image, ((0, 0), (border, border), (border, border)))[:, border - down :, border - right :][:, :H, :W]
    if noise:
        table = (quarter_normals() * noise).astype(image.dtype)
        numbers = [mix((key + e * STEP) % 2**64) for e in range(image.size)]
        a, b, c, d = (np.array([table[number >> 16 * i & 1023] for number in numbers]) for i in range(4))
        image = image + ((a + b) + (c + d)).reshape(H, W, C).transpose(2, 0, 1)
    return normalise(image[None])[0] if normalise else image


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "words", [{"flip": 0.5}, {"noise": 0.25}, {"normalise": True}, {"shift": 1, "noise": 3}, EVERYTHING | {"normalise": True}], ids=str
)
def test_each_change_is_plain_numpys_to_the_bit(images, words, dtype):
    x = images.astype(dtype)
    words = words | ({"normalise": data.Normalise.of(x)} if "normalise" in words else {})
    batches = data.Batches(x, np.arange(23), 6, stream=streams.Stream(7), **words)
    order, plans = data.Batches(x, np.arange(23), 6, stream=streams.Stream(7), **words)._plan(streams.Stream(7).generator())
    got = np.concatenate([x for x, _ in batches])
    assert got.dtype == dtype
    for image, number, plan in zip(got, order, plans):
        np.testing.assert_array_equal(image, by_hand(x[number], plan, words.get("noise"), words.get("normalise")))


def test_nothing_wanted_changes_nothing(images):
    got, order = passes(images, shift=0, flip=0, noise=0, normalise=None)
    np.testing.assert_array_equal(got, images[order])


def test_a_share_of_flips_is_mirrored(images):
    got, order = passes(images, count=60, flip=0.3)
    mirrored = (got == images[order][..., ::-1]).all(axis=(1, 2, 3))
    same = (got == images[order]).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all(), "images of random pixels tell"
    assert abs(mirrored.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / len(got))
    per_image = np.bincount(order, mirrored) / 60
    assert np.abs(per_image - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 60), "not always the same ones"


@pytest.mark.parametrize("flip", [0, 1])
def test_flip_0_never_and_1_always(images, flip):
    got, order = passes(images, count=3, flip=flip)
    np.testing.assert_array_equal(got, images[order][..., ::-1] if flip else images[order])


def test_noise_is_normal_and_independent():
    """Moments, tails and neighbours of 800,000 numbers, each within five standard errors; the quantiles by Kolmogorov and Smirnov."""
    x = np.zeros((100, 2, 20, 20), np.float32)
    z, _ = passes(x, count=10, noise=0.5)
    z = z.astype(np.float64) / 0.5
    n = z.size
    # the variances of the moments of a normal distribution: 1, 2, 15, 96, over n; the table's kurtosis is 0.007 below 3
    for power, moment, variance, bias in ((1, 0, 1, 0), (2, 1, 2, 0), (3, 0, 15, 0), (4, 3, 96, 0.007)):
        assert abs((z**power).mean() - moment) < 5 * np.sqrt(variance / n) + bias
    for axis in range(4):
        neighbours = np.moveaxis(z, axis, 0)
        product = neighbours[1:] * neighbours[:-1]
        assert abs(product.mean()) < 5 / np.sqrt(product.size)
    grid = np.sort(z.reshape(-1))
    at = np.linspace(-4, 4, 81)
    expected = np.array([NormalDist().cdf(value) for value in at])
    assert np.abs(np.searchsorted(grid, at) / n - expected).max() < 2 / np.sqrt(n)
    assert 4 < np.abs(z).max() < 6.7, "tails there are"


def test_noise_of_no_two_images_or_passes_is_alike():
    z, _ = passes(np.zeros((30, 1, 8, 8), np.float32), count=4, noise=1)
    rows = z.reshape(120, 64).astype(np.float64)
    correlation = rows @ rows.T / 64 - np.eye(120)
    assert np.abs(correlation[~np.eye(120, dtype=bool)]).max() < 6 / np.sqrt(64)
    assert len(np.unique(rows, axis=0)) == 120


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
def test_the_same_bits_for_1_and_2_threads(images, threads):
    """Bitwise equal results for any thread count."""
    results = []
    for n in (1, 2):
        threads(n)
        results.append(passes(images, **EVERYTHING, normalise=data.Normalise.of(images))[0])
    np.testing.assert_array_equal(*results)


def test_the_same_bits_for_any_batch_size(images):
    first, *others = (passes(images, size, **EVERYTHING)[0] for size in (1, 5, 23, 100))
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_a_restored_stream_repeats_everything(images):
    """Resuming gives the same bits as never having stopped."""
    batches = data.Batches(images, np.arange(23), 6, stream=streams.Stream(3), **EVERYTHING)
    list(batches)
    state = batches.stream.state()
    expected = [x for x, _ in batches]
    other = data.Batches(images, np.arange(23), 6, stream=streams.Stream(99), **EVERYTHING)
    other.stream.restore(state)
    for (x, _), same in zip(other, expected, strict=True):
        np.testing.assert_array_equal(x, same)


def test_a_wish_draws_nothing_for_the_others(images):
    """Order and moves are those without noise: what a seed gave before there was noise it gives now."""
    plain, order = passes(images, shift=1)
    noisy, same_order = passes(images, shift=1, noise=1e-6)
    np.testing.assert_array_equal(order, same_order)
    np.testing.assert_allclose(noisy, plain, atol=1e-5)


@pytest.mark.parametrize("shape", [(23, 6), (23, 3, 7), (23, 3, 2, 3, 4)])
def test_noise_and_normalisation_take_any_rank(shape):
    x = np.random.default_rng(2).uniform(-3, 9, shape).astype(np.float32)
    normalise = data.Normalise.of(x)
    got, order = passes(x, normalise=normalise)
    np.testing.assert_array_equal(got, normalise(x)[order])
    noise = passes(x, noise=0.5)[0] - x[order]
    assert 0.3 < noise.std() < 0.7


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normalised_channels_have_mean_0_and_deviation_1(dtype):
    """2500 examples: more than two pieces."""
    x = (np.random.default_rng(3).standard_normal((2500, 3, 4, 5)) * [[[1e-3]], [[1]], [[50]]] + [[[1000]], [[0]], [[-3]]]).astype(dtype)
    normalise = data.Normalise.of(x)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(normalise.mean, exact.mean(axis=(0, 2, 3)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(normalise.std, exact.std(axis=(0, 2, 3)), rtol=1e-11)
    y = normalise(x)
    assert y.dtype == dtype
    tolerance = 1e-8 if dtype == np.float64 else 0.05  # float32 knows 1000 to 3e-5, 0.03 of the first channel's deviation
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3), dtype=np.float64), 0, atol=tolerance)
    np.testing.assert_allclose(y.std(axis=(0, 2, 3), dtype=np.float64), 1, atol=tolerance)


def test_normalisation_goes_through_json_to_the_bit(images):
    normalise = data.Normalise.of(images)
    again = data.Normalise(**json.loads(json.dumps(vars(normalise))))
    assert again == normalise
    np.testing.assert_array_equal(again(images), normalise(images))


def test_a_constant_channel_becomes_0():
    x = np.full((4, 2, 3, 3), 0.1, np.float32)
    x[:, 1] = np.arange(9).reshape(3, 3)
    normalise = data.Normalise.of(x)
    assert normalise.std[0] == 1
    np.testing.assert_array_equal(normalise(x)[:, 0], 0)


def test_what_changes_are_made_of_is_checked(images):
    labels = np.arange(23)
    for name, wrong, most in (("flip", -0.1, "1"), ("flip", 1.5, "1"), ("flip", np.nan, "1"), ("noise", -1, "3.4e.38"), ("noise", np.inf, "3.4e.38")):
        with pytest.raises(ValueError, match=f"^Batches: {name} must be between 0 and {most}, got {wrong}"):
            data.Batches(images, labels, 4, **{name: wrong})
    for name in ("flip", "noise"):
        for wrong in (True, "1", None, [0.5]):
            with pytest.raises(TypeError, match=f"^Batches: {name} must be a number, got "):
                data.Batches(images, labels, 4, **{name: wrong})
    with pytest.raises(ValueError, match=r"^Batches: flip needs images \(N, C, H, W\), got x\(23, 60\)"):
        data.Batches(images.reshape(23, -1), labels, 4, flip=0.5)
    with pytest.raises(TypeError, match=r"^Batches: normalise must be a data\.Normalise, got dict"):
        data.Batches(images, labels, 4, normalise={})
    with pytest.raises(ValueError, match=r"^Batches: normalise has 2 channels; got x\(23, 3, 5, 4\)"):
        data.Batches(images, labels, 4, normalise=data.Normalise([0, 0], [1, 1]))


def test_what_normalisation_is_made_of_is_checked(images):
    for mean, std, message in (
        ([0], [1, 2], "one number per channel, got 1 and 2"), ([], [], "one number per channel"),
        ([0], [0], "std must be above 0"), ([np.nan], [1], "mean must be finite"), ([0], [np.inf], "std must be finite"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"^Normalise: .*{message}"):
            data.Normalise(mean, std)
    for wrong in (0.5, "1", None, [[1]], [True]):
        with pytest.raises(TypeError, match="Normalise: mean must be a list of numbers"):
            data.Normalise(wrong, [1])
    with pytest.raises(ValueError, match=r"^Normalise: normalise has 3 channels; got x\(2, 1, 5, 4\)"):
        data.Normalise.of(images)(images[:2, :1])
    with pytest.raises(ValueError, match=r"^Normalise.of: x must be \(N, C, ...\) with N >= 1, got \(0, 3, 5, 4\)"):
        data.Normalise.of(images[:0])
    images[3, 1, 2, 2] = np.nan
    with pytest.raises(ValueError, match=r"^Normalise\.of: x holds NaN or Inf"):
        data.Normalise.of(images)


def test_the_seed_of_fastconv_decides(images):
    def run():
        return np.concatenate([x for x, _ in data.Batches(images, np.arange(23), 6, **EVERYTHING)])

    fc.seed(5)
    first, second = run(), run()
    fc.seed(5)
    np.testing.assert_array_equal(run(), first)
    assert not np.array_equal(first, second)
