"""What must not change a result: memory layouts, threads, the rest of the batch, what the memory held before."""

import numba
import numpy as np
import pytest
from geometries import CONVOLUTIONS, POOLINGS, Convolution, Pooling, integers, normals

import fastconv as fc
from fastconv import ops
from fastconv.layers import Conv1d, Conv2d

CONV = {case.name: case for case in CONVOLUTIONS}
THREADED = Convolution("", (4, 5, 16, 15), (9, 5, 3, 3), {"padding": 1, "stride": (1, 2)})  # work enough for two threads
MIRRORED = Convolution("", (3, 5, 13, 12), (9, 5, 3, 3), {"padding": ((2, 1), (0, 3)), "padding_mode": "reflect"})
PAST_ONE_PATCH = Convolution("", (3, 5, 7, 9), (34, 5, 3, 3), {"padding": 1})  # an image is no multiple of 32 pixels


def results(conv: Convolution, pool: Pooling, x, w, b, dy) -> dict[str, np.ndarray]:
    """Every operation once; pooling and the elementwise ones of the same x."""
    y, argmax = pool.max(x)
    dw, db = conv.weight_grad(x, dy, return_bias_grad=True)
    return {
        "conv": conv.forward(x, w, b), "input_grad": conv.input_grad(dy, w), "weight_grad": dw, "bias_grad": db,
        "max_pool": y, "argmax": argmax, "max_pool_grad": pool.max_grad(y, argmax), "avg_pool": pool.avg(x), "avg_pool_grad": pool.avg_grad(y),
        "relu": ops.relu(x), "relu_grad": ops.relu_grad(x, x), "dropout": ops.dropout(x, 0.5, 7),
    }  # fmt: skip


def assert_same_bits(found: dict, expected: dict) -> None:
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].tobytes() == array.tobytes(), name


def pooling_of(conv: Convolution) -> Pooling:
    return Pooling("", conv.x, 3, {"stride": 2, "padding": 1, "ceil_mode": True})


def strided(a):
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def negative(a):
    return a[..., ::-1].copy()[..., ::-1]


def read_only(a):
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def misaligned(a):
    memory = np.frombuffer(bytearray(a.nbytes + 1), np.uint8, a.nbytes, 1)
    view = memory.view(a.dtype).reshape(a.shape)
    view[...] = a
    assert not view.flags.aligned
    return view


def channels_last(a):
    return np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1) if a.ndim > 1 else a.copy()


LAYOUTS = (np.asfortranarray, strided, negative, read_only, misaligned, channels_last)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_any_memory_layout(layout):
    """The same bits as from a C copy, and inputs are never written."""
    drawn = THREADED.draw(normals, np.float32)
    given = [layout(a) for a in drawn]
    before = [a.tobytes() for a in given]
    pool = pooling_of(THREADED)
    assert_same_bits(results(THREADED, pool, *given), results(THREADED, pool, *drawn))
    assert [a.tobytes() for a in given] == before


def test_broadcast_stride_0():
    """Broadcast inputs give the bits of their C copies."""
    rng = np.random.default_rng(0)
    given = [np.broadcast_to(normals(rng, (1,) * a.ndim, np.float32), a.shape) for a in THREADED.draw(normals, np.float32)]
    pool = pooling_of(THREADED)
    assert_same_bits(results(THREADED, pool, *given), results(THREADED, pool, *(a.copy() for a in given)))


def test_memory_mapped(tmp_path):
    """Read-only memory maps give the bits of arrays, and the files stay as they were."""
    drawn, mapped = THREADED.draw(normals, np.float64), []
    for i, a in enumerate(drawn):
        np.save(tmp_path / f"{i}.npy", a)
        mapped.append(np.load(tmp_path / f"{i}.npy", mmap_mode="r"))
    pool = pooling_of(THREADED)
    assert_same_bits(results(THREADED, pool, *mapped), results(THREADED, pool, *drawn))
    del mapped
    for i, a in enumerate(drawn):
        np.testing.assert_array_equal(np.load(tmp_path / f"{i}.npy"), a)


@pytest.mark.parametrize("case", [PAST_ONE_PATCH, CONV["600 input channels, 2 groups"]._replace(x=(3, 600, 2, 3)), CONV["1-D"], MIRRORED])
def test_an_image_does_not_depend_on_its_batch(case):
    """conv(x)[i] == conv(x[i:i+1])[0], to the bit; the input gradient alike."""
    x, w, b, dy = case.draw(normals, np.float32)
    y, dx = case.forward(x, w, b), case.input_grad(dy, w)
    for i in range(len(x)):
        one = case._replace(x=(1, *case.x[1:]))
        assert one.forward(x[i : i + 1], w, b)[0].tobytes() == y[i].tobytes()
        assert one.input_grad(dy[i : i + 1], w)[0].tobytes() == dx[i].tobytes()


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs a pool of two threads")
@pytest.mark.parametrize("case", [THREADED, CONV["many pixels"], CONV["33 and 45 channels"], MIRRORED], ids=("strided", "many", "wide", "mirrored"))
def test_any_number_of_threads(case):
    """The same bits for any thread count and in repeated runs."""
    drawn, pool = case.draw(normals, np.float32), pooling_of(case)
    fc.set_num_threads(1)
    alone = results(case, pool, *drawn)
    fc.set_num_threads(2)
    for _ in range(3):
        assert_same_bits(results(case, pool, *drawn), alone)


