"""What a call allocates is in proportion to its arrays: nothing before all checks have passed, and no table of coordinates that nobody reads."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from geometries import integers

import fastconv as fc
from fastconv import explain, layers, ops
from fastconv.geometry import pool_geometry
from fastconv.geometry.windows import empty_window
from fastconv.kernels import table

HUGE, FAR = 2**31 - 1, 2**30
LIMIT = 8 << 20  # bytes
x, w, dy = np.ones((1, 1, 4, 4), np.float32), np.ones((1, 1, 2, 2), np.float32), np.ones((1, 1, 2, 2), np.float32)
argmax = np.zeros(dy.shape, np.uint8)


def peak(run) -> int:
    """Bytes that NumPy and Python had allocated at most."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


REFUSED = {
    "max_pool2d_grad": lambda: ops.max_pool2d_grad(dy, argmax, (1, 1, HUGE, 4), 2),
    "max_pool2d_grad stride 1": lambda: ops.max_pool2d_grad(dy, argmax, (1, 1, HUGE, 4), 2, stride=1),
    "avg_pool2d_grad": lambda: ops.avg_pool2d_grad(dy, (1, 1, HUGE, 4), 2),
    "avg_pool1d_grad": lambda: ops.avg_pool1d_grad(dy[0], (1, 1, HUGE), 2),
    "avg_pool3d_grad": lambda: ops.avg_pool3d_grad(dy[None], (1, 1, 4, HUGE, 4), 2),
    "conv2d_input_grad": lambda: ops.conv2d_input_grad(dy, w, (1, 1, HUGE, 4)),
    "conv2d_weight_grad": lambda: ops.conv2d_weight_grad(x, dy, HUGE, padding=HUGE),
    "conv2d": lambda: ops.conv2d(x, w, padding=HUGE),
    "conv_transpose2d": lambda: ops.conv_transpose2d(x, w, stride=HUGE),
    "conv_transpose2d_input_grad": lambda: ops.conv_transpose2d_input_grad(dy, w, (1, 1, HUGE, 4)),
    "adaptive_avg_pool2d": lambda: ops.adaptive_avg_pool2d(x, HUGE),
    "adaptive_avg_pool2d_grad": lambda: ops.adaptive_avg_pool2d_grad(dy, (1, 1, HUGE, HUGE)),
    "adaptive_max_pool2d_grad": lambda: ops.adaptive_max_pool2d_grad(dy, argmax, (HUGE, HUGE, 4, 4)),
    "max_pool1d": lambda: ops.max_pool1d(x[0], HUGE, padding=FAR - 1),
    "avg_pool2d": lambda: ops.avg_pool2d(x, HUGE, padding=FAR - 1),
    "conv1d": lambda: ops.conv1d(np.ones((1, 1, 4), np.float32), np.ones((1, 1, 10000), np.float32), stride=100003, dilation=99991, padding=10**9),
    "MaxPool2d": lambda: layers.MaxPool2d(2, padding=1).output_shape((1, 1, HUGE, HUGE)),
    "Conv2d": lambda: layers.Conv2d(1, 1, 2, padding=HUGE).output_shape((1, 1, HUGE, HUGE)),
    "Flatten": lambda: layers.Flatten().output_shape((HUGE, HUGE, HUGE)),
}


@pytest.mark.parametrize("op", REFUSED)
def test_refused_before_anything_is_allocated(op):
    def run():
        with pytest.raises(ValueError, match=f"^{op.split()[0]}: "):
            REFUSED[op]()

    assert peak(run) < LIMIT


