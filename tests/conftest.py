"""What every test may count on."""

import pytest

import fastconv as fc


@pytest.fixture(autouse=True)
def threads_as_before():
    """A test may change the number of threads; the next one starts with the usual."""
    before = fc.get_num_threads()
    yield
    fc.set_num_threads(before)
