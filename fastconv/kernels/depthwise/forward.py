"""Convolution with few channels a group: lanes are target channels, and a window of taps slides along rows of pixels.

    y[ow, lane] = bias[lane] + sum over kernel rows and k of patch[row, ow * SW + k, lane] * panel[row, k, lane]

The input gradient is the same loops over other tables: its taps are flipped, and a stride divides instead of multiplying. A sum runs over its
terms in the order kd, kh, (channel of the group), kw, whatever the cut, so that it has the same bits in any batch.
"""

import numpy as np

from fastconv import memory
from fastconv.geometry import Geometry
from fastconv.kernels.compile import Record, driver, get_num_threads, serial, spread
from fastconv.kernels.depthwise.packing import item_of, pack_panels, pack_patch
from fastconv.kernels.depthwise.plan import Plan, backward_plan, forward_plan, terms
from fastconv.kernels.simd.arithmetic import add_row, clamp, zeros
from fastconv.kernels.simd.host import registers
from fastconv.kernels.simd.tile import one_row
from fastconv.kernels.simd.windows import Window, fma_window, store_pixels


@driver
def correlate(pool, window, plan, x, w, bias, y, scratch):
    """The pass. x, y: (N, D, H, W, C), w: (taps, IC/G, OC), flat; scratch: panels and a patch for each chunk of the items."""
    spread(pool, len(scratch) // plan.scratch, plan.items, correlate_items, scratch, window, plan, x, w, bias, y)


@serial
def correlate_items(work, window, plan, x, w, bias, y):
    """Loop 4: some work items, each of which owns its outputs."""
    panels, patch = work.scratch[: plan.blocks * plan.panels], work.scratch[plan.blocks * plan.panels :]
    pack_panels(one_row(window), plan, w, panels)
    for i in range(work.first, work.stop):
        item = item_of(i, plan, window.LANES)
        pack_patch(one_row(window), plan, item, x, patch)
        correlate_item(window, plan, item, patch, panels[item.channel // window.LANES * plan.panels :], bias, y)


@serial
def correlate_item(window, plan, item, patch, panel, bias, y):
    """Loop 3: the rows of an item's outputs, in each phase of a stride."""
    plane, row = plan.patch_h * plan.patch_w * window.LANES, plan.patch_w * window.LANES
    for image in range(item.images):
        for p in range(len(plan.phases)):
            phase = plan.phases[p]
            JD, JH = min(item.jd + plan.depths, phase[2]), min(item.jh + plan.rows, phase[5])
            for jd in range(item.jd, JD):
                for jh in range(item.jh, JH):
                    start = image * plan.ICG * plan.patch + (jd - item.jd) * plan.SD * plane + (jh - item.jh) * plan.SH * row
                    d, h, n = phase[3] + jd * phase[4], phase[6] + jh * phase[7], item.n + image
                    to = ((n * plan.OD + d) * plan.OH + h) * plan.OW * plan.OC
                    correlate_row(window, plan, item, phase, patch[start:], panel, bias, y[to:])


@serial
def correlate_row(window, plan, item, phase, patch, panel, bias, y):
    """Loops 2 and 1: a row of outputs in tiles of MR pixels; the sum, a kernel row of K taps at a time."""
    first, stop, JW, first_w, step_w = phase[0], phase[1], phase[8], phase[9], phase[10]
    pixels, channels = min(plan.columns, JW - item.jw), plan.OC - item.channel
    for jw in range(0, pixels, window.MR):
        x, acc = jw // window.MR * window.step * window.LANES, zeros(window)
        for row in range(first, stop):
            acc = fma_window(window, acc, patch, x + plan.row_offsets[row], panel, row * window.K * window.LANES)
        acc = clamp(window, add_row(window, acc, bias, item.channel, channels), plan.lower_bound)
        to = (first_w + (item.jw + jw) * step_w) * plan.OC + item.channel
        store_pixels(window, acc, y, to, step_w * plan.OC, pixels - jw, channels)


def lanes(dtype: np.dtype) -> int:
    return registers().bytes // np.dtype(dtype).itemsize


def chunks(items: int) -> int:
    """Into how many chunks items are dealt out: some for each thread; one thread packs the panels once."""
    return 1 if get_num_threads() == 1 else min(items, 4 * get_num_threads())


class _Correlate:
    """A pass bound to a geometry and dtype: `run(x, w, bias, y)` on flat arrays as kernels see them."""

    def __init__(self, g: Geometry, dtype: np.dtype, plan: Plan, window: Window, lower_bound: float = -np.inf):
        self.flops, self.dtype, self.window = g.flops, np.dtype(dtype), window
        size = plan.blocks * plan.panels + plan.images * plan.ICG * plan.patch
        self.plan = plan._replace(scratch=memory.lines(size, self.dtype), lower_bound=float(lower_bound))
        self.record, self.run = Record(self.plan), correlate.bind()

    def __call__(self, x, w, bias, y) -> None:
        scratch = memory.empty((chunks(self.plan.items) * self.plan.scratch,), self.dtype)
        self.run(self.flops, self.window, self.record, x, w, bias, y, scratch)


class Forward(_Correlate):
    """y = max(conv(x, w) + b, lower_bound): `run(x, w, b, y)`."""

    def __init__(self, g: Geometry, dtype: np.dtype, lower_bound: float = -np.inf):
        super().__init__(g, dtype, *forward_plan(g, np.dtype(dtype), lanes(dtype)), lower_bound)


class InputGrad:
    """dx of a convolution with padding of zeros: `run(dy, w, dx)`."""

    def __init__(self, g: Geometry, dtype: np.dtype):
        self.run = _Correlate(g, dtype, *backward_plan(g, np.dtype(dtype), lanes(dtype)))
        self.zeros = np.zeros(g.IC, dtype)

    def __call__(self, dy, w, dx) -> None:
        self.run(dy, w, self.zeros, dx)


def forward_error(g: Geometry, dtype: np.dtype) -> int:
    """The terms of a sum, then the bias."""
    return terms(g) + 1


def input_grad_error(g: Geometry, dtype: np.dtype) -> int:
    return g.OC // g.G * g.taps + 1
