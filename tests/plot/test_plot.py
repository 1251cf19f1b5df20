"""Pictures show the numbers they are given, in the Axes they are given."""

import re
import struct
import sys

import numpy as np
import pytest

from fastconv import layers, plot, train
from fastconv.train.runs import save_run

pytest.importorskip("matplotlib")

import matplotlib
from matplotlib import pyplot
from matplotlib.figure import Figure

HISTORY = [
    {
        "epoch": epoch,
        "loss": 2 / epoch**2,
        "accuracy": 1 - 0.5 / epoch,
        "rate": 1e-3,
        "val_loss": 3 / epoch,
        "val_accuracy": 0.5 + epoch / 20,
    }
    for epoch in range(1, 9)
]
RATES = train.RateTest(np.geomspace(1e-4, 1, 5), np.array([2.0, 2.1, 1.0, 0.5, 9.0]), np.array([2.0, 1.8, 1.2, 0.9, 4.0]), 0.01)
LABELS, PREDICTIONS = np.array([0, 0, 1, 1, 1, 3]), np.array([0, 1, 1, 1, 0, 3])
IMAGES = np.random.default_rng(0).random((6, 1, 5, 4))
WEIGHTS = np.random.default_rng(1).normal(size=(5, 1, 3, 2))
TABLE = np.array([[1, -2.5, 0], [4, 0.125, -0.0]])
DRAWINGS = {
    "learning_curves": (plot.learning_curves, (HISTORY,)),
    "lr_curve": (plot.lr_curve, (RATES,)),
    "filters": (plot.filters, (WEIGHTS,)),
    "feature_maps": (plot.feature_maps, (IMAGES[:, 0],)),
    "confusion_matrix": (plot.confusion_matrix, (LABELS, PREDICTIONS)),
    "misclassified": (plot.misclassified, (IMAGES, LABELS, PREDICTIONS)),
    "predictions": (plot.predictions, (IMAGES, PREDICTIONS, LABELS)),
    "none misclassified": (plot.misclassified, (IMAGES, LABELS, LABELS)),
    "numbers": (plot.numbers, (TABLE,)),
}


def texts(ax):
    return [text.get_text() for text in ax.texts]


def tiles(ax, height, width):
    """The tiles of a mosaic, row by row, without the gaps: each is `height` x `width` cells and one blank cell after them."""
    sheet = ax.collections[0].get_array()
    sheet = np.ma.filled(np.ma.concatenate([np.ma.asarray(sheet), np.ma.masked_all((1, sheet.shape[1]))]), np.nan)
    sheet = np.concatenate([sheet, np.full((len(sheet), 1), np.nan)], axis=1)
    rows, columns = sheet.shape[0] // (height + 1), sheet.shape[1] // (width + 1)
    spaced = sheet.reshape(rows, height + 1, columns, width + 1).swapaxes(1, 2)
    assert np.isnan(spaced[:, :, height]).all()
    assert np.isnan(spaced[..., width]).all()
    return spaced[:, :, :height, :width]


@pytest.mark.parametrize(("draw", "arguments"), DRAWINGS.values(), ids=DRAWINGS)
def test_given_axes_are_drawn_into_and_pyplot_is_left_alone(ax, monkeypatch, draw, arguments):
    other = pyplot.figure()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # whoever imports it now fails
    monkeypatch.delattr(matplotlib, "pyplot")
    empty = len(ax.get_children())
    assert draw(*arguments, ax=ax) is ax
    assert len(ax.get_children()) > empty
    ax.figure.canvas.draw()
    monkeypatch.undo()
    assert pyplot.get_fignums() == [other.number]


@pytest.mark.parametrize(("draw", "arguments"), DRAWINGS.values(), ids=DRAWINGS)
def test_without_axes_there_is_one_new_figure(draw, arguments):
    pyplot.figure()
    made = draw(*arguments)
    assert pyplot.get_fignums() == [1, 2]
    assert made.figure is pyplot.figure(2)
    made.figure.canvas.draw()


