"""How kernels are compiled. The flags are here and nowhere else; the decorators are listed in the package."""

from collections.abc import Callable

from numba import njit, types

from fastconv.kernels.compile.cache import KernelCache

# No "nnan" or "ninf": max must see NaN. No "reassoc": the bits of a sum would depend on the CPU and on the layout.
# "contract" lets a * b + c become one instruction. "nogil" lets other Python threads run meanwhile.
FLAGS = {"fastmath": {"nsz", "contract"}, "error_model": "numpy", "nogil": True, "boundscheck": False}
# Only `prange` makes threads; array expressions stay what they are (and compile faster).
PARALLEL = {
    "prange": True, "comprehension": False, "fusion": False, "inplace_binop": False,
    "numpy": False, "reduction": False, "setitem": False, "stencil": False,
}  # fmt: skip

INNER = FLAGS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # of kernels that only kernels call: a fifth less to compile


def compiled(function: Callable, flags: dict):
    """A Numba dispatcher with our own cache on disk."""
    dispatcher = njit(**flags)(function)
    if hasattr(dispatcher, "_cache"):  # private to Numba; without it kernels still work, compiled in each process
        dispatcher._cache = KernelCache(function, flags)
    return dispatcher


def reference(function: Callable):
    return compiled(function, FLAGS | {"fastmath": False})


def serial(function: Callable):
    """A constant argument is a number like others: Numba would compile the kernel for each, `table(plan, memory, 0)`, `table(plan, memory, 1)`."""
    kernel = compiled(function, INNER)
    template = kernel.get_call_template
    kernel.get_call_template = lambda arguments, words: template(tuple(map(types.unliteral, arguments)), words)
    return kernel


def inlined(function: Callable):
    """Part of the kernel that calls it, as if it were written there: compiled and optimized once, with it."""
    return njit(inline="always", **FLAGS)(function)
