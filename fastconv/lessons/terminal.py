"""A lesson as text, each block as soon as it is computed."""

import textwrap
from collections.abc import Iterator

from fastconv.lessons.blocks import Block, Board, Check, Lesson, Picture, Step, Text


def opening(lesson: Lesson, width: int) -> str:
    """Title, question and short answer."""
    title = f"{lesson.title}\n{'=' * len(lesson.title)}"
    return "\n\n".join((title, _wrapped(lesson.question, width, "Question: "), _wrapped(lesson.answer, width, "In short: ")))


def lines(block: Block, width: int) -> Iterator[str]:
    """The paragraphs of a block; none for a picture."""
    match block:
        case Step(title):
            yield f"{title}\n{'-' * len(title)}"
        case Text():
            yield from (_wrapped(paragraph, width) for paragraph in block.paragraphs())
        case Board(content):
            yield textwrap.indent(content, "    ")
        case Check(claim, difference):
            yield _wrapped(f"{claim} (largest difference {difference:.2g})", width, "    checked: ")
        case Picture():
            pass


def _wrapped(words: str, width: int, lead: str = "") -> str:
    return textwrap.fill(words, width, initial_indent=lead, subsequent_indent=" " * len(lead), break_long_words=False, break_on_hyphens=False)
