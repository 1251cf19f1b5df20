"""How batch normalization cuts its pixels. A row is several pixels, so that inner loops are long for 6 channels as for 128.

72 pixels of 6 channels (432 elements, vectors of 8 two at a time): rows of 8 pixels = 48 elements, and tables as long as a row

    x      row 0  c0 c1 c2 c3 c4 c5 c0 c1 ... c5    pixels 0 to 7             table  m0 m1 m2 m3 m4 m5 m0 m1 ... m5
           row 8  c0 c1 c2 c3 c4 c5 c0 c1 ... c5    pixels 64 to 71

Sums over pixels have an order fixed by the shape: each element of a row has a running sum over at most 256 rows; these are added to float64
totals, one for each channel and chunk of the rows; the chunks' totals are added in order.

What did not help: eight rows whose sums stay in registers (forward took the same time); four rows for each read of a table (no faster, and a second
tile to compile); to normalize from the last row on, which the cache may still hold (slower in arrays of 16 MB).
"""

from math import gcd
from typing import NamedTuple

import numpy as np

from fastconv import memory
from fastconv.kernels.compile import chunks, serial
from fastconv.kernels.simd.host import row_tile
from fastconv.kernels.simd.tile import Tile

ROW = 512  # elements: five tables and two rows of sums are 14 KB, half of L1
LONGEST = 4096  # elements of a row that is a multiple of NR; with more, one pixel and a ragged end
CHUNKS = 16  # of the rows of a sum
FEWEST = 32  # rows of a chunk
TERMS = 256  # of a running sum
FLOAT64 = np.dtype(np.float64)
TABLES = 5  # mean, scale, shift; slope and offset of the gradient
FROM_X, FROM_Y = 1, 2  # where the gradient finds what a ReLU clamped


class NormPlan(NamedTuple):
    """How the pixels are cut, as kernels see it."""

    pixels: int
    channels: int
    size: int  # pixels * channels
    row: int  # elements, a multiple of the channels
    step: int  # from table to table: a row, rounded up to whole vectors
    rows: int
    chunks: int  # of the rows of a sum
    lower_bound: float  # of y: 0 is a ReLU, -inf nothing
    mask: int  # of that ReLU: 0 (there is none), FROM_X or FROM_Y
    shortcut: int  # 1: y = (x - mean) * scale + shift + shortcut
    of_batch: int  # 1: mean and variance are those of x
    eps: float


class Options(NamedTuple):
    """What a normalization does besides: the ReLU after it, the shortcut that is added before that, by whose statistics."""

    relu: bool = False
    shortcut: bool = False
    of_batch: bool = True
    eps: float = 1e-5


def norm_plan(shape: tuple[int, int], dtype: np.dtype, options: Options) -> tuple[NormPlan, Tile]:
    """shape: (pixels, channels)"""
    pixels, channels = shape
    tile, size = row_tile(dtype), pixels * channels
    unit = channels * tile.NR // gcd(channels, tile.NR)
    if unit > LONGEST:
        unit = channels
    row = unit * max(1, min(ROW, size // 8) // unit)
    rows = -(-size // row)
    cut = max(1, min(CHUNKS, rows // FEWEST))
    step = -(-row // tile.NR) * tile.NR
    bound, mask = (0.0, FROM_Y if options.shortcut else FROM_X) if options.relu else (-np.inf, 0)
    last = bound, mask, int(options.shortcut), int(options.of_batch), float(options.eps)
    return NormPlan(pixels, channels, size, row, step, rows, cut, *last), tile


def norm_scratch(plan: NormPlan, dtype: np.dtype, work: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Memory for the tables and, for each chunk of the work, two rows of running sums; for the totals; and the number of these chunks."""
    cut = chunks(plan.chunks, work)
    tables = memory.scratch((TABLES + 2 * cut) * plan.step, dtype)
    return tables, memory.scratch(plan.chunks * 2 * plan.channels, FLOAT64, "totals"), cut


@serial
def table(plan, memory, i):
    """Table i of the scratch memory."""
    return memory[i * plan.step : (i + 1) * plan.step]


@serial
def repeat_channels(plan, table):
    """table[i] = table[i % C] for a whole row; rows have whole vectors"""
    for i in range(plan.channels, plan.row):
        table[i] = table[i - plan.channels]


@serial
def rows_of(plan, chunk):
    """First row and stop of a chunk of the sums."""
    return plan.rows * chunk // plan.chunks, plan.rows * (chunk + 1) // plan.chunks


@serial
def add_to_totals(plan, sums, totals):
    """totals[c] += the running sums of channel c, which begin again from 0"""
    C = plan.channels
    for i in range(0, plan.row, C):
        row = sums[i : i + C]
        for c in range(C):
            totals[c] += np.float64(row[c])
    sums[:] = 0


@serial
def sum_of_chunks(plan, totals, kind, c):
    """The sum over all pixels, in order of the chunks. totals: (chunks, 2, C); kind: which of the two"""
    total = 0.0
    for chunk in range(plan.chunks):
        total += totals[(chunk * 2 + kind) * plan.channels + c]
    return total
