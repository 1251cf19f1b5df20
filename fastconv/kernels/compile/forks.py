"""Forking while threads compile: a child must not inherit a lock whose owner does not exist in it.

Numba compiles and loads kernels under one lock, LLVM is called under another, and a third guards the start of the thread pool. A child forked
while another Python thread holds one of them would wait forever at its first kernel, and the compiler's state would be half done. So
`fork` takes all three and lets go of them on both sides: it waits until the kernel under way is there, a few seconds at most, and no kernel
begins meanwhile. `subprocess` does not come this way.

Numba guards that start against other processes, too, by a semaphore that a forked child shares: a child that is killed while it has it, as
OpenMP kills one that forked from its threads, would leave its parent waiting forever. So each child gets a lock of its own in its place.
"""

import threading
from contextlib import AbstractContextManager

from llvmlite.binding import ffi
from numba.core.compiler_lock import global_compiler_lock
from numba.np.ufunc import parallel


def locks() -> list[AbstractContextManager]:
    """All are reentrant, in the order in which a compilation takes them. The last two are private: without them only their windows stay open."""
    private = (parallel, "_backend_init_thread_lock"), (getattr(ffi, "lib", None), "_lock")
    return [global_compiler_lock, *(getattr(owner, name) for owner, name in private if hasattr(owner, name))]


def before() -> None:
    interrupt = None
    for lock in LOCKS:
        while True:
            try:
                lock.__enter__()
                break
            except KeyboardInterrupt as stop:  # the fork cannot be called off here: waiting on is what keeps the child whole
                interrupt = stop
    if interrupt is not None:
        raise interrupt


def after() -> None:
    for lock in reversed(LOCKS):
        lock.__exit__(None, None, None)


def after_in_child() -> None:
    after()
    parallel._backend_init_process_lock = threading.RLock()


LOCKS = locks()
