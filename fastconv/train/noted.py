"""A training pass as a list of calls, to be made again for other batches.

calls      transpose x -> a    conv a, w -> b    pool b -> c, argmax    ...        conv a, db -> dw        forth, then back
x          ^ x's place: another batch stands there each time; all else is memory that stays
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.compile import Call, Launch, noting
from fastconv.layers import Parameter
from fastconv.layers.layer import CHANGED, fitting
from fastconv.memory import Arena


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
            self.calls[i] = Call(function, _replaced(operands, path, array, flat))


def _paths(operands: tuple, array: np.ndarray) -> list[tuple[int, ...]]:
    """Where operands are the array's memory; `Unlike` where one is a part of it."""
    found: list[tuple[int, ...]] = []
    for i, operand in enumerate(operands):
        if isinstance(operand, tuple):
            found += [(i, *path) for path in _paths(operand, array)]
        elif isinstance(operand, np.ndarray) and np.may_share_memory(operand, array):
            flat = operand.ndim == 1 and operand.size == array.size
            if operand.dtype != array.dtype or not (flat or (operand.shape, operand.strides) == (array.shape, array.strides)):
                raise Unlike
            found.append((i,))
    return found


def _replaced(operands: tuple, path: tuple[int, ...], array: np.ndarray, flat: np.ndarray) -> tuple:
    """The array, or its flat memory, as the operand at this place is."""
    i, *rest = path
    new = _replaced(operands[i], tuple(rest), array, flat) if rest else flat if operands[i].ndim == 1 else array
    return (*operands[:i], new, *operands[i + 1 :])


class Noted:
    """A pass of training, forth and back, that is made again by calling what it called."""

    def __init__(self, arena: Arena, state: list[np.ndarray]):
        """state: the arrays by whose identity the pass is known, which are kept."""
        self.arena, self.state = arena, state
        self.calls: list[Call] = []
        self.turn = 0  # how many of them are the way forth

    def note(self, run: Callable[[], Any]) -> Any:
        """run(), and what it calls is added to the calls."""
        with self.arena(), noting(self._kept) as notes:
            result = run()
        self.calls += [Call(call.bound.run, (call.work, *call.operands)) if isinstance(call, Launch) else call for call in notes.calls]
        return result

    def _kept(self, operands: tuple) -> tuple:
        """Without leases on the arena's memory, which others are given when these arrays have died."""
        return tuple(
            self.arena.borrowed(operand) if isinstance(operand, np.ndarray) else self._kept(operand) if isinstance(operand, tuple) else operand
            for operand in operands
        )

    def end(self, x: np.ndarray, y: np.ndarray, dy: np.ndarray, parameters: list[Parameter]) -> bool:
        """All is noted; whether it does for other batches. The parameters: those that have got a gradient."""
        try:
            self.x, self.dy = Given(x, self.calls), Given(dy, self.calls)
        except Unlike:
            return False
        self.y, self.parameters = self._view(y), parameters
        read = self.x.places and (self.dy.places or not parameters)
        return bool(read) and not np.may_share_memory(x, y)

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
    """A copy of an output, read-only as those of all training passes: a view of memory that is not, for kernels."""
    y = y.copy("K").view()
    y.setflags(False)
    return y
