"""warmup: compile now what training would compile later, for an image of a container or before a lesson."""

import argparse
import time

import fastconv as fc
from fastconv import models, optim
from fastconv.cli import datasets
from fastconv.kernels.cache import folder, why_off

EXAMPLES = 256 + 32 + 2  # full batches, and small ones


def add(verbs) -> None:
    verb = verbs.add_parser(
        "warmup", help="compile the kernels that a model's training needs",
        description="Train a model on a few images, so that its kernels are compiled and kept.",
    )  # fmt: skip
    verb.add_argument(
        "--model", choices=models.MODELS, default="small_cnn", metavar="NAME", help=f"one of {', '.join(models.MODELS)}; unset, small_cnn"
    )
    verb.add_argument("--data", default="digits", metavar="DATA", help=f"{datasets.WORDS}; unset, digits")
    verb.set_defaults(run=_warm_up)


def _warm_up(chosen: argparse.Namespace) -> None:
    dataset = datasets.load(chosen.data)
    channels, *size = dataset.shape
    x, y = (part[:EXAMPLES] for part in dataset.train)
    start = time.perf_counter()
    model = models.MODELS[chosen.model](channels, tuple(size), len(dataset.class_names))
    optimizer = optim.Adam(model.parameters(), 1e-4, clip_norm=1.0)
    words = {"shift": 1, "flip": 0.5, "noise": 0.1, "normalise": fc.data.Normalise.of(x), "validation": (x, y), "progress": False}
    for threads in {fc.get_num_threads(), 1}:  # one thread has kernels of its own
        fc.set_num_threads(threads)
        fc.train.fit(model, (x, y), epochs=1, optimizer=optimizer, **words)
    kept = f"; kernels are kept in {folder()}" if folder() else f"; kernels are not kept: the cache is {why_off()}"
    print(f"{chosen.model} on {dataset.title} is ready to train after {time.perf_counter() - start:.1f} s{kept}")
