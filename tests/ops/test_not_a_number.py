"""NaN in a convolution: of the input it comes exactly to those who read it, by Winograd's algorithm also to others of their tiles; padding makes
none; a weight's stays in its channel."""

import numpy as np
import pytest
from geometries import CONVOLUTIONS, normals

import fastconv as fc
from fastconv.kernels import table

CASES = [case for i, case in enumerate(CONVOLUTIONS) if i % 4 == 1 or "over kernel" in case.name]
pytestmark = pytest.mark.usefixtures("one_thread")
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def spoiled(a: np.ndarray, value: float = np.nan) -> np.ndarray:
    a = a.copy()
    a.flat[a.size // 3] = value
    return a


def by_algorithm(run) -> dict[str, np.ndarray]:
    """Where the results are not finite."""
    found = {}
    for name in table.names():
        with fc.algorithm(name):
            found[name] = ~np.isfinite(run())
    return found


@every_case
def test_numbers_that_are_read(case):
    """Whatever the algorithm: what x and dy hold comes to all who read it and to nobody else, and padding makes no NaN."""
    x, w, b, dy = case.draw(normals, np.float32)
    for run in (lambda: case.forward(spoiled(x), w, b), lambda: case.input_grad(spoiled(dy), w), lambda: case.weight_grad(spoiled(x), dy)):
        found = by_algorithm(run)
        for name, where in found.items():
            assert (where >= found["reference"]).all(), name
            assert name in ("winograd", "auto") or (where == found["reference"]).all(), name
    for run in (lambda: case.forward(x, w, b), lambda: case.input_grad(dy, w), lambda: case.weight_grad(x, dy)):
        assert not any(where.any() for where in by_algorithm(run).values())


@every_case
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers(case, value):
    """All outputs that the weight reaches through the input are lost, none of another channel, and who meets it only in the padding may be."""
    x, w, b, dy = case.draw(normals, np.float32)
    bad = spoiled(w, value)
    oc, ic = np.argwhere(~np.isfinite(bad))[0, :2]
    ic += oc // (case.g.OC // case.g.G) * (case.g.IC // case.g.G)
    for run, channel in (lambda: case.forward(x, bad, b), oc), (lambda: case.input_grad(dy, bad), ic):
        found = by_algorithm(run)
        for name, where in found.items():
            assert (where >= found["reference"]).all(), name
            assert not np.delete(where, channel, axis=1).any(), name


@every_case
def test_gradients_that_are_no_numbers(case):
    """A weight's gradient: all weights of that channel through which the output met the input."""
    x, _, _, dy = case.draw(normals, np.float32)
    bad = spoiled(dy)
    oc = np.argwhere(np.isnan(bad))[0, 1]
    found = by_algorithm(lambda: case.weight_grad(x, bad))
    for name, where in found.items():
        assert (where >= found["reference"]).all(), name
        assert not np.delete(where, oc, axis=0).any(), name
