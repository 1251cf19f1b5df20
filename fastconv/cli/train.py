"""train: a run for one data set, or one for each split of the digits."""

import argparse
import math
from pathlib import Path

import fastconv as fc
from fastconv import data, models, plot
from fastconv.cli import datasets, runs
from fastconv.cli.jobs import SCHEDULES, Job
from fastconv.cli.words import at_least, augment, positive, share, size
from fastconv.train.config import check_training, load_config
from fastconv.train.history import read_history
from fastconv.train.runs import save_config

VALIDATION = 0.1  # of the training images, where something depends on it
OPTIONS = ("data", "model", "epochs", "batch_size", "lr", "schedule", "augment", "class_weights", "clip_norm", "val", "early_stop", "seed")
USUAL = {"data": "digits", "model": "small_cnn", "batch_size": 32, "lr": 5e-3, "schedule": "one-cycle", "seed": 0}


def add(verbs) -> None:
    verb = verbs.add_parser(
        "train", help="train a small CNN on the embedded handwritten digits, or on your own data",
        description="Train a small CNN. Without options: small_cnn on 8x8 handwritten digits in about half a minute, twice: once for each split, "
        "into two runs side by side. loss and accuracy in an epoch's line are those of the training images; behind them stand val_loss and "
        "val_accuracy of the validation images (--val) or, where there are none, test_loss and test_accuracy, which decide nothing.",
    )  # fmt: skip
    verb.add_argument("--data", metavar="DATA", help=f"{datasets.WORDS}; default: digits in both splits")
    verb.add_argument("--size", type=size, metavar="N", help="pixels of a side that pictures are scaled and cut to, or HxW; default: 32")
    verb.add_argument("--grayscale", action="store_true", help="pictures in gray, not in colors")
    verb.add_argument("--model", choices=models.MODELS, metavar="NAME", help=f"one of {', '.join(models.MODELS)}; default: small_cnn")
    verb.add_argument("--epochs", type=at_least(1), metavar="N", help="passes over the training images; default: 30 (mnist 5, cifar10 20)")
    verb.add_argument("--batch-size", type=at_least(1), metavar="N", help="images per step; default: 32")
    verb.add_argument("--lr", type=positive, metavar="RATE", help="Adam's learning rate, or the highest one of a schedule; default: 0.005")
    verb.add_argument(
        "--schedule",
        choices=SCHEDULES,
        help="how the learning rate changes; step: to a tenth after each third; plateau: to 0.3 of it after 3 "
        "epochs without a lower validation loss; default: one-cycle",
    )
    verb.add_argument(
        "--augment", type=augment, metavar="WORDS",
        help="what happens to images in training, such as flip,shift=2,noise=0.1, or none; default: what suits the data, for digits shift=1, for "
        "mnist shift=2, for cifar10 flip,shift=4, for others none",
    )  # fmt: skip
    verb.add_argument(
        "--class-weights", choices=["balanced"], help="let each class count alike in the loss, however many images it has; default: each image does"
    )
    verb.add_argument(
        "--clip-norm", type=positive, metavar="NORM", help="scale the gradients down where the norm of all of them is above NORM; default: never"
    )
    verb.add_argument(
        "--val", type=share, metavar="SHARE",
        help="share of the training images to set apart and validate with after each epoch; default: 0.1 where --schedule plateau or --early-stop "
        "needs it, else 0",
    )  # fmt: skip
    verb.add_argument("--early-stop", type=at_least(1), metavar="N", help="stop after N epochs without a lower validation loss; keeps the best epoch")
    verb.add_argument("--seed", type=at_least(0), metavar="N", help="the same seed gives the same result, to the bit; default: 0")
    verb.add_argument(
        "--out", type=Path, metavar="DIR",
        help="folder for the run, or for the first of two: the second is DIR-writers; default: a new one, runs/digits-1, runs/digits-2, ...",
    )  # fmt: skip
    verb.add_argument(
        "--find-lr", type=Path, nargs="?", const=Path(), metavar="PNG",
        help="do not train, but say which --lr is good for these options: where the loss falls fastest as the rate grows from step to step; with the "
        "name of a picture, draw that (needs matplotlib)",
    )  # fmt: skip
    verb.add_argument(
        "--resume", type=Path, nargs="+", metavar="RUN",
        help="go on with runs that were stopped or killed, to the bits they would have had; with --epochs also further than they were to go, on the "
        "schedule of so many epochs",
    )  # fmt: skip
    verb.set_defaults(run=train)


