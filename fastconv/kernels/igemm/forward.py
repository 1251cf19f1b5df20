"""Direct convolution as an indirect GEMM: the forward pass, and the input gradient, which is the same loops over other tables.

    y[m, n] = bias[n] + sum over k of x[input_offsets[m] + k] * w[k, n]      M = pixels, N = output channels, K = (kd, kh, kw, ic)

In register tiles of MR pixels x NR channels, after Goto and van de Geijn (2008); loops are numbered from the innermost, over k. Running sums
have at most 256 terms; such blocks are added up in order, then the bias: whatever the tile, the cut and the batch, a sum has the same bits.
"""

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.compile import FLOPS, Record, chunks, driver, inlined, serial, spread
from fastconv.kernels.igemm.items import inputs_ahead, inputs_of, item_of, outputs_of
from fastconv.kernels.igemm.packing import packed, panels_of, weights_ahead
from fastconv.kernels.igemm.plan import Limits, Phase, Plan, backward_phases, forward_phases, plans
from fastconv.kernels.simd.ahead import fetch, fetch_rows
from fastconv.kernels.simd.arithmetic import add, add_row, clamp, fma_gathered, zeros
from fastconv.kernels.simd.host import IN_PLACE, PANELS, TERMS, tile_for
from fastconv.kernels.simd.memory import load_rows, offsets, store_rows


