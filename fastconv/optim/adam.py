"""Adam, and Adam with decoupled weight decay."""

import math

import numpy as np

from fastconv.geometry import real
from fastconv.kernels.elementwise import updates
from fastconv.optim.optimizer import Optimizer
from fastconv.reflexes import answered


class Adam(Optimizer):
    """m = beta1 m + (1 - beta1) g;  s = beta2 s + (1 - beta2) g^2;  value -= lr * m / (1 - beta1^t) / (sqrt(s / (1 - beta2^t)) + eps).

    g = grad + weight_decay * value; t counts the steps of each parameter. parameters, clip_norm, clip_value: see `Optimizer`; the other four are
    options that each group may have of its own. ValueError unless 0 <= beta < 1. Kingma and Ba 2015, "Adam: A Method for Stochastic
    Optimization", algorithm 1.
    """

    STATE = ("mean", "square")

    @answered("Optimizer")
    def __init__(
        self, parameters, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0, *,
        clip_norm: float | None = None, clip_value: float | None = None,
    ):  # fmt: skip
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}, clip_norm, clip_value)

    def _checked(self, options):
        betas = options["betas"].tolist() if isinstance(options["betas"], np.ndarray) else options["betas"]
        if not isinstance(betas, (tuple, list)):
            raise TypeError(f"{self._name}: betas must be a pair of numbers, got {betas!r}")
        if len(betas) != 2 or not all(0 <= real(self._name, f"betas[{i}]", beta) < 1 for i, beta in enumerate(betas)):
            raise ValueError(f"{self._name}: betas must be two numbers in 0 <= beta < 1, got {options['betas']}")
        return super()._checked(options) | {"betas": tuple(map(float, betas))}

    def _decay(self, group: dict) -> tuple[float, float]:
        """What is added to the gradient, times the value, and what the value is multiplied by."""
        return group["weight_decay"], 1.0

    def _update(self, group, count, clip, before, value, grad, mean, square):
        beta1, beta2 = group["betas"]
        rate, root = group["lr"] / (1 - beta1**count), 1 / math.sqrt(1 - beta2**count)
        options = updates.Adam(rate, beta1, beta2, root, group["eps"], *self._decay(group), *clip)
        updates.adam(value, grad, (mean, square), options, before)


class AdamW(Adam):
    """value *= 1 - lr * weight_decay, then Adam's step with g = grad: the decay is not divided by the gradients' size.

    parameters, clip_norm, clip_value: see `Optimizer`; the other four are options that each group may have of its own. Weights are usually decayed,
    biases and norms not: `AdamW([{"params": weights}, {"params": others, "weight_decay": 0.0}])`. Loshchilov and Hutter 2019, "Decoupled Weight
    Decay Regularization", algorithm 2, with the decay times lr, as in PyTorch.
    """

    @answered("Optimizer")
    def __init__(
        self, parameters, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.01, *,
        clip_norm: float | None = None, clip_value: float | None = None,
    ):  # fmt: skip
        super().__init__(parameters, lr, betas, eps, weight_decay, clip_norm=clip_norm, clip_value=clip_value)

    def _decay(self, group):
        return 0.0, 1 - group["lr"] * group["weight_decay"]
