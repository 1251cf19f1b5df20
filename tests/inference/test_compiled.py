"""What a compiled model answers: the model's numbers, for every layer, batch and layout."""

import numpy as np
import pytest
from settled import draw, settled

import fastconv as fc
from fastconv import layers, models
from fastconv.ops.layout import activation

SIZES = {"small_cnn": (1, 8), "lenet5": (1, 28), "keras_mnist": (1, 28), "ds_cnn": (1, (20, 10))}  # of the others: 3 channels, 16


def assert_close(found: np.ndarray, expected: np.ndarray, dtype=np.float32) -> None:
    """Folding and the order of sums change roundings; a net adds those of its layers up."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert found.strides == expected.strides
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize("name", models.MODELS)
def test_every_named_net_gives_what_it_gave(name):
    channels, size = SIZES.get(name, (3, 16))
    model = settled(models.MODELS[name](channels, size, **({"width": 0.25} if name == "mobilenet_v1" else {})))
    H, W = (size, size) if isinstance(size, int) else size
    x = draw((2, channels, H, W))
    fast = fc.compile(model, x.shape)
    assert_close(fast(x), model(x))
    assert fast.output_shape == model.output_shape(x.shape)
    np.testing.assert_array_equal(fast(x)[1:], fast(x[1:]))  # another N: the same bits


def kinds() -> dict[str, tuple[layers.Layer, tuple[int, ...]]]:
    """A net for each kind of layer with which nothing is folded: the same bits."""
    found = {}
    for rank in (1, 2, 3):
        size, x = (7, 6, 5)[:rank], (2, 6, 7, 6, 5)[: 2 + rank]
        of = lambda name, *args, rank=rank, **words: getattr(layers, f"{name}{rank}d")(*args, **words)  # noqa: E731
        conv, pool, mean = of("Conv", 6, 8, 3, padding=1), of("MaxPool", 2), of("AvgPool", 2, padding=1)
        found |= {
            f"conv{rank}": (conv, x), f"conv{rank} relu pool": (layers.Sequential(conv, layers.ReLU(), pool), x),
            f"conv{rank} groups stride": (of("Conv", 6, 9, 2, stride=2, groups=3, bias=False), x),
            f"conv{rank} depthwise": (of("Conv", 6, 6, 3, padding=1, groups=6), x),
            f"conv{rank} circular": (of("Conv", 6, 4, 3, padding=1, padding_mode="circular"), x),
            f"transposed{rank}": (layers.Sequential(of("ConvTranspose", 6, 4, 3, stride=2), layers.ReLU()), x),
            f"transposed{rank} without bias": (layers.Sequential(of("ConvTranspose", 6, 4, 2, bias=False), layers.ReLU()), x),
            f"norm{rank}": (of("BatchNorm", 6), x), f"norm{rank} relu": (layers.Sequential(of("BatchNorm", 6), layers.ReLU()), x),
            f"norm{rank} of the batch": (of("BatchNorm", 6, track_running_stats=False), x),
            f"norm{rank}, no affine": (of("BatchNorm", 6, affine=False), x),
            f"max{rank}": (pool, x), f"relu max{rank}": (layers.Sequential(layers.ReLU(), pool), x),
            f"max{rank} relu": (layers.Sequential(pool, layers.ReLU()), x), f"mean{rank}": (mean, x),
            f"adaptive{rank}": (layers.Sequential(of("AdaptiveMaxPool", (4, 3, 2)[:rank]), layers.ReLU(), of("AdaptiveAvgPool", 2)), x),
            f"flatten{rank}": (layers.Flatten(), x), f"flatten relu{rank}": (layers.Sequential(layers.Flatten(), layers.ReLU()), x),
            f"one position{rank}": (layers.Sequential(of("AdaptiveAvgPool", 1), layers.Flatten(), layers.Linear(6, 3)), x),
        }  # fmt: skip
        assert len(size) == rank
    image = (3, 4, 9, 8)
    same = layers.Conv2d(4, 4, 3, padding=1)
    return found | {
        "padded": (layers.Sequential(layers.Pad((1, 2, 0, 1), "reflect"), same, layers.ReLU(), layers.Pad(1, "constant", 2.5)), image),
        "upsampled": (layers.Sequential(same, layers.Upsample(scale_factor=2, mode="bilinear"), layers.ReLU(), layers.Upsample((5, 9))), image),
        "pool options": (
            layers.Sequential(layers.MaxPool2d(3, stride=1, padding="same"), layers.ReLU(), layers.AvgPool2d(2, padding=((0, 2), 1), dilation=2)),
            image,
        ),
        "large window": (layers.Sequential(layers.MaxPool2d(17, stride=1), layers.ReLU()), (1, 2, 20, 19)),
        "linear": (layers.Linear(5, 4), (3, 5)),
        "linear relu": (layers.Sequential(layers.Linear(300, 40), layers.ReLU()), (3, 300)),
        "activations": (layers.Sequential(layers.LeakyReLU(), layers.Tanh(), layers.Sigmoid()), image),
        "more activations": (layers.Sequential(layers.GELU("tanh"), layers.Flatten(), layers.Softplus(2), layers.Softmax(), layers.ELU(0.5)), image),
        "own statistics": (layers.Sequential(layers.GroupNorm(2, 4), layers.InstanceNorm2d(4), layers.SiLU(), layers.LayerNorm((4, 9, 8))), image),
        "nothing to infer": (layers.Sequential(layers.Identity(), layers.Dropout2d(), layers.Lambda(np.sin)), image),
        "nothing": (layers.Sequential(), image),
        "dropout alone": (layers.Dropout(), image),
        "relu alone": (layers.ReLU(), (5,)),
        "flatten of one axis": (layers.Flatten(), (5,)),
        "residual": (layers.Residual(same), image),
        "residual relu": (layers.Sequential(layers.Residual(same, layers.Conv2d(4, 4, 1)), layers.ReLU()), image),
        "residual of nothing": (layers.Sequential(layers.Residual(layers.Sequential()), layers.Residual(layers.ReLU())), image),
        "residual of rows": (layers.Sequential(layers.Flatten(), layers.Residual(layers.ReLU()), layers.Tanh()), image),
        "concat": (layers.Concat(same, layers.Sequential(), layers.Sequential(same, layers.ReLU())), image),
        "concat of rows": (layers.Concat(layers.Flatten(), layers.Sequential(layers.Flatten(), layers.ReLU())), image),
        "the global mean": (layers.GlobalAvgPool2d(), image),
        "not fused": (layers.Sequential(same, layers.BatchNorm2d(4), layers.ReLU(), layers.MaxPool2d(2), fuse=False), image),
        "nested": (layers.Sequential(layers.Sequential(same), layers.Sequential(layers.ReLU(), layers.Sequential(same))), image),
    }


KINDS = kinds()


@pytest.mark.parametrize("name", KINDS)
def test_where_nothing_is_folded_bits_are_the_same(name):
    model, shape = KINDS[name]
    settled(model)
    x = draw(shape)
    fast = fc.compile(model, shape)
    y = model(x)
    for _ in range(2):  # the second call meets what the first left in memory
        found = fast(x)
        np.testing.assert_array_equal(found, y)
        assert found.strides == activation(y.shape, y.dtype).strides  # channels last
        found[...] = 0  # it is the caller's
    assert fast.output_shape == y.shape
    assert str(fast.summary())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_what_is_folded_is_close_in_both_dtypes(rank, dtype):
    conv, transposed, norm = (getattr(layers, f"{name}{rank}d") for name in ("Conv", "ConvTranspose", "BatchNorm"))
    words = {"dtype": dtype}
    model = layers.Sequential(
        norm(3, **words), conv(3, 20, 3, padding=1, **words), norm(20, **words), layers.ReLU(), norm(20, **words),
        layers.Residual(layers.Sequential(conv(20, 20, 3, padding=1, bias=False, **words), norm(20, **words), norm(20, affine=False, **words))),
        layers.ReLU(), transposed(20, 8, 2, stride=2, groups=4, **words), norm(8, **words), norm(8, **words), layers.ReLU(),
        layers.Flatten(), layers.Dropout(), layers.Linear(8 * 10**rank, 30, **words), layers.BatchNorm1d(30, **words), layers.ReLU(),
        layers.Linear(30, 5, bias=False, **words), layers.BatchNorm1d(5, **words),
    )  # fmt: skip
    settled(model)
    x = draw((2, 3, *(5,) * rank), dtype)
    assert_close(fc.compile(model, x.shape)(x), model(x), dtype)


def test_an_image_has_the_same_bits_in_any_batch_and_on_any_number_of_threads():
    model = settled(models.resnet8(3, 16))
    fast, x = fc.compile(model, (1, 3, 16, 16)), draw((70, 3, 16, 16))
    expected = np.concatenate([fast(x[i : i + 1]) for i in range(len(x))])
    before = fc.get_num_threads()
    try:
        for threads in (1, 2):
            if threads <= before:
                fc.set_num_threads(threads)
                np.testing.assert_array_equal(fast(x), expected)
                np.testing.assert_array_equal(fast(x[:7]), expected[:7])
    finally:
        fc.set_num_threads(before)
    assert fast(x[:0]).shape == (0, 10)


def test_any_memory_layout_is_taken_and_nothing_is_written():
    model = settled(models.small_cnn(3, 8))
    x = draw((4, 3, 8, 8))
    fast = fc.compile(model, x.shape)
    y = fast(x)
    wide = np.zeros((4, 6, 8, 16), np.float32)
    wide[:, ::2, :, ::2] = x
    shifted = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    shifted[...] = x
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    frozen = last.copy(order="K")
    frozen.setflags(write=False)
    for given in (np.asfortranarray(x), wide[:, ::2, :, ::2], shifted, last, frozen, x[::-1][::-1], x.tolist()):
        given = np.asarray(given, np.float32) if isinstance(given, list) else given
        before = given.copy()
        np.testing.assert_array_equal(fast(given), y)
        np.testing.assert_array_equal(given, before)
    assert not np.shares_memory(fast(x), fast(x))


class Doubled(layers.Layer):
    def __init__(self):
        self.factor = layers.Parameter(np.full(1, 2, np.float32))

    def forward(self, x, training=True):
        return x * self.factor.value, layers.once(lambda dy, input_grad=True: dy, x)

    def output_shape(self, input_shape):
        return input_shape


def nets_of_all_weights() -> list[layers.Layer]:
    """Folded ones and others, packed ones and such as are read where they lie."""
    depthwise = layers.Conv2d(3, 3, 3, padding=1, groups=3)
    around = layers.BatchNorm2d(3), depthwise, layers.ConvTranspose2d(3, 3, 3, padding=1), layers.ConvTranspose2d(3, 3, 1), layers.BatchNorm2d(3)
    return [models.vgg_small(3, 8), layers.Sequential(*around), layers.Sequential(layers.Conv2d(3, 8, 3), layers.Flatten(), layers.Linear(288, 4))]


@pytest.mark.parametrize("model", nets_of_all_weights(), ids=("folded", "where they lie", "packed"))
def test_the_copy_does_not_see_what_happens_to_the_model(model):
    model = settled(layers.Sequential(*model.layers, Doubled()))
    x = draw((2, 3, 8, 8))
    before, fast = model.state_dict(), fc.compile(model, x.shape)
    y = fast(x)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])  # nor does the model see the copy
    for parameter in model.parameters():
        parameter.value[...] = 7
    for _, buffer in model.named_buffers():
        buffer.value = buffer.value * 3 + 1
    np.testing.assert_array_equal(fast(x), y)
    many = np.concatenate([x] * 9)  # bound only now
    np.testing.assert_array_equal(fast(many)[:2], y)
    assert not np.allclose(model(x), y)


def test_the_algorithm_is_chosen_when_it_is_compiled():
    model, shape = layers.Sequential(layers.Conv2d(16, 16, 3, padding=1), layers.Linear(16, 3)), (1, 16, 8, 8)
    model = layers.Sequential(model[0], layers.GlobalAvgPool2d(), layers.Flatten(), model[1])
    x = draw(shape)
    for name, used in (("direct", "direct"), ("winograd", "winograd"), ("plain", "plain"), ("reference", "reference")):
        with fc.algorithm(name):
            fast, y = fc.compile(model, shape), model(x)
        np.testing.assert_array_equal(fast(x), y)
        np.testing.assert_array_equal(fast(np.concatenate([x, x]))[1:], y)
        assert fast.summary().rows[0].algorithm == used
