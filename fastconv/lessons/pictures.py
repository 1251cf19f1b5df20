"""The pictures of the lessons, by matplotlib (an extra), without a window."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastconv import plot
from fastconv.files import write_whole
from fastconv.lessons.blocks import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render(picture: Picture, kind: str) -> bytes:
    """The picture as "png" or "svg"."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=picture.size, layout="constrained")
    picture.draw(figure)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": picture.name}):  # the same bytes from the same numbers
        figure.savefig(buffer, format=kind, dpi=110, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def matrices(figure: "Figure", *parts: tuple | str) -> None:
    """Matrices in a row, all cells of one size: (title, array) or (title, array, highlighted cells), and words between them."""
    tallest = max(len(part[1]) for part in parts if not isinstance(part, str))
    widths = [0.35 + 0.22 * len(part) if isinstance(part, str) else np.shape(part[1])[1] for part in parts]
    axes = figure.subplots(1, len(parts), width_ratios=widths, squeeze=False)[0]
    figure.get_layout_engine().set(wspace=0.02, w_pad=0.06, h_pad=0.08)
    for ax, part in zip(axes, parts):
        if isinstance(part, str):
            ax.axis("off")
            ax.text(0.5, 0.5, part, ha="center", va="center", transform=ax.transAxes)
            continue
        title, array, *highlight = part
        plot.numbers(array, ax, title=title, highlight=highlight[0] if highlight else None)
        middle = (len(array) - 1) / 2
        ax.set_ylim(middle + tallest / 2 + 0.05, middle - tallest / 2 - 0.05)


def save(picture: Picture, folder: Path, topic: str) -> Path:
    """Write `folder/topic-name.png` into an existing folder; returns its path."""
    path = folder / f"{topic}-{picture.name}.png"
    write_whole(path, render(picture, "png"))
    return path
