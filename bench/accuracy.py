"""Does Winograd's rounding cost accuracy? Nets with 3x3 layers on the digits, enlarged to 16x16, from the same seeds, by direct convolution and by
Winograd's.

Prints the mean and standard deviation over seeds of the test accuracy after training. The two of a seed see the same weights and batches; bits
differ from the first step on, so that single runs differ as runs of different seeds do.
"""

import argparse
import sys

import numpy as np

import fastconv as fc
from bench.command import exit_code
from fastconv import data, models, optim, train
from fastconv.layers import Layer

NETS = {"VGG-small": models.vgg_small, "ResNet-8": models.resnet8}
ALGORITHMS = "direct", "winograd"


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
    print(f"test accuracy in %, {chosen.seeds} seeds, {chosen.epochs} epochs: mean, standard deviation, each")
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
