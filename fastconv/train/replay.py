"""A training pass that comes again is not found out again: what it calls is noted once, and called from then on.

    step     1   layers run, and bind their passes
             2   they run and are noted: launches with all their operands, in memory that stays (an `Arena`)
    3, 4, ...    the launches alone, one after the other

Between two launches layers take 20 us of Python, after a large launch 100 to 300, as their own data are not in the caches any more. On 2 cores of a
Zen 3 that was an eighth of a VGG's step, a quarter of MobileNet's, and nearly two thirds of digits'.

A pass is noted where its layers do nothing but launches and what they note besides, by `each_time` (`LAUNCHING`), for one kind of batch and one
state of the model (`Replays.key`). If one of these changes, the layers run, and are noted again when they meet it a second time.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastconv import layers
from fastconv.kernels.compile import Call, Launch, noting, team
from fastconv.kernels.table import chosen
from fastconv.layers import Layer, Module, Parameter
from fastconv.layers.activations import Activation
from fastconv.layers.joins import Concatenation, NormSum, Sum
from fastconv.layers.layer import CHANGED, changes, fitting
from fastconv.layers.pooling import Windows
from fastconv.layers.resampling import Resampled
from fastconv.layers.reshape import Rows
from fastconv.memory import Arena
from fastconv.ops.operands import FLOATS

KEPT = 16  # kinds of batches that a model remembers; then all are forgotten

# Layers and joins whose passes are launches and nothing else: these very types, as a subclass may do anything; of families all that are ours.
LAUNCHING = frozenset({
    layers.Conv1d, layers.Conv2d, layers.Conv3d, layers.ConvTranspose1d, layers.ConvTranspose2d, layers.ConvTranspose3d, layers.Linear,
    layers.BatchNorm1d, layers.BatchNorm2d, layers.BatchNorm3d, layers.ReLU, layers.Softmax, layers.LogSoftmax, layers.Dropout,
    layers.Flatten, Rows, layers.Identity, layers.Residual, layers.Concat, layers.Sequential, Sum, NormSum, Concatenation,
})  # fmt: skip
FAMILIES = Activation, Windows, Resampled
OURS = layers.__name__ + "."


def launches_alone(layer: Any) -> bool:
    """Whether the layer or join, and all inside it, do nothing but launches."""
    kind = type(layer)
    known = kind in LAUNCHING or (isinstance(layer, FAMILIES) and kind.__module__.startswith(OURS))
    return known and "forward" not in vars(layer) and all(map(launches_alone, layer.children()))


class Place(NamedTuple):
    """Where an array stands among the operands of a call: its number, and those of the tuples inside each other."""

    call: int
    path: tuple[int, ...]


class Unlike(Exception):
    """What was noted does not do for other batches."""


class Given:
    """An array that a pass is given, another one each time: the calls that read it where it lies."""

    def __init__(self, array: np.ndarray, calls: list[Call]):
        self.shape, self.dtype, self.strides = array.shape, array.dtype, array.strides
        self.calls = calls
        self.places = [Place(i, path) for i, call in enumerate(calls) for path in _paths(call.operands, array)]

    def put(self, array: np.ndarray) -> None:
        """Another array of that shape and dtype."""
        if array.strides != self.strides or not array.flags.aligned:
            laid = np.ndarray(self.shape, self.dtype, np.empty(array.nbytes, np.uint8), 0, self.strides)
            laid[...] = array
            array = laid
        flat = array.ravel("K")
        for i, path in self.places:
            function, operands = self.calls[i]
            self.calls[i] = Call(function, _replaced(operands, path, flat))


def _paths(operands: tuple, array: np.ndarray) -> list[tuple[int, ...]]:
    """Where operands are the array's memory; `Unlike` where one is a part of it."""
    found: list[tuple[int, ...]] = []
    for i, operand in enumerate(operands):
        if isinstance(operand, tuple):
            found += [(i, *path) for path in _paths(operand, array)]
        elif isinstance(operand, np.ndarray) and np.may_share_memory(operand, array):
            if operand.ndim != 1 or operand.size != array.size or operand.dtype != array.dtype:
                raise Unlike
            found.append((i,))
    return found


def _replaced(operands: tuple, path: tuple[int, ...], value: np.ndarray) -> tuple:
    i, *rest = path
    return (*operands[:i], _replaced(operands[i], tuple(rest), value) if rest else value, *operands[i + 1 :])


