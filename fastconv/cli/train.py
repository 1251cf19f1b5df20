"""train: a run for one data set, or one for each split of the digits."""

import argparse
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastconv as fc
from fastconv import data, models, optim, plot
from fastconv.cli import datasets, runs
from fastconv.cli.datasets import DataSet
from fastconv.cli.words import at_least, augment, positive, share
from fastconv.data.split import stratified
from fastconv.layers import Layer
from fastconv.train.config import check_training, load_config
from fastconv.train.runs import build, normalise, save_config, save_run

SCHEDULES = ("one-cycle", "cosine", "step", "constant", "plateau")
VALIDATION = 0.1  # of the training images, where something depends on it
OPTIONS = ("data", "model", "epochs", "batch_size", "lr", "schedule", "augment", "clip_norm", "val", "early_stop", "seed")
USUAL = {"data": "digits", "model": "small_cnn", "batch_size": 32, "lr": 5e-3, "schedule": "one-cycle", "seed": 0}


def add(verbs) -> None:
    verb = verbs.add_parser(
        "train", help="train a small CNN on the embedded handwritten digits, or on your own data",
        description="Train a small CNN. Without any words: small_cnn on 8x8 handwritten digits, once per split, in about half a minute.",
    )  # fmt: skip
    verb.add_argument("--data", metavar="DATA", help=f"{datasets.WORDS}; unset, digits in both splits")
    verb.add_argument("--model", choices=models.MODELS, metavar="NAME", help=f"one of {', '.join(models.MODELS)}; unset, small_cnn")
    verb.add_argument("--epochs", type=at_least(1), metavar="N", help="passes over the training images; unset, 30 (mnist 5, cifar10 20)")
    verb.add_argument("--batch-size", type=at_least(1), metavar="N", help="images per step; unset, 32")
    verb.add_argument("--lr", type=positive, help="Adam's learning rate, or the highest one of a schedule; unset, 0.005")
    verb.add_argument(
        "--schedule",
        choices=SCHEDULES,
        help="of the learning rate; step: a tenth after each third; plateau: 0.3 times after 3 "
        "epochs without a lower validation loss; unset, one-cycle",
    )
    verb.add_argument(
        "--augment", type=augment, metavar="WORDS",
        help="flip,shift=2,noise=0.1: what happens to images in training; none; unset, what suits the data: digits shift=1, mnist shift=2, "
        "cifar10 flip,shift=4, others none",
    )  # fmt: skip
    verb.add_argument("--clip-norm", type=positive, metavar="NORM", help="the most that the norm of all gradients counts as; unset, any")
    verb.add_argument(
        "--val", type=share, metavar="SHARE",
        help="share of the training images to validate with; unset, 0.1 where plateau or --early-stop needs it, else 0: each epoch shows the "
        "accuracy on the test images, which decides nothing",
    )  # fmt: skip
    verb.add_argument("--early-stop", type=at_least(1), metavar="N", help="stop after N epochs without a lower validation loss; keeps the best epoch")
    verb.add_argument("--seed", type=at_least(0), help="the same seed gives the same result, to the bit; unset, 0")
    verb.add_argument("--out", type=Path, metavar="DIR", help="folder for the run; unset, a new one: runs/digits-1, -2, ...")
    verb.add_argument("--resume", type=Path, metavar="DIR", help="go on with a run that was stopped or killed, to the bits it would have had")
    verb.set_defaults(run=train)


class Job(NamedTuple):
    """One run that is to be made or gone on with."""

    folder: Path
    dataset: DataSet
    config: dict
    held: np.ndarray  # (N,) bool: the training images to validate with

    @classmethod
    def of(cls, folder: Path, dataset: DataSet, config: dict) -> "Job":
        """ValueError for what cannot be trained: nothing was written yet."""
        build(config)  # are the images large enough?
        held = stratified(dataset.train[1], config["val"])
        if config["val"] and not held.any():
            raise ValueError(f"--val {config['val']} of {len(held)} images is none in each class")
        return cls(folder, dataset, config, held)


def train(chosen: argparse.Namespace) -> None:
    jobs = _old_jobs(chosen) if chosen.resume else _new_jobs(chosen)
    for job in jobs:  # all of them, before the first one can be stopped
        save_config(job.folder, job.config)
    try:
        accuracies = [_run(job) for job in jobs]
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"go on with: python -m fastconv train --resume {jobs[0].folder}") from None
    print(f"run{'s' * (len(jobs) > 1)} saved in {' and '.join(str(job.folder) for job in jobs)}: try python -m fastconv predict {jobs[0].folder}")
    for job, accuracy in zip(jobs, accuracies):
        split = job.dataset.word.removeprefix("digits:")
        print(f"test accuracy {100 * accuracy:.1f} %" + (f"  ({job.dataset.title}: {data.SPLITS[split]})" if split in data.SPLITS else ""))


