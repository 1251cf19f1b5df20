"""Bad values, by names that a command line can hold; some are made from the valid value in whose place they go."""

from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

import numpy as np

One = IntEnum("One", ["ONE"])
NESTED: list = []
NESTED.append(NESTED)


class Lie(Exception):
    """What the caller's own object raises: passed on, as it is."""


class Liar:
    """Says it is a number, an array and a sequence, and fails as each."""

    def __index__(self, *args, **words):
        raise Lie

    __float__ = __array__ = __len__ = __iter__ = __getitem__ = __fspath__ = __index__


INTEGERS = {text: eval(text) for text in ("-1", "0", "1", "7", "-2**63", "2**31-1", "2**31", "2**62", "2**63", "2**64", "10**400")}
LARGE = (*list(INTEGERS)[-6:], "np.uint64")
FLOATS = {text: float(text) for text in ("1.5", "-0.5", "1e300", "5e-324", "nan", "inf", "-inf")}
NUMBERS = {
    **INTEGERS, **FLOATS, "1j": 1j, "enum": One.ONE, "np.int8": np.int8(-3), "np.uint64": np.uint64(2**64 - 1), "np.float16": np.float16(2),
    "np.nan": np.float32("nan"), "np.True": np.True_, "0-d": np.array(1.0), "0-d-int": np.array(1), "NaT": np.datetime64("NaT"),
}  # fmt: skip
WORDS = {"word": "x", "no-word": "", "digit": "1", "NUL": "a\0b", "surrogate": "\udcff", "bytes": b"x", "Path": Path("nowhere")}
CONTAINERS = {
    "list": [], "tuple": (), "dict": {}, "set": {1}, "frozenset": frozenset(), "str-dict": {"a": 1}, "bad-dict": {1: None}, "words": ["a", "b"],
    "ragged": [[1.0], [2.0, 3.0]], "Nones": [None, None], "ints": [1, 2, 3], "floats": [0.5, 0.5], "nans": [float("nan")] * 2,
    "deep": [[[[[[1.0]]]]]], "nested": NESTED, "negatives": (-1, -1), "2**64s": (2**64, 2**64), "zeros": (0, 0, 0, 0), "fours": (4, 4, 4, 4),
    "range": range(3), "large-shape": (1, 4, 2**20, 2**20), "huge-shape": (2**31, 4, 2**31, 2**31), "memoryview": memoryview(b"1234"),
    "no-array": np.zeros(0, np.float32), "array": np.ones((2, 2), np.float32), "int-array": np.arange(3), "bool-array": np.ones(2, bool),
}  # fmt: skip
OBJECTS = {
    "None": None, "True": True, "False": False, "Ellipsis": ..., "object": object(), "Liar": Liar(), "class": int, "module": np, "slice": slice(3),
    "lambda": lambda *args, **words: None, "generator": None, "dtype": np.dtype("f4"), "random": np.random.default_rng(0),
}  # fmt: skip
NONSENSE = ("object", "module", "slice", "1j")  # no argument's right value
ANYWHERE = OBJECTS | NUMBERS | WORDS | CONTAINERS


def _read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


OF_ARRAYS: dict[str, Callable[[np.ndarray], object]] = {
    "empty-first": lambda a: a[:0], "empty-last": lambda a: a[..., :0], "one-axis-less": lambda a: a[0], "one-axis-more": lambda a: a[None],
    "longer": lambda a: np.concatenate([a, a]), "shorter": lambda a: a[:-1], "wider": lambda a: np.repeat(a, 2, axis=-1), "flat": np.ravel,
    "matrix": lambda a: a.reshape(len(a), -1), "as-list": np.ndarray.tolist, "pair": lambda a: (a, None), "reversed": lambda a: a[::-1],
    "Fortran": np.asfortranarray, "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2], "stride-0": lambda a: np.broadcast_to(a[:1], a.shape),
    "read-only": _read_only, "swapped": lambda a: a.astype(a.dtype.newbyteorder()), "masked": np.ma.masked_array, "all-masked": np.ma.masked_all_like,
    "recarray": lambda a: a.view(np.recarray), "all-nan": lambda a: np.full(a.shape, np.nan, "f4"),
    "all-inf": lambda a: np.full(a.shape, np.inf, "f4"), "largest": lambda a: np.full(a.shape, 3e38, "f4"), "negative": np.negative,
    "plus-100": lambda a: a + 100, "2**40": lambda a: np.full(a.shape, 2**40),
}  # fmt: skip
for _kind in ("f2", "f4", "f8", "longdouble", "i4", "i8", "u1", "u8", "bool", "c8", "O", "U4", "m8[s]"):
    OF_ARRAYS[f"as-{_kind}"] = lambda a, kind=_kind: a.astype(kind)

OF_SHAPES: dict[str, Callable[[tuple], object]] = {
    "an-entry-more": lambda t: (*t, t[-1]), "an-entry-less": lambda t: t[:-1], "as-array": lambda t: np.asarray(t, object),
    "as-floats": lambda t: tuple(map(float, t)),
}  # fmt: skip
for _name in ("None", "word", "-1", "0", "1.5", "2**31", "2**64", "nan", "list", "object"):
    OF_SHAPES[f"first={_name}"] = lambda t, name=_name: (ANYWHERE[name], *t[1:])
    OF_SHAPES[f"third={_name}"] = lambda t, name=_name: (*t[:2], ANYWHERE[name], *t[3:])

OF_DICTS: dict[str, Callable[[dict], object]] = {
    "a-key-less": lambda d: dict(list(d.items())[1:]), "a-key-more": lambda d: d | {"more": np.zeros(1)},
    "int-keys": lambda d: dict(enumerate(d.values())),
}  # fmt: skip
for _name in ("None", "word", "nan", "2**64", "list", "object", "no-array", "array", "ragged", "Liar"):
    OF_DICTS[f"value={_name}"] = lambda d, name=_name: d | {next(iter(d)): ANYWHERE[name]}


def fitting(base: object) -> list[str]:
    """The names of the values to try in the place of this one."""
    return [*ANYWHERE, *_made_from(base)]


def make(name: str, base: object) -> object:
    if name == "generator":  # of one use
        return (i for i in range(3))
    return ANYWHERE[name] if name in ANYWHERE else _made_from(base)[name](base)


def _made_from(base: object) -> dict[str, Callable]:
    if isinstance(base, np.ndarray):
        return OF_ARRAYS
    if isinstance(base, tuple) and len(base) > 1 and all(isinstance(entry, int) for entry in base):
        return OF_SHAPES
    return OF_DICTS if isinstance(base, dict) and base else {}
