"""Pictures: learning curves, filters, feature maps, mistakes, small arrays. Needs matplotlib: pip install "fastconv[plot]".

Each function draws into `ax`, or into a new pyplot figure, and returns the Axes; with `ax` given, pyplot is not touched.
Where values have signs, blue is positive, red is negative, white is zero, and the two ends are equally far from it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastconv.files import write_whole
from fastconv.geometry import integer
from fastconv.layers import Layer, Parameter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, HAIRLINE = "0.15", "0.75"
BLUE, RED = "#2166ac", "#c0504d"
LIGHT = ("#f0a58f", "#ffffff", "#93bfe0")  # red, zero, blue: black text is readable on each


def learning_curves(history: list[dict] | str | Path, ax: Axes | None = None) -> Axes:
    """Loss (left, logarithmic where it spans a factor of 20) and accuracy in percent (right) over epochs; training is dashed.

    history: what `train.fit` returned, or the path of a run's folder or of its history.csv. What is missing or None is left out.
    """
    rows = _history(history)
    panels = []  # loss, accuracy: what is known of them
    for name, label, scale, colour in (("loss", "loss", 1, BLUE), ("accuracy", "accuracy in %", 100, RED)):
        curves = {kind: scale * _column(rows, key) for kind, key in (("training", name), ("validation", f"validation_{name}"))}
        known = {kind: y for kind, y in curves.items() if np.isfinite(y).any()}
        panels += [(label, colour, known)] if known else []
    if not panels:
        raise ValueError(f"learning_curves: history holds no finite loss or accuracy, only {', '.join(map(str, rows[0]))}")
    ax = _axes(ax, 6.4, 4)
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    marker = "o" if len(rows) == 1 else ""
    styles = {"training": {"ls": (0, (3, 1.5)), "lw": 1.2, "marker": marker, "mfc": "none"}, "validation": {"lw": 1.8, "marker": marker}}
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


def filters(weights: Layer | Parameter | np.ndarray, ax: Axes | None = None, columns: int | None = None) -> Axes:
    """Every filter of a 2-D convolution, each of its input channels a tile; one colour scale about 0 for all.

    weights: a Conv2d or its weight (OC, IC, KH, KW). The IC tiles of a filter stand side by side; columns: filters per row.
    """
    if isinstance(weights, Layer):
        weights = getattr(weights, "weight", np.empty(0))
    w = _numbers("filters", "weights", weights.value if isinstance(weights, Parameter) else weights)
    if w.ndim != 4 or not w.size:
        raise ValueError(f"filters: weights must be a Conv2d or its weight (OC, IC, KH, KW), got {w.shape}")
    OC, IC = w.shape[:2]
    columns = _columns("filters", columns, OC, IC)
    tiles = _grid(w, columns)  # (rows, columns, IC, KH, KW)
    rows, _, _, KH, KW = tiles.shape
    apart = np.arange(columns * IC) // IC * (0.3 * KW if IC > 1 else 0)  # a wider gap between filters than inside one
    limit = _largest(w)
    ax = _mosaic(ax, tiles.reshape(rows, columns * IC, KH, KW), "RdBu", -limit, limit, apart=apart)
    if IC > 1:
        ax.set(xlabel="input channels" if columns == 1 else f"{IC} input channels per filter", ylabel="filters")
    return ax


def feature_maps(y: np.ndarray, ax: Axes | None = None, columns: int | None = None) -> Axes:
    """Activations of one image, (C, H, W) or (1, C, H, W): a tile per channel, in rows of `columns`; from 0 up, or about 0 where any is negative."""
    maps = _numbers("feature_maps", "y", y)
    if maps.ndim == 4 and len(maps) == 1:
        maps = maps[0]
    if maps.ndim != 3 or not maps.size:
        hint = ": write y[:1] for the first image" if maps.ndim == 4 and maps.size else ""
        raise ValueError(f"feature_maps: y must be (C, H, W) or (1, C, H, W), the activations of one image, got {maps.shape}{hint}")
    limit, signed = _largest(maps), (maps < 0).any()
    return _mosaic(ax, _grid(maps, _columns("feature_maps", columns, len(maps))), "RdBu" if signed else "Blues", -limit if signed else 0, limit)


def confusion_matrix(labels, predictions, ax: Axes | None = None, names: Sequence[str] | None = None) -> Axes:
    """How often each class (row) was taken for each (column). The redder, the larger the share of its row; right answers are grey.

    labels, predictions: (N,) integers 0..K-1; names: K of them.
    """
    true, answered = _classes("confusion_matrix", labels=labels, predictions=predictions)
    K = int(max(true.max(), answered.max())) + 1
    if names is not None and len(names) < K:
        raise ValueError(f"confusion_matrix: names has {len(names)} entries, but there are classes up to {K - 1}")
    named = [str(name) for name in (range(K) if names is None else names)]
    K = len(named)
    counts = np.bincount(true * K + answered, minlength=K * K).reshape(K, K)
    mistakes = np.ma.masked_array(counts / np.maximum(1, counts.sum(axis=1, keepdims=True)), np.eye(K, dtype=bool))
    ax = _axes(ax, 5, 5)
    image = ax.imshow(mistakes, cmap=_between("white", RED), vmin=0, vmax=max(0.1, mistakes.filled(0).max()))
    ax.set_facecolor("0.9")
    size = _font_size(ax, K, K, len(str(counts.max())), 10)
    for i, j in np.argwhere(counts) if size >= 5 else ():
        dark = i != j and image.norm(mistakes[i, j]) > 0.7
        ax.text(j, i, str(counts[i, j]), ha="center", va="center", color="white" if dark else INK, fontsize=size)
    if size >= 5 or names is not None:
        upright = _font_size(ax, K, K, max(map(len, named)), 10) >= size
        ax.set_xticks(range(K), named, rotation=0 if upright else 90, fontsize=max(4, size))
        ax.set_yticks(range(K), named, fontsize=max(4, size))
    ax.set(xlabel="predicted", ylabel="true")
    ax.tick_params(length=0)
    ax.spines[:].set_color(HAIRLINE)
    return ax


def misclassified(x: np.ndarray, labels, predictions, ax: Axes | None = None, count: int = 20) -> Axes:
    """The first `count` images that were taken for another class; "9 not 5" is a 9 that was called a 5.

    x: (N, 1, H, W), where large values are ink, or (N, 3, H, W), red, green and blue. labels, predictions: (N,) integers.
    """
    true, answered = _classes("misclassified", labels=labels, predictions=predictions)
    shape = np.shape(x)
    if len(shape) != 4 or shape[1] not in (1, 3) or shape[0] != len(true) or 0 in shape:
        raise ValueError(f"misclassified: x must be ({len(true)}, 1, H, W) or ({len(true)}, 3, H, W), an image per label, got {shape}")
    wrong = np.flatnonzero(true != answered)
    shown = wrong[: integer("misclassified", "count", count, 1)]
    if not len(wrong):
        ax = _bare(_axes(ax, 4, 2))
        ax.text(0.5, 0.5, f"none of {len(true)} is wrong", ha="center", va="center", color=INK, transform=ax.transAxes)
        return ax
    images = _numbers("misclassified", "x", np.asarray(x)[shown]).astype(np.float64)
    low, high = min(0, images.min()), max(1, images.max())
    pixels = np.moveaxis((images - low) / (high - low), 1, -1)  # (n, H, W, 1 or 3) in 0..1
    captions = [f"{true[i]} not {answered[i]}" for i in shown]
    tiles = _grid(pixels if shape[1] == 3 else pixels[..., 0], _columns("misclassified", None, len(shown)))
    ax = _mosaic(ax, tiles, "Greys", 0, 1, captions=captions)
    more = f", the first {len(shown)}" if len(shown) < len(wrong) else ""
    ax.set_title(f"{len(wrong)} of {len(true)} wrong{more}", fontsize="medium", color=INK)
    return ax


def numbers(
    a, ax: Axes | None = None, *, title: str | None = None, highlight: np.ndarray | Iterable[tuple[int, int]] | None = None,
    fmt: str = "{:g}", limit: float | None = None, labels: Sequence[Sequence[str]] | None = None,
) -> Axes:  # fmt: skip
    """A small 2-D array as a table: each value in its cell, tinted by its size and sign.

    highlight: the cells to outline, a boolean mask or (row, column) pairs. fmt: how to write a value. limit: the value of the
    strongest tint (None: the largest magnitude). labels: texts to write instead of the values.
    """
    values = _numbers("numbers", "a", a)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"numbers: a must be a 2-D array with at least one cell, got {values.shape}")
    H, W = values.shape
    texts = np.array([[fmt.format(value).replace("-", "\N{MINUS SIGN}") for value in row] for row in values + 0])  # + 0: no -0
    if labels is not None:
        texts = np.array(labels, dtype=object)
        if texts.shape != (H, W):
            raise ValueError(f"numbers: labels must have the shape of a, {(H, W)}, got {texts.shape}")
    limit = _largest(values) if limit is None else limit
    if not 0 < limit < np.inf:
        raise ValueError(f"numbers: limit must be a number above 0, got {limit}")
    outlined = np.pad(_mask((H, W), highlight), 1)
    ax = _bare(_axes(ax, *_fit(W, H, 0.6)))
    from matplotlib.collections import LineCollection

    y, x = np.arange(H + 1) - 0.5, np.arange(W + 1) - 0.5
    ax.pcolormesh(x, y, np.ma.masked_invalid(values), cmap=_between(*LIGHT), vmin=-limit, vmax=limit)
    ax.hlines(y, x[0], x[-1], HAIRLINE, linewidth=0.8, clip_on=False)
    ax.vlines(x, y[0], y[-1], HAIRLINE, linewidth=0.8, clip_on=False)
    size = _font_size(ax, W, H, max(len(str(text)) for text in texts.flat), 15)
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


def save(path: str | Path, draw: Callable[..., Axes], *arguments, size: tuple[float, float] = (6.4, 4), **words) -> None:
    """A picture of its own in a PNG file, without pyplot: `save("curves.png", learning_curves, history)`; size in inches."""
    _need_matplotlib()
    from matplotlib.figure import Figure

    figure, content = Figure(figsize=size, layout="constrained"), io.BytesIO()
    draw(*arguments, ax=figure.add_subplot(), **words)
    figure.savefig(content, format="png", dpi=120)
    write_whole(Path(path), content.getvalue())


def _need_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401  # is it there?
    except ImportError as error:
        raise ImportError('plot needs matplotlib: pip install "fastconv[plot]"') from error


def _axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The given Axes, or those of a new pyplot figure of this size in inches."""
    _need_matplotlib()
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def _fit(columns: float, rows: float, cell: float, beside: float = 0) -> tuple[float, float]:
    """A figure for rows x columns cells of about so many inches and a strip beside them, neither tiny nor huge."""
    cell = np.clip(cell, 2.5 / max(columns, rows), 7 / max(columns, rows))
    return max(2, cell * columns + beside + 0.1), max(1.5, cell * rows + 0.4)


