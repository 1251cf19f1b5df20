"""Models as classes: `forward(self, x)` calls layers, as in PyTorch; the way back is recorded."""

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastconv import streams
from fastconv.geometry import described
from fastconv.layers.bound import BoundPasses
from fastconv.layers.joins import Join
from fastconv.layers.layer import Backward, Layer, changes
from fastconv.layers.recorded import Record, Recorded, under_way
from fastconv.layers.tape import Run, inferred, planned, trained
from fastconv.layers.traced import Traced
from fastconv.ops.operands import FLOATS, floats, shape_tuple
from fastconv.streams import Stream


class Trace(NamedTuple):
    """A pass as it was recorded, which has not run yet."""

    record: Record
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[int, ...]  # their numbers
    single: bool  # one output, which is no tuple
    runs: list[Run]


class Module(Layer):
    """A model that is written as in PyTorch: a subclass assigns layers in `__init__` and calls them in `forward(self, x)`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> from fastconv import layers, losses, optim, train
    >>> from fastconv import functional as F
    >>> class Net(fc.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.conv = layers.Conv2d(1, 4, 3, padding=1)
    ...         self.fc = layers.Linear(4 * 4 * 4, 10)
    ...
    ...     def forward(self, x):
    ...         x = F.max_pool2d(F.relu(self.conv(x)), 2)
    ...         return self.fc(x.flatten(1))
    >>> model = Net()
    >>> list(model.state_dict())
    ['conv.weight', 'conv.bias', 'fc.weight', 'fc.bias']
    >>> x, y = np.zeros((2, 1, 8, 8), np.float32), np.array([3, 7])
    >>> model(x).shape  # infers
    (2, 10)
    >>> value = train.step(model, x, y, losses.cross_entropy, optim.SGD(model.parameters(), lr=0.1))

    From outside it is a `Layer`: `y = model(x)` infers, `y, backward = model.forward(x)` trains. What the subclass writes as `forward` is run by
    both, once for each pass, with traced values instead of arrays: it says which layers see what, and they run when it has returned. So it may
    branch and loop over anything but the numbers in x: `self.training`, shapes, lists of layers. It needs no backward.

    Traced values have `x.shape`, `x.size(0)`, `+`, `-`, `*`, `x.flatten(1)`, `x.view(-1, 64)`, `x.mean((2, 3))`; all else is layers and
    `fastconv.functional`. A value that is used twice, and a layer that is called twice, get the sum of their gradients. What is no layer yet is
    written as a `Layer`, with a backward of its own.

    Several inputs: `model(a, b)`, `model.forward((a, b))`, and backward returns a tuple. Several outputs: forward returns a tuple, and backward takes
    one. Layers that would run as one in a `Sequential` do so here, to the same bits.
    """

    _trace: Callable[..., Any] | None = None  # forward as the subclass has written it
    _most = 1.0  # inputs that it takes

    def __init_subclass__(cls, **words):
        written = vars(cls).get("forward")
        super().__init_subclass__(**words)
        if written is not None:
            cls._trace, cls._most = written, _inputs(written)
            cls.forward = _both(written)  # type: ignore[method-assign]

    @property
    def training(self) -> bool:
        """Whether the pass under way is one of training; False outside of forward."""
        return under_way.record is not None and under_way.record.training

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (Layer, list, tuple, dict)) and hasattr(Module, name) and name != "__dict__":
            raise AttributeError(f"{type(self).__name__}: every Module has a {name!r} of its own: give the layer another name")
        super().__setattr__(name, value)

    def __call__(self, *inputs: Any, **words: Any) -> Any:
        """The output, or a tuple of them; words go to forward as they are."""
        record, inputs, outputs, single, runs = self._recorded(inputs, False, words)
        ys = inferred(runs, record, inputs, outputs)
        return ys[0] if single else tuple(ys)

    def recorded(self, *inputs: Any, **words: Any) -> Any:
        return self._written()(self, *inputs, **words)

    if not TYPE_CHECKING:

        def forward(self, x: Any, training: bool = True, *, trace: "Trace | None" = None) -> tuple[Any, Backward]:
            """(y, backward), as of any `Layer`; what a subclass writes as forward is what it runs, unless that has been done: `trace`."""
            record, inputs, outputs, single, runs = trace or self._traced(x, training)
            return trained(runs, record, inputs, outputs, single)

    def _traced(self, x: Any, training: bool = True) -> "Trace":
        """What forward does with x, an array or a tuple of them."""
        return self._recorded(x if isinstance(x, tuple) else (x,), training, {})

    def _recorded(self, given: tuple, training: bool, words: dict) -> "Trace":
        op = type(self).__name__
        inputs = tuple(x if type(x) is np.ndarray and x.dtype in FLOATS else floats(op, x=x)[0] for x in given)
        record, outputs, single = self.record([x.shape for x in inputs], training, words)
        key = tuple(record.nodes), outputs
        return Trace(record, inputs, outputs, single, self._kept().of(key, lambda: planned(record.nodes, record.inputs, outputs)))

    def _kept(self) -> BoundPasses:
        """Plans by what was recorded, and shapes by those of the inputs; there also where a subclass does not call `super().__init__()`."""
        kept = self.__dict__.get("_passes")
        if kept is None:
            kept = self.__dict__["_passes"] = BoundPasses()
        return kept

    def record(self, shapes: list[tuple[int, ...]], training: bool, words: dict) -> tuple[Record, tuple[int, ...], bool]:
        """What forward does with inputs of these shapes: the record, the numbers of its outputs, and whether that is one that is no tuple."""
        op, written = type(self).__name__, self._written()
        if len(shapes) > self._most:
            raise TypeError(f"{op}: forward takes {self._most:g} input{'s' * (self._most > 1)}, got a tuple of {len(shapes)}: unpack it")
        known = "shapes", changes.count, *shapes
        record, before = Record(self._name_of, list(shapes), training, self._kept().get(known, ([], []))), under_way.record
        under_way.record = record
        try:
            result = written(self, *[Traced(record, i) for i in range(len(shapes))], **words)
        finally:
            under_way.record = before
        outputs = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        for y in outputs or (None,):
            if not isinstance(y, Traced) or y.record is not record:
                wanted = "must return what its layers gave, a traced value or a tuple of them"
                raise TypeError(f"{op}.forward: {wanted}, got {described(y)}: no way leads back from anything else")
        if len(record.shapes) > len(shapes) and known not in self._kept():
            self._kept().keep(known, (record.nodes, record.shapes))
        return record, tuple(y.number for y in outputs), outputs[0] is result

    def _written(self) -> Callable[..., Any]:
        if type(self)._trace is None:
            name = type(self).__name__
            raise TypeError(f"{name}: a Module needs a forward: write def forward(self, x): return self.layer(x) in class {name}")
        return type(self)._trace

    def path_of(self, layer: Any) -> str:
        """The name of a layer inside, "layer1.0.conv2"; "F" for what is none, such as those of `fastconv.functional`."""
        return next((name for name, inside in self.named_modules() if inside is layer), "F")

    def _name_of(self, layer: Any) -> str:
        path = self.path_of(getattr(layer, "norm", layer))
        return f"{type(self).__name__}.{'forward' if path == 'F' else path}"

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """For an input of this shape, or a tuple of them; a tuple of shapes where there are several outputs."""
        record, outputs, single = self.record(self._shapes(input_shape), False, {})
        shapes = tuple(map(record.shape, outputs))
        return shapes[0] if single else shapes

    def inner(self, input_shape: tuple[int, ...]) -> Iterator[tuple[str, Layer, tuple[int, ...]]]:
        """Each layer as often as forward calls it; "F" are those of `fastconv.functional`."""
        record, _, _ = self.record(self._shapes(input_shape), False, {})
        record.shape(record.inputs + len(record.nodes) - 1)  # which tells what does not fit
        for layer, taken in record.nodes:
            if isinstance(layer, Layer):
                yield self.path_of(layer), layer, record.shape(taken[0])

    def values(self, *inputs: Any) -> Iterator[tuple[str, Any, np.ndarray]]:
        """What each layer gives in an inference: its name ("F" as in `inner`), the layer, and the array, in the order in which forward calls them."""
        record, inputs, _, _, _ = self._recorded(inputs, False, {})
        found = dict(enumerate(inputs))
        for given, (layer, taken) in enumerate(record.nodes, record.inputs):
            run = Run(layer, {}, tuple(range(len(taken))), len(taken), joins=isinstance(layer, Join))
            (found[given],) = inferred([run], record, tuple(found[i] for i in taken), (len(taken),))
            yield self.path_of(layer), layer, found[given]

    def _shapes(self, given: Any) -> list[tuple[int, ...]]:
        op = type(self).__name__
        several = isinstance(given, tuple) and given and isinstance(given[0], tuple)
        return [shape_tuple(op, "input_shape", shape) for shape in (given if several else (given,))]

    def _named(self, kind: type | tuple[type, ...]) -> Iterator:
        yield from super()._named(kind)
        if kind is Stream:
            yield "default", streams.default  # which `functional.dropout` draws from

    def __repr__(self) -> str:
        return self.tree()


def _both(written: Callable[..., Any]) -> Callable[..., Any]:
    """forward as it is called: with traced values by a forward (`super().forward(x)`), with arrays by everybody else."""

    @wraps(written)
    def forward(self, x, *more, **words):
        return written(self, x, *more, **words) if isinstance(x, Recorded) else Module.forward(self, x, *more, **words)

    return forward


def _inputs(written: Callable[..., Any]) -> float:
    """How many arguments forward takes by position."""
    kinds = [parameter.kind for parameter in inspect.signature(written).parameters.values()][1:]
    by_position = sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)
    return float("inf") if inspect.Parameter.VAR_POSITIONAL in kinds else by_position
