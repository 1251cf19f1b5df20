"""What `fit`, `step`, `evaluate` and `predict` refuse, by the argument's name, before anything is trained."""

from functools import partial

import numpy as np
import pytest
from runs import assert_same_state, net

from fastconv import data, layers, losses, models, optim, train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits():
    (x, y), _ = data.digits()
    return x[:60], y[:60]


def mean_loss(outputs, targets):
    """No loss: it has no gradient."""
    return 1.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"optimizer": optim.Adam}, r"optimizer must be an Optimizer such as .*, got the class Adam: call it, Adam\(\.\.\.\)"),
        ({"optimizer": 3}, "optimizer must be an Optimizer such as .*, or one of 'sgd', 'adam', 'adamw', 'rmsprop', got 3"),
        ({"loss_function": 3}, "loss_function must be a function .*, got 3"),
        ({"loss_function": layers.ReLU}, r"loss_function must be a function .*, got the class ReLU: call it, ReLU\(\.\.\.\)"),
        ({"loss_function": None}, "loss_function must be a function .*, got None"),
        ({"schedule": optim.Step}, "schedule must be a Schedule such as .*, got the class Step: call it"),
        (
            {"callbacks": print},
            r"callbacks must be a list of functions of an epoch's dict or .*, got print: write callbacks=\[print\]",
        ),
        ({"callbacks": 3}, "callbacks must be a list of functions of an epoch's dict or train.Callback objects, got 3"),
        ({"callbacks": [3]}, "callbacks must be functions of an epoch's dict or train.Callback objects, got 3"),
        ({"callbacks": [dict]}, "callbacks must be functions of an epoch's dict or train.Callback objects, got the class dict"),
        ({"metrics": train.metrics.accuracy}, r"metrics must be a list of functions.*, got accuracy: write metrics=\[accuracy\]"),
        ({"metrics": "accuracy"}, "metrics must be a list of functions.*, got 'accuracy'"),
        ({"metrics": [dict]}, "metrics must be functions such as .*, got the class dict"),
        ({"callbacks": train.KeepBest()}, r"callbacks must be a list of .*, got one KeepBest: write callbacks=\[KeepBest\(\.\.\.\)\]"),
        ({"callbacks": [train.KeepBest]}, r"callbacks must be .*, got the class KeepBest: call it"),
        ({"verbose": "yes"}, "verbose must be an integer, got 'yes'"),
        ({"shuffle": 1}, "shuffle must be True or False, got 1"),
        ({"resume": 1}, "resume must be True or False, got 1"),
        ({"epochs": 1.5}, r"epochs must be an integer, got 1\.5"),
        ({"accumulate": "2"}, "accumulate must be an integer, got '2'"),
        ({"patience": 1.5}, r"patience must be an integer, got 1\.5"),
        ({"validation": 3}, r"validation must be a pair \(x, y\), got 3"),
    ],
)
def test_a_wrong_type_is_named(digits, words, message):
    model = net()
    with pytest.raises(TypeError, match=f"^(fit|Scheduler|EarlyStopping|Batches): {message}"):
        train.fit(model, digits, **({"epochs": 1} | words))
    assert_same_state(model, net())


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (models.small_cnn, r"the function small_cnn: call it, small_cnn\(\.\.\.\)"),
        (layers.Linear, r"the class Linear: call it, Linear\(\.\.\.\)"),
        (None, "None"),
        ([layers.Flatten()], "list"),
    ],
)
def test_a_model_is_a_layer(digits, model, found):
    optimizer = optim.SGD(net().parameters(), 0.1)
    with pytest.raises(TypeError, match=f"^fit: model must be a Layer, got {found}"):
        train.fit(model, digits)
    with pytest.raises(TypeError, match=f"^step: model must be a Layer, got {found}"):
        train.step(model, *digits, losses.cross_entropy, optimizer)
    if model is not models.small_cnn:  # any function of x may answer
        with pytest.raises(TypeError, match=f"^predict: model must be a Layer, got {found}"):
            train.predict(model, digits[0])
        with pytest.raises(TypeError, match=f"^evaluate: model must be a Layer, got {found}"):
            train.evaluate(model, *digits)


def test_metrics_have_names_of_their_own(digits):
    for metrics, name in (([train.metrics.accuracy] * 2, "accuracy"), ([losses.mse, train.metrics.top_k(2), train.metrics.top_k(2)], "top_2")):
        with pytest.raises(ValueError, match=f"^fit: the history would have two '{name}': give the metric another __name__"):
            train.fit(net(), digits, validation=digits, metrics=metrics)

    def loss(outputs, targets):
        return 0.0

    with pytest.raises(ValueError, match=r"^fit: the history would have two 'loss'"):
        train.fit(net(), digits, validation=digits, metrics=[loss])


