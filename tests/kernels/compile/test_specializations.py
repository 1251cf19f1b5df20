"""Compile time is a cost: a tile is compiled once, a layer shape never."""

import sys
from collections import Counter

import numpy as np
import pytest
from geometries import CONVOLUTIONS, DTYPES, Convolution, normals

import fastconv as fc
from bench.layer import parse
from bench.peers import Ours
from bench.rows import EVERY_KERNEL
from fastconv import layers, ops
from fastconv.kernels import depthwise
from fastconv.kernels.igemm import col2im, forward, weight_grad
from fastconv.kernels.simd.host import menu, tile_for


def every_kernel() -> dict[str, list]:
    """What is compiled in any file below kernels, by name: dispatchers of Numba's, which know their signatures."""
    found = {}
    for value in [value for name, module in sys.modules.items() if name.startswith("fastconv.kernels.") for value in vars(module).values()]:
        parts = [getattr(value, part, None) for part in ("code", "threaded", "alone", "kernel")]
        compiled = [part for part in (value, *parts) if hasattr(part, "signatures") and hasattr(part, "py_func")]
        if compiled:
            function = compiled[0].py_func
            found[f"{function.__module__}.{function.__qualname__}"] = compiled
    return found


def specializations() -> dict[str, int]:
    """How many signatures each kernel has, compiled now or read from the disk."""
    return {name: sum(len(part.signatures) for part in parts) for name, parts in every_kernel().items()}


def run_every_kernel(dtype) -> None:
    """The layers of which the report says that they need every kernel; and a gradient of other padding."""
    for line in EVERY_KERNEL:
        for call in Ours(fc.get_num_threads()).calls(parse(f"{line} dtype={dtype.__name__}")).values():
            call()
    with fc.algorithm("narrow"):  # whose tiles pay for other channels where vectors have other lanes
        for line in ("1 2 16 4 5 1 2", "1 3 10 4 3 1 1", "1 2 17 4 2 1 0"):
            for call in Ours(fc.get_num_threads()).calls(parse(f"{line} dtype={dtype.__name__}")).values():
                call()
    ops.conv2d(np.ones((1, 2, 4, 4), dtype), np.ones((2, 2, 3, 3), dtype))  # planes of channels, which become pixels
    ops.conv2d_input_grad(np.ones((1, 2, 4, 4), dtype), np.ones((2, 2, 3, 3), dtype), (1, 2, 4, 4), padding=1, padding_mode="reflect")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_a_shape_never_seen_before_compiles_nothing(dtype):
    run_every_kernel(dtype)
    tiles = {signature[1].name for signature in forward.correlate.code.signatures}
    assert {tile_for(channels, np.dtype(dtype))._numba_type_.name for channels in range(1, 129)} <= tiles
    before = specializations()
    for case in (case for case in CONVOLUTIONS if not depthwise.fits(case.g)):
        x, w, b, dy = case.draw(normals, dtype)
        case.forward(x, w, b)
        case.input_grad(dy, w)
        case.weight_grad(x, dy)
        case.weight_grad(x, dy, return_bias_grad=True, out=np.zeros_like(w), accumulate=True)
    after = specializations()
    assert {name: count for name, count in after.items() if count != before[name]} == {}


@pytest.mark.slow
def test_other_extents_of_a_depthwise_layer_compile_nothing():
    """There a pass is compiled for its window: kernel width, stride, and where the padding puts it; for no batch, channels, rows or columns."""

    def run(N, channels, H, W):
        case = Convolution("", (N, channels, H, W), (channels, 1, 3, 3), {"groups": channels, "padding": 1})
        x, w, b, dy = case.draw(normals, np.float32)
        case.forward(x, w, b)
        case.input_grad(dy, w)
        case.weight_grad(x, dy, return_bias_grad=True)

    run(1, 32, 12, 24)
    run(1, 3, 12, 24)  # fewer channels than lanes are packed
    before = specializations()
    for shape in ((3, 32, 12, 24), (1, 7, 12, 24), (1, 33, 5, 24), (2, 64, 12, 48)):
        run(*shape)
        assert specializations() == before, shape


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_a_pass_is_compiled_once_for_a_tile(dtype):
    """Whatever this process has run before: no number, no extent and no option is part of a signature."""
    run_every_kernel(dtype)
    for driver in (forward.correlate, weight_grad.weight_grad, col2im.input_grad):
        counts = Counter(signature[1].name for signature in driver.code.signatures)
        assert set(counts.values()) == {1}, (driver.__name__, counts)
        assert sum(np.dtype(dtype).name in name for name in counts) <= len(menu(np.dtype(dtype)))


def test_other_extents_of_functions_and_own_statistics_compile_nothing():
    """Compiled once: a function for its name; norms whatever the groups, with parameters or without; softmax for any axis and its logarithm."""

    def run(*made, shape):
        for layer in made:
            y, backward = layer.forward(np.ones(shape, np.float32))
            backward(y)

    run(layers.SiLU(), layers.GroupNorm(2, 4), layers.LayerNorm(3), layers.Softmax(), shape=(2, 4, 3))
    before = specializations()
    run(layers.SiLU(), layers.GroupNorm(5, 5, affine=False), layers.LayerNorm((5, 7, 40), bias=False), shape=(3, 5, 7, 40))
    run(layers.LayerNorm(600, elementwise_affine=False), layers.Softmax(-1), layers.LogSoftmax(0), shape=(70, 600))
    run(layers.LogSoftmax(2), layers.InstanceNorm3d(2), shape=(1, 2, 3, 4, 5))
    assert specializations() == before


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_the_menu_is_short(dtype):
    """Each of its tiles costs seconds of compiling."""
    assert len(menu(np.dtype(dtype))) <= 4
