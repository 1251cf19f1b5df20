"""What lies around an input: what a coordinate outside of it reads, in each of the padding modes.

    zeros        0 0 0 | a b c d | 0 0 0
    reflect      d c b | a b c d | c b a
    replicate    a a a | a b c d | d d d
    circular     b c d | a b c d | a b c

`sources` is the one place that knows; everything else reads its tables.
"""

import numpy as np

from fastconv.geometry.words import AXES, LARGEST, integer, shown

MODES = ("zeros", "reflect", "replicate", "circular")


def padding_word(op: str, value: object) -> str:
    """`value` as one of the four modes, ValueError if it is none."""
    if not isinstance(value, str) or value not in MODES:
        raise ValueError(f"{op}: padding_mode must be one of {', '.join(map(repr, MODES))}, got {shown(value)}")
    return str(value)


def check_reach(op: str, mode: str, extent: tuple, pairs: tuple, word: str = "padding_mode") -> None:
    """ValueError where a mode would have to read the input a second time: reflect pads less than the extent, circular at most that."""
    for name, I, pair in zip(AXES[3 - len(extent) :], extent, pairs):
        limit = {"reflect": I - 1, "circular": I}.get(mode)
        if limit is not None and max(pair) > limit:
            raise ValueError(f'{op}: {word}="{mode}" can pad at most {limit} cells at each end along {name}, where I{name}={I}; got {pair}')


def sources(i: np.ndarray, I: int, mode: str) -> np.ndarray:
    """Which of an axis' I cells each coordinate i reads; -1: none, a zero of the padding."""
    if mode == "zeros":
        return np.where((i >= 0) & (i < I), i, -1)
    if mode == "reflect":
        return I - 1 - abs(I - 1 - abs(i))
    return np.clip(i, 0, I - 1) if mode == "replicate" else i % I


def pad_words(op: str, padding: object) -> int | tuple:
    """The padding of an array whose rank is not known yet: an int, a tuple of ints or one of pairs. Negative ones crop."""
    if not isinstance(padding, (tuple, list)):
        return integer(op, "padding", padding, -LARGEST)
    paired = [isinstance(entry, (tuple, list)) for entry in padding]
    if all(paired) and all(len(pair) == 2 for pair in padding):
        return tuple(tuple(integer(op, f"padding[{i}]", p, -LARGEST) for p in pair) for i, pair in enumerate(padding))
    if any(paired) or len(padding) % 2:
        raise ValueError(f"{op}: padding must be an integer, as many pairs as dimensions, or (left, right, top, bottom, ...), got {shown(padding)}")
    return tuple(integer(op, f"padding[{i}]", p, -LARGEST) for i, p in enumerate(padding))


def pad_pairs(op: str, padding: int | tuple, extent: tuple, mode: str) -> tuple[tuple[int, int], ...]:
    """(before, after) of each spatial dimension; ValueError where they do not fit the rank, a mode cannot pad that far or nothing is left.

    Pairs are those of the dimensions, outermost first; numbers go from the last dimension outwards, as PyTorch's do, and need not reach the first.
    """
    rank, names = len(extent), AXES[3 - len(extent) :]
    if isinstance(padding, int):
        pairs = ((padding, padding),) * rank
    elif padding and isinstance(padding[0], tuple):
        pairs = padding * rank if len(padding) == 1 else padding
    else:
        pairs = ((0, 0),) * (rank - len(padding) // 2) + tuple(zip(padding[::2], padding[1::2]))[::-1]
    if len(pairs) != rank:
        raise ValueError(f"{op}: padding={shown(padding)} does not fit {rank} spatial dimension{'s' * (rank > 1)} ({', '.join(names)})")
    check_reach(op, mode, extent, pairs, "mode")
    for name, I, pair in zip(names, extent, pairs):
        cropped = -sum(min(0, p) for p in pair)
        if I + sum(pair) < 1 or cropped > (I - 1 if mode == "circular" else I):
            raise ValueError(f"{op}: padding {pair} leaves nothing of I{name}={I}")
    return pairs
