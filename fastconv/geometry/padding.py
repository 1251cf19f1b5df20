"""What lies around an input: what a coordinate outside of it reads, in each of the padding modes.

    zeros        0 0 0 | a b c d | 0 0 0
    reflect      d c b | a b c d | c b a
    replicate    a a a | a b c d | d d d
    circular     b c d | a b c d | a b c

`sources` is the one place that knows; everything else reads its tables.
"""

import numpy as np

from fastconv.geometry.words import AXES, shown

MODES = ("zeros", "reflect", "replicate", "circular")


def padding_word(op: str, value: object) -> str:
    """`value` as one of the four modes, ValueError if it is none."""
    if not isinstance(value, str) or value not in MODES:
        raise ValueError(f"{op}: padding_mode must be one of {', '.join(map(repr, MODES))}, got {shown(value)}")
    return str(value)


def check_reach(op: str, mode: str, extent: tuple, pairs: tuple) -> None:
    """ValueError where a mode would have to read the input a second time: reflect pads less than the extent, circular at most that."""
    for name, I, pair in zip(AXES[3 - len(extent) :], extent, pairs):
        limit = {"reflect": I - 1, "circular": I}.get(mode)
        if limit is not None and max(pair) > limit:
            raise ValueError(f'{op}: padding_mode="{mode}" can pad at most {limit} cells at each end along {name}, where I{name}={I}; got {pair}')


def sources(i: np.ndarray, I: int, mode: str) -> np.ndarray:
    """Which of an axis' I cells each coordinate i reads; -1: none, a zero of the padding."""
    if mode == "zeros":
        return np.where((i >= 0) & (i < I), i, -1)
    if mode == "reflect":
        return I - 1 - abs(I - 1 - abs(i))
    return np.clip(i, 0, I - 1) if mode == "replicate" else i % I
