"""explain: lessons about backpropagation through a convolution."""

import argparse
import shutil
import sys

import fastconv as fc
from fastconv.files import write_whole
from fastconv.lessons import LESSONS, Lesson, pictures, terminal
from fastconv.lessons.blocks import Picture
from fastconv.lessons.page import page
from fastconv.plot import need_matplotlib

WIDEST = 92  # characters of a line of text


def explain(chosen: argparse.Namespace) -> None:
    lessons = list(LESSONS.values()) if chosen.topic is None else [LESSONS[chosen.topic]]
    if chosen.html or chosen.figures:
        need_matplotlib()
        _check_target(chosen)
    with fc.algorithm("reference"):  # the textbook loops: they are what the lessons talk about, and compile in a second each
        if chosen.html:
            _page(chosen, lessons)
        elif chosen.topic:
            _read(chosen, lessons[0])
        elif chosen.figures:
            _figures(chosen, lessons)
        else:
            _list()


def _check_target(chosen: argparse.Namespace) -> None:
    """Before anything is computed: can the pictures or the page be written there?"""
    if chosen.figures:
        chosen.figures.mkdir(parents=True, exist_ok=True)
    elif chosen.html.is_dir():
        raise IsADirectoryError(f"--html needs the name of a file, but {chosen.html} is a folder")
    elif not chosen.html.parent.is_dir():
        raise FileNotFoundError(f"--html {chosen.html}: there is no folder {chosen.html.parent}")


def _list() -> None:
    width = max(map(len, LESSONS))
    for topic, lesson in LESSONS.items():
        print(f"{topic:{width}}  {lesson.title}")
    print(f"\nRead one: python -m fastconv explain {next(iter(LESSONS))}\nAll in one web page: python -m fastconv explain --html lessons.html")


def _read(chosen: argparse.Namespace, lesson: Lesson) -> None:
    width = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
    print(terminal.opening(lesson, width), flush=True)
    count = 0
    for block in lesson.blocks():
        for paragraph in terminal.lines(block, width):
            print(f"\n{paragraph}", flush=True)
        if isinstance(block, Picture):
            count += 1
            if chosen.figures:
                print(f"\n    picture: {pictures.save(block, chosen.figures, lesson.topic)}", flush=True)
    if not chosen.figures:
        print(f"\n{count} picture{'s' * (count > 1)} more: python -m fastconv explain {lesson.topic} --figures DIR")


def _figures(chosen: argparse.Namespace, lessons: list[Lesson]) -> None:
    for lesson in lessons:
        for block in lesson.blocks():
            if isinstance(block, Picture):
                print(pictures.save(block, chosen.figures, lesson.topic), flush=True)


def _page(chosen: argparse.Namespace, lessons: list[Lesson]) -> None:
    text = page(lessons, lambda lesson: print(f"lesson {lesson.topic} ...", file=sys.stderr, flush=True))
    write_whole(chosen.html, text.encode())
    print(f"{chosen.html}: {len(lessons)} lesson{'s' * (len(lessons) > 1)}, {len(text) / 1e6:.1f} MB")
