"""What training is given, (x, y) or batches of the caller's own, as the model and the loss take it."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from types import GeneratorType

import numpy as np

from fastconv.data.arrays import label_column, numbered, scaled, views
from fastconv.geometry import array, described
from fastconv.layers import Layer
from fastconv.losses import balanced_weights, cross_entropy
from fastconv.streams import Stream
from fastconv.train.arguments import Loss, check_pair, without_words

BATCHES = "a list of batches (x, y), an object that gives them each time it is gone through, or a function that returns such"
NOT_FOR_BATCHES = {"batch_size": 32, "shuffle": True, "shift": 0, "flip": 0, "noise": 0, "normalise": None, "transform": None}  # usual values


def as_taken(op: str, name: str, model: Layer, pair, loss_function: Loss, class_names: list[str] | None = None) -> tuple[object, list[str] | None]:
    """(x, y) as the model and the loss take them, and the names of the classes where y are texts; anything else as it is.

    x: channels last, a channel that is not told, gray images in rows, where the model takes them only so; uint8 stays. y: for cross_entropy texts,
    columns and one-hot rows become integers.
    """
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        return pair, None
    x, y = pair
    if not isinstance(x, np.ndarray) and hasattr(x, "__array__"):  # such as a tensor
        x = array(op, f"{name}: x", x)
    x = taken_images(model, x) if isinstance(x, np.ndarray) else x
    loss, _ = without_words(loss_function)
    if loss is not cross_entropy or isinstance(y, tuple):
        return (x, y), None
    y = array(op, f"{name}: y", y)
    if y.ndim == 2 and y.dtype.kind in "iu" and y.shape[1] == 1:
        return (x, y[:, 0]), None
    if y.ndim != 2 and y.dtype.kind not in "USOb":
        return (x, y), None
    texts = label_column(f"{op}: {name}", "y", y).dtype.kind == "U"
    y, names = numbered(f"{op}: {name}", "y", y, class_names)
    outputs = model.output_shape(x.shape) if isinstance(x, np.ndarray) and isinstance(model, Layer) else ()
    if texts and class_names is None and len(outputs) == 2 and outputs[1] != len(names):
        hint = "so which is which is not known: write data.encode_labels(y, class_names)[0]"
        raise ValueError(f"{op}: {name}: y holds {len(names)} different texts and the model has {outputs[1]} outputs, {hint}")
    return (x, y), names if texts else None


def taken_images(model: Layer, x: np.ndarray) -> np.ndarray:
    """The first of what x can mean that the model takes; uint8 as float64 where the model is."""
    if not isinstance(model, Layer):
        return x
    if any(p.value.dtype == np.float64 for p in model.parameters()[:1]):
        x = scaled(x, np.float64)
    for view in views(x):
        with suppress(ValueError):
            model.output_shape(view.shape)
            return view
    return x


def weighted(loss_function: Loss, class_weights, model: Layer, examples) -> Loss:
    """The loss to train with. class_weights: None, "balanced", or (K,) numbers. ValueError."""
    if class_weights is None:
        return loss_function
    loss, words = without_words(loss_function)
    if loss is not cross_entropy or "class_weights" in words:
        raise ValueError("fit: class_weights are for the loss cross_entropy, where it has none of its own")
    if isinstance(class_weights, str) and class_weights == "balanced":
        if are_batches(examples):
            raise ValueError(
                "fit: class_weights='balanced' needs (x, y); for batches write class_weights=losses.balanced_weights(y) of all their labels"
            )
        class_weights = balanced_weights(examples[1], model.output_shape(np.shape(examples[0]))[1])
    return partial(loss_function, class_weights=class_weights)


def are_batches(examples) -> bool:
    """Whether these are batches: neither (x, y) nor an array."""
    if isinstance(examples, (tuple, list)):
        return len(examples) > 0 and all(isinstance(each, (tuple, list)) and len(each) == 2 and hasattr(each[0], "shape") for each in examples)
    if isinstance(examples, (type, str, bytes, dict, set, frozenset)) or hasattr(examples, "__array__"):
        return False
    return callable(examples) or isinstance(examples, Iterable)


class OwnBatches:
    """Batches that the caller makes, in the place of `data.Batches`: each iteration is an epoch."""

    def __init__(self, given, model: Layer, loss_function: Loss, epochs: int):
        if isinstance(given, GeneratorType) and epochs > 1:
            raise ValueError(f"fit: {_used_up(given)}")
        self.given, self.model, self.loss_function = given, model, loss_function
        self.stream = Stream(0)  # nothing is drawn from it
        self.shape = (sum(len(x) for x, _ in given) if isinstance(given, (tuple, list)) else 0,)  # examples of an epoch; 0 where that is not known
        self.y = np.empty(0, np.int64)  # of the last batch

    def __len__(self) -> int:
        """Batches of an epoch; 0 where that is not known."""
        try:
            return len(self.given)
        except TypeError:
            return 0

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        source = self.given() if callable(self.given) and not isinstance(self.given, Iterable) else self.given
        if not isinstance(source, Iterable):
            raise TypeError(f"fit: examples must be {BATCHES}; the function returned {described(source)}")
        number = 0
        for number, pair in enumerate(source, 1):
            x, y = self._checked(f"batch {number}", pair)
            self.y = y
            yield x, y
        if not number:
            raise ValueError(f"fit: there is no batch in this epoch: {_used_up(self.given)}")

    def _checked(self, name: str, pair) -> tuple[np.ndarray, np.ndarray]:
        taken, _ = as_taken("fit", name, self.model, pair, self.loss_function)
        check_pair(self.model, name, taken, self.loss_function)
        return scaled(taken[0]), np.asarray(taken[1])

    def together(self) -> tuple[np.ndarray, np.ndarray]:
        """All batches of an epoch as one (x, y)."""
        x, y = zip(*self)
        return np.concatenate(x), np.concatenate(y)

    def __repr__(self) -> str:
        return f"batches of a {getattr(self.given, '__name__', type(self.given).__name__)}"


def _used_up(given) -> str:
    if not isinstance(given, Iterator):
        return "none came"
    return f"a {type(given).__name__} can be gone through once: pass the function that makes it, without calling it, or a list"


def own_batches(examples, model: Layer, loss_function: Loss, epochs: int, words: dict) -> OwnBatches:
    """Of what `fit` is given. ValueError for words that are for (x, y) alone."""
    unused = [name for name, usual in NOT_FOR_BATCHES.items() if not (words[name] is usual or (isinstance(usual, int) and words[name] in (usual,)))]
    if unused:
        raise ValueError(f"fit: {unused[0]} is for examples (x, y); batches of one's own are taken as they come, so change them where they are made")
    return OwnBatches(examples, model, loss_function, epochs)
