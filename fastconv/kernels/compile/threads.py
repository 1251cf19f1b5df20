"""Who may run kernels in parallel now: threads, locks, forks, quotas."""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numba

from fastconv.geometry import whole
from fastconv.kernels.compile import forks

# Below this many operations a launch costs more than threads gain: 85 to 110 us under the workqueue layer, 2 to 8 us under the others. An operation
# is about 0.1 ns of one core: an element read, changed and written, or so many multiplications and additions of a micro-kernel.
TINY = {"workqueue": 5_000_000, "omp": 200_000, "tbb": 200_000}
HOT = 50_000  # where launches follow one another at once and threads still wait awake: ResNet-20 of one image 668 -> 489 us, MobileNet 921 -> 680

FLOPS = 24

# A launch waits for its slowest thread, and one whose core another program has waits for the scheduler, 1 to 4 ms each time: longer than most passes
# take alone. So after a launch that took longer than that, passes run on the calling thread for a while, then threads are tried again; each time that
# fails at once, the while is longer. On 2 busy cores steps took, in turns with no rest, medians: LeNet-5 a quarter to a twelfth, MobileNet a fifth.
SLOWEST = 1e-9  # seconds that an operation may take: ten times what it does, as the plain edition is slow, and so may memory be
STALL = 1e-3  # seconds more than that
RESTS = 0.02, 1.0  # seconds: the first, and the longest


class Team:
    """Who may run kernels in parallel now. Numba's workqueue layer aborts the process when two Python threads use it at
    once, and a forked child of an OpenMP process is killed at its first kernel: both run on the calling thread instead."""

    def __init__(self):
        self.layer: str | None = None  # known after the first launch
        self.forked = False
        self.lock = threading.Lock()
        self.rest = 0.0  # seconds that threads rest after a stall, until when
        self.resize(default_threads())

    def resize(self, size: int) -> None:
        self.size, self.until = size, 0.0
        self._settle()

    def _settle(self) -> None:
        """least: the operations from which on a pass is worth threads."""
        self.least = math.inf if self.size == 1 or self.forked else TINY.get(self.layer or "", 0)

    @contextmanager
    def hot(self) -> Iterator[None]:
        """Within, passes are bound to be launched one right after the other. (Another thread that binds passes meanwhile binds them alike.)"""
        if self.layer in ("omp", "tbb"):
            self.least = min(self.least, HOT) if self.size > 1 and not self.forked else self.least
        try:
            yield
        finally:
            self._settle()

    def launch(self, threaded: Callable, alone: Callable, work: float, args: tuple) -> None:
        """Run threaded(*args), or alone(*args), which does the same on the calling thread; work: the number of operations."""
        if work < self.least or (self.until and time.perf_counter() < self.until):
            alone(*args)
        elif self.layer in ("omp", "tbb"):
            self._run(threaded, args, work)
        elif self.lock.acquire(blocking=False):
            try:
                self._run(threaded, args, work)
                self.layer = numba.threading_layer()
                self._settle()
            finally:
                self.lock.release()
        else:
            alone(*args)

    def _run(self, threaded: Callable, args: tuple, work: float) -> None:
        start, before = time.perf_counter(), numba.get_num_threads()
        if before == self.size:
            threaded(*args)
        else:
            numba.set_num_threads(self.size)  # of this Python thread only, and only while our kernel runs
            try:
                threaded(*args)
            finally:
                numba.set_num_threads(before)
        if (now := time.perf_counter()) - start > STALL + work * SLOWEST:
            first, longest = RESTS
            self.rest = min(2 * self.rest, longest) if now - self.until < self.rest else first
            self.until = now + self.rest

    def after_fork(self) -> None:
        self.lock = threading.Lock()
        try:
            numba.threading_layer()
        except ValueError:  # no threads were started before the fork: this process may start its own
            return
        self.forked = True
        self._settle()


def quota(root: Path = Path("/")) -> float | None:
    """CPUs that the container's quota allows (cgroup v2 or v1), None without one. Numba does not look."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in groups:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        folder = base / group.lstrip("/")
        for place in (folder, *folder.parents):
            limits.append(_limit(place))
            if place == base:
                break
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(place: Path) -> float | None:
    try:
        if (place / "cpu.max").exists():
            allowed, period = (place / "cpu.max").read_text().split()
        else:
            allowed, period = ((place / f"cpu.cfs_{word}_us").read_text() for word in ("quota", "period"))
        return float(allowed) / float(period) if float(allowed) > 0 else None
    except (OSError, ValueError):  # no such file, or "max"
        return None


def default_threads() -> int:
    """Numba's pool (it respects affinity and NUMBA_NUM_THREADS), but not more than the container's quota allows."""
    allowed = quota()
    pool = numba.config.NUMBA_NUM_THREADS
    return pool if allowed is None else max(1, min(pool, int(allowed)))


def set_num_threads(n: int) -> None:
    """Run kernels on n threads from now on. Results do not depend on n, to the bit. ValueError outside 1..the size of Numba's pool."""
    pool = numba.config.NUMBA_NUM_THREADS
    n = whole("set_num_threads", "n", n)
    if not 1 <= n <= pool:
        raise ValueError(f"set_num_threads: n must be between 1 and {pool} (the size of Numba's pool, set by NUMBA_NUM_THREADS), got {n}")
    team.resize(n)


def get_num_threads() -> int:
    """How many threads kernels run on."""
    return team.size


team = Team()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=forks.before, after_in_parent=forks.after, after_in_child=forks.after_in_child)
    os.register_at_fork(after_in_child=team.after_fork)
