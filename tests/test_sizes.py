"""Files that can be read at one go, and functions with few parameters."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastconv

PACKAGE = Path(fastconv.__file__).parent
LONGEST = 300  # lines of a file
PARAMETERS = 8
STILL_LONGER = {  # to become shorter; nothing is added here
    "kernels/plain/convolution.py correlate_item",
    "kernels/plain/convolution.py gather",
    *(f"kernels/plain/pooling.py {pool}_{row}" for pool in ("max_pool", "avg_pool") for row in ("row", "grad_row")),
}
FOLDERS = [PACKAGE, *(PACKAGE.parent / name for name in ("tests", "bench", "examples"))]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def parameters(function: ast.FunctionDef) -> int:
    """How many a caller sees: neither self, nor what LLVM's generators are always given."""
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls", "typing")])


def takes_pytorchs_options(path: Path, function: ast.FunctionDef) -> bool:
    """A public operation, or how a layer is made: their options are PyTorch's."""
    folder = path.relative_to(PACKAGE).parts[0]
    return (folder == "ops" and not function.name.startswith("_")) or (folder == "layers" and function.name == "__init__")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_file_is_long(folder):
    lengths = {path.relative_to(folder).as_posix(): len(path.read_text("utf-8").splitlines()) for path in folder.rglob("*.py")}
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}


@pytest.mark.parametrize("folder", ["kernels", "ops", "layers"])
def test_no_function_has_many_parameters(folder):
    found = {
        f"{path.relative_to(PACKAGE).as_posix()} {function.name}"
        for path in (PACKAGE / folder).rglob("*.py")
        for function in functions(ast.parse(path.read_text("utf-8")))
        if parameters(function) > PARAMETERS and not takes_pytorchs_options(path, function)
    }
    assert found == {name for name in STILL_LONGER if name.startswith(folder)}


def test_parameters_are_counted():
    tree = ast.parse("def f(self, a, /, b, *c, d=1, **e): ...")
    assert [parameters(function) for function in functions(tree)] == [3]
