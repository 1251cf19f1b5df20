"""Compiled kernels on disk. Uses Numba's private cache interface; where it has changed, kernels compile afresh.

Numba's own cache misses edits in other files than the kernel's, can give one signature's code to another when two processes
fill it at once, and raises forever on a truncated file. Here each compiled signature is one file, named by the hash of all it
depends on: function, signature, CPU, versions, flags and the text of every kernel file. It is written whole or not at all,
and only read if it is the user's (or root's) own and nobody else can write it, because it is unpickled.

FASTCONV_CACHE names another folder; FASTCONV_CACHE=0 turns the cache off. Where something must be compiled, stderr says so once, unless
FASTCONV_QUIET is set.
"""

import hashlib
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import llvmlite
import numba
import numpy as np

from fastconv.files import write_whole

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable  # from Python 3.11

MAGIC = b"fastconv kernel 1\n"

named: dict[str, tuple] = {}  # kernels that are called by name (see `outline`): what `make_known` takes
on_load: list[Callable[..., None]] = []  # `outline.make_known`, called with each of them before their callers' code is loaded
in_progress: list[str] = []  # the kernels being compiled now, the one that was asked for first


def say_compiling(name: str) -> None:
    """Tell on stderr, once a process, why nothing happens for seconds; whatever is wrong with stderr, the computation goes on."""
    on_compile.remove(say_compiling)
    if os.environ.get("FASTCONV_QUIET", "0") == "0" and sys.stderr is not None:
        kept = f"first use only, to be kept in {folder()}" if folder() else f"in each process: the cache is {why_off()}"
        with suppress(OSError, ValueError):  # a broken pipe, a closed file
            print(f"fastconv: compiling kernels for this machine ({kept})", file=sys.stderr, flush=True)


on_compile: list[Callable[[str], None]] = [say_compiling]  # called with a kernel's name before it is compiled, which takes seconds


@cache
def folder() -> Path | None:
    """Where compiled kernels are kept; None if the cache is off."""
    chosen = os.environ.get("FASTCONV_CACHE")
    if chosen == "0" or fingerprint() is None:
        return None
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get({"win32": "LOCALAPPDATA"}.get(sys.platform, "XDG_CACHE_HOME"))
    try:
        home = Path(base) if base else Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    except RuntimeError:  # no home folder
        home = Path(tempfile.gettempdir()) / f"user-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
    return home / "fastconv"


def why_off() -> str:
    """What is told where `folder` is None."""
    return "off (FASTCONV_CACHE=0)" if os.environ.get("FASTCONV_CACHE") == "0" else "off (the text of the kernels cannot be read)"


@cache
def fingerprint() -> str | None:
    """Changes with any edit of any kernel file and with any version underneath; None where the text of the files cannot be read."""
    try:
        texts = sorted(sources(files("fastconv.kernels")))
    except (OSError, ImportError, NotImplementedError):  # whatever loaded the package does not show its files
        return None
    versions = sys.version, numba.__version__, llvmlite.__version__, np.__version__
    return hashlib.sha256(repr((texts, versions)).encode()).hexdigest() if texts else None


def sources(folder: "Traversable", above: str = "") -> Iterator[tuple[str, bytes]]:
    """The name and the content of each Python file below a folder, which may be inside a zip archive."""
    for entry in folder.iterdir():
        name = above + entry.name
        if entry.name.endswith(".py"):
            yield name, entry.read_bytes()
        elif entry.name != "__pycache__" and entry.is_dir():
            yield from sources(entry, f"{name}/")


class KernelCache:
    """What a Numba dispatcher asks for compiled code before it compiles (the form of `numba.core.caching._Cache`)."""

    def __init__(self, function: Callable, flags: dict):
        self.name = f"{function.__module__}.{function.__qualname__}"
        # Sorted: the order of a set differs from process to process, and with it the name of the file.
        self.flags = repr(sorted((name, sorted(value) if isinstance(value, set) else value) for name, value in flags.items()))
        self.enabled = True

    @property
    def cache_path(self) -> str:
        return str(folder())

    def enable(self) -> None:
        self.enabled = True

    def disable(self) -> None:
        self.enabled = False

    def flush(self) -> None:
        pass  # a file is never stale: its name holds the fingerprint

    def load_overload(self, sig, target_context):
        target_context.refresh()
        found = self._load(sig, target_context) if self.enabled and folder() else None
        if found is None:
            name = self.name.rpartition(".")[2]
            in_progress.append(name)
            for listener in tuple(on_compile):
                listener(name)
        return found

    def _load(self, sig, target_context):
        try:
            key = self._key(sig, target_context.codegen())
            payload = read_trusted(self._path(key))
            if payload is None or not payload.startswith(key):
                return None
            from numba.core.compiler import CompileResult

            callees, code = pickle.loads(payload[len(key) :])
            for callee in callees:
                on_load[0](*callee)
            return CompileResult._rebuild(target_context, *code)
        except Exception:  # whatever is wrong with a stored kernel, compiling it again is right
            return None

    def save_overload(self, sig, data) -> None:
        if in_progress:
            in_progress.pop()
        if not self.enabled or not folder():
            return
        try:
            from numba.core.serialize import dumps

            if data.library.has_dynamic_globals or data.lifted:
                return
            key = self._key(sig, data.codegen)
            text = data.library.get_llvm_str()
            callees = [callee for name, callee in named.items() if name in text]
            payload = key + dumps((callees, data._reduce()))
            folder().mkdir(mode=0o755, parents=True, exist_ok=True)
            write_whole(self._path(key), MAGIC + hashlib.sha256(payload).digest() + payload, sync=False)
        except Exception:  # nowhere to write, or another Numba: the next process compiles again
            pass

    def _key(self, sig, codegen) -> bytes:
        return repr((self.name, str(sig), codegen.magic_tuple(), self.flags, fingerprint())).encode()

    def _path(self, key: bytes) -> Path:
        return folder() / f"{self.name.rpartition('.')[2]}-{hashlib.sha256(key).hexdigest()[:32]}.kernel"


def read_trusted(path: Path) -> bytes | None:
    """The payload of a file that only this user or root can have written and that is whole; None otherwise."""
    with open(path, "rb") as file:
        if not all(_private(os.stat(place)) for place in (file.fileno(), path.parent)):
            return None
        content = file.read()
    digest, payload = content[len(MAGIC) : len(MAGIC) + 32], content[len(MAGIC) + 32 :]
    if not content.startswith(MAGIC) or hashlib.sha256(payload).digest() != digest:
        return None
    return payload


def trusted(place: Path) -> bool:
    """Whether what stands in this folder would be read."""
    return not place.is_dir() or _private(place.stat())


def _private(status: os.stat_result) -> bool:
    return not hasattr(os, "getuid") or (status.st_uid in (0, os.getuid()) and not status.st_mode & 0o022)
