"""What a layer is: parameters, a forward pass, and the way back that it returns."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from fastconv.geometry import array, flag
from fastconv.layers.bound import BoundPasses
from fastconv.layers.outermost import outermost_call, outermost_forward
from fastconv.layers.parameter import Buffer, Parameter
from fastconv.layers.summary import Summary, summarize
from fastconv.streams import Stream

Backward = Callable[..., np.ndarray | None]


def once(backward: Backward, y: np.ndarray, *parameters: Parameter | None) -> Backward:
    """The way back from the output y: usable once, and only while the parameters are what they were, else RuntimeError.

    dy must have the shape and dtype of y (ValueError, TypeError); nothing has changed when one of these is raised.
    """
    return _checked(backward, y, _versions(parameters))


def once_of(backward: Backward, y: np.ndarray, *parameters: Parameter | None) -> Backward:
    """`once` of a layer that has these parameters and no others: its way back tells so, `backward.kept`, pairs of a parameter and its version."""
    checked = _checked(backward, y, kept := _versions(parameters))
    checked.kept = kept
    return checked


def once_through(steps: list[tuple["Layer", Backward]], backward: Backward, y: np.ndarray) -> Backward:
    """`once` for a way back through those of other layers: it depends on what they depend on."""
    kept: list[tuple[Parameter, int]] = []
    for layer, step in steps:
        inner = getattr(step, "kept", None)
        kept += [(p, p.version) for p in layer.parameters()] if inner is None else inner
    checked = _checked(backward, y, kept)
    checked.kept = kept
    return checked


def _versions(parameters: tuple[Parameter | None, ...]) -> list[tuple[Parameter, int]]:
    return [(p, p.version) for p in parameters if p is not None] if parameters else []


def _checked(backward: Backward, y: np.ndarray, kept: list[tuple[Parameter, int]]) -> Backward:
    pending = [backward]
    shape, dtype = y.shape, y.dtype

    def checked(dy: np.ndarray, input_grad: bool = True) -> np.ndarray | None:
        if not pending:
            raise RuntimeError("backward: used a second time; its saved arrays are gone, call forward again")
        for p, version in kept:
            if p.version != version:
                raise RuntimeError("backward: a parameter has changed since forward; call forward again")
        if input_grad is not True and input_grad is not False:
            input_grad = flag("backward", "input_grad", input_grad)
        if type(dy) is not np.ndarray:
            dy = array("backward", "dy", dy)
        if dy.dtype != dtype:
            raise TypeError(f"backward: dy has dtype {dy.dtype}, but the output was {dtype}: write dy.astype(np.{dtype})")
        if dy.shape != shape:
            raise ValueError(f"backward: dy{dy.shape} does not fit the output {shape}")
        return pending.pop()(dy, input_grad)

    return checked


def only_layers(op: str, name: str, given: tuple) -> None:
    """TypeError, with the call to write, where an argument of `op(*name)` is no layer."""
    for i, layer in enumerate(given):
        if not isinstance(layer, Layer):
            hint = f": write {op}(*{name})" if isinstance(layer, (list, tuple)) else ""
            raise TypeError(f"{op}: argument {i} is not a Layer but a {type(layer).__name__}{hint}")


class Layer(ABC):
    """`y = layer(x)` infers and keeps nothing; `y, backward = layer.forward(x)` also returns the way back.

    `dx = backward(dy, input_grad=True)` adds to the gradients of the parameters and returns the gradient of x (None if not
    asked for). It works once. Parameters, buffers, streams and layers that are attributes (or in lists) are found by name.

    Nothing is copied for the way back: layers keep their input or output, so leave x as it is until then. The output of a training pass is
    read-only for that reason (`y.copy()` may be changed), that of an inference is the caller's, sharing no memory with x; between the layers of
    a net both may be the same memory. A parameter that was changed meanwhile is found out: RuntimeError. dx may be dy's memory.

    A layer with a skip connection, y = x + body(x), is written so:

    >>> import numpy as np
    >>> from fastconv import layers
    >>> class Skip(layers.Layer):
    ...     def __init__(self, body):
    ...         self.body = body
    ...
    ...     def forward(self, x, training=True):
    ...         y, body_backward = self.body.forward(x, training)
    ...
    ...         def backward(dy, input_grad=True):
    ...             dx = body_backward(dy, input_grad)
    ...             return dx + dy if input_grad else None
    ...
    ...         return x + y, layers.once(backward, y)
    ...
    ...     def output_shape(self, input_shape):
    ...         return self.body.output_shape(input_shape)
    >>> block = Skip(layers.Conv2d(4, 4, 3, padding=1))
    >>> y, backward = block.forward(np.ones((2, 4, 8, 8), np.float32))
    >>> backward(np.ones_like(y)).shape
    (2, 4, 8, 8)
    >>> sorted(block.state_dict())
    ['body.bias', 'body.weight']
    """

    def __init_subclass__(cls, **words):
        super().__init_subclass__(**words)
        for name, safe in (("forward", outermost_forward), ("__call__", outermost_call)):
            if name in vars(cls):
                setattr(cls, name, safe(vars(cls)[name]))

    @abstractmethod
    def forward(self, x: np.ndarray, training: bool = True) -> tuple[np.ndarray, Backward]:
        """The output and the way back. training=False: no dropout, running statistics; the way back is of that same function."""

    @abstractmethod
    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the output for an input of this shape, without computing it; ValueError where forward would raise."""

    def algorithms(self, input_shape: tuple[int, ...]) -> str:
        """What runs the passes for inputs of this shape, by name; "" where there is no choice. Errors as `output_shape`."""
        self.output_shape(input_shape)
        return ""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.forward(x, training=False)[0]

    def __setattr__(self, name: str, value) -> None:
        """A layer whose options change binds its passes anew."""
        passes = self.__dict__.get("_passes")
        if isinstance(passes, BoundPasses):
            passes.clear()
        super().__setattr__(name, value)

    def __copy__(self) -> "Layer":
        """A copy with the same parameters, and with options of its own: it binds its own passes."""
        other = type(self).__new__(type(self))
        other.__dict__ |= self.__dict__
        if isinstance(self.__dict__.get("_passes"), BoundPasses):
            other.__dict__["_passes"] = BoundPasses()
        return other

    def children(self) -> Iterator[tuple[str, "Layer"]]:
        """The layers inside this one, by name."""
        return self._members(Layer)

    def inner(self, input_shape: tuple[int, ...]) -> Iterator[tuple[str, "Layer", tuple[int, ...]]]:
        """The layers inside that a forward pass runs, by name, each with its input's shape. Here: all see the layer's own input."""
        return ((name, child, input_shape) for name, child in self.children())

    def summary(self, input_shape: tuple[int, ...]) -> Summary:
        """Output shape, parameters, multiplications and activation bytes of every layer inside, without running any; print it."""
        return summarize(self, input_shape)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        return self._named(Parameter)

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        return self._named(Buffer)

    def named_streams(self) -> Iterator[tuple[str, Stream]]:
        """The random streams inside, whose states belong in a checkpoint."""
        return self._named(Stream)

    def parameters(self) -> list[Parameter]:
        """Each parameter once, in the order of their names' first appearance."""
        return list(dict.fromkeys(p for _, p in self.named_parameters()))

    @property
    def frozen(self) -> bool:
        """Whether all parameters and buffers inside are frozen; assigning it freezes or frees them all.

        Frozen, a parameter takes no gradient, and a BatchNorm normalizes with its running statistics in training, too, and leaves them. Dropout
        drops all the same. Without anything inside that could move, True.
        """
        return all(entry.frozen for _, entry in self._state())

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        frozen = flag(type(self).__name__, "frozen", frozen)
        for _, entry in self._state():
            entry.frozen = frozen

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers, by name (PyTorch's names and shapes)."""
        return {name: entry.value.copy(order="C") for name, entry in self._state()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Take over all values, or none: what is missing, unexpected, of a wrong shape or dtype is listed in one ValueError."""
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict: state must be a dict of arrays, as fastconv.load(path) returns it, got {type(state).__name__}")
        own = dict(self._state())
        wrong = [f"missing {name}" for name in own if name not in state]
        wrong += [f"unexpected {name}" for name in state if name not in own]
        # Each is read once: some files are read as they are asked.
        given = {name: array("load_state_dict", name, state[name]).copy() for name in own if name in state}
        for name, new in given.items():
            mine = own[name].value
            if new.shape != mine.shape:
                wrong.append(f"{name} has the shape {new.shape}, the model's is {mine.shape}")
            elif new.dtype != mine.dtype:
                wrong.append(f"{name} is {new.dtype}, the model's is {mine.dtype}")
        if wrong:
            raise ValueError(f"load_state_dict: nothing was loaded: {'; '.join(sorted(wrong))}")
        for name, entry in own.items():
            entry.value = given[name]

    def _state(self) -> Iterator[tuple[str, Parameter | Buffer]]:
        yield from self.named_parameters()
        yield from self.named_buffers()

    def _named(self, kind: type) -> Iterator:
        yield from self._members(kind)
        for prefix, child in self.children():
            for name, entry in child._named(kind):
                yield f"{prefix}.{name}", entry

    def _members(self, kind: type) -> Iterator:
        for name, value in vars(self).items():
            if isinstance(value, kind):
                yield name, value
            elif isinstance(value, (list, tuple)):
                yield from ((f"{name}.{i}", entry) for i, entry in enumerate(value) if isinstance(entry, kind))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"

    def describe(self) -> str:
        """The words between the parentheses of the repr."""
        return ", ".join(f"{name}={child!r}" for name, child in self.children())
