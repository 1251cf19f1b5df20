"""Python threads, forked and spawned children, any threading layer: right answers, never an abort; and how many threads are used."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import fastconv as fc
from fastconv.kernels.compile import threads as policy

# Small integers, so that every order of summation gives the same numbers: NumPy says which.
PASSES = '''
import multiprocessing, sys, threading
import numba
import numpy as np
import fastconv as fc
from fastconv import ops

random = np.random.default_rng(0)
x, w, dy = (random.integers(-4, 5, shape).astype(np.float32) for shape in ((8, 16, 12, 12), (16, 16, 3, 3), (8, 16, 12, 12)))


def passes():
    """Forward, input gradient, weight gradient; 5 million operations each, so that they run in parallel under every layer."""
    return ops.conv2d(x, w, padding=1), ops.conv2d_input_grad(dy, w, x.shape, padding=1), ops.conv2d_weight_grad(x, dy, 3, padding=1)


def expected():
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y, padded_dx, dw = np.zeros_like(dy), np.zeros_like(padded), np.zeros_like(w)
    for kh, kw in np.ndindex(3, 3):
        read = np.s_[:, :, kh : kh + 12, kw : kw + 12]
        y += np.einsum("nchw,oc->nohw", padded[read], w[:, :, kh, kw])
        padded_dx[read] += np.einsum("nohw,oc->nchw", dy, w[:, :, kh, kw])
        dw[:, :, kh, kw] = np.einsum("nchw,nohw->oc", padded[read], dy)
    return y, padded_dx[:, :, 1:-1, 1:-1], dw


def check(results=None):
    for result, right in zip(results or passes(), expected()):
        np.testing.assert_allclose(result, right, atol=2e-3)  # whole numbers; Winograd's thirds round
'''
TWO_THREADS = """
results, errors = [], []


def work(barrier):
    try:
        barrier.wait()
        for _ in range(repeats):
            results.append(passes())
    except Exception as error:
        errors.append(error)


