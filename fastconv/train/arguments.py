"""What training is told, checked before anything is trained."""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from fastconv.data.arrays import images_or_floats
from fastconv.geometry import array, described, entries, function, instance, shown
from fastconv.layers import Layer
from fastconv.losses import bce_with_logits, class_labels, cross_entropy, huber, mse
from fastconv.optim import SGD, Adam, AdamW, Optimizer, RMSprop, Schedule

Loss = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]
LOSSES: dict[str, Loss] = {loss.__name__: loss for loss in (cross_entropy, mse, huber, bce_with_logits)}
LOSS = f"a function (outputs, targets) -> (value, d_outputs) such as losses.cross_entropy, or one of {', '.join(map(repr, LOSSES))}"
OPTIMIZERS: dict[str, Callable[[list], Optimizer]] = {  # with the rates that Keras gives them
    "sgd": partial(SGD, lr=0.01), "adam": partial(Adam, lr=1e-3), "adamw": partial(AdamW, lr=1e-3), "rmsprop": partial(RMSprop, lr=1e-3),
}  # fmt: skip
OPTIMIZER = "an Optimizer such as optim.Adam(model.parameters())"


def as_loss(op: str, given) -> Loss:
    """A loss, also by its name; TypeError, ValueError for what is none."""
    if isinstance(given, str):
        return _named(op, "loss_function", given, LOSSES, LOSS)
    function(op, "loss_function", given, LOSS)
    return given


def as_optimizer(op: str, given, model: Layer) -> Optimizer:
    """An optimizer, also by its name: of all parameters, at its usual rate."""
    wanted = f"{OPTIMIZER}, or one of {', '.join(map(repr, OPTIMIZERS))}"
    if isinstance(given, str):
        return _named(op, "optimizer", given.lower(), OPTIMIZERS, wanted)(model.parameters())
    instance(op, "optimizer", given, Optimizer, wanted)
    return given


def _named(op: str, name: str, given: str, known: dict, wanted: str):
    if given not in known:
        raise ValueError(f"{op}: {name} must be {wanted}, got {shown(given)}")
    return known[given]


def either(op: str, name: str, given, other: str, synonym, usual=None):
    """What is given under one of two names."""
    if synonym is not None and given is not usual:
        raise ValueError(f"{op}: {other} is {name} by another name: leave one of them out")
    return given if synonym is None else synonym


def as_pair(op: str, examples, y) -> tuple:
    """(x, y), also of x and y as two arguments."""
    if y is None:
        return examples
    if isinstance(examples, tuple):
        raise TypeError(f"{op}: examples is a pair already, and y is given too: write {op}(model, (x, y)) or {op}(model, x, y)")
    return examples, y


def check_model(op: str, model: Layer) -> None:
    """TypeError for what is no layer."""
    instance(op, "model", model, Layer, "a Layer")


