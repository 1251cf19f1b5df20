"""What a caller passes, made into what a kernel may trust: float arrays of one dtype, dense, aligned, channels-last."""

import numpy as np

from fastconv import memory

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def floats(op: str, **arrays) -> list[np.ndarray]:
    """The operands as float32 or float64 arrays, all alike; nothing is cast. The bias b may be None. TypeError names the conversion to write."""
    checked: list = []
    first: tuple[str, np.dtype] | None = None
    for name, given in arrays.items():
        if given is None and name == "b":
            checked.append(None)
            continue
        array = _float_array(op, name, given)
        if first is None:
            first = name, array.dtype
        elif array.dtype != first[1]:
            raise TypeError(
                f"{op}: {name} is {array.dtype}, but {first[0]} is {first[1]}; all operands must be alike: write {name}.astype(np.{first[1]})"
            )
        checked.append(array)
    return checked


def _float_array(op: str, name: str, given) -> np.ndarray:
    if isinstance(given, tuple) and any(isinstance(part, np.ndarray) for part in given):
        raise TypeError(f"{op}: {name} is a tuple of {len(given)}; forward returns (y, backward): unpack it, or call the layer, `y = layer(x)`")
    if isinstance(given, np.ma.MaskedArray):
        raise TypeError(f"{op}: {name} is a masked array, and masks are not supported: write {name}.filled(value)")
    if given is None:
        raise TypeError(f"{op}: {name} is None; an array is needed")
    array = np.asarray(given)
    if array.dtype not in FLOATS:
        found = array.dtype.str if array.dtype.kind == "f" else array.dtype
        raise TypeError(f"{op}: {name} has dtype {found}, float32 or float64 is needed: write np.asarray({name}).astype(np.float32)")
    return array


def dense(a: np.ndarray) -> np.ndarray:
    """The same values in plain memory: C-contiguous, aligned, writeable (each other kind would be one more compilation)."""
    if a.flags.c_contiguous and a.flags.aligned:
        if a.flags.writeable:
            return a
        try:  # a read-only view of memory that is not, as a training pass returns it
            view = a.view()
            view.flags.writeable = True
            return view
        except ValueError:
            pass
    copy = memory.empty(a.shape, a.dtype)
    np.copyto(copy, a)
    return copy


def channels_last_5d(a: np.ndarray) -> np.ndarray:
    """(N, C, spatial...) as (N, C, D, H, W) on dense (N, D, H, W, C) memory; a copy only where the memory differs."""
    last = dense(a.transpose(0, *range(2, a.ndim), 1))
    N, *spatial, C = last.shape
    last = last.reshape(N, *(1,) * (3 - len(spatial)), *spatial, C)
    return last.transpose(0, 4, 1, 2, 3)


def weights_5d(w: np.ndarray) -> np.ndarray:
    """(OC, IC/G, K...) as dense (OC, IC/G, KD, KH, KW)."""
    return dense(w).reshape(*w.shape[:2], *(1,) * (5 - w.ndim), *w.shape[2:])


def shape_tuple(op: str, name: str, shape, axes: str) -> tuple[int, ...]:
    """A shape that a caller wrote, as a tuple of ints >= 0."""
    try:
        numbers = tuple(shape)
    except TypeError:
        raise TypeError(f"{op}: {name} must be a shape ({', '.join(axes.split())}), got {shape!r}") from None
    for number in numbers:
        if isinstance(number, (bool, np.bool_)) or not hasattr(number, "__index__"):
            raise TypeError(f"{op}: {name} must hold integers, got {shape!r}")
        if not 0 <= number < 2**31:
            raise ValueError(f"{op}: {name}={numbers} has an extent outside 0..{2**31 - 1}")
    return tuple(int(number) for number in numbers)
