"""Type checkers find nothing in the examples: what fastconv says of its types is right for those who use it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("checker", [("mypy",), ("basedpyright", "--pythonpath", sys.executable)], ids=lambda words: words[0])
def test_a_type_checker_finds_nothing_in_the_examples(checker):
    pytest.importorskip(checker[0])
    done = subprocess.run([sys.executable, "-m", *checker], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
