"""Recycled memory: aligned, bounded, and never given to two arrays at once."""

import gc
import itertools
import os
import threading

import numpy as np
import pytest

from fastconv import memory

LARGE = (64, 1024)  # 256 KB of float32


def address(a):
    return a.__array_interface__["data"][0]


@pytest.fixture
def shelves():
    return memory.Shelves(limit=8 * 2**20)


@pytest.fixture(autouse=True)
def nothing_waits():
    gc.collect()
    memory.shelves.clear()


def test_memory_is_used_again_after_the_array_died():
    """Memory goes back when the last view dies."""
    a = memory.empty(LARGE, np.float32)
    where = address(a)
    del a
    assert address(memory.empty(LARGE, np.float32)) == where
    b = memory.empty(LARGE, np.float32)
    assert address(b) == where, "the array of the line before died at once"
    assert address(memory.empty((32, 1024), np.float64)) != where, "b lives"
    del b
    assert address(memory.empty((32, 1024), np.float64)) == where, "the bytes count, not the shape"


@pytest.mark.parametrize("view", [lambda a: a[3:5], lambda a: a.T, lambda a: a.reshape(-1)[::-2], lambda a: a.view(np.uint8), memoryview, np.asarray])
def test_any_view_keeps_the_memory(view):
    """When the last view dies."""
    a = memory.empty(LARGE, np.float32)
    a.fill(7)
    where, kept = address(a), view(a)
    before = np.array(kept)
    del a
    others = [memory.zeros(LARGE, np.float32) for _ in range(4)]
    assert where not in map(address, others)
    np.testing.assert_array_equal(np.asarray(kept), before)
    del kept
    assert address(memory.empty(LARGE, np.float32)) == where


