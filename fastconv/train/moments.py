"""Which callbacks a training has, in which order, and when they are called."""

import inspect
from collections.abc import Iterable

import numpy as np

from fastconv.geometry import flag
from fastconv.train.arguments import functions
from fastconv.train.callbacks import MOMENTS, Callback, Checkpoint, EarlyStopping, Function, KeepBest, Scheduler, Watching
from fastconv.train.history import Record
from fastconv.train.training import Training


def arranged(given: Iterable, *, schedule, patience, keep_best, checkpoint, resume) -> list[Callback]:
    """The callbacks of `fit`'s arguments and those given: a schedule's steps come first, and what is in a checkpoint comes before it is written."""
    made: list[Callback] = [] if schedule is None else [Scheduler(schedule)]
    made += [] if patience is None else [EarlyStopping(patience=patience)]
    made += [KeepBest()] if flag("fit", "keep_best", keep_best) else []
    if flag("fit", "resume", resume) and checkpoint is None:
        raise ValueError("fit: resume=True needs checkpoint, the file to go on from")
    made += [] if checkpoint is None else [Checkpoint(checkpoint, resume=resume)]
    made += as_callbacks(given)
    for kind in (Scheduler, KeepBest, Checkpoint):
        if sum(isinstance(each, kind) for each in made) > 1:
            raise ValueError(f"fit: callbacks and the other arguments make more than one {kind.__name__}; one is all that a training can have")
    return sorted(made, key=lambda each: isinstance(each, Checkpoint) - isinstance(each, Scheduler))


def as_callbacks(given: Iterable) -> list[Callback]:
    """Objects as they are, functions of a record as objects; TypeError names what is neither, or a moment that takes other arguments."""
    made: list[Callback] = []
    for entry in functions("callbacks", given, "functions of an epoch's dict or train.Callback objects", Callback):
        callback = entry if isinstance(entry, Callback) else Function(entry)
        made += [callback, callback.keep] if isinstance(callback, EarlyStopping) and callback.keep else [callback]
        for name, count in MOMENTS.items():
            try:
                inspect.signature(getattr(callback, name)).bind(*[None] * count)
            except TypeError:
                words = ("self", "logs") if count == 1 else ("self", name.split("_")[1], "logs")
                raise TypeError(f"fit: callbacks: {type(callback).__name__}.{name} must take ({', '.join(words)})") from None
    return made


def first(callbacks: list[Callback], kind: type):
    """The one of this kind, or None."""
    return next((each for each in callbacks if isinstance(each, kind)), None)


def watching_validation(callbacks: list[Callback]) -> list[str]:
    """The names of those that need a validation."""
    scheduler = first(callbacks, Scheduler)
    names = ["a schedule that watches a metric"] if scheduler and scheduler.schedule.needs_metric else []
    watching = (each for each in callbacks if isinstance(each, Watching) and each.monitor.startswith("val_"))
    return names + [f"{type(each).__name__}(monitor={each.monitor!r})" for each in watching]


class Moments:
    """Tells callbacks of them. A moment of batches that nobody overrides costs nothing."""

    def __init__(self, callbacks: list[Callback], training: Training):
        self.callbacks, self.training = callbacks, training
        vars(training.model).pop("stop_training", None)  # of a training before
        for callback in callbacks:
            callback._training = training
        self.batch_begins = [each.on_batch_begin for each in callbacks if type(each).on_batch_begin is not Callback.on_batch_begin]
        self.batch_ends = [each.on_batch_end for each in callbacks if type(each).on_batch_end is not Callback.on_batch_end]

    def train_begin(self) -> None:
        for callback in self.callbacks:
            callback.on_train_begin({})

    def train_end(self) -> None:
        for callback in self.callbacks:
            callback.on_train_end(dict(self.training.history[-1]))

    def epoch_begin(self, epoch: int) -> None:
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, {})

    def epoch_end(self, record: Record) -> None:
        for callback in self.callbacks:
            answer = callback.on_epoch_end(record["epoch"], record)
            self.training.stopped |= isinstance(answer, (bool, np.bool_)) and bool(answer)
            self.training.stopped |= bool(vars(self.training.model).pop("stop_training", False))
