"""Parameters, their gradients, and the flat buffers they live in."""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

import numpy as np

from fastconv import memory, reflexes
from fastconv.geometry import array, flag, shown
from fastconv.kernels.compile import each_time
from fastconv.layers.values import Shaped, Values
from fastconv.ops.layout import Layout
from fastconv.ops.operands import floats


class _Unwanted(threading.local):
    """Whether a backward pass of this thread leaves the gradients of parameters alone."""

    now = False


_unwanted = _Unwanted()


@contextmanager
def no_parameter_gradients(unwanted: bool = True) -> Iterator[None]:
    """Within, backward passes of this thread treat all parameters as frozen."""
    before, _unwanted.now = _unwanted.now, unwanted or _unwanted.now
    try:
        yield
    finally:
        _unwanted.now = before


class Parameter(Shaped):
    """An array that training changes, and its gradient.

    value: float32 or float64, of any shape; it is copied, lists of floats as NumPy's float64. TypeError for other dtypes.

    Assigning `.value` copies in place, and `.value` can be written: `p.value[0] = 1`, `p.value += g`. `.grad` is what backward passes have
    added since `zero_grad`, which only marks: the first gradient then overwrites. `version` counts the changes of the value, by assignment,
    in place and by optimizers. `memory` and `grad_memory` are the same elements as they lie in memory, flat: a weight's with its axes in the
    order of `memory_axes`, as kernels read it (see `ops.layout`). With `.frozen = True` the gradient it has is dropped and no other is added, so
    that optimizers, decay and clipping pass it by. `np.asarray(p)` reads the values.
    """

    def __init__(self, value: np.ndarray, memory_axes: tuple[int, ...] | None = None):
        (value,) = floats("Parameter", value=value)
        self.memory_axes = tuple(range(value.ndim)) if memory_axes is None else memory_axes
        if not isinstance(self.memory_axes, tuple) or set(self.memory_axes) != set(range(value.ndim)) or len(self.memory_axes) > value.ndim:
            raise ValueError(f"Parameter: memory_axes must be an order of the {value.ndim} axes of value{value.shape}, got {shown(memory_axes)}")
        self._layout = Layout(value.shape, value.dtype, self.memory_axes)
        own = value.transpose(self.memory_axes).reshape(-1).copy()
        self._live_in(None, own, np.empty_like(own))
        self.has_grad = False
        self.version = 0
        self._frozen = False

    def _live_in(self, home: "Flat | None", memory: np.ndarray, grad_memory: np.ndarray) -> None:
        self.home, self.memory, self.grad_memory = home, memory, grad_memory
        self._value, self._grad = self.in_shape(memory), self.in_shape(grad_memory)
        self._handed_out = Values.of(self, self._value)

    def in_shape(self, memory: np.ndarray) -> np.ndarray:
        """A view of flat memory in the order of this parameter's, in its shape."""
        return self._layout.view(memory)

    @property
    def value(self) -> np.ndarray:
        return self._handed_out

    @value.setter
    def value(self, new) -> None:
        new = array("Parameter.value", "the new value", new)
        if new.shape != self.shape:
            raise ValueError(f"Parameter.value: the new value must have the shape {self.shape}, got {new.shape}")
        if new.dtype != self.dtype:
            raise TypeError(f"Parameter.value: the new value must be {self.dtype}, got {new.dtype}; write value.astype(np.{self.dtype})")
        self._value[...] = new
        self.version += 1

    def count_change(self, written: np.ndarray) -> None:
        """Someone writes this array: a change if it is the value's memory, not that of a copy or of what was the value before a move."""
        self.version += np.may_share_memory(written, self._value)

    def __array__(self, dtype=None, copy: bool | None = None) -> np.ndarray:
        """The values for NumPy: read-only, as changes are counted by `.value` alone, or a copy."""
        wanted = self.dtype if dtype is None else np.dtype(dtype)
        if copy or (wanted != self.dtype and copy is None):
            return self._value.astype(wanted)
        if wanted != self.dtype:
            raise ValueError(f"Parameter: {self.dtype} values cannot be given as {wanted} without a copy")
        view = self._value.view()
        view.flags.writeable = False
        return view

    @property
    def grad(self) -> np.ndarray:
        if not self.has_grad:
            self._grad.fill(0)
        return self._grad

    @property
    def frozen(self) -> bool:
        return self._frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        self._frozen = flag("Parameter", "frozen", frozen)
        if frozen:
            self.zero_grad()

    def __getattr__(self, name: str):
        raise AttributeError(reflexes.answer("Parameter", "Parameter", name))

    @property
    def requires_grad(self) -> bool:
        """PyTorch's word for not frozen."""
        return not self._frozen

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        self.frozen = not flag("Parameter", "requires_grad", requires_grad)

    @property
    def learns(self) -> bool:
        """Whether the backward pass under way is to add to its gradient."""
        return not (self._frozen or _unwanted.now)

    def add_grad(self, gradient: np.ndarray) -> None:
        """Add a backward pass's gradient; the first since `zero_grad` overwrites. A frozen parameter takes none."""
        if not self.learns:
            return
        if type(gradient) is not np.ndarray or gradient.shape != self._grad.shape or gradient.dtype.kind != "f":
            gradient = self._checked(gradient)
        if self.has_grad:
            self._grad += gradient
        else:
            self._grad[...] = gradient
            self.has_grad = True

    def _checked(self, gradient) -> np.ndarray:
        gradient = array("Parameter.add_grad", "the gradient", gradient)
        if gradient.dtype.kind not in "biuf":
            raise TypeError(f"Parameter.add_grad: the gradient must be an array of numbers, got dtype {gradient.dtype}")
        if gradient.shape != self.shape:
            raise ValueError(f"Parameter.add_grad: the gradient must have the shape {self.shape}, got {gradient.shape}")
        return gradient

    def zero_grad(self) -> None:
        self.has_grad = False

    def __getstate__(self) -> dict:
        """On its own, outside any flat buffer: copies of views would not be views of the buffer's copy."""
        grad = self._grad if self.has_grad else None
        axes = self.memory_axes
        return {"value": self._value, "grad": grad, "version": self.version, "frozen": self._frozen, "memory_axes": axes}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["value"], state.get("memory_axes"))
        self.version, self._frozen = state["version"], state["frozen"]
        if state["grad"] is not None:
            self.add_grad(state["grad"])

    def move(self, home: "Flat", memory: np.ndarray, grad_memory: np.ndarray) -> None:
        """Live in these stretches of `home` from now on."""
        memory[...] = self.memory
        if self.has_grad:
            grad_memory[...] = self.grad_memory
        self._live_in(home, memory, grad_memory)

    def __repr__(self) -> str:
        return f"Parameter{self.shape} {self.dtype}{', frozen' if self.frozen else ''}"