@driver
def correlate(pool, tile, plan, x, w, bias, y, scratch):
    """The pass. x, y: (N, D, H, W, C), w: (taps, IC/G, OC), flat; scratch: panels and a patch for each chunk of the items."""
    spread(pool, len(scratch) // plan.scratch, plan.items, correlate_items, scratch, tile, plan, x, w, bias, y)


@serial
def correlate_items(work, tile, plan, x, w, bias, y):
    """Loops 5 and 4: some work items, each of which owns its outputs; blocks of the sum."""
    patch, panels = work.scratch[plan.panels :], work.scratch[: plan.panels]
    for i in range(work.first, work.stop):
        item = item_of(i, plan)
        if item.channel == 0 or i == work.first:  # else it has the pixels of the item before
            inputs = inputs_of(item, plan, x, patch)
        fresh = i == work.first or plan.strips > 1 or plan.G > 1 or not plan.kept  # else the item before has left its panels
        outputs, tiles = outputs_of(item, plan, y), -(-item.pixels // tile.MR) * -(-item.channels // tile.NR)  # of each block
        later = item_of(i + 1, plan)
        inputs_later = inputs_ahead(x, item, later, plan, tiles * (len(plan.blocks) - 1))
        for block in range(len(plan.blocks) - 1):
            ahead = inputs_later, block * tiles, weights_ahead(plan, w, item, later, block, tiles)
            multiply(tile, plan, item, block, (inputs, ahead), panels_of(tile, plan, w, item, block, (panels, fresh)), bias, outputs)


@inlined
def multiply(tile, plan, item, block, reads, panels, bias, outputs):
    """Loops 3 and 2: one block of the sum in tiles of NR channels x MR pixels. The first overwrites, others add; then bias and clamp.

    reads: inputs, and what is prefetched with the tiles: inputs, from the share of the block's first tile on, and weights.
    """
    input_offsets, output_offsets = plan.input_offsets[item.narrow], plan.output_offsets[item.narrow]
    (inputs, (inputs_later, share, weights_later)), last, t = reads, item.pixels - 1, 0
    for p in range(0, item.channels, tile.NR):
        n, channels = item.channel + p, item.channels - p
        for m in range(0, item.pixels, tile.MR):
            fetch(inputs_later, share + t)
            fetch_rows(weights_later, t)
            t += 1
            acc = sum_block(tile, plan, block, inputs, offsets(tile, input_offsets, m, last), panels, p // tile.NR)
            to = offsets(tile, output_offsets, m, last)
            if block > 0:
                acc = add(tile, load_rows(tile, outputs, to, n, channels), acc)
            if block == len(plan.blocks) - 2:
                acc = clamp(tile, add_row(tile, acc, bias, item.group * plan.OCG + n, channels), plan.lower_bound)
            store_rows(tile, acc, outputs, to, n, channels)


@inlined
def sum_block(tile, plan, block, inputs, starts, panels, p):
    """Loop 1: at most 256 terms, acc[m, n] = sum over k of inputs[starts[m] + k] * panel[k, n], a segment of neighbors after another"""
    acc, weights, row = zeros(tile), panels.start + p * panels.panel, panels.row
    for segment in range(plan.blocks[block, 0], plan.blocks[block + 1, 0]):
        start, count = plan.segments[segment, 0], plan.segments[segment, 1]
        for k in range(start, start + count):
            acc = fma_gathered(tile, acc, inputs, starts, k, panels.memory, weights)
            weights += row
    return acc


class Phases:
    """A pass bound to a geometry and dtype, on flat arrays as kernels see them."""

    def __init__(self, g: Geometry, phases: list[Phase], dtype: np.dtype, transposed: bool, lower_bound: float):
        self.dtype = np.dtype(dtype)
        self.tile = tile_for(phases[0].OC // g.G, self.dtype)
        limits = Limits(channels=self.tile.NR, itemsize=self.dtype.itemsize)
        self.plans = [self._finish(plan, transposed, lower_bound) for plan in plans(g, phases, limits)]
        self.bound = [(plan.flops / FLOPS, plan.items, plan.scratch, Record(plan), correlate.bind()) for plan in self.plans]

    def _finish(self, plan: Plan, transposed: bool, lower_bound: float) -> Plan:
        NR = self.tile.NR
        in_place = not transposed and plan.OCG % NR == 0 and (plan.OCG == NR or plan.K * plan.OC * self.dtype.itemsize <= IN_PLACE)
        strip = -(-plan.strip // NR) * NR
        kept = not in_place and plan.K * strip * self.dtype.itemsize <= PANELS
        panels = 0 if in_place else memory.lines((plan.K if kept else min(TERMS, plan.K)) * strip, self.dtype)
        scratch = max(1, panels + memory.lines(plan.patch_size, self.dtype))
        how = {"transposed": transposed, "in_place": in_place, "kept": kept, "lower_bound": float(lower_bound)}
        return plan._replace(**how, panels=panels, scratch=scratch)

    def run(self, x, w, b, y) -> None:
        for work, items, size, record, run in self.bound:
            run(work, self.tile, record, x, w, b, y, memory.scratch(chunks(items, work) * size, self.dtype))


class Forward(Phases):
    """The forward pass: `run(x, w, b, y)`, y not below lower_bound."""

    def __init__(self, g: Geometry, dtype: np.dtype, lower_bound: float = -np.inf):
        super().__init__(g, forward_phases(g), dtype, False, lower_bound)

    __call__ = Phases.run


class Prepared(Forward):
    """The forward pass for weights that stay: `run(x, pack(w), b, y)`, to the same bits."""

    def _finish(self, plan: Plan, transposed: bool, lower_bound: float) -> Plan:
        scratch = max(1, memory.lines(plan.patch_size, self.dtype))
        return plan._replace(prepared=True, lower_bound=float(lower_bound), scratch=scratch)

    @property
    def form(self) -> tuple:
        """What the packed weights depend on, beside w."""
        return "panels", self.tile.NR

    def pack(self, w: np.ndarray) -> np.ndarray:
        panels = memory.empty((len(made := packed(self.plans[0], self.tile.NR, w)),), self.dtype)  # on a cache line
        panels[:] = made
        return panels


class InputGrad(Phases):
    """The input gradient with padding of zeros: `run(dy, w, dx)`, a phase for each remainder of the strides."""

    def __init__(self, g: Geometry, dtype: np.dtype):
        super().__init__(g, backward_phases(g), dtype, True, -np.inf)
        self.zeros = np.zeros(g.IC, dtype)

    def __call__(self, dy, w, dx) -> None:
        self.run(dy, w, self.zeros, dx)
