"""Compiled kernels on disk: what one process compiled the next one loads, and nothing wrong, foreign or stale is ever used."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import fastconv
from fastconv.kernels.compile import cache

pytestmark = pytest.mark.slow

PACKAGE = Path(fastconv.__file__).parent
RELU = """
import sys
import numpy as np
from fastconv import ops
from fastconv.kernels.compile import cache
compiled = []
cache.on_compile.append(compiled.append)
y = ops.relu(np.array([[-1, 2, np.nan]], sys.argv[1]))
np.testing.assert_array_equal(y, np.array([[0, 2, np.nan]], sys.argv[1]))
print(*compiled)
"""
KERNELS = {"map_values", "map_elements", "elements", "spans"}  # the pass, its stage, and what this calls
posix = pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners and modes of files are POSIX's")


def environment(folder, package, **others) -> dict[str, str]:
    """A fixed hash seed, so that a test can only fail for its own reason, and one thread, whose code takes least to compile; one test varies both."""
    kept = {name: value for name, value in os.environ.items() if name not in ("FASTCONV_CACHE", "XDG_CACHE_HOME")}
    chosen = {} if folder is None else {"FASTCONV_CACHE": str(folder)}
    return kept | chosen | {"PYTHONPATH": str(package.parent), "PYTHONHASHSEED": "0", "FASTCONV_QUIET": "1", "NUMBA_NUM_THREADS": "1"} | others


def folder_of(package: Path) -> Path:
    return next(place for place in package.parents if place.is_dir())


def start(folder, dtype="float32", script=RELU, package=PACKAGE, **others) -> subprocess.Popen:
    command = [sys.executable, "-W", "error", "-c", script, dtype]  # with -c, Python looks in the current folder first
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder_of(package), env=environment(folder, package, **others), **pipes)


def compiled(process: subprocess.Popen) -> set[str]:
    """The kernels that the process had to compile; it must end well and silently."""
    out, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, "")
    return set(out.split())


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kernels") / "cache"
    assert compiled(start(folder)) == KERNELS
    return folder


@pytest.fixture
def filled(filled_once, tmp_path) -> Path:
    """A folder that holds ReLU for float32."""
    return shutil.copytree(filled_once, tmp_path / "cache")


def entry(folder: Path) -> Path:
    (path,) = folder.glob("map_values-*.kernel")
    return path


def test_the_second_process_loads_what_the_first_compiled(filled):
    before = {path: path.read_bytes() for path in filled.iterdir()}
    assert compiled(start(filled)) == set()
    assert {path: path.read_bytes() for path in filled.iterdir()} == before


def test_the_hash_seed_of_the_process_does_not_matter(filled):
    """Python orders sets of strings anew in each process; nothing of that may get into a key, of threaded code neither."""
    assert [compiled(start(filled, PYTHONHASHSEED=seed)) for seed in "12"] == [set()] * 2
    threaded = [compiled(start(filled, PYTHONHASHSEED=seed, NUMBA_NUM_THREADS="2")) for seed in "345"]
    assert threaded == [{"for_each_chunk"}, set(), set()]


def test_a_kernel_that_is_called_by_name_is_compiled_again_where_its_file_is_gone(filled):
    """The machine code of the pass, from the disk, calls its stage by a name that must be known when it is loaded."""
    (stage,) = filled.glob("map_elements-*.kernel")
    stage.unlink()
    assert compiled(start(filled)) == {"map_elements"}
    assert stage.exists()
    assert compiled(start(filled)) == set()


def test_a_kernel_that_is_called_by_name_and_was_damaged_is_replaced(filled):
    (stage,) = filled.glob("map_elements-*.kernel")
    stage.write_bytes(flip_one_bit(stage.read_bytes()))
    assert "map_elements" in compiled(start(filled))
    assert compiled(start(filled)) == set()


def test_another_dtype_is_another_entry(filled):
    assert compiled(start(filled, "float64")) == KERNELS - {"spans"}  # which knows only sizes
    assert compiled(start(filled, "float64")) == compiled(start(filled)) == set()


def cut(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def flip_one_bit(whole: bytes) -> bytes:
    at = len(whole) // 2
    return whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]


@pytest.mark.parametrize("damage", [cut, flip_one_bit])
def test_a_damaged_file_is_compiled_again_and_replaced(filled, damage):
    whole = entry(filled).read_bytes()
    entry(filled).write_bytes(damage(whole))
    assert "map_values" in compiled(start(filled))
    assert cache.read_trusted(entry(filled)) is not None
    assert compiled(start(filled)) == set()


def test_any_flipped_bit_is_noticed(filled):
    """Before the file is unpickled, and before machine code that nobody wrote can run."""
    path, whole = entry(filled), entry(filled).read_bytes()
    assert cache.read_trusted(path) is not None
    for at in range(0, len(whole), 997):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert cache.read_trusted(path) is None


def test_a_file_under_another_signatures_name_is_not_used(filled):
    first = entry(filled)
    kept = first.read_bytes()
    compiled(start(filled, "float64"))
    (other,) = set(filled.glob("map_values-*.kernel")) - {first}
    first.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    assert "map_values" in compiled(start(filled))
    assert "map_values" in compiled(start(filled, "float64"))


def test_two_processes_may_fill_an_empty_folder_at_once(tmp_path):
    both = [start(tmp_path / "cache", dtype) for dtype in ("float32", "float64")]
    assert all(KERNELS - {"spans"} <= compiled(process) <= KERNELS for process in both)
    assert [compiled(start(tmp_path / "cache", dtype)) for dtype in ("float32", "float64")] == [set(), set()]


def test_two_processes_may_compile_the_same_kernels_at_once(tmp_path):
    both = [start(tmp_path / "cache") for _ in range(2)]
    assert all(compiled(process) <= KERNELS for process in both)
    assert compiled(start(tmp_path / "cache")) == set()


def test_any_edit_of_any_kernel_file_changes_the_fingerprint(tmp_path, monkeypatch):
    """In folders below that of the kernels, too; where the files are does not matter."""
    kernels = shutil.copytree(PACKAGE / "kernels", tmp_path / "kernels")
    monkeypatch.setattr(cache, "files", lambda package: kernels)
    seen = [cache.fingerprint.__wrapped__()]
    assert seen == [cache.fingerprint()]
    (kernels / "below" / "deeper").mkdir(parents=True)
    for path in (kernels / "new.py", kernels / "below" / "new.py", kernels / "below" / "deeper" / "new.py"):
        path.touch()
        seen.append(cache.fingerprint.__wrapped__())
    for path in sorted(kernels.rglob("*.py")):
        path.write_text(path.read_text("utf-8") + "# edited\n", "utf-8")
        seen.append(cache.fingerprint.__wrapped__())
    (kernels / "below" / "new.py").rename(kernels / "below" / "other.py")
    seen.append(cache.fingerprint.__wrapped__())
    assert len(set(seen)) == len(seen) > 10


def packed(path: Path, edit: str = "") -> Path:
    """The package inside a zip archive, as `zipimport` reads it."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(PACKAGE.rglob("*")):
            if file.is_file() and file.suffix in (".py", ".npz"):
                name = file.relative_to(PACKAGE.parent).as_posix()
                archive.writestr(name, file.read_bytes() + (edit.encode() if name == "fastconv/kernels/plain/pooling.py" else b""))
    return path / "fastconv"


