"""Optimizers, in one pass over the flat buffers of the parameters, and a schedule of their learning rate."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import numpy as np

from fastconv.geometry import integer
from fastconv.kernels import elementwise
from fastconv.layers.parameter import Parameter, flatten


class Optimizer(ABC):
    """`zero_grad()`, backward passes, `step()`. Parameters that received no gradient stay as they are.

    parameters: a list of `Parameter`, as `model.parameters()` gives; they are moved into one flat buffer per dtype.
    """

    def __init__(self, parameters: list[Parameter], lr: float, **others: float):
        given = list(parameters) if isinstance(parameters, Iterable) else []
        if not given or not all(isinstance(p, Parameter) for p in given):
            raise TypeError(f"{type(self).__name__}: parameters must be a non-empty list of Parameter: write model.parameters()")
        self.parameters = list(dict.fromkeys(given))
        for name, value in {"lr": lr, **others}.items():
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
                raise TypeError(f"{type(self).__name__}: {name} must be a number, got {value!r}")
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{type(self).__name__}: {name} must be finite and >= 0, got {value}")
        self.lr = lr
        self.flats = flatten(self.parameters)
        self.counts = dict.fromkeys(self.parameters, 0)  # how often each parameter was moved

    def zero_grad(self) -> None:
        """Mark all gradients as zero; the next backward pass overwrites them."""
        for p in self.parameters:
            p.zero_grad()

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for p in self.parameters:
            self.counts[p] += p.has_grad
        for flat, state in zip(self.flats, self._states()):
            flat.gather()
            for count, run in flat.runs(self.counts.__getitem__):
                self._update(count, flat.values[run], flat.grads[run], *(array[run] for array in state))
        for p in self.parameters:
            p.version += p.has_grad

    @abstractmethod
    def _states(self) -> list[tuple[np.ndarray, ...]]:
        """Per flat buffer the arrays that the update keeps."""

    @abstractmethod
    def _update(self, count: int, value: np.ndarray, grad: np.ndarray, *state: np.ndarray) -> None:
        """Change `value` and the state in place, for the count-th time."""

    def _zeros(self) -> list[np.ndarray]:
        return [np.zeros_like(flat.values) for flat in self.flats]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({sum(p.size for p in self.parameters)} values, lr={self.lr:g})"


class SGD(Optimizer):
    """v = momentum * v + g;  value -= lr * v  (nesterov: lr * (g + momentum * v)), with g = grad + weight_decay * value.

    PyTorch's form, dampening 0. Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning".
    """

    def __init__(self, parameters, lr: float, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False):
        super().__init__(parameters, lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov needs a momentum > 0")
        self.momentum, self.weight_decay, self.nesterov = momentum, weight_decay, nesterov
        self._velocity = self._zeros()

    def _states(self):
        return [(velocity,) for velocity in self._velocity]

    def _update(self, count, value, grad, velocity):
        words = float(self.lr), float(self.momentum), float(self.weight_decay), bool(self.nesterov)
        elementwise.sgd(4 * value.size, value, grad, velocity, *words)


class Adam(Optimizer):
    """m = beta1 m + (1 - beta1) g;  s = beta2 s + (1 - beta2) g^2;  value -= lr * m / (1 - beta1^t) / (sqrt(s / (1 - beta2^t)) + eps).

    g = grad + weight_decay * value. Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", algorithm 1.
    """

    def __init__(self, parameters, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0):
        super().__init__(parameters, lr, eps=eps, weight_decay=weight_decay)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"Adam: betas must be two numbers in 0 <= beta < 1, got {betas}")
        self.betas, self.eps, self.weight_decay = tuple(betas), eps, weight_decay
        self._mean, self._square = self._zeros(), self._zeros()

    def _states(self):
        return list(zip(self._mean, self._square))

    def _update(self, count, value, grad, mean, square):
        beta1, beta2 = self.betas
        rate, root = self.lr / (1 - beta1**count), 1 / math.sqrt(1 - beta2**count)
        words = float(rate), float(beta1), float(beta2), root, float(self.eps), float(self.weight_decay)
        elementwise.adam(12 * value.size, value, grad, mean, square, *words)


class OneCycle:
    """The learning rate rises from max_lr / 25 to max_lr during the first 30 % of the steps, then falls to max_lr / 250,000, both as half a cosine.

    Call `step()` after each `optimizer.step()`. Smith and Topin 2017, "Super-Convergence"; PyTorch's numbers (without its cycling of momentum).
    """

    def __init__(self, optimizer: Optimizer, max_lr: float, total_steps: int, rise: float = 0.3, start: float = 25.0, end: float = 1e4):
        total_steps = integer("OneCycle", "total_steps", total_steps, 2)
        if not 0 < max_lr < math.inf:
            raise ValueError(f"OneCycle: max_lr must be finite and > 0, got {max_lr}")
        if not 0 < rise < 1:
            raise ValueError(f"OneCycle: rise must be in 0 < rise < 1, got {rise}")
        self.optimizer, self.max_lr, self.total_steps = optimizer, max_lr, total_steps
        self.rise, self.first, self.last = rise, max_lr / start, max_lr / start / end
        self.steps = 0
        optimizer.lr = self.lr_at(0)

    def lr_at(self, step: int) -> float:
        """The rate of step number `step`, counted from 0."""
        top = self.rise * self.total_steps - 1
        if step <= top:
            return _half_cosine(self.first, self.max_lr, step / top if top else 1.0)
        return _half_cosine(self.max_lr, self.last, (step - top) / (self.total_steps - 1 - top))

    def step(self) -> None:
        if self.steps + 1 >= self.total_steps:
            self.steps = self.total_steps
            return  # the rate of the last step stays
        self.steps += 1
        self.optimizer.lr = self.lr_at(self.steps)


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


__all__ = ["SGD", "Adam", "OneCycle", "Optimizer"]
