"""What the guides show is true: their Python runs and prints what they say, their commands and links are there."""

import ast
import inspect
import re
import shlex
from difflib import unified_diff
from importlib.util import find_spec
from pathlib import Path

import pytest
from reliability.calls import MODULES

from fastconv.cli import main, parser

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "examples/guides"
PAGES = [ROOT / "README.md", *sorted(GUIDES.glob("*.md"))]
NEEDS = {  # packages; where they are missing, the page is read only
    "from-scikit-learn.md": ("sklearn",),
    "own-pictures.md": ("PIL", "matplotlib"),
    "transfer-learning.md": ("matplotlib",),
}


def alike(printed: str) -> list[str]:
    """The words of what was printed, any number as good as another."""
    return re.sub(r"[-+]?\d[\d,]*(\.\d+)?(e[-+]\d+)?", "0", printed).split()


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent == GUIDES], ids=lambda page: page.name)
def test_the_python_of_a_guide_runs_and_prints_what_it_says(page, tmp_path, monkeypatch, capsys):
    for package in NEEDS.get(page.name, ()):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    names, text = {"__name__": "__main__"}, page.read_text("utf-8")
    for match in re.finditer(r"^(?:```python|<!-- run -->\n```bash)\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", text, re.MULTILINE | re.DOTALL):
        if match[0].startswith("<!--"):
            for command in match[1].splitlines():
                assert main(shlex.split(command.removeprefix("fastconv "), comments=True)) == 0, capsys.readouterr().err
        else:
            before = text[: match.start(1)]
            exec(compile("\n" * before.count("\n") + match[1], str(page), "exec"), names)  # the line numbers of a traceback are the page's
        printed = capsys.readouterr().out
        assert match[2] is None or alike(printed) == alike(match[2]), printed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_are_there(page):
    tomllib = pytest.importorskip("tomllib")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    text = page.read_text("utf-8")
    for extra in re.findall(r"(?:fastconv|\.)\[([\w,]+)\]", text):
        assert set(extra.split(",")) <= extras.keys(), extra
    for block in re.findall(r"^```(?:bash|powershell|dockerfile)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for command in re.split(r"&&|\n", re.sub(r"#.*", "", block)):
            if called := re.search(r"(?:-m fastconv|^\s*fastconv)\s+(?!.*--help)(.*)", command):
                parser().parse_args(shlex.split(called[1]))  # SystemExit, with the reason on stderr, for words that do not exist
            elif module := re.search(r"-m (\w+)", command):
                assert module[1] in ("venv", "pip", "sphinx") or find_spec(module[1]), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_programs_side_by_side_are_those_in_the_files(page):
    """<!-- ported/originals/a.py ported/a.py -->, then all lines of both as a diff: - of the first alone, + of the second."""
    for before, after, shown in re.findall(r"^<!-- (\S+\.py) (\S+\.py) -->\n```diff\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        both = [(ROOT / "examples" / name).read_text("utf-8").splitlines() for name in (before, after)]
        assert shown.splitlines() == [line.rstrip() for line in unified_diff(*both, n=10_000, lineterm="")][3:], f"{before}, {after}"


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
