"""info: what fastconv runs on here."""

import argparse
import os
import platform
import sys
from pathlib import Path

import llvmlite
import numba
import numpy as np

import fastconv as fc
from fastconv.kernels import table
from fastconv.kernels.compile import threads as policy
from fastconv.kernels.compile.cache import folder, trusted, why_off
from fastconv.kernels.simd import host


def info(chosen: argparse.Namespace) -> None:
    for name, value in facts().items():
        print(f"{name + ':':16} {value}")


def facts() -> dict[str, str]:
    """Each line of `python -m fastconv info`."""
    quota = policy.quota()
    return {
        "fastconv": fc.__version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "numba": f"{numba.__version__} (llvmlite {llvmlite.__version__}, numpy {np.__version__})",
        "cpu": f"{_model()} ({host.target()[0]})",
        "lanes": f"{host.registers().bytes // 4} float32",
        "threads": f"{policy.get_num_threads()} (pool {numba.config.NUMBA_NUM_THREADS}, quota {'none' if quota is None else f'{quota:g} CPUs'})",
        "threading layer": layer(),
        "load": load(),
        "algorithms": ", ".join(table.names()),
        "kernel cache": cache(),
    }


def layer() -> str:
    """Numba's threading layer, found out by starting it."""
    fc.ops.relu(np.zeros((1, 1 << 20), np.float32))
    try:
        name = numba.threading_layer()
    except ValueError:
        return "not started: one thread"
    if name != "workqueue":
        return name
    missing = "libomp" if sys.platform == "darwin" else "libgomp.so.1" if sys.platform == "linux" else "an OpenMP or TBB runtime"
    return f"workqueue (slower launches; {missing} was not found or NUMBA_THREADING_LAYER chose it)"


def load() -> str:
    """How many CPUs were busy in the last minute, and what helps where others keep them busy: threads that share a pass wait for the slowest."""
    if not hasattr(os, "getloadavg"):
        return "unknown"
    busy, cpus = os.getloadavg()[0], os.cpu_count() or 1
    shown = f"{busy:.1f} of {cpus} CPUs busy in the last minute"
    crowded = busy + policy.get_num_threads() > cpus + 0.5 and policy.get_num_threads() > 1
    return f"{shown}; if that is others' work, fewer threads may be faster (--threads, fastconv.set_num_threads)" if crowded else shown


def cache() -> str:
    place = folder()
    if place is None:
        return why_off()
    try:
        if not trusted(place):
            return f"{place} is not used: others than you and root can write there"
        kept = list(place.glob("*.kernel")) if place.is_dir() else []
        return f"{place} ({len(kept)} kernels, {sum(path.stat().st_size for path in kept) / 1e6:.1f} MB)"
    except OSError as error:
        return f"{place} is not used: {error.strerror or error}; FASTCONV_CACHE may name another folder"


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
