"""How fast whole training steps are, against PyTorch (NCHW and channels_last), on this machine: `python -m bench.nets`.

Six nets, and six more that no kernel is chosen for, with the same initial weights for everybody; the losses of five steps must agree before
anything is timed. Everybody runs in a process of its own, in turns; ratios are medians over pairs. Writes bench/results/nets.md. PyTorch comes
with: pip install -e ".[peers]"
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastconv as fc
from bench import report, rows
from bench.command import exit_code
from bench.net import NETS, TUNED, Net
from bench.net_peers import NET_PEERS, SGD
from bench.timing import NOISY, Pairs, geometric_mean, in_turns, seconds_a_call
from bench.worker import ROOT, Worker
from fastconv.cli.info import facts
from fastconv.files import write_whole
from fastconv.profiling import Profile, profile

RESULT = ROOT / "bench" / "results" / "nets.md"
OURS = "ours-net"
AGREE = 1e-4  # of the losses, relative
COPIED = 8 << 20  # bytes
PEERS = [peer for peer in NET_PEERS if peer != OURS]
LABELS = {peer: kind.label for peer, kind in NET_PEERS.items()}


class Steps(NamedTuple):
    """Training steps of one net on so many threads."""

    net: Net
    threads: int
    against: dict[str, Pairs]  # by peer
    bound: float  # seconds

    @property
    def torch(self) -> Pairs:
        """Against the better of PyTorch's layouts."""
        return min(self.against.values(), key=lambda pairs: pairs.ratio)

    @property
    def ours(self) -> float:
        """GFLOP/s: the median of all turns."""
        return float(np.median([rate for pairs in self.against.values() for rate in pairs.ours]))

    def milliseconds(self, rate: float) -> str:
        return f"{self.net.flops / rate / 1e6:.2f}"

    def cells(self) -> list[str]:
        theirs = [self.milliseconds(self.against[peer].rate) if peer in self.against else "–" for peer in PEERS]
        ratio = f"{self.torch.ratio:.2f}" if self.torch.ratio >= 1 else f"**{self.torch.ratio:.2f} ▼**"
        spread = f"{self.torch.spread:.0%}" + (" noisy" if self.torch.spread > NOISY else "")
        bound = f"{1e3 * self.bound:.2f}"
        return [self.net.line, str(self.net.batch), str(self.threads), bound, self.milliseconds(self.ours), *theirs, ratio, spread]


class Fresh(NamedTuple):
    """What new processes tell of one net, by peer."""

    net: Net
    empty: float  # seconds of our first step with nothing compiled
    first: dict[str, float]  # of the first step, what is compiled kept on disk
    memory: dict[str, int | None]  # bytes of a step at its peak, beyond weights and images


def check(net: Net, workers: dict[str, Worker]) -> None:
    """Nobody is timed who does not train as the others do."""
    with tempfile.TemporaryDirectory() as folder:
        file, losses = Path(folder) / "result.npz", {}
        for peer, worker in workers.items():
            worker.ask("result", net.line, "losses", file=str(file))
            with np.load(file) as found:
                (losses[peer],) = found.values()
    theirs = np.array([found for peer, found in losses.items() if peer != OURS])
    allowed = np.maximum(AGREE * np.abs(theirs[0]), 4 * np.ptp(theirs, 0))  # of a MobileNet PyTorch's layouts differ by 1e-2 after five steps
    for peer, found in losses.items():
        if not (np.abs(found - losses[OURS]) <= allowed).all():
            raise rows.WrongResult(f"{net.line}: the losses of {LABELS[peer]} are {found}, those of fastconv {losses[OURS]}")
    time.sleep(0.2)  # until all threads have gone to sleep


class Limits(NamedTuple):
    """What this machine can do, of the same run."""

    peaks: dict[int, float]  # GFLOP/s by threads
    copying: float  # bytes a second that one thread copies, from and to L3 or memory

    def seconds(self, net: Net, threads: int) -> float:
        """No direct algorithm is faster: all products at the peak, and each large array, once there, written and read as a copy does."""
        return net.flops / self.peaks[threads] / 1e9 + net.bytes / self.copying / threads


