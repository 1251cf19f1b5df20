"""What a caller passes, made into what a kernel may trust: float arrays of one dtype, dense, aligned, channels-last."""

import math
import sys

import numpy as np

from fastconv import memory
from fastconv.geometry import LARGEST, array, shown, whole
from fastconv.kernels.compile import each_time

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def floats(op: str, **arrays) -> list[np.ndarray]:
    """The operands as float32 or float64 arrays, all alike; nothing is cast. The bias b may be None. TypeError names the conversion to write."""
    checked: list = []
    first: tuple[str, np.dtype] | None = None
    for name, given in arrays.items():
        if given is None and name == "b":
            checked.append(None)
            continue
        operand = _float_array(op, name, given)
        if first is None:
            first = name, operand.dtype
        elif operand.dtype != first[1]:
            raise TypeError(_unlike(op, arrays, *first, name, operand.dtype))
        checked.append(operand)
    return checked


def _unlike(op: str, arrays: dict, first: str, dtype: np.dtype, name: str, found: np.dtype) -> str:
    """The advice is to convert what NumPy made float64 unasked, mostly x; of three operands the one that is unlike both others, the bias."""
    odd, wanted = (first, found) if dtype == np.float64 and name != "b" else (name, dtype)
    return f"{op}: {name} is {found}, but {first} is {dtype}; all operands must be alike: write {_conversion(odd, arrays[odd], wanted)}"


def of_layer(op: str, x, dtype: np.dtype) -> None:
    """TypeError where x has another dtype than the layer: both ways out of that."""
    if getattr(x, "dtype", None) is dtype:  # the usual case takes 0.1 us
        return
    found = _float_array(op, "x", x, dtype).dtype
    if found != dtype:
        conversion = _conversion("x", x, dtype)
        raise TypeError(f"{op}: the layer is {dtype}, x is {found}: write {conversion} or make the layer with dtype=np.{found}")


def _conversion(name: str, given, dtype: np.dtype) -> str:
    return f"{name}.astype(np.{dtype})" if isinstance(given, np.ndarray) else f"np.asarray({name}, np.{dtype})"


def _float_array(op: str, name: str, given, wanted: np.dtype = FLOATS[0]) -> np.ndarray:
    if type(given) is np.ndarray and given.dtype in FLOATS:
        return given
    if isinstance(given, tuple) and any(isinstance(part, np.ndarray) for part in given):
        raise TypeError(f"{op}: {name} is a tuple of {len(given)}; forward returns (y, backward): unpack it, or call the layer, `y = layer(x)`")
    no_mask(op, name, given)
    if given is None:
        raise TypeError(f"{op}: {name} is None; an array is needed")
    made = array(op, name, given)
    if made.dtype not in FLOATS:
        if not isinstance(given, (np.ndarray, np.generic, list, tuple)) and made.dtype.kind not in "biufc":
            raise TypeError(f"{op}: {name} must be an array of float32 or float64, got {type(given).__name__}")
        found = made.dtype.str if made.dtype.kind == "f" else made.dtype
        image = ", then / 255 for an image of 0 to 255" if made.dtype == np.uint8 else ""
        raise TypeError(f"{op}: {name} has dtype {found}, float32 or float64 is needed: write np.asarray({name}).astype(np.{wanted}){image}")
    return made


def no_mask(op: str, name: str, given) -> None:
    if isinstance(given, np.ma.MaskedArray):
        raise TypeError(f"{op}: {name} is a masked array, and masks are not supported: write {name}.filled(value)")


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
    each_time(np.copyto, copy, a)
    return copy


def shape_tuple(op: str, name: str, shape, axes: str = "N C ...") -> tuple[int, ...]:
    """A shape that a caller wrote, as a tuple of ints >= 0 whose elements can be addressed. axes: what they are called."""
    wanted = f"{name} must be a shape ({', '.join(axes.split())})"
    if getattr(shape, "ndim", 1) != 1:
        raise TypeError(f"{op}: {wanted}, got an array: write x.shape")
    if not isinstance(shape, (tuple, list, np.ndarray)):
        raise TypeError(f"{op}: {wanted}, got {shown(shape)}")
    try:
        numbers = tuple(whole(op, name, number) for number in shape)
    except TypeError:
        raise TypeError(f"{op}: {name} must hold integers, got {shown(shape)}") from None
    if not all(0 <= number <= LARGEST for number in numbers):
        raise ValueError(f"{op}: {name}={numbers} has an extent outside 0..{LARGEST}")
    if math.prod(numbers) * FLOATS[-1].itemsize > sys.maxsize:
        raise ValueError(f"{op}: {name}={numbers} has more elements than this machine can address")
    return numbers
