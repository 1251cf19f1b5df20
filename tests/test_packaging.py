"""What `pip install .` brings: every folder of the package, as setuptools finds them."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_every_folder_is_installed():
    setuptools, tomllib = pytest.importorskip("setuptools"), pytest.importorskip("tomllib")
    words = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]["find"]
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "fastconv").rglob("*.py")}
    assert set(setuptools.find_packages(str(ROOT), **words)) == folders
