"""`out`, `accumulate` and `return_bias_grad` of the weight gradients."""

import numpy as np
import pytest
from geometries import CONVOLUTIONS, integers

from fastconv import ops

CASES = [case for case in CONVOLUTIONS if case.name in ("3x3", "groups", "1-D", "3-D")]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@every_case
def test_out_takes_the_result(case):
    """The array that is given is returned, holding what would have been returned; in any memory layout."""
    x, w, _, dy = case.draw(integers, np.float32)
    expected = case.weight_grad(x, dy)
    for out in (np.full_like(w, np.nan), np.asfortranarray(w), np.zeros((*w.shape[:-1], 2 * w.shape[-1]), w.dtype)[..., ::2]):
        assert case.weight_grad(x, dy, out=out) is out
        np.testing.assert_array_equal(out, expected)


@every_case
def test_accumulate_adds(case):
    """Two halves of a batch, accumulated, are the whole batch; an empty one adds nothing."""
    x, w, _, dy = case.draw(integers, np.float32)
    out = np.zeros_like(w)
    for half in (slice(0, 1), slice(1, None), slice(0, 0)):
        case.weight_grad(x[half], dy[half], out=out, accumulate=True)
    np.testing.assert_array_equal(out, case.weight_grad(x, dy))


@every_case
def test_bias_grad_comes_along(case):
    """return_bias_grad gives the bits of `bias_grad`, the sum of dy over batch and positions."""
    x, w, _, dy = case.draw(integers, np.float32)
    dw, db = case.weight_grad(x, dy, out=np.empty_like(w), return_bias_grad=True)
    np.testing.assert_array_equal(dw, case.weight_grad(x, dy))
    np.testing.assert_array_equal(db, dy.sum(axis=(0, *range(2, dy.ndim))))
    assert db.tobytes() == ops.bias_grad(dy).tobytes()


def test_out_must_not_overlap():
    """`out` overlapping an input is a ValueError, and nothing has been written."""
    memory = np.arange(64, dtype=np.float32)
    x, dy = memory[:32].reshape(1, 2, 4, 4), memory[32:41].reshape(1, 1, 3, 3)
    before = memory.copy()
    with pytest.raises(ValueError, match="conv2d_weight_grad: out overlaps x"):
        ops.conv2d_weight_grad(x, dy, 2, out=memory[4:12].reshape(1, 2, 2, 2))
    with pytest.raises(ValueError, match="conv2d_weight_grad: out overlaps dy"):
        ops.conv2d_weight_grad(x, dy, 2, out=memory[36:44].reshape(1, 2, 2, 2))
    np.testing.assert_array_equal(memory, before)


def out_errors():
    good = np.zeros((1, 2, 2, 2), np.float32)
    read_only = good.copy()
    read_only.flags.writeable = False
    return [
        (ValueError, r"out must have the shape \(1, 2, 2, 2\), got \(2, 2, 2\)", good[0]),
        (ValueError, r"out must have the shape \(1, 2, 2, 2\), got \(2, 1, 2, 2\)", good.swapaxes(0, 1)),
        (ValueError, "out is read-only", read_only),
        (TypeError, "out must be a float32 array, got float64", good.astype(np.float64)),
        (TypeError, "out must be a float32 array, got >f4", good.astype(">f4")),
        (TypeError, "out must be a float32 array, got list", good.tolist()),
    ]


@pytest.mark.parametrize(("error", "message", "out"), out_errors())
def test_what_out_may_not_be(error, message, out):
    """Gradient calls are checked like forward calls."""
    x, dy = np.zeros((1, 2, 4, 4), np.float32), np.zeros((1, 1, 3, 3), np.float32)
    with pytest.raises(error, match=f"^conv2d_weight_grad: {message}"):
        ops.conv2d_weight_grad(x, dy, 2, out=out)


@pytest.mark.parametrize("out", [np.zeros(3), np.zeros((2, 3, 1)), np.zeros((3, 2)), [[0.0] * 3] * 2], ids=["1 axis", "3 axes", "turned", "list"])
def test_what_out_of_linear_may_not_be(out):
    """Gradient calls are checked like forward calls. (dw is (2, 3) here.)"""
    with pytest.raises((ValueError, TypeError), match="linear_weight_grad: out must"):
        ops.linear_weight_grad(np.zeros((4, 3)), np.zeros((4, 2)), out=out)
