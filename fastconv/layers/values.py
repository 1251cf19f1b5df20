"""A parameter's array as `Parameter.value` hands it out: it can be written, and tells its parameter that it was."""

import weakref

import numpy as np

WRITERS = (np.copyto, np.fill_diagonal, np.place, np.put, np.put_along_axis, np.putmask)  # functions that write their first argument


def _telling(name: str):
    """The method of that name, which writes the array, after the parameter was told."""
    method = getattr(np.ndarray, name)

    def told(self, *args, **words):
        _tell(self)
        return method(self, *args, **words)

    return told


class Shaped:
    """Something around an array, with its shape and dtype."""

    _value: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self._value.shape

    @property
    def dtype(self) -> np.dtype:
        return self._value.dtype

    @property
    def size(self) -> int:
        return self._value.size

    @property
    def ndim(self) -> int:
        return self._value.ndim


class Values(np.ndarray):
    """A view of a parameter's array, or a view of such a view. What is computed from it is a plain array.

    Only changes are told, reading is not: operators and functions with `out`, items, methods. What NumPy cannot see here stays unseen:
    writing through `np.asarray(values)`, `values.flat`, or as the `out` of a random generator.
    """

    _owner: weakref.ref | None = None

    @classmethod
    def of(cls, parameter, array: np.ndarray) -> "Values":
        values = array.view(cls)
        values._owner = weakref.ref(parameter)
        return values

    def __array_finalize__(self, source) -> None:
        self._owner = getattr(source, "_owner", None)

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **words):
        for target in (*out, *inputs[: method == "at"]):
            _tell(target)
        if out:
            words["out"] = tuple(map(_plain, out))
        results = getattr(ufunc, method)(*map(_plain, inputs), **words)
        if not out or results is NotImplemented:
            return results
        if len(out) == 1:
            return out[0]
        return tuple(result if target is None else target for target, result in zip(out, results))

    def __array_function__(self, func, types, args, words):
        for target in (words.get("out"), *args[: func in WRITERS]):
            _tell(target)
        return super().__array_function__(func, types, args, words)

    __setitem__, fill, partition, put, sort = map(_telling, ("__setitem__", "fill", "partition", "put", "sort"))

    def __reduce_ex__(self, protocol):
        return _plain(self).__reduce_ex__(protocol)

    def __repr__(self) -> str:
        return repr(_plain(self))


def _plain(array):
    return array.view(np.ndarray) if isinstance(array, Values) else array


def _tell(target) -> None:
    """Before it is written: what fails half-way has changed something, too."""
    owner = target._owner and target._owner() if isinstance(target, Values) else None
    if owner is not None:
        owner.count_change(_plain(target))
