"""Parameters, their gradients, and the flat buffers they live in."""

from collections.abc import Callable, Hashable, Iterator

import numpy as np

from fastconv.geometry import flag


class Parameter:
    """An array that training changes, and its gradient.

    Assigning `.value` copies in place. `.grad` is what backward passes have added since `zero_grad`, which only marks: the
    first gradient then overwrites. `version` counts the changes made by assignment and by optimizers. With `.frozen = True` the
    gradient it has is dropped and no other is added, so that optimizers, decay and clipping pass it by.
    """

    def __init__(self, value: np.ndarray):
        self._value = value
        self._grad = np.empty_like(value)
        self.has_grad = False
        self.version = 0
        self._frozen = False
        self.home: Flat | None = None

    @property
    def value(self) -> np.ndarray:
        return self._value

    @value.setter
    def value(self, new) -> None:
        new = np.asarray(new)
        if new.shape != self.shape:
            raise ValueError(f"Parameter.value: the new value must have the shape {self.shape}, got {new.shape}")
        if new.dtype != self.dtype:
            raise TypeError(f"Parameter.value: the new value must be {self.dtype}, got {new.dtype}; write value.astype(np.{self.dtype})")
        self._value[...] = new
        self.version += 1

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

    def add_grad(self, gradient: np.ndarray) -> None:
        """Add a backward pass's gradient; the first since `zero_grad` overwrites. A frozen parameter takes none."""
        if self._frozen:
            return
        if self.has_grad:
            self._grad += gradient
        else:
            self._grad[...] = gradient
            self.has_grad = True

    def zero_grad(self) -> None:
        self.has_grad = False

    def __deepcopy__(self, memo: dict) -> "Parameter":
        """On its own, outside any flat buffer: copies of views would not be views of the buffer's copy."""
        memo[id(self)] = copy = Parameter(self._value.copy())
        copy._grad[...] = self.grad
        copy.has_grad, copy.version, copy._frozen = self.has_grad, self.version, self._frozen
        return copy

    def move(self, home: "Flat", value: np.ndarray, grad: np.ndarray) -> None:
        """Live in these arrays of `home` from now on."""
        value[...], grad[...] = self._value, self.grad
        self._value, self._grad, self.home = value, grad, home

    @property
    def shape(self) -> tuple[int, ...]:
        return self._value.shape

    @property
    def dtype(self) -> np.dtype:
        return self._value.dtype

    @property
    def size(self) -> int:
        return self._value.size

    def __repr__(self) -> str:
        return f"Parameter{self.shape} {self.dtype}{', frozen' if self.frozen else ''}"


def learn(*parameters: Parameter | None) -> bool:
    """Whether any of them takes a gradient."""
    return any(p is not None and not p.frozen for p in parameters)


class Buffer:
    """An array that is saved with a layer but that no gradient reaches, such as running statistics."""

    def __init__(self, value: np.ndarray):
        self.value = value

    def __repr__(self) -> str:
        return f"Buffer{self.value.shape} {self.value.dtype}"


class Flat:
    """All values of some parameters of one dtype in one buffer, all gradients in another; each parameter is a view."""

    def __init__(self, parameters: list[Parameter]):
        self.parameters = parameters
        self.ends = [int(end) for end in np.cumsum([p.size for p in parameters])]
        self.values = np.empty(self.ends[-1], parameters[0].dtype)
        self.grads = np.zeros_like(self.values)
        self.gather()

    def gather(self) -> None:
        """Move the parameters in; again, if another model or optimizer has taken them meanwhile."""
        for p, start, end in self.places():
            if p.home is not self:
                p.move(self, self.values[start:end].reshape(p.shape), self.grads[start:end].reshape(p.shape))

    def places(self) -> Iterator[tuple[Parameter, int, int]]:
        """Each parameter, where it starts and where it ends."""
        return zip(self.parameters, [0, *self.ends], self.ends)

    def runs(self, key: Callable[[Parameter], Hashable]) -> list[tuple[Hashable, slice]]:
        """The stretches of neighbours that have a gradient and the same key: one, as a rule."""
        runs: list[tuple[Hashable, slice]] = []
        for p, start, end in self.places():
            if not p.has_grad:
                continue
            if runs and runs[-1][0] == key(p) and runs[-1][1].stop == start:
                start = runs.pop()[1].start
            runs.append((key(p), slice(start, end)))
        return runs


def flatten(parameters: list[Parameter]) -> list[Flat]:
    """Move the parameters into flat buffers, one pair per dtype; each parameter once."""
    by_dtype: dict[np.dtype, list[Parameter]] = {}
    for p in dict.fromkeys(parameters):
        by_dtype.setdefault(p.dtype, []).append(p)
    return [Flat(group) for group in by_dtype.values()]
