"""What `fit` takes beside floats (N, C, H, W) and integers: other forms of images and labels, class weights, a transform."""

from functools import partial

import numpy as np
import pytest
from runs import assert_same_state, fitted, net

from fastconv import data, layers, losses, optim, train

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
ORDER = np.argsort(np.argsort(NAMES))  # the number of each digit's name among the sorted ones


@pytest.fixture(scope="module")
def digits():
    """60 images of bytes, of all ten digits."""
    (x, y), _ = data.digits()
    return (255 * x[:60]).astype(np.uint8), y[:60]


@pytest.mark.parametrize(
    "form", [lambda x: x, lambda x: x[:, 0], lambda x: x.transpose(0, 2, 3, 1), lambda x: x.reshape(60, 64), lambda x: x / np.float32(255)]
)
def test_images_of_any_form_train_alike(digits, form):
    x, y = digits
    expected, history = fitted((x / np.float32(255), y), validation=(x / np.float32(255), y))
    model, same = fitted((form(x), y), validation=(form(x), y))
    assert_same_state(model, expected)
    assert same == history
    np.testing.assert_array_equal(train.predict(model, form(x)), train.predict(model, x / np.float32(255)))
    assert train.evaluate(model, form(x), y) == train.evaluate(model, x / np.float32(255), y)


@pytest.mark.parametrize("form", [lambda y: y[:, None], lambda y: np.eye(10)[y], lambda y: np.eye(10, dtype=bool)[y], lambda y: y.tolist()])
def test_labels_of_any_form_train_alike(digits, form):
    x, y = digits
    expected, history = fitted((x, y), validation=(x, y))
    model, same = fitted((x, form(y)), validation=(x, form(y)))
    assert_same_state(model, expected)
    assert same == history
    assert train.evaluate(model, x, form(y)) == train.evaluate(model, x, y)


@pytest.mark.parametrize("kind", [str, object, bytes])
def test_texts_are_classes_in_sorted_order(digits, kind):
    x, y = digits
    expected, history = fitted((x, ORDER[y]), validation=(x[:3], ORDER[y[:3]]))
    texts = NAMES[y].astype(kind)
    model, same = fitted((x, texts), validation=(x[:3], texts[:3]))  # whose three are numbered as in training
    assert_same_state(model, expected)
    assert same == history
    assert train.evaluate(model, x, texts) == train.evaluate(model, x, ORDER[y])


def test_texts_that_cannot_be_numbered_are_refused(digits):
    x, y = digits
    three = NAMES[y % 3]
    message = r"y holds 3 different texts, and the model has 10 outputs, so which .*: write data\.encode_labels\(y, class_names\)\[0\]$"
    with pytest.raises(ValueError, match=rf"^fit: examples: {message}"):
        train.fit(net(), (x, three))
    with pytest.raises(ValueError, match=rf"^evaluate: x and y: {message}"):
        train.evaluate(net(), x, three)
    with pytest.raises(ValueError, match=r"^fit: validation: y holds 'ten', which is none of the classes eight, five, .*, zero$"):
        train.fit(net(), (x, NAMES[y]), validation=(x[:1], ["ten"]))
    with pytest.raises(TypeError, match=r"^fit: batch 1: y must be numbers, got texts: write data\.encode_labels"):
        train.fit(net(), [(x, NAMES[y])])
    with pytest.raises(ValueError, match=r"^fit: examples: y must be labels \(N,\), .* or \(N, K\) of zeros and a one in each row, got \(60, 10\)"):
        train.fit(net(), (x, np.full((60, 10), 0.1)))


def test_channels_that_the_model_takes_first_stay_there():
    """(N, 3, 5, 3) may be both; what the model takes as it is is not turned."""
    x, y = np.random.default_rng(0).random((8, 3, 5, 3), np.float32), np.arange(8) % 2
    model = layers.Sequential(layers.Flatten(), layers.Linear(45, 2))
    expected = model(x)
    np.testing.assert_array_equal(train.predict(model, x), expected)
    assert train.evaluate(model, x, y).loss == losses.cross_entropy(expected, y)[0]


def test_a_model_of_float64_gets_bytes_as_float64(digits):
    x, y = digits
    model = layers.Sequential(layers.Flatten(), layers.Linear(64, 10, dtype=np.float64))
    train.fit(model, (x, y), epochs=1, verbose=0)
    train.fit(model, [(x, y)], epochs=1, verbose=0)
    np.testing.assert_array_equal(train.predict(model, x), model(x / 255))


def test_that_bytes_are_scaled_is_said(digits, capsys):
    x, y = digits
    train.fit(net(), (x, y), epochs=1)
    assert capsys.readouterr().err.startswith("x is uint8: scaled to 0..1, x / 255\nepoch 1/1 ")
    train.fit(net(), (x / np.float32(255), y), epochs=1)
    assert "uint8" not in capsys.readouterr().err
    assert repr(data.Batches(x, y, 8)) == "Batches(60 examples of (1, 8, 8), 8 at a time, uint8 / 255)"


