"""What pictures refuse: each by function, argument and numbers, and nothing is drawn of it."""

import numpy as np
import pytest

from fastconv import layers, plot

pytest.importorskip("matplotlib")

from matplotlib import pyplot

LABELS, PREDICTIONS = np.array([0, 0, 1, 1, 1, 3]), np.array([0, 1, 1, 1, 0, 3])
IMAGES = np.random.default_rng(0).random((6, 1, 5, 4))
WEIGHTS = np.random.default_rng(1).normal(size=(5, 1, 3, 2))
TABLE = np.array([[1, -2.5, 0], [4, 0.125, -0.0]])


@pytest.mark.parametrize(
    ("draw", "arguments", "words", "error", "message"),
    [
        (plot.learning_curves, ([],), {}, ValueError, r"learning_curves: history must hold at least one epoch.* got 0 records"),
        (plot.learning_curves, ([{"loss": 1}],), {}, ValueError, r"learning_curves: history must hold.* got 1 records"),
        (plot.learning_curves, ([{"epoch": 1, "rate": 1}],), {}, ValueError, r"learning_curves: history holds no finite loss .* only epoch, rate"),
        (plot.learning_curves, (3,), {}, TypeError, r"learning_curves: history must be the list of dicts that fit returns, or a path, got int"),
        (plot.lr_curve, ([1, 2],), {}, TypeError, r"lr_curve: test must be what train\.find_lr returned, got list"),
        (plot.filters, (layers.Conv1d(1, 2, 3),), {}, ValueError, r"filters: weights must be a Conv2d .*\(OC, IC, KH, KW\), got \(2, 1, 3\)"),
        (plot.filters, (layers.Conv3d(1, 2, 3),), {}, ValueError, r"filters: weights must be a Conv2d .*, got \(2, 1, 3, 3, 3\)"),
        (plot.filters, (layers.ReLU(),), {}, ValueError, r"filters: weights must be a Conv2d"),
        (plot.filters, (np.empty((0, 1, 3, 3)),), {}, ValueError, r"filters: weights must be .* got \(0, 1, 3, 3\)"),
        (plot.filters, (WEIGHTS,), {"columns": 0}, ValueError, r"filters: columns must be between 1 and"),
        (plot.filters, (WEIGHTS.astype(complex),), {}, TypeError, r"filters: weights must be an array of numbers, got dtype complex128"),
        (plot.feature_maps, (IMAGES,), {}, ValueError, r"feature_maps: y must be \(C, H, W\).* got \(6, 1, 5, 4\): write y\[:1\]"),
        (plot.feature_maps, (IMAGES[0, 0],), {}, ValueError, r"feature_maps: y must be \(C, H, W\).* got \(5, 4\)$"),
        (plot.feature_maps, (IMAGES[0],), {"columns": 1.5}, TypeError, r"feature_maps: columns must be an integer, got 1.5"),
        (plot.confusion_matrix, (LABELS, PREDICTIONS[1:]), {}, ValueError, r"confusion_matrix: labels and predictions .* same length, got 6 and 5"),
        (plot.confusion_matrix, (LABELS, np.eye(6)), {}, TypeError, r"confusion_matrix: predictions must be .*: write scores.argmax\(axis=1\)"),
        (plot.confusion_matrix, (LABELS > 0, LABELS), {}, TypeError, r"confusion_matrix: labels must be integers, got bool\(6,\)$"),
        (plot.confusion_matrix, (LABELS[None], LABELS), {}, ValueError, r"confusion_matrix: labels must be \(N,\) with N >= 1, got \(1, 6\)"),
        (plot.confusion_matrix, (LABELS - 1, LABELS), {}, ValueError, r"confusion_matrix: labels\[0\] = -1 is not a class"),
        (plot.misclassified, (IMAGES, LABELS, PREDICTIONS), {"names": ["a"]}, ValueError, r"misclassified: names must be .* at least 4, .* got 1"),
        (plot.confusion_matrix, (LABELS, LABELS), {"names": "abc"}, ValueError, r"confusion_matrix: names has 3 entries, .* classes up to 3"),
        (plot.predictions, (IMAGES[1:], LABELS), {}, ValueError, r"predictions: x must be \(6, 1, H, W\) .* per answer, got \(5, 1, 5, 4\)"),
        (plot.predictions, (IMAGES, LABELS[1:], LABELS), {}, ValueError, "predictions: answers and labels must have the same length, got 5 and 6"),
        (plot.predictions, (IMAGES, LABELS), {"names": "abcd"}, ValueError, "predictions: names must be a list of at least 4, as there are classes"),
        (plot.predictions, (IMAGES, LABELS), {"names": ["a"]}, ValueError, "predictions: names must be a list of at least 4, .*up to 3, got 1"),
        (plot.predictions, (IMAGES, LABELS), {"probabilities": IMAGES}, ValueError, r"predictions: probabilities must be \(6,\), one for each"),
        (plot.misclassified, (IMAGES[1:], LABELS, LABELS), {}, ValueError, r"misclassified: x must be \(6, 1, H, W\) or .* got \(5, 1, 5, 4\)"),
        (plot.misclassified, (IMAGES[:, 0], LABELS, LABELS), {}, ValueError, r"misclassified: x must be .* got \(6, 5, 4\)"),
        (plot.misclassified, (IMAGES, LABELS, PREDICTIONS), {"count": 0}, ValueError, r"misclassified: count must be between 1 and"),
        (plot.numbers, (TABLE[0],), {}, ValueError, r"numbers: a must be a 2-D array with at least one cell, got \(3,\)"),
        (plot.numbers, ([["a"]],), {}, TypeError, r"numbers: a must be an array of numbers, got dtype <U1"),
        (plot.numbers, (TABLE,), {"limit": 0}, ValueError, r"numbers: limit must be above 0, got 0"),
        (plot.numbers, (TABLE,), {"labels": [["a"]]}, ValueError, r"numbers: labels must have the shape of a, \(2, 3\), got \(1, 1\)"),
        (plot.numbers, (TABLE,), {"highlight": [(2, 0)]}, ValueError, r"numbers: highlight must be .* inside of it, got \[\[2, 0\]\]"),
        (plot.numbers, (TABLE,), {"highlight": [(0, -1)]}, ValueError, r"numbers: highlight must be"),
        (plot.numbers, (TABLE,), {"highlight": TABLE.T > 0}, ValueError, r"numbers: highlight must be a boolean mask \(2, 3\) or"),
    ],
)  # fmt: skip
def test_errors_name_function_argument_and_numbers(draw, arguments, words, error, message):
    with pytest.raises(error, match=message):
        draw(*arguments, **words)
    assert pyplot.get_fignums() == []  # nothing is drawn of what is wrong


def test_a_damaged_history_is_named(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,loss\n1,two\n")
    with pytest.raises(ValueError, match=r"history\.csv is not the history of a run: .*'two'"):
        plot.learning_curves(tmp_path)


def test_what_would_not_fit_or_overflow():
    assert plot.numbers(np.array([[-128, 0]], np.int8)).collections[0].get_clim() == (-128, 128)
    pyplot.close("all")
    with pytest.raises(ValueError, match="classes up to 1000000; at most 1000"):
        plot.confusion_matrix([0, 10**6], [0, 1])
    with pytest.raises(ValueError, match=r"highlight must be a boolean mask \(1, 2\) or \(row, column\) pairs"):
        plot.numbers([[1, 2]], highlight=[(0, 0), (1,)])
    pyplot.close("all")