def _font_size(ax: Axes, columns: float, rows: float, longest: int, largest: float) -> float:
    """In points, for texts of up to `longest` characters in square cells, rows x columns of which fill the Axes."""
    cell = 72 * min(ax.bbox.width / columns, ax.bbox.height / rows) / ax.figure.dpi
    return min(largest, 0.45 * cell, 1.4 * cell / max(1, longest))


def _bare(ax: Axes) -> Axes:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def _mosaic(ax: Axes | None, tiles: np.ndarray, cmap: str, low: float, high: float, *, apart: np.ndarray | float = 0, captions=()) -> Axes:
    """Tiles (rows, columns, H, W) or (rows, columns, H, W, 3) with gaps between them; NaN tiles stay blank."""
    rows, columns, H, W = tiles.shape[:4]
    left = np.arange(columns) * 1.15 * W + apart
    top = np.arange(rows) * (1.15 * H + (0.3 * H if len(captions) else 0))
    width, height = left[-1] + W, top[-1] + H
    ax = _bare(_axes(ax, *_fit(width / W, height / H, 0.5, beside=0 if len(captions) else 0.6)))
    from matplotlib.collections import PolyCollection

    # Cells of uneven width: each tile, then a gap of one blank cell.
    x, y = ((start[:, None] + np.arange(extent + 1)).ravel() for start, extent in ((left, W), (top, H)))
    spaced = np.pad(tiles, [(0, 0), (0, 0), (0, 1), (0, 1), *[(0, 0)] * (tiles.ndim - 4)], constant_values=np.nan)
    sheet = spaced.swapaxes(1, 2).reshape(rows * (H + 1), columns * (W + 1), *tiles.shape[4:])[:-1, :-1]
    sheet = np.ma.masked_invalid(sheet) if sheet.ndim == 2 else np.nan_to_num(sheet, nan=1)
    mesh = ax.pcolormesh(x, y, sheet, cmap=cmap, vmin=low, vmax=high, rasterized=True)
    corners = [(i, j) for i in range(rows) for j in range(columns) if np.isfinite(tiles[i, j]).any()]
    frames = [[(left[j] + u * W, top[i] + v * H) for u, v in ((0, 0), (1, 0), (1, 1), (0, 1))] for i, j in corners]
    ax.add_collection(PolyCollection(frames, facecolors="none", edgecolors=HAIRLINE, linewidths=0.5, clip_on=False))
    size = _font_size(ax, width / W, height / H, max(map(len, captions), default=1), 9)
    for (i, j), caption in zip(corners, captions):
        ax.text(left[j] + W / 2, top[i] - 0.05 * H, caption, ha="center", va="bottom", color=INK, fontsize=size)
    ax.set(xlim=(0, width), ylim=(height, -0.3 * H if len(captions) else 0), aspect="equal")
    if not len(captions):
        bar = ax.figure.colorbar(
            mesh, cax=ax.inset_axes((1.025, 0.2, 0.025, 0.6)), ticks=[low, 0, high] if low < 0 else [low, high], format="{x:.2g}"
        )
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize="small", labelcolor=INK)
    return ax