def test_an_edit_inside_a_zip_archive_compiles_again(filled, tmp_path):
    assert compiled(start(filled, package=packed(tmp_path / "same.zip"))) == set()
    assert compiled(start(filled, package=packed(tmp_path / "new.zip", edit="# edited\n"))) == KERNELS


@pytest.mark.parametrize("case", ["no such folder", "no reader", "no source"])
def test_where_no_source_can_be_read_nothing_is_kept(monkeypatch, tmp_path, case):
    """Old machine code could not be told from new."""

    def found(package):
        if case == "no reader":
            raise ImportError("the loader knows no resources")
        return tmp_path / "nowhere" if case == "no such folder" else tmp_path

    monkeypatch.setattr(cache, "files", found)
    monkeypatch.setattr(cache, "fingerprint", cache.fingerprint.__wrapped__)
    assert cache.folder.__wrapped__() is None
    monkeypatch.delenv("FASTCONV_CACHE", raising=False)
    assert cache.why_off() == "off (the text of the kernels cannot be read)"


def test_an_edit_in_another_kernel_file_compiles_again(filled, tmp_path):
    package = shutil.copytree(PACKAGE, tmp_path / "edited" / "fastconv", ignore=shutil.ignore_patterns("__pycache__"))
    assert compiled(start(filled, package=package)) == set()
    with open(package / "kernels" / "plain_pooling.py", "a", encoding="utf-8") as file:
        file.write("# edited\n")
    assert compiled(start(filled, package=package)) == KERNELS


