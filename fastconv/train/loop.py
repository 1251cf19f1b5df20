"""The training loop."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from fastconv.data import Batches, Normalise
from fastconv.files import check_writable
from fastconv.geometry import described, flag, integer
from fastconv.layers import Layer
from fastconv.losses import cross_entropy
from fastconv.optim import Adam, OneCycle, Optimizer, Schedule
from fastconv.train.arguments import check_length, check_model, check_optimizer, check_owner, check_pair, check_schedule, functions, metric_functions
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
    optimizer: of all parameters of the model that are not frozen, and of no others. None is Adam on a one-cycle schedule that ends with the last
    step. Clipping is a word of the optimizers: `Adam(..., clip_norm=1)`.
    schedule: of that optimizer. It steps after each epoch (`Plateau` on the validation loss) or, made with per="update" as `OneCycle` is, after
    each update. Its total_steps, where it has them, must be the epochs or updates of the run: epochs * ceil(ceil(N / batch_size) / accumulate).
    validation: (x, y) evaluated after each epoch.
    shift, flip, noise, normalise: what happens to each image, see `Batches`; validation is normalised alike, and nothing else.
    accumulate: so many batches make one update, by the mean of their gradients, as one batch of all their examples would (but for BatchNorm).
    metrics: functions of (outputs, targets), see `train.metrics`, of the validation; `top_k(3)` is the record's val_top_3.
    patience: stop after so many epochs in a row without a lower validation loss.
    keep_best: at the end, put back the parameters and buffers of the epoch with the lowest validation loss.
    checkpoint: a file (NumPy's .npz, of any name) written whole at the end of each epoch and on Ctrl-C. resume: go on from it if it is there; model
    and words must be those it was made with. The result is, to the bit, that of a run that never stopped.
    callbacks: called with each epoch's dict: epoch, loss, accuracy, rate (of its last update), images_per_second; with validation also
    val_loss, val_accuracy and val_NAME of each metric. What one adds stays in the history. One that returns True stops the training after this epoch.
    progress: None shows on stderr how it goes: a line that rewrites itself on a terminal, elsewhere a line per epoch, at most one a second. True
    prints elsewhere a line for each epoch, however short, and False nothing anywhere.

    ValueError and TypeError before anything is trained. FloatingPointError where a loss (also of the validation), a gradient or an updated parameter
    is not finite, KeyboardInterrupt on Ctrl-C: both between two updates (or batches of the validation), with parameters, buffers, optimizer and
    random streams of the last good one. An update after which a layer answers finite numbers with NaN or Inf is not a good one.
    """
    check_model("fit", model, loss_function)
    if optimizer is not None:
        check_optimizer("fit", optimizer)
    elif not model.parameters():
        raise ValueError(f"fit: model has no parameters to train: {type(model).__name__}")
    check_schedule(schedule, optimizer)
    epochs, accumulate = integer("fit", "epochs", epochs, 1), integer("fit", "accumulate", accumulate, 1)
    dtype = check_pair(model, "examples", examples, loss_function)
    if validation is not None:
        check_pair(model, "validation", validation, loss_function, dtype)
    callbacks, metrics = functions("callbacks", callbacks, "functions of an epoch's dict"), metric_functions(metrics)
    patience = None if patience is None else integer("fit", "patience", patience, 1)
    progress = None if progress is None else flag("fit", "progress", progress)
    watches = schedule is not None and schedule.needs_metric
    wishes = {"metrics": metrics, "patience": patience, "keep_best": flag("fit", "keep_best", keep_best), "a schedule that watches a metric": watches}
    if validation is None and any(wishes.values()):
        raise ValueError(f"fit: {next(name for name, wish in wishes.items() if wish)} needs validation=(x, y)")
    if flag("fit", "resume", resume) and checkpoint is None:
        raise ValueError("fit: resume=True needs checkpoint, the file to go on from")
    batches = Batches(*examples, batch_size, shift=shift, flip=flip, noise=noise, normalise=normalise)
    if validation is not None and normalise is not None:
        validation = normalise(validation[0]), validation[1]
    updates = -(-len(batches) // accumulate)  # of an epoch
    if optimizer is None:
        optimizer = Adam(model.parameters())
        schedule = OneCycle(optimizer, max_lr=5e-3, total_steps=max(OneCycle.shortest, epochs * updates))
    check_owner(model, optimizer)
    words = {"batches": repr(batches), "accumulate": str(accumulate), "keep_best": str(keep_best), "optimizer": type(optimizer).__name__}
    words["schedule"], words["per"] = ("None", "None") if schedule is None else (f"{type(schedule).__name__}({schedule.words})", schedule.per)
    training = Training(model, optimizer, schedule, batches, words)
    path = _path(checkpoint, resume)
    if path is not None and os.path.exists(path):
        training.resume(path)
    if schedule is not None and len(training.history) < epochs and not training.stopped:
        left = epochs - len(training.history)
        check_length(schedule, left, left * updates - training.epoch.steps)
    if path is not None:
        _check_folder(path)

    with reporter(epochs, len(examples[0]), progress) as report, between_steps() as interrupted:

        def pause() -> None:
            """Where Ctrl-C may stop."""
            if interrupted.asked and path is not None:
                training.save(path)
            interrupted.check("" if path is None else f"{path} holds everything up to here; fit(..., checkpoint={str(path)!r}, resume=True) goes on")

        while len(training.history) < epochs and not training.stopped:
            check_owner(model, optimizer)  # a callback may have changed what is frozen
            record = epoch(training, loss_function, accumulate, report, pause)
            if validation is not None:
                record |= validate(training, *validation, loss_function, metrics, pause)
            training.history.append(record)
            training.next_epoch()
            if schedule is not None and schedule.per == "epoch":
                schedule.step(record.get("val_loss"))
            if validation is not None:
                since_best = len(training.history) - 1 - training.best_epoch()
                training.stopped = patience is not None and since_best >= patience
                if keep_best and not since_best:
                    training.best = model.state_dict()
            for callback in callbacks:
                answer = callback(record)
                training.stopped |= isinstance(answer, (bool, np.bool_)) and bool(answer)
            report.epoch(record)
            if path is not None:
                training.save(path)
            pause()
    if keep_best:
        model.load_state_dict(training.best)
    return training.history


def _path(checkpoint, resume: bool) -> Path | None:
    """The checkpoint's path; an old one is never overwritten by another run."""
    if checkpoint is None:
        return None
    if not isinstance(checkpoint, (str, os.PathLike)):
        raise TypeError(f"fit: checkpoint must be the path of a file, got {described(checkpoint)}")
    path = Path(checkpoint)
    if os.path.isdir(path):
        raise IsADirectoryError(f"fit: checkpoint must be a file, {path} is a folder: write {str(path / 'checkpoint.npz')!r}")
    if os.path.exists(path) and not resume:
        raise FileExistsError(f"fit: {path} exists: pass resume=True to go on from it, or delete it")
    return path


def _check_folder(path: Path) -> None:
    """Make the checkpoint's folder, and see that files can be written there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_writable(path)
    except OSError as error:
        raise type(error)(f"fit: checkpoint {path} cannot be written: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"fit: checkpoint {str(path)!r} cannot be written: {error}") from None
