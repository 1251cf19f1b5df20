"""The three passes of a convolution, and pooling, for every algorithm of the table but the textbook's.

Through the door of `ops`, as a layer calls them: packing the weights and allocating the result are inside the timing.
"""

import numpy as np
import pytest

import fastconv as fc
from fastconv import ops
from fastconv.geometry import pool_geometry
from fastconv.kernels import table

CONVOLUTION = {
    "conv_forward": lambda op, x, w, dy, words: op("")(x, w, **words),
    "conv_input_grad": lambda op, x, w, dy, words: op("_input_grad")(dy, w, x.shape, **words),
    "conv_weight_grad": lambda op, x, w, dy, words: op("_weight_grad")(x, dy, w.shape[2:], **words),
}
POOLING = {
    "max_pool": lambda x, dy, argmax: ops.max_pool2d(x, 2)[0],
    "max_pool_grad": lambda x, dy, argmax: ops.max_pool2d_grad(dy, argmax, x.shape, 2),
    "avg_pool": lambda x, dy, argmax: ops.avg_pool2d(x, 2),
    "avg_pool_grad": lambda x, dy, argmax: ops.avg_pool2d_grad(dy, x.shape, 2),
}


def rows(operations) -> list:
    """(operation, row of the table), named for the report."""
    pairs = [(operation, row) for operation in operations for row in table.OPERATIONS[operation] if row.name != "reference"]
    return [pytest.param(operation, row, id=f"{operation}-{row.name}") for operation, row in pairs]


def random(*shapes, dtype=np.float32) -> list[np.ndarray]:
    """Arrays as layers meet them: the channels of a pixel are neighbours in memory."""
    draw = np.random.default_rng(0).standard_normal
    return [np.moveaxis(draw((shape[0], *shape[2:], shape[1]), dtype), -1, 1) for shape in shapes]


def check(run, roundings: float, *arrays) -> None:
    """|result - exact| <= roundings * u * (the same sums over absolute values): the row's promise, against the textbook in float64."""
    result = run(*arrays)
    with fc.algorithm("reference"):
        exact = run(*(a.astype(np.float64) for a in arrays))
        scale = run(*(abs(a.astype(np.float64)) for a in arrays))
    kind = np.finfo(result.dtype)
    assert (abs(result - exact) <= roundings * kind.eps / 2 * scale + kind.tiny).all()


@pytest.mark.benchmark(max_time=0.5)
@pytest.mark.parametrize(("operation", "row"), rows(CONVOLUTION))
def test_convolution(operation, row, layer, clock):
    g = layer.g
    if not row.fits(g):
        pytest.skip(f"{row.name} does not fit")
    x, w, dy = random(g.input_shape, g.weight_shape, g.output_shape, dtype=layer.dtype)
    w = np.ascontiguousarray(w)

    def run(x, w, dy):
        return CONVOLUTION[operation](lambda end: getattr(ops, f"conv{g.rank}d{end}"), x, w, dy, layer.words)

    with fc.algorithm(row.name):
        check(run, row.error(g._replace(N=1), x.dtype), x[:1], w, dy[:1])
        clock(lambda: run(x, w, dy), g.flops / 1e9, "GFLOP/s")


@pytest.mark.benchmark(max_time=0.25)
@pytest.mark.parametrize(("operation", "row"), rows(POOLING))
def test_pooling(operation, row, images, clock):
    """Windows of 2x2. GB/s counts each array once, as a copy would: x or dx, y or dy, and the argmax, one byte each."""
    N, C, *extent = images
    g = pool_geometry(operation, N, C, tuple(extent), 2, None, 0, 1, False)
    if not row.fits(g):
        pytest.skip(f"{row.name} does not fit")
    x, dy = random(g.input_shape, g.output_shape)
    _, argmax = ops.max_pool2d(x, 2)
    moved = x.nbytes + dy.nbytes + (argmax.nbytes if operation.startswith("max") else 0)
    with fc.algorithm(row.name):
        check_pooling(operation, row.error(g, x.dtype), x[:1], dy[:1])
        clock(lambda: POOLING[operation](x, dy, argmax), moved / 1e9, "GB/s")


def check_pooling(operation, roundings, x, dy) -> None:
    if operation == "max_pool":  # the very values, and the taps that they came from
        found = ops.max_pool2d(x, 2)
        with fc.algorithm("reference"):
            np.testing.assert_equal(found, ops.max_pool2d(x, 2))
        return
    _, argmax = ops.max_pool2d(x, 2)
    check(lambda x, dy: POOLING[operation](x, dy, argmax), roundings, x, dy)
