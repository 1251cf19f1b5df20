"""The textbook's loops as bound passes: here alone arrays are brought into logical shapes, (N, C, D, H, W) and (OC, IC/G, KD, KH, KW)."""

import numpy as np

from fastconv.geometry import Geometry, reads
from fastconv.kernels import textbook
from fastconv.kernels.compile import Record


def activation(flat: np.ndarray, memory: tuple[int, ...]) -> np.ndarray:
    """A C-contiguous copy (N, C, D, H, W) of (N, D, H, W, C); a textbook compiled for each layout would take minutes."""
    return np.ascontiguousarray(flat.reshape(memory).transpose(0, 4, 1, 2, 3))


def weights(flat: np.ndarray, g: Geometry) -> np.ndarray:
    """A C-contiguous copy (OC, IC/G, KD, KH, KW) of (KD, KH, KW, IC/G, OC)."""
    return np.ascontiguousarray(flat.reshape(g.weight_memory).transpose(4, 3, 0, 1, 2))


def lookup(g: Geometry) -> tuple[Record, tuple[np.ndarray, ...]]:
    """The geometry as the textbook looks up its tables, whose strides and dilations may be their own, and the tables."""
    *tables, steps = reads(g)
    (SD, SH, SW), (DD, DH, DW) = steps[:, 2:].T.tolist()
    return Record(g._replace(SD=SD, SH=SH, SW=SW, DD=DD, DH=DH, DW=DW)), tuple(tables)


def put_activation(result: np.ndarray, flat: np.ndarray) -> None:
    flat[...] = result.transpose(0, 2, 3, 4, 1).reshape(-1)


def store(sums: np.ndarray, out: np.ndarray, accumulate: bool) -> None:
    """The sums, in float64, are rounded once: they overwrite, or are added to, what is there."""
    out[...] = out + sums.astype(out.dtype) if accumulate else sums


def conv_forward(g: Geometry, dtype: np.dtype, lower_bound: float):
    record, tables = lookup(g)

    def run(x, w, b, y):
        result = np.empty((g.N, g.OC, *g[6:9]), dtype)
        textbook.conv_forward(activation(x, g.input_memory), weights(w, g), b, result, record, *tables)
        put_activation(np.where(result <= lower_bound, dtype.type(lower_bound), result), y)  # NaN stays

    return run


def conv_input_grad(g: Geometry, dtype: np.dtype):
    record, tables = lookup(g)

    def run(dy, w, dx):
        result = np.empty((g.N, g.IC, *g[2:5]), dtype)
        textbook.conv_input_grad(activation(dy, g.output_memory), weights(w, g), result, record, *tables)
        put_activation(result, dx)

    return run


def conv_weight_grad(g: Geometry, dtype: np.dtype, bias: bool):
    (record, tables), sum_dy = lookup(g), bias_grad(g, dtype)

    def run(x, dy, dw, db, accumulate):
        result = np.empty((g.OC, g.IC // g.G, *g[9:12]), dtype)
        textbook.conv_weight_grad(activation(x, g.input_memory), activation(dy, g.output_memory), result, record, *tables)
        store(result.transpose(2, 3, 4, 1, 0).reshape(-1), dw, accumulate)
        if bias:
            sum_dy(dy, db, accumulate)

    return run


def bias_grad(g: Geometry, dtype: np.dtype):
    def run(dy, db, accumulate):
        sums = np.empty(g.OC, dtype)
        textbook.bias_grad(activation(dy, g.output_memory), sums)
        store(sums, db, accumulate)

    return run


def max_pool(g: Geometry, dtype: np.dtype, relu: bool):
    record = Record(g)

    def run(x, y, argmax):
        shape = (g.N, g.OC, *g[6:9])
        best, tap = np.empty(shape, dtype), np.empty(shape, argmax.dtype)
        textbook.max_pool(activation(x, g.input_memory), best, tap, record)
        if relu:  # an argmax of 255 is no tap's
            lost = best <= 0
            best[lost], tap[lost] = 0, 255
        put_activation(best, y)
        put_activation(tap, argmax)

    return run


def max_pool_grad(g: Geometry, dtype: np.dtype):
    record = Record(g)

    def run(dy, argmax, dx):
        result = np.empty((g.N, g.IC, *g[2:5]), dtype)
        lost = argmax >= g.taps  # clamped by a ReLU
        gradient, tap = np.where(lost, 0, dy), np.where(lost, 0, argmax)
        textbook.max_pool_grad(activation(gradient, g.output_memory), activation(tap, g.output_memory), result, record)
        put_activation(result, dx)

    return run


def avg_pool(g: Geometry, dtype: np.dtype, divisors: np.ndarray):
    record = Record(g)

    def run(x, y):
        result = np.empty((g.N, g.OC, *g[6:9]), dtype)
        textbook.avg_pool(activation(x, g.input_memory), divisors, result, record)
        put_activation(result, y)

    return run


def avg_pool_grad(g: Geometry, dtype: np.dtype, divisors: np.ndarray):
    record = Record(g)

    def run(dy, dx):
        result = np.empty((g.N, g.IC, *g[2:5]), dtype)
        textbook.avg_pool_grad(activation(dy, g.output_memory), divisors, result, record)
        put_activation(result, dx)

    return run
