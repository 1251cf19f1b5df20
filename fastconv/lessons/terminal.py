"""A lesson on the terminal: each block as soon as it is computed."""

import shutil
import textwrap
from collections.abc import Iterator

from fastconv.lessons.blocks import Block, Board, Lesson, Picture, Step, Text

WIDEST = 92


def lines(lesson: Lesson) -> Iterator[str]:
    """The lesson as text, a block at a time; pictures are left out."""
    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
    yield f"{lesson.title}\n{'=' * len(lesson.title)}\n"
    yield _wrapped(lesson.question, width, "Question: ")
    yield _wrapped(lesson.answer, width, "In short: ")
    for block in lesson.blocks():
        yield from _block(block, width)


def _block(block: Block, width: int) -> Iterator[str]:
    match block:
        case Step(title):
            yield f"{title}\n{'-' * len(title)}\n"
        case Text(words):
            yield from (_wrapped(paragraph, width) for paragraph in paragraphs(words))
        case Board(content):
            yield "\n".join(_folded(line, width) for line in content.splitlines()) + "\n"
        case Picture():
            pass


def paragraphs(words: str) -> list[str]:
    return [" ".join(part.split()) for part in textwrap.dedent(words).strip().split("\n\n")]


def _wrapped(words: str, width: int, lead: str = "") -> str:
    return textwrap.fill(words, width, initial_indent=lead, subsequent_indent=" " * len(lead), break_long_words=False, break_on_hyphens=False) + "\n"


def _folded(line: str, width: int) -> str:
    """A long sum goes on in the next line, after a plus sign; columns stay as they are."""
    if " + " not in line or len(line) + 4 <= width:
        return f"    {line}"
    head, *rest = line.split(" + ")
    done, current = [], head
    for word in rest:
        if len(current) + len(word) + 9 > width:
            done.append(current)
            current = "      + " + word
        else:
            current += " + " + word
    return "\n".join(f"    {part}" for part in [*done, current])
