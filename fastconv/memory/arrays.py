"""Arrays whose memory goes back on a shelf when the last view of them dies.

Fresh large arrays cost page faults as expensive as the arithmetic: writing one of six live 8 MB arrays took 2.3 ms from
`np.empty` and 0.6 ms from the shelf on a 2-core Cascade Lake. Reference counting decides when memory is free: an array
made here keeps a lease as its base, and so does every view of it. Everything starts on a cache line (64 bytes).
"""

import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

import numpy as np

from fastconv.memory.recycling import ALIGNMENT, Shelves, address

SMALLEST = 64 * 1024  # bytes; below, malloc keeps its own shelves
TINY = 32 * 1024  # bytes
KEPT = 1 << 20  # bytes of scratch that a thread keeps for each dtype and use: patches and panels of small layers


shelves = Shelves(limit=1 << 30)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=shelves.after_fork)


def spared(function: Callable) -> Callable:
    """A function that allocates elsewhere than here and changes nothing: where it runs out of memory, what waits is freed and it begins again."""

    @wraps(function)
    def again(*args, **words):
        try:
            return function(*args, **words)
        except MemoryError:
            shelves.clear()
            return function(*args, **words)

    return again


def empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """An uninitialized C-contiguous array, recycled where it is large."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return _fresh(shape, dtype)
    return _own.shelves.take(tuple(shape), dtype)


def _fresh(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """From no shelf. NumPy aligns to 16 bytes: every vector of weights would lie across two cache lines (92 GFLOP/s instead of 109)."""
    slab = shelves.fresh(math.prod(shape) * dtype.itemsize + ALIGNMENT)
    return np.ndarray(shape, dtype, slab, -address(slab) % ALIGNMENT)


def flat(count: int, dtype: np.dtype) -> np.ndarray:
    """An uninitialized array (count,); a tiny one not aligned, which would take as long as it saves."""
    if count * dtype.itemsize <= TINY:
        return np.empty(count, dtype)
    return empty((count,), dtype)


class _Own(threading.local):
    """This thread's: shelves, and small scratch arrays by dtype and use."""

    def __init__(self):
        self.shelves = shelves
        self.slabs: dict[tuple[np.dtype, str], np.ndarray] = {}
        self.limit = KEPT


_own = _Own()


@contextmanager
def own_scratch(slabs: dict, limit: int = sys.maxsize) -> Iterator[None]:
    """Within, this thread's scratch up to the limit is that of `slabs`: for calls that are noted to be made again, whoever else then runs."""
    before = _own.slabs, _own.limit
    _own.slabs, _own.limit = slabs, limit
    try:
        yield
    finally:
        _own.slabs, _own.limit = before


class Arena(Shelves):
    """Memory for calls that are noted to be made again: it stays, and whatever is noted within uses it anew from its beginning.

    It is as large as what waits on the common shelves, which is freed: that has served the same calls before they were noted. In one piece there is
    room in it for all sizes (ResNet-20: 220 MB, made piece by piece 242).
    """

    def __init__(self):
        super().__init__(sys.maxsize)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Within, the large arrays of this thread are made here, and its scratch is no other thread's."""
        before, _own.shelves = _own.shelves, self
        if not self.made:
            size = shelves.waiting
            shelves.clear()
            self._chunk(SMALLEST, size)
        try:
            with own_scratch({}, KEPT):
                yield
        finally:
            _own.shelves = before


def scratch(count: int, dtype: np.dtype, use: str = "scratch") -> np.ndarray:
    """An uninitialized array (count,) for the kernel that is called next, and for nobody after it; one for each use of a call.

    Up to 1 MB it is the same memory again and again: nothing else of this thread runs while a kernel does.
    """
    if count * dtype.itemsize > _own.limit:
        return _own.shelves.take((count,), dtype)
    slab = _own.slabs.get((dtype, use))
    if slab is None or slab.size < count:
        slab = _own.slabs[dtype, use] = _fresh((max(count, SMALLEST // dtype.itemsize),), dtype)  # its chunk could not be freed
    return slab[:count]


def lines(count: int, dtype: np.dtype) -> int:
    """So many elements, rounded up to whole cache lines."""
    return -(-count * dtype.itemsize // ALIGNMENT) * ALIGNMENT // dtype.itemsize


def zeros(shape: tuple[int, ...], dtype) -> np.ndarray:
    array = empty(shape, dtype)
    array.fill(0)
    return array
