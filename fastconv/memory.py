"""Arrays whose memory goes back on a shelf when the last view of them dies.

Fresh large arrays cost page faults as expensive as the arithmetic: writing one of six live 8 MB arrays took 2.3 ms from
`np.empty` and 0.6 ms from the shelf on a 2-core Cascade Lake. Reference counting decides when memory is free: an array
made here keeps a lease as its base, and so does every view of it. Everything starts on a cache line (64 bytes).
"""

import ctypes
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

import numpy as np

ALIGNMENT = 64
SMALLEST = 64 * 1024  # bytes; below, malloc keeps its own shelves
PAGE = 4096
BYTE = np.dtype(np.uint8)
TINY = 32 * 1024  # bytes
KEPT = 1 << 20  # bytes of scratch that a thread keeps for each dtype and use: patches and panels of small layers


class _Lease:
    """Owns a slab for as long as an array looks at it; then hands it back. A slab: its bytes, and the address of its first cache line.

    (A weak reference to a memoryview, or an array of a type of its own, will not do: NumPy makes the slab itself the base of what looks at them.)
    """

    __slots__ = ("__array_interface__", "shelf", "slab")

    def __init__(self, slab: tuple[np.ndarray, int], shelf: list, shape: tuple, dtype: np.dtype):
        self.slab, self.shelf = slab, shelf
        self.__array_interface__ = {"shape": shape, "typestr": dtype.str, "data": (slab[1], False), "version": 3}

    def __del__(self):
        self.shelf.append(self.slab)  # only this, which is atomic: a garbage collection may run it inside `Shelves.take`


class Shelves:
    """Slabs by size. At most `limit` bytes wait here; the sizes unused for longest are freed first.

    A slab is taken and returned without a lock, as a list's pop and append are atomic; the lock is for those who count and free.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self.made = 0  # bytes: of the arrays that live and of what waits
        self._lock = threading.Lock()
        self._shelves: dict[int, list] = {}  # by size
        self._turn = 0
        self._used: dict[int, int] = {}  # the turn at which a size was last wanted

    @property
    def waiting(self) -> int:
        """Bytes."""
        return sum(size * len(shelf) for size, shelf in list(self._shelves.items()))

    def take(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        size = -(-math.prod(shape) * dtype.itemsize // PAGE) * PAGE
        self._turn += 1
        self._used[size] = self._turn
        shelf = self._shelves.get(size)
        if shelf is None:
            shelf = self._shelves.setdefault(size, [])
        try:
            slab = shelf.pop()
        except IndexError:
            slab = self._make(size)
        if self.made > self.limit:
            self._free(self.limit)
        return np.asarray(_Lease(slab, shelf, shape, dtype))

    def _make(self, size: int) -> tuple[np.ndarray, int]:
        fresh = self.fresh(size + ALIGNMENT)
        with self._lock:
            self.made += size
        return fresh, -(-address(fresh) // ALIGNMENT) * ALIGNMENT

    def fresh(self, size: int) -> np.ndarray:
        """So many new bytes; where the system has none left, what waits here is freed for them."""
        try:
            return np.empty(size, BYTE)
        except MemoryError:
            self.clear()
            return np.empty(size, BYTE)

    def _free(self, limit: int) -> None:
        """Free what waits above the limit."""
        with self._lock:
            excess = self.waiting - limit
            for size in sorted(self._shelves, key=lambda size: self._used.get(size, 0)) if excess > 0 else ():
                while excess > 0:
                    try:
                        self._shelves[size].pop()
                    except IndexError:
                        break
                    self.made -= size
                    excess -= size

    def clear(self) -> None:
        """Free what waits."""
        self._free(0)

    def after_fork(self) -> None:
        self._lock = threading.Lock()  # another thread of the parent may have held it


def address(a: np.ndarray) -> int:
    """Where a writeable array that is not empty begins; `__array_interface__` takes 0.9 us to say so, this 0.2."""
    return ctypes.addressof(ctypes.c_char.from_buffer(a))


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
    if size < SMALLEST:  # NumPy aligns to 16 bytes: every vector of weights would lie across two cache lines (92 GFLOP/s instead of 109)
        slab = shelves.fresh(size + ALIGNMENT)
        return np.ndarray(shape, dtype, slab, -address(slab) % ALIGNMENT)
    return shelves.take(tuple(shape), dtype)


def flat(count: int, dtype: np.dtype) -> np.ndarray:
    """An uninitialized array (count,); a tiny one not aligned, which would take as long as it saves."""
    if count * dtype.itemsize <= TINY:
        return np.empty(count, dtype)
    return empty((count,), dtype)


class _Scratch(threading.local):
    """Small scratch arrays of this thread, by dtype and use."""

    def __init__(self):
        self.slabs: dict[tuple[np.dtype, str], np.ndarray] = {}
        self.limit = KEPT


_kept = _Scratch()


@contextmanager
def own_scratch(slabs: dict) -> Iterator[None]:
    """Within, this thread's scratch arrays are those of `slabs`, of any size: for calls that are noted to be made again, whoever else then runs."""
    before = _kept.slabs, _kept.limit
    _kept.slabs, _kept.limit = slabs, sys.maxsize
    try:
        yield
    finally:
        _kept.slabs, _kept.limit = before


def scratch(count: int, dtype: np.dtype, use: str = "scratch") -> np.ndarray:
    """An uninitialized array (count,) for the kernel that is called next, and for nobody after it; one for each use of a call.

    Up to 1 MB it is the same memory again and again: nothing else of this thread runs while a kernel does.
    """
    if count * dtype.itemsize > _kept.limit:
        return shelves.take((count,), dtype)
    slab = _kept.slabs.get((dtype, use))
    if slab is None or slab.size < count:
        slab = _kept.slabs[dtype, use] = empty((max(count, SMALLEST // dtype.itemsize),), dtype)
    return slab[:count]


def lines(count: int, dtype: np.dtype) -> int:
    """So many elements, rounded up to whole cache lines."""
    return -(-count * dtype.itemsize // ALIGNMENT) * ALIGNMENT // dtype.itemsize


def zeros(shape: tuple[int, ...], dtype) -> np.ndarray:
    array = empty(shape, dtype)
    array.fill(0)
    return array


def channels_last(shape: tuple[int, ...], dtype) -> np.ndarray:
    """An uninitialized (N, C, spatial...) array whose memory is (N, spatial..., C): the channels of a pixel are neighbors."""
    N, C, *spatial = shape
    array = empty((N, *spatial, C), dtype)
    return array.transpose(0, array.ndim - 1, *range(1, array.ndim - 1))