def train(chosen: argparse.Namespace) -> None:
    if chosen.find_lr is not None:
        return _find_lr(chosen)
    jobs = _old_jobs(chosen) if chosen.resume else _new_jobs(chosen)
    for job in jobs:  # all of them, before the first one can be stopped
        save_config(job.folder, job.config)
    try:
        accuracies = [job.run() for job in jobs]
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"go on with: python -m fastconv train --resume {' '.join(str(job.folder) for job in jobs)}") from None
    folders = [str(job.folder) if len(jobs) == 1 else f"{job.folder} ({job.dataset.title})" for job in jobs]
    print(f"run{'s' * (len(jobs) > 1)} saved in {' and '.join(folders)}: try python -m fastconv predict {jobs[0].folder}")
    for job, accuracy in zip(jobs, accuracies):
        split = job.dataset.word.removeprefix("digits:")
        print(f"test accuracy {100 * accuracy:.1f} %" + (f"  ({job.dataset.title}: {data.SPLITS[split]})" if split in data.SPLITS else ""))


def _find_lr(chosen: argparse.Namespace) -> None:
    if chosen.resume:
        raise ValueError("--find-lr looks for the rate of a new run: leave out --resume")
    if chosen.find_lr != Path():
        plot.need_matplotlib()
    job = _new_jobs(chosen)[0]
    test = job.find_lr()
    found = "the loss falls by no more than its noise" if math.isnan(test.suggestion) else f"try --lr {test.suggestion:.2g}"
    rates = f"{len(test.rates)} steps of Adam at rates from {test.rates[0]:.2g} to {test.rates[-1]:.2g}"
    print(f"{job.config['model']} on {job.dataset.title}, {rates}: {found}")
    if chosen.find_lr != Path():
        plot.save(chosen.find_lr, plot.lr_curve, test)
        print(f"drawn in {chosen.find_lr}")


def _new_jobs(chosen: argparse.Namespace) -> list[Job]:
    words = USUAL | _given(chosen)
    recipe = datasets.recipe(words["data"])
    words = {"epochs": recipe.epochs, "augment": recipe.augment, "class_weights": None, "clip_norm": None, "early_stop": None} | words
    watches = words["early_stop"] or words["schedule"] == "plateau"
    datasets.check_there(words["data"])
    if (chosen.size or chosen.grayscale) and not datasets.are_pictures(words["data"]):
        raise ValueError("--size and --grayscale are for a folder of pictures, --data FOLDER")
    top = chosen.out or runs.next_folder(datasets.kind(words["data"]))
    jobs: list[Job] = []
    for word in (f"digits:{split}" for split in data.SPLITS) if words["data"] == "digits" else [words["data"]]:
        folder = runs.beside(top, word.partition(":")[2]) if jobs else top
        runs.refuse_old(folder)
        dataset = datasets.load(word, chosen.size or (datasets.SIZE, datasets.SIZE), chosen.grayscale)
        words.setdefault("val", VALIDATION if watches and dataset.held is None else 0.0)
        if watches and not words["val"] and dataset.held is None:
            raise ValueError("--val 0 leaves nothing that --early-stop or the plateau schedule could watch")
        channels, *size = dataset.shape
        facts = {"in_channels": channels, "size": size, "classes": len(dataset.class_names), "class_names": dataset.class_names}
        facts["normalise"] = vars(data.Normalise.of(dataset.train[0])) if recipe.normalise else None
        config = {"fastconv": fc.__version__} | words | {"data": dataset.word} | facts
        jobs.append(Job.of(folder, dataset, config))
    return jobs


def _old_jobs(chosen: argparse.Namespace) -> list[Job]:
    others = [name for name in ("out", "size", "grayscale") if getattr(chosen, name)]
    given = [f"--{name.replace('_', '-')}" for name in (*_given(chosen), *others) if name != "epochs"]
    if given:
        raise ValueError(f"--resume takes its words, but for --epochs, from the run's config.json: leave out {' '.join(given)}")
    return [_old_job(folder, chosen.epochs) for folder in chosen.resume]


def _old_job(folder: Path, epochs: int | None) -> Job:
    """epochs: how many the run is to have, where these are others than it was begun with."""
    config = load_config(folder)
    check_training(folder, config)
    if epochs is not None:
        done = len(read_history(folder / "history.csv")) if (folder / "history.csv").exists() else 0
        if epochs <= done:
            raise ValueError(f"{folder} has {done} epochs already: --epochs must be more, got {epochs}")
        config = config | {"epochs": epochs}
    dataset = datasets.of_run(folder, config)
    try:
        return Job.of(folder, dataset, config)
    except (ValueError, TypeError, MemoryError, OverflowError) as error:  # of a file that was changed by hand
        raise ValueError(f"{folder / 'config.json'} cannot be resumed: {error}") from None


def _given(chosen: argparse.Namespace) -> dict:
    return {name: getattr(chosen, name) for name in OPTIONS if getattr(chosen, name) is not None}
