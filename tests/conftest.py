"""What every test may count on."""

import os
import signal

import pytest

import fastconv as fc

os.environ.setdefault("FASTCONV_QUIET", "1")  # of compiling, in the processes that tests start; a test that reads stderr need not know what is cached


@pytest.fixture(autouse=True)
def threads():
    """`threads(n)` sets the number of threads; whatever a test sets, the next one starts with the usual."""
    before = fc.get_num_threads()
    yield fc.set_num_threads
    fc.set_num_threads(before)


@pytest.fixture(scope="module")
def one_thread():
    """For modules of many small arrays: the bits are the same, and launches on more threads only cost time."""
    before = fc.get_num_threads()
    fc.set_num_threads(1)
    yield
    fc.set_num_threads(before)


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="tests/reliability tries everything, not a sample")
    parser.addoption("--seed", type=int, default=0, help="of what tests/reliability draws")


@pytest.fixture
def interruptible():
    """Ctrl-C is heard, also where the tests began with it ignored: under `nohup`, behind a shell's `&`, in some CI systems. Children inherit it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
