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
from bisect import bisect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from operator import itemgetter

import numpy as np

ALIGNMENT = 64
SMALLEST = 64 * 1024  # bytes; below, malloc keeps its own shelves
PAGE = 4096
BYTE = np.dtype(np.uint8)
TINY = 32 * 1024  # bytes
LARGE = 1 << 20  # bytes; below, an array is cut from what is whole already, if that will do: to put all together takes as long as to fill it
LARGEST = 64 << 20  # bytes that a chunk takes beyond what is asked for
KEPT = 1 << 20  # bytes of scratch that a thread keeps for each dtype and use: patches and panels of small layers


class _Lease:
    """Owns a slab for as long as an array looks at it; then hands it back.

    (A weak reference to a memoryview, or an array of a type of its own, will not do: NumPy makes the slab itself the base of what looks at them.)
    """

    __slots__ = ("__array_interface__", "shelf", "slab")

    def __init__(self, slab: "Slab", shelf: list, shape: tuple, dtype: np.dtype):
        self.slab, self.shelf = slab, shelf
        self.__array_interface__ = {"shape": shape, "typestr": dtype.str, "data": (slab[1], False), "version": 3}

    def __del__(self):
        self.shelf.append(self.slab)  # only this, which is atomic: a garbage collection may run it inside `Shelves.take`


class Chunk:
    """Memory from the system, and which parts of it are whole again: spans from address to address, in order, no two of them neighbors."""

    def __init__(self, memory: np.ndarray, size: int):
        self.memory, self.size = memory, size
        self.start = -(-address(memory) // ALIGNMENT) * ALIGNMENT
        self.free = [(self.start, self.start + size)]

    @property
    def idle(self) -> bool:
        return self.free == [(self.start, self.start + self.size)]

    def give(self, i: int, size: int) -> int:
        """The address of so many bytes at the beginning of span i."""
        start, stop = self.free[i]
        self.free[i : i + 1] = [(start + size, stop)] if start + size < stop else []
        return start

    def take_back(self, start: int, stop: int) -> None:
        i = bisect(self.free, (start, stop))
        if i < len(self.free) and self.free[i][0] == stop:
            stop = self.free.pop(i)[1]
        if i > 0 and self.free[i - 1][1] == start:
            i -= 1
            start = self.free.pop(i)[0]
        self.free.insert(i, (start, stop))


Slab = tuple[Chunk, int]  # and the address where it begins


class Shelves:
    """Slabs by size, which wait for the next array of their size; where there is none, what waits is put together again and cut anew.

    So a training step takes what lives at its peak, not the sum of what each size of its arrays takes at most (VGG-small 61 MB instead of 96,
    ResNet-20 216 instead of 261). A slab is taken and returned without a lock, as a list's pop and append are atomic; the lock is for those who cut,
    count and free.
    """

    def __init__(self, limit: int, source: Callable[[int], np.ndarray] | None = None):
        """source: gives so many bytes for a chunk (None: the system)."""
        self.limit = limit  # bytes that wait at most, but for those in chunks of which a part lives
        self._source = source or (lambda size: np.empty(size, BYTE))
        self.made = 0  # bytes: of the arrays that live and of what waits
        self._lock = threading.Lock()
        self._shelves: dict[int, list[Slab]] = {}  # by size
        self._chunks: list[Chunk] = []

    @property
    def waiting(self) -> int:
        """Bytes."""
        shelved = sum(size * len(shelf) for size, shelf in list(self._shelves.items()))
        return shelved + sum(stop - start for chunk in list(self._chunks) for start, stop in chunk.free)

    def take(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        size = -(-math.prod(shape) * dtype.itemsize // PAGE) * PAGE
        shelf = self._shelves.get(size)
        if shelf is None:
            shelf = self._shelves.setdefault(size, [])
        try:
            slab = shelf.pop()
        except IndexError:
            slab = self._cut(size)
        if self.made > self.limit:
            self._free(self.limit)
        return np.asarray(_Lease(slab, shelf, shape, dtype))

    def _cut(self, size: int) -> Slab:
        """A slab from the smallest span that holds it, or from a new chunk."""
        with self._lock:
            for gather in (size >= LARGE, True):
                if gather:
                    self._gather()
                spans = [(b - a, chunk, i) for chunk in self._chunks for i, (a, b) in enumerate(chunk.free) if b - a >= size]
                if spans:
                    _, chunk, i = min(spans, key=itemgetter(0))
                    return chunk, chunk.give(i, size)
            chunk = self._chunk(size)
            self._chunks.append(chunk)
            self.made += chunk.size
            return chunk, chunk.give(0, size)

    def _chunk(self, size: int) -> Chunk:
        """A new one, larger than need be: arrays of many sizes, one after the other, then find room in it. The system gives what is written to."""
        larger = max(size, min(self.made // 2, LARGEST) // PAGE * PAGE)
        for wanted in (larger, size):
            with suppress(MemoryError):
                return Chunk(self._source(wanted + ALIGNMENT), wanted)
        self._drop(0)
        return Chunk(self._source(size + ALIGNMENT), size)

    def _gather(self) -> None:
        """What waits goes back to its chunks."""
        for size, shelf in list(self._shelves.items()):
            with suppress(IndexError):  # another thread took the last one
                while shelf:
                    chunk, start = shelf.pop()
                    chunk.take_back(start, start + size)

    def _drop(self, limit: int) -> None:
        """Give chunks back of which nothing lives, while more than the limit waits."""
        for chunk in [chunk for chunk in self._chunks if chunk.idle]:
            if self.waiting <= limit:
                break
            self._chunks.remove(chunk)
            self.made -= chunk.size

    def _free(self, limit: int) -> None:
        if self.waiting > limit:
            with self._lock:
                self._gather()
                self._drop(limit)

    def borrowed(self, array: np.ndarray) -> np.ndarray:
        """An array that may lie in memory from here, without a lease: when it dies, its memory is given to others. Other arrays as they are."""
        where = array.__array_interface__["data"][0]
        for chunk in self._chunks:
            if chunk.start <= where < chunk.start + chunk.size:
                return np.ndarray(array.shape, array.dtype, chunk.memory, where - address(chunk.memory), array.strides)
        return array

    def fresh(self, size: int) -> np.ndarray:
        """So many new bytes; where the system has none left, what waits here is freed for them."""
        try:
            return np.empty(size, BYTE)
        except MemoryError:
            self.clear()
            return np.empty(size, BYTE)

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
    return _own.shelves.take(tuple(shape), dtype)


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

    It is a part of what waits on the common shelves, to which it goes back with the arena.
    """

    def __init__(self):
        super().__init__(sys.maxsize, lambda size: shelves.take((size,), BYTE))

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Within, the large arrays of this thread are made here, and its scratch is no other thread's."""
        before, _own.shelves = _own.shelves, self
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
        slab = _own.slabs[dtype, use] = empty((max(count, SMALLEST // dtype.itemsize),), dtype)
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
