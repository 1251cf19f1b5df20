"""Files that are written whole or not at all, and the error for those that hold something else than they should."""

import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

OTHERS = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a named pipe", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device", stat.S_ISSOCK: "a socket"}


class FileFormatError(ValueError):
    """A file does not hold what its format promises; the message names the file and what is wrong."""


def as_path(op: str, name: str, given) -> Path:
    """A path that a caller wrote; TypeError, ValueError for what is none."""
    if not isinstance(given, (str, os.PathLike)):
        raise TypeError(f"{op}: {name} must be a path, a str or os.PathLike, got {type(given).__name__}")
    path = Path(given)
    if "\0" in str(path):
        raise ValueError(f"{op}: {name} must be a path, and no path holds a NUL character, got {str(path)!r}")
    return path


def check_writable(path: Path) -> None:
    """OSError where `write_whole` could not write."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    os.unlink(temporary)


def opened(path: Path) -> BinaryIO:
    """A file to read. OSError names it; FileFormatError where it is a folder, or what may have no end or nobody who writes to it."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise FileFormatError(f"{path}: is {next((word for test, word in OTHERS.items() if test(mode)), 'no file')}, a file is needed")
    return path.open("rb")


def write_whole(path: Path, content: bytes, sync: bool = True) -> None:
    """Write under another name, then rename: whoever reads, or a kill at any instant, finds the old file or the new one, whole.

    sync: wait until the disk has it, for what cannot be made again.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:  # of the other name, which nobody knows
        raise type(error)(error.errno, error.strerror, str(path)) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), 0o644)  # a temporary file is for its owner only; kernels in an image are for all its users
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if sync and os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
