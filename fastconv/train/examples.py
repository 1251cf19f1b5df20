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
    x, y = as_array(op, name, pair[0]), pair[1]
    x = taken_images(model, x) if isinstance(x, np.ndarray) else x
    y, texts = taken_labels(f"{op}: {name}", y, loss_function, class_names)
    if texts and class_names is None and (classes := _classes(model, x)) not in (None, len(texts)):
        hint = "so which is which is not known: write data.encode_labels(y, class_names)[0]"
        raise ValueError(f"{op}: {name}: y holds {len(texts)} different texts, and the model has {classes} outputs, {hint}")
    return (x, y), texts


def as_array(op: str, name: str, x):
    """A tensor as an array, anything else as it is."""
    return array(op, f"{name}: x", x) if not isinstance(x, np.ndarray) and hasattr(x, "__array__") else x


def taken_images(model: Layer, x: np.ndarray) -> np.ndarray:
    """The first of what x can mean that the model takes; uint8 as float64 where the model is."""
    x = scaled(x, np.float64) if x.dtype == np.uint8 and _dtype(model) == np.float64 else x
    return list(views(x))[_meaning(model, x)]


def _meaning(model: Layer, x: np.ndarray) -> int:
    """The number of the first of `views` that the model takes."""
    several = list(views(x))
    if len(several) > 1 and isinstance(model, Layer):  # who has no choice need not ask: that takes a deep net a millisecond
        for number, view in enumerate(several):
            with suppress(Exception):  # a layer of one's own may raise anything for what it does not take
                model.output_shape(view.shape)
                return number
    return 0


def _dtype(model: Layer) -> np.dtype:
    parameters = model.parameters() if isinstance(model, Layer) else []
    return parameters[0].value.dtype if parameters else np.dtype(np.float32)


def _classes(model: Layer, x) -> int | None:
    """How many the model tells apart; None where it does not take x."""
    try:
        return model.output_shape(np.shape(x))[1]
    except (AttributeError, IndexError, ValueError):
        return None


def taken_labels(where: str, y, loss_function: Loss, class_names: list[str] | None = None) -> tuple[object, list[str] | None]:
    """For cross_entropy labels of any form as integers, and where they are texts the names of their classes; other targets as they are."""
    if without_words(loss_function)[0] is not cross_entropy or isinstance(y, tuple):
        return y, None
    y = array(where, "y", y)
    if y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind in "iu":  # among which may be one to ignore
        return y[:, 0], None
    if y.ndim != 2 and y.dtype.kind not in "USOb":
        return y, None
    labels = label_column(where, "y", y)
    return numbered(where, "y", labels, class_names) if labels.dtype.kind == "U" else (labels, None)


def as_examples(model: Layer, examples, loss_function: Loss, epochs: int, words: dict) -> tuple:
    """What `fit` is given, checked: (x, y), x's dtype as the model gets it and the names of the classes; or OwnBatches, None, None.

    words: of `Batches`, which are for (x, y) alone.
    """
    if not are_batches(examples):
        examples, class_names = as_taken("fit", "examples", model, examples, loss_function)
        return examples, check_pair(model, "examples", examples, loss_function), class_names
    for name, usual in NOT_FOR_BATCHES.items():
        if not (isinstance(words[name], (int, float, type(None))) and words[name] == usual):
            raise ValueError(f"fit: {name} is for examples (x, y); batches of one's own are taken as they come, so change them where they are made")
    return OwnBatches(examples, model, loss_function, epochs), None, None


def as_validation(model: Layer, validation, loss_function: Loss, dtype: np.dtype | None, class_names: list[str] | None) -> tuple:
    """(x, y) to validate with, also of batches. dtype, class_names: those of the examples."""
    if are_batches(validation):
        x, y = zip(*OwnBatches(validation, model, loss_function, 1, "validation: batch"))
        validation = np.concatenate(x), np.concatenate(y)
    validation, _ = as_taken("fit", "validation", model, validation, loss_function, class_names)
    check_pair(model, "validation", validation, loss_function, dtype)
    return validation


def weighted(loss_function: Loss, class_weights, model: Layer, examples) -> Loss:
    """The loss to train with. class_weights: None, "balanced", or (K,) numbers. ValueError."""
    if class_weights is None:
        return loss_function
    loss, words = without_words(loss_function)
    if loss is not cross_entropy or "class_weights" in words:
        raise ValueError("fit: class_weights are for the loss cross_entropy, where it has none of its own")
    if isinstance(class_weights, str) and class_weights == "balanced":
        if isinstance(examples, OwnBatches):
            raise ValueError("fit: class_weights='balanced' needs (x, y); for batches write losses.balanced_weights(y), y: all their labels")
        class_weights = balanced_weights(examples[1], _classes(model, examples[0]))
    return partial(loss_function, class_weights=class_weights)


def are_batches(examples) -> bool:
    """Whether these are batches: neither (x, y) nor an array."""
    if isinstance(examples, (tuple, list)):
        return len(examples) > 0 and all(isinstance(each, (tuple, list)) and len(each) > 0 and hasattr(each[0], "shape") for each in examples)
    if isinstance(examples, (type, str, bytes, dict, set, frozenset)) or hasattr(examples, "__array__"):
        return False
    return callable(examples) or isinstance(examples, Iterable)


class OwnBatches:
    """Batches that the caller makes, in the place of `data.Batches`: each iteration is an epoch."""

    from_uint8 = False

    def __init__(self, given, model: Layer, loss_function: Loss, epochs: int, name: str = "batch"):
        if isinstance(given, GeneratorType) and epochs > 1:
            raise ValueError(f"fit: {_used_up(given)}")
        self.given, self.model, self.loss_function, self.dtype = given, model, loss_function, _dtype(model)
        self.name = name  # of one, in messages
        self.meanings: dict[tuple, int] = {}  # the number of the view that the model takes, by the form of images
        self.stream = Stream(0)  # nothing is drawn from it
        is_listed = isinstance(given, (tuple, list))
        self.shape = (sum(len(each[0]) for each in given) if is_listed else 0,)  # examples of an epoch; 0 where that is not known
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
            x, y = self._checked(f"{self.name} {number}", pair)
            self.y = y
            yield x, y
        if not number:
            raise ValueError(f"fit: there is no batch in this epoch: {_used_up(self.given)}")

    def _checked(self, name: str, pair) -> tuple[np.ndarray, np.ndarray]:
        """The model is asked what it takes only for images of a new shape: that can take as long as a layer."""
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            check_pair(self.model, name, pair, self.loss_function)
        x = np.asarray(as_array("fit", name, pair[0]))
        y, texts = taken_labels(f"fit: {name}", pair[1], self.loss_function)
        if texts:
            raise TypeError(f"fit: {name}: y must be numbers, got texts: write data.encode_labels(y, class_names)[0], class_names of all classes")
        form = x.shape[1:], x.dtype
        if form not in self.meanings:
            check_pair(self.model, name, (taken_images(self.model, x), y), self.loss_function)
            self.meanings[form] = _meaning(self.model, x)
        return list(views(scaled(x, self.dtype)))[self.meanings[form]], np.asarray(y)

    def __repr__(self) -> str:
        return f"batches of a {getattr(self.given, '__name__', type(self.given).__name__)}"


def _used_up(given) -> str:
    if not isinstance(given, Iterator):
        return "none came"
    return f"a {type(given).__name__} can be gone through once: pass the function that makes it, without calling it, or a list"
