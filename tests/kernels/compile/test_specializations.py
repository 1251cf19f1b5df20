"""Compile time is a cost: a tile is compiled once, a layer shape never."""

import numpy as np
import pytest
from geometries import CONVOLUTIONS, DTYPES, normals

import fastconv as fc
from bench.layer import parse
from bench.peers import Ours
from bench.rows import EVERY_KERNEL
from fastconv import ops
from fastconv.kernels import depthwise, depthwise_weight_grad, host, items, packing, padding, tiled_convolution, tiled_fold, tiled_weight_grad


def specialisations() -> dict[str, int]:
    """How many signatures each kernel of the tiled convolution has, compiled now or read from the disk."""
    modules = items, packing, padding, tiled_convolution, tiled_fold, tiled_weight_grad, depthwise, depthwise_weight_grad
    counts = {}
    for name, kernel in ((name, kernel) for module in modules for name, kernel in vars(module).items() if not name.startswith("_")):
        parts = [kernel] + [getattr(kernel, part, None) for part in ("threaded", "twin", "kernel")]
        counts[name] = counts.get(name, 0) + sum(len(getattr(part, "signatures", ())) for part in parts)
    return counts


def every_tile(dtype) -> dict[str, int]:
    """A number of output channels for each tile of the menu."""
    return {repr(host.tile_for(channels, np.dtype(dtype))): channels for channels in range(1, 129)}


def every_lane_tile(dtype) -> dict[str, int]:
    """A number of groups for each tile whose lanes are groups."""
    return {repr(host.lane_tiles_for(groups, np.dtype(dtype)).pixels): groups for groups in range(2, 129)}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_shape_never_seen_before_compiles_nothing(dtype):
    """Behind the layers of which the report says that they need every kernel; and the one for gradients of other padding."""
    for line in EVERY_KERNEL:
        for call in Ours(fc.get_num_threads()).calls(parse(f"{line} dtype={dtype.__name__}")).values():
            call()
    ops.conv2d_input_grad(np.ones((1, 2, 4, 4), dtype), np.ones((2, 2, 3, 3), dtype), (1, 2, 4, 4), padding=1, padding_mode="reflect")
    before = specialisations()
    assert min(before["multiply"], before["add_products"]) >= len(every_tile(dtype))
    assert before["multiply_lanes"] >= len(every_lane_tile(dtype))
    assert max(before["correlate"], before["weight_grad"]) <= 2 * len(DTYPES)  # threaded and serial: what only deals out work is compiled once
    for case in CONVOLUTIONS:
        x, w, b, dy = case.draw(normals, dtype)
        case.forward(x, w, b)
        case.input_grad(dy, w)
        case.weight_grad(x, dy)
    assert specialisations() == before


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_menu_is_bounded(dtype):
    assert len(every_tile(dtype)) <= 6
    assert len(every_lane_tile(dtype)) <= 2
