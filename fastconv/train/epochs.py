"""One pass over the examples, and what the validation says after it."""

import time
from collections.abc import Callable
from itertools import islice

import numpy as np

from fastconv.layers import Layer
from fastconv.train.scores import Loss, are_classes, predict, score
from fastconv.train.steps import NotFinite, add_gradients, all_or_nothing, check_finite
from fastconv.train.training import Training


def epoch(training: Training, loss_function: Loss, accumulate: int, report, pause: Callable[[], None]) -> dict:
    """The rest of the epoch under way, and its record. `pause()` is called before each update."""
    model, optimizer, now = training.model, training.optimizer, training.epoch
    start, before = time.perf_counter(), now.seen
    number, N = len(training.history) + 1, training.batches.shape[0]
    classes = are_classes(training.batches.y)
    parameters = list(model.named_parameters())
    buffers, streams = ([entry for _, entry in named] for named in (model.named_buffers(), model.named_streams()))
    lr = optimizer.lr
    batches = islice(training.batches, now.steps * accumulate, None)
    while now.seen < N:
        pause()
        together = min(accumulate * training.batches.batch_size, N - now.seen)  # examples that make this update
        try:
            with all_or_nothing(buffers, streams):
                optimizer.zero_grad()
                total, right = 0.0, 0
                for x, y in islice(batches, accumulate):
                    value, outputs = add_gradients(model, x, y, loss_function, len(x) / together)
                    check_finite(parameters, x, value)
                    total += value * len(x)
                    right += int((outputs.argmax(axis=1) == y).sum()) if classes else 0
        except NotFinite as found:
            raise found.told(model, f"epoch {number}, step {now.steps + 1}") from None
        lr = optimizer.lr
        optimizer.step()
        if training.schedule is not None and not training.schedule.needs_metric:
            training.schedule.step()
        now.steps, now.seen, now.loss, now.right = now.steps + 1, now.seen + together, now.loss + total, now.right + right
        report.step(number, now.seen, now.loss / now.seen, now.right / now.seen if classes else None)
    seconds = time.perf_counter() - start
    accuracy = now.right / N if classes else None
    return {"epoch": number, "loss": now.loss / N, "accuracy": accuracy, "rate": lr, "images_per_second": (N - before) / seconds}


def validate(model: Layer, x, y, loss_function: Loss, metrics: tuple[Callable, ...]) -> dict:
    """What is added to the record."""
    outputs, y = predict(model, x), np.asarray(y)
    loss, accuracy = score(outputs, y, loss_function)
    record = {"val_loss": loss, "val_accuracy": accuracy}
    for metric in metrics:
        value = np.asarray(metric(outputs, y))
        record[f"val_{metric.__name__}"] = value if value.ndim else value.item()
    return record
