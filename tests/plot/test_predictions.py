"""Images and what was answered: right or wrong in plain sight."""

import numpy as np
import pytest

from fastconv import plot

pytest.importorskip("matplotlib")
LABELS, PREDICTIONS = np.array([0, 0, 1, 1, 1, 3]), np.array([0, 1, 1, 1, 0, 3])
IMAGES = np.random.default_rng(0).random((6, 1, 5, 4))


def frames(ax):
    """The colour and the dashes of each frame."""
    collection = ax.collections[-1]
    return [(tuple(np.round(edge[:3], 2)), dashes is not None) for edge, (_, dashes) in zip(collection.get_edgecolor(), collection.get_linestyle())]


def test_predictions_are_right_or_wrong_in_words_and_frames(ax):
    plot.predictions(IMAGES, PREDICTIONS, LABELS, ax=ax, names=["ant", "bee", "cat", "dog"], probabilities=np.linspace(0.5, 1, 6), count=5)
    wrong = {1: "ant", 4: "bee"}
    answers = ["ant (50 %)", "bee (60 %)", "bee (70 %)", "bee (80 %)", "ant (90 %)"]
    assert [text.get_text() for text in ax.texts] == [
        f"{answer}\n" + (f"WRONG, it is {wrong[i]}" if i in wrong else "right") for i, answer in enumerate(answers)
    ]
    assert ax.get_title() == "3 of 5 right"
    looks = frames(ax)
    assert len(looks) == 5
    for i, (colour, dashed) in enumerate(looks):
        assert dashed == (i in wrong)
        assert colour == looks[1 if i in wrong else 0][0]
    assert looks[0][0] != looks[1][0]
    assert np.array_equal(ax.collections[0].get_array()[:5, :4], IMAGES[0, 0])


def test_predictions_without_labels_are_neither_right_nor_wrong(ax):
    shares = np.random.default_rng(0).random((6, 4))
    plot.predictions(IMAGES, PREDICTIONS, ax=ax, probabilities=shares)
    assert [text.get_text() for text in ax.texts] == [f"{k} ({100 * share[k]:.0f} %)" for k, share in zip(PREDICTIONS, shares)]
    assert ax.get_title() == ""
