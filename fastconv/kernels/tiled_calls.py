"""Calls by address: a kernel written in the vector vocabulary is compiled once for each tile, not again in each kernel that calls it.

Numba compiles a callee anew inside every caller, threaded and serial, once for each tile. The loops that only pack and deal out work are the
same for all tiles; so they take the tile's kernel as an argument, a `Compiled`, and `call` jumps there: half of the compile time.
"""

from collections.abc import Callable
from functools import cache

import numba
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import NativeValue, intrinsic, models, register_model, unbox

from fastconv.kernels.policy import serial
from fastconv.kernels.vectors import Tile


class CompiledType(types.Type):
    """Of all tiles' editions of one kernel: what it takes behind its tiles."""

    def __init__(self, tiles: int, arguments: tuple):
        self.tiles, self.arguments = tiles, arguments
        super().__init__(name=f"Compiled({tiles}, {arguments})")


@register_model(CompiledType)
class _Address(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, cgutils.intp_t)


@unbox(CompiledType)
def _unbox(kind, compiled, c):
    address = c.pyapi.object_getattr_string(compiled, "address")
    number = c.pyapi.number_as_ssize_t(address)
    c.pyapi.decref(address)
    return NativeValue(number)


class Compiled:
    """A kernel's machine code for some tiles; in kernels, what `call` calls."""

    def __init__(self, kernel, tiles: tuple[Tile, ...], arguments: tuple):
        signature = (*map(numba.typeof, tiles), *arguments)
        kernel.compile(signature)  # or reads it from the disk
        code = kernel.overloads[signature]
        self.address = code.library.get_pointer_to_function(code.fndesc.llvm_func_name)
        self._numba_type_ = CompiledType(len(tiles), arguments)


class Tiled:
    """A kernel f(tile, ..., *arguments), without a result. f.on(tile, ...) compiles it."""

    def __init__(self, function: Callable, arguments: Callable):
        self.__doc__, self.__name__, self.__wrapped__ = function.__doc__, function.__name__, function
        self.kernel, self.arguments = serial(function), arguments
        self.on = cache(self.on)

    def on(self, *tiles: Tile) -> Compiled:
        scalar = numba.from_dtype(tiles[0].dtype)
        return Compiled(self.kernel, tiles, self.arguments(scalar, types.intp))


def tiled(arguments: Callable) -> Callable:
    """The types of what a kernel takes behind its tiles, from the tile's number type f and the integer type i."""
    return lambda function: Tiled(function, arguments)


@intrinsic
def call(typing, compiled, *arguments):
    """Run a `Compiled` on these arguments."""
    if arguments != compiled.arguments:
        raise TypingError(f"call: {compiled} was given {arguments}")

    def generate(context, builder, signature, values):
        address, values = values[0], cgutils.unpack_tuple(builder, values[1])
        kinds = [types.voidptr] * compiled.tiles + list(arguments)  # a tile is all type: what stands for its value is never read
        pointer = builder.inttoptr(address, context.call_conv.get_function_type(types.none, kinds).as_pointer())
        context.call_conv.call_function(builder, pointer, types.none, kinds, [context.get_dummy_value()] * compiled.tiles + values)
        return context.get_dummy_value()

    return types.void(compiled, types.StarArgTuple(arguments)), generate
