"""How kernels are compiled and launched: flags, threads, locks, forks. A kernel wears one of four words.

@reference   the textbook: one thread, no liberties with floating point
@serial      called from other kernels or for small work
@parallel    `prange` over items that own their output, and a serial twin of the same loop for when threads cannot be had
@tiled       (in `tiled_calls`) written in the vector vocabulary: compiled once for each tile, called by its address
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numba
from numba import njit

from fastconv.geometry import whole
from fastconv.kernels import forks
from fastconv.kernels.cache import KernelCache

# No "nnan" or "ninf": max must see NaN. No "reassoc": the bits of a sum would depend on the CPU and on the layout.
# "contract" lets a * b + c become one instruction. "nogil" lets other Python threads run meanwhile.
FLAGS = {"fastmath": {"nsz", "contract"}, "error_model": "numpy", "nogil": True, "boundscheck": False}
# Only `prange` makes threads; array expressions stay what they are (and compile faster).
PARALLEL = {
    "prange": True, "comprehension": False, "fusion": False, "inplace_binop": False,
    "numpy": False, "reduction": False, "setitem": False, "stencil": False,
}  # fmt: skip

# Below this many scalar operations a launch by the workqueue layer (100 us) costs more than threads gain. Under omp and tbb
# (1 to 8 us) the gain would not pay for compiling the serial twin, which takes seconds.
TINY = {"workqueue": 500_000}


def _compiled(function: Callable, flags: dict):
    dispatcher = njit(**flags)(function)
    if hasattr(dispatcher, "_cache"):  # private to Numba; without it kernels still work, compiled in each process
        dispatcher._cache = KernelCache(function, flags)
    return dispatcher


def reference(function: Callable):
    return _compiled(function, FLAGS | {"fastmath": False})


def serial(function: Callable):
    return _compiled(function, FLAGS)


class Team:
    """Who may run kernels in parallel now. Numba's workqueue layer aborts the process when two Python threads use it at
    once, and a forked child of an OpenMP process is killed at its first kernel: both run serial twins instead."""

    def __init__(self):
        self.layer: str | None = None  # known after the first launch
        self.forked = False
        self.size = default_threads()
        self.lock = threading.Lock()

    def launch(self, threaded: Callable, twin: Callable, work: float, args: tuple) -> None:
        if self.size == 1 or self.forked or work < TINY.get(self.layer or "", 0):
            twin(*args)
        elif self.layer in ("omp", "tbb"):
            self._run(threaded, args)
        elif self.lock.acquire(blocking=False):
            try:
                self._run(threaded, args)
                self.layer = numba.threading_layer()
            finally:
                self.lock.release()
        else:
            twin(*args)

    def _run(self, threaded: Callable, args: tuple) -> None:
        before = numba.get_num_threads()
        if before == self.size:
            threaded(*args)
            return
        numba.set_num_threads(self.size)  # of this Python thread only, and only while our kernel runs
        try:
            threaded(*args)
        finally:
            numba.set_num_threads(before)

    def after_fork(self) -> None:
        self.lock = threading.Lock()
        try:
            numba.threading_layer()
        except ValueError:  # no threads were started before the fork: this process may start its own
            return
        self.forked = True


class Parallel:
    """A kernel `f(*arrays)` whose outermost loop is a `prange`; called with the number of its scalar operations first."""

    def __init__(self, function: Callable):
        self.__doc__, self.__name__, self.__wrapped__ = function.__doc__, function.__name__, function
        self.threaded = _compiled(function, FLAGS | {"parallel": PARALLEL})
        self.twin = _compiled(function, FLAGS)

    def __call__(self, work: float, *args) -> None:
        team.launch(self.threaded, self.twin, work, args)


parallel = Parallel


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
    team.size = n


def get_num_threads() -> int:
    """How many threads kernels run on."""
    return team.size


team = Team()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=forks.before, after_in_parent=forks.after, after_in_child=forks.after)
    os.register_at_fork(after_in_child=team.after_fork)
