"""The site of these guides, and of what docstrings say: python -m sphinx -W examples/guides build/site (pip install "fastconv[docs]")."""

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
autodoc_preserve_defaults = True  # np.float32, not <class 'numpy.float32'>


def as_written(app, what: str, name: str, docs: object, options, lines: list[str]) -> None:
    """Docstrings are plain text: their formulas and columns are shown as they stand."""
    lines[:] = ["::", "", *("    " + line for line in lines), ""]


def setup(app) -> None:
    app.connect("autodoc-process-docstring", as_written)