def check_pair(model: Layer, name: str, pair, loss_function, dtype: np.dtype | None = None, op: str = "fit") -> np.dtype:
    """(x, y) of one length, images that the model takes, of this dtype or uint8, and targets that the loss takes. Returns the dtype of x."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"{op}: {name} must be a pair (x, y), got {described(pair)}")
    x, y = (array(f"{op}: {name}", part, given).shape for part, given in zip("xy", pair))
    if not x or not y or x[0] != y[0] or not x[0]:
        raise ValueError(f"{op}: x and y of {name} must have the same length N >= 1, got x{x}, y{y}")
    images = images_or_floats(f"{op}: {name}", pair[0])
    found = np.dtype(np.float32) if images.dtype == np.uint8 else images.dtype
    if dtype not in (None, found):
        raise TypeError(f"{op}: {name}: x is {found}, but that of examples is {dtype}: write x.astype(np.{dtype})")
    try:
        outputs = model.output_shape(x)
    except ValueError as error:
        raise ValueError(f"{op}: {name}: {error}") from None
    loss_function, words = without_words(loss_function)
    if loss_function is cross_entropy:
        class_labels(f"{op}: {name}", outputs, pair[1], words.get("ignore_index"))
    elif loss_function in (mse, huber, bce_with_logits) and y != outputs:
        raise ValueError(f"{op}: {name}: y{y} must have the shape of the model's outputs{outputs} for {loss_function.__name__}")
    return found


def without_words(loss_function: Loss) -> tuple[Loss, dict]:
    """The function below `functools.partial`, and the words that were put on it."""
    words: dict = {}
    while isinstance(loss_function, partial):
        words, loss_function = loss_function.keywords | words, loss_function.func
    return loss_function, words


def functions(name: str, given, wanted: str, kind: type | None = None) -> tuple:
    """Callbacks or metrics as a tuple: functions, or instances of `kind`."""
    if isinstance(given, str) or not isinstance(given, Iterable) or getattr(given, "ndim", 1) == 0:
        hint = f"{given.__name__}: write {name}=[{given.__name__}]" if hasattr(given, "__name__") else repr(given)
        hint = f"one {type(given).__name__}: write {name}=[{type(given).__name__}(...)]" if kind and isinstance(given, kind) else hint
        raise TypeError(f"fit: {name} must be a list of {wanted}, got {hint}")
    given = tuple(entries(given))
    for entry in given:
        if kind is None or not isinstance(entry, kind):
            function("fit", name, entry, wanted)
    return given


def metric_functions(given) -> tuple[Callable, ...]:
    """Metrics as a tuple; their names are keys of the history."""
    metrics = functions("metrics", given, "functions such as train.metrics.top_k(3); loss and accuracy are there without")
    names = ["loss"]
    for metric in metrics:
        if not hasattr(metric, "__name__"):
            raise TypeError(f"fit: metrics must be functions, whose names are those in the history, got {metric!r}")
        if metric.__name__ in names:
            raise ValueError(f"fit: the history would have two {metric.__name__!r}: give the metric another __name__")
        names.append(metric.__name__)
    return metrics


def check_owner(model: Layer, optimizer: Optimizer, op: str = "fit") -> None:
    """The optimizer holds all that is to be trained, and nothing else is trained by it."""
    named = dict(model.named_parameters())
    missing = [name for name, p in named.items() if not p.frozen and p not in optimizer.counts]
    own = set(named.values())
    foreign = [p for p in optimizer.parameters if p not in own and not p.frozen]
    if all(p.frozen for p in own):
        raise ValueError(f"{op}: nothing would be trained: all {len(own)} parameters of the model are frozen")
    if missing or foreign:
        lacks = [f"{len(missing)} of the model's {len(named)} parameters are missing, {missing[0]} first"] if missing else []
        holds = [f"{len(foreign)} are not the model's, {foreign[0]!r} first"] if foreign else []
        what = "; freeze (parameter.frozen = True) what is not to be trained"
        raise ValueError(f"{op}: optimizer must hold the model's parameters: {'; '.join(lacks + holds)}: make it of model.parameters(){what}")


def check_length(schedule: Schedule, epochs: int, updates: int) -> None:
    """epochs, updates: what is left of the run, 0 where that is not known. The schedule must end with it."""
    left = {"epoch": epochs, "update": updates}
    total = max(schedule.steps + left[schedule.per], schedule.shortest)
    if schedule.length in (None, total) or not left[schedule.per]:
        return
    name, there = type(schedule).__name__, schedule.length - schedule.steps
    other = "update" if schedule.per == "epoch" else "epoch"
    hint = f", or per={other!r} and total_steps={max(left[other], schedule.shortest)}" if left[other] and not schedule.steps else ""
    raise ValueError(
        f"fit: schedule {name} has {there} {schedule.per}s to go (total_steps={schedule.length}), the run has {left[schedule.per]}: write "
        f"total_steps={total}{hint}"
    )
