"""Ctrl-C between two steps: never in the middle of an update."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupt:
    """Remembers a Ctrl-C; `check()` between steps raises it."""

    def __init__(self):
        self.asked = False

    def handle(self, signum, frame) -> None:
        if self.asked:  # the second Ctrl-C does not wait
            raise KeyboardInterrupt
        self.asked = True

    def check(self, message: str = "") -> None:
        if self.asked:
            raise KeyboardInterrupt(*[message] * bool(message))


@contextmanager
def between_steps() -> Iterator[Interrupt]:
    """Hold Ctrl-C back until `check()`, so that parameters, optimizer and streams are of one step. Only the main thread can."""
    interrupt = Interrupt()
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or usual is not signal.default_int_handler:
        yield interrupt
        return
    signal.signal(signal.SIGINT, interrupt.handle)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, usual)
