"""`python -m bench.accuracy`: errors of both algorithms within the promise, and nets that learn by either."""

import numpy as np
import pytest

import fastconv as fc
from bench import accuracy
from bench.layer import parse, read
from fastconv.kernels import table

pytestmark = pytest.mark.slow
PASSES = ("conv_forward", "conv_input_grad", "conv_weight_grad")


def test_every_layer_of_its_list_is_winograds():
    for layer in read(accuracy.SHAPES):
        assert {table.pick(operation, layer.g, np.float32).name for operation in PASSES} == {"winograd"}, layer.line


@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("line", ["2 32 12 32 3 1 1", "2 16 16 24 5 1 2", "2 32 40 32 3 1 1 rank=1", "2 64 8 64 3 1 1 groups=4"])
def test_errors_stay_within_the_promise(line, offset):
    """SEMANTICS, accuracy: relative L2 at most 5e-6, weight gradient 1e-5; and the two columns are two algorithms' results."""
    found = accuracy.errors(parse(line), offset)
    assert all(0 < error <= bound for error, bound in zip(found["winograd"], (5e-6, 5e-6, 1e-5), strict=True))
    assert found["direct"] != found["winograd"]


def test_a_net_learns_by_either():
    assert min(accuracy.accuracy("ResNet-8", algorithm, 0, 2) for algorithm in accuracy.ALGORITHMS) > 0.5
    assert fc.kernels.table.chosen.get() == "auto"
