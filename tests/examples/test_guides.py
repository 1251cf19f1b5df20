"""What the guides show is true: their Python runs and prints what they say, their commands and links are there."""

import ast
import inspect
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

import fastconv as fc
from fastconv import explain, plot
from fastconv.cli import parser

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "examples/guides"
PAGES = [ROOT / "README.md", *sorted(GUIDES.glob("*.md"))]
NEEDS = {"from-scikit-learn.md": ("sklearn",)}  # packages; where they are missing, the page is read only
MODULES = {"fc": fc, "explain": explain, "plot": plot} | {
    name: getattr(fc, name) for name in ("ops", "layers", "losses", "optim", "train", "data", "models")
}


class Block(NamedTuple):
    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(match[1], match[2], text.count("\n", 0, match.start()) + 1) for match in found]


def alike(printed: str) -> list[str]:
    """The words of what was printed, any number as good as another."""
    return re.sub(r"[-+]?\d[\d,]*(\.\d+)?(e[-+]\d+)?", "0", printed).split()


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent == GUIDES], ids=lambda page: page.name)
def test_the_python_of_a_guide_runs_and_prints_what_it_says(page, tmp_path, monkeypatch, capsys):
    for package in NEEDS.get(page.name, ()):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    printed = None
    for block in blocks(page):
        if block.language == "python":
            exec(compile("\n" * block.line + block.text, str(page), "exec"), names)  # the line numbers of a traceback are the page's
            printed = capsys.readouterr().out
        elif block.language == "text" and printed:
            assert alike(printed) == alike(block.text), f"{page.name}, line {block.line}"
            printed = None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_are_there(page):
    tomllib = pytest.importorskip("tomllib")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for block in blocks(page):
        for line in block.text.splitlines() if block.language in ("bash", "powershell", "dockerfile") else ():
            for command in re.split(r"&&", line.partition("#")[0]):
                for extra in re.findall(r"(?:fastconv|\.)\[([\w,]+)\]", command):
                    assert set(extra.split(",")) <= extras.keys(), f"{page.name}: {command}"
                if called := re.search(r"(?:-m fastconv|^\s*fastconv)\s+(?!.*--help)(.*)", command):
                    parser().parse_args(shlex.split(called[1]))  # SystemExit, with the reason on stderr, for words that do not exist
                elif module := re.search(r"-m (\w+)", command):
                    assert module[1] in ("venv", "pip", "pytest", "sphinx") or find_spec(module[1]), f"{page.name}: {command}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    missing = [link for link in links if "://" not in link and not link.startswith("#") and not (page.parent / link.partition("#")[0]).exists()]
    assert missing == []


def calls(page: Path) -> list[ast.Call]:
    """What stands as a call of something of fastconv's between the lines, such as `layers.ReLU()`."""
    found = []
    for text in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)):
        if text.endswith(".py"):
            continue
        try:
            expression = ast.parse(text.strip().partition(" = ")[2] or text.strip(), mode="eval").body
        except SyntaxError:
            continue
        found += [node for node in ast.walk(expression) if isinstance(node, (ast.Call, ast.Attribute)) and root(node) in MODULES]
    return found


def root(node: ast.AST) -> str:
    """fc of fc.optim.Adam(...); "" where something is called on the way."""
    node = node.func if isinstance(node, ast.Call) else node
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def resolved(node: ast.AST):
    """What the name stands for; of a call, what is called."""
    if isinstance(node, ast.Name):
        return MODULES[node.id]
    return resolved(node.func) if isinstance(node, ast.Call) else getattr(resolved(node.value), node.attr)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_names_and_arguments_between_the_lines_exist(page):
    for node in calls(page):
        entry = resolved(node)  # AttributeError names what does not exist
        if isinstance(node, ast.Call) and not any(isinstance(each, ast.Constant) and each.value is ... for each in ast.walk(node)):
            inspect.signature(entry).bind(*node.args, **{word.arg: word for word in node.keywords})
