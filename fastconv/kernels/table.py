"""Per operation its algorithms, fastest first, the textbook last. A new algorithm is one bound pass and one row.

`bind(g, dtype, ...)` makes a pass: all that it needs for a geometry and dtype, once. The pass is called on flat arrays, which lie in memory as
(N, D, H, W, C) and (KD, KH, KW, IC/G, OC):

    conv_forward        bind(g, dtype, lower_bound)     run(x, w, b, y)            y not below lower_bound: 0 is a ReLU, -inf nothing
    conv_input_grad     bind(g, dtype)                  run(dy, w, dx)
    conv_weight_grad    bind(g, dtype, bias)            run(x, dy, dw, db, accumulate)     db None if bias is False
    bias_grad           bind(g, dtype)                  run(dy, db, accumulate)

`fits` says for which geometries a row may be chosen (by any extent but N), `dtypes` for which dtypes, `pays` where it is the faster one: "auto"
takes the first row that fits and pays. `error(g, dtype)` is its error constant c in |result - exact| <= c * u * (the same sums over absolute
values), u the unit roundoff. `prepared`, bound as `bind` is, makes the same pass for weights that stay: `pack(w)` once, and the pass is called
with that in the place of w; passes of the same `form` take the same.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import numpy as np

from fastconv.geometry import Geometry, shown
from fastconv.kernels import depthwise, errors
from fastconv.kernels import textbook_passes as textbook
from fastconv.kernels.compile import each_time
from fastconv.kernels.igemm import col2im, forward, weight_grad
from fastconv.kernels.igemm.plan import fits
from fastconv.kernels.narrow import forward as narrow
from fastconv.kernels.narrow import plan as planes
from fastconv.kernels.narrow import weight_grad as narrow_weight_grad
from fastconv.kernels.plain import adaptive
from fastconv.kernels.plain import convolution as plain
from fastconv.kernels.plain import pooling as plain_pooling
from fastconv.kernels.plain.padding import any_padding
from fastconv.kernels.pooling import average, maximum, scatter
from fastconv.kernels.selfcheck import vectors_work
from fastconv.kernels.winograd import forward as winograd
from fastconv.kernels.winograd import plan as tiles
from fastconv.kernels.winograd.weight_grad import WeightGrad as WinogradWeightGrad

PHASES = 1 << 13  # of a stride; up to 4096 the direct rows were 1.6 to 60 times as fast as the plain ones
PADDED = 1 << 16, 16  # positions of a padded input: so many, and so many more for each of the input and of the output


class Algorithm(NamedTuple):
    name: str
    bind: Callable[..., Callable[..., None]]
    error: Callable[[Geometry, np.dtype], float]
    fits: Callable[[Geometry], bool] = lambda g: True
    dtypes: tuple[type, ...] = (np.float32, np.float64)
    pays: Callable[[Geometry], bool] = lambda g: True
    prepared: Callable[..., Callable[..., None]] | None = None


def exact(g, dtype) -> int:
    return 0


def gradient_fits(g: Geometry) -> bool:
    """Whether phases of the stride, and inputs with a padding that is not zeros, are few: each phase is a pass with tables of its own."""
    if g.SD * g.SH * g.SW > PHASES and math.prod(min(S, I) for I, _, _, S, _, _ in g.axes) > PHASES:
        return False
    return g.padding_mode == "zeros" or math.prod(g.padded[2:5]) <= PADDED[0] + PADDED[1] * (math.prod(g[2:5]) + math.prod(g[6:9]))


def padded(row: Algorithm) -> Algorithm:
    """An input gradient for every padding mode from one for zeros."""
    name, bind, error, fits, dtypes, pays, _ = row
    fits_padded = lambda g: gradient_fits(g) and fits(g.padded)  # noqa: E731
    return Algorithm(name, any_padding(bind), errors.any_padding(error), fits_padded, dtypes, lambda g: pays(g.padded))


ROWS: dict[str, tuple[Algorithm, ...]] = {
    "conv_forward": (
        Algorithm("depthwise", depthwise.Forward, depthwise.forward_error, depthwise.fits),
        Algorithm("winograd", winograd.Forward, errors.winograd_forward, tiles.fits, (np.float32,), tiles.pays, winograd.Prepared),
        Algorithm("narrow", narrow.Forward, errors.narrow_forward, planes.fits, pays=planes.pays),
        Algorithm("direct", forward.Forward, errors.forward, fits, prepared=forward.Prepared),
        Algorithm("plain", plain.conv_forward, errors.plain_forward),
        Algorithm("reference", textbook.conv_forward, errors.textbook_forward),
    ),
    "conv_input_grad": (
        padded(Algorithm("depthwise", depthwise.InputGrad, depthwise.input_grad_error, depthwise.fits)),
        padded(Algorithm("winograd", winograd.InputGrad, errors.winograd_input_grad, tiles.fits, (np.float32,), tiles.pays)),
        padded(Algorithm("col2im", col2im.InputGrad, errors.col2im, col2im.fits, pays=col2im.pays)),
        padded(Algorithm("direct", forward.InputGrad, errors.input_grad, fits)),
        padded(Algorithm("plain", plain.conv_input_grad, errors.plain_input_grad)),
        Algorithm("reference", textbook.conv_input_grad, errors.textbook_input_grad),
    ),
    "conv_weight_grad": (
        Algorithm("depthwise", depthwise.WeightGrad, depthwise.weight_grad_error, depthwise.fits),
        Algorithm("winograd", WinogradWeightGrad, errors.winograd_weight_grad, tiles.fits, (np.float32,), tiles.pays),
        Algorithm("narrow", narrow_weight_grad.WeightGrad, errors.narrow_weight_grad, narrow_weight_grad.fits, pays=narrow_weight_grad.pays),
        Algorithm("direct", weight_grad.WeightGrad, errors.weight_grad, fits),
        Algorithm("plain", plain.conv_weight_grad, errors.plain_weight_grad),
        Algorithm("reference", textbook.conv_weight_grad, errors.textbook_weight_grad),
    ),
    "bias_grad": (
        Algorithm("plain", plain.bias_grad, errors.plain_bias_grad),
        Algorithm("reference", textbook.bias_grad, lambda g, dtype: errors.positions(g)),
    ),
    "max_pool": (
        Algorithm("direct", maximum.MaxPool, exact),
        Algorithm("plain", plain_pooling.max_pool, exact),
        Algorithm("reference", textbook.max_pool, exact),
    ),
    "max_pool_grad": (
        Algorithm("scatter", scatter.ScatterGrad, lambda g, dtype: g.taps, pays=scatter.pays),
        Algorithm("direct", maximum.MaxPoolGrad, lambda g, dtype: g.taps),
        Algorithm("plain", plain_pooling.max_pool_grad, lambda g, dtype: g.taps),
        Algorithm("reference", textbook.max_pool_grad, lambda g, dtype: g.taps),
    ),
    "avg_pool": (
        Algorithm("direct", average.AvgPool, errors.mean),
        Algorithm("plain", plain_pooling.avg_pool, errors.mean),
        Algorithm("reference", textbook.avg_pool, errors.mean),
    ),
    "avg_pool_grad": (
        Algorithm("direct", average.AvgPoolGrad, errors.mean),
        Algorithm("plain", plain_pooling.avg_pool_grad, errors.mean),
        Algorithm("reference", textbook.avg_pool_grad, lambda g, dtype: 2 * g.taps + 1),
    ),
    # Windows of different sizes, with `geometry.Shares` in the place of the geometry.
    "adaptive_max_pool": (Algorithm("direct", maximum.MaxPool, exact), Algorithm("plain", adaptive.max_pool, exact)),
    "adaptive_max_pool_grad": (
        Algorithm("direct", maximum.MaxPoolGrad, lambda shares, dtype: errors.readers(shares)),
        Algorithm("plain", adaptive.max_pool_grad, lambda shares, dtype: errors.readers(shares)),
    ),
    "adaptive_avg_pool": (Algorithm("direct", average.AvgPool, errors.adaptive_mean), Algorithm("plain", adaptive.avg_pool, errors.adaptive_mean)),
    "adaptive_avg_pool_grad": (
        Algorithm("direct", average.AvgPoolGrad, errors.adaptive_mean),
        Algorithm("plain", adaptive.avg_pool_grad, errors.adaptive_mean),
    ),
}


WITHOUT_VECTORS = ("plain", "reference")  # NumPy has a part in these passes


def as_one(row: Algorithm) -> Algorithm:
    """The same pass, which is one call for who notes it."""
    if row.name not in WITHOUT_VECTORS:
        return row

    def bind(*words):
        run = row.bind(*words)
        return lambda *operands: each_time(run, *operands)

    return row._replace(bind=bind)


OPERATIONS = {operation: tuple(map(as_one, rows)) for operation, rows in ROWS.items()}


def names() -> tuple[str, ...]:
    """What `algorithm` accepts."""
    return ("auto", *dict.fromkeys(row.name for rows in OPERATIONS.values() for row in rows))


def checked_name(what: str, name: str) -> str:
    """The name of an algorithm; ValueError, which says whose it was to be, for others."""
    if not isinstance(name, str) or name not in names():
        raise ValueError(f"{what} {shown(name)} is not one of {', '.join(map(repr, names()))}")
    return name


at_first: str = checked_name("the environment variable FASTCONV_ALGORITHM:", os.environ.get("FASTCONV_ALGORITHM") or "auto")
chosen: ContextVar[str] = ContextVar("algorithm", default=at_first)


@contextmanager
def algorithm(name: str) -> Iterator[None]:
    """Within `with fc.algorithm(name):` operations use the algorithm of that name; "auto" takes the fastest that fits.

    An operation that has no such algorithm, or whose geometry it does not fit, stays with "auto". The environment variable FASTCONV_ALGORITHM says
    what holds outside; a convolution layer may have an `algorithm` of its own. ValueError for unknown names.
    """
    token = chosen.set(checked_name("algorithm: name", name))
    try:
        yield
    finally:
        chosen.reset(token)


def pick(operation: str, g: Geometry, dtype: np.dtype, name: str | None = None) -> Algorithm:
    """The row to run: the chosen name (None: what `algorithm` says) if it fits, else the first that fits and pays; without vectors where they do not
    work."""
    fitting = [row for row in OPERATIONS[operation] if dtype in row.dtypes and row.fits(g)]
    wanted = chosen.get() if name is None else name
    row = next((row for row in fitting if row.name == wanted), None) or next(row for row in fitting if row.pays(g))
    if row.name in WITHOUT_VECTORS or vectors_work():
        return row
    return next(row for row in fitting if row.name in WITHOUT_VECTORS)
