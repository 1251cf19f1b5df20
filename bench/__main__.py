"""How fast the three passes of a convolution are, against PyTorch (NCHW and channels_last) and im2col + NumPy, on this machine.

Everybody runs in a process of its own, in turns; results are checked first; ratios are medians over pairs. Writes bench/results/*.md, a picture
(with matplotlib), and, when everything was measured, the summary in README.md. PyTorch comes with: pip install -e ".[peers,plot]"
"""

import argparse
import sys
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import fastconv as fc
from bench import report, rows
from bench.command import exit_code
from bench.layer import PASSES, Layer, read
from bench.peers import PEERS, TORCH
from bench.worker import ROOT, Worker
from fastconv.cli.info import facts
from fastconv.files import write_whole

SHAPES, RESULTS, README = ROOT / "bench" / "shapes", ROOT / "bench" / "results", ROOT / "README.md"


def parser() -> argparse.ArgumentParser:
    shown = argparse.ArgumentParser("python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shown.add_argument("--shapes", type=Path, nargs="+", metavar="FILE", help="layers, one a line (default: bench/shapes/*.txt but quick.txt)")
    shown.add_argument("--passes", nargs="+", choices=PASSES, default=list(PASSES), metavar="PASS", help=f"of {', '.join(PASSES)} (default: all)")
    shown.add_argument("--peers", nargs="*", choices=PEERS, metavar="PEER", help=f"of {', '.join(PEERS)} (default: all that are installed)")
    shown.add_argument("--threads", type=int, metavar="N", help=f"for everybody (default: {fc.get_num_threads()}, all that this machine gives)")
    shown.add_argument("--repeats", type=int, metavar="N", help="pairs of measurements per row and peer (default: 7, quick: 3)")
    shown.add_argument("--quick", action="store_true", help="shapes/quick.txt, fewer repeats, no memory, no compile time; writes nothing")
    shown.add_argument("--no-write", action="store_true", help="print only")
    return shown


def complete(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """The arguments with their defaults; `whole` if nothing was left out that the README's summary tells of."""
    chosen = parser.parse_args(arguments)
    usual = [SHAPES / "quick.txt"] if chosen.quick else [path for path in sorted(SHAPES.glob("*.txt")) if path.stem != "quick"]
    installed = [peer for peer in PEERS if peer not in TORCH or find_spec("torch")]
    threads = fc.get_num_threads()
    chosen.shapes = chosen.shapes or usual
    chosen.peers = installed if chosen.peers is None else chosen.peers
    chosen.threads = threads if chosen.threads is None else chosen.threads
    chosen.repeats = (3 if chosen.quick else 7) if chosen.repeats is None else chosen.repeats
    chosen.whole = (chosen.shapes, set(chosen.passes), set(chosen.peers), chosen.threads) == (usual, set(PASSES), set(PEERS), threads)
    chosen.write = not (chosen.quick or chosen.no_write)
    if not 1 <= chosen.threads <= threads:
        parser.error(f"--threads: from 1 to {threads}, got {chosen.threads}")
    if chosen.repeats < 1:
        parser.error(f"--repeats: at least 1, got {chosen.repeats}")
    if missing := [peer for peer in chosen.peers if peer not in installed]:
        parser.error(f'--peers: {", ".join(missing)} need PyTorch: pip install -e ".[peers]"')
    return chosen


def measured(layer: Layer, chosen: argparse.Namespace, workers: dict[str, Worker]) -> list[rows.Row]:
    rows.check(layer, chosen.passes, rows.fitting(layer, workers))
    found = []
    for name in chosen.passes:
        found.append(rows.measure(layer, name, workers, chosen.repeats))
        print(report.line(found[-1]), flush=True)
    if chosen.quick:
        return found
    memory = rows.memory(layer, chosen.passes, workers, chosen.threads)
    return [row._replace(memory=memory[row.name]) for row in found]


def run(chosen: argparse.Namespace) -> None:
    files = {path.stem: read(path) for path in chosen.shapes}  # before anything takes time
    with ExitStack() as stack:
        workers = {peer: stack.enter_context(Worker(peer, chosen.threads)) for peer in ("ours", *chosen.peers, "peak")}
        versions = list(dict.fromkeys(worker.version for worker in workers.values() if worker.version))
        here = facts()
        machine = report.Machine(here["cpu"], here["lanes"], chosen.threads, versions, rows.peaks(chosen.threads))
        print(*machine.lines(), sep="\n", flush=True)
        reports = {title: [row for layer in layers for row in measured(layer, chosen, workers)] for title, layers in files.items()}
    times = None if chosen.quick else rows.compile_times(chosen.passes, chosen.threads)
    for title, found in reports.items():
        print("", title, *report.means(found), sep="\n")
    print("", *report.compile_times(times), sep="\n") if times else None
    if chosen.write:
        write(chosen, machine, reports, times)


def write(chosen: argparse.Namespace, machine: report.Machine, reports: dict[str, list[rows.Row]], times: rows.CompileTimes | None) -> None:
    RESULTS.mkdir(exist_ok=True)
    for title, found in reports.items():
        name = f"{title}-{chosen.threads}-thread{'' if chosen.threads == 1 else 's'}"
        picture = f"{name}.svg" if find_spec("matplotlib") else None
        if picture:
            report.draw(RESULTS / picture, found)
        write_whole(RESULTS / f"{name}.md", report.markdown(title, machine, found, times, picture).encode())
        print(f"written: {(RESULTS / name).relative_to(ROOT)}.md")
    if chosen.whole:
        text = report.between_markers(README.read_text("utf-8"), report.summary(machine, reports))
        write_whole(README, text.encode())
    else:
        print("README.md keeps its summary: only a run with every shape, pass, peer and thread changes it")


def main(arguments: list[str] | None = None) -> int:
    return exit_code("bench", lambda: run(complete(parser(), sys.argv[1:] if arguments is None else arguments)))


if __name__ == "__main__":
    sys.exit(main())
