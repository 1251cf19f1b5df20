"""Where the vector kernels do not work, slower ones compute, and a warning says so once."""

import numpy as np
import pytest
from geometries import CONVOLUTIONS, integers

from fastconv.kernels import selfcheck, table
from fastconv.ops import passes

OPERATIONS = ("conv_forward", "conv_input_grad", "conv_weight_grad")


@pytest.fixture
def unchecked():
    """The question is asked anew, and passes that were bound by its answer are bound again."""
    forget()
    yield
    forget()


def forget() -> None:
    selfcheck.vectors_work.cache_clear()
    passes.convolution.cache_clear()


def test_vectors_work_here(unchecked, recwarn):
    assert selfcheck.vectors_work()
    assert not recwarn.list


class Wrong:
    def bind(self):
        return lambda work, tile, x, starts, w, y, rows: y.fill(1)


class Raising:
    def bind(self):
        raise AttributeError("numba has no such thing\nand more")


@pytest.mark.parametrize(("kernel", "reason"), [(Wrong(), "a product is wrong"), (Raising(), "AttributeError: numba has no such thing")])
def test_without_them_the_plain_edition_runs(unchecked, monkeypatch, kernel, reason):
    monkeypatch.setattr(selfcheck, "twice_the_products", kernel)
    case = CONVOLUTIONS[1]
    x, w, b, dy = case.draw(integers, np.float32)
    with pytest.warns(UserWarning, match=rf"^fastconv: .*\({reason}\); slower ones are used$"):
        y = case.forward(x, w, b)
    dx, dw = case.input_grad(dy, w), case.weight_grad(x, dy)  # without another warning: here warnings are errors
    assert {table.pick(operation, case.g, np.float32).name for operation in OPERATIONS} == {"plain"}
    monkeypatch.undo()
    forget()
    for slow, fast in ((y, case.forward(x, w, b)), (dx, case.input_grad(dy, w)), (dw, case.weight_grad(x, dy))):
        np.testing.assert_array_equal(slow, fast)
    assert all(table.pick(operation, case.g, np.float32).name != "plain" for operation in OPERATIONS)
