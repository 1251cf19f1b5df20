"""The verbs of the command line; each has a useful default."""

import argparse
from difflib import get_close_matches
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
        verb.set_defaults(parser=verb)
        verb.add_argument(
            "--threads", type=at_least(1), default=None, metavar="N", help="threads for kernels; default: all that this process may use"
        )
    return top


def _unknown(verb: argparse.ArgumentParser, name: str, word: str) -> str:
    """What is wrong with a word that the verb does not take, and what may be meant."""
    if not word.startswith("-"):
        return f"{name} does not take {word!r}" + (f": write --data {word}" if name == "train" else "")
    options = [option for action in verb._actions for option in action.option_strings]
    near = get_close_matches(word.partition("=")[0], options, 1)
    return f"{name} has no option {word}" + (f": did you mean {near[0]}?" if near else "")


def run(arguments: list[str] | None = None) -> None:
    """Run one command. SystemExit where the words are wrong or help was all that was wanted."""
    chosen, unknown = parser().parse_known_args(arguments)
    if unknown:
        chosen.parser.error(_unknown(chosen.parser, chosen.verb, unknown[0]))
    if chosen.threads is not None:
        set_num_threads(chosen.threads)
    with say_what_is_compiled():
        chosen.run(chosen)
