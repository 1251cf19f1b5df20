"""RMSprop."""

from fastconv.kernels.elementwise import updates
from fastconv.optim.optimizer import Optimizer
from fastconv.reflexes import answered


class RMSprop(Optimizer):
    """s = alpha s + (1 - alpha) g^2;  v = momentum * v + g / (sqrt(s) + eps);  value -= lr * v, with g = grad + weight_decay * value.

    centered: s - m^2 in place of s under the root, where m = alpha m + (1 - alpha) g: the variance of the gradients, not their mean square.
    parameters, clip_norm, clip_value: see `Optimizer`; the other six are options that each group may have of its own. ValueError unless
    0 <= alpha < 1. Tieleman and Hinton 2012, Coursera lecture 6.5; centered: Graves 2013, "Generating Sequences With Recurrent Neural
    Networks", section 4.2; eps outside the root, as in PyTorch.
    """

    STATE = ("square", "mean", "velocity")  # zeros that nobody touches cost no memory

    @answered("Optimizer")
    def __init__(
        self, parameters, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0.0, momentum: float = 0.0,
        centered: bool = False, *, clip_norm: float | None = None, clip_value: float | None = None,
    ):  # fmt: skip
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum, "centered": centered}
        super().__init__(parameters, options, clip_norm, clip_value)

    def _checked(self, options):
        options = super()._checked(options)
        if not options["alpha"] < 1:
            raise ValueError(f"RMSprop: alpha must be in 0 <= alpha < 1, got {options['alpha']}")
        return options

    def _update(self, group, count, clip, before, value, grad, square, mean, velocity):
        options = *(group[name] for name in ("lr", "alpha", "eps", "weight_decay", "momentum")), float(group["centered"]), *clip
        updates.rmsprop(value, grad, (square, mean, velocity), updates.RmsProp(*options), before)
