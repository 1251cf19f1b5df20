"""The hunt for faults: bad arguments, commands, files, forks. Short by default; `pytest tests/reliability --long` tries everything."""

import os
import re
from contextlib import nullcontext

import pytest
from reliability import arguments, calls, commands
from reliability.hunt import KINDS, hunt

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wrong(kind, request, capsys):
    long = request.config.getoption("--long")
    report = hunt(kind, request.config.getoption("--seed"), long)
    with capsys.disabled() if long else nullcontext():
        print(f"\n{str(report).splitlines()[-1]}")
    assert not report.faults, f"\n{report}"


def test_every_public_callable_has_a_valid_call():
    missing = set(calls.public()) - calls.CALLS.keys()
    assert not missing, f"add a line to tests/reliability/calls.py for {', '.join(sorted(missing))}"


def test_the_valid_calls_are_valid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments.prepare()
    for name in calls.CALLS:
        usual = "FileNotFoundError" if name == "data.cifar10" else "returned"  # 180 MB of files are not worth one path
        assert arguments.judge(name) == (usual, ""), name


@pytest.mark.parametrize("command", [command for command in commands.COMMANDS if not command.startswith(commands.SLOW)])
def test_the_valid_commands_are_valid(command, request, tmp_path, monkeypatch):
    if not request.config.getoption("--long"):
        pytest.skip("test_commands does the like")
    monkeypatch.chdir(tmp_path)
    commands.prepare()
    monkeypatch.chdir("fixtures")
    assert commands.run(command.split())[0] == 0


BROKEN = """
import os, time
SECONDS = 3.0

def tasks(seed, long):
    return ["works", "wrong", "aborts", "hangs", "eats", "works on"]

def prepare():
    pass

def judge(task):
    if task == "aborts":
        os.abort()
    if task == "hangs":
        time.sleep(60)
    if task == "eats":
        bytearray(8 << 30)
    return task, "broken" * (task == "wrong")
"""


def test_a_hunt_finds_each_kind_of_fault(tmp_path, monkeypatch):
    (tmp_path / "reliability").mkdir()
    (tmp_path / "reliability" / "broken.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = hunt("broken", 0, False)
    found = {"wrong": "broken", "aborts": "exit code -6", "hangs": "no end within 3 s", "eats": "exit code 1;.*MemoryError"}
    if os.name == "posix":
        assert all(re.match(found[task], fault, re.DOTALL) for task, fault in report.faults.items())
    assert report.faults.keys() == found.keys()
    assert report.outcomes["works"] + report.outcomes["works on"] == 2
    assert str(report).endswith("4 faults")
