"""Seconds, and what two processes that take turns say about each other."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

SHORTEST = 0.02  # seconds of a measurement
NOISY = 0.15  # a spread that is measured again ...
TRIES = 3  # ... so often altogether


def seconds_a_call(call: Callable, shortest: float = SHORTEST) -> float:
    """The mean over enough calls to last that long; a first call, not counted, warms the caches up and wakes the threads."""
    call()
    count = 1
    while True:
        start = time.perf_counter()
        for _ in range(count):
            call()
        seconds = time.perf_counter() - start
        if seconds >= shortest:
            return seconds / count
        count = math.ceil(1.2 * count * min(100, shortest / max(seconds, 1e-9)))


class Pairs(NamedTuple):
    """Rates in GFLOP/s of ours and a peer's, measured in turns: ours[i] just before theirs[i]."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratios(self) -> np.ndarray:
        return np.divide(self.ours, self.theirs)

    @property
    def ratio(self) -> float:
        """How many times as fast we are: the median over the pairs."""
        return float(np.median(self.ratios))

    @property
    def spread(self) -> float:
        """The middle half of the ratios, as a share of their median."""
        low, high = np.percentile(self.ratios, (25, 75))
        return float((high - low) / self.ratio)

    @property
    def rate(self) -> float:
        return float(np.median(self.theirs))


def in_turns(ours: Callable[[], float], theirs: Callable[[], float], repeats: int) -> Pairs:
    """A B A B ...; the steadiest of at most three tries, where the machine is not quiet."""
    tries = []
    while not tries or (tries[-1].spread > NOISY and len(tries) < TRIES):
        tries.append(Pairs(*zip(*((ours(), theirs()) for _ in range(repeats)))))
    return min(tries, key=lambda pairs: pairs.spread)


def geometric_mean(values) -> float:
    return float(np.exp(np.mean(np.log(list(values)))))
