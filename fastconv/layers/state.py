"""A model takes over the values of a state dict: all of them or none, with names that may be told apart."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from fastconv.geometry import array, described, function

Rename = Mapping[str, str] | Callable[[str], str]
COUNT = "num_batches_tracked"  # of a BatchNorm; files of other frameworks lack it, and it matters with momentum=None alone


class Loaded(NamedTuple):
    """What `load_state_dict(..., strict=False)` has left out: names of the model's that were not given, and given ones that it does not have."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def taken(state: Mapping, own: Mapping[str, np.ndarray], rename: Rename | None, strict: bool) -> tuple[dict[str, np.ndarray], Loaded]:
    """The given values by the model's names, as copies. ValueError with everything that is wrong, and a `rename` that would help."""
    if not isinstance(state, Mapping):
        raise TypeError(f"load_state_dict: state must be a dict of arrays, as fastconv.load(path) returns it, got {type(state).__name__}")
    for name in state:
        if not isinstance(name, str):
            raise TypeError(f"load_state_dict: state must hold arrays by name, got the name {described(name)}")
    source = _renamed(state, rename)
    absent = [name for name in own if name not in source]
    missing = [name for name in absent if name.rpartition(".")[2] != COUNT]
    unexpected = [name for name in source if name not in own]
    wrong = [f"missing {name}" for name in missing] + [f"unexpected {name}" for name in unexpected] if strict else []
    # Each is read once: some files are read as they are asked.
    given = {name: array("load_state_dict", name, state[source[name]]).copy() for name in own if name in source}
    other_shapes = []
    for name, new in given.items():
        if new.shape != own[name].shape:
            other_shapes.append(name)
            wrong.append(f"{name} has the shape {new.shape}, the model's is {own[name].shape}")
        elif new.dtype != own[name].dtype:
            wrong.append(f"{name} is {new.dtype}, the model's is {own[name].dtype}")
    if wrong:
        advice = _advice(absent, unexpected, own, source, state) if strict and (missing or unexpected) else ""
        if other_shapes and not strict:
            advice = f"; to keep the model's own, take them out of the dict: state.pop({source[other_shapes[0]]!r})"
        raise ValueError(f"load_state_dict: nothing was loaded: {'; '.join(sorted(wrong))}{advice}")
    return given, Loaded(missing, unexpected)


def _renamed(state: Mapping, rename: Rename | None) -> dict[str, str]:
    """The names in `state` by what the model calls them."""
    names = {name: name for name in state} if rename is None else {name: _by(rename, name) for name in state}
    source: dict[str, str] = {}
    for name, new in names.items():
        if new in source:
            raise ValueError(f"load_state_dict: rename makes {new!r} of both {source[new]!r} and {name!r}")
        source[new] = name
    return source


def _by(rename: Rename, name: str) -> str:
    """A dict holds beginnings of names, of which the longest counts."""
    if isinstance(rename, Mapping):
        if not all(isinstance(text, str) for pair in rename.items() for text in pair):
            raise TypeError('load_state_dict: rename must hold beginnings of names, such as {"module.": ""}')
        old = max((old for old in rename if name.startswith(old)), key=len, default=None)
        return name if old is None else rename[old] + name[len(old) :]
    function("load_state_dict", "rename", rename, 'a dict such as {"module.": ""}, or a function from names in the state to names in the model')
    new = rename(name)
    if not isinstance(new, str):
        raise TypeError(f"load_state_dict: rename must return a name, got {described(new)} for {name!r}")
    return new


def _advice(absent: list[str], unexpected: list[str], own: Mapping, source: dict[str, str], state: Mapping) -> str:
    """A `rename` that makes every name fit, where one is found."""
    for name in absent if unexpected else ():
        common = _common_end(name, unexpected[0])
        old, new = unexpected[0][: len(unexpected[0]) - len(common)], name[: len(name) - len(common)]
        made = [new + given[len(old) :] if given.startswith(old) else given for given in unexpected]
        if common and sorted(made) == sorted(absent):
            return f'; write rename={{"{old}": "{new}"}}'
    if absent and unexpected and [np.shape(state[given]) for given in source.values()] == [value.shape for value in own.values()]:
        return "; the shapes are the same, in the same order: write rename=dict(zip(state, model.state_dict()))"
    return "; rename={...} gives names of the state others, strict=False loads what fits"


def _common_end(a: str, b: str) -> str:
    """The last names that two paths share: "0.weight" of "body.0.weight" and "module.0.weight"."""
    shared = []
    for one, other in zip(reversed(a.split(".")), reversed(b.split("."))):
        if one != other:
            break
        shared.append(one)
    return ".".join(reversed(shared))