def limits(threads: list[int]) -> Limits:
    a = np.ones(COPIED // 8)
    b = np.empty_like(a)
    peaks = rows.peaks(max(threads))
    for n in threads:
        peaks |= {} if n in peaks else {n: rows.peaks(n)[n]}
    return Limits(peaks, COPIED / min(seconds_a_call(lambda: np.copyto(b, a)) for _ in range(5)))


def measure(net: Net, threads: int, workers: dict[str, Worker], repeats: int, here: Limits) -> Steps:
    def rate(peer: str):
        return lambda: workers[peer].rate(net.line, "step")

    against = {peer: in_turns(rate(OURS), rate(peer), repeats) for peer in workers if peer != OURS}
    return Steps(net, threads, against, here.seconds(net, threads))


def fresh(net: Net, threads: int, peers: list[str]) -> Fresh:
    """First steps, ours twice: with an empty kernel cache, then with the one that this has filled; and memory."""
    first, memory = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        with Worker(OURS, threads, FASTCONV_CACHE=folder) as worker:
            empty = worker.ask("first", net.line, "step")["seconds"]
        for peer in (OURS, *peers):
            with Worker(peer, threads, FASTCONV_CACHE=folder) as worker:
                first[peer] = worker.ask("first", net.line, "step")["seconds"]
            with Worker(peer, threads, FASTCONV_CACHE=folder, **rows.SMALL_MAPPED) as worker:
                memory[peer] = worker.ask("memory", net.line, "step")["bytes"]
    return Fresh(net, empty, first, memory)


def where(net: Net, threads: int) -> Profile:
    fc.set_num_threads(threads)
    model = net.model()
    return profile(model, *net.images(), getattr(fc.losses, net.loss), fc.optim.SGD(model.parameters(), **SGD))


def speeds(found: list[Steps]) -> list[str]:
    """Every net, and the geometric means for each number of threads."""
    head = ["net", "batch", "threads", "bound, ms", "fastconv, ms", *(f"{LABELS[peer]}, ms" for peer in PEERS), "x PyTorch", "spread"]
    body = [steps.cells() for steps in found]
    for name, group in (("geometric mean", TUNED), ("of the others", [line for line in NETS if line not in TUNED])):
        for threads in dict.fromkeys(steps.threads for steps in found if steps.net.line in group):
            ratio = geometric_mean(steps.torch.ratio for steps in found if steps.threads == threads and steps.net.line in group)
            body.append([name, "", str(threads), "", "", *("" for _ in PEERS), f"{ratio:.2f}", ""])
    return report.markdown_table(head, body)


def first_steps(found: list[Fresh]) -> list[str]:
    head = ["net", "fastconv, nothing compiled", "fastconv, compiled before", *(LABELS[peer] for peer in PEERS)]

    def seconds(entry: Fresh, peer: str) -> str:
        return f"{entry.first[peer]:.2f} s" if peer in entry.first else "–"

    return report.markdown_table(head, [[e.net.line, f"{e.empty:.1f} s", *(seconds(e, peer) for peer in (OURS, *PEERS))] for e in found])


def memory(found: list[Fresh]) -> list[str]:
    def megabytes(size: int | None) -> str:
        return "–" if size is None else f"{size / 1e6:.1f}"

    body = [[entry.net.line, *(megabytes(entry.memory.get(peer)) for peer in (OURS, *PEERS))] for entry in found]
    return report.markdown_table(["net", *(LABELS[peer] for peer in (OURS, *PEERS))], body)


def markdown(machine: report.Machine, steps: list[Steps], others: list[Fresh], profiles: dict[str, Profile]) -> str:
    parts = [
        ["# Training steps", "", *machine.lines()],
        [
            "One step is forward, cross-entropy, backward and SGD with momentum, on float32 images. All start from the same weights; the losses",
            "of five steps (without dropout) agreed to 1e-4 before anything was timed. Every peer runs in its own process, in turns with fastconv;",
            "a ratio is the median over the pairs against the better of PyTorch's layouts (above 1: fastconv is faster), the spread is the width",
            "of their middle half. PyTorch runs eagerly, without torch.compile. Compiling our kernels is not in these times: see below.",
            "The bound of direct algorithms: all products at the FMA peak, and copying what convolutions, linear layers and pools return, and its",
            f"gradient, once ({', '.join(TUNED)} are what kernels are chosen for; the others nobody tuned for).",
        ],
        speeds(steps),
        ["## The first step"],
        ["In a new process, from the call to the loss; importing is not in it."],
        first_steps(others),
        ["## Memory of a step, MB"],
        ["The peak of the process's resident memory during three steps, beyond what was there before, in a new process after a step of one image."],
        memory(others),
        ["## Where our step's time goes, ms"],
    ]
    for name, found in profiles.items():
        parts += [[f"### {name}"], ["```text", str(found), "```"]]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def parser() -> argparse.ArgumentParser:
    shown = argparse.ArgumentParser("python -m bench.nets", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shown.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS), metavar="NET", help=f"of {', '.join(NETS)} (default: all)")
    shown.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N", help="for everybody (default: 1 2)")
    shown.add_argument("--repeats", type=int, default=7, metavar="N", help="pairs of measurements per net and peer (default: 7)")
    shown.add_argument("--quick", action="store_true", help="steps only, no first steps, memory and profiles; writes nothing")
    shown.add_argument("--no-write", action="store_true", help="print only")
    return shown


def complete(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    chosen = parser.parse_args(arguments)
    most = fc.get_num_threads()
    if not find_spec("torch"):
        parser.error('needs PyTorch: pip install -e ".[peers]"')
    if not all(1 <= threads <= most for threads in chosen.threads):
        parser.error(f"--threads: from 1 to {most}, got {' '.join(map(str, chosen.threads))}")
    if chosen.repeats < 1:
        parser.error(f"--repeats: at least 1, got {chosen.repeats}")
    return chosen


def run(chosen: argparse.Namespace) -> None:
    nets, most = [NETS[name] for name in chosen.nets], max(chosen.threads)
    found, versions, can = [], [], limits(chosen.threads)
    for threads in chosen.threads:
        with ExitStack() as stack:
            workers = {peer: stack.enter_context(Worker(peer, threads)) for peer in NET_PEERS}
            versions = list(dict.fromkeys(worker.version for worker in workers.values()))
            for net in nets:
                check(net, workers)
                found.append(measure(net, threads, workers, chosen.repeats, can))
                print("  ".join(found[-1].cells()), flush=True)
    if chosen.quick:
        print("", *speeds(found), sep="\n")
        return
    here = facts()
    machine = report.Machine(here["cpu"], here["lanes"], most, versions, can.peaks)
    others = [fresh(net, most, PEERS) for net in nets]
    text = markdown(machine, found, others, {net.line: where(net, most) for net in nets})
    print("", text, sep="\n")
    if not chosen.no_write:
        RESULT.parent.mkdir(exist_ok=True)
        write_whole(RESULT, text.encode())
        print(f"written: {RESULT.relative_to(ROOT)}")


def main(arguments: list[str] | None = None) -> int:
    return exit_code("bench.nets", lambda: run(complete(parser(), sys.argv[1:] if arguments is None else arguments)))


if __name__ == "__main__":
    sys.exit(main())
