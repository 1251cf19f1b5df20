"""What the README promises is there and runs."""

import re
from pathlib import Path

import numpy as np

import fastconv as fc
from fastconv import layers
from fastconv.cli import main

README = (Path(__file__).parent.parent / "README.md").read_text()


def block(marker: str) -> str:
    """The fenced block after a marker."""
    return re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)```", README, re.DOTALL)[1]


def test_one_command_trains_and_one_tests():
    for marker, end in (("train-command", "-m fastconv train"), ("test-command", "-m pytest -n 2 --dist loadfile --no-loadscope-reorder")):
        (line,) = block(marker).strip().splitlines()
        assert line.endswith(end)


def test_the_example_runs(capsys):
    example = block("example")
    assert len(example.strip().splitlines()) <= 16
    names = {}
    exec(compile(example.replace("range(5)", "range(1)"), "README.md", "exec"), names)
    assert "accuracy" in capsys.readouterr().out
    exec(compile(block("compile-example"), "README.md", "exec"), names)
    assert int(capsys.readouterr().out) == names["model"](names["x_test"][:1]).argmax()


def test_the_questions_about_a_layer_are_answered(capsys):
    conv, x = layers.Conv2d(1, 2, 3, padding=1), np.ones((1, 1, 8, 8), np.float32)
    names = {"conv": conv, "x": x, "dy": np.ones((1, 2, 8, 8), np.float32)}
    with fc.algorithm("reference"):
        exec(compile(block("explain-example"), "README.md", "exec"), names)
    assert names["matrix"].shape == (128, 64)
    assert re.search(r"dw\[0,0,1,1\] = .* = 64\n.*dx\[0,0,5,3\] = ", capsys.readouterr().out, re.DOTALL)


def test_the_list_of_lessons_and_the_pictures_are_those_of_the_command(capsys):
    assert main(["explain"]) == 0
    assert capsys.readouterr().out.partition("\n\n")[0] in README
    root = Path(__file__).parent.parent
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert len(pictures) == 2
    assert all((root / name).stat().st_size < 60_000 for name in pictures)


def test_each_place_of_the_map_exists():
    root = Path(__file__).parent.parent
    places = re.findall(r"^\| `(?:fastconv|examples|bench)\S*`.*?\|", README, re.MULTILINE)
    names = [name for place in places for name in re.findall(r"`([\w/.]+)`", place)]
    assert len(names) >= 12
    folders = ("", "fastconv", "fastconv/kernels")
    assert [name for name in names if not any((root / folder / name).exists() for folder in folders)] == []
