"""Kernels that are compiled once for their types and called by name, not copied into every kernel that calls them.

Numba links a callee's code into each caller and optimizes it again there, at each level of calls: packing, which is the same for all tiles,
would be compiled for each of them (a pass of one tile: 6 s instead of 2.5). A name is resolved when a caller's machine code is loaded, so
the callees of code from the disk are loaded first (`compile.cache`).
"""

import hashlib
import importlib
from collections.abc import Callable

import llvmlite.binding as llvm
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.kernels.compile import cache
from fastconv.kernels.compile.flags import INNER, compiled


def symbol(kernel, arguments: tuple) -> str:
    """The name under which the kernel's machine code for these types can be called; it is compiled, or read from the disk."""
    function = kernel.py_func
    name = f"fastconv.{function.__module__}.{function.__qualname__}.{hashlib.sha256(repr(arguments).encode()).hexdigest()[:16]}"
    if name not in cache.named:
        kernel.compile(arguments)
        code = kernel.overloads[arguments]
        llvm.add_symbol(name, code.library.get_pointer_to_function(code.fndesc.llvm_func_name))
        cache.named[name] = function.__module__, function.__qualname__, arguments
    return name


def make_known(module: str, function: str, arguments: tuple) -> None:
    """Before machine code is loaded that calls this kernel by name."""
    kernel = getattr(importlib.import_module(module), function)
    symbol(getattr(kernel, "kernel", kernel), arguments)


def call_by_name(context, builder, kernel, arguments: tuple, values: list) -> None:
    """LLVM's code for kernel(*values)."""
    callee = cgutils.get_or_insert_function(builder.module, context.call_conv.get_function_type(types.none, arguments), symbol(kernel, arguments))
    context.call_conv.call_function(builder, callee, types.none, arguments, values)  # kernels do not raise


def outlined(function: Callable):
    """A kernel without a result that is called by name."""
    kernel = compiled(function, INNER)

    def call(typing, *arguments):
        arguments = tuple(map(types.unliteral, arguments))
        symbol(kernel, arguments)

        def generate(context, builder, signature, values):
            call_by_name(context, builder, kernel, arguments, cgutils.unpack_tuple(builder, values[0]))
            return context.get_dummy_value()

        return types.void(types.StarArgTuple(arguments)), generate

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    call = intrinsic(call)
    call.kernel = kernel
    return call


cache.on_load[:] = [make_known]
