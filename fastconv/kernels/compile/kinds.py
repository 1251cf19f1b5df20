"""What an operand is to the compiler: its Numba type; values that are all type, as tiles, windows, functions; and those that are an address."""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import NativeValue, infer_getattr, lower_getattr_generic, models, register_model, unbox


def kind_of(value) -> types.Type:
    """The Numba type of an operand; of an array only dtype and rank count, so that a read-only one compiles nothing new."""
    if isinstance(value, np.ndarray):
        return types.Array(numba.from_dtype(value.dtype), value.ndim, "C")
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return types.Tuple([kind_of(entry) for entry in value])
    return types.intp if isinstance(value, int) else numba.typeof(value)


class ConstantType(types.Type):
    """Of values of which nothing is passed to a kernel: the compiler knows what the type carries. `fields`: integers that kernels read."""

    fields: tuple[str, ...] = ()

    def __init_subclass__(cls):
        register_model(cls)(models.OpaqueModel)


@unbox(ConstantType)
def _unbox(kind, value, c):
    return NativeValue(c.context.get_dummy_value())


@infer_getattr
class _Fields(AttributeTemplate):
    key = ConstantType

    def generic_resolve(self, kind: ConstantType, field: str):
        return types.intp if field in kind.fields else None


@lower_getattr_generic(ConstantType)
def _read(context, builder, kind: ConstantType, value, field: str):
    """Nothing is compiled for it: as an overload each field of each type took 30 ms, all of a MobileNet's 2 s."""
    return ir.Constant(context.get_value_type(types.intp), getattr(kind, field))


class _Word(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, cgutils.intp_t)


class AddressType(types.Type):
    """Of objects of which a kernel is passed their `address` alone. A subclass is registered where it is written."""

    def __init_subclass__(cls):
        register_model(cls)(_Word)


@unbox(AddressType)
def _unbox_address(kind, value, c):
    address = c.pyapi.object_getattr_string(value, "address")
    number = c.pyapi.number_as_ssize_t(address)
    c.pyapi.decref(address)
    return NativeValue(number)
