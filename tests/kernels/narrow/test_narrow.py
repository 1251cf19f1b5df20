"""Narrow layers: what a row of the table's laws cannot see. Where they are chosen, and that cutting the work changes no bit."""

import numpy as np
import pytest
from geometries import DTYPES, Convolution, normals

import fastconv as fc
from fastconv.kernels import table
from fastconv.kernels.narrow import forward, plan, weight_grad
from fastconv.kernels.simd.host import registers

CASE = Convolution("", (3, 9, 11, 18), (5, 9, 5, 7), {"padding": (2, 3)})  # blocks of 4 and 1 kernel rows, rows that are not whole tiles
LANES = registers().bytes // 4


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_bands_change_no_bit(dtype, monkeypatch):
    """Of the forward pass: an image in bands of a few rows, an image alone, all at once."""
    x, w, b, _ = CASE.draw(normals, dtype)
    with fc.algorithm("narrow"):
        whole = CASE.forward(x, w, b)
        alone = [CASE._replace(x=(1, *CASE.x[1:])).forward(x[i : i + 1], w, b)[0] for i in range(len(x))]
    np.testing.assert_array_equal(whole, alone)
    monkeypatch.setattr(plan, "PATCH", 1)
    run, y = forward.Forward(CASE.g, dtype), np.full(whole.size, np.nan, dtype)
    assert run.plan.rows == 1
    memory = x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0), b
    run(*(np.ascontiguousarray(a).ravel() for a in memory), y)
    np.testing.assert_array_equal(y, whole.transpose(0, 2, 3, 1).ravel())


@pytest.mark.parametrize(("KW", "parts"), [(2, (0, 1)), (3, (1, 0)), (4, (0, 2)), (5, (1, 1)), (6, (2, 0)), (7, (1, 2)), (8, (2, 1))])
def test_taps_of_a_row_by_threes_and_twos(KW, parts):
    made, _ = plan.forward_plan(Convolution("", (1, 1, 1, 20), (1, 1, 1, KW)).g, np.dtype(np.float32))
    assert (made.threes, made.twos) == parts


@pytest.mark.parametrize("KW", range(2, 9))
def test_each_tap_has_sums_of_its_own(KW):
    """Though the last part of a kernel row overlaps the one before it."""
    made, taps = weight_grad.weight_plan(Convolution("", (1, 3, 4, 20), (9, 3, 2, KW)).g, np.dtype(np.float32), True)
    assert len(set(made.k_index.tolist())) == 2 * KW * 3
    assert made.k_index.max() < made.tiles * taps.MR * taps.NR <= made.panel - taps.NR**2


@pytest.mark.skipif(LANES > 8, reason="of wider vectors it was not measured")
def test_where_it_is_chosen():
    """By any extent but that of the batch."""
    names = {
        (IC, OC, size, k): [
            table.pick(operation, Convolution("", (N, IC, size, size), (OC, IC, k, k), {"padding": k // 2}).g, np.dtype(np.float32)).name
            for operation in ("conv_forward", "conv_input_grad", "conv_weight_grad")
            for N in (1, 64)
        ]
        for IC, OC, size, k in ((1, LANES, 28, 5), (1, 32, 28, 3), (3, 2 * LANES, 32, 5), (3, LANES, 5, 5))
    }
    assert names[1, LANES, 28, 5] == ["narrow"] * 2 + ["col2im"] * 2 + ["narrow"] * 2
    assert names[1, 32, 28, 3] == ["direct"] * 2 + ["col2im"] * 2 + ["narrow"] * 2
    assert names[3, 2 * LANES, 32, 5][::2] == ["direct", "col2im", "direct"]
    assert "narrow" not in names[3, LANES, 5, 5]  # rows shorter than a tile