@pytest.mark.parametrize("shape", [LARGE, (16385,), (3, 5, 7, 1001), (1, 2**20)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_large_arrays_start_on_a_cache_line_and_are_plain(shape, dtype):
    """64-byte aligned."""
    a = memory.empty(shape, dtype)
    assert (a.shape, a.dtype) == (shape, dtype)
    assert a.flags.c_contiguous
    assert a.flags.writeable
    assert a.flags.aligned
    assert address(a) % 64 == 0
    a.fill(1)
    assert (a == 1).all()


def test_small_and_empty_arrays_are_ordinary():
    """Below 64 KB malloc keeps its own shelves."""
    for shape in [(), (0,), (0, 2**40), (3, 4), (memory.SMALLEST // 4 - 1,)]:
        a = memory.empty(shape, np.float32)
        assert a.shape == shape
        assert address(a) % 64 == 0
        assert isinstance(a.base, np.ndarray)  # not a lease
    assert not isinstance(memory.empty((memory.SMALLEST // 4,), np.float32).base, np.ndarray)


def test_zeros_are_zero_in_used_memory():
    memory.empty(LARGE, np.float32).fill(5)
    assert not memory.zeros(LARGE, np.float32).any()


def test_no_more_than_the_limit_waits(shelves):
    """With a limit."""
    arrays = [shelves.take((2**20,), np.dtype(np.uint8)) for _ in range(20)]
    assert shelves.made - shelves.waiting == sum(array.nbytes for array in arrays)
    del arrays
    kept = shelves.take((2**21,), np.dtype(np.uint8))
    assert 0 < shelves.waiting <= shelves.limit
    assert kept.size == 2**21


def test_what_is_freed_is_memory_of_which_no_part_lives(shelves):
    old, new = (shelves.take((mib * 2**20,), np.dtype(np.uint8)) for mib in (5, 4))
    where = address(new)
    del new, old
    shelves.take((1,), np.dtype(np.uint8))
    assert shelves.waiting < 5 * 2**20
    assert address(shelves.take((4 * 2**20,), np.dtype(np.uint8))) == where


def test_a_dead_array_is_cut_for_smaller_ones_and_put_together_again(shelves):
    large = shelves.take((8 * 2**20,), np.dtype(np.uint8))
    where, made = address(large), shelves.made
    del large
    parts = [shelves.take((2 * 2**20,), np.dtype(np.uint8)) for _ in range(4)]
    assert sorted(map(address, parts)) == [where + i * 2 * 2**20 for i in range(4)]
    middle = parts.pop(sorted(map(address, parts)).index(where + 2 * 2**20))
    middle.fill(9)
    del parts  # on both sides of it
    three = shelves.take((4 * 2**20,), np.dtype(np.uint8))
    assert address(three) == where + 4 * 2**20
    assert (middle == 9).all()
    del middle, three
    assert address(shelves.take((8 * 2**20,), np.dtype(np.uint8))) == where
    assert shelves.made == made


def test_arrays_of_many_sizes_take_little_more_than_lives_at_once(shelves):
    """As in a training step: maps get smaller, then their gradients larger; each of the latter lives for two layers."""
    sizes = [8 - i // 4 for i in range(28)]  # MB
    live = [shelves.take((size * 2**20,), np.dtype(np.uint8)) for size in sizes]
    gradient = None
    for size in reversed(sizes):
        gradient = (gradient, shelves.take((size * 2**20,), np.dtype(np.uint8)))[1]
        live.pop()
    assert shelves.made <= 1.2 * 2**20 * (sum(sizes) + 2 * max(sizes))


def test_clear_frees_what_waits(shelves):
    held = shelves.take(LARGE, np.dtype(np.float32))
    shelves.take((2**20,), np.dtype(np.uint8))
    shelves.clear()
    assert shelves.waiting == 0
    held.fill(3)
    assert (held == 3).all()


def test_threads_never_share_live_memory():
    """From several Python threads at once: never another thread's numbers."""
    wrong, start = [], threading.Barrier(6)

    def work(number):
        rng, live = np.random.default_rng(number), []
        start.wait()
        for turn in range(150):
            a = memory.empty((int(rng.integers(1, 4)) * memory.SMALLEST // 4,), np.float32)
            a.fill(number * 1000 + turn)
            live.append((a, number * 1000 + turn))
            if len(live) > 5:
                a, mark = live.pop(int(rng.integers(len(live))))
                if not (a == mark).all():
                    wrong.append(mark)
        wrong.extend(mark for a, mark in live if not (a == mark).all())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_live_arrays_do_not_overlap():
    rng = np.random.default_rng(0)
    live = []
    for _ in range(200):
        live.append(memory.empty((int(rng.integers(1, 5)) * 20_000,), np.float32))
        if len(live) > 8:
            live.pop(int(rng.integers(len(live))))
        spans = sorted((address(a), address(a) + a.nbytes) for a in live)
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))


def test_memory_in_a_reference_cycle_comes_back():
    a = memory.empty(LARGE, np.float32)
    where, cycle = address(a), [a]
    cycle.append(cycle)
    del a, cycle
    gc.collect()
    assert address(memory.empty(LARGE, np.float32)) == where


@pytest.fixture
def short_of_memory():
    """Call it with the bytes that this process may still take from the system."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)

    def leave(size):
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + size, before[1]))

    yield leave
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="how much a process has taken is read from Linux")
def test_what_waits_is_given_back_before_memory_runs_out(short_of_memory):
    """256 MB wait in arrays of another size, 128 MB are left, and 192 MB are wanted."""
    del [memory.empty((64 << 20,), np.uint8) for _ in range(4)][:]
    short_of_memory(128 << 20)
    a = memory.empty((192 << 20,), np.uint8)
    assert a.nbytes == 192 << 20
    with pytest.raises(MemoryError):
        memory.empty((1 << 40,), np.uint8)


def test_small_arrays_get_what_waits_too(monkeypatch):
    memory.empty((1 << 28,), np.uint8)
    usual, refused = np.empty, []

    def none_left(*words):
        if not refused:
            refused.append(memory.shelves.made)
            raise MemoryError
        return usual(*words)

    monkeypatch.setattr(np, "empty", none_left)
    assert memory.empty((3,), np.float32).shape == (3,)
    assert memory.shelves.made <= refused[0] - (1 << 28)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_allocates_even_if_a_thread_held_the_lock():
    """After `fork`: right answers, never a hang."""
    mine = memory.empty(LARGE, np.float32)
    mine.fill(1)
    with memory.shelves._lock:
        child = os.fork()
        if child == 0:
            a = memory.zeros(LARGE, np.float32)
            os._exit(0 if not a.any() and (mine == 1).all() and address(a) != address(mine) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