@pytest.mark.parametrize(
    ("layer", "input_shape", "expected"),
    [
        (layers.MaxPool2d(2), (1, 1, HUGE, 8), (1, 1, FAR - 1, 4)),
        (layers.MaxPool2d(3, stride=1, padding=1, dilation=2), (1, 1, HUGE, 8), (1, 1, HUGE - 2, 6)),
        (layers.AvgPool1d(2, stride=1), (1, 1, HUGE), (1, 1, HUGE - 1)),
        (layers.Conv3d(1, 2, 3, padding=1), (1, 1, HUGE, 1, 1), (1, 2, HUGE, 1, 1)),
        (layers.ConvTranspose2d(1, 1, 2), (1, 1, HUGE - 1, 1), (1, 1, HUGE, 2)),
        (layers.AdaptiveMaxPool2d((HUGE, 1)), (1, 1, 5, 5), (1, 1, HUGE, 1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_shapes_are_computed_in_numbers(layer, input_shape, expected):
    found = []
    assert peak(lambda: found.append(layer.output_shape(input_shape))) < LIMIT
    assert found == [expected]


FAR_APART = {  # words, and those of the same convolution with all of its cells nearer to each other
    "dilation": ({"dilation": FAR, "padding": FAR}, {"dilation": 100, "padding": 100}),
    "dilation of one axis": ({"dilation": (1, FAR), "padding": (0, FAR)}, {"dilation": (1, 100), "padding": (0, 100)}),
    "stride": ({"stride": FAR, "padding": FAR}, {"stride": 100, "padding": 100}),
    "stride and dilation": ({"stride": FAR, "dilation": FAR, "padding": FAR}, {"stride": 100, "dilation": 100, "padding": 100}),
    "replicate": ({"dilation": FAR, "padding": FAR, "padding_mode": "replicate"}, {"dilation": 100, "padding": 100, "padding_mode": "replicate"}),
}


@pytest.mark.parametrize("words", FAR_APART)
@pytest.mark.parametrize("algorithm", table.names())
def test_coordinates_that_nobody_reads_have_no_entries(algorithm, words):
    """Far or near: all passes of a convolution give the same numbers, in memory of the size of its arrays."""
    rng = np.random.default_rng(0)
    far, near = FAR_APART[words]
    a, b = integers(rng, (1, 2, 4, 4), np.float32), integers(rng, (3, 2, 3, 3), np.float32)

    def passes(words):
        y = ops.conv2d(a, b, **words)
        return y, ops.conv2d_input_grad(y, b, a.shape, **words), ops.conv2d_weight_grad(a, y, 3, **words)

    found = []
    with fc.algorithm(algorithm):
        expected = passes(near)
        passes(far)  # loads its kernels
        assert peak(lambda: found.extend(passes(far))) < LIMIT
    for result, near_result in zip(found, expected):
        np.testing.assert_array_equal(result, near_result)


def test_transposed_and_explained():
    a, b = np.ones((1, 1, 3, 3), np.float32), np.ones((1, 1, 3, 3), np.float32)
    y = []
    assert peak(lambda: y.append(ops.conv_transpose2d(a, b, stride=FAR, padding=FAR))) < LIMIT
    np.testing.assert_array_equal(y[0], ops.conv_transpose2d(a, b, stride=100, padding=100))
    layer = layers.Conv2d(1, 1, 3, dilation=FAR, padding=FAR, padding_mode="replicate", bias=False)
    y, backward = layer.forward(a)
    dx, found = backward(y), []
    assert peak(lambda: found.append(explain.input_terms(layer, a, y, (0, 0, 0, 1)))) < LIMIT
    assert found[0].total == pytest.approx(dx[0, 0, 0, 1], rel=1e-5)


def test_many_phases_have_no_plans():
    """Each phase of a stride would be a pass with tables of its own."""
    a, b = np.ones((1, 20, 150, 150), np.float32), np.ones((20, 20, 1, 1), np.float32)
    y = ops.conv2d(a, b, stride=150)
    dx = []
    assert peak(lambda: dx.append(ops.conv2d_input_grad(y, b, a.shape, stride=150))) < a.nbytes + LIMIT
    assert dx[0][0, :, 0, 0] == pytest.approx([400] * 20)
    assert np.count_nonzero(dx[0]) == 20


def test_empty_windows_are_found_as_by_looking():
    """One by one: which window of a pooling is the first without a cell of the input."""
    for I, K, S, D, ceil_mode in itertools.product(range(1, 6), range(1, 5), range(1, 8), range(1, 8), (False, True)):
        for P in range(min(D * (K - 1), 5) + 1):
            room = I + 2 * P - D * (K - 1) - 1
            O = (room + (S - 1) * ceil_mode) // S + 1
            O -= ceil_mode and (O - 1) * S >= I + P
            if room < 0:
                continue
            empty = [o for o in range(O) if not any(0 <= o * S - P + k * D < I for k in range(K))]
            if empty:
                with pytest.raises(ValueError, match=f"^pool: window {empty[0]} along W holds no cell"):
                    pool_geometry("pool", 1, 1, (I,), K, S, P, D, ceil_mode)
            else:
                g = pool_geometry("pool", 1, 1, (I,), K, S, P, D, ceil_mode)
                assert math.prod(g.output_shape) == O
                assert empty_window(g) is None