@pytest.mark.parametrize("case", [CONV["3x3"], CONV["1-D"], CONV["3-D groups"], CONV["reflect"]], ids=lambda case: case.name)
def test_an_empty_batch(case):
    """N = 0 gives an empty result and zero gradients."""
    case = case._replace(x=(0, *case.x[1:]))
    x, w, b, dy = case.draw(normals, np.float32)
    assert case.forward(x, w, b).shape == case.g.output_shape
    assert case.input_grad(dy, w).shape == case.x
    dw, db = case.weight_grad(x, dy, return_bias_grad=True)
    np.testing.assert_array_equal(dw, np.zeros(case.w))
    np.testing.assert_array_equal(db, np.zeros(case.w[0]))
    pool = Pooling("", case.x, 2)
    y, argmax = pool.max(x)
    assert y.shape == argmax.shape == pool.avg(x).shape == pool.g.output_shape
    assert pool.max_grad(y, argmax).shape == pool.avg_grad(y).shape == case.x
    assert ops.relu(x).shape == ops.relu_grad(x, x).shape == ops.dropout(x, 0.5, 0).shape == case.x


def test_same_puts_the_odd_cell_at_the_end():
    """Padding "same" with an even kernel: x = [0,1,2,3], w = [1,10] -> [10,21,32,3]."""
    y = ops.conv1d(np.arange(4.0)[None, None], np.array([[[1.0, 10.0]]]), padding="same")
    np.testing.assert_array_equal(y, [[[10, 21, 32, 3]]])


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("kernel", [1, 2, 3, 6])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_is_the_smallest_padding(stride, kernel, dilation):
    """Padding "same" has ceil(IW / SW) outputs, by the smallest padding that gives them, the odd cell at the end."""
    words = {"stride": stride, "dilation": dilation}
    for IW in range(1, 9):
        x, w = np.arange(1.0, IW + 1)[None, None], 10.0 ** np.arange(kernel)[None, None]
        OW = -(-IW // stride)
        total = max(0, (OW - 1) * stride + dilation * (kernel - 1) + 1 - IW)
        y = ops.conv1d(x, w, padding="same", **words)
        assert y.shape == (1, 1, OW)
        np.testing.assert_array_equal(y, ops.conv1d(x, w, padding=((total // 2, total - total // 2),), **words)[..., :OW])


@pytest.mark.parametrize("mode", ["zeros", "replicate"])
def test_causal_sees_nothing_that_comes_later(mode):
    """Padding "causal" puts all of a window's reach before the input, in the operations and the layer; elsewhere than in 1-D it is refused."""
    rng = np.random.default_rng(0)
    (x, w), words = (integers(rng, shape, np.float32) for shape in ((2, 3, 9), (4, 3, 3))), {"dilation": 2, "padding_mode": mode}
    y = ops.conv1d(x, w, padding="causal", **words)
    assert y.shape == (2, 4, 9)
    np.testing.assert_array_equal(y[..., :5], ops.conv1d(x[..., :5], w, padding="causal", **words))
    pairs = ((4, 0),)
    np.testing.assert_array_equal(y, ops.conv1d(x, w, padding=pairs, **words))
    np.testing.assert_array_equal(
        ops.conv1d_input_grad(y, w, x.shape, padding="causal", **words), ops.conv1d_input_grad(y, w, x.shape, padding=pairs, **words)
    )
    np.testing.assert_array_equal(ops.conv1d_weight_grad(x, y, 3, padding="causal", **words), ops.conv1d_weight_grad(x, y, 3, padding=pairs, **words))
    assert Conv1d(3, 4, 3, padding="causal", dilation=2, stride=2).output_shape(x.shape) == (2, 4, 5)
    with pytest.raises(ValueError, match=r'^Conv2d: padding="causal" is for one dimension, here are 2: write \(before, after\) pairs'):
        Conv2d(3, 4, 3, padding="causal")


def test_results_are_channels_last_in_memory():
    """The channels of a pixel are neighbours in every activation."""
    drawn = THREADED.draw(normals, np.float32)
    for name, array in results(THREADED, pooling_of(THREADED), *drawn).items():
        assert name in ("weight_grad", "bias_grad") or array.transpose(0, 2, 3, 1).flags.c_contiguous, name


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=lambda case: case.name)
def test_recycled_memory_is_overwritten(case, monkeypatch):
    """Nothing of what recycled memory held before is left in a convolution's results."""
    drawn = case.draw(integers, np.float32)
    conv = {
        "y": lambda x, w, b, dy: case.forward(x, w, b),
        "dx": lambda x, w, b, dy: case.input_grad(dy, w),
        "dw": lambda x, w, b, dy: case.weight_grad(x, dy),
    }
    clean = {name: run(*drawn) for name, run in conv.items()}
    monkeypatch.setattr("fastconv.memory.empty", poisoned)
    assert_same_bits({name: run(*map(np.asfortranarray, drawn)) for name, run in conv.items()}, clean)


@pytest.mark.parametrize("case", POOLINGS, ids=lambda case: case.name)
def test_recycled_memory_is_overwritten_in_pooling(case, monkeypatch):
    """Nothing of what recycled memory held before is left in a pooling's results."""
    x = integers(np.random.default_rng(0), case.x, np.float32)

    def run():
        y, argmax = case.max(np.asfortranarray(x))
        return {"y": y, "argmax": argmax, "dx": case.max_grad(y, argmax), "mean": case.avg(x), "grad": case.avg_grad(y), "relu": ops.relu(x)}

    clean = run()
    monkeypatch.setattr("fastconv.memory.empty", poisoned)
    assert_same_bits(run(), clean)


def poisoned(shape, dtype):
    dtype = np.dtype(dtype)
    return np.full(shape, np.nan if dtype.kind == "f" else np.iinfo(dtype).max, dtype)
