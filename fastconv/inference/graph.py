"""From a model's layers to the steps of its inference: what runs in one pass is merged, what does nothing is left out.

    Conv2d BatchNorm2d ReLU MaxPool2d Dropout Flatten Linear        ->        Convolve (3 layers)  MaxPool  Convolve (2 layers)

Flatten costs nothing before a Linear: the rows of its weight are put into the order of the image's memory, (h, w, c) instead of (c, h, w).
"""

import copy
import math
from collections import Counter
from typing import NamedTuple

import numpy as np

from fastconv import layers
from fastconv.inference import steps
from fastconv.inference.fold import Affine, folded
from fastconv.kernels.table import chosen
from fastconv.layers import Layer
from fastconv.layers.activations import Activation
from fastconv.layers.joins import Concatenation, Sum
from fastconv.layers.joins import Join as Joining
from fastconv.layers.pooling import Average, Maximum
from fastconv.layers.resampling import Resampled
from fastconv.layers.reshape import Rows

CONVOLUTIONS = layers.Conv1d, layers.Conv2d, layers.Conv3d
TRANSPOSED = layers.ConvTranspose1d, layers.ConvTranspose2d, layers.ConvTranspose3d
NORMS = layers.BatchNorm1d, layers.BatchNorm2d, layers.BatchNorm3d
MAX_POOLS = layers.MaxPool1d, layers.MaxPool2d, layers.MaxPool3d
NOTHING = layers.Dropout, layers.Dropout1d, layers.Dropout2d, layers.Dropout3d, layers.Identity
FLATTENS = layers.Flatten, Rows
WEIGHTS = (*CONVOLUTIONS, layers.Linear, *TRANSPOSED)
KNOWN = layers.__name__ + "."  # layers of these modules are what they seem; a subclass of somebody else's may do anything


class Value(NamedTuple):
    """An array between steps: number of its memory, and its shape without N. image: (C, spatial...) where a Flatten's rows lie as that image does."""

    number: int
    shape: tuple[int, ...]
    image: tuple[int, ...] | None = None


class Entry(NamedTuple):
    """A layer of a chain, and whether it may be merged with the one before."""

    name: str
    layer: Layer
    joins: bool


class Node(NamedTuple):
    step: steps.Step
    inputs: tuple[Value, ...]
    output: Value


def chain(layer: Layer, name: str = "", joins: bool = True) -> list[Entry]:
    """The layers that run one after another; Sequentials are taken apart, what does nothing in inference is left out."""
    if type(layer) in NOTHING:
        return []
    if type(layer) is not layers.Sequential:
        return [Entry(name or "model", layer, joins)]
    found = []
    for i, inner in enumerate(layer.layers):
        found += chain(inner, f"{name}.{i}" if name else str(i), joins if i == 0 else layer.fuse)
    return found


