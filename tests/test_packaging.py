"""What `pip install .` brings, every folder of the package, and what a package index is given: links that lead somewhere from there."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_every_folder_is_installed():
    setuptools, tomllib = pytest.importorskip("setuptools"), pytest.importorskip("tomllib")
    words = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]["find"]
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "fastconv").rglob("*.py")}
    assert set(setuptools.find_packages(str(ROOT), **words)) == folders


def test_an_index_shows_the_links_and_pictures_of_the_readme():
    tomllib = pytest.importorskip("tomllib")
    spec = spec_from_file_location("release", ROOT / ".ci/release.py")
    release = module_from_spec(spec)
    spec.loader.exec_module(release)
    links = re.findall(r"\]\(([^)]+)\)", release.absolute((ROOT / "README.md").read_text("utf-8"), "https://forge.example/me/fastconv"))
    pictures = [link for link in links if link.endswith(".png")]
    assert pictures
    assert all(link.startswith("https://forge.example/me/fastconv/raw/main/examples/") for link in pictures)
    assert [link for link in links if not link.startswith("https://")] == []
    project = tomllib.loads(release.with_urls((ROOT / "pyproject.toml").read_text("utf-8"), "https://forge.example/me/fastconv"))["project"]
    assert project["urls"]["Source"] == "https://forge.example/me/fastconv"


def test_the_extra_all_holds_each_extra_for_users():
    tomllib = pytest.importorskip("tomllib")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for_work = {"test", "peers", "docs", "types"}
    assert extras["all"] == [f"fastconv[{','.join(sorted(extras.keys() - for_work - {'all'}))}]"]
    rows = re.findall(r"^\| (`.*?`) \|", (ROOT / "README.md").read_text("utf-8").partition("| extra |")[2].partition("\n\n")[0], re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == extras.keys()
