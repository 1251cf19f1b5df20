"""The verbs of the command line; each has a useful default."""

import argparse
from pathlib import Path

from fastconv.cli import explain, export, info, nets, train, trained, warmup
from fastconv.cli.compiling import say_what_is_compiled
from fastconv.cli.words import at_least
from fastconv.kernels.compile import set_num_threads
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
    for verb in (train, trained, export, nets, warmup):
        verb.add(verbs)

    lessons = verbs.add_parser(
        "explain", help="lessons: how backpropagation through a convolution works",
        description="Answer a question about backpropagation through a convolution with numbers that are computed while you read.",
    )  # fmt: skip
    lessons.add_argument("topic", nargs="?", choices=LESSONS, metavar="TOPIC", help=f"one of {', '.join(LESSONS)}; default: a list of them")
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
    for verb in verbs.choices.values():
        verb.add_argument(
            "--threads", type=at_least(1), default=None, metavar="N", help="threads for kernels; default: all that this process may use"
        )
    return top


def run(arguments: list[str] | None = None) -> None:
    """Run one command. SystemExit where the words are wrong or help was all that was wanted."""
    chosen = parser().parse_args(arguments)
    if chosen.threads is not None:
        set_num_threads(chosen.threads)
    with say_what_is_compiled():
        chosen.run(chosen)
