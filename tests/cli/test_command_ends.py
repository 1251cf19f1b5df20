"""How the command line ends: one line and a code for what a person can cause, a traceback for what only a programmer can mend."""

import os
import subprocess
import sys

import pytest

from fastconv.cli import info, main

STOPPER = """
import os, sys
class Stopper:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["STOP_AT"]:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Stopper())
"""
SCRIPT = "import sys; from fastconv.cli import main; sys.exit(main())"  # what pip writes for the command fastconv


def program(*words, **changes):
    return subprocess.run([sys.executable, *words], env=os.environ | changes, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("module", ["numba", "fastconv.cli.verbs"])
@pytest.mark.parametrize("script", [False, True])
def test_ctrl_c_while_modules_are_imported(tmp_path, module, script):
    (tmp_path / "sitecustomize.py").write_text(STOPPER)
    (tmp_path / "fastconv").write_text(SCRIPT)
    words = [tmp_path / "fastconv"] if script else ["-m", "fastconv"]
    done = program(*words, "info", STOP_AT=module, PYTHONPATH=os.pathsep.join([str(tmp_path), os.getcwd()]))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nfastconv: interrupted\n")


def test_ctrl_c_while_a_program_imports_fastconv_is_the_programs(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(STOPPER)
    done = program("-c", "import fastconv", STOP_AT="numba", PYTHONPATH=os.pathsep.join([str(tmp_path), os.getcwd()]))
    assert done.stderr.endswith("\nKeyboardInterrupt\n")


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell is needed")
@pytest.mark.parametrize(
    ("line", "codes", "error"),
    [
        ("{fastconv} explain | true", "141 0", ""),
        ("{fastconv} --help | true", "141 0", ""),
        ("{fastconv} explain >&-", "0", ""),
        ("{fastconv} nonsense 2>&-", "2", ""),
        ("{fastconv} explain >/dev/full", "2", "fastconv: error: [Errno 28] No space left on device\n"),
    ],
)
def test_output_that_nobody_takes(line, codes, error):
    assert _shell(line.format(fastconv=f"{sys.executable} -m fastconv")) == (codes, error)


def _shell(command):
    """The exit codes of a pipe, and what was written to stderr."""
    read, write = os.pipe()
    with open(read) as codes:
        words = ["bash", "-c", f'{command}; echo "${{PIPESTATUS[@]}}" >&{write}']
        usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        done = subprocess.run(words, env=usual, pass_fds=[write], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, timeout=120)
        os.close(write)
        return codes.read().strip(), done.stderr


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "there is not enough memory"),
        (MemoryError("Unable to allocate 7.45 GiB"), "there is not enough memory: Unable to allocate 7.45 GiB"),
        (ValueError("two\nlines"), "two lines"),
        (FileNotFoundError(2, "No such file or directory", "it.npy"), "it.npy: No such file or directory"),
    ],
)
def test_what_a_person_can_cause_is_one_line(monkeypatch, capsys, error, line):
    monkeypatch.setattr(info, "facts", _raiser(error))
    assert main(["info"]) == 2
    assert capsys.readouterr().err == f"fastconv: error: {line}\n"


@pytest.mark.parametrize("error", [KeyError("a"), AssertionError(), ZeroDivisionError(), TypeError("'NoneType' object is not callable")])
def test_a_bug_shows_its_traceback(monkeypatch, error):
    monkeypatch.setattr(info, "facts", _raiser(error))
    with pytest.raises(type(error)):
        main(["info"])


def _raiser(error):
    def raises():
        raise error

    return raises


def test_more_than_there_is_memory_for(capsys):
    assert main(["bench", "--batch", str(10**12)]) == 2
    assert capsys.readouterr().err.startswith("fastconv: error: there is not enough memory: Unable to allocate")


def test_links_that_go_round_in_circles(tmp_path, capsys):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for words in (["train", "--data", loop], ["train", "--data", f"mnist:{loop}"], ["eval", loop], ["predict", loop], ["train", "--resume", loop]):
        assert main([*map(str, words)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("fastconv: error: ")
        assert error.count("\n") == 1
