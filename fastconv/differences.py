"""Is a backward pass right? Central differences tell, in float64, element by element."""

import copy
from collections.abc import Callable

import numpy as np

from fastconv.geometry import LARGEST, array, flag, integer
from fastconv.layers import Layer, Module

STEP = 1e-5  # of float64 inputs near 1: the error of a difference, about STEP^2 + u / STEP, is near its least
TOLERANCE = 1e-6


class GradientError(ArithmeticError):
    """A backward pass and central differences disagree; the message names each array that is off, its worst element, and by how much."""


def gradcheck(
    layer_or_function: Layer | Callable, inputs: np.ndarray | tuple[np.ndarray, ...], *, training: bool = True, elements: int | None = 200
) -> None:  # fmt: skip
    """Compare a backward pass with central differences of the forward pass; returns None if they agree, else raises GradientError.

    For elements v of each input and parameter, dL/dv as backward gives it must be (L(v + h) - L(v - h)) / 2h, where L = sum(y * dy) with a fixed
    random dy: within 1e-6 of the largest that is compared of the same array.

    layer_or_function: a `Layer`, of which a float64 copy is checked (`training` is what its forward is called with; random streams start
        anew for each pass, so that dropout draws the same mask; its own parameters, gradients and statistics stay as they are), or a function
        f(*inputs) -> (y, backward), where backward(dy) returns a gradient per input, or, as losses are, f(*inputs) -> (value, gradient).
    inputs: an array, or a tuple of them for a function or `Module` of several; they are taken as float64. Keep them off kinks, ties in a
        max pooling or zeros before a ReLU, where there is no derivative.
    elements: how many of each array are compared, as each costs two forward passes; of larger arrays they are drawn, always the same. None: all.

    TypeError where the forward pass does not give float64 for float64, or no way back; ValueError where gradients do not have their input's shape.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> from fastconv import layers
    >>> class Scale(layers.Layer):
    ...     def __init__(self):
    ...         self.factor = layers.Parameter(np.ones(3, np.float32))
    ...
    ...     def forward(self, x, training=True):
    ...         def backward(dy, input_grad=True):
    ...             self.factor.add_grad(dy.sum(axis=0))  # wrong: * x is missing
    ...             return dy * self.factor.value if input_grad else None
    ...
    ...         y = x * self.factor.value
    ...         return y, layers.once(backward, y, self.factor)
    ...
    ...     def output_shape(self, input_shape):
    ...         return input_shape
    >>> fc.gradcheck(Scale(), np.array([[1.0, 2.0, 3.0]]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    fastconv.differences.GradientError: gradcheck: Scale: the gradient of factor is wrong at 2 of 3 elements, most at [2]: backward gives ...
    """
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    xs = [_float64(i, x) for i, x in enumerate(given)]
    training = flag("gradcheck", "training", training)
    most = LARGEST if elements is None else integer("gradcheck", "elements", elements, 1)
    if isinstance(layer_or_function, Layer):
        if len(xs) != 1 and not isinstance(layer_or_function, Module):
            raise TypeError(f"gradcheck: inputs must be one array for a layer, got {len(xs)}")
        layer = _in_float64(layer_or_function)
        name, names = type(layer).__name__, ["the input"] if len(xs) == 1 else [f"input {i}" for i in range(len(xs))]
        forward, parameters = _repeatable(layer, training), list(layer.named_parameters())
    elif callable(layer_or_function):
        name, names = getattr(layer_or_function, "__name__", type(layer_or_function).__name__), [f"input {i}" for i in range(len(xs))]
        forward, parameters = layer_or_function, []
    else:
        raise TypeError(f"gradcheck: layer_or_function must be a Layer or a function, got {type(layer_or_function).__name__}")
    dy, found = _backward(name, forward, xs)
    found += [p.grad.copy() for _, p in parameters]
    rounding = 100 * np.finfo(np.float64).eps * np.sum(abs(forward(*xs)[0] * dy)) / STEP
    off = []
    for what, varied, gradient in zip([*names, *(label for label, _ in parameters)], [*xs, *(p.value for _, p in parameters)], found):
        if np.shape(gradient) != varied.shape:
            raise ValueError(f"gradcheck: {name}: the gradient of {what} has the shape {np.shape(gradient)}, it must be {varied.shape}")
        chosen = _chosen(varied, most)
        slopes = _slopes(lambda: np.sum(forward(*xs)[0] * dy), varied, chosen)
        off += _compare(what, np.asarray(gradient), slopes, chosen, rounding)
    if off:
        raise GradientError(f"gradcheck: {name}: {'; '.join(off)}")


