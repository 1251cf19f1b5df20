"""Passes for weights that stay have the bits of those that pack their weights in each call."""

import math

import numpy as np
import pytest
from geometries import CONVOLUTIONS, DTYPES, normals

from fastconv.geometry import Geometry, conv_geometry
from fastconv.kernels import table
from fastconv.kernels.compile import noting

ROWS = [row for row in table.OPERATIONS["conv_forward"] if row.prepared]
# Winograd's inputs shared by all threads, or blocks of tiles; one group and several; ragged panels; more than 64 input channels
SQUARES = ((1, 64, 64, 8, 1), (2, 128, 128, 8, 1), (1, 16, 16, 32, 1), (2, 100, 70, 9, 1), (1, 48, 96, 12, 3), (3, 48, 96, 6, 3))
GEOMETRIES = {case.name: case.g for case in CONVOLUTIONS} | {
    f"{N}x{IC} to {OC}, {size}, {G} groups": conv_geometry("conv2d", N, IC, OC, (size, size), (3, 3), 1, 1, 1, G) for N, IC, OC, size, G in SQUARES
}


def draw(g: Geometry, dtype) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    return tuple(normals(rng, (count,), dtype) for count in (math.prod(g.input_shape), math.prod(g.weight_shape), g.OC))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("g", GEOMETRIES.values(), ids=GEOMETRIES)
def test_the_same_bits(g, dtype, row):
    if dtype not in row.dtypes or not row.fits(g):
        pytest.skip("another row's geometry or dtype")
    x, w, b = draw(g, dtype)
    expected, found = (np.full(math.prod(g.output_shape), np.nan, dtype) for _ in range(2))
    row.bind(g, np.dtype(dtype), 0.0)(x, w, b, expected)
    run = row.prepared(g, np.dtype(dtype), 0.0)
    run(x, run.pack(w), b, found)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_is_packed_serves_every_batch_of_that_form(row):
    geometries = [conv_geometry("conv2d", N, 64, 70, (8, 8), (3, 3), 1, 1, 1, 1) for N in (1, 2, 9)]
    w, packed = draw(geometries[0], np.float32)[1], {}
    for g in geometries:
        x, _, b = draw(g, np.float32)
        expected, found = (np.empty(math.prod(g.output_shape), np.float32) for _ in range(2))
        row.bind(g, np.dtype(np.float32))(x, w, b, expected)
        run = row.prepared(g, np.dtype(np.float32))
        if run.form not in packed:
            packed[run.form] = run.pack(w)
        run(x, packed[run.form], b, found)
        np.testing.assert_array_equal(found, expected)
    assert len(packed) < len(geometries)


def test_noted_launches_make_the_same_call_again():
    g = GEOMETRIES["3x3"]
    x, w, b = draw(g, np.float32)
    y = np.empty(math.prod(g.output_shape), np.float32)
    run = ROWS[-1].bind(g, np.dtype(np.float32), 0.0)
    with noting() as notes:
        run(x, w, b, y)
    expected = y.copy()
    y[:] = np.nan
    (launch,) = notes.launches
    launch()
    np.testing.assert_array_equal(y, expected)
    assert launch.work > 0
    run(x, w, b, y)  # not noted any more
    assert len(notes.launches) == 1
