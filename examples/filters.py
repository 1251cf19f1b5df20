"""What a network has learned, as pictures: its filters, what they answer, and what it still gets wrong.

The filters of a first layer can be looked at: nine weights each, blue where ink counts for, red where it counts against.
A filter answers most where the patch under it looks like itself. Its answers to one image are a feature map; the next layer
reads these maps instead of the pixels. Deeper filters read channels, not ink, so that their weights say little to the eye.

    python examples/filters.py                prints the strongest facts
    python examples/filters.py filters.png    also draws them (pip install "fastconv[plot]")
"""

import sys

import numpy as np

import fastconv as fc
from fastconv import data, layers, models, plot, train

fc.seed(1)
(x, y), (x_test, y_test) = data.digits("writers")  # the test digits are by other people
model = models.small_cnn()
train.fit(model, (x, y), epochs=8, shift=1, verbose=0)

answers = train.predict(model, x_test).argmax(axis=1)
pairs, counts = np.unique(np.stack([y_test, answers])[:, answers != y_test], axis=1, return_counts=True)
digit, taken_for = pairs[:, counts.argmax()]
print(f"test accuracy {100 * np.mean(answers == y_test):.1f} %, {counts.sum()} of {len(y_test)} wrong")
print(f"most often, {counts.max()} times, a {digit} is taken for a {taken_for}\n")

first = layers.Sequential(model[0], model[1])  # the first convolution and its ReLU, on their own
maps = first(x_test[:1])  # (1, 16, 8, 8): where in this digit each of the 16 filters finds what it looks for
strongest = maps.max(axis=(0, 2, 3)).argmax()
row, column = np.unravel_index(maps[0, strongest].argmax(), maps.shape[2:])
print(f"in the first digit, a {y_test[0]}, filter {strongest} answers most: {maps.max():.2f} at row {row}, column {column}; its weights:")
print(np.array2string(model.parameters()[0].value[strongest, 0], precision=2, suppress_small=True, floatmode="fixed"))

if len(sys.argv) > 1:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 8), layout="constrained")
    panels = figure.subplots(2, 2).ravel()
    plot.filters(model[0], panels[0]).set_title("the 16 filters of the first layer", fontsize="medium")
    plot.feature_maps(maps, panels[1]).set_title(f"what they answer to a {y_test[0]}", fontsize="medium")
    plot.confusion_matrix(y_test, answers, panels[2])
    plot.misclassified(x_test, y_test, answers, panels[3])
    figure.savefig(sys.argv[1])
