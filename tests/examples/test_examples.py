"""Every example runs, says what it promises, and is short enough to read at one go."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PROMISES = {
    "callbacks.py": r"^epoch,loss,accuracy,rate,images_per_second,val_loss,val_accuracy\n(?s:.*)^written: .*log\.csv\nvalidation loss by epoch: 0",
    "cnn_from_scratch.py": r"epoch 8: loss 0\.0\d+, accuracy on new pictures (?:9\d|100)\.\d %\n[^:]*:\n(?:.* -> .*\n){3}"
    r"nudging .* moved the loss by ([+-]\d\.\d)\d+(e-\d\d); the gradient foretold \1\d+\2",
    "dense.py": r"^64 entries, 36 not forced to be 0: 9 numbers\n(?s:.*)^y, and ops.conv2d: largest difference 0$",
    "edge_filter.py": r"y\[0, 0, 16, 5\] = sum of .*\n *= 2.0 by hand, 2.0 from conv2d",
    "filters.py": r"test accuracy 9\d\.\d %.*\nmost often, .*\n\nin the first digit, a \d, filter \d+ answers most",
    "input_gradient.py": r"^dx\[0,1\]: .*\n.* = -1$(?s:.*)^stride 2, padding 1: .*\n\[\[1 2 1 2 1\]$",
    "max_pool.py": r"^even shares, after 4 updates\n(?s:.*)^dx, and ops.max_pool2d_grad: largest difference 0$",
    "own_pictures.py": r"^ImageFolder\(240 pictures \(3, 24, 24\) .*\ntest accuracy (?:9\d|100)\.\d %\n(?:new-\w+\.png: \w+\n){3}",
    "saliency.py": r"^test loss 0\.\d+, accuracy 9\d\.\d %\na digit's ink covers \d\d % of its pixels; .* hold \d\d % of what counts$",
    "shared_weights.py": r"^dw\[2,2\] = -148\.59, the sum of 900 (?s:.*)^3000 updates: loss from 589\.9 to 2\.2e-06; the filter$",
    "train_digits.py": r"epoch  8 .*\n\ntest accuracy 9\d\.\d %",
    "training_loop.py": r"epoch 5: loss 0\.\d+, test accuracy 9\d\.\d %\nnudging one weight",
    "two_gradients.py": r"^loss -76\.000; after w - lr \* dw -83\.084; after w - lr \* \(sum of dx\) -74\.032$",
    "whole_net.py": r"^loss before 2\.3425, after 2\.3270\nall gradients, and those of the layers: largest difference (?:0|\de-1\d)$",
}
LONGEST = 80
LONGER = {"cnn_from_scratch.py": 152}  # a whole network, and nothing imported that would shorten it


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
    assert re.search(PROMISES.get(path.name, r"\S"), done.stdout, re.MULTILINE), done.stdout
    assert list(tmp_path.iterdir()) == []
