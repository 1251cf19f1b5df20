"""Where a step's time goes: the profile, and the verbs summary, bench and export."""

import re

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers, losses, models, optim, profiling, train
from fastconv.cli import main
from fastconv.train.runs import save_run


class Clockwork(layers.Linear):
    """A Linear(1, 1) whose passes take as long as they are told, on a clock that only they move."""

    now = 0.0

    def __init__(self, forward, input_grad, weight_grad):
        super().__init__(1, 1)
        self.takes = forward, input_grad, weight_grad

    def forward(self, x, training=True):
        Clockwork.now += self.takes[0]
        y, back = super().forward(x, training)

        def backward(dy, input_grad=True):
            Clockwork.now += self.takes[1] * input_grad + self.takes[2] * (not self.weight.frozen)
            return back(dy, input_grad)

        return y, backward


def batch_of(count, *shape):
    return np.random.default_rng(0).standard_normal((count, *shape)).astype(np.float32), np.arange(count) % 10


def test_each_pass_gets_its_time(monkeypatch):
    monkeypatch.setattr(profiling.time, "perf_counter", lambda: Clockwork.now)
    twice = Clockwork(4, 5, 6)
    model = layers.Sequential(Clockwork(1, 2, 3), twice, layers.Residual(layers.Sequential(twice)), Clockwork(0, 8, 0))
    model[3].weight.frozen = model[3].bias.frozen = True

    def loss(outputs, targets):
        Clockwork.now += 7
        return losses.mse(outputs, targets)

    x = np.ones((5, 1), np.float32)
    found = profiling.profile(model, x, x, loss, optim.SGD(model.parameters(), 0.01), steps=3)
    assert [row[3:] for row in found.rows] == [(1, None, 3), (8, 10, 12), (0, 8, 0)]
    assert [row.name for row in found.rows] == ["0", "1", "3"]
    assert (found.loss, found.update, found.rest, found.step) == (7, 0, 0, 49)
    assert found.images_per_second == 5 / 49
    assert model[3].weight.frozen
    assert not model[0].weight.frozen


def test_a_profile_trains_as_steps_do_and_leaves_the_layers_as_they_were():
    fc.seed(3)
    model, other = models.lenet5(1, 12), models.lenet5(1, 12)
    other.load_state_dict(model.state_dict())
    batch = batch_of(4, 1, 12, 12)
    found = profiling.profile(model, *batch, losses.cross_entropy, optim.SGD(model.parameters(), 0.1), steps=2)
    optimizer = optim.SGD(other.parameters(), 0.1)
    for _ in range(2 + profiling.WARM):
        train.step(other, *batch, losses.cross_entropy, optimizer)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name], err_msg=name)
    assert all("forward" not in vars(layer) for layer in model.layers)
    assert [row.layer for row in found.rows][:3] == [repr(model[0]), f"{model[2]!r} + ReLU", repr(model[3])]
    first, pool = found.rows[:2]
    assert (first.input_grad, pool.weight_grad) == (None, None)


def test_steps_must_be_some():
    model = layers.Sequential(layers.Linear(2, 2))
    with pytest.raises(ValueError, match=r"^profile: steps must be between 1 and"):
        profiling.profile(model, *batch_of(2, 2), losses.cross_entropy, optim.SGD(model.parameters(), 0.1), steps=0)


def test_bench_prints_each_layer_and_the_rate(capsys):
    assert main(["bench", "small_cnn", "--batch", "8", "--steps", "2", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("small_cnn, 8 images of 1x8x8, SGD with momentum, 1 thread\n")
    number = r"[\d.]+"
    assert re.search(rf"^0 +Conv2d\(1, 16.* \+ ReLU +direct, col2im(?:, narrow)? +{number} +- +{number} +{number} +{number}%$", out, re.MULTILINE)
    assert re.search(rf"^4 +MaxPool2d.* {number} +{number} +- +{number} +{number}%$", out, re.MULTILINE)
    for what in ("loss", "update", "between"):
        assert re.search(rf"^ +{what} +{number} +{number}%$", out, re.MULTILINE)
    assert re.search(rf"^ +a step: [\d,]+ images/s +{number} +100.0%$", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "shape", "name"),
    [([], (1, 1, 8, 8), "small_cnn"), (["ds_cnn"], (1, 1, 49, 10), "ds_cnn"), (["resnet8", "--input", "2x20x31"], (1, 2, 20, 31), "resnet8")],
)
def test_summary_is_the_models(words, shape, name, capsys):
    assert main(["summary", *words]) == 0
    assert capsys.readouterr().out == f"{models.MODELS[name](shape[1], shape[2:]).summary(shape)}\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "some"
    config = {"model": "small_cnn", "in_channels": 1, "size": [8, 8], "classes": 10, "class_names": list("0123456789")}
    save_run(folder, models.small_cnn(), config | {"data": "digits", "normalise": None}, [])
    return folder


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_export_writes_the_weights_of_a_run(run, tmp_path, capsys, kind):
    if kind == "safetensors":
        pytest.importorskip("safetensors")
    file = tmp_path / f"weights.{kind}"
    assert main(["export", str(run), str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: 8 arrays of small_cnn, {file.stat().st_size / 1e6:.1f} MB\n"
    stored = np.load(run / "weights.npz")
    for name, value in fc.load(file).items():
        np.testing.assert_array_equal(value, stored[name])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "RUN", "weights.pt"], "save: path must end in .npz or .safetensors, got weights.pt"),
        (["export", "nowhere", "weights.npz"], "nowhere holds no run"),
        (["export", "RUN", "nowhere/weights.npz"], "No such file or directory"),
        (["summary", "lenet5", "--input", "1x2x2"], "lenet5: images of size (2, 2) are too small"),
        (["bench", "lenet5", "--threads", "99999"], "set_num_threads: n must be"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(run, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main([str(run) if word == "RUN" else word for word in words]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


@pytest.mark.parametrize(
    "words", [["summary", "nonsense"], ["summary", "--input", "1x28"], ["bench", "--input", "0x8x8"], ["bench", "--batch", "0"], ["export"]]
)
def test_wrong_words_are_exit_code_2(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["summary", "bench", "export"])
def test_each_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert "--threads" in capsys.readouterr().out
