"""Flat arrays as work items: SPAN elements each, so that a pass of 20,000 elements has three items, 8192 + 8192 + 3616.

A chunk's items are neighbors, and elements do not depend on each other: a stage walks from its first element to its last in one loop.
"""

import numpy as np

from fastconv.kernels.compile import Driver, chunks, serial

SPAN = 8192


@serial
def spans(size):
    """How many items so many elements are."""
    return -(-size // SPAN)


@serial
def span(item, size):
    """The elements of an item, as a slice."""
    return slice(item * SPAN, min((item + 1) * SPAN, size))


@serial
def elements(work, size):
    """The elements that a chunk owns, as a slice."""
    return slice(work.first * SPAN, min(work.stop * SPAN, size))


class Flat:
    """A pass over flat arrays of `size` elements, bound to their size and dtype: `run(*arrays)`."""

    driver: Driver
    operations = 1  # of an element, about

    def __init__(self, size: int, dtype: np.dtype):
        self.size, self.dtype, self.spans = size, np.dtype(dtype), spans.py_func(size)
        self.work = self.operations * size
        self.run = self.driver.bind()

    def __call__(self, *arrays) -> None:
        self.run(self.work, chunks(self.spans, self.work), *arrays)
