"""A process forked while another thread compiles or loads a kernel: the child has right answers, it never waits for ever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastconv as fc
from fastconv.kernels.compile import forks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

# A lock is held when the fork begins: that of `held` is taken by a thread, which lets go of it a little later, as after a compilation.
SCRIPT = """
import os, signal, sys, threading, time
import numpy as np
from fastconv import ops
from fastconv.kernels.compile import cache, forks

x = np.array([[-1, 2, 3]], sys.argv[2])


def loading(at_work):
    load = cache.KernelCache._load

    def slowly(self, *arguments):
        found = load(self, *arguments)
        at_work.set()
        time.sleep(0.3)
        return found

    cache.KernelCache._load = slowly
    ops.relu(x)


def holding(at_work):
    with forks.LOCKS[int(sys.argv[1])]:
        at_work.set()
        time.sleep(0.5)


at_work = threading.Event()
thread = threading.Thread(target=loading if sys.argv[1] == "load" else holding, args=(at_work,))
thread.start()
at_work.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)
    np.testing.assert_array_equal(ops.relu(x), [[0, 2, 3]])
    np.testing.assert_array_equal(ops.relu(x.astype(np.float64)), [[0, 2, 3]])
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
thread.join()
np.testing.assert_array_equal(ops.relu(x), [[0, 2, 3]])
child = os.fork()  # and once more, from a process that has threads now
if child == 0:
    signal.alarm(20)
    np.testing.assert_array_equal(ops.relu(x), [[0, 2, 3]])
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.parametrize(("held", "layer"), [("load", "default"), ("load", "workqueue"), (0, "default"), (1, "default"), (2, "default")])
def test_a_child_forked_beside_a_compiling_thread_computes(held, layer):
    environment = os.environ | {"PYTHONPATH": str(Path(fc.__file__).parents[1]), "NUMBA_NUM_THREADS": "2", "NUMBA_THREADING_LAYER": layer}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SCRIPT, str(held), "float32"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_all_locks_of_the_compiler_are_known():
    """Numba's compiler lock, the one of the start of its threads, and llvmlite's: the private two are still where they were."""
    assert len(forks.LOCKS) == 3


def test_a_ctrl_c_while_the_fork_waits_leaves_nothing_half_locked(monkeypatch):
    class Lock:
        def __init__(self):
            self.held = self.asked = 0

        def __enter__(self):
            self.asked += 1
            if self.asked == 1:
                raise KeyboardInterrupt
            self.held += 1

        def __exit__(self, *error):
            self.held -= 1

    locks = [Lock(), Lock()]
    monkeypatch.setattr(forks, "LOCKS", locks)
    with pytest.raises(KeyboardInterrupt):
        forks.before()
    assert [lock.held for lock in locks] == [1, 1]
    forks.after()
    assert [lock.held for lock in locks] == [0, 0]
