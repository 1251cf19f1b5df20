"""The gradient of a padded input, folded back onto the input: what was copied sums the gradients of its copies, as shared weights do."""

import numpy as np
from numba import prange

from fastconv.geometry import Geometry, copies
from fastconv.kernels.policy import parallel, serial
from fastconv.kernels.walk import channels_last


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


def fold_padding(padded, dx, g: Geometry) -> None:
    """dx (N, IC, ID, IH, IW) from the gradient of the input with its padding, which may have cells behind the last that is read."""
    fold_rows(padded.size, channels_last(padded), channels_last(dx), *copies(g))
