"""The training loop."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np

from fastconv.data import Batches, Normalise
from fastconv.geometry import flag, integer
from fastconv.layers import Layer
from fastconv.losses import class_labels, cross_entropy
from fastconv.optim import Adam, OneCycle, Optimizer, Schedule
from fastconv.train.epochs import epoch, validate
from fastconv.train.interrupt import between_steps
from fastconv.train.progress import reporter
from fastconv.train.scores import Loss
from fastconv.train.training import Training


def fit(
    model: Layer,
    examples: tuple[np.ndarray, np.ndarray],
    *,
    epochs: int = 10,
    batch_size: int = 32,
    loss_function: Loss = cross_entropy,
    optimizer: Optimizer | None = None,
    schedule: Schedule | None = None,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    shift: int = 0,
    flip: float = 0,
    noise: float = 0,
    normalise: Normalise | None = None,
    accumulate: int = 1,
    metrics: Iterable[Callable] = (),
    patience: int | None = None,
    keep_best: bool = False,
    checkpoint: str | os.PathLike | None = None,
    resume: bool = False,
    callbacks: Iterable[Callable[[dict], object]] = (),
    progress: bool | None = None,
) -> list[dict]:
    """Train on (x, y) and return the history: one dict per epoch.

    x: (N, C, H, W) float32 or float64, y: (N,) classes (or whatever the loss takes).
    optimizer: None is Adam on a one-cycle schedule that ends with the last step. Clipping is a word of the optimizers: `Adam(..., clip_norm=1)`.
    schedule: of that optimizer; it steps after each update, or, where it watches a metric (`Plateau`), on the validation loss after each epoch.
    validation: (x, y) evaluated after each epoch.
    shift, flip, noise, normalise: what happens to each image, see `Batches`; validation is normalised alike, and nothing else.
    accumulate: so many batches make one update, by the mean of their gradients, as one batch of all their examples would (but for BatchNorm).
    metrics: functions of (outputs, targets), see `train.metrics`, of the validation; `top_k(3)` is the record's validation_top_3.
    patience: stop after so many epochs in a row without a lower validation loss.
    keep_best: at the end, put back the parameters and buffers of the epoch with the lowest validation loss.
    checkpoint: a file (.npz) written whole at the end of each epoch and on Ctrl-C. resume: go on from it if it is there; model and words must
    be those it was made with. The result is, to the bit, that of a run that never stopped.
    callbacks: called with each epoch's dict: epoch, loss, accuracy, lr, images_per_second; with validation also validation_loss,
    validation_accuracy and validation_NAME of each metric. One that returns True stops the training after this epoch.
    progress: None shows on stderr how it goes: a line that rewrites itself on a terminal, elsewhere a line per epoch, at most one a second. True
    prints elsewhere a line for each epoch, however short, and False nothing anywhere.

    ValueError and TypeError before anything is trained. FloatingPointError where a loss or gradient is not finite, KeyboardInterrupt on Ctrl-C: both
    between two updates, with parameters, buffers, optimizer and random streams of the last good one.
    """
    epochs, accumulate = integer("fit", "epochs", epochs, 1), integer("fit", "accumulate", accumulate, 1)
    for name, pair in (("examples", examples), ("validation", validation)):
        if pair is not None or name == "examples":
            _check_pair(model, name, pair, loss_function)
    callbacks, metrics = tuple(callbacks), tuple(metrics)
    for metric in metrics:
        if not callable(metric) or not hasattr(metric, "__name__"):
            raise TypeError(f"fit: metrics must be functions, whose names are those in the history, got {metric!r}")
    patience = None if patience is None else integer("fit", "patience", patience, 1)
    if schedule is not None and (not isinstance(schedule, Schedule) or schedule.optimizer is not optimizer):
        raise ValueError("fit: schedule must be one of fastconv.optim, made for the optimizer that fit is given")
    watches = schedule is not None and schedule.needs_metric
    wishes = {"metrics": metrics, "patience": patience, "keep_best": flag("fit", "keep_best", keep_best), "a schedule that watches a metric": watches}
    if validation is None and any(wishes.values()):
        raise ValueError(f"fit: {next(name for name, wish in wishes.items() if wish)} needs validation=(x, y)")
    if flag("fit", "resume", resume) and checkpoint is None:
        raise ValueError("fit: resume=True needs checkpoint, the file to go on from")
    batches = Batches(*examples, batch_size, shift=shift, flip=flip, noise=noise, normalise=normalise)
    if validation is not None and normalise is not None:
        validation = normalise(validation[0]), validation[1]
    if optimizer is None:
        optimizer = Adam(model.parameters())
        schedule = OneCycle(optimizer, max_lr=5e-3, total_steps=max(2, epochs * -(-len(batches) // accumulate)))
    words = {"batches": repr(batches), "accumulate": str(accumulate), "keep_best": str(keep_best), "optimizer": type(optimizer).__name__}
    words["schedule"] = "None" if schedule is None else f"{type(schedule).__name__}({schedule.words})"
    training = Training(model, optimizer, schedule, batches, words)
    path = _prepare(training, checkpoint, resume)

    with reporter(epochs, len(examples[0]), progress) as report, between_steps() as interrupted:

        def pause() -> None:
            """Where Ctrl-C may stop."""
            if interrupted.asked and path is not None:
                training.save(path)
            interrupted.check("" if path is None else f"{path} holds everything up to here; fit(..., checkpoint={str(path)!r}, resume=True) goes on")

        while len(training.history) < epochs and not training.stopped:
            record = epoch(training, loss_function, accumulate, report, pause)
            if validation is not None:
                record |= validate(model, *validation, loss_function, metrics)
            training.history.append(record)
            training.next_epoch()
            if watches:
                schedule.step(record["validation_loss"])
            if validation is not None:
                since_best = len(training.history) - 1 - training.best_epoch()
                training.stopped = patience is not None and since_best >= patience
                if keep_best and not since_best:
                    training.best = model.state_dict()
            report.epoch(record)
            for callback in callbacks:
                answer = callback(record)
                training.stopped |= isinstance(answer, (bool, np.bool_)) and bool(answer)
            if path is not None:
                training.save(path)
            pause()
    if keep_best:
        model.load_state_dict(training.best)
    return training.history


def _check_pair(model: Layer, name: str, pair, loss_function: Loss) -> None:
    """Before anything is trained: (x, y) of one length, and labels that the model has outputs for."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"fit: {name} must be a pair (x, y), got {type(pair).__name__}")
    x, y = map(np.shape, pair)
    if not x or not y or x[0] != y[0] or not x[0]:
        raise ValueError(f"fit: x and y of {name} must have the same length N >= 1, got x{x}, y{y}")
    words = {}
    while isinstance(loss_function, partial):
        words, loss_function = loss_function.keywords | words, loss_function.func
    if loss_function is cross_entropy:
        class_labels(f"fit: {name}", model.output_shape(x), pair[1], words.get("ignore_index"))


def _prepare(training: Training, checkpoint, resume: bool) -> Path | None:
    """The checkpoint's path, after going on from it where that is wanted; an old one is never overwritten by another run."""
    if checkpoint is None:
        return None
    path = Path(checkpoint)
    if path.exists():
        if not resume:
            raise FileExistsError(f"fit: {path} exists: pass resume=True to go on from it, or delete it")
        training.resume(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
