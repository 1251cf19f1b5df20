"""The words of a caller (`stride=2`, `padding="same"`) turned into checked integers, one per spatial dimension.

Everything is compared as Python integers before anything is allocated, so 2**63 is a ValueError and not a crash.
"""

import math
import operator
from collections.abc import Iterable

import numpy as np

LARGEST = 2**31 - 1
SHOWN = 100  # characters of a value in a message
AXES = "DHW"  # the names of the spatial dimensions, innermost last


def shown(value: object) -> str:
    """`value` as a message shows it: on one line, or only its type."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an int of more than 4300 digits
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= SHOWN and "\n" not in text else f"a value of type {type(value).__name__}"


def whole(op: str, name: str, value: object) -> int:
    """`value` as an int of any size. TypeError for what is not an integer: bool, float, str, None."""
    try:
        return operator.index(None if isinstance(value, (bool, np.bool_)) else value)  # type: ignore[arg-type]  # the TypeError is wanted
    except TypeError:
        raise TypeError(f"{op}: {name} must be an integer, got {shown(value)} ({type(value).__name__})") from None


def integer(op: str, name: str, value: object, least: int) -> int:
    """`value` as an int in least..2**31-1. TypeError for what is not an integer (bool, float, str, None), ValueError out of range."""
    number = whole(op, name, value)
    if not least <= number <= LARGEST:
        raise ValueError(f"{op}: {name} must be between {least} and {LARGEST}, got {shown(number)}")
    return number


def real(op: str, name: str, value: object) -> float:
    """`value` as a float, NaN and Inf included. TypeError for what is no number (bool, str, None)."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{op}: {name} must be a number, got {shown(value)}")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def number(op: str, name: str, value: object, most: float = math.inf) -> float:
    """`value` as a finite float in 0..most. TypeError for what is no number (bool, str, None), ValueError out of range."""
    if not (math.isfinite(real(op, name, value)) and 0 <= value <= most):  # type: ignore[operator]  # real says what it is
        raise ValueError(f"{op}: {name} must be finite and >= 0{f' and <= {most:g}' if most < math.inf else ''}, got {shown(value)}")
    return float(value)


def array(op: str, name: str, value: object) -> np.ndarray:
    """`value` as NumPy makes an array of it; ValueError where it makes none."""
    try:
        return np.asarray(value)
    except ValueError as error:  # lists of different lengths
        raise ValueError(f"{op}: {name} is no array: its rows differ in length or hold what is no number ({error})") from None


def entries(value: object) -> list:
    """What `value` holds, in a list; nothing where it cannot be gone through, as an array without axes."""
    try:
        return list(value) if isinstance(value, Iterable) else []
    except TypeError:
        return []


def flag(op: str, name: str, value: object) -> bool:
    """`value` as a bool; TypeError for anything but True and False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{op}: {name} must be True or False, got {shown(value)}")
    return bool(value)


def instance(op: str, name: str, value: object, kind: type, wanted: str) -> None:
    """TypeError where `value` is no `kind`, in the words `wanted`."""
    if not isinstance(value, kind):
        raise TypeError(f"{op}: {name} must be {wanted}, got {described(value)}")


def function(op: str, name: str, value: object, wanted: str) -> None:
    """TypeError where `value` cannot be called, or is a class, whose call makes something else."""
    if isinstance(value, type) or not callable(value):
        raise TypeError(f"{op}: {name} must be {wanted}, got {described(value)}")


def described(value: object) -> str:
    """What was given where something else was wanted; of a class or function, that its call may be what was meant."""
    if isinstance(value, type):
        return f"the class {value.__name__}: call it, {value.__name__}(...)"
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__}: call it, {value.__name__}(...)"
    if value is None or isinstance(value, (str, bool, int, float)):
        return repr(value)
    return type(value).__name__


def spatial(op: str, name: str, value: object, rank: int, least: int = 1) -> tuple[int, ...]:
    """An int, or a sequence of 1 or `rank` ints, as `rank` ints."""
    if not isinstance(value, (tuple, list)):
        return (integer(op, name, value, least),) * rank
    numbers = tuple(integer(op, f"{name}[{i}]", v, least) for i, v in enumerate(value))
    return _one_per_dimension(op, name, value, numbers, rank)


def padding_pairs(op: str, padding: object, kernel: tuple, stride: tuple, dilation: tuple, extent: tuple) -> tuple:
    """(before, after) per spatial dimension from an int, a tuple of ints or of pairs, "same", "valid" or "causal".

    "same" gives ceil(I / S) outputs with the smallest padding that reaches that; its odd cell goes to the end. "causal", for one dimension, pads
    a window's reach before the input and nothing after it: no output sees what comes later.
    """
    rank = len(extent)
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * rank
        if padding == "same":
            return tuple(map(_same, kernel, stride, dilation, extent))
        if padding == "causal" and rank == 1:
            return ((dilation[0] * (kernel[0] - 1), 0),)
        if padding == "causal":
            raise ValueError(f'{op}: padding="causal" is for one dimension, here are {rank}: write (before, after) pairs, one for each')
        raise ValueError(f'{op}: padding must be "same", "valid", "causal" (in 1-D), an integer or a tuple, got {shown(padding)}')
    if not isinstance(padding, (tuple, list)):
        amount = integer(op, "padding", padding, 0)
        return ((amount, amount),) * rank
    pairs = []
    for i, entry in enumerate(padding):
        pair = entry if isinstance(entry, (tuple, list)) else (entry, entry)
        if len(pair) != 2:
            raise ValueError(f"{op}: padding[{i}] must be an integer or a pair (before, after), got {shown(entry)}")
        pairs.append(tuple(integer(op, f"padding[{i}]", p, 0) for p in pair))
    return _one_per_dimension(op, "padding", padding, tuple(pairs), rank)


def _one_per_dimension(op: str, name: str, value: object, entries: tuple, rank: int) -> tuple:
    if len(entries) == 1:
        return entries * rank
    if len(entries) == rank:
        return entries
    hint = f"; to pad before and after differently write padding=({value},)" if name == "padding" and rank == 1 and len(entries) == 2 else ""
    dimensions = f"{rank} spatial dimension{'s' * (rank > 1)} ({', '.join(AXES[3 - rank :])})"
    raise ValueError(f"{op}: {name}={shown(value)} has {len(entries)} entries for {dimensions}{hint}")


def _same(K: int, S: int, D: int, I: int) -> tuple[int, int]:
    total = max(0, (-(-I // S) - 1) * S + D * (K - 1) + 1 - I)
    return total // 2, total - total // 2
