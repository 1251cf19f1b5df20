"""Schedules: the learning rate of each of an optimizer's groups as a function of the number of steps, or of a metric.

`schedule = Cosine(optimizer, epochs)` sets the rates of the first step; `schedule.step()` sets those of the next. What is counted is calls: a loop
of your own makes them after each epoch or each `optimizer.step()`, `train.fit` as `per` says, "epoch" or "update". Rates are a function of the
state, never of the optimizer's rates before, so loading a state sets exactly the rates of a run that never stopped.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from copy import copy
from typing import TYPE_CHECKING

import numpy as np

from fastconv import reflexes
from fastconv.geometry import instance, integer, number, real
from fastconv.optim.optimizer import Optimizer
from fastconv.optim.state import compare, refuse
from fastconv.reflexes import answered

PER = ("epoch", "update")


class Schedule(ABC):
    """`step(metric=None)`, `state_dict()`, `load_state_dict(state)`. base_lrs: the rate of each group when the schedule was made.

    per: when `train.fit` calls step(): after each "epoch", or after each "update" of the parameters. A loop of your own decides by itself.
    """

    needs_metric = False  # whether step() must be told one
    length: int | None = None  # how many steps it is made for, where that is a number
    shortest = 1  # that length can be

    def __init__(self, optimizer: Optimizer, base_lrs: list[float] | None = None, per: str = "epoch", **words):
        name = type(self).__name__
        instance(name, "the first argument", optimizer, Optimizer, "an Optimizer")
        if not isinstance(per, str) or per not in PER:
            raise ValueError(f"{name}: per must be 'epoch' or 'update', got {per!r}")
        self.optimizer, self.per, self.words = optimizer, per, words
        self.base_lrs = [group["lr"] for group in optimizer.groups] if base_lrs is None else base_lrs
        if len(self.base_lrs) != len(optimizer.groups):
            raise ValueError(f"{name}: there are {len(self.base_lrs)} rates for the optimizer's {len(optimizer.groups)} groups")
        self.steps = 0
        self._set()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str):
            raise AttributeError(reflexes.answer("Schedule", type(self).__name__, name))

    def step(self, metric: float | None = None) -> None:
        """Set the rates of the next step. metric: what to watch, such as the validation's loss; only `Plateau` looks at it."""
        self.steps += 1
        self._set()

    @abstractmethod
    def rate(self, base_lr: float, step: int) -> float:
        """The rate of a group with this base rate at step number `step`, counted from 0."""

    def _rates(self) -> list[float]:
        """Of all groups, before the first of them is set."""
        return [self.rate(base_lr, self.steps) for base_lr in self.base_lrs]

    def _set(self) -> None:
        for group, lr in zip(self.optimizer.groups, self._rates()):
            group["lr"] = lr

    def state_dict(self) -> dict[str, np.ndarray | float]:
        """Where the schedule stands: steps, base_lrs and, in Plateau, what it has seen. Its arguments are not part of it."""
        return {"steps": self.steps, "base_lrs": np.array(self.base_lrs)}

    def load_state_dict(self, state: Mapping) -> None:
        """Go on from there, and set the optimizer's rates; or ValueError that lists what is missing, unexpected or wrong, and nothing was changed."""
        new, wrong = compare(self.state_dict(), state, "schedule")
        wrong += [f"{name} must be >= 0, got {value}" for name, value in new.items() if name != "best" and not np.all(value >= 0)]
        refuse(wrong)
        new["base_lrs"] = new["base_lrs"].tolist()
        trial = copy(self)
        vars(trial).update(new)
        try:
            rates = trial._rates()
        except OverflowError:
            rates = [math.inf]
        refuse([f"the rates at step {trial.steps} would not be finite, but {rates}"] if not all(map(math.isfinite, rates)) else [])
        vars(self).update(new)
        self._set()

    def __repr__(self) -> str:
        words = ", ".join(f"{name}={value}" for name, value in (self.words | {"per": self.per}).items())
        rates = ", ".join(f"{group['lr']:g}" for group in self.optimizer.groups)
        return f"{type(self).__name__}({words}) at step {self.steps}, lr={rates}"


