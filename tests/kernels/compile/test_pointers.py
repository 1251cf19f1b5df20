"""Kernels called by their address: the right one, by callers that are compiled once."""

import numpy as np
import pytest

from fastconv.kernels.compile import FunctionPointer, call, driver, serial, spread
from fastconv.kernels.simd.tile import Tile

LANES, FLOAT32 = 4, np.dtype(np.float32)


@serial
def stamp(tile, out, i, value):
    out[i] = value * tile.MR


@serial
def stamp_items(work, kernel, numbers, out):
    for i in range(work.first, work.stop):
        call(kernel, out, i, numbers[i])


@driver
def stamp_all(pool, chunks, kernel, numbers, out):
    spread(pool, chunks, len(out), stamp_items, out, kernel, numbers, out)


for kernel in (stamp, stamp_items, stamp_all.code):
    kernel._cache.disable()  # a kernel on disk is renewed when a file of kernels changes, not when a test does


def stamps(MR: int) -> FunctionPointer:
    return FunctionPointer(stamp, Tile(MR, 1, LANES, FLOAT32), np.empty(0), 0, 0.0)


def test_each_constant_has_a_kernel_of_its_own_and_all_have_one_caller():
    numbers, before = np.arange(7.0), len(stamp_all.code.overloads)
    for MR in (3, 5, 3):
        out = np.zeros(7)
        stamp_all.bind().run(1.0, 2, stamps(MR), numbers, out)
        np.testing.assert_array_equal(out, numbers * MR)
    assert len(stamp_all.code.overloads) == before + 1
    assert len(stamp.overloads) == 2


def test_operands_of_other_types_are_refused_when_the_caller_is_compiled():
    wrong = FunctionPointer(stamp, Tile(3, 1, LANES, FLOAT32), np.empty(0), 0, 0)  # the caller has a float
    with pytest.raises(TypeError, match="was given"):
        stamp_all.bind().run(1.0, 1, wrong, np.arange(7.0), np.zeros(7))
