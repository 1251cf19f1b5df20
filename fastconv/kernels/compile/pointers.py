"""Kernels that others call by their address: those are compiled once, whatever window or tile the called one is compiled for.

    row = FunctionPointer(correlate_row, window, record, ...)     in Python: the kernel, a constant, and operands of the types that it is called with
    driver(work, tile, row, record, ...)                          compiled once for all rows
    call(row, plan, ...)                                          in kernels: correlate_row(window, plan, ...)

A depthwise pass has a window for each size of map; the loops around its rows took two thirds of each pass's time to compile.
"""

from collections.abc import Callable
from functools import cache

import llvmlite.binding as llvm
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.kernels.compile.kinds import AddressType, kind_of
from fastconv.kernels.compile.outline import symbol


class PointerType(AddressType):
    """kinds: what the kernel takes after its constant."""

    def __init__(self, kinds: tuple[types.Type, ...]):
        self.kinds = kinds
        super().__init__(name=f"FunctionPointer{kinds}")


_pointer_type = cache(PointerType)


class FunctionPointer:
    """A serial kernel, for a constant (a tile, a window) and for operands of the types that these have. Compiled when a launch first takes it."""

    __slots__ = ("_address", "_numba_type_", "kernel", "kinds")

    def __init__(self, kernel: Callable, constant, *operands):
        self.kernel, self.kinds = kernel, tuple(map(kind_of, (constant, *operands)))
        self._address, self._numba_type_ = 0, _pointer_type(self.kinds[1:])

    @property
    def address(self) -> int:
        """Of its machine code: compiled, or read from the disk."""
        self._address = self._address or llvm.address_of_symbol(symbol(self.kernel, self.kinds))
        return self._address


@intrinsic
def call(typing, pointer, *operands):
    """The kernel with its constant and these operands; no result."""
    given = tuple(map(types.unliteral, operands))
    if given != pointer.kinds:
        raise TypeError(f"call: a kernel for {pointer.kinds} was given {given}")

    def generate(context, builder, signature, values):
        kinds = types.none, *pointer.kinds  # of a constant nothing is passed
        function = builder.inttoptr(values[0], context.call_conv.get_function_type(types.none, kinds).as_pointer())
        operands = context.get_dummy_value(), *cgutils.unpack_tuple(builder, values[1])
        context.call_conv.call_function(builder, function, types.none, kinds, operands)  # kernels do not raise
        return context.get_dummy_value()

    return types.void(pointer, types.StarArgTuple(given)), generate
