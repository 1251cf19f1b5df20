"""What is worth a line before training and after it, though it is no error."""

from collections.abc import Iterator

import numpy as np

from fastconv.data import Batches
from fastconv.losses import cross_entropy
from fastconv.train.arguments import Loss, without_words
from fastconv.train.callbacks import KeepBest
from fastconv.train.examples import OwnBatches
from fastconv.train.training import Training

SEEN = 256  # images that are looked at
LARGE = 100.0  # no image of 0..1, nor a normalised one, comes near


def ending(training: Training, keeper: KeepBest | None) -> str:
    """Whether training stopped early, and which epoch's model is there; "" for all epochs and the last."""
    done = len(training.history)
    stopped = [f"stopped after epoch {done} of {training.epochs}"] if done < training.epochs else []
    kept = [] if keeper is None else [f"the model is that of epoch {done - keeper.since_best()}, the best {keeper.monitor}"]
    return "; ".join(stopped + kept)


def notices(batches: Batches | OwnBatches, examples, validation: tuple | None, loss_function: Loss) -> Iterator[str]:
    """examples: those that batches are made of. validation: (x, y). Both are checked."""
    if isinstance(batches, OwnBatches):
        return
    if batches.from_uint8:
        yield "x is uint8: scaled to 0..1, x / 255"
    elif len(batches.shape) == 4 and batches.normalise is None and batches.transform is None and (most := np.max(examples[0][:SEEN])) > LARGE:
        yield f"x reaches {most:g}: numbers of about 0..1 train better, write x / 255"
    loss_function, words = without_words(loss_function)
    if validation is not None and loss_function is cross_entropy:
        ignored = words.get("ignore_index")
        classes = np.setdiff1d(batches.y, [] if ignored is None else ignored)
        if missing := len(np.setdiff1d(classes, validation[1])):
            yield f"{missing} of the {len(classes)} classes are missing in the validation: data.stratified_split(x, y) takes some of each"
