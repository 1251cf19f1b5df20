"""The weight gradient by Winograd's matrices, F(3x3, 4x4): tiles of dy are the taps, and the sum runs over tiles.

    dw = G^T [sum over tiles of (B^T d B) * (A dy A^T)] G         d: 6x6 inputs, dy: 4x4 outputs

Again the sums are 36 GEMMs, dU[k] += V[k]^T M[k]. With 64 channels, 64 images of 16x16 (1024 tiles) and blocks of 24 tiles:

    4 chunks of 256 tiles    x --> V (36, 24, 64), dy --> M (36, 24, 64)    dU (36, 64, 64) += V^T M, 11 blocks      9 of 36 numbers
                             --transform_back--> partial (3, 3, 64, 64) of the chunk                                 147 KB a chunk

Chunks are cut by shape; partials are added in their order, in float64. Of many channels an item takes a part, at most 128 inputs x 128 outputs:
its dU is read and written for each block. Transforms that parts share are made anew for each.
"""

from typing import NamedTuple

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.compile import FLOPS, Record, driver, outlined, serial, spread, threads_for
from fastconv.kernels.simd.ahead import fetch
from fastconv.kernels.simd.arithmetic import fma_contiguous, zeros
from fastconv.kernels.simd.host import menu
from fastconv.kernels.simd.memory import add_to_totals
from fastconv.kernels.simd.tile import Tile
from fastconv.kernels.winograd.ahead import elements_of
from fastconv.kernels.winograd.matrices import transforms
from fastconv.kernels.winograd.plan import BLOCK, LINE, WIDEST, Plan, cut, forward_side, odd_lines, uncut
from fastconv.kernels.winograd.transforms import transform_back, transform_gradients, transform_inputs

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
CHUNKS, CHUNK_TILES = 16, 192  # of tiles, so many at most, and tiles of one at least: to transform one back and add it costs as much as 14 tiles
PARTIALS = 4 << 20  # bytes of all chunks' partials
PART, PART_OF_FEW = 128, 64  # channels of a part, of either side; where all tiles are one block, its dU stays in L2 until it is transformed back
SQUARE = 0.7  # worth of a square tile (`MENU`); 16 channels: 16x1 945 us, 8x1 967, 12x1, of whose rows a third are waste, 1157
SPAN = 1024  # elements of dw that are added up together


class WeightPlan(NamedTuple):
    """As kernels see it."""

    tiles: Record  # the forward pass's plan, and where rows of dy are
    chunks: int  # of tiles
    part: int  # input channels of a part
    inputs: int  # parts of the input channels of a group
    outputs: int  # parts of its panels, at least
    rows: int  # of a panel of dU: a part's input channels in whole tiles
    panels: int  # of NR output channels of a group
    U_point: int
    size: int  # of a partial, and of a chunk's sums of dy
    bias_size: int


