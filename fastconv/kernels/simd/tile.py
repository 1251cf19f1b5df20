"""Register tiles: the types of the vector vocabulary, and the LLVM that its intrinsics share.

A `Tile` is a Python object whose Numba *type* carries MR rows, NV vectors of LANES elements and the dtype: a kernel that takes one is
compiled once for each tile, by its signature. Its `Accumulators` are MR x NR running sums, NR = NV * LANES, and stay in MR * NV registers.
"""

from functools import cache

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from fastconv.kernels.compile import ConstantType

BIT, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
ELEMENTS = {types.float32: (ir.FloatType(), "f32", 4), types.float64: (ir.DoubleType(), "f64", 8)}  # in LLVM: type, suffix, bytes


class Tile:
    """MR rows (pixels, as a rule) x NV vectors of LANES elements (output channels, as a rule). Kernels read MR, NR and LANES of theirs."""

    def __init__(self, MR: int, NV: int, LANES: int, dtype: np.dtype):
        self.MR, self.NV, self.LANES, self.dtype = MR, NV, LANES, np.dtype(dtype)
        self.NR = NV * LANES
        self._numba_type_ = tile_type(MR, NV, LANES, numba.from_dtype(self.dtype))  # kept: a property would make it anew at each call (6 us)

    def __repr__(self) -> str:
        return f"Tile({self.MR}, {self.NV}, {self.LANES}, {self.dtype})"


class TileType(ConstantType):
    fields = "MR", "NR", "LANES"

    def __init__(self, MR, NV, LANES, element):
        self.MR, self.NV, self.NR, self.LANES, self.element = MR, NV, NV * LANES, LANES, element
        scalar, self.suffix, self.bytes = ELEMENTS[element]
        self.vector = ir.VectorType(scalar, LANES)
        super().__init__(name=f"Tile({MR}, {NV}, {LANES}, {element})")


tile_type = cache(TileType)


class Accumulators(types.Type):
    """The running sums of a tile, (MR, NR)."""

    def __init__(self, tile):
        self.registers = ir.ArrayType(tile.vector, tile.MR * tile.NV)
        super().__init__(name=f"Accumulators<{tile.name}>")


class Offsets(types.Type):
    """Where the MR rows of a tile begin in memory, counted in elements."""

    def __init__(self, tile):
        self.registers = ir.ArrayType(I64, tile.MR)
        super().__init__(name=f"Offsets<{tile.name}>")


@register_model(Accumulators)
@register_model(Offsets)
class _InRegisters(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, kind.registers)


@intrinsic
def one_row(typing, tile):
    """The tile of a single row with the same vectors."""
    return tile_type(1, tile.NV, tile.LANES, tile.element)(tile), lambda context, *_: context.get_dummy_value()


@intrinsic
def square(typing, tile):
    """The tile of LANES rows of one vector: what `transpose` takes."""
    return tile_type(tile.LANES, 1, tile.LANES, tile.element)(tile), lambda context, *_: context.get_dummy_value()


def address(context, builder, array_type, array, offset):
    """The address of array.ravel()[offset]."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [offset])


def after(builder, pointer, offset: int):
    return builder.gep(pointer, [ir.Constant(I64, offset)])


def splat(builder, scalar, vector):
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, vector.count), None))


def load(builder, tile, pointer):
    value = builder.load(builder.bitcast(pointer, tile.vector.as_pointer()))
    value.align = tile.bytes
    return value


def store(builder, tile, value, pointer):
    builder.store(value, builder.bitcast(pointer, tile.vector.as_pointer())).align = tile.bytes


def real_lanes(builder, tile, channels, v):
    """Which lanes of vector v belong to the first `channels` channels; made once in a block, for all rows of a tile."""
    made = builder.__dict__.setdefault("real_lanes", {})
    key = builder.block, channels, tile.LANES, v
    if key not in made:
        count, most = builder.sub(channels, I64(v * tile.LANES)), I64(tile.LANES)
        count = builder.trunc(builder.select(builder.icmp_signed("<", count, most), count, most), I32)  # 32 bits: a comparison is one instruction
        numbers = ir.Constant(ir.VectorType(I32, tile.LANES), list(range(tile.LANES)))
        made[key] = builder.icmp_signed("<", numbers, splat(builder, count, numbers.type))
    return made[key]


def load_real(builder, tile, pointer, channels, v):
    name = f"llvm.masked.load.v{tile.LANES}{tile.suffix}.p0"
    arguments = [tile.vector.as_pointer(), I32, ir.VectorType(BIT, tile.LANES), tile.vector]
    masked = cgutils.get_or_insert_function(builder.module, ir.FunctionType(tile.vector, arguments), name)
    lanes = real_lanes(builder, tile, channels, v)
    return builder.call(masked, [builder.bitcast(pointer, arguments[0]), I32(tile.bytes), lanes, ir.Constant(tile.vector, None)])


def store_real(builder, tile, value, pointer, channels, v):
    name = f"llvm.masked.store.v{tile.LANES}{tile.suffix}.p0"
    arguments = [tile.vector, tile.vector.as_pointer(), I32, ir.VectorType(BIT, tile.LANES)]
    masked = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), arguments), name)
    lanes = real_lanes(builder, tile, channels, v)
    builder.call(masked, [value, builder.bitcast(pointer, arguments[1]), I32(tile.bytes), lanes])


def whole(builder, tile, channels):
    """Whether a row has NR channels: most have, and masks for others cost more than what they mask."""
    return builder.icmp_signed(">=", channels, I64(tile.NR))


def load_channels(builder, tile, pointer, channels):
    """The vectors of a row, 0 after the first `channels` channels, where memory is not read"""
    cases = []
    with builder.if_else(whole(builder, tile, channels), likely=True) as (all_of_them, some):
        with all_of_them:
            cases.append(([load(builder, tile, after(builder, pointer, v * tile.LANES)) for v in range(tile.NV)], builder.block))
        with some:
            cases.append(([load_real(builder, tile, after(builder, pointer, v * tile.LANES), channels, v) for v in range(tile.NV)], builder.block))
    row = []
    for v in range(tile.NV):
        row.append(builder.phi(tile.vector))
        for vectors, block in cases:
            row[-1].add_incoming(vectors[v], block)
    return row


def registers(tile):
    """All (m, v, i): register i holds vector v of row m."""
    return [(m, v, m * tile.NV + v) for m in range(tile.MR) for v in range(tile.NV)]


def multiply_add(builder, tile):
    # fmuladd, not fma: where the CPU has no such instruction, llvm.fma would call the C library
    shape = ir.FunctionType(tile.vector, [tile.vector] * 3)
    return cgutils.get_or_insert_function(builder.module, shape, f"llvm.fmuladd.v{tile.LANES}{tile.suffix}")
