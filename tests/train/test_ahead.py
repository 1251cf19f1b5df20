"""The second process that compiles ahead: what it foresees is what a step runs; when there is one."""

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers, losses
from fastconv.kernels.compile.cache import on_compile
from fastconv.train import ahead

SCRIPT = """
import sys
import numpy as np
import fastconv as fc
from fastconv import layers, losses
from fastconv.kernels.compile import launch
from fastconv.kernels.selfcheck import vectors_work

body = layers.Sequential(layers.Conv2d(8, 8, 3, padding=1), layers.BatchNorm2d(8))
model = layers.Sequential(
    *(layers.Conv2d(1, 8, 3), layers.ReLU(), layers.MaxPool2d(2), layers.Residual(body), layers.ReLU(), layers.Dropout(0.5)),
    *(layers.Flatten(), layers.Linear(32, 3)),
)
x, y = np.ones((4, 1, 6, 6), np.float32), np.zeros(4, int)
vectors_work()
if sys.argv[1] == "foresee":
    from fastconv.train import ahead
    import io, pickle
    class Given:
        buffer = io.BytesIO(pickle.dumps((model, x.shape, x.dtype, y, losses.cross_entropy)))
    sys.stdin = Given
    calls = []
    launch.Driver.entry = lambda driver, *kinds: calls.append((driver.__name__, *map(str, kinds)))
    ahead.help_out()
    calls.reverse()
else:
    from fastconv.kernels.compile import kind_of, noting
    with noting() as notes:
        value, backward = model.forward(x)
        backward(losses.cross_entropy(value, y)[1], input_grad=False)
    calls = [(made.bound.driver.__name__, *(str(kind_of(operand)) for operand in made.operands)) for made in notes.launches]
print(*calls, sep="\\n")
"""


def printed(way: str) -> list[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(fc.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT, way], env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_what_is_foreseen_is_what_a_step_runs():
    foreseen = printed("foresee")
    assert len(foreseen) > 12
    assert foreseen == printed("run")


class Helper:
    """In place of a process: what it was given."""

    def __init__(self, command, **words):
        self.command, self.words, self.given = command, words, io.BytesIO()
        ahead.subprocess.started.append(self)

    def communicate(self, task: bytes) -> None:
        self.given.write(task)

    def kill(self) -> None:
        pass

    wait = kill


@pytest.fixture
def started(monkeypatch) -> list[Helper]:
    """The helpers that were started."""
    found: list[Helper] = []
    monkeypatch.setattr(ahead.subprocess, "Popen", Helper)
    monkeypatch.setattr(ahead.subprocess, "started", found, raising=False)
    monkeypatch.setattr(ahead, "helpers", [])
    monkeypatch.setattr(ahead, "folder", lambda: Path("somewhere"))
    monkeypatch.setattr(ahead, "get_num_threads", lambda: 2)
    return found


def step(model, kernels: int) -> None:
    """In which so many kernels are compiled."""
    x, y = np.ones((2, 3), np.float32), np.array([0, 1])
    with ahead.helped(model, x, y, losses.cross_entropy):
        for i in range(kernels):
            for listener in tuple(on_compile):
                listener(f"kernel {i}")


def test_a_helper_gets_the_step(started):
    before = list(on_compile)
    model = layers.Linear(3, 2)
    step(model, ahead.LEAST - 1)
    assert not started
    step(model, ahead.LEAST + 5)
    step(model, ahead.LEAST + 5)  # one a process
    assert len(started) == 1
    assert len(on_compile) <= len(before)
    while not started[0].given.tell():  # a thread writes
        pass
    given, shape, dtype, y, loss = pickle.loads(started[0].given.getvalue())
    assert (repr(given), shape, dtype, y.tolist(), loss) == (repr(model), (2, 3), np.float32, [0, 1], losses.cross_entropy)


@pytest.mark.parametrize("why", ["one thread", "no cache", "cannot be pickled"])
def test_there_is_no_helper(started, monkeypatch, why):
    model = layers.Linear(3, 2)
    if why == "one thread":
        monkeypatch.setattr(ahead, "get_num_threads", lambda: 1)
    elif why == "no cache":
        monkeypatch.setattr(ahead, "folder", lambda: None)
    else:
        model.note = lambda: None
    step(model, ahead.LEAST + 1)
    assert not started
