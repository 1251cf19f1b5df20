"""Per operation its algorithms, fastest first, the textbook last. A new algorithm is one function and one row.

`run` takes 5-D arrays and the geometry (see `kernels`), `fits` says for which geometries it may be chosen (by any extent but
N), `roundings(g, dtype)` is its error bound c in  |result - exact| <= c * u * (the same sums over absolute values).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import numpy as np

from fastconv.geometry import Geometry
from fastconv.kernels import (
    depthwise,
    depthwise_plan,
    depthwise_weight_grad,
    plain_convolution,
    plain_pooling,
    reference,
    tiled_convolution,
    tiled_weight_grad,
)
from fastconv.kernels.tiled_plan import fits


class Algorithm(NamedTuple):
    name: str
    run: Callable[..., None]
    roundings: Callable[[Geometry, np.dtype], float]
    fits: Callable[[Geometry], bool] = lambda g: True


def _textbook(kernel) -> Callable[..., None]:
    def run(*arrays_and_geometry):
        *arrays, g = arrays_and_geometry
        kernel(*arrays, g.record())

    return run


def _positions(g: Geometry) -> int:
    return g.N * g.OD * g.OH * g.OW


tiled, plain, textbook = tiled_convolution, plain_convolution, reference
OPERATIONS: dict[str, tuple[Algorithm, ...]] = {
    "conv_forward": (
        Algorithm("depthwise", depthwise.conv_forward, depthwise.forward_roundings, depthwise_plan.fits),
        Algorithm("direct", tiled.conv_forward, tiled.forward_roundings, fits),
        Algorithm("plain", plain.conv_forward, plain.forward_roundings),
        Algorithm("reference", _textbook(textbook.conv_forward), lambda g, dtype: g.taps * g.IC // g.G + 1),
    ),
    "conv_input_grad": (
        Algorithm("depthwise", depthwise.conv_input_grad, depthwise.input_grad_roundings, depthwise_plan.fits),
        Algorithm("direct", tiled.conv_input_grad, tiled.input_grad_roundings, fits),
        Algorithm("plain", plain.conv_input_grad, plain.input_grad_roundings),
        Algorithm("reference", _textbook(textbook.conv_input_grad), lambda g, dtype: g.taps * g.OC // g.G + 1),
    ),
    "conv_weight_grad": (
        Algorithm("depthwise", depthwise_weight_grad.conv_weight_grad, depthwise_weight_grad.roundings, depthwise_plan.fits),
        Algorithm("direct", tiled_weight_grad.conv_weight_grad, tiled_weight_grad.roundings, fits),
        Algorithm("plain", plain.conv_weight_grad, plain.weight_grad_roundings),
        Algorithm("reference", _textbook(textbook.conv_weight_grad), lambda g, dtype: _positions(g) + 1),
    ),
    "bias_grad": (
        Algorithm("plain", lambda dy, db, g: plain.bias_grad(dy, db), plain.bias_grad_roundings),
        Algorithm("reference", lambda dy, db, g: textbook.bias_grad(dy, db), lambda g, dtype: _positions(g)),
    ),
    "max_pool": (
        Algorithm("plain", plain_pooling.max_pool, lambda g, dtype: 0),
        Algorithm("reference", _textbook(textbook.max_pool), lambda g, dtype: 0),
    ),
    "max_pool_grad": (
        Algorithm("plain", plain_pooling.max_pool_grad, lambda g, dtype: g.taps),
        Algorithm("reference", _textbook(textbook.max_pool_grad), lambda g, dtype: g.taps),
    ),
    "avg_pool": (
        Algorithm("plain", plain_pooling.avg_pool, plain_pooling.mean_roundings),
        Algorithm("reference", _textbook(textbook.avg_pool), plain_pooling.mean_roundings),
    ),
    "avg_pool_grad": (
        Algorithm("plain", plain_pooling.avg_pool_grad, plain_pooling.mean_roundings),
        Algorithm("reference", _textbook(textbook.avg_pool_grad), lambda g, dtype: 2 * g.taps + 1),
    ),
}

_chosen: ContextVar[str] = ContextVar("algorithm", default="auto")


def names() -> tuple[str, ...]:
    """What `algorithm` accepts."""
    return ("auto", *dict.fromkeys(row.name for rows in OPERATIONS.values() for row in rows))


@contextmanager
def algorithm(name: str) -> Iterator[None]:
    """Within `with fc.algorithm(name):` operations use the algorithm of that name; "auto" takes the fastest that fits.

    An operation that has no such algorithm, or whose geometry it does not fit, stays with "auto". ValueError for unknown names.
    """
    if name not in names():
        raise ValueError(f"algorithm: {name!r} is not one of {', '.join(map(repr, names()))}")
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def pick(operation: str, g: Geometry) -> Algorithm:
    """The row to run: the chosen name if it fits, else the first that fits."""
    fitting = [row for row in OPERATIONS[operation] if row.fits(g)]
    wanted = _chosen.get()
    return next((row for row in fitting if row.name == wanted), fitting[0])