def test_class_weights_are_those_of_the_loss_in_training_alone(digits):
    x, y = digits
    weights = losses.balanced_weights(y)
    np.testing.assert_allclose(weights, 60 / (10 * np.bincount(y)))
    expected, _ = fitted((x, y), loss_function=partial(losses.cross_entropy, class_weights=weights))
    for class_weights in ("balanced", weights):
        model, history = fitted((x, NAMES[np.argsort(NAMES)][y]), class_weights=class_weights, validation=(x, y))
        assert_same_state(model, expected)
        assert history[-1]["val_loss"] == losses.cross_entropy(model(x / np.float32(255)), y)[0]
    model, _ = fitted([(x, y)], class_weights=weights, batch_size=32)
    assert_same_state(model, fitted([(x, y)], loss_function=partial(losses.cross_entropy, class_weights=weights), batch_size=32)[0])


def test_balanced_weights_are_scikit_learns():
    weights = losses.balanced_weights([3, 0, 0, 0, 1, 1], 5)
    np.testing.assert_allclose(weights, [6 / (3 * 3), 6 / (3 * 2), 0, 6 / 3, 0])
    targets = np.array([3, 0, 0, 0, 1, 1])
    assert np.bincount(targets, weights[targets])[[0, 1, 3]] == pytest.approx([2, 2, 2])
    for wrong, error, message in (
        ([], ValueError, r"targets must be \(N,\) with N >= 1, got \(0,\)"), ([[1]], ValueError, r"targets must be \(N,\)"),
        ([0.5], TypeError, "targets must be integers"), ([-1, 0], ValueError, r"targets\[0\] = -1 is not a class"),
    ):  # fmt: skip
        with pytest.raises(error, match=f"^balanced_weights: {message}"):
            losses.balanced_weights(wrong)


def test_wrong_class_weights_are_refused(digits):
    x, y = digits
    half = np.zeros((60, 10), np.float32)
    for words, error, message in (
        ({"class_weights": "even"}, TypeError, r"class_weights must be numbers, one for each class, got 'even'; losses\.balanced_weights\(y\) makes"),
        ({"class_weights": [[1], [2, 3]]}, ValueError, "^fit: class_weights is no array"),
        ({"class_weights": [1, 2]}, ValueError, r"class_weights must be \(10,\)"),
        ({"class_weights": "balanced", "loss_function": partial(losses.cross_entropy, class_weights=np.ones(10))}, ValueError, "where it has none"),
        ({"class_weights": "balanced", "loss_function": "mse", "y": half}, ValueError, "class_weights are for the loss cross_entropy"),
    ):
        words = {"y": y} | words
        with pytest.raises(error, match=message):
            train.fit(net(), (x, words.pop("y")), verbose=0, **words)
    with pytest.raises(ValueError, match=r"class_weights='balanced' needs \(x, y\); for batches write losses.balanced_weights\(y\)"):
        train.fit(net(), [(x, y)], class_weights="balanced")


def test_fit_transforms_the_images_of_training_alone(digits):
    """Before they are moved and normalised; the validation stays as it is."""
    x, y = digits
    seen = []

    def darker(images):
        seen.append(images)
        return images / 2

    normalise = data.Normalise([0.25], [0.5])
    model, history = fitted((x, y), transform=darker, normalise=normalise, shift=1, optimizer=None, validation=(x, y))
    assert sum(map(len, seen)) == 60
    assert all(images.dtype == np.float32 and images.max() == 1 for images in seen)
    expected, _ = fitted((x / np.float32(510), y), normalise=normalise, shift=1)
    assert_same_state(model, expected)
    assert history[-1]["val_loss"] == losses.cross_entropy(model(normalise(x)), y)[0]


def test_the_rate_finder_takes_the_same_forms(digits):
    x, y = digits
    tests = [train.find_lr(net(), pair, steps=3) for pair in ((x / np.float32(255), y), (x[:, 0], np.eye(10)[y]))]
    np.testing.assert_array_equal(tests[0].losses, tests[1].losses)


def test_a_validation_of_bytes_that_is_not_finite_names_the_layer(digits):
    x, y = digits
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)

    def spoil(outputs, targets):
        value, gradient = losses.cross_entropy(outputs, targets)
        return (value if len(outputs) == 16 else np.inf), gradient

    with pytest.raises(FloatingPointError, match=r"^fit: the loss is inf in the validation after epoch 1, step 1; first not finite: the loss"):
        train.fit(model, (x[:16], y[:16]), epochs=1, optimizer=optimizer, loss_function=spoil, validation=(x, y), batch_size=16, verbose=0)
