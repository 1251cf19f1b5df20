"""Stochastic gradient descent."""

from fastconv.kernels.elementwise import updates
from fastconv.optim.optimizer import Optimizer
from fastconv.reflexes import answered


class SGD(Optimizer):
    """v = momentum * v + g;  value -= lr * v  (nesterov: lr * (g + momentum * v)), with g = grad + weight_decay * value.

    parameters, clip_norm, clip_value: see `Optimizer`; the other four are options that each group may have of its own.
    ValueError for nesterov without momentum. PyTorch's form, dampening 0. Sutskever et al. 2013, "On the importance of initialization and
    momentum in deep learning".
    """

    STATE = ("velocity",)

    @answered("Optimizer")
    def __init__(
        self, parameters, lr: float, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False, *,
        clip_norm: float | None = None, clip_value: float | None = None,
    ):  # fmt: skip
        options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(parameters, options, clip_norm, clip_value)

    def _checked(self, options):
        options = super()._checked(options)
        if options["nesterov"] and not options["momentum"]:
            raise ValueError("SGD: nesterov needs a momentum > 0")
        return options

    def _update(self, group, count, clip, before, value, grad, velocity):
        options = updates.Sgd(group["lr"], group["momentum"], group["weight_decay"], float(group["nesterov"]), *clip)
        updates.sgd(value, grad, velocity, options, before)
