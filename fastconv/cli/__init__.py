"""The command line. Exit codes: 0 done, 2 something to correct (said in one line), 130 Ctrl-C, 141 nobody reads the output any more.

Modules are imported by the functions that need them: that takes a while, in which Ctrl-C may come.
"""

import os
import sys

READER_LEFT, INTERRUPTED = 128 + 13, 128 + 2  # as a shell reports SIGPIPE and SIGINT


def parser():
    from fastconv.cli import verbs

    return verbs.parser()


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code. What nobody but a programmer can mend is raised."""
    _open_closed_streams()
    _print_any_name()
    try:
        try:
            from fastconv.cli import verbs

            verbs.run(arguments)
        finally:
            sys.stdout.flush()  # not at exit, where a closed pipe could not be caught
    except BrokenPipeError:  # `... | head` has read enough
        _drop_what_cannot_be_written()
        return READER_LEFT
    except (ValueError, OSError, FloatingPointError, ImportError, MemoryError) as error:
        _drop_what_cannot_be_written()
        print(f"fastconv: error: {_told(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"\nfastconv: interrupted{f'; {stop}' if str(stop) else ''}", file=sys.stderr)
        return INTERRUPTED
    return 0


def _open_closed_streams() -> None:
    """After `>&-` Python has no sys.stdout, and a print to a sys.stderr that is not there would go to stdout."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # for as long as the process lives


def _print_any_name() -> None:
    """A file's name need not be text, nor every character one of the terminal's: what cannot be encoded is shown as stderr shows it."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_what_cannot_be_written() -> None:
    """Python writes it once more at exit, and would end with a traceback and another code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _told(error: BaseException) -> str:
    """In one line."""
    if isinstance(error, MemoryError):
        return f"there is not enough memory{f': {error}' if str(error) else ''}"
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).splitlines())
