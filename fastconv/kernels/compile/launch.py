"""How the work of a pass is dealt out to threads: one `prange` for all kernels.

A pass is a driver, compiled code that is called from Python once. It walks over its stages with `spread`; a stage is a serial function of
some of its work items, `kernel(work, *operands)` with `work.first`, `work.stop` and its own part of a scratch array, `work.scratch`:

    spread(pool, chunks, items, kernel, scratch, *operands)      for chunk in prange(chunks): kernel(its items, *operands)

Items are dealt out in chunks of neighbors. Each item owns what it writes, so that results do not depend on how many chunks or threads
there are. `pool` is the address of the one parallel loop, or 0: then the same code runs on the calling thread.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from fastconv.kernels.compile.flags import FLAGS, PARALLEL, compiled
from fastconv.kernels.compile.kinds import kind_of
from fastconv.kernels.compile.notes import under_way
from fastconv.kernels.compile.outline import call_by_name
from fastconv.kernels.compile.pointers import FunctionPointer
from fastconv.kernels.compile.records import WORD, borrowed, view
from fastconv.kernels.compile.threads import team

BYTES = ir.IntType(8).as_pointer()
CHUNK = ir.FunctionType(ir.VoidType(), [BYTES, WORD])  # what the parallel loop calls: its arguments' address, the chunk's number


class Work(NamedTuple):
    """The items of a chunk, first <= item < stop, and the scratch memory that is its own."""

    first: int
    stop: int
    scratch: np.ndarray


@intrinsic
def _run(typing, function, arguments, chunk):
    """Call a chunk function by its address."""

    def generate(context, builder, signature, values):
        function, arguments, chunk = values
        builder.call(builder.inttoptr(function, CHUNK.as_pointer()), [builder.inttoptr(arguments, BYTES), chunk])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


def for_each_chunk(function, arguments, chunks):
    """The only parallel loop. np.int64: prange counts unsigned."""
    for chunk in prange(chunks):
        _run(function, arguments, np.int64(chunk))


for_each_chunk = compiled(for_each_chunk, FLAGS | {"parallel": PARALLEL})
POOL = (types.intp, types.intp, types.intp)


@cache
def pool_address() -> int:
    """The address of the parallel loop's machine code."""
    for_each_chunk.compile(POOL)  # or reads it from the disk
    code = for_each_chunk.overloads[POOL]
    return code.library.get_pointer_to_function(code.fndesc.llvm_func_name)


@intrinsic
def spread(typing, pool, chunks, items, kernel, scratch, *operands):
    """kernel(Work(first, stop, scratch), *operands) for all items, in so many chunks, each with an equal part of the scratch array."""
    work = types.NamedTuple((types.intp, types.intp, scratch), Work)
    operands = tuple(map(types.unliteral, operands))

    def generate(context, builder, signature, values):
        pool, chunks, items, _, scratch, more = values
        arguments = [scratch, *cgutils.unpack_tuple(builder, more)]
        kinds = signature.args[4], *operands
        arguments = [chunks, items, *(borrowed(context, builder, kind, value) for kind, value in zip(kinds, arguments))]
        kept = cgutils.alloca_once(builder, ir.LiteralStructType([value.type for value in arguments]))
        for i, value in enumerate(arguments):
            builder.store(value, cgutils.gep_inbounds(builder, kept, 0, i))
        function = _chunk_function(context, builder.module, kernel.dispatcher, kept.type, (work, *operands))
        alone = builder.or_(*(builder.icmp_signed("==", value, ir.Constant(WORD, n)) for value, n in ((pool, 0), (chunks, 1))))
        with builder.if_else(alone) as (here, there):
            with here, cgutils.for_range(builder, chunks) as loop:
                builder.call(function, [builder.bitcast(kept, BYTES), loop.index])
            with there:
                address = builder.inttoptr(pool, context.call_conv.get_function_type(types.none, POOL).as_pointer())
                numbers = [builder.ptrtoint(function, WORD), builder.ptrtoint(kept, WORD), chunks]
                context.call_conv.call_function(builder, address, types.none, POOL, numbers)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, kernel, scratch, types.StarArgTuple(operands)), generate