def learn(*parameters: Parameter | None) -> bool:
    """Whether any of them takes a gradient."""
    return any(p is not None and p.learns for p in parameters)


def add_gradients(weight: Parameter | None, bias: Parameter | None, weight_grad: Callable, bias_grad: Callable) -> bool:
    """Let a backward pass add to the gradients where they lie; what nobody takes is not computed. Returns whether anybody takes one.

    weight_grad(dw, db, accumulate) and bias_grad(db, accumulate) write flat memory, and add to what it holds if `accumulate`; db None: not asked for.
    """
    w = weight if weight is not None and weight.learns else None
    b = bias if bias is not None and bias.learns else None
    accumulate = (w is not None and w.has_grad) or (b is not None and b.has_grad)
    for p in (w, b):
        if p is not None and accumulate and not p.has_grad:
            each_time(p.grad_memory.fill, 0)
    if w is not None:
        weight_grad(w.grad_memory, None if b is None else b.grad_memory, accumulate)
    elif b is not None:
        bias_grad(b.grad_memory, accumulate)
    for p in (w, b):
        if p is not None:
            p.has_grad = True
    return w is not None or b is not None


class Buffer(Shaped):
    """An array that is saved with a layer but that no gradient reaches, such as running statistics. With `.frozen = True` the layer leaves it.

    value: numbers of any dtype and shape; it is copied, as is what is assigned to `.value` later. Passes of training change it where it lies.
    """

    def __init__(self, value: np.ndarray):
        self._value = np.array(array("Buffer", "value", value), order="C")  # its own, which kernels may change
        if self._value.dtype.kind not in "biuf":
            raise TypeError(f"Buffer: value must be an array of numbers, got dtype {self._value.dtype}")
        self._frozen = False

    @property
    def value(self) -> np.ndarray:
        return self._value

    @value.setter
    def value(self, new) -> None:
        """Copied, of the same shape and dtype."""
        if type(new) is not np.ndarray:
            new = array("Buffer.value", "value", new)
        if new.shape != self._value.shape:
            raise ValueError(f"Buffer.value: the new value must have the shape {self._value.shape}, got {new.shape}")
        if new.dtype != self._value.dtype:
            raise TypeError(f"Buffer.value: the new value must be {self._value.dtype}, got {new.dtype}; write value.astype(np.{self._value.dtype})")
        self._value[...] = new

    @property
    def frozen(self) -> bool:
        return self._frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        self._frozen = flag("Buffer", "frozen", frozen)

    def __repr__(self) -> str:
        return f"Buffer{self.value.shape} {self.value.dtype}{', frozen' if self.frozen else ''}"


