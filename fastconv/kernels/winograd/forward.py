"""Winograd convolution, F(4x4, 3x3), after Lavin and Gray (2015): the forward pass, and the input gradient, the same with other tables.

    y = A^T [sum over ic of (G w G^T) * (B^T d B)] A + bias         d: 6x6 inputs, w: 3x3 taps, y: 4x4 outputs

The sums over ic are 36 GEMMs, one for each point k, of a block of tiles at a time. With 64 channels and a block of 24 tiles:

    x --transform_inputs--> V (36, 24, 64) --multiply--> M (36, 24, 64) --transform_outputs--> y        V, M: 280 KB each, in L2
                            w --transform_weights--> U (36, 64, 64): 590 KB, once a call, in L3

36 multiplications do the work of 144. One infinity or NaN in the input reaches all outputs of its tiles.
"""

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.compile import FLOPS, Record, chunks, driver, outlined, serial, spread, threads_for
from fastconv.kernels.simd.arithmetic import fma_gathered, zeros
from fastconv.kernels.simd.host import tile_for
from fastconv.kernels.simd.memory import offsets_apart, store_rows
from fastconv.kernels.simd.tile import Tile
from fastconv.kernels.simd.transforms import prefetch
from fastconv.kernels.winograd.ahead import Ahead, elements_of
from fastconv.kernels.winograd.matrices import matrices
from fastconv.kernels.winograd.plan import POINTS, Side, backward_side, forward_side, tiles_plan
from fastconv.kernels.winograd.transforms import transform_inputs, transform_outputs, transform_weights

FLOAT32 = np.dtype(np.float32)


