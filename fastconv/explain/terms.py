"""Where a number comes from: every product behind one output, one weight's gradient, one input's gradient.

A convolution is one long sum of products  dy[n,oc,oh,ow] * x[n,ic,ih,iw] * w[oc,ic,kh,kw]  over all places where the index equation

    ih = oh * SH - PH + kh * DH          (and so for depth and width)

holds; outside of the input it meets zeros, or, by padding_mode, copies of inputs. Hold one output fixed, and the sum over the rest is that
output; hold one weight fixed, and it is the weight's gradient; hold one input fixed, and it is the input's. `output_terms`, `weight_terms`
and `input_terms` list these sums, read from the equation alone, without the kernels. They take any layer: where it is no convolution (and no
Linear, which is one on a single pixel), they list its derivatives in the place of weights: slope[o,i] is how much output o rises per unit of
input i, both counted flat in one image.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from fastconv.explain.dense import CONVOLUTIONS, cells_read, derivative, geometry, inside, rows_of_derivative
from fastconv.geometry import coordinates, instance, shown, sources, whole
from fastconv.layers import Layer
from fastconv.ops.operands import floats

SHOWN = 9  # products that are written out; of more, the first and last three


class Factor(NamedTuple):
    """One side of the products: `name[index[i]]` is `values[i]`."""

    name: str
    index: np.ndarray  # (terms, axes)
    values: np.ndarray  # (terms,)


@dataclass(frozen=True, eq=False)
class Terms:
    """name = rest + sum over i of left.values[i] * right.values[i]; `rest` is an output's bias. Its str writes all out."""

    name: str
    left: Factor
    right: Factor
    rest: float = 0.0

    @property
    def products(self) -> np.ndarray:
        """(terms,) float64."""
        return self.left.values.astype(np.float64) * self.right.values

    @property
    def total(self) -> float:
        return self.rest + float(self.products.sum())

    def __len__(self) -> int:
        return len(self.left.values)

    def __str__(self) -> str:
        rest, left, right = _number(self.rest), self.left.values, self.right.values
        lines = [  # a sum of one product is that product
            self._sum("bias", [f"{_entry(self.left, i)} * {_entry(self.right, i)}" for i in self._shown()]),
            self._sum(rest, [f"{_number(left[i])} * {_number(right[i])}" for i in self._shown()]),
            *([self._sum(rest, [_number(self.products[i]) for i in self._shown()])] if len(self) > 1 or self.rest else []),
            f"{self.total:.6g}",
        ]
        return f"{self.name} = " + "\n  = ".join(dict.fromkeys(lines))

    def _shown(self) -> list[int]:
        """All terms, or the first and the last ones of many."""
        every = list(range(len(self)))
        return every if len(every) <= SHOWN else every[:3] + every[-3:]

    def _sum(self, rest: str, words: list[str]) -> str:
        if len(self) > SHOWN:
            words.insert(3, f"... {len(self) - 6} more ...")
        return " + ".join(([rest] if self.rest else []) + words) or "0"


def _entry(factor: Factor, i: int) -> str:
    return f"{factor.name}[{','.join(map(str, factor.index[i]))}]"


def _number(value: float) -> str:
    return f"({value:.4g})" if value < 0 else f"{value + 0.0:.4g}"  # + 0.0: -0 is 0