def _grid(tiles: np.ndarray, columns: int) -> np.ndarray:
    """(n, ...) as (rows, columns, ...), the missing ones NaN."""
    rows = -(-len(tiles) // columns)
    grid = np.full((rows * columns, *tiles.shape[1:]), np.nan)
    grid[: len(tiles)] = tiles
    return grid.reshape(rows, columns, *tiles.shape[1:])


def _columns(op: str, given: int | None, count: int, width: int = 1) -> int:
    """How many of `count` stand in a row; unless told, so that blocks of `width` tiles come near a square."""
    return int(np.ceil(np.sqrt(count / width))) if given is None else min(count, integer(op, "columns", given, 1))


def _between(*colours: str):
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("fastconv", colours)


def _largest(a: np.ndarray) -> float:
    """The largest finite magnitude; 1 where all is zero."""
    return float(np.abs(a[np.isfinite(a)]).max(initial=0)) or 1.0


def _numbers(op: str, name: str, given) -> np.ndarray:
    array = np.asarray(given)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{op}: {name} must be an array of numbers, got dtype {array.dtype}")
    return array


def _classes(op: str, **given) -> list[np.ndarray]:
    """Labels and predictions as (N,) integers >= 0 of one length."""
    arrays = {name: np.asarray(values) for name, values in given.items()}
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


def _mask(shape: tuple[int, int], highlight) -> np.ndarray:
    """A boolean mask, from one or from (row, column) pairs."""
    cells = np.asarray(list(() if highlight is None else highlight))
    if cells.dtype == bool and cells.shape == shape:
        return cells
    if cells.size and (cells.dtype.kind not in "iu" or cells.shape[1:] != (2,) or (cells < 0).any() or (cells >= shape).any()):
        raise ValueError(f"numbers: highlight must be a boolean mask {shape} or (row, column) pairs inside of it, got {cells.tolist()}")
    mask = np.zeros(shape, bool)
    mask[tuple(cells.reshape(-1, 2).astype(int).T)] = True
    return mask


def _history(history) -> list[dict]:
    """The records of a run; those of a file hold floats, or None where a field is empty."""
    if isinstance(history, (str, Path)):
        path = Path(history)
        path = path / "history.csv" if path.is_dir() else path
        try:
            with path.open(newline="") as file:
                history = [{key: float(text) if text else None for key, text in row.items()} for row in csv.DictReader(file)]
        except (ValueError, TypeError) as error:
            raise ValueError(f"learning_curves: {path} is not the history of a run: {error}") from None
    if not isinstance(history, (list, tuple)) or not all(isinstance(row, dict) for row in history):
        raise TypeError(f"learning_curves: history must be the list of dicts that fit returns, or a path, got {type(history).__name__}")
    if not history or not all("epoch" in row for row in history):
        raise ValueError(f"learning_curves: history must hold at least one epoch, and each its number, got {len(history)} records")
    return list(history)


def _column(rows: list[dict], key: str) -> np.ndarray:
    return np.array([np.nan if row.get(key) is None else row[key] for row in rows], float)