@posix
def test_a_folder_that_others_can_write_is_not_read(filled):
    filled.chmod(0o777)
    assert "map_values" in compiled(start(filled))


@posix
def test_a_file_that_others_can_write_is_not_read(filled):
    entry(filled).chmod(0o666)
    assert "map_values" in compiled(start(filled))
    assert not entry(filled).stat().st_mode & 0o022  # replaced by one of ours
    assert compiled(start(filled)) == set()


def test_where_nothing_can_be_written_kernels_work_uncached(tmp_path):
    (tmp_path / "file").write_text("in the way")  # root may write to any folder, but not below a file
    assert compiled(start(tmp_path / "file" / "cache")) == KERNELS
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_zero_turns_the_cache_off(tmp_path):
    assert compiled(start(0, HOME=str(tmp_path), LOCALAPPDATA=str(tmp_path))) == KERNELS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the other systems have other folders")
def test_the_usual_place_is_in_the_home_folder(tmp_path):
    compiled(start(None, HOME=str(tmp_path)))
    assert {path.name for path in tmp_path.rglob("*.kernel")} == {path.name for path in (tmp_path / ".cache" / "fastconv").iterdir()} != set()


@posix
def test_without_a_home_folder_the_temporary_one_serves(tmp_path):
    homeless = "import pathlib\ndef home(): raise RuntimeError('no home')\npathlib.Path.home = home\n" + RELU
    assert compiled(start(None, script=homeless, TMPDIR=str(tmp_path))) == KERNELS
    assert compiled(start(None, script=homeless, TMPDIR=str(tmp_path))) == set()
    assert len(list((tmp_path / f"user-{os.getuid()}" / "fastconv").glob("*.kernel"))) == len(KERNELS)


def said(process: subprocess.Popen) -> str:
    """What stands on stderr of a process that ended well."""
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return error


def test_compiling_is_said_once_and_only_where_it_happens(tmp_path):
    """With warnings as errors; nobody should wonder why nothing happens for seconds."""
    place = tmp_path / "cache"
    line = f"fastconv: compiling kernels for this machine (first use only, to be kept in {place})\n"
    assert said(start(place, FASTCONV_QUIET="0")) == line
    assert said(start(place, FASTCONV_QUIET="0")) == ""


@pytest.mark.parametrize("quiet", ["0", "1"])
def test_without_a_cache_it_is_said_that_each_process_compiles(monkeypatch, capsys, quiet):
    for name, value in (("FASTCONV_CACHE", "0"), ("FASTCONV_QUIET", quiet)):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cache, "on_compile", [cache.say_compiling])
    monkeypatch.setattr(cache, "folder", lambda: None)
    cache.say_compiling("relu")
    line = "fastconv: compiling kernels for this machine (in each process: the cache is off (FASTCONV_CACHE=0))\n"
    assert capsys.readouterr().err == (line if quiet == "0" else "")


@pytest.mark.parametrize("stderr", ["none", "read-only", "closed"])
def test_a_stderr_that_takes_nothing_stops_nothing(monkeypatch, stderr):
    with open(os.devnull) as read_only, open(os.devnull, "w") as closed:
        closed.close()
        monkeypatch.setattr(sys, "stderr", {"none": None, "read-only": read_only, "closed": closed}[stderr])
        monkeypatch.setattr(cache, "on_compile", [cache.say_compiling])
        monkeypatch.setenv("FASTCONV_QUIET", "0")
        cache.say_compiling("relu")
    assert cache.on_compile == []


def test_the_command_says_it_in_its_own_words_alone(tmp_path):
    script = "from fastconv.cli import main\nraise SystemExit(main(['info']))\n"
    lines = said(start(tmp_path / "cache", script=script, FASTCONV_QUIET="0"))
    assert lines.count("compiling kernels") == 1
    assert "fastconv: compiling" not in lines