def _new_jobs(chosen: argparse.Namespace) -> list[Job]:
    words = USUAL | _given(chosen)
    recipe = datasets.recipe(words["data"])
    words = {"epochs": recipe.epochs, "augment": recipe.augment, "clip_norm": None, "early_stop": None} | words
    words.setdefault("val", VALIDATION if words["early_stop"] or words["schedule"] == "plateau" else 0.0)
    if not words["val"] and (words["early_stop"] or words["schedule"] == "plateau"):
        raise ValueError("--val 0 leaves nothing that --early-stop or the plateau schedule could watch")
    top = chosen.out or runs.next_folder(datasets.kind(words["data"]))
    jobs: list[Job] = []
    for word in (f"digits:{split}" for split in data.SPLITS) if words["data"] == "digits" else [words["data"]]:
        folder = top / word.partition(":")[2] if jobs else top
        runs.refuse_old(folder)
        dataset = datasets.load(word)
        channels, *size = dataset.shape
        facts = {"in_channels": channels, "size": size, "classes": len(dataset.class_names), "class_names": dataset.class_names}
        facts["normalise"] = vars(data.Normalise.of(dataset.train[0])) if recipe.normalise else None
        config = {"fastconv": fc.__version__} | words | {"data": dataset.word} | facts
        jobs.append(Job.of(folder, dataset, config))
    return jobs


def _old_jobs(chosen: argparse.Namespace) -> list[Job]:
    given = [f"--{name.replace('_', '-')}" for name in (*_given(chosen), *["out"] * bool(chosen.out))]
    if given:
        raise ValueError(f"--resume takes its words from the run's config.json: leave out {' '.join(given)}")
    jobs = []
    for folder in (chosen.resume, *sorted(path.parent for path in chosen.resume.glob("*/config.json"))):
        config = load_config(folder)
        check_training(folder, config)
        dataset = datasets.load(config["data"])
        try:
            jobs.append(Job.of(folder, dataset, config))
        except (ValueError, MemoryError, OverflowError) as error:
            raise ValueError(f"{folder / 'config.json'} cannot be resumed: {error}") from None
    return jobs


def _given(chosen: argparse.Namespace) -> dict:
    return {name: getattr(chosen, name) for name in OPTIONS if getattr(chosen, name) is not None}


def _run(job: Job) -> float:
    """Train, or go on; returns the test accuracy."""
    folder, dataset, config, held = job
    fc.seed(config["seed"])
    model = build(config)
    x, y = dataset.train
    validation, kept = dataset.test, ""
    if held.any():
        x, y, validation, kept = x[~held], y[~held], (x[held], y[held]), f", {held.sum()} to validate with"
    threads = fc.get_num_threads()
    counts = f"{len(y)} images to train on{kept}, {len(dataset.test[1])} to test with, {threads} thread{'s' * (threads > 1)}"
    print(f"{dataset.title}: {counts}", file=sys.stderr)
    optimizer = optim.Adam(model.parameters(), config["lr"], clip_norm=config["clip_norm"])
    start = time.perf_counter()
    history = fc.train.fit(
        model, (x, y), epochs=config["epochs"], batch_size=config["batch_size"], optimizer=optimizer,
        schedule=_schedule(config, optimizer, config["epochs"] * -(-len(y) // config["batch_size"])), validation=validation,
        normalise=normalise(config), **config["augment"], patience=config["early_stop"], keep_best=config["early_stop"] is not None,
        checkpoint=folder / "checkpoint.npz", resume=True, progress=True,
    )  # fmt: skip
    print(f"trained in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    save_run(folder, model, config, history)
    with suppress(ImportError):  # matplotlib is an extra
        plot.save(folder / "curves.png", plot.learning_curves, history)
    return final_score(model, config, dataset).accuracy


def final_score(model: Layer, config: dict, dataset: DataSet) -> fc.train.Score:
    """The loss and the accuracy on the images to test with."""
    x, y = dataset.test
    change = normalise(config)
    return fc.train.evaluate(model, change(x) if change else x, y)


def _schedule(config: dict, optimizer: optim.Optimizer, steps: int) -> optim.Schedule | None:
    match config["schedule"]:
        case "one-cycle":
            return optim.OneCycle(optimizer, config["lr"], max(2, steps))
        case "cosine":
            return optim.Cosine(optimizer, steps, warmup=steps // 20)
        case "step":
            return optim.Step(optimizer, -(-steps // 3))
        case "plateau":
            return optim.Plateau(optimizer, patience=3, factor=0.3)
        case "constant":
            return None
    raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {config['schedule']!r}")
