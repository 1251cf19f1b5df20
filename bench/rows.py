"""What is measured: a row for each layer and pass, and how long the first calls take."""

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.layer import PASSES, TOLERANCE, Layer, error, exact
from bench.peers import PEERS, TORCH
from bench.timing import Pairs, in_turns
from bench.worker import Worker
from fastconv.kernels import table

COMPILED, UNSEEN = "64 32 16 64 3 1 1", "20 32 19 64 3 1 1"  # the same kernels, other extents
SIZES = (4, "3 1 1"), (17, "5 1 2"), (4, "3 2 1"), (4, "7 1 3"), (17, "7 1 3")  # the last three are not Winograd's
EVERY_KERNEL = (  # layers that between them run each kernel of a convolution, in float32, on every tile of the menu
    *(f"1 {n} {size} {n} {taps}" for n in (4, 8, 16, 32, 48, 64) for size, taps in SIZES),
    *(f"1 {layer} 1 0" for layer in ("1 9 6 3", "1 9 6 5", "2 9 10 2", "2 10 5 3")),
    *(f"1 {groups} 4 {multiplier * groups} 3 1 1 groups={groups}" for groups in (8, 16, 32) for multiplier in (1, 2)),
)
SMALL_MAPPED = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # glibc gives larger blocks back at once, so that a peak is seen as one


class Row(NamedTuple):
    layer: Layer
    name: str  # of the pass
    algorithm: str
    against: dict[str, Pairs]  # by peer; "peak" is one of them
    memory: dict[str, int | None]  # bytes beyond operands and results, by who computes

    @property
    def rate(self) -> float:
        """Ours, in GFLOP/s: the median of all turns."""
        return float(np.median([rate for pairs in self.against.values() for rate in pairs.ours]))

    @property
    def share(self) -> float:
        """Of the FMA peak. Algorithms that multiply less than the definition does may pass 1."""
        return self.against["peak"].ratio

    @property
    def torch(self) -> Pairs | None:
        """Against the better of PyTorch's layouts."""
        return min((self.against[peer] for peer in TORCH if peer in self.against), key=lambda pairs: pairs.ratio, default=None)

    @property
    def loses(self) -> bool:
        return self.torch is not None and self.torch.ratio < 1


class FirstCalls(NamedTuple):
    """Seconds of a pass's first call: nothing compiled yet; kept on disk, in a new process; a new layer for the kernels in use."""

    name: str
    empty: float
    kept: float
    unseen: float


class CompileTimes(NamedTuple):
    first: list[FirstCalls]
    every: float  # seconds until all that a float32 convolution may need is compiled


class WrongResult(Exception):
    pass


def check(layer: Layer, names: list[str], workers: dict[str, Worker]) -> None:
    """Nobody is timed whose results are not right."""
    right = exact(layer)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.npz"
        for peer, worker in workers.items():
            for name in names if peer != "peak" else ():
                worker.ask("result", layer.line, name, file=str(file))
                with np.load(file) as found:
                    off = error(tuple(found.values()), right[name])
                if not off <= TOLERANCE[layer.dtype.name]:
                    raise WrongResult(f"{layer.line}, {name}: the result of {peer} is off by {off:.1e}, more than {TOLERANCE[layer.dtype.name]:g}")
    time.sleep(0.2)  # until the threads that multiplied here have gone to sleep


def fitting(layer: Layer, workers: dict[str, Worker]) -> dict[str, Worker]:
    return {peer: worker for peer, worker in workers.items() if peer not in PEERS or PEERS[peer].fits(layer)}


def measure(layer: Layer, name: str, workers: dict[str, Worker], repeats: int) -> Row:
    """Ours against each of the others, in turns; checked before."""
    against = {}
    for peer, worker in fitting(layer, workers).items():
        if peer != "ours":
            act = "spin" if peer == "peak" else name
            ours = workers["ours"]
            against[peer] = in_turns(
                lambda ours=ours: ours.rate(layer.line, name), lambda worker=worker, act=act: worker.rate(layer.line, act), repeats
            )
    return Row(layer, name, table.pick(layer.operation(name), layer.g, layer.dtype).name, against, {})


def memory(layer: Layer, names: list[str], workers: dict[str, Worker], threads: int) -> dict[str, dict[str, int | None]]:
    """By pass and peer; each in a fresh process for this layer."""
    found = {name: {} for name in names}
    for peer in fitting(layer, workers):
        if peer != "peak":
            with Worker(peer, threads, **SMALL_MAPPED) as fresh:
                for name in names:
                    found[name][peer] = fresh.ask("memory", layer.line, name)["bytes"]
    return found


def compile_times(names: list[str], threads: int) -> CompileTimes:
    """Each pass, then all layers of EVERY_KERNEL, with an empty kernel cache of its own."""
    found = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            with Worker("ours", threads, FASTCONV_CACHE=folder) as worker:
                empty = worker.ask("first", COMPILED, name)["seconds"]
                unseen = worker.ask("first", UNSEEN, name)["seconds"]
            with Worker("ours", threads, FASTCONV_CACHE=folder) as worker:
                kept = worker.ask("first", COMPILED, name)["seconds"]
        found.append(FirstCalls(name, empty, kept, unseen))
    with tempfile.TemporaryDirectory() as folder, Worker("ours", threads, FASTCONV_CACHE=folder) as worker:
        every = sum(worker.ask("first", line, name)["seconds"] for line in EVERY_KERNEL for name in PASSES)
    return CompileTimes(found, every)


def peaks(threads: int) -> dict[int, float]:
    """GFLOP/s of the float32 FMA peak on 1, 2, 4, ... and all threads: the best of some tries, for the machine is shared."""
    found = {}
    for n in sorted({threads, *(1 << i for i in range(threads.bit_length()) if 1 << i < threads)}):
        with Worker("peak", n) as worker:
            found[n] = max(worker.rate(COMPILED, "spin") for _ in range(9))
    return found