class Graph:
    """The steps of a model for inputs of a shape (N, ...)."""

    def __init__(self, model: Layer, input_shape: tuple[int, ...]):
        self.N, self.nodes, self.count = input_shape[0], [], 1
        self.input = Value(0, tuple(input_shape[1:]))
        self.output = self._in_order(self._chain(chain(model), self.input))

    def _new(self, shape: tuple[int, ...], image: tuple[int, ...] | None = None) -> Value:
        self.count += 1
        return Value(self.count - 1, shape, image)

    def _add(self, step: steps.Step, inputs: tuple[Value, ...], output: Value) -> Value:
        self.nodes.append(Node(step, inputs, output))
        return output

    def _in_order(self, x: Value) -> Value:
        """The same in PyTorch's order, for whoever reads it as such."""
        if x.image is None:
            return x
        return self._add(steps.Rows([("", layers.Flatten())]), (Value(x.number, x.image),), self._new(x.shape))

    def _chain(self, entries: list[Entry], x: Value) -> Value:
        while entries:
            taken, x = self._first(entries, x)
            entries = entries[taken:]
        return x

    def _first(self, entries: list[Entry], x: Value) -> tuple[int, Value]:
        """How many layers the next step takes, and its output."""
        layer, kind = entries[0].layer, type(entries[0].layer)
        if kind in FLATTENS:
            return 1, self._flatten(x)
        if _is(layer, Activation):
            step = steps.Map([(entries[0].name, layer)], layer.function, layer.numbers)
            return 1, self._add(step, (x,), self._new(x.shape, x.image))
        if isinstance(layer, layers.Module):
            return 1, self._module(entries[0], x)
        norms, relu = self._joined(entries)
        taken = entries[: 1 + norms + relu]
        made_of = [(entry.name, entry.layer) for entry in taken]
        affines = [Affine.of(entry.layer) for entry in entries[1 : 1 + norms]]
        if kind in CONVOLUTIONS or kind is layers.Linear:
            return len(taken), self._convolve(made_of, affines, relu, x)
        if kind is layers.ReLU and not _pools(entries[:2][-1]):
            return 1, self._add(steps.Map(made_of[:1], "relu"), (x,), self._new(x.shape, x.image))
        x = self._in_order(x)
        if kind is layers.ReLU:
            return 2, self._pool([(entry.name, entry.layer) for entry in entries[:2]], entries[1].layer, True, x)
        if kind in TRANSPOSED:
            return len(taken), self._transposed(made_of, affines, relu, x)
        if _is(layer, Maximum):
            return len(taken), self._pool(made_of, layer, relu, x)
        if kind in NORMS:
            return len(taken), self._normalize(made_of, layer, relu, x)
        if kind is layers.Residual:
            return len(taken), self._residual(made_of, layer, relu, x)
        return 1, self._alone(entries[0], x)

    def _joined(self, entries: list[Entry]) -> tuple[int, bool]:
        """How many normalizations after the first layer it takes, and whether a ReLU behind them."""
        layer, kind, norms = entries[0].layer, type(entries[0].layer), 0
        if kind in WEIGHTS:
            norms = next((i for i, entry in enumerate(entries[1:]) if not _folds(entry)), len(entries) - 1)
        after = entries[1 + norms : 2 + norms]
        relu = bool(after) and after[0].joins and type(after[0].layer) is layers.ReLU
        takes = kind in (*WEIGHTS, *NORMS, layers.Residual) or (kind in MAX_POOLS and layer.takes_relu)
        return norms, relu and takes

    def _alone(self, entry: Entry, x: Value) -> Value:
        """A layer with which nothing is merged."""
        made_of, layer = [(entry.name, entry.layer)], entry.layer
        if type(layer) is layers.Concat:
            parts = [self._in_order(self._chain(chain(branch, f"{entry.name}.{i}"), x)) for i, branch in enumerate(layer.branches)]
            return self._add(steps.Join(made_of), tuple(parts), self._after(layer, x))
        if _is(layer, Average):
            return self._add(steps.AvgPool(made_of, copy.copy(layer), chosen.get()), (x,), self._after(layer, x))
        if _is(layer, Resampled):
            return self._add(steps.Resample(made_of, copy.copy(layer)), (x,), self._after(layer, x))
        return self._add(steps.Ask(made_of, copy.deepcopy(layer)), (x,), self._after(layer, x))

    def _module(self, entry: Entry, x: Value) -> Value:
        """What its forward does: chains of layers, each of which alone reads what the one before gives, and sums and the like between them."""
        record, outputs, single = entry.layer.record([(self.N, *x.shape)], False, {})
        if not single:
            raise ValueError(f"compile: {type(entry.layer).__name__} gives several outputs, a compiled model has one")
        nodes, values, done = record.nodes, {0: x}, set()
        reads = Counter([number for _, taken in nodes for number in taken] + list(outputs))
        reader = {number: i for i, (_, taken) in enumerate(nodes) for number in taken if reads[number] == 1}
        for first, (layer, taken) in enumerate(nodes):
            if first in done:
                continue
            together = [first]
            while (then := reader.get(together[-1] + 1)) is not None and _goes_on([nodes[i][0] for i in together], nodes[then][0]):
                together.append(then)
            done |= {*together}
            given = together[-1] + 1
            record.shape(given)  # which tells what does not fit
            if isinstance(layer, Joining):
                values[given] = self._join(entry, layer, [self._in_order(values[n]) for n in taken], record.shape(first + 1), len(together) > 1)
                continue
            chained = []
            for i in together:
                name = entry.layer.path_of(nodes[i][0])
                chained += chain(nodes[i][0], name if entry.name == "model" else f"{entry.name}.{name}", bool(chained))
            values[given] = self._chain(chained, values[taken[0]])
        return values[outputs[0]]

    def _join(self, entry: Entry, join: Joining, inputs: list[Value], shape: tuple[int, ...], relu: bool) -> Value:
        made_of, output = [("F" if entry.name == "model" else f"{entry.name}.F", join)], self._new(shape[1:])
        kinds = {Sum: lambda: steps.Add(made_of, relu), Concatenation: lambda: steps.Join(made_of)}
        return self._add(kinds.get(type(join), lambda: steps.Combine(made_of, join))(), tuple(inputs), output)

    def _after(self, layer: Layer, x: Value) -> Value:
        N, *shape = layer.output_shape((self.N, *x.shape))
        if N != self.N:
            raise ValueError(f"compile: {layer!r} makes {(N, *shape)} of {(self.N, *x.shape)}; the first axis must stay the batch's")
        return self._new(tuple(shape))

    def _flatten(self, x: Value) -> Value:
        """Rows of the image's memory, whose order is PyTorch's where there is one channel or one position."""
        C, *spatial = x.shape or (1,)
        rows, positions = (C * math.prod(spatial),), math.prod(spatial)
        return Value(x.number, rows, x.image if len(x.shape) == 1 else x.shape if min(C, positions) > 1 else None)

    def _convolve(self, made_of: list, affines: list[Affine], relu: bool, x: Value) -> Value:
        layer = made_of[0][1]
        linear = type(layer) is layers.Linear
        x = x if linear else self._in_order(x)
        g, w = layer.geometry((self.N, *x.shape)), np.array(layer.weight.memory)
        if x.image is not None:
            w = w.reshape(x.image[0], -1, g.OC).swapaxes(0, 1)  # the rows of channel 0 first -> those of position 0 first
        b = np.zeros(g.OC, w.dtype) if layer.bias is None else np.array(layer.bias.memory)
        w, b = folded(np.ascontiguousarray(w).reshape(-1, g.OC), b, affines)
        step = steps.Convolve(made_of, g, (w.reshape(-1), b), relu, chosen.get() if linear else layer._algorithm())
        return self._add(step, (x,), self._new(g.output_shape[1:]))

    def _transposed(self, made_of: list, affines: list[Affine], relu: bool, x: Value) -> Value:
        """Its kernels know no bias; bias, the first normalization and a ReLU are one pass behind it, every other normalization one more."""
        layer = made_of[0][1]
        g, b = layer.geometry((self.N, *x.shape)), layer.bias
        step = steps.ConvolveBack(made_of[:1], g, np.array(layer.weight.memory), layer._algorithm())
        y = self._add(step, (x,), self._new(g.input_shape[1:]))
        dtype, C = layer.weight.dtype, layer.out_channels
        norms = len(affines)
        if b is not None and not norms:
            affines = [Affine(-b.value.astype(np.float64), np.ones(C), np.ones(C, dtype), np.zeros(C, dtype))]
        elif b is not None:
            affines = [affines[0].after_bias(b.value), *affines[1:]]
        for i, affine in enumerate(affines):
            last = relu and i == len(affines) - 1
            own = made_of[1 + i : 2 + i + last] if norms else made_of[:1] + made_of[1:] * last
            step = steps.Normalize(own, affine, (affine.weight, affine.bias), 1.0, last)
            y = self._add(step, (y,), self._new(y.shape))
        return self._add(steps.Map(made_of[-1:], "relu"), (y,), self._new(y.shape)) if relu and not affines else y

    def _normalize(self, made_of: list, layer, relu: bool, x: Value) -> Value:
        affine = None if layer.running_mean is None else Affine.of(layer)
        parameters = () if layer.weight is None else (np.array(layer.weight.memory), np.array(layer.bias.memory))
        return self._add(steps.Normalize(made_of, affine, parameters, layer.eps, relu), (x,), self._after(layer, x))

    def _pool(self, made_of: list, layer, relu: bool, x: Value) -> Value:
        return self._add(steps.MaxPool(made_of, copy.copy(layer), relu, chosen.get()), (x,), self._after(layer, x))

    def _residual(self, made_of: list, layer, relu: bool, x: Value) -> Value:
        name = made_of[0][0]
        parts = [("body", layer.body)] + ([] if layer.shortcut is None else [("shortcut", layer.shortcut)])
        ways = [self._in_order(self._chain(chain(part, f"{name}.{way}"), x)) for way, part in parts]
        return self._add(steps.Add(made_of, relu), (ways[0], ways[-1] if len(ways) > 1 else x), self._after(layer, x))


def _is(layer: Layer, kind: type) -> bool:
    return isinstance(layer, kind) and type(layer).__module__.startswith(KNOWN)


def _goes_on(together: list, then) -> bool:
    """Whether `then` may be in one chain with these: a sum takes a ReLU and nothing else."""
    if isinstance(together[0], Joining):
        return [type(layer) for layer in together] == [Sum] and type(then) is layers.ReLU
    return not isinstance(then, Joining)


def _pools(entry: Entry) -> bool:
    """Whether it is a max pooling that takes the ReLU before it."""
    return entry.joins and type(entry.layer) in MAX_POOLS and entry.layer.takes_relu


def _folds(entry: Entry) -> bool:
    """Whether it is a batch normalization by running statistics, which the layer before may take."""
    return entry.joins and type(entry.layer) in NORMS and entry.layer.running_mean is not None
