"""Where the vector kernels do not work, slower ones compute, and a warning says so once."""

import numpy as np
import pytest
from geometries import CONVOLUTIONS, integers

from fastconv.kernels import selfcheck, table

OPERATIONS = ("conv_forward", "conv_input_grad", "conv_weight_grad")


@pytest.fixture
def unchecked():
    selfcheck.vectors_work.cache_clear()
    yield
    selfcheck.vectors_work.cache_clear()


def test_vectors_work_here(unchecked, recwarn):
    assert selfcheck.vectors_work()
    assert not recwarn.list


def wrong(compiled, x, numbers, w, y, rows):
    y[:] = 1


def raising(*arguments):
    raise AttributeError("numba has no such thing\nand more")


@pytest.mark.parametrize(("kernel", "reason"), [(wrong, "a product is wrong"), (raising, "AttributeError: numba has no such thing")])
def test_without_them_the_plain_edition_runs(unchecked, monkeypatch, kernel, reason):
    monkeypatch.setattr(selfcheck, "run", kernel)
    case = CONVOLUTIONS[1]
    x, w, b, dy = case.draw(integers, np.float32)
    with pytest.warns(UserWarning, match=rf"^fastconv: .*\({reason}\); slower ones are used$"):
        y = case.forward(x, w, b)
    dx, dw = case.input_grad(dy, w), case.weight_grad(x, dy)  # without another warning: here warnings are errors
    assert {table.pick(operation, case.g, np.float32).name for operation in OPERATIONS} == {"plain"}
    monkeypatch.undo()
    selfcheck.vectors_work.cache_clear()
    for slow, fast in ((y, case.forward(x, w, b)), (dx, case.input_grad(dy, w)), (dw, case.weight_grad(x, dy))):
        np.testing.assert_array_equal(slow, fast)
    assert all(table.pick(operation, case.g, np.float32).name != "plain" for operation in OPERATIONS)
