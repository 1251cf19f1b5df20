"""The launcher: every item of a pass once, scratch that no two chunks share, on one thread or several."""

from itertools import pairwise

import numpy as np
import pytest

import fastconv as fc
from fastconv.kernels.compile import Bound, chunks, driver, outlined, serial, spread, team, threads_for
from fastconv.kernels.compile import launch as launching
from fastconv.kernels.compile.threads import TINY

LARGE = 1e9  # scalar operations: worth threads under every layer


@serial
def count_items(work, seen, firsts):
    """Each item is counted, and its chunk's scratch filled with the number of the chunk's first item."""
    for i in range(len(work.scratch)):
        work.scratch[i] = work.first
    for i in range(work.first, work.stop):
        seen[i] += 1
        firsts[i] = work.first


@driver
def count(pool, chunks, items, scratch, seen, firsts):
    spread(pool, chunks, items, count_items, scratch, seen, firsts)


@outlined
def put(out, i, value):
    out[i] = value


@serial
def square_items(work, numbers, out):
    for i in range(work.first, work.stop):
        put(out, i, numbers[0][i] * numbers[1])


@serial
def total_items(work, squares, out):
    for i in range(work.first, work.stop):
        out[i] = squares[: i + 1].sum()


@driver
def cumulate(pool, numbers, squares, out):
    """Two stages, the second of which reads all that the first has written."""
    spread(pool, 3, len(out), square_items, squares[:0], numbers, squares)
    spread(pool, 2, len(out), total_items, squares[:0], squares, out)


for kernel in (count_items, square_items, total_items, put.kernel, count.code, cumulate.code):
    kernel._cache.disable()  # a kernel on disk is renewed when a file of kernels changes, not when a test does

every_number_of_threads = pytest.mark.parametrize("alone", [True, False], ids=["one thread", "pool"])


@pytest.fixture
def threaded(threads, alone):
    if not alone and team.size < 2:
        pytest.skip("a pool of one thread")
    threads(1 if alone else 2)


@every_number_of_threads
@pytest.mark.parametrize("items", [1, 2, 7, 100])
@pytest.mark.parametrize("chunks", [1, 2, 3, 7])
def test_every_item_once(threaded, items, chunks):
    """In chunks of neighbors, whose sizes differ by one at most; more chunks than items leave some empty."""
    seen, firsts, scratch = np.zeros(items, np.int64), np.full(items, -1), np.full(chunks * 5, -1)
    count.bind()(LARGE, chunks, items, scratch, seen, firsts)
    assert (seen == 1).all()
    starts = [items * chunk // chunks for chunk in range(chunks + 1)]
    assert firsts.tolist() == [first for first, stop in pairwise(starts) for _ in range(first, stop)]
    np.testing.assert_array_equal(scratch.reshape(chunks, 5), np.repeat(starts[:-1], 5).reshape(chunks, 5))


@every_number_of_threads
def test_scratch_that_cannot_be_shared_evenly_keeps_its_rest(threaded):
    scratch = np.full(11, -1)
    count.bind()(LARGE, 3, 3, scratch, np.zeros(3, np.int64), np.zeros(3, np.int64))
    assert scratch.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, -1, -1]


@every_number_of_threads
@pytest.mark.parametrize("chunks", [0, 1, 4])
def test_no_items(threaded, chunks):
    none = np.zeros(0, np.int64)
    count.bind()(LARGE, chunks, 0, none, none, none)


@every_number_of_threads
def test_a_stage_begins_when_the_one_before_has_ended(threaded):
    """Operands may be tuples; a kernel that is called by name writes what it is told to."""
    numbers, squares, out = np.arange(1000.0), np.zeros(1000), np.zeros(1000)
    cumulate.bind()(LARGE, (numbers, 2.0), squares, out)
    np.testing.assert_array_equal(out, np.cumsum(2 * np.arange(1000.0)))


@every_number_of_threads
def test_a_pass_is_bound_by_its_first_call(threaded, monkeypatch):
    """From then on the types of operands are not looked at; a read-only array is an array."""
    bound = count.bind()
    assert isinstance(bound, Bound)
    seen, firsts, scratch = np.zeros(4, np.int64), np.zeros(4, np.int64), np.zeros(4, np.int64)
    bound(LARGE, 1, 4, scratch, seen, firsts)
    monkeypatch.setattr(launching, "kind_of", None)
    bound(LARGE, 2, 4, scratch, seen, firsts)
    assert seen.tolist() == [2] * 4
    monkeypatch.undo()
    before = len(cumulate.code.signatures)
    numbers = np.arange(5.0)
    numbers.flags.writeable = False
    cumulate.bind()(LARGE, (numbers, 2.0), np.zeros(5), np.zeros(5))
    assert len(cumulate.code.signatures) == max(before, 1)


def test_passes_with_little_work_stay_on_the_calling_thread(threads, monkeypatch):
    threads(min(2, team.size))
    called = []
    monkeypatch.setattr(team, "layer", "omp")
    team.resize(team.size)
    monkeypatch.setattr(team, "_run", lambda threaded, operands, work: called.append(operands))
    bound = count.bind()
    operands = 1, 1, np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64)
    bound(launching.team.size, *operands)
    assert (called, operands[3].tolist()) == ([], [1])
    if team.size > 1:
        bound(LARGE, *operands)
        assert called == [operands]


def test_as_many_chunks_as_keep_all_threads_at_work(threads):
    threads(1)
    assert [chunks(items, LARGE) for items in (0, 1, 100)] == [0, 1, 1]
    assert threads_for(LARGE) == 1
    if fc.kernels.compile.threads.default_threads() > 1:
        threads(2)
        assert [chunks(items, LARGE) for items in (0, 1, 5, 100)] == [0, 1, 5, 8]
        assert threads_for(LARGE) == 2


def test_little_work_is_not_dealt_out(threads, monkeypatch):
    monkeypatch.setattr(team, "layer", "omp")
    threads(min(2, team.size))
    assert chunks(100, TINY["omp"] - 1) == threads_for(TINY["omp"] - 1) == 1
