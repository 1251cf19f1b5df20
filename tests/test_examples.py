"""Every example runs, says what it promises, and is short enough to read at one go."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PROMISES = {
    "cnn_from_scratch.py": r"epoch 8: loss 0\.0\d+, accuracy on new pictures (?:9\d|100)\.\d %\n[^:]*:\n(?:.* -> .*\n){3}"
    r"nudging .* moved the loss by ([+-]\d\.\d)\d+(e-\d\d); the gradient foretold \1\d+\2",
    "edge_filter.py": r"y\[0, 0, 16, 5\] = sum of .*\n *= 2.0 by hand, 2.0 from conv2d",
    "filters.py": r"test accuracy 9\d\.\d %.*\nmost often, .*\n\nin the first digit, a \d, filter \d+ answers most",
    "train_digits.py": r"epoch  8 .*\n\ntest accuracy 9\d\.\d %",
    "training_loop.py": r"epoch 5: loss 0\.\d+, test accuracy 9\d\.\d %\nnudging one weight",
}
LONGEST = 80
LONGER = {"cnn_from_scratch.py": 151}  # a whole network, and nothing imported that would shorten it


def test_every_example_has_a_promise():
    assert PROMISES.keys() <= {path.name for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_explains_itself(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) < LONGER.get(path.name, LONGEST)
    assert text.startswith('"""')


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path, tmp_path):
    """In a folder of its own: an example leaves nothing where it is run. Warnings are errors.

    On one thread: the numbers are the same, and a busy machine holds it up less.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", path]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(PROMISES.get(path.name, r"\S"), done.stdout), done.stdout
    assert list(tmp_path.iterdir()) == []
