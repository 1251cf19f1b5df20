"""Programs of other frameworks run here with the edits that they count, and say what they promise."""

import ast
import difflib
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from data_files import write_mnist

import fastconv as fc
from fastconv import data, layers

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "ported"
NAMES = sorted(path.name for path in FOLDER.glob("*.py"))


def digits_28() -> tuple[np.ndarray, ...]:
    """The embedded digits as large as MNIST's, in bytes."""
    (x, y), (x_test, y_test) = data.digits()
    return tuple(
        array
        for x, y in ((x[:400], y[:400]), (x_test[:100], y_test[:100]))
        for array in (np.pad(np.kron(255 * x[:, 0], np.ones((3, 3))), ((0, 0), (2, 2), (2, 2))).astype("u1"), y.astype("u1"))
    )


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ("train_images", "train_labels", "t10k_images", "t10k_labels")
    return write_mnist(tmp_path, **dict(zip(names, digits_28())))


def run(monkeypatch, capsys, name: str, *words) -> tuple[dict, str]:
    monkeypatch.setattr("sys.argv", [name, *map(str, words)])
    found = runpy.run_path(str(FOLDER / name), run_name="__main__")
    return found, capsys.readouterr().out


def test_each_has_its_original():
    assert NAMES == ["keras_fit.py", "pytorch_mnist.py", "pytorch_resnet.py", "sklearn_estimator.py"]
    for name in NAMES:
        original = (FOLDER / "originals" / name).read_text("utf-8")
        ast.parse(original)
        assert "#" not in original.replace("'#", "")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "sklearn_estimator.py"])  # which adds a class more than it edits
def test_edited_lines_are_counted(name):
    """Lines of the original that are edited or left out, and lines that are added; blank ones and the docstring do not count."""
    text = (FOLDER / name).read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(text), clean=False)
    before, after = (
        [line for line in code.splitlines() if line.strip()]
        for code in ((FOLDER / "originals" / name).read_text("utf-8"), text.replace(f'"""{docstring}"""', "", 1))
    )
    changes = [change for change in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes() if change[0] != "equal"]
    edited = sum(max(i2 - i1, j2 - j1) for _, i1, i2, j1, j2 in changes)
    assert f"{edited} of {len(before)} lines are edited." in docstring


@pytest.mark.slow
def test_the_mnist_script_learns(mnist, monkeypatch, capsys):
    found, out = run(monkeypatch, capsys, "pytorch_mnist.py", "--data", mnist, "--epochs", 6, "--batch-size", 16)
    accuracies = [float(number) for number in re.findall(r"test accuracy (\S+) %", out)]
    assert len(accuracies) == 6
    assert accuracies[-1] > 60
    other = found["Net"]()
    other.load_state_dict(fc.load("lenet.npz"))
    assert "conv1.weight" in other.state_dict()


@pytest.mark.slow
def test_the_resnet_script_runs(monkeypatch, capsys):
    def images(N):
        return np.random.default_rng(N).random((N, 3, 32, 32), np.float32), np.arange(N) % 10

    monkeypatch.setattr(data, "cifar10", lambda folder: (images(20), images(10)))
    found, out = run(monkeypatch, capsys, "pytorch_resnet.py", "--blocks", 1, "--epochs", 2, "--batch-size", 10)
    assert re.search(r"^\d+ parameters\nepoch 1: loss \d\.\d+, test accuracy \d+\.\d %\nepoch 2: ", out)
    torch = pytest.importorskip("torch")
    from torch import nn  # its layers have the names under which the state dict is found

    block = found["BasicBlock"](16, 32, 2)
    theirs = nn.ModuleDict({"conv1": nn.Conv2d(16, 32, 3, 2, 1, bias=False), "conv2": nn.Conv2d(32, 32, 3, 1, 1, bias=False)})
    theirs["bn1"], theirs["bn2"] = nn.BatchNorm2d(32), nn.BatchNorm2d(32)
    theirs["shortcut"] = nn.Sequential(nn.Conv2d(16, 32, 1, 2, bias=False), nn.BatchNorm2d(32))
    block.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 16, 8, 8)
    theirs.eval()
    with torch.no_grad():
        out = theirs["bn2"](theirs["conv2"](torch.relu(theirs["bn1"](theirs["conv1"](x))))) + theirs["shortcut"](x)
    np.testing.assert_allclose(block(x), torch.relu(out), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_keras_script_runs(mnist, monkeypatch, capsys):
    found, out = run(monkeypatch, capsys, "keras_fit.py", mnist)
    assert re.search(r"epoch 1: 0\.\d{4}\n(?s:.*)test loss \d\.\d+, accuracy [01]\.\d+\nthe first ten: \[\d(?: \d){9}\]\n$", out)
    assert isinstance(found["model"], layers.Sequential)
    assert len(found["history"]) <= 12
