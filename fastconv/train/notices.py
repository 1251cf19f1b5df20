"""What is worth a line before training starts, though it is no error."""

from collections.abc import Iterator

import numpy as np

from fastconv.data import Batches
from fastconv.losses import cross_entropy
from fastconv.train.arguments import Loss, without_words
from fastconv.train.examples import OwnBatches


def notices(examples: Batches | OwnBatches, validation: tuple | None, loss_function: Loss) -> Iterator[str]:
    """validation: (x, y), checked."""
    if isinstance(examples, OwnBatches):
        return
    if examples.from_uint8:
        yield "x is uint8: scaled to 0..1, x / 255"
    if validation is not None and without_words(loss_function)[0] is cross_entropy:
        classes = np.unique(examples.y)
        if missing := len(np.setdiff1d(classes, validation[1])):
            yield f"{missing} of the {len(classes)} classes are missing in the validation: data.stratified_split(x, y) takes some of each"
