"""The site of these guides, and of what docstrings say: python -m sphinx -W examples/guides build/site (pip install "fastconv[docs]")."""

import re

from fastconv import __version__

project, release = "fastconv", __version__
copyright = "2026, the fastconv developers"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["README.md"]  # what a forge shows of this folder; index.md includes it
html_theme = "furo"
html_title = f"fastconv {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
highlight_language = "text"
myst_heading_anchors = 3
autodoc_default_options = {"members": True}
FULL = 138  # characters of a docstring's line, which has 150 with what it is indented by
autodoc_preserve_defaults = True  # np.float32, not <class 'numpy.float32'>


def as_written(app, what: str, name: str, docs: object, options, lines: list[str]) -> None:
    """Docstrings are plain text: formulas and columns are shown as they stand. Where a line was full, the next is joined to it."""
    text: list[str] = []
    before = ""
    for line in lines:
        if line[:1].strip() and not re.match(r">>>|[\w, ]+: ", line) and len(before) + 1 + len(line.split()[0]) > FULL:
            text[-1] += f" {line}"
        else:
            text.append(line)
        before = line
    lines[:] = ["::", "", *("    " + line for line in text), ""]


def setup(app) -> None:
    app.connect("autodoc-process-docstring", as_written)