class Step(Schedule):
    """lr = base_lr * gamma ** (step // step_size): a stair. PyTorch's StepLR. A step is an epoch, or per="update"."""

    @answered("Schedule")
    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, *, per: str = "epoch"):
        self.step_size, self.gamma = integer("Step", "step_size", step_size, 1), number("Step", "gamma", gamma)
        super().__init__(optimizer, per=per, step_size=self.step_size, gamma=self.gamma)

    def rate(self, base_lr, step):
        return base_lr * self.gamma ** (step // self.step_size)


class MultiStep(Schedule):
    """lr = base_lr * gamma ** (how many of the milestones are <= step). milestones: numbers of steps. PyTorch's MultiStepLR.

    A step is an epoch, or per="update".
    """

    @answered("Schedule")
    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, *, per: str = "epoch"):
        if isinstance(milestones, str) or not isinstance(milestones, Iterable) or getattr(milestones, "ndim", 1) != 1:
            raise TypeError(f"MultiStep: milestones must be a list of integers, got {milestones!r}")
        self.milestones = sorted(integer("MultiStep", f"milestones[{i}]", at, 0) for i, at in enumerate(milestones))
        self.gamma = number("MultiStep", "gamma", gamma)
        super().__init__(optimizer, per=per, milestones=self.milestones, gamma=self.gamma)

    def rate(self, base_lr, step):
        return base_lr * self.gamma ** bisect_right(self.milestones, step)


class Linear(Schedule):
    """lr = base_lr * factor, the factor on a line from start_factor at step 0 to end_factor at total_steps, where it stays. PyTorch's LinearLR.

    Its defaults are a warm-up; start_factor=1, end_factor=0 is the line down to 0. A step is an epoch, or per="update". ValueError unless
    0 < start_factor <= 1 and 0 <= end_factor <= 1.
    """

    @answered("Schedule")
    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_steps: int = 5, *, per: str = "epoch"
    ):  # fmt: skip
        self.start_factor, self.end_factor = number("Linear", "start_factor", start_factor, 1), number("Linear", "end_factor", end_factor, 1)
        if not self.start_factor:
            raise ValueError(f"Linear: start_factor must be above 0, got {start_factor}")
        self.total_steps = self.length = integer("Linear", "total_steps", total_steps, 1)
        words = {"start_factor": self.start_factor, "end_factor": self.end_factor, "total_steps": self.total_steps}
        super().__init__(optimizer, per=per, **words)

    def rate(self, base_lr, step):
        return base_lr * (self.start_factor + (self.end_factor - self.start_factor) * min(1.0, step / self.total_steps))


class Exponential(Schedule):
    """lr = base_lr * gamma ** step. PyTorch's ExponentialLR. gamma: 0 to 1. A step is an epoch, or per="update"."""

    @answered("Schedule")
    def __init__(self, optimizer: Optimizer, gamma: float, *, per: str = "epoch"):
        self.gamma = number("Exponential", "gamma", gamma, 1)
        super().__init__(optimizer, per=per, gamma=self.gamma)

    def rate(self, base_lr, step):
        return base_lr * self.gamma**step


class Cosine(Schedule):
    """A linear warm-up, then half a cosine from base_lr to min_lr, which stays.

    lr = base_lr * (step + 1) / (warmup + 1) for step < warmup, then
    lr = min_lr + (base_lr - min_lr) / 2 * (1 + cos(pi * (step - warmup) / (total_steps - warmup))), up to step = total_steps.

    A step is an epoch, or per="update": total_steps is then epochs * updates per epoch. ValueError unless 0 <= warmup < total_steps. Loshchilov and
    Hutter 2017, "SGDR", without restarts: PyTorch's CosineAnnealingLR with T_max = total_steps - warmup, after LinearLR with start_factor = 1 /
    (warmup + 1); Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.2, for the warm-up.
    """

    @answered("Schedule")
    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: int = 0, min_lr: float = 0.0, *, per: str = "epoch"):
        self.total_steps, self.warmup = integer("Cosine", "total_steps", total_steps, 1), integer("Cosine", "warmup", warmup, 0)
        if self.warmup >= self.total_steps:
            raise ValueError(f"Cosine: warmup must be less than total_steps={self.total_steps}, got {self.warmup}")
        self.min_lr = number("Cosine", "min_lr", min_lr)
        self.length = self.total_steps
        super().__init__(optimizer, per=per, total_steps=self.total_steps, warmup=self.warmup, min_lr=self.min_lr)

    def rate(self, base_lr, step):
        if step < self.warmup:
            return base_lr * (step + 1) / (self.warmup + 1)
        return _half_cosine(base_lr, self.min_lr, min(1.0, (step - self.warmup) / (self.total_steps - self.warmup)))


