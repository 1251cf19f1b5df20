"""What a lesson is made of: text, boards of numbers, checks, pictures. A lesson yields them as it computes."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastconv.explain import Terms

if TYPE_CHECKING:
    from matplotlib.figure import Figure


WIDEST = 84  # characters of a line of numbers
NUMBER = re.compile(r"[-+]?[\d,.]+( %)?|nan|")


class Step(NamedTuple):
    """A heading."""

    title: str


class Text(NamedTuple):
    """Paragraphs, an empty line between two; `code` in backquotes."""

    words: str

    def paragraphs(self) -> list[str]:
        return [" ".join(part.split()) for part in self.words.strip().split("\n\n")]


class Board(NamedTuple):
    """Numbers set in columns, shown as they are."""

    lines: str


class Check(NamedTuple):
    """A claim of equality that has just held."""

    claim: str
    difference: float


class Picture(NamedTuple):
    """A figure, drawn only where it is wanted: `draw` gets an empty one of `size` (width, height) inches."""

    name: str
    caption: str
    draw: Callable[["Figure"], None]
    size: tuple[float, float] = (8, 3)


Block = Step | Text | Board | Check | Picture


class Lesson(NamedTuple):
    """One topic: `question` is what brings a reader here, `answer` the short reply, `blocks` computes the rest."""

    topic: str
    title: str
    question: str
    answer: str
    blocks: Callable[[], Iterator[Block]]


def word(value: float, spec: str = "g") -> str:
    """The number as written: no -0 for what rounds to 0."""
    text = f"{value:{spec}}"
    return text if float(text) else f"{0.0:{spec}}"


def signed(value: float) -> str:
    """As a factor or summand: negative numbers in parentheses."""
    return f"({word(value)})" if value < 0 else word(value)


def numbers(a, spec: str = "g") -> str:
    """A vector or matrix as lines of right-aligned columns."""
    words = [[word(value, spec) for value in row] for row in np.atleast_2d(a)]
    width = max(len(word) for row in words for word in row)
    return "\n".join("  ".join(f"{word:>{width}}" for word in row) for row in words)


def beside(spec: str = "g", gap: int = 6, **arrays) -> Board:
    """Matrices side by side, each under its name; a string is set as it is."""
    blocks = [[name, *(a if isinstance(a, str) else numbers(a, spec)).splitlines()] for name, a in arrays.items()]
    widths = [max(map(len, lines)) for lines in blocks]
    height = max(map(len, blocks))
    rows = ((" " * gap).join(f"{lines[i] if i < len(lines) else '':{width}}" for lines, width in zip(blocks, widths)).rstrip() for i in range(height))
    return Board("\n".join(rows))


def written_out(terms: Terms) -> Board:
    """The sum behind a number, product by product, for one image of one channel: `dy[m][r,c]` is map m; with one map only, `dy[r,c]`."""
    text = re.sub(r"\b(y|dy)\[0,(\d+),", r"\1[\2][", str(terms))  # (n, oc, oh, ow), n is 0
    text = re.sub(r"\bw\[(\d+),0,", r"w[\1][", text)  # (oc, ic, kh, kw), ic is 0
    text = re.sub(r"\b(x|dx|dw)\[0,0,", r"\1[", text)
    if not re.search(r"\w\[[1-9]\d*\]\[", text):
        text = text.replace("[0][", "[")
    return Board("\n".join(folded for line in text.splitlines() for folded in _folded(line)))


def _folded(line: str) -> list[str]:
    """A long sum goes on in the next line, with a plus sign."""
    first, *others = line.split(" + ")
    lines = [first]
    for summand in others:
        if len(lines[-1]) + len(summand) + 3 > WIDEST:
            lines.append(f"      + {summand}")
        else:
            lines[-1] += f" + {summand}"
    return lines


def table(*columns: tuple, heads: tuple[str, ...]) -> Board:
    """Columns under their heads: words flush left, numbers flush right."""
    laid = []
    for head, column in zip(heads, columns):
        cells = [head, *map(str, column)]
        width = max(map(len, cells))
        side = ">" if all(NUMBER.fullmatch(cell) for cell in cells[1:]) else "<"
        laid.append([f"{cell:{side}{width}}" for cell in cells])
    return Board("\n".join("  ".join(row).rstrip() for row in zip(*laid)))


def same(claim: str, one, other, tolerance: float = 1e-9) -> Check:
    """A claim of equality, checked here and now: ArithmeticError if it does not hold.

    Two computations of one number may round differently; `tolerance` is relative to the largest number in `one`.
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if one.shape != other.shape:
        raise ArithmeticError(f"the claim does not hold: {claim}: the shapes are {one.shape} and {other.shape}")
    difference = float(abs(one - other).max())
    if not difference <= tolerance * float(abs(one).max()) < np.inf:
        raise ArithmeticError(f"the claim does not hold: {claim}: they differ by {difference}")
    return Check(claim, difference)
