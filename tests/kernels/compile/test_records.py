"""Records: what a kernel reads of a plan is what Python wrote into it."""

import gc
from typing import NamedTuple

import numpy as np
import pytest
from numba import njit, typeof

from fastconv.kernels.compile import Record
from fastconv.kernels.compile.flags import FLAGS


class Inner(NamedTuple):
    rows: np.ndarray
    bound: float


class Outer(NamedTuple):
    count: int
    wanted: bool
    bound: float
    flat: np.ndarray
    table: np.ndarray
    inner: Record
    last: int
    note: str = "of no use to a kernel"


def outer(count=3, bound=-np.inf, rows=2) -> Outer:
    inner = Record(Inner(np.arange(rows) * 10, 0.25))
    return Outer(count, True, bound, np.arange(5) + 100, np.arange(rows * 3).reshape(rows, 3), inner, -(1 << 40))


@njit(**FLAGS)
def fields(plan):
    return plan.count, plan.wanted, plan.bound, plan.last, plan.inner.bound, len(plan.flat), plan.table.shape


@njit(**FLAGS)
def sums(plan, out):
    """A number from each table: all of flat, each row of table, all of inner's rows."""
    for i in range(len(plan.flat)):
        out[0] += plan.flat[i]
    for i in range(plan.table.shape[0]):
        out[1 + i] = plan.table[i, 0] + 10 * plan.table[i, 1] + 100 * plan.table[i, 2]
    for i in range(len(plan.inner.rows)):
        out[3] += plan.inner.rows[i]


@pytest.mark.parametrize("bound", [-np.inf, 0.0, 1.5])
def test_numbers(bound):
    """Bools and NumPy's integers are integers."""
    assert fields(Record(outer(np.int32(7), bound))) == (7, 1, bound, -(1 << 40), 0.25, 5, (2, 3))


def test_arrays_and_records():
    out = np.zeros(4, np.int64)
    sums(Record(outer()), out)
    assert out.tolist() == [510, 210, 543, 10]


def test_an_array_of_any_layout_and_integer_dtype_is_read():
    table = np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3))[::-1]
    out = np.zeros(4, np.int64)
    sums(Record(outer()._replace(table=table, flat=np.arange(10, dtype=np.uint8)[::3])), out)
    assert out[:3].tolist() == [18, 543, 210]


def test_what_a_record_holds_lives_as_long_as_it():
    """Its arrays may have no other owner, and records inside neither."""
    records = [Record(outer(i, rows=2)) for i in range(50)]
    gc.collect()
    np.random.default_rng(0).integers(0, 9, (1000, 5))  # memory that was free is written
    for i, record in enumerate(records):
        out = np.zeros(4, np.int64)
        sums(record, out)
        assert (fields(record)[0], out.tolist()) == (i, [510, 210, 543, 10])


def test_records_of_one_kind_have_one_type():
    """So that no number and no extent compiles anything; of two kinds each has its own."""
    first, second = Record(outer(1, rows=2)), Record(outer(2, 0.0, rows=7))
    assert typeof(first) == typeof(second)
    assert typeof(first) != typeof(Record(outer()._replace(bound=1)))
    assert typeof(first) != typeof(Record(outer()._replace(flat=np.zeros((2, 2), np.int64))))


def test_a_field_that_a_kernel_does_not_know_is_an_error_at_compile_time():
    with pytest.raises(Exception, match="note"):
        njit(**FLAGS)(lambda plan: plan.note)(Record(outer()))
