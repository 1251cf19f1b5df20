"""Build what a package index takes, in dist/: python .ci/release.py https://the.forge/owner/fastconv (pip install build)

The repository's address is given here, because it is known only where it is published. From it come the project's URLs, and the README's links and
pictures become absolute, as an index shows them.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = "LICENSE", "NOTICE", "CHANGELOG.md", "README.md", "pyproject.toml", "fastconv"
PAGES, RAW = "blob/main", "raw/main"  # where a forge shows a file, and where it gives its bytes


def absolute(readme: str, url: str) -> str:
    """The README with absolute links."""
    return re.sub(r"(!?)(\[[^\]]*\])\((?!https?:|#)([^)]+)\)", lambda m: f"{m[1]}{m[2]}({url}/{RAW if m[1] else PAGES}/{m[3]})", readme)


def with_urls(pyproject: str, url: str) -> str:
    """pyproject.toml with the project's URLs."""
    names = {"Source": "", "Documentation": f"/{PAGES}/examples/guides/README.md", "Changes": f"/{PAGES}/CHANGELOG.md", "Issues": "/issues"}
    return pyproject + "\n[project.urls]\n" + "".join(f'{name} = "{url}{path}"\n' for name, path in names.items())


def main(url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in FILES:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, Path(folder, name))
        for name, change in (("README.md", absolute), ("pyproject.toml", with_urls)):
            text = (ROOT / name).read_text("utf-8")
            Path(folder, name).write_text(change(text, url.rstrip("/")), "utf-8")
        subprocess.run([sys.executable, "-m", "build", folder, "--outdir", ROOT / "dist"], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
