"""info: what fastconv runs on here."""

import argparse
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