@driver
def correlate(pool, tile, matrices, plan, arrays, U, scratch, cut):
    """The pass. arrays: x, y: (N, H, W, C), w: (3, 3, IC, OC) or, to be turned round, (3, 3, OC, IC), and bias, flat; scratch: V and M.

    cut: chunks, of items that each transform and multiply a block in scratch of their own; or 0, and so many chunks of each stage's items.
    """
    (square, AT, G, BT), (x, w, bias, y), (own, many) = matrices, arrays, cut
    spread(pool, many, plan.panels * -(-plan.IC // G.LANES), weight_items, scratch, tile, G, square, plan, w, U)
    if own:
        spread(pool, own, plan.blocks, block_items, scratch, tile, AT, BT, plan, arrays, U)
    else:
        V, M = scratch[: POINTS * plan.V_point], scratch[POINTS * plan.V_point :]
        spread(pool, many, plan.tiles, input_items, scratch, BT, plan, x, V)
        spread(pool, many, POINTS * plan.panels, point_items, scratch, tile, plan, V, U, (M, y))
        spread(pool, many, plan.tiles, output_items, scratch, AT, plan, M, bias, y)


@serial
def weight_items(work, tile, G, square, plan, w, U):
    """Some work items, each one panel and LANES input channels of U."""
    for item in range(work.first, work.stop):
        transform_weights(G, square, tile.NR, plan, w, item, work.scratch, U)


@serial
def block_items(work, tile, AT, BT, plan, arrays, U):
    """Some work items, each a block of tiles with all channels."""
    (x, _, bias, y), V, M = arrays, work.scratch[: POINTS * plan.V_point], work.scratch[POINTS * plan.V_point :]
    for block in range(work.first, work.stop):
        first, stop = plan.tiles * block // plan.blocks, plan.tiles * (block + 1) // plan.blocks
        transform_inputs(BT, plan, x, first, first, stop, V)
        parts = POINTS * plan.panels * -(-(stop - first) // tile.MR)
        ahead = elements_of(x, stop, stop + plan.block, plan, parts), elements_of(y, first, stop, plan, parts)
        multiply(tile, plan, V, U, M, stop - first, (0, POINTS * plan.panels), ahead)
        transform_outputs(AT, plan, M, first, first, stop, bias, y)


@serial
def input_items(work, BT, plan, x, V):
    """Tiles of the only block."""
    transform_inputs(BT, plan, x, 0, work.first, work.stop, V)


@serial
def point_items(work, tile, plan, V, U, outputs):
    """Points of the only block, each with its panels."""
    M, y = outputs
    nothing = Ahead(y, 0, 0, 0)
    multiply(tile, plan, V, U, M, plan.tiles, (work.first, work.stop), (nothing, nothing))


@serial
def output_items(work, AT, plan, M, bias, y):
    """Tiles of the only block."""
    transform_outputs(AT, plan, M, 0, work.first, work.stop, bias, y)


@outlined
def multiply(tile, plan, V, U, M, count, pairs, ahead):
    """M[k, t, p * NR + n] = sum over c of V[k, t, c] * U[k, p, c, n] for t < count and some pairs (k, p), in tiles of MR tiles x NR channels"""
    size, (x, y) = plan.IC * tile.NR, ahead
    from_x, from_y = x.start, y.start
    for pair in range(pairs[0], pairs[1]):
        k, p = pair // plan.panels, pair % plan.panels
        panel = U[k * plan.U_point + p * size : k * plan.U_point + (p + 1) * size]
        for t in range(0, count, tile.MR):
            prefetch(x.memory, from_x, min(from_x + x.step, x.stop))
            prefetch(y.memory, from_y, min(from_y + y.step, y.stop))
            from_x, from_y = from_x + x.step, from_y + y.step
            acc, rows = zeros(tile), offsets_apart(tile, plan.V_tile, count - t)
            inputs = V[k * plan.V_point + t * plan.V_tile :]
            for c in range(plan.IC):
                acc = fma_gathered(tile, acc, inputs, rows, c, panel, c * tile.NR)
            store_rows(tile, acc, M, offsets_apart(tile, plan.M_tile, count - t), k * plan.M_point + t * plan.M_tile + p * tile.NR, tile.NR)


class Pass:
    """A pass bound to what it reads and writes, on flat arrays as kernels see them."""

    def __init__(self, side: Side, flops: int, flip: bool, lower_bound: float):
        self.work, self.tile = flops / FLOPS, tile_for(side.OC, FLOAT32)
        LANES = self.tile.LANES
        self.matrices = (Tile(LANES, 1, LANES, FLOAT32), *matrices(LANES)[:3])
        self.plan = tiles_plan(side, self.tile.MR, self.tile.NR)._replace(flip=flip, lower_bound=float(lower_bound))
        self.record, self.bound = Record(self.plan), correlate.bind()
        self.taps = 9 * LANES * LANES

    def run(self, x, w, bias, y) -> None:
        plan, many = self.plan, chunks(POINTS, self.work)
        own = 0 if plan.blocks == 1 else min(plan.blocks, threads_for(self.work))  # each with V and M of its own
        size = max(max(1, own) * (plan.V_size + plan.M_size), many * self.taps)
        U, scratch = memory.scratch(POINTS * plan.U_point, FLOAT32, "U"), memory.scratch(size, FLOAT32)
        self.bound(self.work, self.tile, self.matrices, self.record, (x, w, bias, y), U, scratch, (own, many))


class Forward(Pass):
    """The forward pass: `run(x, w, b, y)`, y not below lower_bound."""

    def __init__(self, g: Geometry, dtype: np.dtype, lower_bound: float = -np.inf):
        super().__init__(forward_side(g), g.flops, False, lower_bound)

    __call__ = Pass.run


class InputGrad(Pass):
    """The input gradient with padding of zeros: `run(dy, w, dx)`."""

    def __init__(self, g: Geometry, dtype: np.dtype):
        super().__init__(backward_side(g), g.flops, True, -np.inf)
        self.zeros = np.zeros(g.IC, dtype)

    def __call__(self, dy, w, dx) -> None:
        self.run(dy, w, self.zeros, dx)
