"""Winograd convolution, F(4x4, 3x3), after Lavin and Gray (2015): the forward pass, and the input gradient, the same with other tables.

    y = A^T [sum over ic of (G w G^T) * (B^T d B)] A + bias         d: 6x6 inputs, w: 3x3 taps, y: 4x4 outputs

The sums over ic are 36 GEMMs, one for each point k, of a block of tiles at a time. With 64 channels and a block of 24 tiles:

    x --transform_inputs--> V (36, 24, 64) --multiply--> M (36, 24, 64) --transform_outputs--> y        V, M: 280 KB each, in L2
                            w --transform_weights--> U (36, 64, 64): 590 KB, once a call, in L3

Where tiles are few or channels are many, U would come from memory for little work. Threads then share V of all tiles, and each makes the part
of U that it multiplies with: with 512 channels 32 input channels and a panel of 64 outputs, in L2; it is never stored.

36 multiplications do the work of 144. One infinity or NaN in the input reaches all outputs of its tiles. 5x5 and one-dimensional taps differ in
their matrices only.
"""

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.compile import FLOPS, Record, chunks, driver, outlined, serial, spread, threads_for
from fastconv.kernels.simd.ahead import Ahead, fetch
from fastconv.kernels.simd.arithmetic import fma_gathered
from fastconv.kernels.simd.host import tile_for
from fastconv.kernels.simd.memory import load_or_zeros, offsets_apart, store_rows
from fastconv.kernels.simd.tile import Tile
from fastconv.kernels.winograd.ahead import elements_of
from fastconv.kernels.winograd.matrices import transforms
from fastconv.kernels.winograd.plan import FEW_TILES, WIDEST, Plan, Side, backward_side, forward_side, odd_lines, tiles_plan
from fastconv.kernels.winograd.transforms import transform_inputs, transform_outputs, transform_weights

FLOAT32 = np.dtype(np.float32)
FOUR = 4  # tiles of an image


@driver
def correlate(pool, tile, matrices, plan, arrays, common, scratch, cut):
    """The pass. arrays: x, y: (N, H, W, C), w: (3, 3, IC/G, OC) or, to be turned round, (3, 3, OC/G, IC), or U if kept, and bias, flat.

    common: V of a block where threads share it, else U; scratch: what an item needs beside it; cut: chunks of either stage.
    """
    (square, _, G, BT), (x, w, _, _), (first, second) = matrices, arrays, cut
    if plan.shared:
        for block in range(plan.blocks):
            spread(pool, first, plan.G * tiles_of(plan, block)[2], input_items, scratch, BT, plan, x, (block, common))
            spread(pool, second, plan.G * plan.panels, panel_items, scratch, tile, matrices, plan, arrays, (block, common))
    else:
        U = w if plan.kept != 0 else common
        if plan.kept == 0:
            spread(pool, first, weight_parts(plan, G.LANES), weight_items, scratch, (G, square), plan, w, U)
        spread(pool, second, plan.G * plan.blocks, block_items, scratch, tile, matrices, plan, arrays, U)


@driver
def transform(pool, matrices, plan, w, U, scratch):
    """The first stage alone: U of all groups, to be kept."""
    square, _, G, _ = matrices
    spread(pool, 1, weight_parts(plan, G.LANES), weight_items, scratch, (G, square), plan, w, U)


