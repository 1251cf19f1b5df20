"""Plans as kernels see them: a NamedTuple of numbers and tables, handed over as one argument.

In a kernel `plan.OH` is a number and `plan.input_offsets` an array. The record is a row of 64-bit words that Python makes once; a kernel
gets its address, so that it costs the same to pass whatever it holds (0.1 us; a NamedTuple of nine arrays 4 us).
"""

from functools import cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, lower_getattr_generic

from fastconv.kernels.compile.kinds import AddressType

WORD = ir.IntType(64)


class RecordType(AddressType):
    """The fields of a record, each with its first word and its type: int64, float64, a C-contiguous int64 array, or another record."""

    def __init__(self, name: str, kinds: tuple[tuple[str, types.Type], ...]):
        self.fields, word = {}, 0
        for field, kind in kinds:
            self.fields[field] = word, kind
            word += 1 + kind.ndim if isinstance(kind, types.Array) else 1
        super().__init__(name=f"Record({name}: {', '.join(f'{field} {kind}' for field, kind in kinds)})")


class Record:
    """A NamedTuple of ints, bools, floats, int64 arrays and other records, ready to be a kernel's argument; text is left out. Arrays stay alive."""

    __slots__ = ("_numba_type_", "address", "kept", "words")

    def __init__(self, plan: tuple):
        words: list[int] = []
        self.kept: list = []
        kinds: list[tuple[str, types.Type]] = []
        for field, value in zip(type(plan)._fields, plan):
            if isinstance(value, np.ndarray):
                value = np.ascontiguousarray(value, np.int64)
                self.kept.append(value)
                words += [value.__array_interface__["data"][0], *value.shape]
                kinds.append((field, types.Array(types.int64, value.ndim, "C")))
            elif isinstance(value, Record):
                self.kept.append(value)
                words.append(value.address)
                kinds.append((field, value._numba_type_))
            elif isinstance(value, float):
                words.append(int(np.float64(value).view(np.int64)))
                kinds.append((field, types.float64))
            elif isinstance(value, (int, np.integer, np.bool_)):
                words.append(int(value))
                kinds.append((field, types.int64))
        self.words = np.array(words, np.int64)
        self.address = self.words.__array_interface__["data"][0]
        self._numba_type_ = _record_type(type(plan).__qualname__, tuple(kinds))


@cache
def _record_type(name: str, kinds: tuple) -> RecordType:
    return RecordType(name, kinds)


@infer_getattr
class _Fields(AttributeTemplate):
    key = RecordType

    def generic_resolve(self, kind: RecordType, field: str):
        return kind.fields[field][1] if field in kind.fields else None


@lower_getattr_generic(RecordType)
def _read(context, builder, kind: RecordType, address, field: str):
    word, field_kind = kind.fields[field]
    pointer = builder.inttoptr(address, WORD.as_pointer())

    def load(i: int):
        value = builder.load(builder.gep(pointer, [ir.Constant(WORD, i)]))
        value.set_metadata("invariant.load", builder.module.add_metadata([]))  # loops may keep it in a register
        return value

    if not isinstance(field_kind, types.Array) and field_kind != types.float64:
        return load(word)  # an integer, or another record's address
    if field_kind == types.float64:
        return builder.bitcast(load(word), ir.DoubleType())
    return view(context, builder, field_kind, load(word), [load(word + 1 + axis) for axis in range(field_kind.ndim)])


def view(context, builder, kind: types.Array, data, shape: list):
    """A C-contiguous array on memory that somebody else keeps alive, as a value of Numba's; data: its address, or a pointer."""
    array = context.make_array(kind)(context, builder)
    itemsize = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    strides, step = [], ir.Constant(WORD, itemsize)
    for extent in reversed(shape):
        strides.insert(0, step)
        step = builder.mul(step, extent)
    pointer = array.data.type
    array.data = builder.inttoptr(data, pointer) if data.type == WORD else builder.bitcast(data, pointer)
    array.itemsize, array.nitems = ir.Constant(WORD, itemsize), builder.sdiv(step, ir.Constant(WORD, itemsize))
    array.shape, array.strides = cgutils.pack_array(builder, shape), cgutils.pack_array(builder, strides)
    array.meminfo, array.parent = (ir.Constant(value.type, None) for value in (array.meminfo, array.parent))
    return array._getvalue()


def borrowed(context, builder, kind: types.Type, value):
    """The same value, but arrays, also those in tuples, do not know who keeps them alive: kernels then count no references, which takes a short row
    as long as its products (atomic additions, at each call that is not inlined and each tuple that is made)."""
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo, array.parent = (ir.Constant(owner.type, None) for owner in (array.meminfo, array.parent))
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        parts = cgutils.unpack_tuple(builder, value)
        return context.make_tuple(builder, kind, [borrowed(context, builder, k, part) for k, part in zip(kind, parts)])
    return value
