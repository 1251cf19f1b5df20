"""How the commands of this folder end."""

import sys
from collections.abc import Callable

from bench.rows import WrongResult


def exit_code(name: str, work: Callable[[], None]) -> int:
    """0; 1 and one line where something is wrong; 130 after Ctrl-C."""
    try:
        work()
    except (ValueError, OSError, RuntimeError, WrongResult) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
