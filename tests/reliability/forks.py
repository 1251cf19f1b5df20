"""Children forked while another thread compiles or loads kernels: right answers or a clear RuntimeError, and never a hang."""

import os
import random
import subprocess
import sys
import tempfile

LIMITED = False  # in memory: compiling needs some
SECONDS = 400.0
PATIENCE = {"warm": 20, "cold": 120}  # seconds for a child, which may have to compile everything by itself
SCRIPT = """
import os, sys, threading, time
import numpy as np
import numpy.testing  # NumPy imports it when it is first asked for: a child forked meanwhile would wait for the lock of that module
from fastconv import ops

patience, delays = float(sys.argv[1]), [float(word) for word in sys.argv[2:]]
x = np.random.default_rng(0).integers(-4, 5, (8, 16, 64, 64)).astype(np.float32)


def check():
    np.testing.assert_array_equal(ops.relu(x), np.maximum(x, 0))
    np.testing.assert_array_equal(ops.max_pool2d(x, 2)[0], x.reshape(8, 16, 32, 2, 32, 2).max(axis=(3, 5)))


def child():
    try:
        check()
    except RuntimeError as error:
        print("RuntimeError:", error, file=sys.stderr)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        os._exit(1)
    os._exit(0)


thread = threading.Thread(target=check)
thread.start()
children, start = [], time.monotonic()
for delay in delays:
    time.sleep(max(0, start + delay - time.monotonic()))
    pid = os.fork()
    if not pid:
        child()
    children.append((delay, pid))
thread.join()
limit, wrong = time.monotonic() + patience, []
for delay, pid in children:
    while (done := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < limit:
        time.sleep(0.02)
    if done[0] == 0:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    if done[0] == 0 or done[1]:
        wrong.append(f"forked after {delay:.3f} s: " + (f"status {done[1]}" if done[0] else f"hangs for {patience:g} s"))
check()  # the parent goes on as before
print("; ".join(wrong))
"""


def tasks(seed: int, long: bool) -> list[str]:
    """`LAYER CACHE DELAYS`: the threading layer, whether kernels are there to load, and when to fork, in seconds."""
    if not hasattr(os, "fork"):
        return []
    chance = random.Random(seed)
    kinds = [("omp", "warm"), ("workqueue", "warm")] + [("omp", "cold"), ("workqueue", "cold")] * long
    return [
        " ".join([layer, cache, *(f"{chance.uniform(0, 0.4 if cache == 'warm' else 6):.3f}" for _ in range(6 if long else 2))])
        for _ in range(4 if long else 1) for layer, cache in kinds
    ]  # fmt: skip


def prepare() -> None:
    pass


def judge(task: str) -> tuple[str, str]:
    layer, cache, *delays = task.split()
    delays.sort(key=float)
    environment = os.environ | {"NUMBA_NUM_THREADS": "2", "NUMBA_THREADING_LAYER": layer}
    with tempfile.TemporaryDirectory() as empty:
        if cache == "cold":
            environment["FASTCONV_CACHE"] = empty
        words = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(PATIENCE[cache]), *delays]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        return f"exit {done.returncode}", f"the parent: {done.stderr[-400:]}"
    return ("wrong", f"{done.stdout.strip()}; {done.stderr.strip()[-400:]}") if done.stdout.strip() else ("right", "")
