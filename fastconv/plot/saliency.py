"""Images, and where in them a model looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastconv.geometry import array
from fastconv.plot.canvas import RED, real
from fastconv.plot.mosaics import _grid, _mosaic

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def saliency(x: np.ndarray, maps: np.ndarray, ax: Axes | None = None, labels=None) -> Axes:
    """Each image, and beside it the same in gray with red where its map is large; full red is the map's largest value.

    x: (N, 1, H, W), where large values are ink, or (N, 3, H, W), red, green and blue. maps: (N, H, W), as `fastconv.saliency` gives them.
    labels: what stands above each image; None: its number.
    """
    x, maps = real("saliency", "x", x), real("saliency", "maps", maps)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not x.size or maps.shape != (x.shape[0], *x.shape[2:]):
        raise ValueError(f"saliency: x must be (N, 1, H, W) or (N, 3, H, W) and maps (N, H, W), got x{x.shape}, maps{maps.shape}")
    labels = range(len(x)) if labels is None else array("saliency", "labels", labels).tolist()
    if not isinstance(labels, (list, range)) or len(labels) != len(x):
        raise ValueError(f"saliency: labels must be {len(x)}, one for each image, got {labels!r:.100}")
    from matplotlib.colors import to_rgb

    low, high = min(0, x.min()), max(1, x.max())
    images = np.moveaxis((x - low) / (high - low), 1, -1)  # (N, H, W, 1 or 3) in 0..1
    images = 1 - images.repeat(3, axis=-1) if x.shape[1] == 1 else images
    largest = maps.max(axis=(1, 2), keepdims=True)
    share = (maps / np.where(largest > 0, largest, 1))[..., None]
    pale = 0.5 + 0.5 * images.mean(axis=-1, keepdims=True)  # so that red is seen on black
    seen = (1 - share) * pale + share * np.array(to_rgb(RED))
    tiles = np.stack([images, seen], axis=1).reshape(-1, *images.shape[1:])
    captions = [text for label in labels for text in (str(label), "")]
    return _mosaic(ax, _grid(tiles, 2 * int(np.ceil(np.sqrt(len(x) / 2)))), "Greys", 0, 1, captions=captions)
