"""Padding of pools: pairs, words, up to a window; and what of it is refused."""

import numpy as np
import pytest
from geometries import POOLINGS, integers

import fastconv as fc
from fastconv import ops


@pytest.fixture(params=["direct", "plain"])
def algorithm(request):
    with fc.algorithm(request.param):
        yield request.param


def test_words_and_pairs_of_padding(algorithm):
    """ "same" and "causal" are the pairs that they stand for; "valid" is none."""
    x = integers(np.random.default_rng(0), (1, 2, 7, 9), np.float32)
    for pool in (lambda *args, **words: ops.max_pool2d(*args, **words)[0], ops.avg_pool2d):
        same = pool(x, (3, 4), stride=(2, 3), padding="same")
        assert same.shape == (1, 2, 4, 3)
        np.testing.assert_array_equal(same, pool(x, (3, 4), stride=(2, 3), padding=((1, 1), (0, 1))))
        np.testing.assert_array_equal(pool(x, 2, stride=1, padding="same"), pool(x, 2, stride=1, padding=((0, 1),)))  # the odd cell at the end
        np.testing.assert_array_equal(pool(x, 3, padding="valid"), pool(x, 3))
    causal = ops.avg_pool1d(x[:, 0], 3, stride=1, padding="causal", dilation=2, count_include_pad=False)
    np.testing.assert_allclose(causal[0, 0, :5], [x[0, 0, 0, range(i, -1, -2)][:3].mean() for i in range(5)], rtol=1e-6)


@pytest.mark.parametrize("case", POOLINGS, ids=lambda case: case.name)
def test_what_an_average_counts(case):
    """Taps inside the padded input, or those on real cells, one by one."""
    counts = []
    for inside in (lambda i, I, P, Q: -P <= i < I + Q, lambda i, I, P, Q: 0 <= i < I):
        axes = []
        for (I, O, K, S, P, D), Q in zip(case.g.axes, case.g[18:21]):
            axes.append([sum(inside(o * S - P + k * D, I, P, Q) for k in range(K)) for o in range(O)])
        counts.append(np.einsum("d,h,w->dhw", *axes).reshape(case.g.output_shape[2:]))
    padded, real = counts
    ones = np.ones(case.x)
    np.testing.assert_allclose(case.avg(ones), np.broadcast_to(real / padded, case.g.output_shape), rtol=1e-15)
    np.testing.assert_allclose(case.avg(ones, count_include_pad=False), np.ones(case.g.output_shape), rtol=1e-15)


def test_padding_beyond_half_a_window(algorithm):
    """Each window still has its one cell, in a corner."""
    x = np.arange(1, 5, dtype=np.float64).reshape(1, 1, 2, 2)
    y, argmax = ops.max_pool2d(x, 3, stride=3, padding=2)
    np.testing.assert_array_equal((y.ravel(), argmax.ravel()), ([1, 2, 3, 4], [8, 6, 2, 0]))
    np.testing.assert_array_equal(ops.avg_pool2d(x, 3, stride=1, padding=2)[0, 0] * 9, [[1, 3, 3, 2], [4, 10, 10, 6], [4, 10, 10, 6], [3, 7, 7, 4]])


@pytest.mark.parametrize(
    ("IW", "kernel", "words", "message"),
    [
        (8, 3, {"padding": 3}, "padding 3 along W has room for a whole window of 3 cells: at most 2"),
        (8, 2, {"padding": 2}, "padding 2 along W has room for a whole window of 2 cells: at most 1"),
        (
            1,
            2,
            {"dilation": 2, "padding": 1, "stride": 1},
            "window 0 along W holds no cell of the input; got input 1, kernel 2, stride 1, padding 1, dilation 2",
        ),
        (8, 3, {"padding": ((1, 5),), "dilation": 2}, "padding 5 along W has room for a whole window of 5 cells: at most 4"),
        (8, 3, {"padding": "full"}, 'padding must be "same", "valid", "causal" \\(in 1-D\\), an integer or a tuple'),
        (3, 4, {}, "no output along W"),
        (4, 3, {"dilation": 2}, "no output along W"),
    ],
)
def test_windows_without_a_cell_are_refused(IW, kernel, words, message):
    """Geometries whose windows can hold no valid tap are a ValueError, in the gradient as well."""
    with pytest.raises(ValueError, match=f"^max_pool1d: {message}"):
        ops.max_pool1d(np.zeros((1, 1, IW)), kernel, **words)
    with pytest.raises(ValueError, match=f"^max_pool1d_grad: {message}"):
        ops.max_pool1d_grad(np.zeros((1, 1, 2)), np.zeros((1, 1, 2), np.uint8), (1, 1, IW), kernel, **words)