def weight_plan(g: Geometry, bias: bool) -> tuple[WeightPlan, Plan, Tile]:
    """With the tile that spends least on IC x OC sums: one of the menu, or a square one, whose rows divide 16 channels."""
    side, LANES = forward_side(g), menu(FLOAT32)[0][0].LANES

    def cost(entry) -> float:
        tile, worth = entry
        return -(-side.IC // tile.MR) * tile.MR * -(-side.OC // tile.NR) * tile.NR / worth

    narrow = (entry for entry in menu(FLOAT32) if entry[0].NV <= WIDEST)
    tile = min((*narrow, (Tile(LANES, 1, LANES, FLOAT32), SQUARE)), key=cost)[0]
    plan = uncut(side, tile.MR, tile.NR)
    axes = (plan.TH * plan.height, g.OH, g.OW * g.OC), (plan.TW * plan.width, g.OW, g.OC)
    rows, columns = (np.where(np.arange(T) < O, np.arange(T) * step, -1) for T, O, step in axes)
    block = min(plan.tiles, BLOCK // plan.points)
    most = PART if plan.tiles > block else PART_OF_FEW
    part, panels = min(most, side.IC), min(plan.panels, max(1, most // tile.NR))
    plan = plan._replace(V_tile=odd_lines(part), M_tile=odd_lines(panels * tile.NR), gradient_rows=rows, gradient_columns=columns)
    plan = cut(plan, block)
    size = g.KH * g.KW * side.IC * g.OC
    chunks = max(1, min(CHUNKS, plan.tiles // CHUNK_TILES, PARTIALS // (4 * size)))
    chunks = 1 << chunks.bit_length() - 1  # for as many threads to share them
    height = -(-part // tile.MR) * tile.MR
    counts = chunks, part, -(-side.IC // part), -(-plan.panels // panels), height, plan.panels, odd_lines(height * panels * tile.NR)
    return WeightPlan(Record(plan), *counts, size, g.G * plan.panels * tile.NR if bias else 0), plan, tile


@driver
def weight_grad(pool, tile, matrices, plan, arrays, totals, scratch, cut):
    """The pass. arrays: x, dy: (N, H, W, C), flat; dw, db and whether to add to them. totals: partials and sums of dy of all chunks, and strips.

    cut: chunks of the items; parts of a group's panels; chunks of dw, none where the only partial is dw.
    """
    (x, dy, dw, db, accumulate), (partials, sums, strips), (first, outputs, second) = arrays, totals, cut
    spread(
        pool, first, plan.tiles.G * plan.chunks * plan.inputs * outputs, part_items, scratch, tile, matrices, plan, (x, dy), (partials, sums), outputs
    )
    if second > 0:
        spread(pool, second, -(-plan.size // SPAN), strip_items, strips, plan.chunks, plan.size, partials, dw, accumulate)
    if plan.bias_size > 0:
        store_bias(plan, sums, db, accumulate)


@serial
def part_items(work, tile, matrices, plan, arrays, totals, outputs):
    """Some work items, each a part of a group's channels and a chunk of tiles: its blocks in order, then the transform back."""
    (BT, A, GT), (x, dy), (partials, sums), tiles = matrices, arrays, totals, plan.tiles
    M_at, dU_at = tiles.points * tiles.V_point, tiles.points * (tiles.V_point + tiles.M_point)
    V, M, dU = work.scratch[:M_at], work.scratch[M_at:dU_at], work.scratch[dU_at:]
    for item in range(work.first, work.stop):
        o, i, rest = item % outputs, item // outputs % plan.inputs, item // outputs // plan.inputs
        group, chunk = rest % tiles.G, rest // tiles.G
        inputs = i * plan.part, min((i + 1) * plan.part, tiles.IC)
        panels = plan.panels * o // outputs, plan.panels * (o + 1) // outputs
        channels = panels[0] * tile.NR, panels[1] * tile.NR
        first_sum = chunk * plan.bias_size + group * plan.panels * tile.NR
        own = sums[first_sum : first_sum + (plan.panels * tile.NR if plan.bias_size > 0 and i == 0 else 0)]
        for c in range(channels[0], min(channels[1], len(own))):
            own[c] = 0
        start, end = tiles.tiles * chunk // plan.chunks, tiles.tiles * (chunk + 1) // plan.chunks
        blocks = -(-(end - start) // tiles.block)
        for block in range(blocks):
            first, stop = start + (end - start) * block // blocks, start + (end - start) * (block + 1) // blocks
            transform_inputs(BT, tiles, x, group, first, (first, stop), inputs, V)
            transform_gradients(A, tiles, dy, group, first, (first, stop), channels, (M, own))
            parts, after = tiles.points * (panels[1] - panels[0]) * -(-(inputs[1] - inputs[0]) // tile.MR), stop + stop - first
            ahead = elements_of(x, stop, after, tiles, parts), elements_of(dy, stop, after, tiles, parts)
            multiply(tile, plan, (V, M), stop - first, (inputs[1] - inputs[0], panels[1] - panels[0]), (dU, 1 if block == 0 else 0), ahead)
        transform_back(GT, plan, dU, group, inputs, panels, partials[chunk * plan.size :])


@outlined
def multiply(tile, plan, operands, count, shape, sums, ahead):
    """dU[k, p, ic, n] (+)= sum over t < count of V[k, t, ic] * M[k, t, p * NR + n]

    shape: input channels and panels; sums: dU, and whether it is fresh.
    """
    tiles, (V, M), (inputs, panels), (dU, fresh), (x, dy) = plan.tiles, operands, shape, sums, ahead
    t = 0
    for pair in range(tiles.points * panels):
        k, p = pair // panels, pair % panels
        for ic in range(0, inputs, tile.MR):
            fetch(x, t)
            fetch(dy, t)
            t += 1
            acc, a, b = zeros(tile), k * tiles.V_point + ic, k * tiles.M_point + p * tile.NR
            for _ in range(count):
                acc = fma_contiguous(tile, acc, V, a, M, b)
                a += tiles.V_tile
                b += tiles.M_tile
            add_to_totals(tile, acc, dU, k * plan.U_point + (p * plan.rows + ic) * tile.NR, fresh)


@serial
def strip_items(work, count, size, partials, dw, accumulate):
    """dw[i] (+)= the sum of all chunks' partials, in order, rounded once"""
    totals = work.scratch
    for item in range(work.first, work.stop):
        start = item * SPAN
        strip = dw[start : min(size, start + SPAN)]
        for i in range(len(strip)):
            totals[i] = partials[start + i]
        for chunk in range(1, count):
            more = partials[chunk * size + start :]
            for i in range(len(strip)):
                totals[i] += more[i]
        for i in range(len(strip)):
            strip[i] = dw.dtype.type(totals[i]) + strip[i] if accumulate else totals[i]


@serial
def store_bias(plan, sums, db, accumulate):
    """db[n] (+)= the sum of all chunks' sums of dy"""
    tiles = plan.tiles
    for n in range(len(db)):
        at = n // tiles.OC * plan.panels * tiles.NR + n % tiles.OC
        total = np.float64(0)
        for chunk in range(plan.chunks):
            total += sums[chunk * plan.bias_size + at]
        db[n] = db.dtype.type(total) + db[n] if accumulate else total


class WeightGrad:
    """The pass bound to a geometry: `run(x, dy, dw, db, accumulate)` on flat arrays as kernels see them; db None if bias is False."""

    def __init__(self, g: Geometry, dtype: np.dtype, bias: bool):
        self.work = g.flops / FLOPS
        self.plan, self.tiles, self.tile = weight_plan(g, bias)
        self.matrices, self.record, self.bound = transforms(g.KH, g.KW, self.tile.LANES)[2:], Record(self.plan), weight_grad.bind()
        self.scratch = self.tiles.points * (self.tiles.V_point + self.tiles.M_point + self.plan.U_point) + LINE
        self.no_bias = np.empty(0, FLOAT32)

    def __call__(self, x, dy, dw, db, accumulate: bool) -> None:
        plan, threads = self.plan, threads_for(self.work)
        items = self.tiles.G * plan.chunks * plan.inputs
        outputs = max(plan.outputs, min(plan.panels, 2 * threads // items) if threads > 1 else 1)
        first, second = min(items * outputs, threads), min(-(-plan.size // SPAN), threads)
        partials = dw
        if plan.chunks > 1 or accumulate:
            partials = memory.scratch(plan.chunks * plan.size, FLOAT32, "partials")
        else:
            second = 0
        totals = memory.scratch(plan.chunks * plan.bias_size + max(1, second) * SPAN, FLOAT64, "totals")
        sums, strips = totals[: plan.chunks * plan.bias_size], totals[plan.chunks * plan.bias_size :]
        scratch = memory.scratch(first * self.scratch, FLOAT32)
        arrays = x, dy, dw, self.no_bias if db is None else db, int(accumulate)
        self.bound(self.work, self.tile, self.matrices, self.record, arrays, (partials, sums, strips), scratch, (first, outputs, second))
