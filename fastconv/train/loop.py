"""The training loop."""

import os
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike

from fastconv.data import Batches, Normalise
from fastconv.geometry import array, integer
from fastconv.layers import Layer
from fastconv.losses import cross_entropy
from fastconv.optim import Adam, OneCycle, Optimizer, Schedule
from fastconv.reflexes import answered
from fastconv.train.arguments import (
    Loss,
    as_loss,
    as_optimizer,
    as_pair,
    check_length,
    check_model,
    check_owner,
    either,
    metric_functions,
)
from fastconv.train.callbacks import Callback, Checkpoint, KeepBest, Scheduler
from fastconv.train.epochs import epoch, validate
from fastconv.train.examples import OwnBatches, as_examples, as_validation, weighted
from fastconv.train.history import History, Record
from fastconv.train.interrupt import between_steps
from fastconv.train.moments import Moments, arranged, first, watching_validation
from fastconv.train.notices import notices
from fastconv.train.progress import reporter
from fastconv.train.training import Training


@answered("fit")
def fit(
    model: Layer,
    examples: tuple[ArrayLike, ArrayLike] | ArrayLike | Iterable | Callable[[], Iterable],
    y: ArrayLike | None = None,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    shuffle: bool = True,
    loss_function: Loss | str = cross_entropy,
    optimizer: Optimizer | str | None = None,
    schedule: Schedule | None = None,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    shift: int = 0,
    flip: float = 0,
    noise: float = 0,
    normalise: Normalise | None = None,
    transform: Callable[[np.ndarray], np.ndarray] | None = None,
    class_weights: ArrayLike | str | None = None,
    accumulate: int = 1,
    metrics: Iterable[Callable] = (),
    patience: int | None = None,
    keep_best: bool = False,
    checkpoint: str | os.PathLike | None = None,
    resume: bool = False,
    callbacks: Iterable[Callback | Callable[[Record], object] | Callable[[dict], object]] = (),
    verbose: int = 1,
    validation_data: tuple[ArrayLike, ArrayLike] | None = None,
    loss: Loss | str | None = None,
) -> History:
    """Train on (x, y) and return the history: a record per epoch, `history[-1]["val_loss"]`, and `history["val_loss"]` a list of them.

    examples: (x, y), or x with y as the next argument. x: (N, C, H, W) float32 or float64, or uint8, which is scaled to 0..1 (x / 255); where the
    model takes it only so, also (N, H, W, C), (N, H, W) or square gray images in rows. y: (N,) classes (or whatever the loss takes), for
    cross_entropy also what `data.encode_labels` takes, such as texts or one-hot rows. Or batches (x, y) of one's own, taken as they come: a list, an
    object that gives them each time it is gone through (PyTorch's DataLoader), or a function, called for each epoch, that returns or yields them.
    An epoch ends where they do: take some of endless ones by `itertools.islice`.
    shuffle: each epoch takes the examples in a new order.
    loss_function: one of `losses`, or its name. loss is the same by another name, as validation_data is validation.
    optimizer: of all parameters of the model that are not frozen, and of no others. None is Adam on a one-cycle schedule that ends with the last
    step; "adam", "adamw", "rmsprop" (rate 0.001) and "sgd" (0.01) have no schedule. Clipping is a word of the optimizers: `Adam(..., clip_norm=1)`.
    schedule: of that optimizer. It steps after each epoch (`Plateau` on the validation loss) or, made with per="update" as `OneCycle` is, after
    each update. Its total_steps, where it has them, must be the epochs or updates of the run: epochs * ceil(ceil(N / batch_size) / accumulate).
    validation: (x, y), or batches, evaluated after each epoch.
    shift, flip, noise, normalise, transform: what happens to each image, see `Batches`; validation is normalised alike, and nothing else. The model
    holds no normalisation: before `predict` and `evaluate` apply it yourself, `normalise(x)`.
    class_weights: of cross_entropy in training, (K,) numbers, or "balanced": `losses.balanced_weights(y)`. The validation counts all alike.
    accumulate: so many batches make one update, by the mean of their gradients, as one batch of all their examples would (but for BatchNorm).
    metrics: functions of (outputs, targets), see `train.metrics`, of the validation; `top_k(3)` is the record's val_top_3.
    patience, keep_best, checkpoint and resume, schedule: short for the callbacks `EarlyStopping(patience=...)`, `KeepBest()`,
    `Checkpoint(checkpoint, resume=resume)`, `Scheduler(schedule)`, which say more. A resumed run may have more epochs than it was begun with; its
    model and other words must be those it was made with.
    callbacks: `train.Callback` objects, and functions of each epoch's record: epoch, loss, accuracy (NaN where y are not classes), rate (of its last
    update), images_per_second; with validation also val_loss, val_accuracy and val_NAME of each metric. What one adds stays in the history. One
    that returns True stops the training after this epoch.
    verbose: 0 is silent, 1 keeps a line for each epoch and shows a bar before it, on terminals and in notebooks (there by tqdm), 2 is the lines
    alone. They go to stderr, in notebooks to stdout.

    ValueError and TypeError before anything is trained. FloatingPointError where a loss (also of the validation), a gradient or an updated parameter
    is not finite, KeyboardInterrupt on Ctrl-C: both between two updates (or batches of the validation), with parameters, buffers, optimizer and
    random streams of the last good one. An update after which a layer answers finite numbers with NaN or Inf is not a good one.
    """
    check_model("fit", model)
    loss_function = as_loss("fit", either("fit", "loss_function", loss_function, "loss", loss, usual=cross_entropy))
    if optimizer is not None:
        optimizer = as_optimizer("fit", optimizer, model)
    elif not model.parameters():
        raise ValueError(f"fit: model has no parameters to train: {type(model).__name__}")
    epochs, accumulate = integer("fit", "epochs", epochs, 1), integer("fit", "accumulate", accumulate, 1)
    examples, validation = as_pair("fit", examples, y), either("fit", "validation", validation, "validation_data", validation_data)
    changes = {"batch_size": batch_size, "shuffle": shuffle, "shift": shift, "flip": flip, "noise": noise}
    changes |= {"normalise": normalise, "transform": transform}
    examples, dtype, class_names = as_examples(model, examples, loss_function, epochs, changes)
    if validation is not None:
        validation = as_validation(model, validation, loss_function, dtype, class_names)
    metrics, verbose = metric_functions(metrics), integer("fit", "verbose", verbose, 0)
    if verbose > 2:
        raise ValueError(f"fit: verbose must be 0 (silent), 1 (a bar, and a line for each epoch) or 2 (the lines alone), got {verbose}")
    told = arranged(callbacks, schedule=schedule, patience=patience, keep_best=keep_best, checkpoint=checkpoint, resume=resume)
    wishes = {"metrics": metrics, "patience": patience, "keep_best": keep_best} | dict.fromkeys(watching_validation(told), True)
    if validation is None and any(wishes.values()):
        raise ValueError(f"fit: {next(name for name, wish in wishes.items() if wish)} needs validation=(x, y)")
    batches = examples if isinstance(examples, OwnBatches) else Batches(*examples, **changes)
    training_loss = weighted(loss_function, class_weights, model, examples)
    if validation is not None and normalise is not None:
        validation = normalise(validation[0]), validation[1]
    updates = -(-len(batches) // accumulate)  # of an epoch; 0 where that is not known
    scheduler, saved = first(told, Scheduler), first(told, Checkpoint)
    if scheduler is not None and scheduler.schedule.optimizer is not optimizer:
        raise ValueError("fit: schedule must be made for the optimizer that fit is given")
    if optimizer is None:
        optimizer = Adam(model.parameters())
        per, steps = ("update", epochs * updates) if updates else ("epoch", epochs)
        scheduler = Scheduler(OneCycle(optimizer, max_lr=5e-3, total_steps=max(OneCycle.shortest, steps), per=per))
        told.insert(0, scheduler)
    check_owner(model, optimizer)
    schedule = None if scheduler is None else scheduler.schedule
    keeper = first(told, KeepBest)
    kept = "False" if keeper is None else "True" if keeper.monitor == "val_loss" else f"by {keeper.monitor}"
    words = {"batches": repr(batches), "shuffle": str(shuffle), "accumulate": str(accumulate), "keep_best": kept}
    words["class_weights"] = str(array("fit", "class_weights", class_weights).tolist())
    words["optimizer"] = type(optimizer).__name__
    words["schedule"], words["per"] = ("None", "None") if schedule is None else (f"{type(schedule).__name__}({schedule.words})", schedule.per)
    training = Training(model, optimizer, schedule, batches, words, epochs)
    if saved is not None:
        saved.open(training)
    if schedule is not None and len(training.history) < epochs and not training.stopped:
        left = epochs - len(training.history)
        check_length(schedule, left, left * updates - training.epoch.steps if updates else 0)
    moments = Moments(told, training)
    moments.train_begin()

    with reporter(epochs, batches.shape[0], verbose) as report, between_steps() as interrupted:
        for notice in notices(batches, validation, loss_function):
            report.print(notice)

        def pause() -> None:
            """Where Ctrl-C may stop."""
            if interrupted.asked and saved is not None:
                training.save(saved.path)
            interrupted.check("" if saved is None else saved.how_to_go_on())

        while len(training.history) < epochs and not training.stopped:
            check_owner(model, optimizer)  # a callback may have changed what is frozen
            moments.epoch_begin(len(training.history) + 1)
            record = epoch(training, training_loss, accumulate, report, moments, pause)
            if validation is not None:
                record |= validate(training, *validation, loss_function, metrics, pause)
            training.history.append(record)
            training.next_epoch()
            moments.epoch_end(record)
            report.epoch(record)
            pause()
    moments.train_end()
    return training.history
