"""The lessons as one web page that needs nothing else: no script, no font, no picture from elsewhere."""

import base64
import html
import re
from collections.abc import Callable, Sequence

from fastconv.lessons.blocks import Block, Board, Check, Lesson, Picture, Step, Text
from fastconv.lessons.pictures import render
from fastconv.version import __version__

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 1rem; max-width: 46rem; font: 1.05rem/1.55 system-ui, sans-serif; color: #1c2733; background: #fff; }
h1, h2, h3 { text-wrap: balance; }
h1 { font-size: 1.9rem; line-height: 1.2; }
h2 { font-size: 1.5rem; line-height: 1.25; margin-top: 4rem; padding-top: 1rem; border-top: 3px solid #1c2733; }
h3 { font-size: 1.15rem; margin-top: 2.2rem; }
a { color: #1f5fa8; }
nav li { margin: 0.5rem 0; }
code, pre { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code { font-size: 0.92em; background: #eef2f6; padding: 0.05em 0.25em; border-radius: 3px; }
/* shadows at the edge behind which a board goes on */
pre { font-size: 0.8rem; line-height: 1.4; padding: 0.8rem 1rem; border-radius: 6px; overflow-x: auto; background:
  linear-gradient(to right, #f5f7f9 40%, transparent) left/3rem 100% no-repeat local,
  linear-gradient(to left, #f5f7f9 40%, transparent) right/3rem 100% no-repeat local,
  linear-gradient(to right, #0003, transparent) left/0.8rem 100% no-repeat scroll,
  linear-gradient(to left, #0003, transparent) right/0.8rem 100% no-repeat scroll, #f5f7f9; }
.question { font-style: italic; }
.answer { background: #fdf3d8; padding: 0.7rem 1rem; border-radius: 6px; }
.check { font-size: 0.9rem; color: #1d6b3a; border-left: 4px solid #5aab78; padding-left: 0.8rem; }
figure { margin: 1.5rem 0; overflow-x: auto; }
figure img { display: block; width: 100%; min-width: 32rem; }
figcaption { font-size: 0.9rem; color: #4b5a68; position: sticky; left: 0; }
@media (max-width: 34rem) { pre { font-size: 0.74rem; padding: 0.7rem; } figure img { min-width: 26rem; } }
footer { margin-top: 4rem; font-size: 0.85rem; color: #4b5a68; }
"""


def page(lessons: Sequence[Lesson], announce: Callable[[Lesson], None] = lambda lesson: None) -> str:
    """The HTML text. Lessons are computed, and their pictures drawn, one after another; each is announced before."""
    contents = "".join(f'<li><a href="#{lesson.topic}">{_words(lesson.title)}</a></li>' for lesson in lessons)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>How backpropagation through a convolution works</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        "<h1>How backpropagation through a convolution works</h1>\n"
        "<p>Questions that students ask, answered by numbers. Every number on this page was computed when the page was made; where it says "
        f"<em>checked</em>, two different ways to compute it gave the same.</p>\n<nav><ol>{contents}</ol></nav>\n"
        + "\n".join(_lesson(lesson, announce) for lesson in lessons)
        + f"\n<footer>Made by <code>python -m fastconv explain --html FILE</code>, fastconv {__version__}.</footer>\n</body>\n</html>\n"
    )


def _lesson(lesson: Lesson, announce: Callable[[Lesson], None]) -> str:
    announce(lesson)
    return (
        f'<section id="{lesson.topic}">\n<h2>{_words(lesson.title)}</h2>\n<p class="question">{_words(lesson.question)}</p>\n'
        f'<p class="answer"><strong>In short:</strong> {_words(lesson.answer)}</p>\n' + "\n".join(map(_block, lesson.blocks())) + "\n</section>"
    )


def _block(block: Block) -> str:
    match block:
        case Step(title):
            return f"<h3>{_words(title)}</h3>"
        case Text():
            return "\n".join(f"<p>{_words(paragraph)}</p>" for paragraph in block.paragraphs())
        case Board(content):
            return f'<pre tabindex="0">{html.escape(content)}</pre>'
        case Check(claim, difference):
            return f'<p class="check">checked: {_words(claim)} (largest difference {difference:.2g})</p>'
        case Picture(_, caption):
            source = f"data:image/svg+xml;base64,{base64.b64encode(render(block, 'svg')).decode()}"
            return f'<figure><img alt="{html.escape(caption)}" src="{source}"><figcaption>{_words(caption)}</figcaption></figure>'


def _words(text: str) -> str:
    """Text for HTML, with `code` in backquotes."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text, quote=False))
