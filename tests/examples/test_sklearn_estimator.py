"""A net as an estimator goes through scikit-learn's grid search and pipeline."""

import re
import runpy
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "examples/ported/sklearn_estimator.py"


@pytest.mark.slow
def test_the_grid_search_finds_the_rate_that_learns(capsys, one_thread):
    pytest.importorskip("sklearn")
    runpy.run_path(str(PROGRAM), run_name="__main__")
    assert re.fullmatch(r"best: \{'convclassifier__lr': 0\.003\}\naccuracy 0\.9\d+\n", capsys.readouterr().out)
