"""Memory that is used again: slabs by size, cut from large chunks of the system's."""

import ctypes
import math
import threading
from bisect import bisect
from contextlib import suppress
from operator import itemgetter

import numpy as np

ALIGNMENT = 64
PAGE = 4096
BYTE = np.dtype(np.uint8)
LARGE = 1 << 20  # bytes; below, an array is cut from what is whole already, if that will do: to put all together takes as long as to fill it
LARGEST = 64 << 20  # bytes that a chunk takes beyond what is asked for


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

    def __init__(self, limit: int):
        self.limit = limit  # bytes that wait at most, but for those in chunks of which a part lives
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
            chunk = self._chunk(size, min(self.made // 2, LARGEST))
            return chunk, chunk.give(0, size)

    def _chunk(self, size: int, wish: int) -> Chunk:
        """A new one of so many bytes, or as many as wished for: arrays of many sizes, one after the other, find room in it. The system gives what is
        written to."""
        for wanted in (max(size, wish // PAGE * PAGE), size):
            with suppress(MemoryError):
                return self._added(Chunk(np.empty(wanted + ALIGNMENT, BYTE), wanted))
        self._drop(0)
        return self._added(Chunk(np.empty(size + ALIGNMENT, BYTE), size))

    def _added(self, chunk: Chunk) -> Chunk:
        self._chunks.append(chunk)
        self.made += chunk.size
        return chunk

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