def _chunk_function(context, module, kernel, arguments, kinds):
    """chunk_function(arguments, chunk): the kernel on that chunk's items."""
    work, scratch = kinds[0], kinds[0].types[2]
    function = ir.Function(module, CHUNK, module.get_unique_name("chunk"))
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    address, chunk = function.args
    kept = builder.bitcast(address, arguments)
    chunks, items, whole, *operands = (builder.load(cgutils.gep_inbounds(builder, kept, 0, i)) for i in range(len(arguments.pointee.elements)))
    following = builder.add(chunk, ir.Constant(WORD, 1))
    first, stop = (builder.sdiv(builder.mul(items, number), chunks) for number in (chunk, following))
    array = context.make_array(scratch)(context, builder, whole)
    length = builder.sdiv(array.nitems, chunks)
    part = view(context, builder, scratch, builder.gep(array.data, [builder.mul(length, chunk)]), [length])
    own = context.make_tuple(builder, work, [first, stop, part])
    call_by_name(context, builder, kernel, kinds, [own, *operands])
    builder.ret_void()
    return function


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """For compiling: it makes a million objects that all live on, and looking for garbage among them took a fifth of its time.

    Under Numba's lock, which a fork takes, too: no child is forked meanwhile, to live without a collector.
    """
    with global_compiler_lock:
        before = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if before:
                gc.enable()


class Driver:
    """A pass in compiled code, f(pool, *operands). From Python: f.bind() once, then `bound(work, *operands)` with operands of the same types."""

    def __init__(self, function: Callable):
        self.__doc__, self.__name__, self.__wrapped__ = function.__doc__, function.__name__, function
        self.code = compiled(function, FLAGS)

    def bind(self) -> "Bound":
        return Bound(self)

    def entry(self, *kinds: types.Type) -> Callable:
        """The machine code for operands of these types: called without looking at them again (1 us less)."""
        signature = (types.intp, *kinds)
        self.code.compile(signature)  # or reads it from the disk
        return self.code.get_overload(signature)


class Bound:
    """A driver for operands of the types that the first call has; arrays are C-contiguous. Called with the number of operations first (`TINY`)."""

    __slots__ = ("driver", "entry")

    def __init__(self, driver: Driver):
        self.driver = driver
        self.entry: Callable | None = None

    def __call__(self, work: float, *operands) -> None:
        if under_way.notes is None:
            self.run(work, *operands)
        else:
            under_way.notes.launch(self, work, operands)

    def prepare(self, operands: tuple) -> None:
        """The machine code for operands of these types: compiled, or read from the disk."""
        with no_garbage_collection():
            _ = [operand.address for operand in operands if isinstance(operand, FunctionPointer)]
            self.entry = self.driver.entry(*map(kind_of, operands))

    def run(self, work: float, *operands) -> None:
        if self.entry is None:
            self.prepare(operands)
        if work < team.least:  # as `launch` does, 0.7 us sooner: half of what a tiny pass takes
            self.entry(0, *operands)
        else:
            team.launch(self._threaded, self._alone, work, operands)

    def _threaded(self, *operands) -> None:
        self.entry(pool_address(), *operands)

    def _alone(self, *operands) -> None:
        self.entry(0, *operands)


driver = Driver


def chunks(items: int, work: float) -> int:
    """Into how many chunks the items of a pass are dealt out: some for each thread, so that one that is held up holds up little. No result depends
    on it. work: the pass's operations, as it is called with."""
    return min(items, 1 if work < team.least else 4 * team.size)


def threads_for(work: float) -> int:
    """How many threads a pass of so many operations runs on."""
    return 1 if work < team.least else team.size


class Parallel:
    """A kernel `f(*arrays)` whose outermost loop is a `prange` of its own; called with the number of its operations first."""

    def __init__(self, function: Callable):
        self.__doc__, self.__name__, self.__wrapped__ = function.__doc__, function.__name__, function
        self.threaded = compiled(function, FLAGS | {"parallel": PARALLEL})
        self.alone = compiled(function, FLAGS)

    def __call__(self, work: float, *args) -> None:
        team.launch(self.threaded, self.alone, work, args)


parallel = Parallel
