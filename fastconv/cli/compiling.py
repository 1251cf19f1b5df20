"""Kernels are compiled when first used, a few seconds each, once per machine. Nobody should wonder why nothing happens."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastconv.kernels.compile.cache import folder, in_progress, on_compile, say_compiling


@contextmanager
def say_what_is_compiled() -> Iterator[None]:
    """While the body runs, tell on stderr which kernel is being compiled, at least every two seconds, in place of the library's own line."""
    silenced = say_compiling in on_compile
    if silenced:
        on_compile.remove(say_compiling)
    finished = threading.Event()
    thread = threading.Thread(target=_watch, args=(finished,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
        if silenced:
            on_compile.append(say_compiling)


def _watch(finished: threading.Event) -> None:
    if sys.stderr is None:  # as under pythonw
        return
    start, said = None, 0.0
    terminal = sys.stderr.isatty()
    while not finished.wait(0.2):
        names = in_progress[:1]
        if not names:
            continue
        now = time.perf_counter()
        if start is None:
            start = now
            kept = f", kept in {folder()}" if folder() else ""
            print(f"compiling kernels for this machine (first run only, up to half a minute{kept})", file=sys.stderr, flush=True)
        if now - said > (0.2 if terminal else 1.8):
            said = now
            line = f"compiling {names[0]} ... {now - start:.0f} s"
            print(f"\r{line:79}\r" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)
