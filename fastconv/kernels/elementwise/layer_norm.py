"""Layer normalization (Ba et al. 2016) of rows that lie in one piece, (R, M): y = (x - mean) * rate * weight + bias, mean and rate of the row, weight
and bias of the element. `saved` keeps mean and rate of each row, (R, 2).

    dx = rate * (g - mean of g - xhat * mean of g * xhat)        g = dy * weight, xhat = (x - mean) * rate
    dweight = sum over rows of dy * xhat, dbias = sum over rows of dy        in chunks of rows, whose totals are added in order

The statistics are taken twice, the second time of x minus the mean that the first time gave: a mean of a thousand deviations costs no accuracy.
"""

import numpy as np

from fastconv import memory
from fastconv.kernels.compile import chunks, driver, serial, spread
from fastconv.kernels.elementwise.norm_plan import CHUNKS, FEWEST, FLOAT64, TERMS
from fastconv.kernels.simd.arithmetic import add, zeros
from fastconv.kernels.simd.host import row_tile
from fastconv.kernels.simd.lanewise import fma, load_row, store_row, subtract

COLUMNS = 512  # elements of a row that an item of the sums over rows takes


@driver
def normalize_rows(pool, chunks, tile, shape, operands, results, scratch):
    """The pass. shape: R, M, eps. operands: x, weight, bias; the last two may be empty: 1 and 0. results: y, saved. scratch: 2 NR for each chunk"""
    (R, M, eps), (x, weight, bias), (y, saved) = shape, operands, results
    spread(pool, chunks, R, row_items, scratch, tile, (M, eps), (weight, bias), x, y, saved)


@serial
def row_items(work, tile, shape, parameters, x, y, saved):
    M, eps = shape
    for r in range(work.first, work.stop):
        row, own = x[r * M : (r + 1) * M], saved[2 * r : 2 * r + 2]
        pivot = row[0]
        for _ in range(2):
            mean, square = deviations(tile, row, pivot, work.scratch)
            mean += pivot
            shift, pivot = mean - pivot, x.dtype.type(mean)
        variance = square - shift * shift
        own[0], own[1] = mean, 1 / np.sqrt((0.0 if variance < 0 else variance) + eps)  # below 0 by rounding
        normalize_row(row, own, parameters, y[r * M : (r + 1) * M])


@serial
def deviations(tile, x, pivot, vectors):
    """The means of d = x - pivot and of d * d, in float64 from running sums of at most TERMS terms"""
    M, total, square = x.size, 0.0, 0.0
    for first in range(0, M, TERMS * tile.NR):
        vectors[: tile.NR] = pivot
        sums, squares = zeros(tile), zeros(tile)
        for i in range(first, min(M, first + TERMS * tile.NR), tile.NR):
            d = subtract(tile, load_row(tile, x, i, M - i), load_row(tile, vectors, 0, M - i))
            sums, squares = add(tile, sums, d), fma(tile, squares, d, d)
        added = add_up(tile, sums, squares, vectors)
        total, square = total + added[0], square + added[1]
    return total / M, square / M


@serial
def add_up(tile, a, b, vectors):
    """The sums of two vectors' elements."""
    store_row(tile, a, vectors, 0, tile.NR)
    store_row(tile, b, vectors, tile.NR, tile.NR)
    first = second = 0.0
    for i in range(tile.NR):
        first += vectors[i]
        second += vectors[tile.NR + i]
    return first, second


@serial
def rounded(like, saved):
    """Mean, rate, and what rounding the mean leaves, times the rate: xhat = (x - mean) * rate + rest"""
    real = like.dtype.type
    mean = real(saved[0])
    return mean, real(saved[1]), real((mean - saved[0]) * saved[1])


@serial
def normalize_row(x, saved, parameters, y):
    weight, bias = parameters
    mean, rate, rest = rounded(x, saved)
    if len(weight) > 0:
        for i in range(x.size):
            y[i] = ((x[i] - mean) * rate + rest) * weight[i] + bias[i]
    else:
        for i in range(x.size):
            y[i] = (x[i] - mean) * rate + rest


