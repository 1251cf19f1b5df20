"""Curves: of learning over epochs, of the loss over learning rates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastconv.files import FileFormatError
from fastconv.geometry import instance
from fastconv.plot.canvas import BLUE, INK, RED, axes
from fastconv.train.history import read_history, renamed
from fastconv.train.rates import RateTest

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def learning_curves(history: list[dict] | str | Path, ax: Axes | None = None) -> Axes:
    """Loss (left, logarithmic where it spans a factor of 20) and accuracy in percent (right) over epochs; training is dashed, a test
    dash-dotted.

    history: what `train.fit` returned, or the path of a run's folder or of its history.csv. What is missing or None is left out.
    """
    rows = _history(history)
    panels = []  # loss, accuracy: what is known of them
    for name, label, scale, colour in (("loss", "loss", 1, BLUE), ("accuracy", "accuracy in %", 100, RED)):
        keys = {"training": name, "validation": f"val_{name}", "test": f"test_{name}"}
        curves = {kind: scale * _column(rows, key) for kind, key in keys.items()}
        known = {kind: y for kind, y in curves.items() if np.isfinite(y).any()}
        panels += [(label, colour, known)] if known else []
    if not panels:
        raise ValueError(f"learning_curves: history holds no finite loss or accuracy, only {', '.join(map(str, rows[0]))}")
    ax = axes(ax, 6.4, 4)
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    marker = "o" if len(rows) == 1 else ""
    styles = {
        "training": {"ls": (0, (3, 1.5)), "lw": 1.2, "marker": marker, "mfc": "none"},
        "validation": {"lw": 1.8, "marker": marker},
        "test": {"ls": (0, (8, 1.5, 1, 1.5)), "lw": 1.8, "marker": marker, "mec": INK},
    }
    for i, (label, colour, known) in enumerate(panels):
        panel = ax.twinx() if i else ax
        for kind, y in known.items():
            panel.plot(_column(rows, "epoch"), y, color=colour, **styles[kind])
        every = np.concatenate(list(known.values()))
        low, high = np.nanmin(every), np.nanmax(every)
        if label == "loss" and 0 < 20 * low <= high < np.inf:
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
            panel.yaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_minor_locator(NullLocator())
        if marker:  # one epoch: its points say little unless the axes are whole
            panel.set_ylim(min(0, low), None if label == "loss" else 100)
        panel.set_ylabel(label, color=colour)
        panel.tick_params(axis="y", colors=colour)
        panel.spines[["top", "left", "right"]].set_visible(False)
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    shown = [kind for kind in styles if any(kind in known for *_, known in panels)]
    panel.legend([Line2D([], [], color=INK, **styles[kind]) for kind in shown], shown, edgecolor="none", loc="center right")
    return ax


def lr_curve(test: RateTest, ax: Axes | None = None) -> Axes:
    """The loss over the learning rate, as `train.find_lr` found it: a dot for each step, a line through their means, the suggested rate."""
    instance("lr_curve", "test", test, RateTest, "what train.find_lr returned")
    ax = axes(ax, 6.4, 4)
    ax.plot(test.rates, test.losses, ".", color=BLUE, alpha=0.4, ms=6, mec="none", label="of each batch")
    ax.plot(test.rates, test.smoothed, color=BLUE, lw=1.8, label="smoothed")
    known = np.isfinite(test.suggestion)
    low, top = test.losses.min(), test.losses[: test.smoothed.argmin() + 1 if known else None].max()  # where it explodes is of no interest
    room = 0.15 * (top - low) or 1.0
    ax.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(low - room, top + room))
    ax.legend(edgecolor="none", loc="lower left")
    if known:
        ax.axvline(test.suggestion, color=RED, lw=1.2, ls=(0, (3, 1.5)))
        ax.annotate(
            f"suggestion {test.suggestion:.2g} ", (test.suggestion, 0.98), xycoords=("data", "axes fraction"), va="top", ha="right", color=RED
        )
    else:
        ax.set_title("the loss falls by no more than its noise: no suggestion", fontsize="medium", color=INK)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _history(history) -> list[dict]:
    """The records of a run."""
    if isinstance(history, (str, Path)):
        path = Path(history)
        path = path / "history.csv" if path.is_dir() else path
        history = read_history(path)
        if not history:
            raise FileFormatError(f"{path} must hold at least one epoch, got none")
    if not isinstance(history, (list, tuple)) or not all(isinstance(row, dict) for row in history):
        raise TypeError(f"learning_curves: history must be the list of dicts that fit returns, or a path, got {type(history).__name__}")
    if not history or not all("epoch" in row for row in history):
        raise ValueError(f"learning_curves: history must hold at least one epoch, and each its number, got {len(history)} records")
    return [renamed(row) for row in history]


def _column(rows: list[dict], key: str) -> np.ndarray:
    return np.array([np.nan if row.get(key) is None else row[key] for row in rows], float)
