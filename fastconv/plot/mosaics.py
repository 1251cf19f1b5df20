"""Many small images in one Axes: filters, feature maps, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastconv.geometry import array, entries, integer
from fastconv.layers import Layer, Parameter
from fastconv.plot.canvas import GREEN, HAIRLINE, INK, RED, axes, bare, class_numbers, fit, font_size, largest, real

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def filters(weights: Layer | Parameter | np.ndarray, ax: Axes | None = None, columns: int | None = None) -> Axes:
    """Every filter of a 2-D convolution, each of its input channels a tile; one colour scale about 0 for all.

    weights: a Conv2d or its weight (OC, IC, KH, KW). The IC tiles of a filter stand side by side; columns: filters per row.
    """
    if isinstance(weights, Layer):
        weights = getattr(weights, "weight", np.empty(0))
    w = real("filters", "weights", weights.value if isinstance(weights, Parameter) else weights)
    if w.ndim != 4 or not w.size:
        raise ValueError(f"filters: weights must be a Conv2d or its weight (OC, IC, KH, KW), got {w.shape}")
    OC, IC = w.shape[:2]
    columns = _columns("filters", columns, OC, IC)
    tiles = _grid(w, columns)  # (rows, columns, IC, KH, KW)
    rows, _, _, KH, KW = tiles.shape
    apart = np.arange(columns * IC) // IC * (0.3 * KW if IC > 1 else 0)  # a wider gap between filters than inside one
    limit = largest(w)
    ax = _mosaic(ax, tiles.reshape(rows, columns * IC, KH, KW), "RdBu", -limit, limit, apart=apart)
    if IC > 1:
        ax.set(xlabel="input channels" if columns == 1 else f"{IC} input channels per filter", ylabel="filters")
    return ax


def feature_maps(y: np.ndarray, ax: Axes | None = None, columns: int | None = None) -> Axes:
    """Activations of one image, (C, H, W) or (1, C, H, W): a tile per channel, in rows of `columns`; from 0 up, or about 0 where any is negative."""
    maps = real("feature_maps", "y", y)
    if maps.ndim == 4 and len(maps) == 1:
        maps = maps[0]
    if maps.ndim != 3 or not maps.size:
        hint = ": write y[:1] for the first image" if maps.ndim == 4 and maps.size else ""
        raise ValueError(f"feature_maps: y must be (C, H, W) or (1, C, H, W), the activations of one image, got {maps.shape}{hint}")
    limit, signed = largest(maps), (maps < 0).any()
    return _mosaic(ax, _grid(maps, _columns("feature_maps", columns, len(maps))), "RdBu" if signed else "Blues", -limit if signed else 0, limit)


def misclassified(x: np.ndarray, labels, predictions, ax: Axes | None = None, count: int = 20, *, names: Sequence[str] | None = None) -> Axes:
    """The first `count` images that were taken for another class; "9 not 5" is a 9 that was called a 5.

    x: (N, 1, H, W), where large values are ink, or (N, 3, H, W), red, green and blue. labels, predictions: (N,) integers. names: what classes are
    called.
    """
    true, answered = class_numbers("misclassified", labels=labels, predictions=predictions)
    x, named = _images("misclassified", x, len(true), "label"), _named("misclassified", names, int(max(true.max(), answered.max())) + 1)
    wrong = np.flatnonzero(true != answered)
    shown = wrong[: integer("misclassified", "count", count, 1)]
    if not len(wrong):
        ax = bare(axes(ax, 4, 2))
        ax.text(0.5, 0.5, f"none of {len(true)} is wrong", ha="center", va="center", color=INK, transform=ax.transAxes)
        return ax
    apart = " " if names is None else "\n"
    captions = [f"{named[true[i]]}{apart}not {named[answered[i]]}" for i in shown]
    tiles = _grid(_pixels("misclassified", x[shown]), _columns("misclassified", None, len(shown)))
    ax = _mosaic(ax, tiles, "Greys", 0, 1, captions=captions)
    more = f", the first {len(shown)}" if len(shown) < len(wrong) else ""
    ax.set_title(f"{len(wrong)} of {len(true)} wrong{more}", fontsize="medium", color=INK)
    return ax


def predictions(
    x: np.ndarray, answers, labels=None, ax: Axes | None = None, *, names: Sequence[str] | None = None, probabilities=None, count: int = 10
) -> Axes:
    """The first `count` images, each with its answer and the word right or WRONG: in a green frame, or a broken red one that says what it is.

    x: (N, 1, H, W), where large values are ink, or (N, 3, H, W), red, green and blue. answers, labels: (N,) integers; labels None: not known, no
    words and no frames. names: what classes are called. probabilities: (N,) or (N, K), of the answers or of all classes.
    """
    given = {"answers": answers} | ({} if labels is None else {"labels": labels})
    answered, *true = class_numbers("predictions", **given)
    true, x = true[0] if true else answered, _images("predictions", x, len(answered), "answer")
    shown = range(min(len(x), integer("predictions", "count", count, 1)))
    K = int(max(answered.max(), true.max())) + 1
    named = _named("predictions", names, K)
    shares = [""] * len(x)
    if probabilities is not None:
        values = real("predictions", "probabilities", probabilities)
        if values.shape not in ((len(x),), (len(x), max(K, values.shape[-1] if values.ndim else 0))):
            raise ValueError(f"predictions: probabilities must be ({len(x)},), one for each answer, or ({len(x)}, K), got {values.shape}")
        shares = [f" ({100 * share:.0f} %)" for share in (values if values.ndim == 1 else values[np.arange(len(x)), answered])]
    captions, looks = [f"{named[answered[i]]}{shares[i]}" for i in shown], ()
    if labels is not None:
        right = true == answered
        captions = [f"{captions[i]}\n" + ("right" if right[i] else f"WRONG, it is {named[true[i]]}") for i in shown]
        looks = [(GREEN, "-") if right[i] else (RED, (0, (3, 1.5))) for i in shown]
    ax = _mosaic(ax, _grid(_pixels("predictions", x[shown.start : shown.stop]), min(5, len(shown))), "Greys", 0, 1, captions=captions, looks=looks)
    if labels is not None:
        ax.set_title(f"{right[: len(shown)].sum()} of {len(shown)} right", fontsize="medium", color=INK)
    return ax


def _named(op: str, names: Sequence[str] | None, K: int) -> Sequence:
    """What the classes 0 to K - 1 are called, their numbers where nothing else is told."""
    named = range(K) if names is None else [str(name) for name in entries(names)]
    if len(named) < K or isinstance(names, str):
        raise ValueError(f"{op}: names must be a list of at least {K}, as there are classes up to {K - 1}, got {len(named)}")
    return named


def _images(op: str, x, count: int, what: str) -> np.ndarray:
    x = x if isinstance(x, np.ndarray) else array(op, "x", x)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or x.shape[0] != count or 0 in x.shape:
        raise ValueError(f"{op}: x must be ({count}, 1, H, W) or ({count}, 3, H, W), an image per {what}, got {x.shape}")
    return x


def _pixels(op: str, x: np.ndarray) -> np.ndarray:
    """(n, H, W) or (n, H, W, 3) in 0..1."""
    images = real(op, "x", x).astype(np.float64)
    low, high = min(0, images.min()), max(1, images.max())
    pixels = np.moveaxis((images - low) / (high - low), 1, -1)
    return pixels if pixels.shape[-1] == 3 else pixels[..., 0]


def _mosaic(ax: Axes | None, tiles: np.ndarray, cmap: str, low: float, high: float, *, apart: np.ndarray | float = 0, captions=(), looks=()) -> Axes:
    """Tiles (rows, columns, H, W) or (rows, columns, H, W, 3) with gaps between them; NaN tiles stay blank. looks: colours and lines of frames."""
    rows, columns, H, W = tiles.shape[:4]
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    left = np.arange(columns) * (1.15 if not looks else 1.3) * W + apart
    top = np.arange(rows) * (1.15 + 0.3 * lines) * H
    width, height = left[-1] + W, top[-1] + H
    ax = bare(axes(ax, *fit(width / W, height / H, 0.5, beside=0 if len(captions) else 0.6)))
    from matplotlib.collections import PolyCollection

    # Cells of uneven width: each tile, then a gap of one blank cell.
    x, y = ((start[:, None] + np.arange(extent + 1)).ravel() for start, extent in ((left, W), (top, H)))
    spaced = np.pad(tiles, [(0, 0), (0, 0), (0, 1), (0, 1), *[(0, 0)] * (tiles.ndim - 4)], constant_values=np.nan)
    sheet = spaced.swapaxes(1, 2).reshape(rows * (H + 1), columns * (W + 1), *tiles.shape[4:])[:-1, :-1]
    sheet = np.ma.masked_invalid(sheet) if sheet.ndim == 2 else np.nan_to_num(sheet, nan=1)
    mesh = ax.pcolormesh(x, y, sheet, cmap=cmap, vmin=low, vmax=high, rasterized=True)
    corners = [(i, j) for i in range(rows) for j in range(columns) if np.isfinite(tiles[i, j]).any()]
    frames = [[(left[j] + u * W, top[i] + v * H) for u, v in ((0, 0), (1, 0), (1, 1), (0, 1))] for i, j in corners]
    edges = {"edgecolors": [look[0] for look in looks], "linestyles": [look[1] for look in looks], "linewidths": 2.5} if looks else {}
    ax.add_collection(PolyCollection(frames, facecolors="none", clip_on=False, **({"edgecolors": HAIRLINE, "linewidths": 0.5} | edges)))
    longest = max((len(line) for caption in captions for line in caption.split("\n")), default=1)
    size = font_size(ax, width / W, height / H, longest, 9)
    for (i, j), caption in zip(corners, captions):
        ax.text(left[j] + W / 2, top[i] - 0.05 * H, caption, ha="center", va="bottom", color=INK, fontsize=size)
    ax.set(xlim=(0, width), ylim=(height, -0.3 * lines * H), aspect="equal")
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
