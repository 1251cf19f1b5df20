"""warmup: compile now what training and `fc.compile` would compile later, for an image of a container or before a lesson."""

import argparse
import time

import numpy as np

import fastconv as fc
from fastconv import models, optim
from fastconv.cli import datasets
from fastconv.cli.nets import Shape, of_run, usual_shape
from fastconv.cli.words import add_run
from fastconv.kernels.compile.cache import folder, why_off
from fastconv.layers import Layer

EXAMPLES = 256 + 32 + 2  # full batches, and small ones
DIGITS = (1, 8, 8)


def add(verbs) -> None:
    verb = verbs.add_parser(
        "warmup", help="compile the kernels that a model's training needs",
        description="Train a model on a few images, so that its kernels are compiled and kept.",
    )  # fmt: skip
    add_run(verb, "the folder of a run, whose net it is; default: --model")
    verb.add_argument("--model", choices=models.MODELS, metavar="NAME", help=f"one of {', '.join(models.MODELS)}; default: small_cnn")
    verb.add_argument("--data", metavar="DATA", help=f"{datasets.WORDS}; default: images of the size that the model was made for")
    verb.set_defaults(run=_warm_up)


def _warm_up(chosen: argparse.Namespace) -> None:
    model, x, y, title = _model_and_examples(chosen)
    start = time.perf_counter()
    optimizer = optim.Adam(model.parameters(), 1e-4, clip_norm=1.0)
    words = {"shift": 1, "flip": 0.5, "noise": 0.1, "normalise": fc.data.Normalise.of(x), "validation": (x, y), "verbose": 0}
    for threads in {fc.get_num_threads(), 1}:  # one thread has kernels of its own
        fc.set_num_threads(threads)
        fc.train.fit(model, (x, y), epochs=1, optimizer=optimizer, **words)
    fc.compile(model, (1, *x.shape[1:]))
    kept = f"; kernels are kept in {folder()}" if folder() else f"; kernels are not kept: the cache is {why_off()}"
    print(f"{title} is ready to train after {time.perf_counter() - start:.1f} s{kept}")


def _model_and_examples(chosen: argparse.Namespace) -> tuple[Layer, np.ndarray, np.ndarray, str]:
    """A new model, images and labels for it, and what they are called."""
    if chosen.dir is not None:
        if chosen.model or chosen.data:
            raise ValueError(f"warmup {chosen.dir} takes the net and the size of images from the run: leave out --model and --data")
        return _with_noise(*of_run(chosen.dir))
    name = chosen.model or "small_cnn"
    usual = usual_shape(name)
    if chosen.data is None and usual != DIGITS:
        return _with_noise(models.MODELS[name](usual[0], usual[1:]), usual, name)
    dataset = datasets.load(chosen.data or "digits")
    channels, *size = dataset.shape
    x, y = (part[:EXAMPLES] for part in dataset.train)
    return models.MODELS[name](channels, tuple(size), len(dataset.class_names)), x, y, f"{name} on {dataset.title}"


def _with_noise(model: Layer, shape: Shape, name: str) -> tuple[Layer, np.ndarray, np.ndarray, str]:
    rng = np.random.default_rng(0)
    x = rng.random((EXAMPLES, *shape), np.float32)
    y = rng.integers(0, model.output_shape(x.shape)[1], EXAMPLES)
    return model, x, y, f"{name} on images of {'x'.join(map(str, shape))}"
