"""Axes and figures of Matplotlib for each test of pictures."""

import pytest


@pytest.fixture(autouse=True)
def agg():
    """No window, and no figure left over."""
    matplotlib = pytest.importorskip("matplotlib")
    from matplotlib import pyplot

    before = matplotlib.get_backend()
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")
    pyplot.switch_backend(before)


@pytest.fixture
def ax():
    from matplotlib.figure import Figure

    return Figure(layout="constrained").add_subplot()
