"""The numbers that decide dropout: what the kernel says they are, and as good as random."""

import numpy as np
import pytest

from fastconv.kernels.elementwise.dropout import Dropout
from fastconv.kernels.elementwise.spans import SPAN
from fastconv.streams import mix


def mix32(value: int) -> int:
    value ^= value >> 16
    value = value * 0x7FEB352D % 2**32
    value ^= value >> 15
    value = value * 0x846CA68B % 2**32
    return value ^ value >> 16


def number(key: int, i: int) -> int:
    b, a = divmod(mix(key ^ mix(i >> 32)), 2**32)
    return mix32(mix32(i % 2**32 ^ a) ^ b)


@pytest.mark.parametrize("key", [0, 7, 2**64 - 1])
def test_an_element_is_dropped_if_its_number_is_below_the_threshold(key):
    size, threshold = 3 * SPAN + 5, 2**31 + 12345
    x, y = np.ones(size, np.float32), np.empty(size, np.float32)
    Dropout(size, x.dtype)(x, y, (np.array([key], np.uint64), np.uint32(threshold), 2.0))
    np.testing.assert_array_equal(y, [2.0 * (number(key, i) >= threshold) for i in range(size)])


@pytest.mark.parametrize("lag", [1, 2, 8, 64, 4096])
def test_neighbors_and_keys_do_not_tell_of_each_other(lag):
    """Correlations of numbers `lag` apart, and of the same ones under the next key, are those of independent ones: 1 / sqrt(n), five times."""
    size = 1 << 20
    x, y, later = np.ones(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    for out, key in ((y, 5), (later, 5 + lag)):
        Dropout(size, x.dtype)(x, out, (np.array([key], np.uint64), np.uint32(2**31), 1.0))
    signs, others = 2 * y - 1, 2 * later - 1
    assert abs(np.mean(signs[lag:] * signs[:-lag])) < 5 / np.sqrt(size)
    assert abs(np.mean(signs * others)) < 5 / np.sqrt(size)
