"""Benchmarks: `pytest bench`, or `pytest bench --shapes bench/shapes/common.txt`. NUMBA_NUM_THREADS=1 times one thread.

Each result is checked, and everything is compiled, before it is timed. What was measured is printed per second of the median round:
GFLOP/s where arithmetic counts, GB/s where memory does, images/s for a whole network. `--benchmark-json FILE` keeps it.
"""

from pathlib import Path

import pytest

import fastconv as fc
from fastconv.geometry import Geometry, conv_geometry

QUICK = Path(__file__).parent / "shapes" / "quick.txt"
RATES = pytest.StashKey[list[str]]()


def pytest_addoption(parser):
    parser.addoption("--shapes", type=Path, default=QUICK, metavar="FILE", help="layers to time, one a line: n ic ih oc k s p")


def layers(path: Path) -> dict[str, Geometry]:
    """The layers of a file, by their line."""
    found = {}
    for line in path.read_text("utf-8").splitlines():
        words = line.partition("#")[0].split()
        if words:
            n, ic, ih, oc, k, s, p = map(int, words)
            found[" ".join(words)] = conv_geometry(path.name, n, ic, oc, (ih, ih), (k, k), s, p, 1, 1)
    return found


def pytest_generate_tests(metafunc):
    """A benchmark that asks for `layer` runs for each line, one that asks for `images` for each different input."""
    shapes = layers(metafunc.config.getoption("--shapes"))
    if "layer" in metafunc.fixturenames:
        metafunc.parametrize("layer", shapes.values(), ids=shapes)
    if "images" in metafunc.fixturenames:
        inputs = {" ".join(map(str, g.input_shape[:3])): g.input_shape for g in shapes.values()}
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