class Noted:
    """A pass of training, forth and back, that is made again by calling what it called."""

    def __init__(self, arena: Arena):
        self.arena = arena
        self.forth: list[Call] = []
        self.back: list[Call] = []

    def note(self, run: Callable[[], Any], calls: list[Call]) -> Any:
        """run(), and what it calls is added to `calls`."""
        with self.arena(), noting(self._kept) as notes:
            result = run()
        calls += [Call(call.bound.run, (call.work, *call.operands)) if isinstance(call, Launch) else call for call in notes.calls]
        return result

    def _kept(self, operands: tuple) -> tuple:
        """Without leases on the arena's memory, which others are given when these arrays have died."""
        return tuple(
            self.arena.borrowed(operand) if isinstance(operand, np.ndarray) else self._kept(operand) if isinstance(operand, tuple) else operand
            for operand in operands
        )

    def end(self, x: np.ndarray, y: np.ndarray, dy: np.ndarray, parameters: list[Parameter]) -> bool:
        """All is noted; whether it does for other batches. The parameters: those that have got a gradient."""
        calls = [*self.forth, *self.back]
        try:
            self.x, self.dy = Given(x, calls), Given(dy, calls)
        except Unlike:
            return False
        self.calls, self.turn, self.y, self.parameters = calls, len(self.forth), self._view(y), parameters
        return not np.may_share_memory(x, y)

    def _view(self, y: np.ndarray) -> np.ndarray:
        whole = self.arena.borrowed(y.ravel("K"))
        return np.ndarray(y.shape, y.dtype, whole, 0, y.strides)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x.put(x)
        for function, operands in self.calls[: self.turn]:
            function(*operands)
        self.versions = [p.version for p in self.parameters]
        return own(self.y)

    def backward(self, dy: np.ndarray) -> None:
        if [p.version for p in self.parameters] != self.versions:
            raise RuntimeError(CHANGED)
        self.dy.put(fitting("dy", dy, self.y.shape, self.y.dtype))
        for function, operands in self.calls[self.turn :]:
            function(*operands)
        for p in self.parameters:
            p.has_grad = True


def own(y: np.ndarray) -> np.ndarray:
    """A copy of an output, read-only as those of all training passes."""
    y = y.copy("K")
    y.setflags(False)
    return y


MET, UNLIKE = object(), object()  # a kind of batches that came once, and one that is not noted


class Replays:
    """The noted passes of a model. Not copied or pickled with it."""

    def __init__(self):
        self.lock = threading.Lock()  # held from a pass's beginning to its end
        self._arena = Arena()
        self._kinds: dict[tuple, Any] = {}  # MET, UNLIKE or a Noted
        self._count = -1  # changes, when the model was looked at
        self._lists: list[tuple[list, tuple]] = []  # the layers' lists, and what they held
        self._nodes: list = []  # what a Module's forward did

    def __deepcopy__(self, memo: dict) -> "Replays":
        return Replays()

    def __reduce__(self) -> tuple:
        return Replays, ()

    def begin(self, model: Layer, x: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], Any]]:
        """The outputs, and the way back."""
        nodes, outputs, words = [], (), {}
        if isinstance(model, Module):
            words = {"trace": (trace := model.trace(x))}
            if not trace.single:
                return by_layers(model, x, words)
            nodes, outputs = trace.record.nodes, trace.outputs
        if self._count != changes.count or nodes != self._nodes or any(tuple(now) != then for now, then in self._lists):
            self._look(model, nodes)
        key = self._key(x, outputs)
        found = self._kinds.get(key)
        if isinstance(found, Noted):
            return found.forward(x), found.backward
        if found is MET:
            found = self._kinds[key] = UNLIKE  # until it is noted whole
            if all(map(launches_alone, [layer for layer, _ in nodes] if words else [model])):
                return self._note(key, model, x, words)
        elif found is None:
            if len(self._kinds) >= KEPT:
                self._kinds.clear()
            self._kinds[key] = MET
        return by_layers(model, x, words)

    def _look(self, model: Layer, nodes: list) -> None:
        """At the model, which is another than before."""
        self._kinds.clear()
        self._count, self._nodes = changes.count, nodes
        self._lists = [(value, tuple(value)) for layer in model.modules() for value in vars(layer).values() if isinstance(value, list)]
        self._parameters, self._buffers = model.parameters(), [buffer for _, buffer in model.named_buffers()]

    def _key(self, x: np.ndarray, outputs: tuple) -> tuple:
        """What a pass depends on beside numbers."""
        state = [(id(p.memory), p.has_grad, p.frozen) for p in self._parameters], [buffer.frozen for buffer in self._buffers]
        return x.shape, x.strides, x.dtype, outputs, chosen.get(), team.size, *map(tuple, state)

    def _note(self, key: tuple, model: Layer, x: np.ndarray, words: dict) -> tuple[np.ndarray, Callable[[np.ndarray], Any]]:
        noted = Noted(self._arena)
        y, backward = noted.note(lambda: model.forward(x, training=True, **words), noted.forth)

        def back(dy: np.ndarray) -> None:
            noted.note(lambda: backward(dy, input_grad=False), noted.back)
            if noted.end(x, y, dy, [p for p in self._parameters if p.has_grad]):
                self._kinds[key] = noted

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
