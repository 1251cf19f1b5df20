"""Small trainings, and how tests stop and compare them."""

import numpy as np

import fastconv as fc
from fastconv import data, layers, losses, optim, streams, train

WORDS = {"epochs": 4, "batch_size": 20, "accumulate": 2, "keep_best": True, "metrics": [train.metrics.confusion]}
WORDS |= {"shift": 1, "flip": 0.5, "noise": 0.1}


class Stop(Exception):
    pass


def from_call(number, action):
    """Cross entropy that does `action` to its result from call `number` on; `.calls` counts."""

    def loss(outputs, targets):
        loss.calls += 1
        value = losses.cross_entropy(outputs, targets)
        return value if loss.calls < number else action(*value)

    loss.calls = 0
    return loss


def stop(value, gradient):
    raise Stop


def assert_same_state(model, other):
    for (name, value), expected in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        np.testing.assert_array_equal(value, expected, err_msg=name)


def net():
    """Small, without dropout."""
    fc.seed(2)
    return layers.Sequential(layers.Conv2d(1, 8, 3), layers.ReLU(), layers.Flatten(), layers.Linear(8 * 36, 10))


def fitted(*given, **words):
    """A `net` after an epoch of `fit` over what is given, and its history without timings; the same batches each time."""
    model = net()
    fc.seed(7)
    words = {"epochs": 1, "batch_size": 16, "verbose": 0} | words
    history = train.fit(model, *given, **words)
    for record in history:
        del record["images_per_second"]
    return model, history


class Run:
    """Everything about a training that can be compared; made anew, with the seed of a new process, for each attempt."""

    def __init__(self, schedule="plateau"):
        fc.seed(5)
        block = layers.Residual(layers.Sequential(layers.Conv2d(8, 8, 3, padding=1), layers.BatchNorm2d(8)))
        body = layers.Conv2d(1, 8, 3), layers.BatchNorm2d(8), layers.ReLU(), block, layers.Dropout(0.3)
        self.model = layers.Sequential(*body, layers.Flatten(), layers.Linear(8 * 36, 10))
        self.optimizer = optim.Adam(self.model.parameters(), 1e-2, clip_norm=1.0)
        plateau = optim.Plateau(self.optimizer, patience=0, threshold=0.5), "plateau"
        self.schedule = plateau[0] if schedule == "plateau" else optim.Cosine(self.optimizer, 16, warmup=3, per="update")

    def fit(self, digits, **words):
        x, y = digits
        words = WORDS | {"optimizer": self.optimizer, "schedule": self.schedule, "normalise": data.Normalise.of(x)} | words
        self.history = train.fit(self.model, digits, validation=(x[:40], y[:40]), **words)
        return self

    def ends(self) -> dict:
        """The bits at the end: parameters, buffers, optimizer, schedule, streams, history without timings."""
        parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}
        found = {f"{part}.{name}": np.asarray(value) for part, state in parts.items() for name, value in state.items()}
        found |= {f"history.{i}.{name}": np.asarray(value) for i, record in enumerate(self.history) for name, value in record.items()}
        found |= {f"stream.{name}": np.array(stream.state(), np.uint64) for name, stream in self.model.named_streams()}
        found["stream.default"] = np.array(streams.default.state(), np.uint64)
        return {name: value for name, value in found.items() if not name.endswith("images_per_second")}
