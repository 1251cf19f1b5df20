"""A run, loaded: it takes images as people have them, and answers as its model does."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import data, losses, models, train
from fastconv.train.runs import save_run

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ["ant", "bee", "cat"]
CONFIG = {"model": "small_cnn", "size": [6, 8], "classes": 3, "class_names": NAMES, "data": "own.npz"}
HISTORY = [{"epoch": epoch, "loss": 1.0, "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 0.25, "rate": 0.1} for epoch in (1, 2)]


def make(folder, C=3, history=HISTORY, **words):
    fc.seed(1)
    normalise = {"mean": [0.5] * C, "std": [0.25] * C}
    model = models.small_cnn(C, (6, 8), 3)
    save_run(folder, model, CONFIG | {"in_channels": C, "normalise": normalise} | words, history)
    return model


def images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def expected(model, x):
    """x: (N, C, 6, 8) in 0..1"""
    outputs = model((x.astype(np.float32) - np.float32(0.5)) * np.float32(4)).astype(np.float64)
    shares = np.exp(outputs)
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("C", [1, 3])
def test_images_in_every_form_get_the_models_answers(tmp_path, C):
    model = make(tmp_path, C)
    run = fc.load_run(tmp_path)
    assert (run.input_shape, run.class_names, run.folder) == ((C, 6, 8), NAMES, tmp_path)
    x = images(5, C, 6, 8)
    floats = (x / 255).astype(np.float32)
    last = x.transpose(0, 2, 3, 1)
    forms = [x, floats, floats.astype(np.float64), last, floats.transpose(0, 2, 3, 1), list(x), x.astype(np.int64)] + [x[:, 0]] * (C == 1)
    for form in forms:
        found = run.predict(form)
        np.testing.assert_allclose(found.probabilities, expected(model, floats), rtol=1e-5)
        assert found.names == [NAMES[label] for label in found.labels]
        assert np.array_equal(found.labels, found.probabilities.argmax(axis=1))
    for single in [x[0], last[0]] + [x[0, 0]] * (C == 1):
        np.testing.assert_allclose(run.predict(single).probabilities, expected(model, floats[:1]), rtol=1e-5)


def test_digits_have_their_own_brightness(tmp_path):
    make(tmp_path, 1, data="digits:writers")
    run, ink = fc.load_run(tmp_path), images(2, 6, 8) % 17
    np.testing.assert_array_equal(run.predict(ink).probabilities, run.predict(ink / 16).probabilities)
    with pytest.raises(ValueError, match=r"^predict: images must hold floats 0 to 1 or integers 0 to 16, got uint8 from 0 to 17$"):
        run.predict(np.arange(48, dtype=np.uint8).reshape(6, 8) % 18)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (images(3, 6, 6), ValueError, r"predict: images must be \(3, 6, 8\), \(N, 3, 6, 8\) or with the channels last, got \(3, 6, 6\)"),
        (images(6, 8), ValueError, r"predict: images must be .* got \(6, 8\)"),
        (np.full((3, 6, 8), 255.0), ValueError, r"predict: images must hold floats 0 to 1 or integers 0 to 255, got float64 from 255 to 255"),
        (np.full((3, 6, 8), np.nan), ValueError, "predict: images must hold floats 0 to 1 or integers 0 to 255, got float64 from nan to nan"),
        (images(0, 3, 6, 8), ValueError, "predict: images must hold .*, got none"),
        (np.zeros((3, 6, 8), bool), TypeError, "predict: images must hold integers or floats, got bool"),
        ("a.png", TypeError, r"predict: images must be an array, got the name of a file: write data\.images\('a\.png', size=\(6, 8\)\)$"),
        (["a.png"], TypeError, r"predict: images must be an array, got names of files: write data\.images\(paths, size=\(6, 8\)\)$"),
    ],
)
def test_what_are_no_images_of_this_run(tmp_path, given, error, message):
    make(tmp_path)
    with pytest.raises(error, match=f"^{message}"):
        fc.load_run(tmp_path).predict(given)


def test_a_run_and_its_answers_say_what_they_are(tmp_path):
    make(tmp_path)
    run = fc.load_run(str(tmp_path))
    assert repr(run) == f"Run({str(tmp_path)!r}: small_cnn on own.npz, images 3x6x8, 2 epochs, val_accuracy 0.25 in the last; classes ant, bee, cat)"
    assert run.history["val_loss"] == [2.0, 2.0]
    found = run.predict(images(12, 3, 6, 8))
    head, *lines, more = repr(found).splitlines()
    assert (head, more, len(lines), len(found)) == ("Predictions of 12 images", "... and 2 more", 10, 12)
    for i, (line, best) in enumerate(zip(lines, found.top(3))):
        assert line == f"{i}: " + ", ".join(f"{name} ({100 * share:.1f} %)" for name, share in best)
        assert [share for _, share in best] == sorted(found.probabilities[i], reverse=True)
    assert found.top(1)[0][0][0] == found.names[0]
    make(tmp_path, history=[HISTORY[0] | {"val_loss": 1.0, "val_accuracy": 0.75}, HISTORY[1]], early_stop=1)
    assert "2 epochs, val_accuracy 0.75 in epoch 1, which was kept; classes" in repr(fc.load_run(tmp_path))
    make(tmp_path, history=[])
    assert "0 epochs; classes" in repr(fc.load_run(tmp_path))


def test_a_run_is_evaluated(tmp_path):
    """With numbers or names of classes; a class of which there is nothing counts in no mean."""
    model = make(tmp_path)
    run, x, y = fc.load_run(tmp_path), images(8, 3, 6, 8), np.array([0, 1, 0, 1, 0, 1, 0, 1])
    found = run.evaluate(x, y)
    change = data.Normalise([0.5] * 3, [0.25] * 3)
    score = train.evaluate(model, change((x / 255).astype(np.float32)), y)
    assert (found.loss, found.accuracy) == pytest.approx(score, rel=1e-6)
    assert str(run.evaluate(x, [NAMES[label] for label in y])) == str(found)
    assert str(found).startswith(f"loss {score.loss:.4f}, accuracy {100 * score.accuracy:.1f} % of 8 images\n\nclass  precision  recall")
    for wrong, message in [
        (["ant"] * 7 + ["dog"], "evaluate: y must hold names of classes, one of ant, bee, cat, got 'dog'"),
        (y + 2, r"evaluate: targets\[1\] = 3 is not a class 0\.\.2"),
    ]:
        with pytest.raises(ValueError, match=f"^{message}"):
            run.evaluate(x, wrong)


def test_the_table_of_classes():
    """Counted by hand: 0, 0, 0, 1, 1 were taken for 0, 0, 1, 1, 0; of class 2 there is nothing, of 3 a wrong answer."""
    targets = np.array([0, 0, 0, 1, 1, 0])
    outputs = np.eye(4)[[0, 0, 1, 1, 0, 3]]
    table = train.class_table(outputs, targets, ["ant", "bee", "cat", "dog"])
    np.testing.assert_allclose(table.precision, [2 / 3, 1 / 2, np.nan, 0])
    np.testing.assert_allclose(table.recall, [2 / 4, 1 / 2, np.nan, np.nan])
    np.testing.assert_allclose(table.f1, [4 / 7, 1 / 2, np.nan, 0])
    np.testing.assert_array_equal(table.support, [4, 2, 0, 0])
    assert [line.split() for line in str(table).splitlines() if "--" not in line] == [
        ["class", "precision", "recall", "f1", "examples"],
        ["ant", "0.667", "0.500", "0.571", "4"],
        ["bee", "0.500", "0.500", "0.500", "2"],
        ["cat", "-", "-", "-", "0"],
        ["dog", "0.000", "-", "0.000", "0"],
        ["mean", "0.389", "0.500", "0.357", "6"],
    ]
    assert train.class_table(outputs, targets).names == ["0", "1", "2", "3"]
    for names in (["a"], "abcd"):
        with pytest.raises(ValueError, match=r"^class_table: class_names must be 4 names, one for each column of outputs, got"):
            train.class_table(outputs, targets, names)
    with pytest.raises(ValueError, match=r"^class_table: targets\[0\] = 4 is not a class"):
        train.class_table(outputs, targets + 4)


def test_a_loss_that_a_run_has(tmp_path):
    """Cross-entropy, of the outputs and not of the probabilities."""
    make(tmp_path)
    run, x = fc.load_run(tmp_path), images(4, 3, 6, 8)
    shares = run.predict(x).probabilities
    assert run.evaluate(x, [0, 1, 2, 0]).loss == pytest.approx(losses.cross_entropy(np.log(shares), [0, 1, 2, 0])[0])
