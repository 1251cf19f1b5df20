"""Numbers in cells: small arrays, the confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastconv.geometry import array, described, entries, number
from fastconv.plot.canvas import HAIRLINE, INK, RED, axes, bare, between, class_numbers, fit, font_size, largest, real

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CLASSES = 1000
LIGHT = ("#f0a58f", "#ffffff", "#93bfe0")  # red, zero, blue: black text is readable on each


def numbers(
    a, ax: Axes | None = None, *, title: str | None = None, highlight: np.ndarray | Iterable[tuple[int, int]] | None = None,
    fmt: str = "{:g}", limit: float | None = None, labels: Sequence[Sequence[str]] | None = None,
) -> Axes:  # fmt: skip
    """A small 2-D array as a table: each value in its cell, tinted by its size and sign.

    highlight: the cells to outline, a boolean mask or (row, column) pairs. fmt: how to write a value. limit: the value of the
    strongest tint (None: the largest magnitude). labels: texts to write instead of the values.
    """
    values = real("numbers", "a", a)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"numbers: a must be a 2-D array with at least one cell, got {values.shape}")
    H, W = values.shape
    if not isinstance(fmt, str):
        raise TypeError(f"numbers: fmt must be a str such as '{{:.2f}}', got {described(fmt)}")
    texts = np.array([[fmt.format(value).replace("-", "\N{MINUS SIGN}") for value in row] for row in values + 0])  # + 0: no -0
    if labels is not None:
        texts = np.array(labels, dtype=object)
        if texts.shape != (H, W):
            raise ValueError(f"numbers: labels must have the shape of a, {(H, W)}, got {texts.shape}")
    limit = largest(values) if limit is None else number("numbers", "limit", limit)
    if not limit:
        raise ValueError("numbers: limit must be above 0, got 0")
    outlined = np.pad(_mask((H, W), highlight), 1)
    ax = bare(axes(ax, *fit(W, H, 0.6)))
    from matplotlib.collections import LineCollection

    y, x = np.arange(H + 1) - 0.5, np.arange(W + 1) - 0.5
    ax.pcolormesh(x, y, np.ma.masked_invalid(values), cmap=between(*LIGHT), vmin=-limit, vmax=limit)
    ax.hlines(y, x[0], x[-1], HAIRLINE, linewidth=0.8, clip_on=False)
    ax.vlines(x, y[0], y[-1], HAIRLINE, linewidth=0.8, clip_on=False)
    size = font_size(ax, W, H, max(len(str(text)) for text in texts.flat), 15)
    for i, j in np.ndindex(H, W):
        ax.text(j, i, texts[i, j], ha="center", va="center", color=INK, fontsize=size)
    # An outline runs where a cell is chosen and its neighbour is not.
    upright = [[(j - 0.5, i - 1.5), (j - 0.5, i - 0.5)] for i, j in np.argwhere(np.diff(outlined, axis=1))]
    level = [[(j - 1.5, i - 0.5), (j - 0.5, i - 0.5)] for i, j in np.argwhere(np.diff(outlined, axis=0))]
    ax.add_collection(LineCollection(upright + level, colors=INK, linewidths=2.2, capstyle="projecting", clip_on=False))
    ax.set(xlim=(-0.5, W - 0.5), ylim=(H - 0.5, -0.5), aspect="equal")
    if title is not None:
        ax.set_title(title, fontsize="medium", color=INK)
    return ax


def confusion_matrix(labels, predictions, ax: Axes | None = None, names: Sequence[str] | None = None) -> Axes:
    """How often each class (row) was taken for each (column). The redder, the larger the share of its row; right answers are grey.

    labels, predictions: (N,) integers 0..K-1; names: K of them.
    """
    true, answered = class_numbers("confusion_matrix", labels=labels, predictions=predictions)
    K = int(max(true.max(), answered.max())) + 1
    if K > MOST_CLASSES:
        raise ValueError(f"confusion_matrix: there are classes up to {K - 1}; at most {MOST_CLASSES} fit into a picture")
    if names is not None:
        names = entries(names)
    if names is not None and len(names) < K:
        raise ValueError(f"confusion_matrix: names has {len(names)} entries, but there are classes up to {K - 1}")
    named = [str(name) for name in (range(K) if names is None else names)]
    K = len(named)
    counts = np.bincount(true * K + answered, minlength=K * K).reshape(K, K)
    mistakes = np.ma.masked_array(counts / np.maximum(1, counts.sum(axis=1, keepdims=True)), np.eye(K, dtype=bool))
    ax = axes(ax, 5, 5)
    image = ax.imshow(mistakes, cmap=between("white", RED), vmin=0, vmax=max(0.1, mistakes.filled(0).max()))
    ax.set_facecolor("0.9")
    size = font_size(ax, K, K, len(str(counts.max())), 10)
    for i, j in np.argwhere(counts) if size >= 5 else ():
        dark = i != j and image.norm(mistakes[i, j]) > 0.7
        ax.text(j, i, str(counts[i, j]), ha="center", va="center", color="white" if dark else INK, fontsize=size)
    if size >= 5 or names is not None:
        upright = font_size(ax, K, K, max(map(len, named)), 10) >= size
        ax.set_xticks(range(K), named, rotation=0 if upright else 90, fontsize=max(4, size))
        ax.set_yticks(range(K), named, fontsize=max(4, size))
    ax.set(xlabel="predicted", ylabel="true")
    ax.tick_params(length=0)
    ax.spines[:].set_color(HAIRLINE)
    return ax


def _mask(shape: tuple[int, int], highlight) -> np.ndarray:
    """A boolean mask, from one or from (row, column) pairs."""
    if highlight is not None and (isinstance(highlight, str) or not isinstance(highlight, Iterable) or getattr(highlight, "ndim", 1) == 0):
        raise TypeError(f"numbers: highlight must be a boolean mask {shape} or (row, column) pairs, got {described(highlight)}")
    chosen = entries(highlight)
    ragged = len({array("numbers", "highlight", cell).shape for cell in chosen}) > 1
    cells = np.asarray(chosen, object if ragged else None)
    if cells.dtype == bool and cells.shape == shape:
        return cells
    if ragged or (cells.size and (cells.dtype.kind not in "iu" or cells.shape[1:] != (2,) or (cells < 0).any() or (cells >= shape).any())):
        raise ValueError(f"numbers: highlight must be a boolean mask {shape} or (row, column) pairs inside of it, got {cells.tolist()}")
    mask = np.zeros(shape, bool)
    mask[tuple(cells.reshape(-1, 2).astype(int).T)] = True
    return mask
