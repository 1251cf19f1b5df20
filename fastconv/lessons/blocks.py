"""What a lesson is made of: text, boards of numbers, checks, pictures. A lesson yields them as it computes."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Step(NamedTuple):
    """A heading."""

    title: str


class Text(NamedTuple):
    """Paragraphs, an empty line between two; `code` in backquotes."""

    words: str


class Board(NamedTuple):
    """Numbers set in columns, shown as they are."""

    lines: str


class Picture(NamedTuple):
    """A figure, drawn only where it is wanted: `draw` gets an empty one of `size` (width, height) inches."""

    name: str
    caption: str
    draw: Callable[["Figure"], None]
    size: tuple[float, float] = (8, 3)


Block = Step | Text | Board | Picture


class Lesson(NamedTuple):
    """One topic: `question` is what brings a reader here, `answer` the short reply, `blocks` computes the rest."""

    topic: str
    title: str
    question: str
    answer: str
    blocks: Callable[[], Iterator[Block]]


def numbers(a, spec: str = "g") -> str:
    """A vector or matrix as lines of right-aligned columns."""
    words = [[f"{value:{spec}}" for value in row] for row in np.atleast_2d(a)]
    width = max(len(word) for row in words for word in row)
    return "\n".join("  ".join(f"{word:>{width}}" for word in row) for row in words)


def beside(spec: str = "g", gap: int = 6, **arrays) -> Board:
    """Matrices side by side, each under its name; a string is set as it is."""
    blocks = [[name, *(a if isinstance(a, str) else numbers(a, spec)).splitlines()] for name, a in arrays.items()]
    widths = [max(map(len, lines)) for lines in blocks]
    height = max(map(len, blocks))
    rows = ((" " * gap).join(f"{lines[i] if i < len(lines) else '':{width}}" for lines, width in zip(blocks, widths)).rstrip() for i in range(height))
    return Board("\n".join(rows))


def table(*columns: tuple, heads: tuple[str, ...]) -> Board:
    """Columns of words under their heads: the first flush left, the others flush right."""
    cells = [[head, *map(str, column)] for head, column in zip(heads, columns)]
    widths = [max(map(len, column)) for column in cells]
    rows = zip(*cells)
    return Board("\n".join(f"{row[0]:<{widths[0]}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:])) for row in rows))


def same(claim: str, one, other, tolerance: float = 1e-9) -> Board:
    """A claim of equality, checked here and now: a line that says so, or an ArithmeticError.

    Two computations of one number may round differently; `tolerance` is relative to the largest of them.
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    difference = float(abs(one - other).max())
    if one.shape != other.shape or not difference <= tolerance * max(1.0, float(abs(one).max())):
        raise ArithmeticError(f"the claim does not hold: {claim}: they differ by {difference}")
    return Board(f"checked: {claim}  (largest difference {difference:.2g})")
