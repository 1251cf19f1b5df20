"""A step that can be taken back, and what it says of its numbers."""

import numpy as np
import pytest

from fastconv import layers, optim
from fastconv.kernels.elementwise.spans import SPAN

KINDS = optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop
ROWS = 2 * SPAN + 100  # three items of an update, the last one not full


@pytest.fixture
def layer():
    layer = layers.Linear(1, ROWS, bias=False)
    layer.weight.value[...] = 1
    layer.weight.add_grad(np.ones_like(layer.weight.value))
    return layer


def state(optimizer):
    kept = {name: np.array(value) for name, value in optimizer.state_dict().items()}
    return kept | {f"value {i}": p.value.copy() for i, p in enumerate(optimizer.parameters)}


def assert_same(optimizer, before):
    for name, value in state(optimizer).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


@pytest.mark.parametrize("words", [{}, {"clip_value": 1.0}])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, SPAN - 1, SPAN, ROWS - 1])
@pytest.mark.parametrize("kind", KINDS)
def test_one_gradient_that_is_not_finite_is_told_and_taken_back(kind, place, wrong, words, layer):
    optimizer = kind(layer.parameters(), 0.1, **words)
    assert optimizer.try_step()
    before = state(optimizer)
    layer.weight.grad.reshape(-1)[place] = wrong
    assert not optimizer.try_step()  # clip_value would have made a finite move of an infinite gradient
    optimizer.undo()
    assert_same(optimizer, before)


@pytest.mark.parametrize("kind", KINDS)
def test_one_value_that_overflows_is_told_and_taken_back(kind, layer):
    layer.weight.value.reshape(-1)[SPAN + 3] = np.finfo(np.float32).max
    layer.weight.grad.reshape(-1)[SPAN + 3] = -1
    optimizer = kind(layer.parameters(), 1e37)
    before = state(optimizer)
    assert not optimizer.try_step()
    assert not np.isfinite(layer.weight.value).all()
    optimizer.undo()
    assert_same(optimizer, before)


@pytest.mark.parametrize("kind", KINDS)
def test_it_moves_as_step_does(kind, layer):
    twin = layers.Linear(1, ROWS, bias=False)
    twin.weight.value[...] = 1
    twin.weight.add_grad(np.ones_like(twin.weight.value))
    optimizer, usual = kind(layer.parameters(), 0.1), kind(twin.parameters(), 0.1)
    for _ in range(3):
        assert optimizer.try_step()
        usual.step()
    assert_same(optimizer, state(usual))


def test_of_several_groups_what_did_not_move_stays(layer):
    """Each group is an update of its own; a parameter without a gradient is in none."""
    others = [layers.Linear(3, 5, bias=False).weight for _ in range(3)]
    others[0].add_grad(np.full_like(others[0].value, np.nan))
    others[1].add_grad(np.ones_like(others[1].value))
    optimizer = optim.SGD([{"params": [layer.weight]}, {"params": others, "lr": 0.5}], lr=0.1, momentum=0.9)
    before = state(optimizer)
    assert not optimizer.try_step()
    optimizer.undo()
    assert_same(optimizer, before)
    assert list(optimizer.counts.values()) == [0] * 4