def _float64(i: int, given) -> np.ndarray:
    """A copy, whose elements are moved."""
    x = array("gradcheck", f"inputs[{i}]", given)
    if x.dtype.kind not in "biuf":
        raise TypeError(f"gradcheck: inputs[{i}] must be an array of numbers, got dtype {x.dtype}")
    return x.astype(np.float64)


def _in_float64(layer: Layer) -> Layer:
    layer = copy.deepcopy(layer)
    for p in layer.parameters():
        p.__init__(p.value.astype(np.float64), p.memory_axes)  # the same object, as layers share it and refer to it
    for _, buffer in layer.named_buffers():
        if buffer.value.dtype.kind == "f":
            buffer.__init__(buffer.value.astype(np.float64))
    return layer


def _repeatable(layer: Layer, training: bool) -> Callable:
    states = [(stream, stream.state()) for _, stream in layer.named_streams()]

    def forward(*xs: np.ndarray):
        for stream, state in states:
            stream.restore(state)
        return layer.forward(xs if len(xs) > 1 else xs[0], training)

    return forward


def _backward(name: str, forward: Callable, xs: list[np.ndarray]) -> tuple[np.ndarray, list]:
    """A dy for the output, and the gradients of the inputs."""
    pair = forward(*xs)
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise TypeError(f"gradcheck: {name} must return a pair, (y, backward) or (value, gradient), got {type(pair).__name__}")
    y, back = pair
    if np.asarray(y).dtype != np.float64:
        raise TypeError(f"gradcheck: {name} gives {np.asarray(y).dtype} for a float64 input; it must compute in the dtype that it is given")
    if not callable(back):  # the gradient of a value itself
        dy, gradients = np.ones_like(y), back
    else:
        dy = np.random.default_rng(0).standard_normal(np.shape(y))
        gradients = back(dy)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    if len(gradients) != len(xs):
        raise ValueError(f"gradcheck: {name} has {len(xs)} inputs, but its way back gives {len(gradients)} gradients")
    return dy, list(gradients)


def _chosen(array: np.ndarray, most: int) -> list[tuple[int, ...]]:
    """The indices of the elements that are compared."""
    indices = list(np.ndindex(array.shape))
    if len(indices) <= most:
        return indices
    return [indices[i] for i in np.sort(np.random.default_rng(0).choice(len(indices), most, replace=False))]


def _slopes(loss: Callable[[], float], array: np.ndarray, chosen: list[tuple[int, ...]]) -> np.ndarray:
    """Central differences of the loss by these elements of an array that it reads."""
    slopes = np.empty(len(chosen))
    for n, i in enumerate(chosen):
        kept = array[i]
        h = STEP * max(1.0, abs(kept))
        array[i] = kept + h
        above = loss()
        array[i] = kept - h
        slopes[n] = (above - loss()) / (2 * h)
        array[i] = kept
    return slopes


def _compare(what: str, gradient: np.ndarray, slopes: np.ndarray, chosen: list[tuple[int, ...]], rounding: float) -> list[str]:
    """Nothing, or what is wrong in words."""
    given = np.array([gradient[i] for i in chosen])
    error = abs(given - slopes)
    wrong = ~(error <= TOLERANCE * abs(slopes).max(initial=0) + rounding)  # NaN is wrong, too
    if not wrong.any():
        return []
    worst = np.argmax(np.nan_to_num(error, nan=np.inf))
    compared = "elements" if len(chosen) == gradient.size else "elements compared"
    return [
        f"the gradient of {what} is wrong at {wrong.sum()} of {wrong.size} {compared}, most at {list(chosen[worst])}: "
        f"backward gives {given[worst]:.6g}, differences of the forward pass {slopes[worst]:.6g}, off by {error[worst]:.2g}"
    ]