@driver
def normalize_rows_grad(pool, chunks, tile, shape, operands, results, scratch):
    """The pass. shape: R, M, and into how many chunks rows are cut for their sums. operands: dy, x, weight, saved; results: dx, dweight, dbias, empty
    where they are not computed. scratch: 2 NR for each chunk of the work; the totals of these sums"""
    (R, M, cut), (dy, x, weight, saved), (dx, dw, db), (vectors, totals) = shape, operands, results, scratch
    if len(dx) > 0:
        spread(pool, chunks, R, row_grad_items, vectors, tile, M, (dy, x, weight), saved, dx)
    if len(dw) > 0:
        spread(pool, chunks, cut * -(-M // COLUMNS), sum_rows, vectors, shape, dy, x, saved, totals)
        dw[:] = 0
        db[:] = 0
        for c in range(cut):
            for i in range(M):
                db[i] += totals[2 * c * M + i]
                dw[i] += totals[(2 * c + 1) * M + i]


@serial
def row_grad_items(work, tile, M, operands, saved, dx):
    dy, x, weight = operands
    for r in range(work.first, work.stop):
        upstream, row, out = dy[r * M : (r + 1) * M], x[r * M : (r + 1) * M], dx[r * M : (r + 1) * M]
        mean, rate, rest = rounded(x, saved[2 * r : 2 * r + 2])
        total, product = gradient_sums(tile, upstream, weight, row, mean, work.scratch)
        product = product * rate + rest * total  # of g * xhat
        slope, offset = x.dtype.type(-product * rate / M), x.dtype.type(-total * rate / M)
        if len(weight) > 0:
            for i in range(M):
                out[i] = upstream[i] * weight[i] * rate + (((row[i] - mean) * rate + rest) * slope + offset)
        else:
            for i in range(M):
                out[i] = upstream[i] * rate + (((row[i] - mean) * rate + rest) * slope + offset)


@serial
def gradient_sums(tile, dy, weight, x, mean, vectors):
    """The sums of g = dy * weight and of g * (x - mean), in float64 from running sums of at most TERMS terms"""
    M, total, product = dy.size, 0.0, 0.0
    for first in range(0, M, TERMS * tile.NR):
        vectors[: tile.NR] = mean
        sums, products = zeros(tile), zeros(tile)
        for i in range(first, min(M, first + TERMS * tile.NR), tile.NR):
            g = load_row(tile, dy, i, M - i)
            if len(weight) > 0:
                g = fma(tile, zeros(tile), g, load_row(tile, weight, i, M - i))
            d = subtract(tile, load_row(tile, x, i, M - i), load_row(tile, vectors, 0, M - i))
            sums, products = add(tile, sums, g), fma(tile, products, g, d)
        added = add_up(tile, sums, products, vectors)
        total, product = total + added[0], product + added[1]
    return total, product


@serial
def sum_rows(work, shape, dy, x, saved, totals):
    """totals (cut, 2, M): dbias and dweight of some rows' chunks and columns"""
    R, M, cut = shape
    for item in range(work.first, work.stop):
        chunk, first = item % cut, item // cut * COLUMNS
        stop = min(first + COLUMNS, M)
        db = totals[2 * chunk * M + first : 2 * chunk * M + stop]
        dw = totals[(2 * chunk + 1) * M + first : (2 * chunk + 1) * M + stop]
        db[:] = 0
        dw[:] = 0
        for r in range(R * chunk // cut, R * (chunk + 1) // cut):
            mean, rate, rest = rounded(x, saved[2 * r : 2 * r + 2])
            upstream, row = dy[r * M + first : r * M + stop], x[r * M + first : r * M + stop]
            for i in range(stop - first):
                db[i] += np.float64(upstream[i])
                dw[i] += np.float64(upstream[i] * ((row[i] - mean) * rate + rest))


class LayerNorm:
    """The passes bound to R rows of M elements: `forward(x, parameters, y, saved)`, `backward(dy, x, weight, saved, dx, gradients)` on flat arrays.

    saved: 2 * R float64; parameters: (weight, bias), or (): 1 and 0; gradients: float64 arrays for dweight and dbias, or ()."""

    def __init__(self, R: int, M: int, dtype: np.dtype, eps: float):
        self.R, self.M, self.eps, self.tile = R, M, float(eps), row_tile(dtype)
        self.cut = max(1, min(CHUNKS, R // FEWEST, (1 << 16) // M))
        self.none, self.nothing = np.empty(0, dtype), np.empty(0)
        self.run, self.run_back = normalize_rows.bind(), normalize_rows_grad.bind()

    def forward(self, x, parameters, y, saved) -> None:
        work = 8.0 * x.size
        cut, vectors = self._scratch(work, x.dtype)
        operands = x, *(parameters or (self.none, self.none))
        self.run(work, cut, self.tile, (self.R, self.M, self.eps), operands, (y, saved), vectors)

    def backward(self, dy, x, weight, saved, dx, gradients) -> None:
        work = 12.0 * x.size
        cut, vectors = self._scratch(work, x.dtype)
        operands = dy, x, self.none if weight is None else weight, saved
        results = self.none if dx is None else dx, *(gradients or (self.nothing, self.nothing))
        totals = memory.scratch(self.cut * 2 * self.M, FLOAT64, "totals") if gradients else self.nothing
        self.run_back(work, cut, self.tile, (self.R, self.M, self.cut), operands, results, (vectors, totals))

    def _scratch(self, work: float, dtype: np.dtype) -> tuple[int, np.ndarray]:
        cut = chunks(self.R, work)
        return cut, memory.scratch(cut * 2 * self.tile.NR, dtype)
