"""The command line: every verb has a useful default. Exit codes: 0 done, 2 something to correct (said in one line), 130 Ctrl-C."""

import argparse
import os
import sys
from pathlib import Path

from fastconv.cli import explain, export, info, nets, runs
from fastconv.cli.compiling import say_what_is_compiled
from fastconv.kernels.policy import set_num_threads
from fastconv.lessons import LESSONS
from fastconv.version import __version__


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m fastconv",
        description="Train small convolutional networks on this computer's CPU.",
        epilog="Try: python -m fastconv train",
    )
    top.add_argument("--version", action="version", version=f"fastconv {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    defaults = {"formatter_class": argparse.ArgumentDefaultsHelpFormatter}

    train = verbs.add_parser(
        "train", help="train a small CNN on the embedded handwritten digits", **defaults,
        description="Train small_cnn on 8x8 handwritten digits, once per split, and print the test accuracy of both. Takes about half a minute.",
    )  # fmt: skip
    train.add_argument("--epochs", type=_at_least(1), default=30, help="passes over the training images")
    train.add_argument("--batch-size", type=_at_least(1), default=32, help="images per step")
    train.add_argument("--lr", type=_positive, default=5e-3, help="the highest learning rate of Adam's one-cycle schedule")
    train.add_argument("--seed", type=_at_least(0), default=0, help="the same seed gives the same result, to the bit")
    train.add_argument("--out", type=Path, default=None, metavar="DIR", help="folder for the run; unset, a new one: runs/digits-1, -2, ...")
    train.set_defaults(run=runs.train)

    evaluate = verbs.add_parser("eval", help="test a trained run", **defaults, description="Test a run on the test images of its split.")
    _add_run(evaluate)
    evaluate.set_defaults(run=runs.evaluate)

    predict = verbs.add_parser(
        "predict", help="tell the digits in a file", **defaults,
        description="Tell which digits the images of a NumPy file show: (8, 8), (N, 8, 8) or (N, 1, 8, 8) with values from 0 (paper) to 16 (ink).",
    )  # fmt: skip
    _add_run(predict)
    predict.add_argument("file", type=Path, nargs="?", metavar="FILE", help="a .npy file; unset, ten test images of the run's split, drawn")
    predict.set_defaults(run=runs.predict)

    lessons = verbs.add_parser(
        "explain", help="lessons: how backpropagation through a convolution works",
        description="Answer a question about backpropagation through a convolution with numbers that are computed while you read.",
    )  # fmt: skip
    lessons.add_argument("topic", nargs="?", choices=LESSONS, metavar="TOPIC", help=f"one of {', '.join(LESSONS)}; unset, a list of them")
    output = lessons.add_mutually_exclusive_group()
    output.add_argument(
        "--figures", type=Path, metavar="DIR", help="save the pictures there as well (needs matplotlib); without a TOPIC, those of all"
    )
    output.add_argument(
        "--html", type=Path, metavar="FILE", help="write one web page with the pictures in it instead; without a TOPIC, of all lessons"
    )
    lessons.set_defaults(run=explain.explain)

    about = verbs.add_parser("info", help="versions, CPU, threads, kernel cache", description="What fastconv runs on here.")
    about.set_defaults(run=info.info)
    more = nets.add_summary(verbs), nets.add_bench(verbs), export.add(verbs)
    for verb in (train, evaluate, predict, lessons, about, *more):
        verb.add_argument("--threads", type=_at_least(1), default=None, metavar="N", help="threads for kernels; unset, all that this process may use")
    return top


def _add_run(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("dir", type=Path, nargs="?", metavar="DIR", help="the run's folder; unset, the newest under runs/")


def _at_least(least: int):
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    number.__name__ = "integer"  # argparse says: invalid integer value: 'x'
    return number


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    chosen = parser().parse_args(arguments)
    try:
        if chosen.threads is not None:
            set_num_threads(chosen.threads)
        with say_what_is_compiled():
            chosen.run(chosen)
        sys.stdout.flush()  # not at exit, where a closed pipe could not be caught
    except BrokenPipeError:  # `... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, OSError, ArithmeticError, ImportError) as error:
        print(f"fastconv: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nfastconv: interrupted", file=sys.stderr)
        return 130
    return 0
