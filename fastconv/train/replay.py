"""A training pass that comes again is not found out again: what it calls is noted once, and called from then on.

    step     1   layers run, and bind their passes
             2   they run and are noted: launches with all their operands, in memory that stays (an `Arena`)
    3, 4, ...    the launches alone, one after the other

Between two launches layers take 20 us of Python, after a large launch 100 to 300, as their own data are not in the caches any more. On 2 cores of a
Zen 3 that was an eighth of a VGG's step, a quarter of MobileNet's, and nearly two thirds of digits'.

Our own layers note all that they do: launches, and by `each_time` what NumPy and Python do. A pass is noted for one kind of batch and one state of
the model. If one of these changes the layers run, and are noted again when they meet it a second time.
"""

import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from fastconv import layers
from fastconv.kernels.compile import team
from fastconv.kernels.table import chosen
from fastconv.layers import Layer, Module
from fastconv.layers.layer import changes
from fastconv.memory import Arena
from fastconv.ops.operands import FLOATS
from fastconv.train.noted import Noted, own

KEPT = 16  # kinds of batches that a model remembers; then all are forgotten
MODELS = 3  # that keep noted passes and their memory; with one more, the one that began to first forgets them

NOT_NOTED = layers.Lambda, Module  # their functions may do anything; of a Module that is the model what forward has called is looked at
OURS = layers.__name__ + "."


def all_noted(layer: Any) -> bool:
    """Whether all that the layer or join, and those inside it, do is noted; a class of somebody else's may do anything."""
    known = type(layer).__module__.startswith(OURS) and not isinstance(layer, NOT_NOTED)
    return known and "forward" not in vars(layer) and all(map(all_noted, layer.children()))


def inside(layer: Any) -> Iterator[Any]:
    """The layer or join, and those inside it."""
    yield layer
    for child in layer.children():
        yield from inside(child)


MET, UNLIKE = object(), object()  # a kind of batches that came once, and one that is not noted
keeping: list["weakref.ref[Replays]"] = []


class Replays:
    """The noted passes of a model. Not copied or pickled with it."""

    def __init__(self):
        self.lock = threading.Lock()  # held from a pass's beginning to its end
        self._arena = Arena()
        self._kinds: dict[tuple, Any] = {}  # MET, UNLIKE or a Noted
        self._count = -1  # changes, when the model was looked at
        self._layers: list[tuple[int, int]] = []  # its layers' and joins' identities, which keep none alive, and when each had last changed
        self._lists: list[tuple[list, tuple, list[int]]] = []  # the layers' lists, what they held, and its identities
        self._nodes: list = []  # what a Module's forward did

    def __deepcopy__(self, memo: dict) -> "Replays":
        return Replays()

    def __reduce__(self) -> tuple:
        return Replays, ()

    def _keep(self) -> None:
        """Its passes are about to be noted."""
        if not any(other() is self for other in keeping):
            keeping[:] = [other for other in keeping if other() is not None] + [weakref.ref(self)]
            for found in [other() for other in keeping[:-MODELS]]:
                if found is not None:
                    found._forget()

    def _forget(self) -> None:
        """Noted passes, and their memory; not while one is under way."""
        if self.lock.acquire(blocking=False):
            self._kinds, self._arena = {}, Arena()
            keeping[:] = [other for other in keeping if other() is not self]
            self.lock.release()

    def begin(self, model: Layer, x: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], Any]]:
        """The outputs, and the way back."""
        nodes, outputs, words = [], (), {}
        if isinstance(model, Module):
            words = {"trace": (trace := model._traced(x))}
            if not trace.single:
                return by_layers(model, x, words)
            nodes, outputs = trace.record.nodes, trace.outputs
        as_before = nodes == self._nodes and all(list(map(id, now)) == then for now, _, then in self._lists)
        if not (as_before and self._count == changes.count):
            self._look(model, nodes, as_before)
        key = self._key(x, outputs)
        found = self._kinds.get(key)
        if isinstance(found, Noted):
            return found.forward(x), found.backward
        if found is MET:
            if all(map(all_noted, [layer for layer, _ in nodes] if words else [model])):
                return self._note(key, model, x, words)
            self._kinds[key] = UNLIKE
        elif found is None:
            if len(self._kinds) >= KEPT:
                self._kinds.clear()
            self._kinds[key] = MET
        return by_layers(model, x, words)

    def _look(self, model: Layer, nodes: list, as_before: bool) -> None:
        """At the model, which is another than before; or another model is, and this one as before."""
        found = [(id(layer), getattr(layer, "_changed", 0)) for outer in (model, *(layer for layer, _ in nodes)) for layer in inside(outer)]
        self._count = changes.count
        if as_before and found == self._layers:
            return
        self._kinds.clear()
        self._layers, self._nodes = found, nodes
        lists = [value for layer in model.modules() for value in vars(layer).values() if isinstance(value, list)]
        self._lists = [(value, tuple(value), list(map(id, value))) for value in lists]
        self._parameters, self._buffers = model.parameters(), [buffer for _, buffer in model.named_buffers()]

    def _key(self, x: np.ndarray, outputs: tuple) -> tuple:
        """What a pass depends on beside numbers."""
        state = [(id(p.memory), p.has_grad, p.frozen) for p in self._parameters], [(id(buffer.value), buffer.frozen) for buffer in self._buffers]
        return x.shape, x.strides, x.dtype, outputs, chosen.get(), team.size, *map(tuple, state)

    def _note(self, key: tuple, model: Layer, x: np.ndarray, words: dict) -> tuple[np.ndarray, Callable[[np.ndarray], Any]]:
        self._keep()
        noted = Noted(self._arena, [p.memory for p in self._parameters] + [buffer.value for buffer in self._buffers])
        y, backward = noted.note(lambda: model.forward(x, training=True, **words))
        noted.turn = len(noted.calls)

        def back(dy: np.ndarray) -> None:
            noted.note(lambda: backward(dy, input_grad=False))
            self._kinds[key] = noted if noted.end(x, y, dy, [p for p in self._parameters if p.has_grad]) else UNLIKE

        return own(y), back


def by_layers(model: Layer, x: Any, words: dict) -> tuple[Any, Callable[[Any], Any]]:
    y, backward = model.forward(x, training=True, **words)
    return y, partial(backward, input_grad=False)


class training_pass:
    """`with training_pass(model, x) as (outputs, backward): ... backward(d_outputs)`, by the layers or by what was noted of them.

    A class, as every step comes by here: 2 us less than a generator.
    """

    __slots__ = ("model", "replays", "x")

    def __init__(self, model: Layer, x: Any):
        self.model, self.x = model, x
        self.replays: Replays | None = None

    def __enter__(self) -> tuple[Any, Callable[[Any], Any]]:
        model, x = self.model, self.x
        if type(x) is not np.ndarray or x.dtype not in FLOATS or not x.size or not x.flags.aligned:
            return by_layers(model, x, {})
        replays = vars(model).get("_replays")
        if replays is None:
            replays = vars(model)["_replays"] = Replays()
        if not replays.lock.acquire(blocking=False):  # another thread trains the same model
            return by_layers(model, x, {})
        try:
            found = replays.begin(model, x)
        except BaseException:
            replays.lock.release()
            raise
        self.replays = replays
        return found

    def __exit__(self, *error) -> None:
        if self.replays is not None:
            self.replays.lock.release()
