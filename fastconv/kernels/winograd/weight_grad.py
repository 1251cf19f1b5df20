"""The weight gradient by Winograd's matrices, F(3x3, 4x4): tiles of dy are the taps, and the sum runs over tiles.

    dw = G^T [sum over tiles of (B^T d B) * (A dy A^T)] G         d: 6x6 inputs, dy: 4x4 outputs

Again the sums are 36 GEMMs, dU[k] += V[k]^T M[k]. With 64 channels, 64 images of 16x16 (1024 tiles) and blocks of 24 tiles:

    8 chunks of 128 tiles    x --> V (36, 24, 64), dy --> M (36, 24, 64)    dU (36, 64, 64) += V^T M, six blocks     9 of 36 numbers
                             --transform_back--> partial (3, 3, 64, 64) of the chunk                                 147 KB a chunk

Chunks are cut by shape; partials are added in their order, in float64.
"""

from typing import NamedTuple

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.compile import FLOPS, Record, driver, outlined, serial, spread, threads_for
from fastconv.kernels.simd.arithmetic import add, fma_contiguous, zeros
from fastconv.kernels.simd.host import menu
from fastconv.kernels.simd.memory import load_rows, offsets_apart, store_rows
from fastconv.kernels.simd.tile import Tile
from fastconv.kernels.simd.transforms import prefetch
from fastconv.kernels.winograd.ahead import elements_of
from fastconv.kernels.winograd.matrices import matrices
from fastconv.kernels.winograd.plan import LINE, POINTS, Plan, forward_side, odd_lines, tiles_plan
from fastconv.kernels.winograd.transforms import transform_back, transform_gradients, transform_inputs

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
CHUNKS, CHUNK = 16, 128  # of tiles, so many at most, and tiles of one at least: each is transformed back
PARTIALS = 4 << 20  # bytes of all chunks' partials


class WeightPlan(NamedTuple):
    """As kernels see it."""

    tiles: Record  # the forward pass's plan, and where rows of dy are
    chunks: int  # of tiles
    rows: int  # of a panel of dU: the input channels in whole tiles
    panels: int  # of NR output channels
    size: int  # of a partial, and of a chunk's sums of dy
    bias_size: int


