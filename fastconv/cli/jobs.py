"""A job is one run of `train`: all of it is checked before anything is written."""

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastconv as fc
from fastconv import data, optim, plot
from fastconv.cli.datasets import DataSet
from fastconv.data.split import stratified
from fastconv.geometry import integer
from fastconv.layers import Layer
from fastconv.train.runs import build, normalise, save_run

SCHEDULES = ("one-cycle", "cosine", "step", "constant", "plateau")


class Job(NamedTuple):
    """One run that is to be made or gone on with."""

    folder: Path
    dataset: DataSet
    config: dict
    held: np.ndarray  # (N,) bool: the training images to validate with

    @classmethod
    def of(cls, folder: Path, dataset: DataSet, config: dict) -> "Job":
        """ValueError for what cannot be trained: nothing was written yet."""
        y, share = dataset.train[1], config["val"]
        held = stratified(y, share) if dataset.held is None else dataset.held
        if dataset.held is not None and share:
            raise ValueError(f"--val {share}: {dataset.word} has a folder of images to validate with; leave --val out")
        if share and not held.any():
            raise ValueError(f"--val {share} of {len(held)} images is none in each class")
        for label in np.unique(y[held]):
            if held[y == label].all():
                name, count = dataset.class_names[label], np.count_nonzero(y == label)
                raise ValueError(f"--val {share} takes all {count} images of class {name} away from training; choose a smaller share")
        job = cls(folder, dataset, config, held)
        job.parts()
        return job

    def parts(self) -> tuple[Layer, dict]:
        """The model and the words that `fit` is given, from the start of the run's random streams."""
        config = self.config
        fc.seed(config["seed"])
        model = build(config)
        words = {"normalise": normalise(config), **config["augment"]}
        x, y = self.dataset.train
        epochs = integer("train", "--epochs", config["epochs"], 1)
        batches = data.Batches(x[:1], y[:1], config["batch_size"], stream=fc.streams.Stream(0), **words)  # are its words right?
        steps = epochs * -(-int(np.count_nonzero(~self.held)) // batches.batch_size)
        optimizer = optim.Adam(model.parameters(), config["lr"], clip_norm=config["clip_norm"])
        patience = None if config["early_stop"] is None else integer("train", "--early-stop", config["early_stop"], 1)
        words |= {"epochs": epochs, "batch_size": batches.batch_size, "optimizer": optimizer, "schedule": _schedule(config, optimizer, steps)}
        words |= {"class_weights": config["class_weights"], "patience": patience, "keep_best": patience is not None}
        return model, words

    def find_lr(self) -> fc.train.RateTest:
        """The losses of a model like the run's, over learning rates; nothing is written."""
        model, words = self.parts()
        x, y = (part[~self.held] for part in self.dataset.train)
        change = words["normalise"]
        return fc.train.find_lr(model, change(x) if change else x, y, optimizer=words["optimizer"], batch_size=words["batch_size"])

    def run(self) -> float:
        """Train, or go on; returns the test accuracy."""
        folder, dataset, config, held = self
        (x, y), kept = dataset.train, ""
        model, words = self.parts()
        if held.any():
            x, y, words["validation"], kept = x[~held], y[~held], (x[held], y[held]), f", {held.sum()} to validate with"
        else:
            change = words["normalise"]
            x_test, y_test = dataset.test
            x_test = change(x_test) if change else x_test
            words["callbacks"] = [lambda record: add_test(record, model, x_test, y_test)]
        threads = fc.get_num_threads()
        counts = f"{len(y)} images to train on{kept}, {len(dataset.test[1])} to test with, {threads} thread{'s' * (threads > 1)}"
        print(f"{dataset.title}: {counts}", file=sys.stderr)
        start = time.perf_counter()
        history = fc.train.fit(model, (x, y), checkpoint=folder / "checkpoint.npz", resume=True, verbose=1, **words)
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


def add_test(record: dict, model: Layer, x: np.ndarray, y: np.ndarray) -> None:
    """To an epoch's record, the loss and the accuracy on the images to test with; nothing depends on them."""
    record["test_loss"], record["test_accuracy"] = fc.train.evaluate(model, x, y)


def _schedule(config: dict, optimizer: optim.Optimizer, steps: int) -> optim.Schedule | None:
    match config["schedule"]:
        case "one-cycle":
            return optim.OneCycle(optimizer, config["lr"], max(2, steps))
        case "cosine":
            return optim.Cosine(optimizer, steps, warmup=steps // 20, per="update")
        case "step":
            return optim.Step(optimizer, -(-steps // 3), per="update")
        case "plateau":
            return optim.Plateau(optimizer, patience=3, factor=0.3)
        case "constant":
            return None
    raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {config['schedule']!r}")
