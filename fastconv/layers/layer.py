"""What a layer is: parameters, a forward pass, and the way back that it returns."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

import numpy as np

from fastconv import reflexes
from fastconv.geometry import array, described, flag
from fastconv.layers.bound import BoundPasses
from fastconv.layers.named import Named
from fastconv.layers.outermost import outermost_call, outermost_forward
from fastconv.layers.parameter import Buffer, Parameter, no_parameter_gradients
from fastconv.layers.recorded import Recorded
from fastconv.layers.summary import Summary, summarize

Step = Callable[[Any, bool], Any]  # a layer's own way back: dx, or None, from (dy, input_grad)


class _Changes:
    """How often an attribute of any layer was set: as long as it stays, shapes that a net has told stay true. A layer's `_changed` is the last time
    that one of its own was."""

    count = 0


changes = _Changes()
CHANGED = "backward: a parameter has changed since forward; call forward again"


class Backward(Protocol):
    """`dx = backward(dy)`; input_grad=False: None. param_grad=False: the gradients of the parameters stay what they are."""

    @overload
    def __call__(self, dy: np.ndarray, input_grad: Literal[True] = True, param_grad: bool = True) -> np.ndarray: ...
    @overload
    def __call__(self, dy: np.ndarray, input_grad: Literal[False], param_grad: bool = True) -> None: ...
    @overload
    def __call__(self, dy: np.ndarray, input_grad: bool = True, param_grad: bool = True) -> np.ndarray | None: ...


def once(backward: Step, y: np.ndarray, *parameters: Parameter | None) -> Backward:
    """The way back from the output y: usable once, and only while the parameters are what they were, else RuntimeError.

    dy must have the shape and dtype of y (ValueError, TypeError); nothing has changed when one of these is raised.
    """
    return _checked(backward, y, _versions(parameters))


def once_of(backward: Step, y: np.ndarray, *parameters: Parameter | None) -> Backward:
    """`once` of a layer that has these parameters and no others: its way back tells so, `backward.kept`, pairs of a parameter and its version."""
    checked = _checked(backward, y, kept := _versions(parameters))
    checked.kept = kept
    return checked


def once_through(steps: Sequence[tuple["Layer", Backward]], backward: Step, y: np.ndarray) -> Backward:
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


def _checked(backward: Step, y: Any, kept: list[tuple[Parameter, int]]) -> Any:
    pending = [backward]
    several = [(f"dy[{i}]", each.shape, each.dtype) for i, each in enumerate(y)] if isinstance(y, tuple) else None
    shape, dtype = (None, None) if several else (y.shape, y.dtype)

    def checked(dy=None, input_grad: bool = True, param_grad: bool = True):
        if not pending:
            raise RuntimeError("backward: used a second time; its saved arrays are gone, call forward again")
        for p, version in kept:
            if p.version != version:
                raise RuntimeError(CHANGED)
        if input_grad is not True and input_grad is not False:
            input_grad = flag("backward", "input_grad", input_grad)
        if several:
            dy = _all_fitting(dy, several)
        elif type(dy) is not np.ndarray or dy.dtype != dtype or dy.shape != shape:
            dy = fitting("dy", dy, shape, dtype)
        if param_grad is True:
            return pending.pop()(dy, input_grad)
        with no_parameter_gradients(not flag("backward", "param_grad", param_grad)):
            return pending.pop()(dy, input_grad)

    return checked


def fitting(name: str, dy, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dy is None:
        raise TypeError(f"backward: {name} is missing, the gradient of the loss with respect to the output: {reflexes.UNPACK}")
    if isinstance(dy, tuple) and len(dy) == 2 and isinstance(dy[0], float):
        raise TypeError(f"backward: {name} is a pair, the loss and its gradient; pass the second: {reflexes.UNPACK}")
    dy = array("backward", name, dy)
    if dy.shape != shape:
        hint = "" if dy.shape else f": if it is the loss, pass its gradient, which the loss function returns second: {reflexes.UNPACK}"
        raise ValueError(f"backward: {name}{dy.shape} does not fit the output {shape}{hint}")
    if dy.dtype != dtype:
        raise TypeError(f"backward: {name} has dtype {dy.dtype}, but the output was {dtype}: write {name}.astype(np.{dtype})")
    return dy


def _all_fitting(dys, outputs: list[tuple]) -> tuple[np.ndarray | None, ...]:
    """A gradient for each output, None for those on which the loss does not depend."""
    if not isinstance(dys, (tuple, list)) or len(dys) != len(outputs):
        raise TypeError(f"backward: dy must be a tuple of {len(outputs)} gradients, one for each output (None: it has none), got {described(dys)}")
    return tuple(None if dy is None else fitting(name, dy, shape, dtype) for dy, (name, shape, dtype) in zip(dys, outputs))


def only_layers(op: str, name: str, given: tuple) -> None:
    """TypeError, with the call to write, where an argument of `op(*name)` is no layer."""
    for i, layer in enumerate(given):
        if not isinstance(layer, Layer):
            hint = f": write {op}(*{name})" if isinstance(layer, (list, tuple)) else ""
            raise TypeError(f"{op}: argument {i} is not a Layer but a {type(layer).__name__}{hint}")


class Layer(Named, ABC):
    """`y = layer(x)` infers and keeps nothing; `y, backward = layer.forward(x)` also returns the way back.

    `dx = backward(dy, input_grad=True)` adds to the gradients of the parameters and returns the gradient of x (None if not
    asked for; param_grad=False leaves the parameters' alone). It works once. Parameters, buffers, streams and layers that are attributes, or in
    lists or dicts, are found by name.

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

    if TYPE_CHECKING:
        forward: Any  # as below; that of a Module is written with what its author likes
    else:

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

    @overload
    def __call__(self, x: np.ndarray) -> np.ndarray: ...
    @overload
    def __call__(self, x: Recorded) -> Recorded: ...
    def __call__(self, x):
        return self.recorded(x) if isinstance(x, Recorded) else self.forward(x, training=False)[0]

    def recorded(self, x: Recorded) -> Any:
        """What calling the layer in the `forward` of a `Module` gives: x with this layer noted as the next to run."""
        return x.through(self)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str):
            raise AttributeError(reflexes.answer("Layer", type(self).__name__, name))

    def __setattr__(self, name: str, value) -> None:
        """A layer whose options change binds its passes anew, and is counted. TypeError for an array in place of a Parameter or Buffer."""
        held = self.__dict__.get(name)
        if isinstance(held, (Parameter, Buffer)) and not (value is None or isinstance(value, (Parameter, Buffer))):
            raise TypeError(f"{type(self).__name__}: {name} is a {type(held).__name__}, got {described(value)}: write layer.{name}.value = ...")
        changes.count += 1
        self.__dict__["_changed"] = changes.count
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
        other.__dict__.pop("_replays", None)
        return other

    def inner(self, input_shape: tuple[int, ...]) -> Iterator[tuple[str, "Layer", tuple[int, ...]]]:
        """The layers inside that a forward pass runs, by name, each with its input's shape. Here: all see the layer's own input."""
        return ((name, child, input_shape) for name, child in self.named_children())

    def summary(self, input_shape: tuple[int, ...]) -> Summary:
        """Output shape, parameters, multiplications and activation bytes of every layer inside, without running any; print it."""
        return summarize(self, input_shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"

    def tree(self) -> str:
        """A repr of several lines, one for each layer inside."""
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)" if lines else f"{type(self).__name__}()"

    def describe(self) -> str:
        """The words between the parentheses of the repr."""
        return ", ".join(f"{name}={child!r}" for name, child in self.named_children())