@pytest.mark.parametrize("validation", ["size", "channels", "dtype", "precision", "targets"])
def test_a_validation_is_checked_before_the_first_epoch(digits, validation):
    """Also for losses of other targets than classes."""
    x, y = digits
    targets = np.eye(10, dtype=np.float32)[y]
    pair, error, message = {
        "size": ((x[:, :, :7], targets), ValueError, "fit: validation: Linear: layer has I=288, but x has I=240"),
        "channels": ((np.repeat(x, 2, axis=1), targets), ValueError, "fit: validation: .*IC=2"),
        "dtype": (((x * 16).astype(np.int16), targets), TypeError, r"fit: validation: x has dtype int16"),
        "precision": (
            (x.astype(np.float64), targets),
            TypeError,
            r"fit: validation: x is float64, but that of examples is float32: write x\.astype\(np\.float32\)",
        ),
        "targets": ((x, targets[:, :9]), ValueError, r"fit: validation: y\(60, 9\) must have the shape of the model's outputs\(60, 10\) for huber"),
    }[validation]
    model = net()
    with pytest.raises(error, match=message):
        train.fit(model, (x, targets), epochs=1, loss_function=partial(losses.huber, delta=2.0), validation=pair)
    assert_same_state(model, net())


def test_an_optimizer_of_another_model_is_refused(digits):
    model = net()
    first = r"^fit: optimizer must hold the model's parameters: "
    with pytest.raises(ValueError, match=first + r"4 of the model's 4 parameters are missing, 0\.weight first; 4 are not the model's"):
        train.fit(model, digits, epochs=1, optimizer=optim.SGD(net().parameters(), 0.1))
    with pytest.raises(ValueError, match=first + r"2 of the model's 4 parameters are missing, 0\.weight first: make it of model\.parameters\(\)"):
        train.fit(model, digits, epochs=1, optimizer=optim.SGD(model[3].parameters(), 0.1))
    more = layers.Linear(2, 3)
    with pytest.raises(ValueError, match=first + r"2 are not the model's, Parameter\(3, 2\) float32 first"):
        train.fit(model, digits, epochs=1, optimizer=optim.SGD(model.parameters() + more.parameters(), 0.1))
    assert_same_state(model, net())


def test_frozen_parameters_need_no_optimizer_and_may_have_one(digits):
    for parameters in (lambda model: model[3].parameters(), lambda model: model.parameters()):
        model = net()
        for p in model[0].parameters():
            p.frozen = True
        train.fit(model, digits, epochs=1, optimizer=optim.SGD(parameters(model), 0.1))
        np.testing.assert_array_equal(model[0].weight.value, net()[0].weight.value)
        assert not np.array_equal(model[3].weight.value, net()[3].weight.value)
    for p in model.parameters():
        p.frozen = True
    with pytest.raises(ValueError, match=r"^fit: nothing would be trained: all 4 parameters of the model are frozen"):
        train.fit(model, digits, epochs=1, optimizer=optim.SGD(model.parameters(), 0.1))
    with pytest.raises(ValueError, match=r"^fit: model has no parameters to train: Flatten"):
        train.fit(layers.Flatten(), digits, epochs=1)


def test_what_a_callback_thaws_needs_the_optimizer_too(digits):
    model = net()
    for p in model[0].parameters():
        p.frozen = True

    def thaw(record):
        model[0].weight.frozen = False

    optimizer = optim.SGD(model[3].parameters(), 0.1)
    with pytest.raises(ValueError, match=r"^fit: optimizer must hold .*: 1 of the model's 4 parameters are missing, 0\.weight first"):
        train.fit(model, digits, epochs=2, optimizer=optimizer, callbacks=[thaw])


def test_a_step_says_what_it_was_given(digits):
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    for words, error, message in [
        ((losses.cross_entropy, optim.SGD), TypeError, "^step: optimizer must be an Optimizer such as .*, got the class SGD: call it"),
        ((3, optimizer), TypeError, "^step: loss_function must be a function .*, got 3"),
        ((mean_loss, optimizer), TypeError, r"^loss_function must return \(value, d_outputs\), got 1\.0"),
        ((losses.cross_entropy, optim.SGD(net().parameters(), 0.1)), ValueError, "^step: optimizer holds none of the parameters that got a gradient"),
    ]:
        with pytest.raises(error, match=message):
            train.step(model, *digits, *words)
    assert_same_state(model, net())
    with pytest.raises(TypeError, match=r"^loss_function must return \(value, d_outputs\)"):
        train.fit(model, digits, loss_function=mean_loss)
    assert_same_state(model, net())


def test_what_is_evaluated_and_predicted_is_checked(digits):
    model = net()
    for run, error, message in [
        (lambda: train.evaluate(model, *digits, loss_function=3), TypeError, "^evaluate: loss_function must be a function"),
        (lambda: train.evaluate(model, *digits, loss_function=mean_loss), TypeError, "^loss_function must return"),
        (lambda: train.evaluate(model, *digits, batch_size=0), ValueError, "^evaluate: batch_size must be between 1"),
        (lambda: train.evaluate(model, digits[0], 3), ValueError, r"^evaluate: x and y must have the same length .* y\(\)"),
        (lambda: train.predict(model, 3.0), ValueError, r"^predict: x must be \(N, \.\.\.\), got 3\.0"),
        (lambda: train.predict(model, digits[0], "5"), TypeError, "^predict: batch_size must be an integer"),
    ]:
        with pytest.raises(error, match=message):
            run()
