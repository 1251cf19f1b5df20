"""Who is told of a training's moments: own callbacks, and those that `fit` makes of patience, keep_best, checkpoint and schedule."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv.files import as_path, check_writable
from fastconv.geometry import described, flag, instance, integer, number, shown
from fastconv.layers import Layer
from fastconv.optim import Optimizer, Schedule
from fastconv.saving import KINDS, save
from fastconv.train.history import History, Record

if TYPE_CHECKING:
    from fastconv.train.training import Training

MOMENTS = {"on_train_begin": 1, "on_train_end": 1, "on_epoch_begin": 2, "on_epoch_end": 2, "on_batch_begin": 2, "on_batch_end": 2}  # arguments


class Callback:
    """Something that `fit(..., callbacks=[...])` tells of its moments; a subclass overrides those that it needs. They are Keras's.

    logs: of on_epoch_end the epoch's record, whose entries are listed at `fit`; what is added to it stays in the history, and an answer of True
    stops the training after this epoch, as does `self.model.stop_training = True` at any moment. Of on_batch_end the loss and accuracy of the
    epoch so far, and the rate; a batch is what one update is made of. Of on_train_end the last record. Otherwise it is empty. epoch and batch
    count from 1. `self.model`, `self.optimizer` and `self.history` are those of the training.

    All moments are between two updates: model, optimizer and checkpoint are whole when one raises. TypeError for a method on_... that is none of
    them, when the class is made.

    >>> from fastconv import train
    >>> class Rates(train.Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         print(f"epoch {epoch}: {logs['rate']:.2g}")
    """

    _training: "Training"

    def __init_subclass__(cls, **words):
        super().__init_subclass__(**words)
        for name in vars(cls):
            if name.startswith("on_") and name not in MOMENTS:
                raise TypeError(f"{cls.__name__}: training has no moment {name}; a callback's are {', '.join(MOMENTS)}")

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("model", "optimizer", "history"):
            raise AttributeError(f"{type(self).__name__}: self.{name} is the training's, in fit: leave the line out, or take another name")
        super().__setattr__(name, value)

    @property
    def model(self) -> Layer:
        return self._training.model

    @property
    def optimizer(self) -> Optimizer:
        return self._training.optimizer

    @property
    def history(self) -> History:
        return self._training.history

    def on_train_begin(self, logs: dict) -> None:
        """Before the first epoch, or the first after a resume."""

    def on_train_end(self, logs: dict) -> None:
        """After the last epoch; not where training ends by an exception or Ctrl-C."""

    def on_epoch_begin(self, epoch: int, logs: dict) -> None: ...

    def on_epoch_end(self, epoch: int, logs: Any) -> bool | None: ...  # a Record that takes other names, too

    def on_batch_begin(self, batch: int, logs: dict) -> None: ...

    def on_batch_end(self, batch: int, logs: dict) -> None: ...


class Function(Callback):
    """A function of an epoch's record."""

    def __init__(self, function: Callable[[Record], object]):
        self.function = function

    def on_epoch_end(self, epoch, logs):
        return self.function(logs)


class Scheduler(Callback):
    """`schedule` steps after each update or epoch, as it was made. fit's `schedule=` is this."""

    def __init__(self, schedule: Schedule):
        instance("Scheduler", "schedule", schedule, Schedule, "a Schedule such as optim.Cosine(optimizer, epochs)")
        self.schedule = schedule

    def on_batch_end(self, batch, logs):
        if self.schedule.per == "update":
            self.schedule.step()

    def on_epoch_end(self, epoch, logs):
        if self.schedule.per == "epoch":
            self.schedule.step(logs.get("val_loss"))


class Watching(Callback):
    """Watches one name of the history. mode: whether "min" or "max" is best; None: "min" for losses, "max" for accuracies and top_k."""

    def __init__(self, monitor: str, mode: str | None, min_delta: float = 0.0):
        name = type(self).__name__
        if not isinstance(monitor, str):
            raise TypeError(f"{name}: monitor must be a name in the history such as 'val_loss', got {described(monitor)}")
        known = {"loss": "min", "accuracy": "max", "top": "max"}.get(monitor.removeprefix("val_").removeprefix("test_").partition("_")[0])
        if mode is None and known is None:
            usual = "loss, accuracy, val_loss, val_accuracy, val_top_3 (of metrics=[top_k(3)])"
            wanted = f"mode must be given for monitor={shown(monitor)}, which is none of {usual}"
            raise ValueError(f"{name}: {wanted}: 'max' where more is better, else 'min'")
        if mode is not None and (not isinstance(mode, str) or mode not in ("min", "max")):
            raise ValueError(f"{name}: mode must be 'min', 'max' or None, got {shown(mode)}")
        self.monitor, self.sign = monitor, -1 if (mode or known) == "max" else 1
        self.min_delta = number(name, "min_delta", min_delta)

    def since_best(self) -> int:
        """How many epochs ago the best one was; of equal ones the first. NaN is never better."""
        if self.monitor not in self.history[-1]:
            there = ", ".join(self.history[-1])
            raise ValueError(f"{type(self).__name__}: monitor must be a name in the history, one of {there}, got {shown(self.monitor)}")
        best, at = math.inf, 0
        for epoch, value in enumerate(self.history[self.monitor]):
            if self.sign * value < best - (self.min_delta if best < math.inf else 0):
                best, at = self.sign * value, epoch
        return len(self.history) - 1 - at


class KeepBest(Watching):
    """At the end, put back the parameters and buffers of the best epoch. fit's `keep_best=True` is `KeepBest()`.

    path: a .npz or .safetensors file that `fc.save` writes after each epoch that is the best so far. monitor: what is watched, a name in the
    history. mode: "min" or "max" is best; None: "min" for losses, "max" for accuracies and top_k, ValueError for others.
    """

    def __init__(self, path: str | os.PathLike | None = None, *, monitor: str = "val_loss", mode: str | None = None):
        super().__init__(monitor, mode)
        self.path = None if path is None else as_path("KeepBest", "path", path)
        if self.path is not None and self.path.suffix not in KINDS:
            raise ValueError(f"KeepBest: path must end in {' or '.join(KINDS)}, got {self.path}")

    def on_epoch_end(self, epoch, logs):
        if not self.since_best():
            self._training.best = self.model.state_dict()
            if self.path is not None:
                save(self.model, self.path)

    def on_train_end(self, logs):
        self.model.load_state_dict(self._training.best)


class EarlyStopping(Watching):
    """Stop after `patience` epochs in a row that were no better. fit's `patience=5` is `EarlyStopping(patience=5)`.

    monitor, mode: as in `KeepBest`. min_delta: better is by more than this. restore_best_weights: also what `KeepBest` does. Prechelt 1998,
    "Early Stopping - but when?", criterion UP, counted from the best epoch.
    """

    def __init__(
        self, monitor: str = "val_loss", min_delta: float = 0.0, patience: int = 1, *, mode: str | None = None, restore_best_weights: bool = False
    ):
        super().__init__(monitor, mode, min_delta)
        self.patience = integer("EarlyStopping", "patience", patience, 1)
        self.keep = KeepBest(monitor=monitor, mode=mode) if flag("EarlyStopping", "restore_best_weights", restore_best_weights) else None

    def on_epoch_end(self, epoch, logs):
        return self.since_best() >= self.patience


class Checkpoint(Callback):
    """Everything a run needs to go on, written to `path` at the end of each epoch and on Ctrl-C. fit's `checkpoint=path` is this.

    path: a file (NumPy's .npz, of any name), written whole: a kill at any instant leaves the old one or the new one. resume: go on from it if it
    is there, which ends in the bits of a run that never stopped; without, FileExistsError.
    """

    def __init__(self, path: str | os.PathLike, *, resume: bool = False):
        if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
            raise TypeError(f"Checkpoint: path must be the path of a file, got {described(path)}")
        self.path, self.resume = Path(path), flag("Checkpoint", "resume", resume)

    def open(self, training: "Training") -> None:
        """Go on from the file, where it is there and wanted. An old one is never overwritten by another run."""
        self._training = training
        if os.path.isdir(self.path):
            raise IsADirectoryError(f"fit: checkpoint must be a file, {self.path} is a folder: write {str(self.path / 'checkpoint.npz')!r}")
        if os.path.exists(self.path):
            if not self.resume:
                raise FileExistsError(f"fit: {self.path} exists: pass resume=True to go on from it, or delete it")
            training.resume(self.path)

    def on_train_begin(self, logs):
        """Make the folder, and see that files can be written there."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            check_writable(self.path)
        except OSError as error:
            raise type(error)(f"fit: checkpoint {self.path} cannot be written: {error.strerror}") from None
        except ValueError as error:
            raise ValueError(f"fit: checkpoint {str(self.path)!r} cannot be written: {error}") from None

    def on_epoch_end(self, epoch, logs):
        self._training.save(self.path)

    def how_to_go_on(self) -> str:
        return f"{self.path} holds everything up to here; fit(..., checkpoint={str(self.path)!r}, resume=True) goes on"
