"""Per operation its algorithms, fastest first, the textbook last. A new algorithm is one function and one row.

`run` takes 5-D arrays and the geometry (see `kernels`), `fits` says for which geometries it may be chosen (by any extent but
N), `roundings(g, dtype)` is its error bound c in  |result - exact| <= c * u * (the same sums over absolute values).
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry, reads, repeats
from fastconv.kernels import (
    adaptive_pooling,
    depthwise,
    depthwise_plan,
    depthwise_weight_grad,
    plain_convolution,
    plain_pooling,
    reference,
    tiled_convolution,
    tiled_fold,
    tiled_weight_grad,
)
from fastconv.kernels.padding import fold_padding
from fastconv.kernels.selfcheck import vectors_work
from fastconv.kernels.tiled_plan import fits

PHASES = 1 << 13  # of a stride; up to 4096 the direct rows were 1.6 to 60 times as fast as the plain ones
CELLS = 1 << 16, 16  # of a padded input: so many, and so many more for each of the input and of the output


class Algorithm(NamedTuple):
    name: str
    run: Callable[..., None]
    roundings: Callable[[Geometry, np.dtype], float]
    fits: Callable[[Geometry], bool] = lambda g: True


def _textbook(kernel, tables=lambda g: (g.record(),), results: int = 1) -> Callable[..., None]:
    """Its last arrays are results. All go in and out as C-contiguous ones: a textbook compiled for each memory layout would take minutes."""

    def run(*arrays_and_geometry):
        *arrays, g = arrays_and_geometry
        plain = [np.ascontiguousarray(a) for a in arrays]
        kernel(*plain, *tables(g))
        for a, result in zip(arrays[-results:], plain[-results:]):
            if a is not result:
                a[...] = result

    return run


def _then_clamp(forward) -> Callable[..., None]:
    """y not below `least` (-inf: as it is), where no kernel does that before it stores."""

    def run(x, w, b, y, g, least):
        forward(x, w, b, y, g)
        if least > -np.inf:
            np.putmask(y, y <= least, least)

    return run


def _with_bias(weight_grad, bias_grad) -> Callable[..., None]:
    """Both gradients that need dy, where no kernel finds them in one read; db None: not asked for."""

    def run(x, dy, dw, db, g):
        weight_grad(x, dy, dw, g)
        if db is not None:
            bias_grad(dy, db)

    return run


def _sources(g: Geometry) -> tuple[np.ndarray, ...]:
    """The geometry as the textbook looks up its tables: strides and dilations are the tables' own."""
    *tables, steps = reads(g)
    (SD, SH, SW), (DD, DH, DW) = steps[:, 2:].T.tolist()
    return g._replace(SD=SD, SH=SH, SW=SW, DD=DD, DH=DH, DW=DW).record(), *tables


def _gradient_fits(g: Geometry) -> bool:
    """Whether phases of the stride, and cells of a padding that is not zeros, are few: each phase is a pass with tables of its own."""
    if g.SD * g.SH * g.SW > PHASES and math.prod(min(S, I) for I, _, _, S, _, _ in g.axes) > PHASES:
        return False
    return g.padding_mode == "zeros" or math.prod(g.padded[2:5]) <= CELLS[0] + CELLS[1] * (math.prod(g[2:5]) + math.prod(g[6:9]))


def _any_padding(row: Algorithm) -> Algorithm:
    """An input gradient for every padding mode from one for zeros: of the padded input, then folded back onto the input."""

    def run(dy, w, dx, g):
        if g.padding_mode == "zeros":
            row.run(dy, w, dx, g)
        else:
            padded = memory.channels_last((g.N, g.IC, *g.padded[2:5]), dx.dtype)
            row.run(dy, w, padded, g.padded)
            fold_padding(padded, dx, g)

    def roundings(g, dtype):
        return row.roundings(g.padded, dtype) + repeats(g) - 1

    return row._replace(run=run, roundings=roundings, fits=lambda g: _gradient_fits(g) and row.fits(g.padded))


def _positions(g: Geometry) -> int:
    return g.N * g.OD * g.OH * g.OW


tiled, plain, textbook = tiled_convolution, plain_convolution, reference
OPERATIONS: dict[str, tuple[Algorithm, ...]] = {
    "conv_forward": (
        Algorithm("depthwise", _then_clamp(depthwise.conv_forward), depthwise.forward_roundings, depthwise_plan.fits),
        Algorithm("direct", tiled.conv_forward, tiled.forward_roundings, fits),
        Algorithm("plain", _then_clamp(plain.conv_forward), plain.forward_roundings),
        Algorithm("reference", _then_clamp(_textbook(textbook.conv_forward, _sources)), lambda g, dtype: g.taps * g.IC // g.G + 1),
    ),
    "conv_input_grad": (
        _any_padding(Algorithm("depthwise", depthwise.conv_input_grad, depthwise.input_grad_roundings, depthwise_plan.fits)),
        _any_padding(Algorithm("fold", tiled_fold.conv_input_grad, tiled_fold.roundings, tiled_fold.fits)),
        _any_padding(Algorithm("direct", tiled.conv_input_grad, tiled.input_grad_roundings, fits)),
        _any_padding(Algorithm("plain", plain.conv_input_grad, plain.input_grad_roundings)),
        Algorithm("reference", _textbook(textbook.conv_input_grad, _sources), lambda g, dtype: repeats(g) * g.taps * g.OC // g.G + 1),
    ),
    "conv_weight_grad": (
        Algorithm("depthwise", depthwise_weight_grad.conv_weight_grad, depthwise_weight_grad.roundings, depthwise_plan.fits),
        Algorithm("direct", tiled_weight_grad.conv_weight_grad, tiled_weight_grad.roundings, fits),
        Algorithm("plain", _with_bias(plain.conv_weight_grad, plain.bias_grad), plain.weight_grad_roundings),
        Algorithm("reference", _with_bias(_textbook(textbook.conv_weight_grad, _sources), textbook.bias_grad), lambda g, dtype: _positions(g) + 1),
    ),
    "bias_grad": (
        Algorithm("plain", lambda dy, db, g: plain.bias_grad(dy, db), plain.bias_grad_roundings),
        Algorithm("reference", lambda dy, db, g: textbook.bias_grad(dy, db), lambda g, dtype: _positions(g)),
    ),
    "max_pool": (
        Algorithm("plain", plain_pooling.max_pool, lambda g, dtype: 0),
        Algorithm("reference", _textbook(textbook.max_pool, results=2), lambda g, dtype: 0),
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
    # Windows of different sizes, with `geometry.Shares` in the place of the geometry.
    "adaptive_max_pool": (Algorithm("plain", adaptive_pooling.max_pool, lambda shares, dtype: 0),),
    "adaptive_max_pool_grad": (Algorithm("plain", adaptive_pooling.max_pool_grad, adaptive_pooling.max_grad_roundings),),
    "adaptive_avg_pool": (Algorithm("plain", adaptive_pooling.avg_pool, adaptive_pooling.mean_roundings),),
    "adaptive_avg_pool_grad": (Algorithm("plain", adaptive_pooling.avg_pool_grad, adaptive_pooling.mean_roundings),),
}

WITHOUT_VECTORS = ("plain", "reference")

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
    """The row to run: the chosen name if it fits, else the first that fits; without vectors where they do not work."""
    fitting = [row for row in OPERATIONS[operation] if row.fits(g)]
    wanted = _chosen.get()
    row = next((row for row in fitting if row.name == wanted), fitting[0])
    if row.name in WITHOUT_VECTORS or vectors_work():
        return row
    return next(row for row in fitting if row.name in WITHOUT_VECTORS)
