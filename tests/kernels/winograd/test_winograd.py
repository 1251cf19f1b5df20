"""Winograd's three passes: close to the textbook in float64, the same bits for any number of threads and images, and what spreads."""

import numpy as np
import pytest
from geometries import Convolution, normals

import fastconv as fc
from fastconv.kernels import table
from fastconv.kernels.igemm import forward as direct
from fastconv.kernels.igemm import weight_grad as direct_weight_grad
from fastconv.kernels.winograd import forward, weight_grad

CASES = tuple(
    Convolution(str(case), (case[0], case[1], *case[2]), (case[3], case[1] // words.get("groups", 1), *kernel), words)
    for *case, kernel, words in (
        (2, 32, (8, 8), 32, (3, 3), {"padding": 1}),
        (3, 17, (9, 14), 45, (3, 3), {"padding": 0}),
        (1, 5, (3, 6), 7, (3, 3), {"padding": 2}),
        (1, 16, (4, 7), 100, (3, 3), {"padding": ((0, 5), (3, 1))}),
        (9, 40, (20, 21), 33, (3, 3), {"padding": 1}),
        (2, 18, (6, 7), 20, (3, 3), {"padding": 2, "padding_mode": "reflect"}),
        (2, 18, (6, 7), 20, (3, 3), {"padding": 1, "padding_mode": "circular"}),
        (2, 18, (2, 7), 20, (3, 3), {"padding": 3, "padding_mode": "replicate"}),
        (2, 84, (9, 8), 90, (3, 3), {"padding": 1, "groups": 2}),  # 42 and 45 channels of a group
        (30, 51, (8, 8), 54, (3, 3), {"padding": 1, "groups": 3}),
        (3, 300, (5, 6), 290, (3, 3), {"padding": 1}),  # parts of channels
        (2, 20, (9, 11), 40, (5, 5), {"padding": 2}),
        (30, 33, (10, 10), 40, (5, 5), {"padding": 1}),
        (3, 20, (40,), 40, (3,), {"padding": 1}),
        (40, 20, (50,), 18, (5,), {}),
        (2, 20, (7, 21), 40, (1, 3), {}),
        (2, 20, (21, 7), 40, (5, 3), {"padding": (2, 1)}),
        (3, 20, (2, 8, 9), 17, (1, 3, 3), {"padding": (0, 1, 1)}),
        (2, 20, (17, 16), 40, (3, 3), {"padding": 2, "dilation": 2}),  # tiles of every other row, the last one of odd rows ragged
        (3, 40, (5, 22), 33, (3, 3), {"padding": (4, 1), "dilation": (4, 3)}),  # and tiles without a row that is there
        (2, 18, (9, 11), 20, (3, 3), {"padding": 2, "dilation": 2, "padding_mode": "circular", "groups": 2}),
        (2, 20, (19, 21), 18, (5, 5), {"padding": 4, "dilation": 2}),
        (3, 20, (70,), 40, (3,), {"padding": 16, "dilation": 16}),
    )
)
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def memory(case, dtype=np.float32):
    """x, w, b and dy as kernels see them."""
    g, rng = case.g, np.random.default_rng(0)
    return [normals(rng, shape, np.float32).astype(dtype).ravel() for shape in (g.input_memory, g.weight_memory, (g.OC,), g.output_memory)]


def guarded(run, *sizes) -> list[np.ndarray]:
    """What run writes into arrays of these sizes, and nothing around them."""
    arrays = [np.full(size + 64, np.nan, np.float32) for size in sizes]
    run(*(array[32:-32] for array in arrays))
    for array in arrays:
        assert np.isnan(array[:32]).all()
        assert np.isnan(array[-32:]).all()
    return [array[32:-32] for array in arrays]


def off(found, exact) -> float:
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


def three_passes(case, x, w, b, dy) -> list[np.ndarray]:
    g, dtype = case.g, np.dtype(np.float32)
    forward_pass, gradient = forward.Forward(g, dtype, 0.0), weight_grad.WeightGrad(g, dtype, True)
    found = guarded(lambda y: forward_pass(x, w, b, y), dy.size)
    found += guarded(lambda dw, db: gradient(x, dy, dw, db, False), w.size, b.size)
    if g.padding_mode == "zeros":
        input_grad = forward.InputGrad(g, dtype)
        found += guarded(lambda dx: input_grad(dy, w, dx), x.size)
    return found


@cases
def test_errors_stay_within_the_promise(case):
    """SEMANTICS, accuracy: relative L2 at most 5e-6 forward and input gradient, 1e-5 weight gradient."""
    g, wide = case.g, np.dtype(np.float64)
    x, w, b, dy = memory(case)
    exact = [np.empty(array.size) for array in (dy, w, b, x)]
    X, W, B, DY = (array.astype(wide) for array in (x, w, b, dy))
    direct.Forward(g, wide, 0.0)(X, W, B, exact[0])
    direct_weight_grad.WeightGrad(g, wide, True)(X, DY, *exact[1:3], False)
    if g.padding_mode == "zeros":
        direct.InputGrad(g, wide)(DY, W, exact[3])
    for found, expected, bound in zip(three_passes(case, x, w, b, dy), exact, (5e-6, 1e-5, 1e-5, 5e-6)):
        assert off(found, expected) <= bound


@cases
def test_gradients_are_overwritten_or_added_to(case):
    x, w, b, dy = memory(case)
    run = weight_grad.WeightGrad(case.g, np.dtype(np.float32), True)
    dw, db, twice, both = np.empty_like(w), np.empty_like(b), w.copy(), b.copy()
    run(x, dy, dw, db, False)
    run(x, dy, twice, both, True)
    np.testing.assert_array_equal(twice, w + dw)
    np.testing.assert_array_equal(both, b + db)


@cases
def test_bits_do_not_depend_on_threads(case):
    x, w, b, dy = memory(case)
    before, found = fc.get_num_threads(), []
    try:
        for threads in (1, 2):
            fc.set_num_threads(threads)
            found.append(three_passes(case, x, w, b, dy))
    finally:
        fc.set_num_threads(before)
    for one, two in zip(*found):
        np.testing.assert_array_equal(one, two)


def test_an_image_has_the_same_bits_alone():
    """Threads share the tiles of one image, and sum by slices of its 300 channels; of forty images each takes blocks, and sums at once."""
    many, one = (Convolution("", (N, 300, 12, 12), (48, 300, 3, 3), {"padding": 1}) for N in (40, 1))
    x, w, b, _ = memory(many)
    y, alone = np.empty(40 * 144 * 48, np.float32), np.empty(144 * 48, np.float32)
    passes = [forward.Forward(case.g, np.dtype(np.float32)) for case in (many, one)]
    assert [run.plan.shared for run in passes] == [False, True]
    passes[0](x, w, b, y)
    passes[1](x[: 144 * 300].copy(), w, b, alone)
    np.testing.assert_array_equal(y[: alone.size], alone)


def test_it_is_chosen_for_float32_only():
    g = CASES[0].g
    for operation in ("conv_forward", "conv_input_grad", "conv_weight_grad"):
        assert table.pick(operation, g, np.float32).name == "winograd"
        assert table.pick(operation, g, np.float64).name == "direct"
        assert table.pick(operation, g, np.float32, "direct").name == "direct"
    assert table.pick("conv_forward", g._replace(SH=2), np.float32).name == "direct"


@pytest.mark.parametrize(
    ("channels", "size", "kernel", "pays"),
    [
        (8, 32, (3, 3), True), (8, 9, (3, 3), False), (7, 32, (3, 3), False), (16, 9, (3, 3), True), (32, 5, (3, 3), False), (64, 5, (3, 3), True),
        (8, 32, (5, 5), False), (16, 32, (5, 5), True), (16, 32, (1, 3), True), (64, 2, (3, 3), False), (600, 32, (3, 3), False),
    ],
)  # fmt: skip
def test_it_is_chosen_where_it_pays_and_wherever_it_is_asked_for(channels, size, kernel, pays):
    padding = tuple(K // 2 for K in kernel)
    g = Convolution("", (1, channels, size, size), (channels, channels, *kernel), {"padding": padding}).g
    for operation in ("conv_forward", "conv_input_grad", "conv_weight_grad"):
        assert (table.pick(operation, g, np.float32).name == "winograd") == pays
        assert table.pick(operation, g, np.float32, "winograd").name == "winograd"


def test_not_a_number_spreads_over_its_tiles():
    """SEMANTICS, accuracy: direct has NaN where a window holds it, Winograd in all outputs of the tiles whose windows do, and nowhere else."""
    case = CASES[0]
    x, w, b, _ = case.draw(normals, np.float32)
    x[0, 3, 2, 2] = np.nan
    with fc.algorithm("winograd"):
        bad = np.isnan(case.forward(x, w, b))
    assert bad[0, :, :4, :4].all()
    assert bad.sum() == 32 * 16
    with fc.algorithm("direct"):
        assert np.isnan(case.forward(x, w, b)).sum() == 32 * 9