class Flat:
    """All values of some parameters of one dtype in one buffer, all gradients in another; each parameter is a stretch of both.

    Each starts on a cache line, as kernels read weights where they lie; what is left between two is zero, and stays so in all updates.
    """

    def __init__(self, parameters: list[Parameter]):
        self.parameters = parameters
        dtype = parameters[0].dtype
        self.ends = [int(end) for end in np.cumsum([memory.lines(p.size, dtype) for p in parameters])]
        self.values, self.grads = memory.zeros((self.ends[-1],), dtype), memory.zeros((self.ends[-1],), dtype)
        self.gather()

    def __reduce__(self) -> tuple:
        """The copy of a buffer is made anew around the copies of the parameters."""
        return Flat, (self.parameters,)

    def gather(self) -> None:
        """Move the parameters in; again, if another model or optimizer has taken them meanwhile."""
        if all(p.home is self for p in self.parameters):  # as in every step but the first
            return
        for p, start, end in self.places():
            if p.home is not self:
                p.move(self, self.values[start:end], self.grads[start:end])

    def places(self) -> Iterator[tuple[Parameter, int, int]]:
        """Each parameter, where it starts and where it ends."""
        return ((p, start, start + p.size) for p, start in zip(self.parameters, [0, *self.ends]))

    def runs(self, key: Callable[[Parameter], Hashable]) -> list[tuple[Hashable, slice]]:
        """The stretches of neighbors that have a gradient and the same key: one, as a rule."""
        keys = [key(p) if p.has_grad else None for p in self.parameters]
        if keys[0] is not None and keys.count(keys[0]) == len(keys):
            return [(keys[0], slice(0, self.ends[-1]))]
        runs: list[tuple[Hashable, slice]] = []
        for own, start, end in zip(keys, [0, *self.ends], self.ends):
            if own is None:
                continue
            if runs and runs[-1][0] == own and runs[-1][1].stop == start:
                start = runs.pop()[1].start
            runs.append((own, slice(start, end)))
        return runs


def flatten(parameters: list[Parameter]) -> list[Flat]:
    """Move the parameters into flat buffers, one pair per dtype; each parameter once."""
    by_dtype: dict[np.dtype, list[Parameter]] = {}
    for p in dict.fromkeys(parameters):
        by_dtype.setdefault(p.dtype, []).append(p)
    return [Flat(group) for group in by_dtype.values()]