def output_terms(layer: Layer, x, index) -> Terms:
    """y[index] = bias + sum of x * w: what one output is made of. index: (n, oc, oh, ow), as many as the output has axes."""
    (x,) = _batches("output_terms", layer, x=x)
    index = _index("output_terms", "y", index, layer.output_shape(x.shape))
    g = geometry(layer, x.shape)
    if g is None:
        return _output_slopes(layer, x, index)
    n, oc, od, oh, ow = _five(index, g.rank)
    ic, kd, kh, kw = np.indices((g.IC // g.G, g.KD, g.KH, g.KW)).reshape(4, -1)
    id, ih, iw, real = cells_read(g, od, oh, ow, kd, kh, kw)
    group = oc // (g.OC // g.G)
    bias = 0.0 if layer.bias is None else float(layer.bias.value[oc])
    at_x, at_w = (n, group * (g.IC // g.G) + ic, id, ih, iw), (oc, ic, kd, kh, kw)
    return Terms(_name("y", index), _factor("x", x, at_x, real, g.rank), _factor("w", layer.weight.value, at_w, real, g.rank), bias)


def weight_terms(layer: Layer, x, dy, index) -> Terms:
    """dw[index] = sum of x * dy over every place where that weight is used. index: (oc, ic, kh, kw), as many as the weight has axes.

    dy: the gradient of the layer's output, as its backward takes it. ValueError for a layer without a weight of its own.
    """
    x, dy = _batches("weight_terms", layer, x=x, dy=dy)
    g = geometry(layer, x.shape)
    if g is None:
        raise ValueError(f"weight_terms: {type(layer).__name__} has no weight of its own; pass the layer that has it, and the x that reaches it")
    _check_dy("weight_terms", dy, g.output_shape)
    index = _index("weight_terms", "w", index, g.weight_shape)
    oc, ic, kd, kh, kw = _five(index, g.rank)
    n, od, oh, ow = np.indices((g.N, g.OD, g.OH, g.OW)).reshape(4, -1)
    id, ih, iw, real = cells_read(g, od, oh, ow, kd, kh, kw)
    group = oc // (g.OC // g.G)
    at_x, at_dy = (n, group * (g.IC // g.G) + ic, id, ih, iw), (n, oc, od, oh, ow)
    return Terms(_name("dw", index), _factor("x", x, at_x, real, g.rank), _factor("dy", dy, at_dy, real, g.rank))


def input_terms(layer: Layer, x, dy, index) -> Terms:
    """dx[index] = sum of dy * w over every output that this input has influenced. index: (n, ic, ih, iw), as many as x has axes.

    dy: the gradient of the layer's output, as its backward takes it. A layer that is no convolution has slopes for weights, at x.
    """
    x, dy = _batches("input_terms", layer, x=x, dy=dy)
    output_shape = layer.output_shape(x.shape)
    _check_dy("input_terms", dy, output_shape)
    index = _index("input_terms", "x", index, x.shape)
    g = geometry(layer, x.shape)
    if g is None:
        return _input_slopes(layer, x, dy, index)
    n, c, id, ih, iw = _five(index, g.rank)
    group, ic = divmod(c, g.IC // g.G)
    jd, jh, jw = (  # places of the padded input where it stands: its own, and those of its copies
        np.unique(places[sources(places - P, I, g.padding_mode) == i])
        for i, (I, O, K, S, P, D) in zip((id, ih, iw), g.axes)
        for places in [coordinates(O, K, S, D)[0]]
    )
    oc, kd, kh, kw, *copy = np.indices((g.OC // g.G, g.KD, g.KH, g.KW, len(jd), len(jh), len(jw))).reshape(7, -1)
    oc = oc + group * (g.OC // g.G)
    (od, rd), (oh, rh), (ow, rw) = (  # the index equation solved for the output; what leaves a rest, the stride has skipped
        np.divmod(jd[copy[0]] - kd * g.DD, g.SD),
        np.divmod(jh[copy[1]] - kh * g.DH, g.SH),
        np.divmod(jw[copy[2]] - kw * g.DW, g.SW),
    )
    real = (rd == 0) & (rh == 0) & (rw == 0) & inside(od, g.OD) & inside(oh, g.OH) & inside(ow, g.OW)
    at_dy, at_w = (n, oc, od, oh, ow), (oc, ic, kd, kh, kw)
    return Terms(_name("dx", index), _factor("dy", dy, at_dy, real, g.rank), _factor("w", layer.weight.value, at_w, real, g.rank))


def _five(index: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """An index of the public array as one with depth, row and column."""
    return (*index[:2], *(0,) * (3 - rank), *index[2:])


def _factor(name: str, array: np.ndarray, at: tuple, real: np.ndarray, rank: int) -> Factor:
    """The entries of the public array at the real ones of these (.., .., depth, row, column)."""
    columns = np.stack(np.broadcast_arrays(*at), axis=1)[real]
    index = np.delete(columns, range(2, 5 - rank), axis=1)
    return Factor(name, index, array[tuple(index.T)])


def _output_slopes(layer: Layer, x: np.ndarray, index: tuple[int, ...]) -> Terms:
    """y[index] = rest + sum of x * slope, in the one image of the batch that it depends on."""
    n, image = index[0], x[index[0] : index[0] + 1]
    o = int(np.ravel_multi_index(index[1:], layer.output_shape(image.shape)[1:]))
    slopes = rows_of_derivative(layer, image, [o])[0].astype(np.float64)
    flat = np.flatnonzero(slopes)
    terms = Terms(_name("y", index), _places("x", n, flat, x), Factor("slope", np.stack((np.full(len(flat), o), flat), axis=1), slopes[flat]))
    rest = float(layer(image)[(0, *index[1:])]) - terms.total
    return replace(terms, rest=rest) if abs(rest) > 64 * np.finfo(x.dtype).eps * abs(terms.products).sum() else terms  # less than that is rounding


def _input_slopes(layer: Layer, x: np.ndarray, dy: np.ndarray, index: tuple[int, ...]) -> Terms:
    """dx[index] = sum of dy * slope over the outputs of its image."""
    n, i = index[0], int(np.ravel_multi_index(index[1:], x.shape[1:]))
    slopes = derivative(layer, x[n : n + 1])[:, i]
    flat = np.flatnonzero(slopes)
    return Terms(_name("dx", index), _places("dy", n, flat, dy), Factor("slope", np.stack((flat, np.full(len(flat), i)), axis=1), slopes[flat]))


def _places(name: str, n: int, flat: np.ndarray, array: np.ndarray) -> Factor:
    """The entries of image n with these flat numbers."""
    index = np.stack((np.full(len(flat), n), *np.unravel_index(flat, array.shape[1:])), axis=1)
    return Factor(name, index, array[tuple(index.T)])


def _name(letter: str, index: tuple[int, ...]) -> str:
    return f"{letter}[{','.join(map(str, index))}]"


def _index(op: str, name: str, index, shape: tuple[int, ...]) -> tuple[int, ...]:
    try:
        numbers = tuple(whole(op, "index", i) for i in index)
    except TypeError:
        raise TypeError(f"{op}: index must be {len(shape)} integers, one per axis of {name}{shape}, got {shown(index)}") from None
    if len(numbers) != len(shape) or not all(0 <= i < extent for i, extent in zip(numbers, shape)):
        raise ValueError(f"{op}: index {numbers} is outside {name}{shape}")
    return numbers


def _batches(op: str, layer: Layer, **arrays) -> list[np.ndarray]:
    """The arrays as batches (N, ...) of the layer's dtype."""
    instance(op, "layer", layer, Layer, "a Layer")
    batches = floats(op, **arrays, **({"w": layer.weight.value} if type(layer).forward in CONVOLUTIONS else {}))[: len(arrays)]
    for name, array in zip(arrays, batches):
        if array.ndim < 2:
            raise ValueError(f"{op}: {name} must be a batch, (N, ...), got {array.shape}; for a single example write {name}[None]")
    return batches


def _check_dy(op: str, dy: np.ndarray, shape: tuple[int, ...]) -> None:
    if dy.shape != shape:
        raise ValueError(f"{op}: dy{dy.shape} does not fit the output {shape}")
