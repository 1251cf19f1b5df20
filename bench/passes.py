"""What a pass costs around its arithmetic: `python -m bench.passes`.

Tiny layers (2 images x 8 channels x 6 x 6), forward and backward with the input's gradient as a user calls them, against PyTorch's modules; and the
three passes of Linear layers with large weights, against PyTorch and NumPy's BLAS; and layers that move memory (64 images of 32 x 32 pixels), forward
and backward alone, against PyTorch's and a copy of as many bytes. Results are compared before anything is timed; everybody runs
in a process of its own, in turns; ratios are medians over pairs against the best of the others. Writes bench/results/passes.md. PyTorch comes
with: pip install -e ".[peers]"
"""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import fastconv as fc
from bench import report, rows
from bench.command import exit_code
from bench.pass_peers import ALONE, LINEAR, MEMORY, PASS_PEERS, PASSES, TASKS, TINY
from bench.timing import NOISY, Pairs, geometric_mean, in_turns
from bench.worker import ROOT, Worker
from fastconv.cli.info import facts
from fastconv.files import write_whole

RESULT = ROOT / "bench" / "results" / "passes.md"
OURS = "ours-pass"
TOLERANCE = 1e-4  # of the largest element


def results(worker: Worker, line: str, name: str) -> list[np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.npz"
        worker.ask("result", line, name, file=str(path))
        with np.load(path) as stored:
            return list(stored.values())


def check(line: str, name: str, workers: dict[str, Worker]) -> None:
    """WrongResult where somebody computes something else."""
    ours = results(workers[OURS], line, name)
    for peer, worker in workers.items():
        for a, b in zip(ours, results(worker, line, name), strict=True):
            if a.shape != b.shape or abs(a - b).max() > TOLERANCE * abs(b).max():
                raise rows.WrongResult(f"{line}, {name}: {peer} and fastconv differ")


def measure(line: str, name: str, workers: dict[str, Worker], repeats: int) -> dict[str, Pairs]:
    check(line, name, workers)
    ours = workers[OURS]
    others = {peer: worker for peer, worker in workers.items() if peer != OURS}
    return {peer: in_turns(lambda: ours.rate(line, name), lambda w=worker: w.rate(line, name), repeats) for peer, worker in others.items()}


def cells(line: str, name: str, threads: int, against: dict[str, Pairs]) -> tuple[float, list[str]]:
    """The ratio to the best of the others, and a row of the table."""
    best = min(against, key=lambda peer: against[peer].ratio)
    pairs, task = against[best], TASKS[line]
    ours = float(np.median([rate for found in against.values() for rate in found.ours]))
    microseconds = [f"{task.flops / rate / 1e3:.1f}" for rate in (ours, pairs.rate)]
    ratio = f"{pairs.ratio:.2f}" if pairs.ratio >= 1 else f"**{pairs.ratio:.2f} ▼**"
    noise = f"{pairs.spread:.0%}" + (" noisy" if pairs.spread > NOISY else "")
    return pairs.ratio, [line, name, str(threads), *microseconds, PASS_PEERS[best].label, ratio, noise]


def table(kinds: dict, names: tuple[str, ...], peers: tuple[str, ...], chosen: argparse.Namespace) -> list[str]:
    """Measured, a line printed as each is found; and their geometric means."""
    body = []
    for threads in chosen.threads:
        with ExitStack() as stack:
            workers = {peer: stack.enter_context(Worker(peer, threads)) for peer in (OURS, *peers)}
            ratios = []
            for line in kinds:
                for name in names:
                    ratio, row = cells(line, name, threads, measure(line, name, workers, chosen.repeats))
                    if TASKS[line].kind:
                        copying = TASKS[line].flops / workers[OURS].rate(line, "copy") / 1e3
                        row += [f"{copying:.1f}", f"{copying / float(row[3]):.2f}"]
                    print("  ".join(row), flush=True)
                    ratios.append(ratio)
                    body.append(row)
            mean = ["geometric mean", "", str(threads), "", "", "", f"{geometric_mean(ratios):.2f}"]
            body.append(mean + [""] * (len(row) - len(mean)))
    head = ["layer", "pass", "threads", "fastconv, us", "best other, us", "which", "times its speed", "spread", "copy, us", "times its speed"]
    return report.markdown_table(head[: len(row)], body)


def parser() -> argparse.ArgumentParser:
    shown = argparse.ArgumentParser("python -m bench.passes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shown.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N", help="for everybody (default: 1 2)")
    shown.add_argument("--repeats", type=int, default=7, metavar="N", help="pairs of measurements per pass and peer (default: 7)")
    shown.add_argument("--only", choices=("tiny", "linear", "memory"), help="one of the three tables (default: all)")
    shown.add_argument("--no-write", action="store_true", help="print only")
    return shown


def run(chosen: argparse.Namespace) -> None:
    parts = []
    if chosen.only in (None, "tiny"):
        tiny = table(TINY, ("both",), ("nchw-pass", "channels_last-pass"), chosen)
        parts += [["## Tiny layers, forward and backward"], ["2 images x 8 channels x 6 x 6; Linear 2 x 8 -> 8."], tiny]
    if chosen.only in (None, "linear"):
        linear = table(LINEAR, PASSES, ("nchw-pass", "numpy-pass"), chosen)
        parts += [["## Linear layers with large weights"], ["`linear N I O`: x (N, I), w as each side holds it."], linear]
    if chosen.only in (None, "memory"):
        memory = table(MEMORY, ALONE, ("nchw-pass", "channels_last-pass"), chosen)
        parts += [
            ["## Layers that move memory"],
            ["x: (64, channels, 32, 32). A copy reads half of the bytes of x and y together, and writes as many."],
            memory,
        ]
    here = facts()
    most = max(chosen.threads)
    machine = report.Machine(here["cpu"], here["lanes"], most, [], rows.peaks(most))
    text = "\n\n".join("\n".join(part) for part in [["# Single passes", "", *machine.lines()], *parts]) + "\n"
    print("", text, sep="\n")
    if not chosen.no_write:
        RESULT.parent.mkdir(exist_ok=True)
        write_whole(RESULT, text.encode())
        print(f"written: {RESULT.relative_to(ROOT)}")


def complete(shown: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    chosen = shown.parse_args(arguments)
    if not find_spec("torch"):
        shown.error('needs PyTorch: pip install -e ".[peers]"')
    if not all(1 <= threads <= fc.get_num_threads() for threads in chosen.threads):
        shown.error(f"--threads: from 1 to {fc.get_num_threads()}, got {' '.join(map(str, chosen.threads))}")
    if chosen.repeats < 1:
        shown.error(f"--repeats: at least 1, got {chosen.repeats}")
    return chosen


def main(arguments: list[str] | None = None) -> int:
    return exit_code("bench.passes", lambda: run(complete(parser(), sys.argv[1:] if arguments is None else arguments)))


if __name__ == "__main__":
    sys.exit(main())
