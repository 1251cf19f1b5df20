"""What the passes of a thread call, written down while it runs.

    with noting() as notes: ...        launches run, and are noted: made again, they do the same to the same memory
    with foreseeing() as notes: ...    launches are noted and do not run

What Python or NumPy do between two launches, drawing a key, copying an array, is noted where it is called by `each_time`.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple


class Launch(NamedTuple):
    """A bound driver's call: the driver, its operands, and the number of operations."""

    bound: Any  # a launch.Bound
    operands: tuple
    work: float

    def __call__(self) -> None:
        self.bound.run(self.work, *self.operands)


class Call(NamedTuple):
    """Another function's."""

    function: Callable
    operands: tuple


class Notes:
    """Of a pass. keep: what is noted of the operands; as they are, they stay alive with the notes, and so does the memory that they lie in."""

    def __init__(self, runs: bool = True, keep: Callable[[tuple], tuple] = tuple):
        self.runs, self.keep = runs, keep
        self.calls: list[Launch | Call] = []

    @property
    def launches(self) -> list[Launch]:
        return [call for call in self.calls if isinstance(call, Launch)]

    def launch(self, bound, work: float, operands: tuple) -> None:
        if self.runs:
            bound.run(work, *operands)
        self.calls.append(Launch(bound, self.keep(operands), work))


class _UnderWay(threading.local):
    """What this thread notes now."""

    notes: Notes | None = None


under_way = _UnderWay()


@contextmanager
def _writing(notes: Notes) -> Iterator[Notes]:
    before, under_way.notes = under_way.notes, notes
    try:
        yield notes
    finally:
        under_way.notes = before


def noting(keep: Callable[[tuple], tuple] = tuple) -> AbstractContextManager[Notes]:
    """The launches of this thread within, and what else its passes do `each_time`."""
    return _writing(Notes(keep=keep))


def foreseeing() -> AbstractContextManager[Notes]:
    """The same, but no launch runs: what would have to be compiled for it. Results hold anything."""
    return _writing(Notes(runs=False))


def each_time(function: Callable, *operands: Any) -> Any:
    """function(*operands), a part of a pass that is no launch, or not launches alone: noted as one call."""
    notes = under_way.notes
    if notes is None:
        return function(*operands)
    notes.calls.append(Call(function, notes.keep(operands)))
    under_way.notes = None
    try:
        return function(*operands)
    finally:
        under_way.notes = notes
