"""A whole network: steps of training on the digits, and answers, of which a single image waits for one."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import data, losses, models, optim, train


@pytest.fixture
def model():
    fc.seed(0)
    return models.small_cnn()


@pytest.mark.benchmark(max_time=2)
@pytest.mark.parametrize("batch", [32, 256])
def test_training_step(model, batch, clock):
    """Forward, cross-entropy, backward, SGD with momentum. The loss on the one batch must fall before anything is timed."""
    (x, y), _ = data.digits()
    x, y = x[:batch], y[:batch]
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    values = [train.step(model, x, y, losses.cross_entropy, optimizer) for _ in range(40)]
    assert np.mean(values[-5:]) < 0.9 * np.mean(values[:5])
    clock(lambda: train.step(model, x, y, losses.cross_entropy, optimizer), batch, "images/s")


@pytest.mark.benchmark(max_time=1)
@pytest.mark.parametrize("batch", [1, 256])
def test_inference(model, batch, clock):
    """The scores must be the textbook's before anything is timed."""
    (x, _), _ = data.digits()
    x = x[:batch]
    scores = model(x)
    with fc.algorithm("reference"):
        np.testing.assert_allclose(scores, model(x), rtol=1e-3, atol=1e-5)
    clock(lambda: model(x), batch, "images/s")
