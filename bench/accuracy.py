"""What does Winograd's rounding cost? Beside direct convolution: the errors of single passes, then the accuracy of whole nets.

Errors are relative to float64's results, in L2, for the layers of shapes/winograd.txt, forward, input gradient and weight gradient: of normal
numbers, and of inputs with 1000 added. Nets with 3x3 layers learn the digits, enlarged to 16x16; printed are the mean and the standard deviation
over seeds of the test accuracy. The two nets of a seed see the same weights and batches; bits differ from the first step on, so that single runs
differ as runs of different seeds do.
"""

import argparse
import sys

import numpy as np

import fastconv as fc
from bench.command import exit_code
from bench.layer import Layer as Shape
from bench.layer import error, read
from bench.worker import ROOT
from fastconv import data, models, ops, optim, train
from fastconv.layers import Layer

NETS = {"VGG-small": models.vgg_small, "ResNet-8": models.resnet8}
ALGORITHMS = "direct", "winograd"
SHAPES = ROOT / "bench" / "shapes" / "winograd.txt"


def passes(layer: Shape, x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, ...]:
    name, words = f"conv{layer.g.rank}d", layer.words
    forward, input_grad, weight_grad = (getattr(ops, name + suffix) for suffix in ("", "_input_grad", "_weight_grad"))
    return forward(x, w, **words), input_grad(dy, w, x.shape, **words), weight_grad(x, dy, w.shape[2:], **words)


def errors(layer: Shape, offset: float) -> dict[str, list[float]]:
    """By algorithm, of the three passes."""
    x, w, _, dy = layer.operands()
    x = x + np.float32(offset)
    right = passes(layer, *(operand.astype(np.float64) for operand in (x, w, dy)))
    found = {}
    for algorithm in ALGORITHMS:
        with fc.algorithm(algorithm):
            found[algorithm] = [error((ours,), (exact,)) for ours, exact in zip(passes(layer, x, w, dy), right)]
    return found


def print_errors() -> None:
    print("relative errors (L2): direct | Winograd, of forward, input gradient, weight gradient")
    for layer in read(SHAPES):
        for offset in (0, 1000):
            by = errors(layer, offset)
            cells = "   ".join(" ".join(f"{value:.1e}" for value in by[algorithm]) for algorithm in ALGORITHMS)
            print(f"{layer.line + (' x+1000' if offset else ''):34} {cells}", flush=True)


def enlarged(x: np.ndarray) -> np.ndarray:
    """Each pixel four times."""
    return x.repeat(2, axis=2).repeat(2, axis=3)


def accuracy(name: str, algorithm: str, seed: int, epochs: int) -> float:
    """Of the test images, after training on the others."""
    fc.seed(seed)
    (x, y), (x_test, y_test) = data.digits()
    model: Layer = NETS[name](1, (16, 16))
    with fc.algorithm(algorithm):
        optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for _ in range(epochs):
            for images, labels in data.Batches(enlarged(x), y, batch_size=64):
                train.step(model, images, labels, fc.losses.cross_entropy, optimizer)
        return train.evaluate(model, enlarged(x_test), y_test).accuracy


def run(chosen: argparse.Namespace) -> None:
    print_errors()
    print(f"\ntest accuracy in %, {chosen.seeds} seeds, {chosen.epochs} epochs: mean, standard deviation, each")
    for name in NETS:
        found = {algorithm: [] for algorithm in ALGORITHMS}
        for seed in range(chosen.seeds):
            for algorithm, reached in found.items():
                reached.append(100 * accuracy(name, algorithm, seed, chosen.epochs))
        for algorithm, reached in found.items():
            each = " ".join(f"{one:.1f}" for one in reached)
            print(f"{name:10} {algorithm:9} {np.mean(reached):6.2f} {np.std(reached, ddof=1):5.2f}   {each}", flush=True)


def parser() -> argparse.ArgumentParser:
    shown = argparse.ArgumentParser("python -m bench.accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shown.add_argument("--seeds", type=int, default=5, metavar="N", help="default: 5")
    shown.add_argument("--epochs", type=int, default=8, metavar="N", help="default: 8")
    return shown


def main(arguments: list[str] | None = None) -> int:
    return exit_code("bench.accuracy", lambda: run(parser().parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