@serial
def weight_parts(plan, LANES):
    """How many panels of LANES input channels there are in all groups."""
    return plan.G * plan.panels * -(-plan.IC // LANES)


@serial
def tiles_of(plan, block):
    """The first tile of a block, the one after the last, and how many are multiplied: whole register tiles."""
    first = block * plan.block
    stop = min(plan.tiles, first + plan.block)
    return first, stop, -(-(stop - first) // plan.MR) * plan.MR


@serial
def weight_items(work, matrices, plan, w, U):
    """Some work items, each one panel and LANES input channels of a group's U."""
    G, square = matrices
    for item in range(work.first, work.stop):
        p, ic = item % plan.panels, item // plan.panels % -(-plan.IC // G.LANES) * G.LANES
        group = item // plan.panels // -(-plan.IC // G.LANES)
        to = U[group * plan.points * plan.U_point + (p * plan.IC + ic) * plan.NR :]
        transform_weights(G, square, plan, w, (group, p, ic), work.scratch, to)


@serial
def block_items(work, tile, matrices, plan, arrays, U):
    """Some work items, each a block of tiles with all channels of a group."""
    (_, AT, _, BT), (x, _, bias, y) = matrices, arrays
    V, M = work.scratch[: plan.points * plan.V_point], work.scratch[plan.points * plan.V_point :]
    for item in range(work.first, work.stop):
        group, block = item // plan.blocks, item % plan.blocks
        first, stop, count = tiles_of(plan, block)
        transform_inputs(BT, plan, x, group, first, (first, first + count), (0, plan.IC), V)
        parts = plan.points * plan.panels * (count // tile.MR)
        ahead = elements_of(x, stop, stop + plan.block, plan, parts), elements_of(y, first, stop, plan, parts)
        multiply(tile, plan, V, U[group * plan.points * plan.U_point :], M, (count, plan.panels), (0, plan.IC), ahead)
        transform_outputs(AT, plan, M, group, first, (first, stop), (0, plan.OC), (bias, y))


@serial
def input_items(work, BT, plan, x, to):
    """Some work items, each a tile of a block that threads share, with all channels of a group."""
    block, V = to
    first, _, count = tiles_of(plan, block)
    for item in range(work.first, work.stop):
        group, t = item // count, first + item % count
        transform_inputs(BT, plan, x, group, first, (t, t + 1), (0, plan.IC), V[group * plan.points * plan.V_point :])


@serial
def panel_items(work, tile, matrices, plan, arrays, inputs):
    """Some work items, each a panel of outputs of a group, for all tiles of the block."""
    (square, AT, G, _), (_, w, bias, y), (block, V) = matrices, arrays, inputs
    taps = work.scratch[: plan.taps * G.LANES * G.LANES]
    U, M = work.scratch[len(taps) :], work.scratch[0 if plan.kept != 0 else len(taps) + plan.points * plan.U_point :]
    first, stop, count = tiles_of(plan, block)
    nothing = Ahead(y, 0, 0, 0)
    for item in range(work.first, work.stop):
        group, p = item // plan.panels, item % plan.panels
        for start in range(0, plan.IC, plan.slice):
            end = min(start + plan.slice, plan.IC)
            if plan.kept != 0:  # all input channels are one slice
                U = w[group * plan.points * plan.U_point + p * plan.IC * tile.NR :]
            else:
                for ic in range(start, end, G.LANES):
                    transform_weights(G, square, plan, w, (group, p, ic), taps, U[(ic - start) * tile.NR :])
            multiply(tile, plan, V[group * plan.points * plan.V_point :], U, M, (count, 1), (start, end), (nothing, nothing))
        transform_outputs(AT, plan, M, group, first, (first, stop), (p * tile.NR, min(plan.OC, (p + 1) * tile.NR)), (bias, y))


@outlined
def multiply(tile, plan, V, U, M, shape, channels, ahead):
    """M[k, t, p * NR + n] (+)= sum over some channels c of V[k, t, c] * U[k, p, c, n], in tiles of MR tiles x NR outputs; added to from the second
    channels on, in the order of one long sum

    shape: tiles, a multiple of MR, and panels; U begins with the first of its channels.
    """
    (count, panels), (start, end), (x, y) = shape, channels, ahead
    rows_of_tiles, size = -(-count // tile.MR), (end - start) * tile.NR
    for pair in range(plan.points * panels):
        k, p = pair // panels, pair % panels
        panel = U[k * plan.U_point + p * size : k * plan.U_point + (p + 1) * size]
        for t in range(0, count, tile.MR):
            fetch(x, pair * rows_of_tiles + t // tile.MR)
            fetch(y, pair * rows_of_tiles + t // tile.MR)
            rows, to = offsets_apart(tile, plan.V_tile, tile.MR), offsets_apart(tile, plan.M_tile, tile.MR)
            inputs, at = V[k * plan.V_point + t * plan.V_tile + start :], k * plan.M_point + t * plan.M_tile + p * tile.NR
            acc = load_or_zeros(tile, M, to, at, 1 if start == 0 else 0)
            for c in range(end - start):
                acc = fma_gathered(tile, acc, inputs, rows, c, panel, c * tile.NR)
            store_rows(tile, acc, M, to, at, tile.NR)


class Pass:
    """A pass bound to what it reads and writes, on flat arrays as kernels see them."""

    def __init__(self, side: Side, flops: int, flip: bool, lower_bound: float):
        self.work, self.tile = flops / FLOPS, self.tile_of(side)
        LANES = self.tile.LANES
        self.matrices = (Tile(LANES, 1, LANES, FLOAT32), *transforms(side.KH, side.KW, LANES)[:3])
        self.plan = plan = self.finish(tiles_plan(side, self.tile.MR, self.tile.NR))._replace(flip=flip, lower_bound=float(lower_bound))
        self.record, self.bound = Record(plan), correlate.bind()
        self.taps = plan.taps * LANES * LANES
        self.V, self.M, self.U = plan.V_size, plan.M_size, plan.points * plan.U_point

    def tile_of(self, side: Side) -> Tile:
        return tile_for(side.OC, FLOAT32, WIDEST if side.tiles > FEW_TILES else 9)

    def finish(self, plan: Plan) -> Plan:
        return plan

    def run(self, x, w, bias, y) -> None:
        plan = self.plan
        if plan.shared:
            first, second = chunks(plan.G * plan.block, self.work), min(plan.G * plan.panels, threads_for(self.work))
            common, size = plan.G * self.V, second * (self.M if plan.kept else self.taps + self.U + self.M)
        else:
            first, second = chunks(plan.points, self.work), min(plan.G * plan.blocks, threads_for(self.work))
            common, size = (0 if plan.kept else plan.G * self.U), max(first * self.taps, second * (self.V + self.M))
        operands = memory.scratch(common, FLOAT32, "V or U"), memory.scratch(size, FLOAT32), (first, second)
        self.bound(self.work, self.tile, self.matrices, self.record, (x, w, bias, y), *operands)


class Forward(Pass):
    """The forward pass: `run(x, w, b, y)`, y not below lower_bound."""

    def __init__(self, g: Geometry, dtype: np.dtype, lower_bound: float = -np.inf):
        super().__init__(forward_side(g), g.flops, False, lower_bound)

    __call__ = Pass.run


class Prepared(Forward):
    """The forward pass for weights that stay: `run(x, pack(w), b, y)`, to the same bits."""

    def tile_of(self, side: Side) -> Tile:
        """One image of 8x8 is 4 tiles: of six rows two would be computed for nothing (Zen 3, 64 channels 38 -> 33 us, 128 channels 106 -> 87)."""
        tile = super().tile_of(side)
        return Tile(FOUR, tile.NV, tile.LANES, FLOAT32) if side.tiles <= FOUR < tile.MR < 8 else tile

    def finish(self, plan: Plan) -> Plan:
        return plan._replace(kept=True, slice=plan.IC, U_point=odd_lines(plan.panels * plan.IC * plan.NR))

    @property
    def form(self) -> tuple:
        """What the packed weights depend on, beside w."""
        return "U", self.plan.NR

    def pack(self, w: np.ndarray) -> np.ndarray:
        """U: (G, points, panels, IC, NR), flat, with the distances of the plan."""
        U = memory.empty((self.plan.G * self.U,), FLOAT32)
        transform.bind()(0, self.matrices, self.record, w, U, memory.empty((self.taps,), FLOAT32))
        return U


class InputGrad(Pass):
    """The input gradient with padding of zeros: `run(dy, w, dx)`."""

    def __init__(self, g: Geometry, dtype: np.dtype):
        super().__init__(backward_side(g), g.flops, True, -np.inf)
        self.zeros = np.zeros(g.IC, dtype)

    def __call__(self, dy, w, dx) -> None:
        self.run(dy, w, self.zeros, dx)
