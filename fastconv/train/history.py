"""The names in a history: epoch, then loss, accuracy of training, val_ of the images to validate with, test_ of those to test with, and rate."""

import re

HISTORY = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "rate")  # the same for the same seed
TEST = ("test_loss", "test_accuracy")


def columns(history: list[dict]) -> tuple[str, ...]:
    """What history.csv holds of it; the test only where it was looked at."""
    return HISTORY + tuple(name for name in TEST if any(name in record for record in history))


def renamed(record: dict) -> dict:
    """A record that an older run wrote, with validation_loss and lr, under the names of today."""
    return {"rate" if name == "lr" else re.sub("^validation_", "val_", name): value for name, value in record.items()}