def together(count):
    barrier = threading.Barrier(count)
    threads = [threading.Thread(target=work, args=(barrier,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


for repeats, count in ((1, 2), (20, 2), (5, 4)):  # the very first calls meet while the layer is still unknown
    together(count)
assert not errors, errors
assert len(results) == 62
for result in results:
    check(result)
print("right", numba.threading_layer())
"""
CHILD = """
if __name__ == "__main__":
    method, used = sys.argv[1:]
    if used == "used":
        check()
    context = multiprocessing.get_context(method)
    for _ in range(2):
        child = context.Process(target=check)
        child.start()
        child.join(100)
        assert child.exitcode == 0, child.exitcode
    check()  # the parent goes on as before
    print("right")
"""
MASK = """
fc.set_num_threads(2)
for mask in (1, 2):
    numba.set_num_threads(mask)
    check()
    assert numba.get_num_threads() == mask
fc.set_num_threads(1)
check()
assert numba.get_num_threads() == 2
print("right")
"""


def run(tmp_path: Path, script: str, *arguments: str, layer: str = "default") -> str:
    """What a script prints in a process of its own, on two threads; a process that aborts, hangs or fails fails the test."""
    path = tmp_path / "script.py"
    path.write_text(PASSES + script)
    environment = os.environ | {"PYTHONPATH": str(Path(fc.__file__).parents[1]), "NUMBA_NUM_THREADS": "2"}
    environment.pop("NUMBA_THREADING_LAYER", None)
    if layer != "default":
        environment["NUMBA_THREADING_LAYER"] = layer
    done = subprocess.run([sys.executable, path, *arguments], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr}"
    return done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_python_threads_compute_at_once(tmp_path, layer):
    words = run(tmp_path, TWO_THREADS, layer=layer)
    assert words.startswith("right ")
    assert layer in ("default", words.removeprefix("right "))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("used", ["used", "unused"])
@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_a_forked_child_computes(tmp_path, layer, used):
    """A child of a process that has run parallel kernels would be killed at its first one; it must not run any."""
    assert run(tmp_path, CHILD, "fork", used, layer=layer) == "right"


@pytest.mark.slow
def test_a_spawned_child_computes(tmp_path):
    assert run(tmp_path, CHILD, "spawn", "used") == "right"


@pytest.mark.slow
def test_the_callers_own_number_of_numba_threads_stays(tmp_path):
    assert run(tmp_path, MASK) == "right"


@pytest.fixture
def usual_threads():
    before = fc.get_num_threads()
    yield before
    fc.set_num_threads(before)


def test_set_num_threads_sets_what_get_num_threads_gets(usual_threads):
    for n in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        fc.set_num_threads(n)
        assert fc.get_num_threads() == n


@pytest.mark.parametrize("wrong", [True, 1.0, "2", None])
def test_a_number_of_threads_is_an_integer(wrong, usual_threads):
    with pytest.raises(TypeError, match=rf"set_num_threads: n must be an integer, got {wrong!r}"):
        fc.set_num_threads(wrong)
    assert fc.get_num_threads() == usual_threads


@pytest.mark.parametrize("wrong", [0, -1, 10**6, 2**64])
def test_a_number_of_threads_is_within_the_pool(wrong, usual_threads):
    pool = numba.config.NUMBA_NUM_THREADS
    with pytest.raises(ValueError, match=rf"set_num_threads: n must be between 1 and {pool} \(.*NUMBA_NUM_THREADS\), got {wrong}"):
        fc.set_num_threads(wrong)
    assert fc.get_num_threads() == usual_threads


V1 = "cpu.cfs_quota_us", "cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("groups", "files", "cpus"),
    [
        ("0::/", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/", {"cpu.max": "max 100000\n"}, None),
        ("0::/a/b", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000"}, 4),  # the limit of any group above holds
        ("0::/a/b", {"cpu.max": "max 100000", "a/cpu.max": "300000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        ("0::/a/b", {}, None),
        ("0::/a/b", {"a/b/cpu.max": "nonsense"}, None),
        ("0::/a", {"b/cpu.max": "100000 100000"}, None),  # another group's
        ("4:cpu,cpuacct:/docker", {f"cpu/docker/{V1[0]}": "200000", f"cpu/docker/{V1[1]}": "100000"}, 2),
        ("4:cpu:/docker", {f"cpu/{V1[0]}": "50000", f"cpu/{V1[1]}": "100000"}, 0.5),  # seen from inside: only the root is mounted
        ("4:cpu:/", {f"cpu/{V1[0]}": "-1", f"cpu/{V1[1]}": "100000"}, None),
        ("7:memory:/\n4:cpuset:/\n0::/", {f"cpu/{V1[0]}": "100000", f"cpu/{V1[1]}": "100000"}, None),  # not ours: no cpu controller
        ("4:cpu:/\n0::/", {"cpu.max": "300000 100000", f"cpu/{V1[0]}": "200000", f"cpu/{V1[1]}": "100000"}, 2),
    ],
)
def test_the_quota_of_a_container_is_read(tmp_path, groups, files, cpus):
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert policy.quota(tmp_path) == cpus


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert policy.quota(tmp_path) is None


@pytest.mark.parametrize(("allowed", "pool", "threads"), [(None, 8, 8), (2.5, 8, 2), (0.5, 8, 1), (16, 8, 8)])
def test_the_usual_number_of_threads_keeps_to_the_quota(monkeypatch, allowed, pool, threads):
    monkeypatch.setattr(policy, "quota", lambda: allowed)
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", pool)
    assert policy.default_threads() == threads


def test_after_a_stall_threads_rest_for_a_while(monkeypatch):
    """Twice as long each time that the next launch stalls, too; and as in the beginning after one that did not."""
    now, ran = [0.0], []
    monkeypatch.setattr(policy.time, "perf_counter", lambda: now[0])
    team = policy.Team()
    team.resize(2)
    team.layer = "omp"

    def launch(seconds: float, at: float) -> str:
        def threaded():
            ran.append("threads")
            now[0] += seconds

        now[0] = at
        team.launch(threaded, lambda: ran.append("alone"), 1e6, ())
        return ran[-1]

    monkeypatch.setattr(numba, "get_num_threads", lambda: 2)
    first, _ = policy.RESTS
    assert [launch(0.001, at) for at in (1.0, 1.1)] == ["threads", "threads"]  # 1e6 operations may take 2 ms
    assert launch(0.004, 2.0) == "threads"
    assert launch(0, 2.004 + 0.9 * first) == "alone"
    assert launch(0.004, 2.004 + 1.1 * first) == "threads"
    again = 2.008 + 1.1 * first
    assert launch(0, again + 1.9 * first) == "alone"
    assert launch(0, again + 2.1 * first) == "threads"
    assert launch(0, again + 2.1 * first) == "threads"
    assert launch(0.004, 10.0) == "threads"
    assert launch(0, 10.004 + 1.1 * first) == "threads"
    launch(0.004, 11.0)
    team.resize(2)  # whoever sets the number of threads wants them
    assert launch(0, 11.005) == "threads"


@pytest.mark.parametrize(("layer", "size", "least"), [("omp", 2, policy.HOT), ("workqueue", 2, policy.TINY["workqueue"]), ("omp", 1, math.inf)])
def test_passes_that_follow_one_another_share_less_work(layer, size, least):
    team = policy.Team()
    team.layer = layer
    team.resize(size)
    usual = team.least
    with team.hot():
        assert team.least == least
    assert team.least == usual
