"""How long the answer for one image takes: `fc.compile` against PyTorch and ONNX Runtime, on this machine: `python -m bench.inference`.

Each net has the same weights for everybody, and the answers must agree before anything is timed. Everybody runs in a process of its own, in
turns; ratios are medians over pairs. Writes bench/results/inference.md. The peers come with: pip install -e ".[peers]"
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
from bench.inference_peers import INFERENCE_PEERS
from bench.net import NETS, Net
from bench.timing import NOISY, Pairs, geometric_mean, in_turns
from bench.worker import ROOT, Worker
from fastconv.cli.info import facts
from fastconv.files import write_whole

RESULT = ROOT / "bench" / "results" / "inference.md"
OURS, ONNX = "compiled-infer", "onnx-infer"
AGREE = 1e-4  # of the answers, relative, in the L2 norm
SHOWN = ("digits", "lenet5", "keras_mnist", "vgg_small", "resnet20", "mobilenet")
PEERS = [peer for peer in INFERENCE_PEERS if peer != OURS]
LABELS = {peer: kind.label for peer, kind in INFERENCE_PEERS.items()}


class Answers(NamedTuple):
    """One net on so many threads; by peer what was measured, in turns with ours."""

    net: Net
    threads: int
    against: dict[str, Pairs]

    def microseconds(self, rate: float) -> str:
        return f"{self.net.flops / 3 / rate / 1e3:.0f}"

    def cells(self) -> list[str]:
        ours = float(np.median([rate for pairs in self.against.values() for rate in pairs.ours]))
        theirs = [self.microseconds(self.against[peer].rate) for peer in PEERS]
        onnx = self.against[ONNX]
        torch = min((self.against[peer] for peer in PEERS if peer not in (ONNX, "model-infer")), key=lambda pairs: pairs.ratio)
        ratios = [f"{pairs.ratio:.2f}" if pairs.ratio >= 1 else f"**{pairs.ratio:.2f} ▼**" for pairs in (torch, onnx)]
        spread = f"{onnx.spread:.0%}" + (" noisy" if onnx.spread > NOISY else "")
        return [self.net.line, str(self.threads), self.microseconds(ours), *theirs, *ratios, spread]


def check(net: Net, workers: dict[str, Worker]) -> None:
    """Nobody is timed who does not answer as the others do."""
    answers = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.npz"
        for peer, worker in workers.items():
            worker.ask("result", net.line, "infer", file=str(file))
            with np.load(file) as found:
                (answers[peer],) = found.values()
    for peer, found in answers.items():
        off = np.linalg.norm(found - answers[ONNX]) / np.linalg.norm(answers[ONNX])
        if not off <= AGREE:
            raise rows.WrongResult(
                f"{net.line}: the answer of {LABELS[peer]} is {off:.1e} from that of {LABELS[ONNX]}, relative; allowed are {AGREE:.0e}"
            )
    time.sleep(0.2)  # until all threads have gone to sleep


def measure(net: Net, threads: int, workers: dict[str, Worker], repeats: int) -> Answers:
    def rate(peer: str):
        return lambda: workers[peer].rate(net.line, "infer")

    return Answers(net, threads, {peer: in_turns(rate(OURS), rate(peer), repeats) for peer in PEERS})


def speeds(found: list[Answers]) -> list[str]:
    """Every net, and the geometric means for each number of threads."""
    head = ["net", "threads", *(f"{LABELS[peer]}, us" for peer in (OURS, *PEERS)), "x PyTorch", "x ONNX Runtime", "spread"]
    body = [answers.cells() for answers in found]
    for threads in dict.fromkeys(answers.threads for answers in found):
        ratio = geometric_mean(answers.against[ONNX].ratio for answers in found if answers.threads == threads)
        body.append(["geometric mean", str(threads), "", *("" for _ in PEERS), "", f"{ratio:.2f}", ""])
    return report.markdown_table(head, body)


def markdown(machine: report.Machine, found: list[Answers]) -> str:
    parts = [
        ["# Inference, one image", "", *machine.lines()],
        [
            "One call answers for one float32 image, a NumPy array (1, C, H, W); the answers agreed to 1e-4 before anything was timed. Every peer",
            "runs in its own process, in turns with `fc.compile`; a ratio is the median over the pairs (above 1: fastconv is faster), for PyTorch",
            "against the better of its layouts; the spread is the width of the middle half of those against ONNX Runtime. PyTorch runs eagerly in",
            "evaluation and inference mode, ONNX Runtime on the CPU with all graph optimizations. Compiling and loading are not in these times.",
        ],
        speeds(found),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def parser() -> argparse.ArgumentParser:
    shown = argparse.ArgumentParser("python -m bench.inference", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shown.add_argument("--nets", nargs="+", choices=SHOWN, default=list(SHOWN), metavar="NET", help=f"of {', '.join(SHOWN)} (default: all)")
    shown.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N", help="for everybody (default: 1 2)")
    shown.add_argument("--repeats", type=int, default=9, metavar="N", help="pairs of measurements per net and peer (default: 9)")
    shown.add_argument("--no-write", action="store_true", help="print only")
    return shown


def complete(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    chosen = parser.parse_args(arguments)
    most = fc.get_num_threads()
    if not all(map(find_spec, ("torch", "onnx", "onnxruntime"))):
        parser.error('needs PyTorch, onnx and onnxruntime: pip install -e ".[peers]"')
    if not all(1 <= threads <= most for threads in chosen.threads):
        parser.error(f"--threads: from 1 to {most}, got {' '.join(map(str, chosen.threads))}")
    if chosen.repeats < 1:
        parser.error(f"--repeats: at least 1, got {chosen.repeats}")
    return chosen


def run(chosen: argparse.Namespace) -> None:
    found, versions = [], []
    for threads in chosen.threads:
        with ExitStack() as stack:
            workers = {peer: stack.enter_context(Worker(peer, threads)) for peer in INFERENCE_PEERS}
            versions = list(dict.fromkeys(worker.version for worker in workers.values()))
            for net in (NETS[name].with_images(1) for name in chosen.nets):
                check(net, workers)
                found.append(measure(net, threads, workers, chosen.repeats))
                print("  ".join(found[-1].cells()), flush=True)
    here, most = facts(), max(chosen.threads)
    text = markdown(report.Machine(here["cpu"], here["lanes"], most, versions, rows.peaks(most)), found)
    print("", text, sep="\n")
    if not chosen.no_write:
        RESULT.parent.mkdir(exist_ok=True)
        write_whole(RESULT, text.encode())
        print(f"written: {RESULT.relative_to(ROOT)}")


def main(arguments: list[str] | None = None) -> int:
    return exit_code("bench.inference", lambda: run(complete(parser(), sys.argv[1:] if arguments is None else arguments)))


if __name__ == "__main__":
    sys.exit(main())
