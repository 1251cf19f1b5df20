"""Random streams that can be put in a checkpoint: a key and a count.

Every draw has a number; draw k of a stream is a pure function of (key, k), so the same seed gives the same bits on any number
of threads, and a stream set back to its state goes on as if it had never stopped.
"""

import operator
import os

import numpy as np

_MASK = 2**64 - 1


def mix(value: int) -> int:
    """SplitMix64's finaliser: neighbours in, unrelated 64-bit numbers out (Steele, Lea, Flood 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK
    return value ^ value >> 31


class Stream:
    """`key()` gives the next 64-bit key for a kernel, `generator()` a NumPy generator for one use."""

    def __init__(self, seed: int):
        self.seed(seed)

    def seed(self, seed: int) -> None:
        try:
            number = operator.index(None if isinstance(seed, (bool, np.bool_)) else seed)
        except TypeError:
            raise TypeError(f"seed: an integer is wanted, got {seed!r}") from None
        if not 0 <= number <= _MASK:
            raise ValueError(f"seed: must be between 0 and 2**64 - 1, got {number if number < 10**100 else 'more'}")
        self._key, self._count = mix(number), 0

    def key(self) -> int:
        self._count += 1
        return mix(self._key ^ mix(self._count))

    def generator(self) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=self.key()))

    def fork(self) -> "Stream":
        """A stream of its own for a layer or a loader."""
        return Stream(self.key())

    def state(self) -> tuple[int, int]:
        return self._key, self._count

    def restore(self, state: tuple[int, int]) -> None:
        self._key, self._count = (int(part) for part in state)

    def __repr__(self) -> str:
        return f"Stream(key={self._key:#x}, count={self._count})"


default = Stream(int.from_bytes(os.urandom(8), "little"))


def seed(n: int) -> None:
    """Start the stream that initialises parameters and shuffles data: same seed, same bits. n: 0 to 2**64 - 1."""
    default.seed(n)
