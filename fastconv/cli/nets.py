"""summary and bench: what a net is made of, and where its training step's time goes."""

import argparse
import inspect
from pathlib import Path

import numpy as np

import fastconv as fc
from fastconv.cli.words import at_least
from fastconv.layers import Layer
from fastconv.losses import cross_entropy
from fastconv.models import MODELS
from fastconv.optim import SGD
from fastconv.profiling import profile
from fastconv.train.config import load_config
from fastconv.train.runs import rebuild

Shape = tuple[int, int, int]  # C, H, W


def add(verbs) -> None:
    verb = verbs.add_parser(
        "summary", help="what a net is made of",
        description="Layers, output shapes, parameters, multiplications and activation bytes of a named net, or a run's; nothing is "
        "computed.",
    )  # fmt: skip
    _add_net(verb)
    verb.set_defaults(run=summary)

    verb = verbs.add_parser(
        "bench", help="where a training step's time goes",
        description="Train a named net, or one like a run's, on random images for some steps and print the median time of each layer and pass, in "
        "milliseconds.",
    )  # fmt: skip
    _add_net(verb)
    verb.add_argument("--batch", type=at_least(1), default=64, metavar="N", help="images per step; default: 64")
    verb.add_argument("--steps", type=at_least(1), default=20, metavar="N", help="steps to take the medians of; default: 20")
    verb.set_defaults(run=bench)


def summary(chosen: argparse.Namespace) -> None:
    model, shape, _ = _net(chosen)
    print(model.summary((1, *shape)))


def bench(chosen: argparse.Namespace) -> None:
    fc.seed(0)
    model, shape, name = _net(chosen)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((chosen.batch, *shape), np.float32)
    y = rng.integers(0, model.output_shape(x.shape)[1], chosen.batch)
    found = profile(model, x, y, cross_entropy, SGD(model.parameters(), lr=0.01, momentum=0.9), steps=chosen.steps)
    threads = fc.get_num_threads()
    print(f"{name}, {chosen.batch} images of {'x'.join(map(str, shape))}, SGD with momentum, {threads} thread{'s' * (threads > 1)}")
    print(f"medians of {chosen.steps} steps, in milliseconds; compiling is not in them\n\n{found}")


def _add_net(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "model", nargs="?", type=net_or_run, default="small_cnn", metavar="MODEL",
        help=f"one of {', '.join(MODELS)}, or a run's folder; default: small_cnn",
    )  # fmt: skip
    verb.add_argument("--input", type=_shape, metavar="CxHxW", help="one image's shape, such as 1x28x28; default: what the net or run was made for")


def net_or_run(text: str) -> str | Path:
    """A net's name or a run's folder."""
    if text in MODELS:
        return text
    if not (Path(text) / "config.json").exists():
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(MODELS)}, or the folder of a run, got {text!r}")
    return Path(text)


def _net(chosen: argparse.Namespace) -> tuple[Layer, Shape, str]:
    """The net, the shape of an image for it, and what it is called."""
    if isinstance(chosen.model, Path):
        if chosen.input:
            raise ValueError(f"{chosen.model} is a run, whose images have their shape: leave out --input, or write the name of its net")
        return of_run(chosen.model)
    C, H, W = chosen.input or usual_shape(chosen.model)
    return MODELS[chosen.model](C, (H, W)), (C, H, W), chosen.model


def of_run(folder: Path) -> tuple[Layer, Shape, str]:
    """The same for the net of a run, not trained."""
    config = load_config(folder)
    return rebuild(folder, config), (config["in_channels"], *config["size"]), f"{config['model']} of {folder}"


def usual_shape(model: str) -> Shape:
    """Of the images that a named net was made for."""
    usual = {name: entry.default for name, entry in inspect.signature(MODELS[model]).parameters.items()}
    H, W = usual["size"] if isinstance(usual["size"], tuple) else (usual["size"],) * 2
    return usual["in_channels"], H, W


def _shape(text: str) -> Shape:
    numbers = text.split("x")
    if len(numbers) != 3 or not all(number.isdecimal() and int(number) for number in numbers):
        raise argparse.ArgumentTypeError(f"must be CxHxW, such as 1x28x28, got {text}")
    C, H, W = map(int, numbers)
    return C, H, W
