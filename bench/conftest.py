"""Benchmarks: `pytest bench`, or `pytest bench --shapes bench/shapes/common.txt`. NUMBA_NUM_THREADS=1 times one thread.

Each result is checked, and everything is compiled, before it is timed. What was measured is printed per second of the median round:
GFLOP/s where arithmetic counts, GB/s where memory does, images/s for a whole network. `--benchmark-json FILE` keeps it.
"""

from pathlib import Path

import pytest

import fastconv as fc
from bench.layer import FORM, read

QUICK = Path(__file__).parent / "shapes" / "quick.txt"
RATES = pytest.StashKey[list[str]]()


def pytest_addoption(parser):
    parser.addoption("--shapes", type=Path, default=QUICK, metavar="FILE", help=f"layers to time, one a line: {FORM}")


def pytest_generate_tests(metafunc):
    """A benchmark that asks for `layer` runs for each line, one that asks for `images` for each different input."""
    layers = read(metafunc.config.getoption("--shapes"))
    if "layer" in metafunc.fixturenames:
        metafunc.parametrize("layer", layers, ids=[layer.line for layer in layers])
    if "images" in metafunc.fixturenames:
        inputs = {" ".join(map(str, layer.g.input_shape[:3])): layer.g.input_shape for layer in layers if layer.g.rank == 2}
        metafunc.parametrize("images", inputs.values(), ids=inputs)


@pytest.fixture
def clock(request):
    """Time a call: `clock(call, amount, unit)` reports `amount` a second as so many `unit`."""

    def clock(call, amount: float, unit: str) -> None:
        benchmark = request.getfixturevalue("benchmark")  # only now: it complains when a check fails before it is used
        call()  # compiled, and in the caches
        benchmark(call)
        if benchmark.stats is None:  # --benchmark-disable
            return
        median = benchmark.stats.stats.median
        rate = amount / median
        benchmark.extra_info.update({unit: rate, "threads": fc.get_num_threads()})
        name = request.node.name.removeprefix("test_")
        request.config.stash.setdefault(RATES, []).append(f"{name:55} {1e3 * median:9.3f} ms {rate:12,.2f} {unit}")

    return clock


def pytest_terminal_summary(terminalreporter, config):
    if rates := config.stash.get(RATES, []):
        terminalreporter.section(f"rates on {fc.get_num_threads()} threads")
        for line in rates:
            terminalreporter.write_line(line)