def weight_plan(g: Geometry, bias: bool) -> tuple[WeightPlan, Plan, Tile]:
    """With the tile that spends least on IC x OC sums."""

    def cost(entry) -> float:
        tile, efficiency = entry
        return -(-g.IC // tile.MR) * tile.MR * -(-g.OC // tile.NR) * tile.NR / efficiency

    tile = min(menu(FLOAT32), key=cost)[0]
    plan = tiles_plan(forward_side(g), tile.MR, tile.NR, few=0)
    axes = (plan.TH, g.OH, g.OW * g.OC), (plan.TW, g.OW, g.OC)
    rows, columns = (np.where(np.arange(4 * T) < O, np.arange(4 * T) * step, -1) for T, O, step in axes)
    size = 9 * g.IC * g.OC
    count = max(1, min(CHUNKS, plan.tiles // CHUNK, PARTIALS // (4 * size)))
    plan = plan._replace(gradient_rows=rows, gradient_columns=columns)
    bias_size = plan.panels * tile.NR if bias else 0
    return WeightPlan(Record(plan), count, -(-g.IC // tile.MR) * tile.MR, plan.panels, size, bias_size), plan, tile


@driver
def weight_grad(pool, tile, matrices, plan, arrays, totals, scratch, cut):
    """The pass. arrays: x, dy: (N, H, W, C), flat; dw, db and whether to add to them. totals: partials and sums of dy of all chunks.

    cut: chunks of the items; into how many parts the panels of a chunk are cut; distance of the points of a part's dU.
    """
    (x, dy, dw, db, accumulate), (partials, sums), (many, parts, U_point) = arrays, totals, cut
    spread(pool, many, plan.chunks * parts, chunk_items, scratch, tile, matrices, plan, (x, dy), totals, (parts, U_point))
    spread(pool, many, plan.size, store_items, scratch, plan.chunks, plan.size, partials, dw, accumulate)
    if plan.bias_size > 0:
        spread(0, 1, plan.tiles.OC, store_items, scratch, plan.chunks, plan.bias_size, sums, db, accumulate)


@serial
def chunk_items(work, tile, matrices, plan, arrays, totals, cut):
    """Some work items, each a chunk of tiles and a part of the panels: blocks of tiles in order, then the transform back."""
    (BT, A, GT), (x, dy), (partials, sums), (parts, U_point), tiles = matrices, arrays, totals, cut, plan.tiles
    M_at, dU_at = POINTS * tiles.V_point, POINTS * (tiles.V_point + tiles.M_point)
    V, M, dU = work.scratch[:M_at], work.scratch[M_at:dU_at], work.scratch[dU_at:]
    for item in range(work.first, work.stop):
        chunk, part = item // parts, item % parts
        panels = plan.panels * part // parts, plan.panels * (part + 1) // parts
        channels = panels[0] * tile.NR, panels[1] * tile.NR
        own = sums[chunk * plan.bias_size : (chunk + 1) * plan.bias_size]
        for c in range(channels[0], min(channels[1], len(own))):
            own[c] = 0
        start, end = tiles.tiles * chunk // plan.chunks, tiles.tiles * (chunk + 1) // plan.chunks
        blocks = -(-(end - start) // tiles.block)
        for block in range(blocks):
            first, stop = start + (end - start) * block // blocks, start + (end - start) * (block + 1) // blocks
            transform_inputs(BT, tiles, x, first, first, stop, V)
            transform_gradients(A, tiles, dy, first, (first, stop), channels, M, own)
            parts_of_block = POINTS * (panels[1] - panels[0]) * (plan.rows // tile.MR)
            after = stop + stop - first
            ahead = elements_of(x, stop, after, tiles, parts_of_block), elements_of(dy, stop, after, tiles, parts_of_block)
            multiply_transposed(tile, plan, (V, M), stop - first, panels, dU, (U_point, 1 if block == 0 else 0), ahead)
        transform_back(GT, tile.NR, plan, dU, U_point, panels, partials[chunk * plan.size :])


@outlined
def multiply_transposed(tile, plan, operands, count, panels, dU, point, ahead):
    """dU[k, p, ic, n] (+)= sum over t < count of V[k, t, ic] * M[k, t, p * NR + n] for panels[0] <= p < panels[1]"""
    tiles, (U_point, fresh), size, (V, M), (x, dy) = plan.tiles, point, plan.rows * tile.NR, operands, ahead
    from_x, from_dy = x.start, dy.start
    to = offsets_apart(tile, tile.NR, tile.MR)
    for k in range(POINTS):
        for p in range(panels[0], panels[1]):
            sums = dU[k * U_point + (p - panels[0]) * size : k * U_point + (p - panels[0] + 1) * size]
            for ic in range(0, plan.rows, tile.MR):
                prefetch(x.memory, from_x, min(from_x + x.step, x.stop))
                prefetch(dy.memory, from_dy, min(from_dy + dy.step, dy.stop))
                from_x, from_dy = from_x + x.step, from_dy + dy.step
                acc, a, b = zeros(tile), k * tiles.V_point + ic, k * tiles.M_point + p * tile.NR
                for _ in range(count):
                    acc = fma_contiguous(tile, acc, V, a, M, b)
                    a += tiles.V_tile
                    b += tiles.M_tile
                if fresh == 0:
                    acc = add(tile, load_rows(tile, sums, to, ic * tile.NR, tile.NR), acc)
                store_rows(tile, acc, sums, to, ic * tile.NR, tile.NR)


@serial
def store_items(work, count, size, partials, dw, accumulate):
    """dw[i] (+)= the sum of all chunks' partials, in order, rounded once"""
    for i in range(work.first, work.stop):
        total = np.float64(0)
        for chunk in range(count):
            total += partials[chunk * size + i]
        dw[i] = dw.dtype.type(total) + dw[i] if accumulate else total


class WeightGrad:
    """The pass bound to a geometry: `run(x, dy, dw, db, accumulate)` on flat arrays as kernels see them; db None if bias is False."""

    def __init__(self, g: Geometry, dtype: np.dtype, bias: bool):
        self.work = g.flops / FLOPS
        self.plan, self.tiles, self.tile = weight_plan(g, bias)
        self.matrices, self.record, self.bound = matrices(self.tile.LANES)[2:], Record(self.plan), weight_grad.bind()
        self.no_bias = np.empty(0, FLOAT32)

    def __call__(self, x, dy, dw, db, accumulate: bool) -> None:
        plan, threads = self.plan, threads_for(self.work)
        parts = 1 if threads == 1 else max(1, min(plan.panels, 2 * threads // plan.chunks))
        U_point = odd_lines(-(-plan.panels // parts) * plan.rows * self.tile.NR)
        many = min(plan.chunks * parts, threads)  # each with V, M and dU of its own
        scratch = memory.scratch(many * (POINTS * (self.tiles.V_point + self.tiles.M_point + U_point) + LINE), FLOAT32)
        totals = memory.scratch(plan.chunks * plan.size, FLOAT32, "partials"), memory.scratch(plan.chunks * plan.bias_size, FLOAT64, "totals")
        arrays = x, dy, dw, self.no_bias if db is None else db, int(accumulate)
        self.bound(self.work, self.tile, self.matrices, self.record, arrays, totals, scratch, (many, parts, U_point))
