"""What all optimizers share: groups of parameters, clipping, their state."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from fastconv import reflexes
from fastconv.geometry import entries, flag, number, real
from fastconv.kernels.elementwise import updates
from fastconv.layers.parameter import Parameter, flatten
from fastconv.optim.state import compare, refuse
from fastconv.reflexes import answered


class Optimizer(ABC):
    """`zero_grad()`, backward passes, `step()`. Parameters that received no gradient, or are frozen, stay as they are.

    parameters: a list of `Parameter`, as `model.parameters()` gives, or a list of groups {"params": [...], option: value, ...}, where what a group
    does not say is what the optimizer's arguments say. They are moved into one flat buffer per dtype. `groups` holds one dict per group, with
    all options; `lr` is the first group's, and assigning it sets all groups'.

    clip_value: gradients count as no more than +-clip_value, each number by itself. clip_norm: if their norm over all parameters, the root of the
    sum of squares (after clip_value; in float64), is more, all gradients count as multiplied by clip_norm / (norm + 1e-6). `grad_norm` is that
    norm at the last step. As PyTorch's clip_grad_value_ and clip_grad_norm_, but `Parameter.grad` stays what backward made it. Pascanu et al.
    2013, "On the difficulty of training recurrent neural networks", section 3.2.

    TypeError for what is no list of parameters or no number; ValueError for numbers out of range, options that do not exist and parameters in
    two groups.
    """

    STATE: tuple[str, ...]  # the arrays that the update keeps, one number per value of a parameter

    def __init__(self, parameters, options: dict, clip_norm: float | None, clip_value: float | None):
        self._name = type(self).__name__
        self.groups = self._groups(parameters, options)
        self.clip_norm, self.clip_value = (self._clip(name, value) for name, value in (("clip_norm", clip_norm), ("clip_value", clip_value)))
        self.parameters = [p for group in self.groups for p in group["params"]]
        self.flats = flatten(self.parameters)
        self.counts = dict.fromkeys(self.parameters, 0)  # how often each parameter was moved
        self.grad_norm: float | None = None  # known where clip_norm asks for it
        self._group_of = {p: i for i, group in enumerate(self.groups) for p in group["params"]}
        self._states = [tuple(np.zeros_like(flat.values) for _ in self.STATE) for flat in self.flats]
        self._spare: list[tuple[np.ndarray, ...]] = []  # of each flat buffer, room for its values and state, once `try_step` was called
        self._undo: list[tuple[tuple, tuple]] = []  # which of them it changed, and what was there
        self._old_counts = self.counts

    @property
    def lr(self) -> float:
        return self.groups[0]["lr"]

    @lr.setter
    def lr(self, lr: float) -> None:
        lr = number(self._name, "lr", lr)
        for group in self.groups:
            group["lr"] = lr

    if not TYPE_CHECKING:

        def __getattr__(self, name: str):
            raise AttributeError(reflexes.answer("Optimizer", type(self).__name__, name))

    @answered("zero_grad")
    def zero_grad(self) -> None:
        """Mark all gradients as zero; the next backward pass overwrites them."""
        for p in self.parameters:
            p.zero_grad()

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        self._move(undoable=False)

    def try_step(self) -> bool:
        """`step`, and whether all gradients, and all that it moved, are finite numbers. What it changes is kept for `undo`."""
        return self._move(undoable=True)

    def undo(self) -> None:
        """Put back what the last `try_step` changed, also one that raised."""
        for flat in self.flats:
            flat.gather()
        for (i, run), old in self._undo:
            for array, was in zip((self.flats[i].values, *self._states[i]), old):
                array[run] = was
        self.counts = self._old_counts.copy()
        for p in self.parameters:
            p.version += 1

    def _move(self, undoable: bool) -> bool:
        for flat in self.flats:
            flat.gather()
        if undoable:
            self._undo, self._old_counts = [], self.counts.copy()
            self._spare = self._spare or [tuple(map(np.empty_like, (flat.values, *state))) for flat, state in zip(self.flats, self._states)]
        clip, all_finite, before = (self.clip_value, self._scale()), True, None
        for k, (flat, state) in enumerate(zip(self.flats, self._states)):
            for (i, count), run in flat.runs(lambda p: (self._group_of[p], self.counts[p] + 1)):
                if undoable:
                    before = updates.Before(tuple(array[run] for array in self._spare[k]), updates.verdicts(run.stop - run.start))
                self._update(self.groups[i], count, clip, before, flat.values[run], flat.grads[run], *(array[run] for array in state))
                if before is not None:
                    self._undo.append(((k, run), before.old))
                    all_finite &= bool(before.finite[-1])
        for p in self.parameters:
            self.counts[p] += p.has_grad
            p.version += p.has_grad
        return all_finite

    @abstractmethod
    def _update(self, group: dict, count: int, clip: tuple[float, float], before: updates.Before | None, value, grad, *state) -> None:
        """Change `value` and the state, flat arrays, in place, for the count-th time. clip: clip_value, and what gradients are multiplied by."""

    def _scale(self) -> float:
        """What gradients are multiplied by, so that their norm is no more than clip_norm."""
        if self.clip_norm == math.inf:
            return 1.0
        squares = 0.0
        for flat in self.flats:
            for _, run in flat.runs(lambda p: 0):
                squares += updates.square_sum(flat.grads[run], self.clip_value)
        self.grad_norm = math.sqrt(squares)
        scale = self.clip_norm / (self.grad_norm + 1e-6)
        return 1.0 if scale > 1 else scale  # a norm that is NaN stays seen

    def state_dict(self) -> dict[str, np.ndarray | float]:
        """Everything that the next steps depend on but values and gradients, as one flat dict of arrays and numbers for `np.savez(file, **state)`.

        clip_norm, clip_value (inf: none); groups.0.lr and every other option of each group; parameters.0.count (its steps so far),
        parameters.0.mean and what else the update keeps: copies, of the parameter's shape. Parameters are numbered in the order of the groups.
        """
        state: dict = {"clip_norm": self.clip_norm, "clip_value": self.clip_value}
        for i, group in enumerate(self.groups):
            options = ((name, value) for name, value in group.items() if name != "params")
            state |= {f"groups.{i}.{name}": np.array(value) if isinstance(value, tuple) else value for name, value in options}
        kept = self._kept()
        for i, p in enumerate(self.parameters):
            state[f"parameters.{i}.count"] = self.counts[p]
            state |= {f"parameters.{i}.{name}": array.copy() for name, array in kept[p].items()}
        return state

    def load_state_dict(self, state: Mapping) -> None:
        """Take over a whole state, or nothing: what is missing, unexpected, of a wrong shape or dtype or out of range is listed in one ValueError.

        Numbers may be arrays without dimensions, as `np.load` gives them.
        """
        new, wrong = compare(self.state_dict(), state, "optimizer")
        wrong += [f"{name} must be >= 0, got {value}" for name, value in new.items() if name.endswith(".count") and value < 0]
        if not wrong:
            try:
                clips = [self._clip(name, new[name]) for name in ("clip_norm", "clip_value")]
                groups = [self._checked({name: new.get(f"groups.{i}.{name}") for name in g if name != "params"}) for i, g in enumerate(self.groups)]
            except ValueError as error:
                wrong.append(str(error))
        refuse(wrong)
        self.clip_norm, self.clip_value = clips
        for group, options in zip(self.groups, groups):
            group |= options
        kept = self._kept()
        for i, p in enumerate(self.parameters):
            self.counts[p] = new[f"parameters.{i}.count"]
            for name, array in kept[p].items():
                array[...] = new[f"parameters.{i}.{name}"]

    def _kept(self) -> dict[Parameter, dict[str, np.ndarray]]:
        """Each parameter's part of the arrays that the update keeps, in its shape."""
        return {
            p: {name: p.in_shape(array[start:end]) for name, array in zip(self.STATE, state)}
            for flat, state in zip(self.flats, self._states)
            for p, start, end in flat.places()
        }

    def _groups(self, parameters, options: dict) -> list[dict]:
        given = entries(parameters)
        groups = given if given and all(isinstance(entry, Mapping) for entry in given) else [{"params": given}]
        filled, seen = [], {}
        for i, group in enumerate(groups):
            entry = group.get("params")
            members = entries(entry)
            if not members and isinstance(parameters if entry is given else entry, Iterable):
                raise TypeError(f"{self._name}: parameters must be a non-empty list of Parameter; the list is empty: are all of them frozen?")
            if not members or not all(isinstance(p, Parameter) for p in members):
                hint = "write model.parameters(), or a list of groups {'params': [...], option: value}"
                raise TypeError(f"{self._name}: parameters must be a non-empty list of Parameter: {hint}")
            for name in group.keys() - options.keys() - {"params"}:
                raise ValueError(f"{self._name}: group {i} has an option {name!r}; there are {', '.join(options)}")
            members = list(dict.fromkeys(members))
            for p in members:
                if p in seen:
                    raise ValueError(f"{self._name}: {p!r} is in group {seen[p]} and in group {i}")
                seen[p] = i
            filled.append({"params": members} | self._checked({name: group.get(name, value) for name, value in options.items()}))
        return filled

    def _checked(self, options: dict) -> dict:
        """The options of a group, numbers as floats; TypeError or ValueError for what cannot be used."""
        checked = dict(options)
        for name, value in options.items():
            if name in ("nesterov", "centered"):
                checked[name] = flag(self._name, name, value)
            elif name != "betas":
                checked[name] = number(self._name, name, value)
        return checked

    def _clip(self, name: str, value: float | None) -> float:
        """A limit of gradients; none is inf."""
        if value is None or real(self._name, name, value) == math.inf:
            return math.inf
        if not number(self._name, name, value):
            raise ValueError(f"{self._name}: {name} must be > 0, got {value}")
        return float(value)

    def __repr__(self) -> str:
        rates = ", ".join(f"{group['lr']:g}" for group in self.groups)
        limits = "".join(f", {name}={value:g}" for name in ("clip_norm", "clip_value") if (value := getattr(self, name)) != math.inf)
        return f"{self._name}({sum(p.size for p in self.parameters)} values, lr={rates}{limits})"
