"""What every picture needs: Axes to draw into, sizes, colours, files. The only place that opens pyplot."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastconv.files import as_path, write_whole
from fastconv.geometry import array, described, function, number, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, HAIRLINE = "0.15", "0.75"
BLUE, RED, GREEN = "#2166ac", "#c0504d", "#2e7d4f"
LEAST, MOST = 0.1, 200  # inches of a picture's sides: 24,000 pixels


def save(path: str | Path, draw: Callable[..., Axes], *arguments, size: tuple[float, float] | None = None, **words) -> None:
    """A picture of its own in a PNG file, without pyplot: `save("curves.png", learning_curves, history)`.

    size: (width, height) in inches; None: 6.4 x 4, less the margins that nothing is drawn in.
    """
    path = as_path("save", "path", path)
    function("save", "draw", draw, "a function that draws into `ax`, such as plot.filters")
    inches = [number("save", "size", length) for length in size] if isinstance(size, (tuple, list)) else [6.4, 4] if size is None else []
    if len(inches) != 2 or not all(LEAST <= length <= MOST for length in inches):
        raise ValueError(f"save: size must be (width, height) in inches, each from {LEAST} to {MOST}, got {shown(size)}")
    need_matplotlib()
    from matplotlib.figure import Figure

    figure, content = Figure(figsize=inches, layout="constrained"), io.BytesIO()
    draw(*arguments, ax=figure.add_subplot(), **words)
    figure.savefig(content, format="png", dpi=120, bbox_inches="tight" if size is None else None)
    write_whole(path, content.getvalue())


def need_matplotlib() -> None:
    """ImportError, with the line that installs it, where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401  # is it there?
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "fastconv[plot]"') from error


def axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The given Axes, or those of a new pyplot figure of this size in inches."""
    need_matplotlib()
    if ax is not None:
        if isinstance(ax, type) or not hasattr(ax, "transAxes"):
            raise TypeError(f"plot: ax must be matplotlib Axes, one of them, as plt.subplots()[1] is, got {described(ax)}")
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def fit(columns: float, rows: float, cell: float, beside: float = 0) -> tuple[float, float]:
    """A figure for rows x columns cells of about so many inches and a strip beside them, neither tiny nor huge."""
    cell = np.clip(cell, 2.5 / max(columns, rows), 7 / max(columns, rows))
    return max(2, cell * columns + beside + 0.1), max(1.5, cell * rows + 0.4)


def font_size(ax: Axes, columns: float, rows: float, longest: int, largest: float) -> float:
    """In points, for texts of up to `longest` characters in square cells, rows x columns of which fill the Axes."""
    cell = 72 * min(ax.bbox.width / columns, ax.bbox.height / rows) / ax.figure.dpi
    return min(largest, 0.45 * cell, 1.4 * cell / max(1, longest))


def bare(ax: Axes) -> Axes:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def between(*colours: str):
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("fastconv", colours)


def largest(a: np.ndarray) -> float:
    """The largest finite magnitude; 1 where all is zero."""
    return float(np.abs(a[np.isfinite(a)].astype(np.float64)).max(initial=0)) or 1.0


def real(op: str, name: str, given) -> np.ndarray:
    values = array(op, name, given)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"{op}: {name} must be an array of numbers, got dtype {values.dtype}")
    return values


def class_numbers(op: str, **given) -> list[np.ndarray]:
    """Labels and predictions as (N,) integers >= 0 of one length."""
    arrays = {name: array(op, name, values) for name, values in given.items()}
    for name, a in arrays.items():
        if a.dtype.kind not in "iu":
            raise TypeError(f"{op}: {name} must be integers, got {a.dtype}{a.shape}{': write scores.argmax(axis=1)' if a.ndim == 2 else ''}")
        if a.ndim != 1 or not a.size:
            raise ValueError(f"{op}: {name} must be (N,) with N >= 1, got {a.shape}")
        if a.min() < 0:
            raise ValueError(f"{op}: {name}[{a.argmin()}] = {a.min()} is not a class 0, 1, ...")
    if len({len(a) for a in arrays.values()}) > 1:
        raise ValueError(f"{op}: {' and '.join(arrays)} must have the same length, got {' and '.join(str(len(a)) for a in arrays.values())}")
    return [a.astype(np.int64) for a in arrays.values()]
