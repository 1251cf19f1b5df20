"""What a state must hold before any of it is taken over."""

from collections.abc import Mapping

import numpy as np

from fastconv.geometry import array


def compare(own: dict, state: Mapping, owner: str) -> tuple[dict, list[str]]:
    """The entries that fit, arrays as arrays and numbers as Python numbers, and a sentence for each that does not. TypeError for no mapping."""
    if not isinstance(state, Mapping):
        raise TypeError(f"load_state_dict: state must be a dict, as the {owner}'s state_dict() gives it, got {type(state).__name__}")
    wrong = [f"missing {name}" for name in own if name not in state] + [f"unexpected {name}" for name in state if name not in own]
    fitting: dict = {}
    for name in own.keys() & state.keys():
        mine, new = np.asarray(own[name]), array("load_state_dict", name, state[name])
        if new.shape != mine.shape:
            wrong.append(f"{name} has the shape {new.shape}, the {owner}'s is {mine.shape}")
        elif new.dtype != mine.dtype:
            wrong.append(f"{name} is {new.dtype}, the {owner}'s is {mine.dtype}")
        else:
            fitting[name] = new if isinstance(own[name], np.ndarray) else new.item()
    return fitting, wrong


def refuse(wrong: list[str]) -> None:
    """One ValueError for all of them, if there are any."""
    if wrong:
        raise ValueError(f"load_state_dict: nothing was loaded: {'; '.join(sorted(wrong))}")
