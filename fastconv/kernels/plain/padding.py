"""The gradient of a padded input, folded back onto the input: what was copied sums the gradients of its copies, as shared weights do."""

import numpy as np
from numba import prange

from fastconv import memory
from fastconv.geometry import Geometry, copies
from fastconv.kernels.compile import each_time, parallel, serial


@serial
def fold_row(item, padded, dx, depth, row, column):
    """One row (n, id, ih) of dx: all padded cells that were read from it, in the order in which they lie."""
    ID, IH = dx.shape[1:3]
    n, id, ih = item // IH // ID, item // IH % ID, item % IH
    to = dx[n, id, ih]
    to[...] = 0
    for jd in range(depth.size):
        if depth[jd] == id:
            for jh in range(row.size):
                if row[jh] == ih:
                    for jw in range(column.size):
                        cell, copy = to[column[jw]], padded[n, jd, jh, jw]
                        for c in range(cell.size):
                            cell[c] += copy[c]


@parallel
def fold_rows(padded, dx, depth, row, column):
    """dx[n,id,ih,iw,c] = sum over the jd,jh,jw with depth[jd] = id, row[jh] = ih, column[jw] = iw of padded[n,jd,jh,jw,c]; an item owns a row"""
    for item in prange(dx.shape[0] * dx.shape[1] * dx.shape[2]):
        fold_row(np.int64(item), padded, dx, depth, row, column)


def any_padding(bind):
    """An input gradient for every padding mode from one for zeros: of the padded input, then folded back onto the input."""

    def bind_any(g: Geometry, dtype: np.dtype):
        run_zeros = bind(g.padded, dtype)
        if g.padding_mode == "zeros":
            return run_zeros
        tables = copies(g)

        def run(dy, w, dx):
            padded = memory.empty(g.padded.input_memory, dx.dtype)  # it may have inputs after the last that is read
            run_zeros(dy, w, padded.reshape(-1))
            fold_rows(padded.size, padded, dx.reshape(g.input_memory), *tables)

        return lambda *operands: each_time(run, *operands)

    return bind_any
