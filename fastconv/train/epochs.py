"""One pass over the examples, and what the validation says after it."""

import math
import time
from collections.abc import Callable
from itertools import islice

import numpy as np

from fastconv.data.arrays import scaled
from fastconv.train.arguments import Loss
from fastconv.train.history import Record
from fastconv.train.moments import Moments
from fastconv.train.progress import Quiet
from fastconv.train.scores import are_classes, in_batches, score
from fastconv.train.steps import NotFinite, add_gradients, all_or_nothing, check_gradients, update
from fastconv.train.training import Training


def epoch(training: Training, loss_function: Loss, accumulate: int, report: Quiet, moments: Moments, pause: Callable[[], None]) -> Record:
    """The rest of the epoch under way, and its record. `pause()` is called before each update."""
    model, optimizer, now = training.model, training.optimizer, training.epoch
    number = len(training.history) + 1
    parameters = list(model.named_parameters())
    buffers, streams = ([entry for _, entry in named] for named in (model.named_buffers(), model.named_streams()))
    batches = islice(training.batches, now.steps * accumulate, None)
    clock = time.perf_counter()
    while group := list(islice(batches, accumulate)):
        pause()
        for begin in moments.batch_begins:
            begin(now.steps + 1, {})
        together = sum(len(x) for x, _ in group)  # examples that make this update
        try:
            with all_or_nothing(buffers, streams) as rewind:
                optimizer.zero_grad()
                total, right, classes = 0.0, 0, are_classes(group[0][1])
                for x, y in group:
                    value, outputs = add_gradients(model, x, y, loss_function, len(x) / together)
                    if not math.isfinite(value):
                        check_gradients(parameters, [x], value)
                    total += value * len(x)
                    right += np.count_nonzero(outputs.argmax(axis=1) == y) if classes else 0
                update(optimizer, parameters, [x for x, _ in group], value)
        except NotFinite as found:
            where = f"epoch {number}, step {now.steps + 1}"
            raise found.told(model, where, "the model is that of the step before", training.undo) from None
        now.lr = optimizer.lr
        training.updated(rewind)
        now.steps, now.seen, now.loss, now.right = now.steps + 1, now.seen + together, now.loss + total, now.right + right
        before, clock = clock, time.perf_counter()
        now.seconds += clock - before
        loss, accuracy = now.loss / now.seen, now.right / now.seen if classes else math.nan
        for end in moments.batch_ends:
            end(now.steps, {"loss": loss, "accuracy": accuracy, "rate": now.lr})
        report.step(number, now.seen, loss, accuracy, now.lr)
    N = report.images = now.seen
    accuracy = now.right / N if are_classes(training.batches.y) else math.nan
    speed = N / max(now.seconds, 1e-9)
    return {"epoch": number, "loss": now.loss / N, "accuracy": accuracy, "rate": now.lr, "images_per_second": speed}


def validate(training: Training, x, y, loss_function: Loss, metrics: tuple[Callable, ...], pause: Callable[[], None]) -> dict:
    """What is added to the record. FloatingPointError for a loss that is not finite; `pause()` is called before each batch."""
    x, y = np.asarray(x), np.asarray(y)
    outputs = in_batches(training.model, x, pause=pause)
    loss, accuracy = score(outputs, y, loss_function)
    if not np.isfinite(loss):
        bad = int(np.argmin(np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)))
        where = f"the validation after epoch {len(training.history) + 1}, step {training.epoch.steps}"
        raise NotFinite([scaled(x[bad : bad + 1])], loss, []).told(training.model, where, "the model is that of this step", training.undo)
    record = {"val_loss": loss, "val_accuracy": accuracy}
    for metric in metrics:
        value = np.asarray(metric(outputs, y))
        record[f"val_{metric.__name__}"] = value if value.ndim else value.item()
    return record
