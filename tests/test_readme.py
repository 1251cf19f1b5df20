"""What the README promises is there and runs."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()


def block(marker: str) -> str:
    """The fenced block after a marker."""
    return re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)```", README, re.DOTALL)[1]


def test_one_command_trains_and_one_tests():
    for marker, end in (("train-command", "-m fastconv train"), ("test-command", "-m pytest")):
        (line,) = block(marker).strip().splitlines()
        assert line.endswith(end)


def test_the_example_runs(capsys):
    example = block("example")
    assert len(example.strip().splitlines()) <= 16
    exec(compile(example.replace("range(5)", "range(1)"), "README.md", "exec"), {})
    assert "accuracy" in capsys.readouterr().out


def test_each_place_of_the_map_exists():
    root = Path(__file__).parent.parent
    places = re.findall(r"^\| `(?:fastconv|examples|bench)\S*`.*?\|", README, re.MULTILINE)
    names = [name for place in places for name in re.findall(r"`([\w/.]+)`", place)]
    assert len(names) >= 12
    folders = ("", "fastconv", "fastconv/kernels")
    assert [name for name in names if not any((root / folder / name).exists() for folder in folders)] == []
