"""The site is built from the guides and the docstrings without a warning, and each public name is on it."""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from reliability import calls

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_site_is_built_and_holds_each_public_name(tmp_path):
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package)
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-d", tmp_path / "doctrees", ROOT / "examples/guides", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    pages = "".join(page.read_text("utf-8") for page in (tmp_path / "site").rglob("*.html"))
    shown = set(re.findall(r'<dt class="sig[^>]* id="([\w.]+)"', pages))
    names = defaultdict(set)  # of what has several, one is enough
    for module, _, name in (name.rpartition(".") for name in [*calls.public(), *calls.NO_CALL]):
        if module in calls.MODULES:
            names[getattr(calls.MODULES[module], name)].add(f"{calls.MODULES[module].__name__}.{name}")
    assert [each for each in names.values() if not each & shown] == []
