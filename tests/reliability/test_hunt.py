"""The hunt for faults: bad arguments, commands, files, forks. Short by default; `pytest tests/reliability --long -s` tries everything."""

import pytest
from reliability import arguments, calls, commands
from reliability.hunt import KINDS, hunt


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wrong(kind, request):
    report = hunt(kind, request.config.getoption("--seed"), request.config.getoption("--long"))
    print(report)
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