class OneCycle(Schedule):
    """The rate rises from max_lr / start to max_lr during the first share `rise` of the steps, then falls to max_lr / (start * end), both as half a
    cosine; there it stays.

    max_lr: a number, or one for each group; the groups' own rates do not count. A step is an update of the parameters, so that total_steps is
    epochs * updates per epoch, or per="epoch". ValueError unless max_lr, start, end > 0 and 0 < rise < 1.
    Smith and Topin 2017, "Super-Convergence"; PyTorch's OneCycleLR (without its cycling of momentum).
    """

    shortest = 2

    @answered("Schedule")
    def __init__(
        self, optimizer: Optimizer, max_lr, total_steps: int, rise: float = 0.3, start: float = 25.0, end: float = 1e4, *, per: str = "update"
    ):  # fmt: skip
        self.total_steps = self.length = integer("OneCycle", "total_steps", total_steps, self.shortest)
        if not 0 < real("OneCycle", "rise", rise) < 1:
            raise ValueError(f"OneCycle: rise must be in 0 < rise < 1, got {rise}")
        rates = list(max_lr) if isinstance(max_lr, (list, tuple)) or (isinstance(max_lr, np.ndarray) and max_lr.ndim) else [max_lr]
        for name, value in (("start", start), ("end", end), *(("max_lr", top) for top in rates)):
            if not number("OneCycle", name, value):
                raise ValueError(f"OneCycle: {name} must be > 0, got {value}")
        self.rise, self.start, self.end = float(rise), float(start), float(end)
        if len(rates) == 1 and isinstance(optimizer, Optimizer):
            rates *= len(optimizer.groups)
        words = {"max_lr": max_lr, "total_steps": self.total_steps, "rise": self.rise, "start": self.start, "end": self.end}
        super().__init__(optimizer, list(map(float, rates)), per, **words)

    def rate(self, base_lr, step):
        """base_lr: here the highest rate."""
        first = base_lr / self.start
        turn = self.rise * self.total_steps - 1
        if step <= turn:
            return _half_cosine(first, base_lr, step / turn if turn else 1.0)
        return _half_cosine(base_lr, first / self.end, (min(step, self.total_steps - 1) - turn) / (self.total_steps - 1 - turn))


class Plateau(Schedule):
    """lr = max(lr * factor, min_lr) for each group after more than `patience` steps in a row without a better metric.

    Better is, for mode "min" and threshold_mode "rel": metric < best * (1 - threshold), for "abs": metric < best - threshold; for mode "max":
    metric > best * (1 + threshold), metric > best + threshold. For `cooldown` steps after a change no step counts as bad. A metric that is NaN
    is not better. Changes of 1e-8 or less are not made. A step is an epoch: call `step(metric)` after each. ValueError unless 0 <= factor < 1.
    PyTorch's ReduceLROnPlateau.
    """

    needs_metric = True

    @answered("Schedule")
    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
        threshold_mode: str = "rel", cooldown: int = 0, min_lr: float = 0.0,
    ):  # fmt: skip
        for name, value, words in (("mode", mode, ("min", "max")), ("threshold_mode", threshold_mode, ("rel", "abs"))):
            if not isinstance(value, str) or value not in words:
                raise ValueError(f"Plateau: {name} must be {words[0]!r} or {words[1]!r}, got {value!r}")
        self.mode, self.threshold_mode = mode, threshold_mode
        self.factor, self.threshold = number("Plateau", "factor", factor), number("Plateau", "threshold", threshold)
        self.min_lr = number("Plateau", "min_lr", min_lr)
        if self.factor >= 1:
            raise ValueError(f"Plateau: factor must be in 0 <= factor < 1, got {factor}")
        self.patience, self.cooldown = integer("Plateau", "patience", patience, 0), integer("Plateau", "cooldown", cooldown, 0)
        self.best = math.inf if mode == "min" else -math.inf
        self.bad_steps = self.cooling = 0
        super().__init__(
            optimizer, mode=mode, factor=self.factor, patience=self.patience, threshold=self.threshold,
            threshold_mode=threshold_mode, cooldown=self.cooldown, min_lr=self.min_lr,
        )  # fmt: skip

    def step(self, metric: float | None = None) -> None:
        """metric: a number, such as the validation's loss of this epoch; TypeError without it."""
        if isinstance(metric, (bool, np.bool_)) or not isinstance(metric, (int, float, np.integer, np.floating)):
            raise TypeError(f"Plateau: step needs the metric it watches, a number, got {metric!r}: write schedule.step(validation_loss)")
        metric = real("Plateau", "metric", metric)
        if self._is_better(metric):
            self.best, self.bad_steps = metric, 0
        else:
            self.bad_steps += 1
        if self.cooling:
            self.cooling, self.bad_steps = self.cooling - 1, 0
        if self.bad_steps > self.patience:
            self.bad_steps, self.cooling = 0, self.cooldown
            lower = [max(lr * self.factor, self.min_lr) for lr in self.base_lrs]
            self.base_lrs = [new if old - new > 1e-8 else old for old, new in zip(self.base_lrs, lower)]
        super().step()

    def rate(self, base_lr, step):
        """base_lr: here the rate as it was lowered so far."""
        return base_lr

    def state_dict(self):
        return super().state_dict() | {"best": self.best, "bad_steps": self.bad_steps, "cooling": self.cooling}

    def _is_better(self, metric: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        limit = self.best * (1 - sign * self.threshold) if self.threshold_mode == "rel" else self.best - sign * self.threshold
        return sign * metric < sign * limit


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
