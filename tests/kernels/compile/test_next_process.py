"""What a training step compiles stands on disk for the next process, all of it."""

import os
import subprocess
import sys

import pytest

STEP = """
import numpy as np
from fastconv import layers as L, losses, optim, train
from fastconv.kernels.compile import cache
compiled = []
cache.on_compile.append(compiled.append)
model = L.Sequential(
    L.Conv2d(3, 16, 3, padding=1), L.BatchNorm2d(16), L.ReLU(), L.MaxPool2d(2), L.Conv2d(16, 16, 3, padding=1), L.MaxPool2d(3, stride=2, padding=1),
    L.Conv2d(16, 16, 3, padding=1, groups=16), L.AvgPool2d(2, stride=1), L.Sigmoid(), L.Dropout(0.5), L.AdaptiveAvgPool2d(2), L.AdaptiveMaxPool2d(1),
    L.Flatten(), L.BatchNorm1d(16), L.Linear(16, 4),
)
x, y = np.ones((2, 3, 16, 16), np.float32), np.arange(2)
for optimizer in (optim.SGD, optim.Adam):
    train.step(model, x, y, losses.cross_entropy, optimizer(model.parameters(), 0.01))
print(*compiled)
"""


def run() -> list[str]:
    """The kernels that a new process had to compile for a step."""
    process = subprocess.run([sys.executable, "-c", STEP], capture_output=True, text=True, timeout=300, env=os.environ | {"FASTCONV_QUIET": "1"})
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout.split()


@pytest.mark.slow
def test_no_kernel_of_a_training_step_is_compiled_twice():
    """Each can be stored, and found again: nothing in the name of its file changes from process to process."""
    run()
    assert run() == []