@pytest.mark.parametrize(("draw", "arguments"), DRAWINGS.values(), ids=DRAWINGS)
def test_without_matplotlib_it_is_named(monkeypatch, tmp_path, draw, arguments):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = re.escape('pictures need matplotlib: pip install "fastconv[plot]"')
    with pytest.raises(ImportError, match=message):
        draw(*arguments)
    with pytest.raises(ImportError, match=message):
        plot.save(tmp_path / "picture.png", draw, *arguments)


@pytest.mark.parametrize(("draw", "arguments"), DRAWINGS.values(), ids=DRAWINGS)
def test_save_writes_one_png(tmp_path, draw, arguments):
    plot.save(tmp_path / "picture.png", draw, *arguments, size=(3, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert pyplot.get_fignums() == []


def curves(ax):
    """The plotted (epochs, values) by colour of the axis and kind of line."""
    return {
        (panel.get_ylabel(), "training" if line.is_dashed() else "validation"): line.get_xydata().T
        for panel in ax.figure.axes
        for line in panel.lines
    }


def test_learning_curves_show_the_history(ax):
    plot.learning_curves(HISTORY, ax=ax)
    drawn = curves(ax)
    for (label, kind), key, scale in (
        (("loss", "training"), "loss", 1),
        (("loss", "validation"), "val_loss", 1),
        (("accuracy in %", "training"), "accuracy", 100),
        (("accuracy in %", "validation"), "val_accuracy", 100),
    ):
        epochs, values = drawn.pop((label, kind))
        assert np.array_equal(epochs, range(1, 9))
        assert np.allclose(values, [scale * row[key] for row in HISTORY])
    assert not drawn
    ax.figure.canvas.draw()
    assert all(label.get_text().lstrip("\N{MINUS SIGN}").isdigit() for label in ax.get_xticklabels())


@pytest.mark.parametrize(("last", "scale"), [(0.2, "linear"), (0.1, "log"), (0, "linear")])
def test_the_loss_axis_is_logarithmic_from_a_span_of_20(ax, last, scale):
    plot.learning_curves([{"epoch": 1, "loss": 2}, {"epoch": 2, "loss": last}], ax=ax)
    assert ax.get_yscale() == scale


@pytest.mark.parametrize(
    ("missing", "left"),
    [
        (("accuracy", "val_accuracy"), {("loss", "training"), ("loss", "validation")}),
        (("val_loss", "val_accuracy"), {("loss", "training"), ("accuracy in %", "training")}),
        (("loss", "val_loss", "accuracy"), {("accuracy in %", "validation")}),
    ],
)
@pytest.mark.parametrize("how", ["without the key", "None"])
@pytest.mark.parametrize("epochs", [1, 8])
def test_learning_curves_leave_out_what_is_missing(ax, missing, left, how, epochs):
    rows = [{key: None if key in missing else value for key, value in row.items() if how == "None" or key not in missing} for row in HISTORY[:epochs]]
    plot.learning_curves(rows, ax=ax)
    ax.figure.canvas.draw()
    assert curves(ax).keys() == left
    (legend,) = (panel.get_legend() for panel in ax.figure.axes if panel.get_legend())
    assert {text.get_text() for text in legend.get_texts()} == {kind for _, kind in left}


@pytest.mark.parametrize("suggestion", [0.01, np.nan])
def test_a_curve_of_rates_shows_losses_and_the_suggestion(ax, suggestion):
    plot.lr_curve(RATES._replace(suggestion=suggestion), ax=ax)
    dots, line, *upright = ax.lines
    assert np.array_equal(dots.get_xydata().T, [RATES.rates, RATES.losses])
    assert np.array_equal(line.get_xydata().T, [RATES.rates, RATES.smoothed])
    assert ax.get_xscale() == "log"
    if np.isnan(suggestion):
        assert ax.get_title() == "the loss falls by no more than its noise: no suggestion"
        assert upright == texts(ax) == []
    else:
        assert upright[0].get_xdata()[0] == 0.01
        assert texts(ax) == ["suggestion 0.01 "]
        assert 2.1 < ax.get_ylim()[1] < 3  # where the loss explodes is not shown


def test_a_stored_run_gives_the_curves_of_its_history(ax, tmp_path):
    rows = [row | {"val_accuracy": None} for row in HISTORY]
    save_run(tmp_path, layers.Sequential(), {}, rows)
    plot.learning_curves(rows, ax=ax)
    for path in (tmp_path, str(tmp_path / "history.csv")):
        again = plot.learning_curves(path, ax=Figure().add_subplot())
        assert curves(again).keys() == curves(ax).keys()
        assert all(np.array_equal(values, curves(ax)[key]) for key, values in curves(again).items())


def test_filters_of_one_channel_are_a_grid_on_a_scale_about_0(ax):
    plot.filters(WEIGHTS, ax=ax)
    drawn = tiles(ax, 3, 2).reshape(6, 3, 2)
    assert np.array_equal(drawn[:5], WEIGHTS[:, 0])
    assert np.isnan(drawn[5]).all()
    low, high = ax.collections[0].get_clim()
    assert -low == high == abs(WEIGHTS).max()


def test_the_channels_of_a_filter_stand_side_by_side(ax):
    layer = layers.Conv2d(3, 4, 2, rng=np.random.default_rng(0))
    plot.filters(layer, ax=ax, columns=2)
    assert np.array_equal(tiles(ax, 2, 2), layer.weight.value.reshape(2, 6, 2, 2))
    again = plot.filters(layer.weight, ax=Figure().add_subplot(), columns=2)
    assert np.array_equal(tiles(again, 2, 2), tiles(ax, 2, 2))


@pytest.mark.parametrize("maps", [IMAGES[:, 0], IMAGES[:, 0][None]])
def test_feature_maps_are_tiles_from_0_up(ax, maps):
    plot.feature_maps(maps, ax=ax, columns=2)
    assert np.array_equal(tiles(ax, 5, 4), IMAGES[:, 0].reshape(3, 2, 5, 4))
    assert ax.collections[0].get_clim() == (0, IMAGES.max())


def test_feature_maps_with_negative_values_are_on_a_scale_about_0(ax):
    plot.feature_maps(0.5 - IMAGES[:, 0], ax=ax)
    low, high = ax.collections[0].get_clim()
    assert -low == high == abs(0.5 - IMAGES).max()


@pytest.mark.parametrize("maps", [np.zeros((2, 3, 3)), np.full((2, 3, 3), np.nan), np.ones((1, 1, 1), bool)])
def test_feature_maps_of_nothing_are_still_a_picture(ax, maps):
    plot.feature_maps(maps, ax=ax)
    ax.figure.canvas.draw()
    assert ax.collections[0].get_clim() == (0, 1)


def test_a_confusion_matrix_counts(ax):
    plot.confusion_matrix([0, 0, 1, 1, 1, 3], [0, 2, 1, 1, 0, 3], ax=ax, names=["cat", "dog", "eel", "fox"])
    written = {text.get_position(): text.get_text() for text in ax.texts}  # (predicted, true)
    assert written == {(0, 0): "1", (2, 0): "1", (1, 1): "2", (0, 1): "1", (3, 3): "1"}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog", "eel", "fox"]
    shares = ax.images[0].get_array()
    assert np.array_equal(shares.mask, np.eye(4, dtype=bool))  # the right answers are not on the scale of mistakes
    assert np.allclose(shares.filled(0), [[0, 0, 1 / 2, 0], [1 / 3, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_many_classes_are_drawn_without_texts(ax):
    plot.confusion_matrix(np.arange(200), np.arange(200)[::-1], ax=ax)
    ax.figure.canvas.draw()
    assert texts(ax) == []


def test_misclassified_shows_the_first_wrong_images(ax):
    plot.misclassified(IMAGES, LABELS, PREDICTIONS, ax=ax, count=1)
    assert texts(ax) == ["0 not 1"]
    assert ax.get_title() == "2 of 6 wrong, the first 1"
    assert np.array_equal(tiles(ax, 5, 4)[0, 0], IMAGES[1, 0])


def test_a_class_of_any_number_is_shown(ax):
    plot.misclassified(IMAGES[:1], [10**15], [1], ax=ax)
    assert texts(ax) == [f"{10**15} not 1"]


@pytest.mark.parametrize("names", [["cat", "dog", "eel", "fox"], np.array(["cat", "dog", "eel", "fox"])])
def test_misclassified_calls_classes_by_their_names(ax, names):
    plot.misclassified(IMAGES, LABELS, PREDICTIONS, ax=ax, names=names)
    assert texts(ax) == ["cat\nnot dog", "dog\nnot cat"]


def test_a_square_picture_is_saved_without_margins_beside_it(tmp_path):
    for words in ({}, {"size": (6, 3)}):
        plot.save(tmp_path / "a.png", plot.confusion_matrix, LABELS, PREDICTIONS, **words)
        width, height = struct.unpack(">2I", (tmp_path / "a.png").read_bytes()[16:24])
        assert (0.8 < width / height < 1.2) if not words else (width, height) == (720, 360)


def test_misclassified_shows_colours(ax):
    x = np.random.default_rng(0).integers(0, 256, (6, 3, 5, 4), dtype=np.uint8)
    x[1, 0, 0, 0] = 255
    plot.misclassified(x, LABELS, PREDICTIONS, ax=ax)
    assert texts(ax) == ["0 not 1", "1 not 0"]
    sheet = ax.collections[0].get_array()
    assert np.allclose(sheet[:5, :4], x[1].transpose(1, 2, 0) / 255)
    assert np.allclose(sheet[:5, 5:], x[4].transpose(1, 2, 0) / 255)


def test_misclassified_is_glad_where_nothing_is_wrong(ax):
    plot.misclassified(IMAGES, LABELS, LABELS, ax=ax)
    assert texts(ax) == ["none of 6 is wrong"]


def test_numbers_writes_each_value_in_its_cell(ax):
    plot.numbers(TABLE, ax=ax, title="w")
    written = {text.get_position(): text.get_text() for text in ax.texts}  # (column, row)
    assert written == {(0, 0): "1", (1, 0): "\N{MINUS SIGN}2.5", (2, 0): "0", (0, 1): "4", (1, 1): "0.125", (2, 1): "0"}
    assert np.array_equal(ax.collections[0].get_array(), TABLE)
    assert ax.collections[0].get_clim() == (-4, 4)
    assert ax.get_title() == "w"
    assert ax.get_ylim() == (1.5, -0.5)  # row 0 on top


def test_numbers_takes_a_format_a_limit_or_texts(ax):
    plot.numbers([[1, 20]], ax=ax, fmt="{:03d}", limit=7)
    assert texts(ax) == ["001", "020"]
    assert ax.collections[0].get_clim() == (-7, 7)
    assert texts(plot.numbers([[1, 20]], ax=Figure().add_subplot(), labels=[["w-1", ""]])) == ["w-1", ""]


@pytest.mark.parametrize("chosen", [[(0, 0), (0, 1)], np.array([[True, True, False], [False] * 3]), ((0, column) for column in range(2))])
def test_an_outline_runs_around_the_chosen_cells_and_not_between_them(ax, chosen):
    plot.numbers(TABLE, ax=ax, highlight=chosen)
    segments = {frozenset(map(tuple, segment)) for segment in ax.collections[-1].get_segments()}
    around = [(-0.5, -0.5), (0.5, -0.5), (1.5, -0.5), (1.5, 0.5), (0.5, 0.5), (-0.5, 0.5)]
    assert segments == {frozenset(pair) for pair in zip(around, around[1:] + around[:1])}
