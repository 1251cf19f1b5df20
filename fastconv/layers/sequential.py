"""Layers one after another."""

import copy
import operator
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv.geometry import described, entries, flag, shown
from fastconv.layers.fusion import Runs, steps_of
from fastconv.layers.joins import SUM, Sum
from fastconv.layers.layer import Backward, Layer, Step, once_through, only_layers
from fastconv.layers.parameter import flatten, learn
from fastconv.layers.recorded import Recorded
from fastconv.layers.shortcut import Shortcut
from fastconv.ops.operands import shape_tuple


def learns(layer: Runs, step: Backward) -> bool:
    """Whether any parameter that the way back reaches takes a gradient; asked of it where it tells (0.2 us), else of the layer (5 us)."""
    kept = getattr(step, "kept", None)
    return learn(*layer.parameters()) if kept is None else learn(*(p for p, _ in kept))


class Sequential(Layer):
    """y = last(...second(first(x))). Parameter names are PyTorch's: "0.weight", "0.bias", "3.weight", ...

    `Sequential({"conv1": Conv2d(1, 8, 3), "relu": ReLU()})` gives names of your own: "conv1.weight", and `model.conv1`. A slice, `model[:-1]`, is a
    Sequential of the same layers under the same names; `model[0] = layer`, `append`, `insert`, `extend` and `del model[0]` change it.

    All parameters move into one flat buffer. Backward with input_grad=False ends at the first layer with a parameter that is not frozen.
    Neighbors that have a common pass run as one, to the same bits; not with fuse=False. A ReLU runs with the max pooling after it, or with the
    convolution, Linear, BatchNorm or Residual before it, a Residual's sum with the BatchNorm that its body ends in.
    """

    def __init__(self, *layers: Layer | Mapping[str, Layer], fuse: bool = True):
        named = layers[0] if len(layers) == 1 and isinstance(layers[0], Mapping) else None
        self.layers: list[Layer] = list(layers if named is None else named.values())  # type: ignore[arg-type]  # checked in the next line
        only_layers("Sequential", "layers", tuple(self.layers))
        self.names = None if named is None else [_name(name) for name in named]  # None: "0", "1", ...
        self.fuse = flag("Sequential", "fuse", fuse)
        flatten(self.parameters())

    def named_children(self) -> Iterator[tuple[str, Layer]]:
        if self.names is not None and len(self.names) != len(self.layers):
            counts = f"{len(self.layers)} layers have {len(self.names)} names"
            raise RuntimeError(f"Sequential: {counts}: change named layers by append, insert, extend, del model[name] and model[name] = layer")
        return zip(map(str, range(len(self.layers))) if self.names is None else self.names, self.layers)

    def _steps(self, *after: Sum) -> Iterator[tuple[Runs, dict]]:
        """What runs in turn, if `after` follow, and the words that its `forward` takes besides."""
        return steps_of([*self.layers, *after]) if self.fuse else ((layer, {}) for layer in (*self.layers, *after))

    if not TYPE_CHECKING:  # it is called as every layer is

        def __call__(self, x):
            for layer, words in self._steps():
                x = layer.forward(x, training=False, **words)[0] if words else layer(x)
            return x

    def recorded(self, x: Recorded) -> Any:
        """Its layers are noted one by one, so that they may run with those around."""
        if type(self) is not Sequential or not self.fuse:
            return x.through(self)
        for layer in self.layers:
            x = layer(x)
        return x

    @property
    def takes_shortcut(self) -> bool:
        """Whether the last layer adds the shortcut of a Residual that has this body: `_forward_to_sum`."""
        own = type(self).forward is Sequential.forward
        return own and bool(self.layers) and all(type(layer) is not Sum for layer, _ in self._steps(SUM))

    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        return self._through(x, training, list(self._steps()))

    def _forward_to_sum(self, x: np.ndarray, training: bool, shortcut: Shortcut, relu: bool) -> tuple[np.ndarray, Backward]:
        """`forward`, whose last layer adds the shortcut and, if relu, clamps the sum."""
        *before, (last, words) = self._steps()
        return self._through(x, training, [*before, (last, words | {"shortcut": shortcut, "relu": relu})])

    def _through(self, x: np.ndarray, training: bool, to_run: list[tuple[Layer, dict]]) -> tuple[np.ndarray, Backward]:
        steps: list[tuple[Layer, Step]] = []
        for layer, words in to_run:
            x, step = layer.forward(x, training, **words)
            steps.append((layer, step))

        def backward(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
            gradient: np.ndarray | None = dy
            first = next((i for i, (layer, step) in enumerate(steps) if learns(layer, step)), len(steps))
            while len(steps) > (0 if input_grad else first):
                asked = input_grad or len(steps) - 1 > first
                gradient = steps[-1][1](gradient, asked)
                steps.pop()  # with it go the arrays that the layer had saved
            return gradient if input_grad else None

        return x, once_through(steps, backward, x)

    def inner(self, input_shape: tuple[int, ...]) -> Iterator[tuple[str, Layer, tuple[int, ...]]]:
        for name, layer in self.named_children():
            yield name, layer, input_shape
            input_shape = layer.output_shape(input_shape)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        input_shape = shape_tuple("Sequential", "input_shape", input_shape)
        for layer in self.layers:
            input_shape = layer.output_shape(input_shape)
        return input_shape

    if not TYPE_CHECKING:

        def __getattr__(self, name: str):
            if name in (self.__dict__.get("names") or ()):
                return self.layers[self.names.index(name)]
            return super().__getattr__(name)

    def __getitem__(self, index: int | slice | str) -> Any:
        """A layer by its number or name; a slice is a Sequential of the same layers, which keep their names."""
        if not isinstance(index, slice):
            return self.layers[self._index(index)]
        part = copy.copy(self)
        names = [name for name, _ in self.named_children()]
        part.layers, names = self.layers[index], names[index]
        part.names = None if names == [str(i) for i in range(len(names))] else names
        return part

    def __setitem__(self, index: int | str, layer: Layer) -> None:
        only_layers("Sequential", "layers", (layer,))
        self.layers[self._index(index)] = layer

    def __delitem__(self, index: int | str) -> None:
        at = self._index(index)
        del self.layers[at]
        if self.names is not None:
            del self.names[at]

    def append(self, layer: Layer, name: str | None = None) -> "Sequential":
        """Add a layer at the end; name None: its number. Returns the Sequential, as PyTorch does."""
        return self.insert(len(self.layers), layer, name)

    def insert(self, index: int, layer: Layer, name: str | None = None) -> "Sequential":
        """Add a layer before the one of that number; name None: its number, and those behind it move on."""
        only_layers("Sequential", "layers", (layer,))
        index = range(len(self.layers) + 1)[_position("insert", index, len(self.layers))]
        if name is not None or self.names is not None:
            names = [other for other, _ in self.named_children()]
            name = next(str(i) for i in count(len(names)) if str(i) not in names) if name is None else _name(name)
            if name in names:
                raise ValueError(f"Sequential: there is a layer {name!r}: give another name")
            self.names = [*names[:index], name, *names[index:]]
        self.layers.insert(index, layer)
        return self

    def extend(self, layers: Iterable[Layer]) -> "Sequential":
        """Add layers at the end. Returns the Sequential."""
        given = tuple(entries(layers))
        if not given and not isinstance(layers, (list, tuple)):
            raise TypeError(f"extend: layers must be a list of layers, got {described(layers)}")
        only_layers("Sequential", "layers", given)
        for layer in given:
            self.append(layer)
        return self

    def _index(self, index: int | str) -> int:
        if isinstance(index, str) and index in (names := [name for name, _ in self.named_children()]):
            return names.index(index)
        return _position("Sequential", index, len(self.layers) - 1)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return self.tree()


def _name(name) -> str:
    """A name that can be told from a path and from what every Sequential has."""
    if not isinstance(name, str) or not name or "." in name or hasattr(Sequential, name) or name in ("layers", "names", "fuse"):
        raise ValueError(f"Sequential: a layer cannot be named {shown(name)}: names are words without dots that no attribute has")
    return name


def _position(op: str, index, last: int) -> int:
    """TypeError for what is no number (or name) of a layer, IndexError out of range."""
    try:
        at = operator.index(index)
    except TypeError:
        raise TypeError(f"{op}: a layer has a number, or the name that it was given, got {described(index)}") from None
    if not -last - 1 <= at <= last:
        raise IndexError(f"{op}: there is no layer {at} among {last + 1}")
    return at
