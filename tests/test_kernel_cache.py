"""Compiled kernels on disk: what one process compiled the next one loads, and nothing wrong, foreign or stale is ever used."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastconv
from fastconv.kernels import cache

PACKAGE = Path(fastconv.__file__).parent
RELU = """
import sys
import numpy as np
from fastconv import ops
from fastconv.kernels import cache
compiled = []
cache.on_compile.append(compiled.append)
y = ops.relu(np.array([[-1, 2, np.nan]], sys.argv[1]))
np.testing.assert_array_equal(y, np.array([[0, 2, np.nan]], sys.argv[1]))
print(*compiled)
"""
posix = pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners and modes of files are POSIX's")


def environment(folder, package, **others) -> dict[str, str]:
    """A fixed hash seed, so that a test can only fail for its own reason, and one thread, whose code takes least to compile; one test varies both."""
    kept = {name: value for name, value in os.environ.items() if name not in ("FASTCONV_CACHE", "XDG_CACHE_HOME")}
    chosen = {} if folder is None else {"FASTCONV_CACHE": str(folder)}
    return kept | chosen | {"PYTHONPATH": str(package.parent), "PYTHONHASHSEED": "0", "NUMBA_NUM_THREADS": "1"} | others


def start(folder, dtype="float32", script=RELU, package=PACKAGE, **others) -> subprocess.Popen:
    command = [sys.executable, "-W", "error", "-c", script, dtype]  # with -c, Python looks in the current folder first
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=package.parent, env=environment(folder, package, **others), **pipes)


def compiled(process: subprocess.Popen) -> set[str]:
    """The kernels that the process had to compile; it must end well and silently."""
    out, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, "")
    return set(out.split())


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kernels") / "cache"
    assert compiled(start(folder)) == {"relu", "relu_span"}
    return folder


@pytest.fixture
def filled(filled_once, tmp_path) -> Path:
    """A folder that holds ReLU for float32."""
    return shutil.copytree(filled_once, tmp_path / "cache")


def entry(folder: Path) -> Path:
    (path,) = folder.glob("relu-*.kernel")
    return path


def test_the_second_process_loads_what_the_first_compiled(filled):
    before = {path: path.read_bytes() for path in filled.iterdir()}
    assert compiled(start(filled)) == set()
    assert {path: path.read_bytes() for path in filled.iterdir()} == before


def test_the_hash_seed_of_the_process_does_not_matter(filled):
    """Python orders sets of strings anew in each process; nothing of that may get into a key, of threaded code neither."""
    assert [compiled(start(filled, PYTHONHASHSEED=seed)) for seed in "12"] == [set()] * 2
    threaded = [compiled(start(filled, PYTHONHASHSEED=seed, NUMBA_NUM_THREADS="2")) for seed in "345"]
    assert threaded == [{"relu"}, set(), set()]


def test_another_dtype_is_another_entry(filled):
    assert compiled(start(filled, "float64")) == {"relu", "relu_span"}
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
    assert "relu" in compiled(start(filled))
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
    (other,) = set(filled.glob("relu-*.kernel")) - {first}
    first.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    assert "relu" in compiled(start(filled))
    assert "relu" in compiled(start(filled, "float64"))


def test_two_processes_may_fill_an_empty_folder_at_once(tmp_path):
    both = [start(tmp_path / "cache", dtype) for dtype in ("float32", "float64")]
    assert [compiled(process) for process in both] == [{"relu", "relu_span"}] * 2
    assert [compiled(start(tmp_path / "cache", dtype)) for dtype in ("float32", "float64")] == [set(), set()]


def test_any_edit_of_any_kernel_file_changes_the_fingerprint(tmp_path):
    kernels = shutil.copytree(PACKAGE / "kernels", tmp_path / "kernels")
    spec = importlib.util.spec_from_file_location("copied_cache", kernels / "cache.py")
    copied = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copied)
    seen = [copied.fingerprint.__wrapped__()]
    assert seen == [cache.fingerprint()]  # where the files are does not matter
    for path in sorted(kernels.glob("*.py")):
        path.write_text(path.read_text("utf-8") + "# edited\n", "utf-8")
        seen.append(copied.fingerprint.__wrapped__())
    (kernels / "new.py").touch()
    seen.append(copied.fingerprint.__wrapped__())
    assert len(set(seen)) == len(seen)


def test_an_edit_in_another_kernel_file_compiles_again(filled, tmp_path):
    package = shutil.copytree(PACKAGE, tmp_path / "edited" / "fastconv", ignore=shutil.ignore_patterns("__pycache__"))
    assert compiled(start(filled, package=package)) == set()
    with open(package / "kernels" / "plain_pooling.py", "a", encoding="utf-8") as file:
        file.write("# edited\n")
    assert compiled(start(filled, package=package)) == {"relu", "relu_span"}


@posix
def test_a_folder_that_others_can_write_is_not_read(filled):
    filled.chmod(0o777)
    assert "relu" in compiled(start(filled))


@posix
def test_a_file_that_others_can_write_is_not_read(filled):
    entry(filled).chmod(0o666)
    assert "relu" in compiled(start(filled))
    assert not entry(filled).stat().st_mode & 0o022  # replaced by one of ours
    assert compiled(start(filled)) == set()


def test_where_nothing_can_be_written_kernels_work_uncached(tmp_path):
    (tmp_path / "file").write_text("in the way")  # root may write to any folder, but not below a file
    assert compiled(start(tmp_path / "file" / "cache")) == {"relu", "relu_span"}
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_zero_turns_the_cache_off(tmp_path):
    assert compiled(start(0, HOME=str(tmp_path), LOCALAPPDATA=str(tmp_path))) == {"relu", "relu_span"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the other systems have other folders")
def test_the_usual_place_is_in_the_home_folder(tmp_path):
    compiled(start(None, HOME=str(tmp_path)))
    assert {path.name for path in tmp_path.rglob("*.kernel")} == {path.name for path in (tmp_path / ".cache" / "fastconv").iterdir()} != set()


@posix
def test_without_a_home_folder_the_temporary_one_serves(tmp_path):
    homeless = "import pathlib\ndef home(): raise RuntimeError('no home')\npathlib.Path.home = home\n" + RELU
    assert compiled(start(None, script=homeless, TMPDIR=str(tmp_path))) == {"relu", "relu_span"}
    assert compiled(start(None, script=homeless, TMPDIR=str(tmp_path))) == set()
    assert len(list((tmp_path / f"user-{os.getuid()}" / "fastconv").glob("*.kernel"))) == 2
