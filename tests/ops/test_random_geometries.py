"""Geometries that nobody thought of: fast and textbook agree exactly on integers, in all passes."""

import numpy as np
from geometries import Convolution, Pooling, integers
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv.kernels import table

lawful = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


@st.composite
def convolutions(draw) -> Convolution:
    rank, groups = draw(st.integers(1, 3)), draw(st.sampled_from((1, 2, 3, 17)))  # 17: depthwise, more than lanes
    most = 1 if groups == 17 else 12
    N, IC, OC = draw(st.integers(1, 3)), groups * draw(st.integers(1, min(most, 3))), groups * draw(st.integers(1, most))

    def each(least, most):
        return tuple(draw(st.integers(least, most)) for _ in range(rank))

    extent, kernel, stride, dilation, before, after = each(1, 7), each(1, 3), each(1, 3), each(1, 3), each(0, 3), each(0, 3)
    padding = draw(st.sampled_from((tuple(zip(before, after)), before, "same", "valid")))
    mode = draw(st.sampled_from(("zeros", "zeros", "reflect", "replicate", "circular")))
    words = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "padding_mode": mode}
    case = Convolution("random", (N, IC, *extent), (OC, IC // groups, *kernel), words)
    assume(has_output(case))
    return case


@st.composite
def poolings(draw) -> Pooling:
    rank = draw(st.integers(1, 3))

    def each(least, most):
        return tuple(draw(st.integers(least, most)) for _ in range(rank))

    words = {"stride": each(1, 4), "padding": each(0, 1), "ceil_mode": draw(st.booleans())}
    case = Pooling("random", (draw(st.integers(1, 3)), draw(st.integers(1, 5)), *each(1, 7)), each(1, 4), words)
    assume(has_output(case))
    return case


def has_output(case) -> bool:
    try:
        return bool(case.g)
    except ValueError:
        return False


@lawful
@given(convolutions(), st.integers(0, 2**32 - 1))
def test_convolution_equals_the_textbook(case, seed):
    """STYLE 10: integer-valued inputs must agree exactly."""
    x, w, b, dy = case.draw(integers, np.float32, seed)
    for run in (lambda: case.forward(x, w, b), lambda: case.input_grad(dy, w), lambda: case.weight_grad(x, dy)):
        with fc.algorithm("reference"):
            expected = run()
        for name in table.names():
            with fc.algorithm(name):
                np.testing.assert_array_equal(run(), expected, err_msg=name, strict=True)


@lawful
@given(poolings(), st.integers(0, 2**32 - 1), st.booleans())
def test_pooling_equals_the_textbook(case, seed, count_include_pad):
    """STYLE 10: integer-valued inputs must agree exactly; quotients of equal sums by equal counts are equal too."""
    rng = np.random.default_rng(seed)
    x, dy = integers(rng, case.x, np.float32), integers(rng, case.g.output_shape, np.float32)
    with fc.algorithm("reference"):
        y, argmax = case.max(x)
        dx, mean = case.max_grad(dy, argmax), case.avg(x, count_include_pad=count_include_pad)
    for found, expected in ((case.max(x), (y, argmax)), ((case.max_grad(dy, argmax), case.avg(x, count_include_pad=count_include_pad)), (dx, mean))):
        for result, textbook in zip(found, expected):
            np.testing.assert_array_equal(result, textbook, strict=True)
