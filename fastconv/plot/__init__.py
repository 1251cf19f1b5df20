"""Pictures: learning curves, learning rates, filters, feature maps, mistakes, small arrays. Needs matplotlib: pip install "fastconv[plot]".

Each function draws into `ax`, or into a new pyplot figure, and returns the Axes; with `ax` given, pyplot is not touched.
Where values have signs, blue is positive, red is negative, white is zero, and the two ends are equally far from it.
"""

from fastconv.plot.canvas import need_matplotlib, save
from fastconv.plot.curves import learning_curves, lr_curve
from fastconv.plot.mosaics import feature_maps, filters, misclassified, predictions
from fastconv.plot.saliency import saliency
from fastconv.plot.tables import confusion_matrix, numbers

__all__ = [
    "confusion_matrix", "feature_maps", "filters", "learning_curves", "lr_curve", "misclassified", "need_matplotlib", "numbers", "predictions",
    "saliency", "save",
]  # fmt: skip
