"""The pictures of the lessons, by matplotlib (an extra), without a window."""

import importlib.util
import io
from pathlib import Path

from fastconv.files import write_whole
from fastconv.lessons.blocks import Picture


def require() -> None:
    """ImportError that says how to get matplotlib, if it is not there."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError('pictures need matplotlib: pip install "fastconv[plot]"')


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


def save(picture: Picture, folder: Path, topic: str) -> Path:
    """Write `folder/topic-name.png`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{topic}-{picture.name}.png"
    write_whole(path, render(picture, "png"))
    return path
