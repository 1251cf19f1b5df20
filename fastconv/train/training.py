"""All that a training run changes, and the checkpoint it is kept in."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fastconv import streams
from fastconv.data import Batches, npy
from fastconv.files import FileFormatError, write_whole
from fastconv.layers import Layer
from fastconv.optim import Optimizer, Schedule
from fastconv.saving import as_npz
from fastconv.train.history import History, renamed


@dataclass
class Epoch:
    """How far the epoch under way has come."""

    steps: int = 0
    seen: int = 0  # examples
    loss: float = 0.0  # its sum over the examples seen
    right: int = 0
    lr: float | None = None  # of its last update
    seconds: float = 0.0  # in updates

    def is_possible(self, N: int) -> bool:
        """Whether an epoch of N examples, 0 where that is not known, can have come so far."""
        whole, most = all(type(value) is int for value in (self.steps, self.seen, self.right)), N or self.seen
        return whole and 0 <= self.steps <= self.seen <= most and 0 <= self.right <= most and isinstance(self.loss, (int, float))


class Training:
    """Model, optimizer, schedule, data order, the epoch under way, the history so far and the best weights.

    words: what must be the same where a checkpoint is resumed, by name. epochs: how many the run is to have; where that changes, the schedule's
    numbers may, too, and it goes on from its step.
    """

    def __init__(self, model: Layer, optimizer: Optimizer, schedule: Schedule | None, batches: Batches, words: dict[str, str], epochs: int):
        self.model, self.optimizer, self.schedule, self.batches, self.words, self.epochs = model, optimizer, schedule, batches, words, epochs
        self.history = History()
        self.best: dict[str, np.ndarray] = {}
        self.stopped = False
        self.undo: Callable[[], None] | None = None  # takes the last update back
        self.next_epoch()

    def next_epoch(self) -> None:
        self.epoch = Epoch()
        self.order = self.batches.stream.state()  # what the epoch's order and moves are drawn from

    def updated(self, rewind: Callable[[], None]) -> None:
        """After an update, before its schedule's step. rewind: puts back what the forward pass changed."""
        optimizer, schedule = self.optimizer, self.schedule
        rates = schedule.state_dict() if schedule is not None else {}

        def undo() -> None:  # knows nothing of self: a circle would keep the data in memory until a garbage collection
            rewind()
            optimizer.undo()
            if schedule is not None:
                schedule.load_state_dict(rates)

        self.undo = undo

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything that the next steps depend on, in arrays."""
        stateful = {"model": self.model, "optimizer": self.optimizer} | ({"schedule": self.schedule} if self.schedule else {})
        state = {f"{part}.{name}": np.asarray(value) for part, owner in stateful.items() for name, value in owner.state_dict().items()}
        state |= {f"best.{name}": value for name, value in self.best.items()}
        state |= {f"streams.{name}": np.array(stream.state(), np.uint64) for name, stream in self._streams().items()}
        state["streams.order"] = np.array(self.order, np.uint64)
        progress = {"words": self.words, "epochs": self.epochs, "history": self.history, "epoch": asdict(self.epoch), "stopped": self.stopped}
        return state | {"progress": np.frombuffer(json.dumps(progress, default=_plain).encode(), np.uint8)}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Go on from there. ValueError where it was made by another run; nothing was changed then."""
        parts: dict[str, dict] = {part: {} for part in ("model", "optimizer", "schedule", "best", "streams", "progress")}
        for name, value in state.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = value
        try:
            progress = json.loads(bytes(state["progress"]))
            words, history, epoch, stopped = (progress[name] for name in ("words", "history", "epoch", "stopped"))
            words, history = _as_now(words, history)
            order, own = parts["streams"].pop("order"), self._streams()
            if len(parts) > 6 or own.keys() != parts["streams"].keys() or not all(_is_state(each) for each in (order, *parts["streams"].values())):
                raise KeyError("streams")
            epoch = Epoch(**epoch)
            if not epoch.is_possible(self.batches.shape[0]) or not isinstance(stopped, bool):
                raise ValueError("epoch")
            words, history = dict(words), History(_record(record, number) for number, record in enumerate(history, 1))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            raise ValueError("it is not a checkpoint of this model's training") from None
        if progress.get("epochs", self.epochs) != self.epochs and _kind(words["schedule"]) == _kind(self.words["schedule"]):
            words["schedule"] = self.words["schedule"]
        changed = [f"{name} {words.get(name)}, now it is {value}" for name, value in self.words.items() if words.get(name) != value]
        if changed:
            raise ValueError(f"it was made with {'; '.join(changed)}")
        before = self.model.state_dict(), self.optimizer.state_dict()
        try:
            self.model.load_state_dict(parts["best"] or before[0])  # does it fit?
            self.model.load_state_dict(parts["model"])
            self.optimizer.load_state_dict(parts["optimizer"])
            if self.schedule:
                self.schedule.load_state_dict(parts["schedule"])
        except ValueError:
            self.model.load_state_dict(before[0])
            self.optimizer.load_state_dict(before[1])
            raise
        for name, stream in own.items():
            stream.restore(parts["streams"][name])
        self.batches.stream.restore(order)
        self.order = self.batches.stream.state()
        self.history, self.epoch, self.stopped, self.best = history, epoch, stopped, parts["best"]

    def save(self, path: Path) -> None:
        """Write the checkpoint: a kill at any instant leaves the old file or the new one."""
        write_whole(path, as_npz(self.state_dict()))

    def resume(self, path: Path) -> None:
        """Go on from the checkpoint. ValueError names the file and what is wrong."""
        try:
            self.load_state_dict(npy.arrays(path, lambda names: names, kinds="biuf"))
        except FileFormatError:
            raise
        except ValueError as error:
            raise FileFormatError(f"fit: {path} cannot be resumed: {error}") from None

    def _streams(self) -> dict[str, streams.Stream]:
        return {f"model.{name}": stream for name, stream in self.model.named_streams()} | {"default": streams.default}


def _as_now(words: dict[str, str], history: list[dict]) -> tuple[dict[str, str], list[dict]]:
    """Those of a checkpoint, also of one written when all schedules stepped after each update, and records had other names."""
    per = {"None": "None", "Plateau": "epoch"}.get(_kind(words["schedule"]), "update")
    return {"per": per, "shuffle": "True", "class_weights": "None"} | words, [renamed(record) for record in history]


def _kind(schedule: str) -> str:
    """Cosine of "Cosine({'total_steps': 16, ...})"."""
    return schedule.partition("(")[0]


def _is_state(array: np.ndarray) -> bool:
    """Whether a stream can be restored from it."""
    return array.shape == (2,) and array.dtype == np.uint64


def _record(record: dict, number: int) -> dict:
    """An epoch of the history as it was before JSON. KeyError, TypeError or ValueError where it is none."""
    if record["epoch"] != number or not all(isinstance(record[name], (int, float)) for name in ("loss", "rate", "images_per_second")):
        raise ValueError(f"epoch {number}")
    for name, value in record.items():
        value = np.nan if value is None else value
        array = np.array(value)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{name} must hold numbers")
        record[name] = array if isinstance(value, list) else value
    return record


def _plain(value):
    """An array of the history for JSON."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"fit: a checkpoint's history holds numbers and arrays, got {type(value).__name__}")
