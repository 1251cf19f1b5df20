"""How kernels are compiled, kept on disk and launched. Each kernel has one of six decorators.

@reference   the textbook: one thread, no liberties with floating point
@inlined     a part of the kernel that calls it, compiled with it
@serial      called from other kernels; also a stage of a pass, which `spread` deals out to threads
@outlined    called by name: compiled once, not again in each caller
@driver      a pass: called from Python once, walks over its stages
@parallel    the plain edition: a kernel with a `prange` of its own
"""

from fastconv.kernels.compile.flags import inlined, reference, serial
from fastconv.kernels.compile.kinds import ConstantType, kind_of
from fastconv.kernels.compile.launch import (
    Bound,
    Driver,
    Work,
    chunks,
    driver,
    parallel,
    pool_address,
    spread,
    threads_for,
)
from fastconv.kernels.compile.notes import Call, Launch, each_time, foreseeing, noting
from fastconv.kernels.compile.outline import outlined
from fastconv.kernels.compile.pointers import FunctionPointer, call
from fastconv.kernels.compile.records import Record
from fastconv.kernels.compile.threads import FLOPS, get_num_threads, set_num_threads, team

__all__ = [
    "FLOPS",
    "Bound",
    "Call",
    "ConstantType",
    "Driver",
    "FunctionPointer",
    "Launch",
    "Record",
    "Work",
    "call",
    "chunks",
    "driver",
    "each_time",
    "foreseeing",
    "get_num_threads",
    "inlined",
    "kind_of",
    "noting",
    "outlined",
    "parallel",
    "pool_address",
    "reference",
    "serial",
    "set_num_threads",
    "spread",
    "team",
    "threads_for",
]
