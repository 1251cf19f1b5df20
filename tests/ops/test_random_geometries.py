"""Geometries that nobody thought of: fast and textbook agree exactly on integers, in all passes."""

import numpy as np
from geometries import Convolution, integers
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import convolutions, lawful, poolings

import fastconv as fc
from fastconv.kernels import table


@lawful
@given(convolutions(), st.integers(0, 2**32 - 1))
@example(Convolution("a tile as wide as its terms lie apart", (1, 2, 1, 4), (1, 2, 1, 2), {"dilation": (1, 3)}), 0)
def test_convolution_equals_the_textbook(case, seed):
    """Integer-valued inputs must agree exactly."""
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
    """Integer-valued inputs must agree exactly; quotients of equal sums by equal counts are equal too."""
    rng = np.random.default_rng(seed)
    x, dy = integers(rng, case.x, np.float32), integers(rng, case.g.output_shape, np.float32)
    with fc.algorithm("reference"):
        y, argmax = case.max(x)
        dx, mean = case.max_grad(dy, argmax), case.avg(x, count_include_pad=count_include_pad)
    for found, expected in ((case.max(x), (y, argmax)), ((case.max_grad(dy, argmax), case.avg(x, count_include_pad=count_include_pad)), (dx, mean))):
        for result, textbook in zip(found, expected):
            np.testing.assert_array_equal(result, textbook, strict=True)
