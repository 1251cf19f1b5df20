"""The floors of the package: each file imports only what stands below it, and third parties only where they belong."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import fastconv

PACKAGE = Path(fastconv.__file__).parent
GROUND = ("geometry", "memory", "streams", "files", "version")  # each stands alone: it knows nothing else of fastconv
FLOORS = (
    GROUND,
    ("kernels",),
    ("ops",),
    ("layers", "losses", "optim"),
    ("train", "data", "models", "saving", "differences", "profiling"),
    ("explain", "plot"),
    ("lessons",),
    ("cli", "__main__", "__init__"),
)
LEVEL = {unit: level for level, units in enumerate(FLOORS) for unit in units}

REQUIRED = {"numpy", "numba"}  # what `pip install fastconv` brings
WITHOUT_NUMBA = GROUND
ONLY_IN = {"tqdm": {"train/progress.py"}, "llvmlite": {"kernels/cache.py", "kernels/forks.py", "cli/info.py"}}  # for its version and its lock
EXTRAS = {"matplotlib", "safetensors"}  # installed by choice, so imported by the function that needs them
STANDARD = {"__future__"} | sys.stdlib_module_names


class Import(NamedTuple):
    module: str  # "fastconv.kernels.table", "numpy"
    line: int
    inside: bool  # a function


def imports(tree: ast.AST, modules: set[str], inside: bool = False) -> Iterator[Import]:
    """All imports below a node but those for type checkers. `modules`: the names that `from package import name` may mean."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: imports are absolute here"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield Import(full if full in modules or not node.module.startswith("fastconv") else node.module, node.lineno, inside)
        else:
            yield from imports(node, modules, inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))


def read(package: Path) -> dict[str, list[Import]]:
    """What each file of the package imports, by its path inside the package."""
    files = sorted(package.rglob("*.py"))
    modules = {".".join(("fastconv", *path.relative_to(package).with_suffix("").parts)).removesuffix(".__init__") for path in files}
    return {path.relative_to(package).as_posix(): list(imports(ast.parse(path.read_text("utf-8")), modules)) for path in files}


def unit(path_or_module: str) -> str:
    """kernels/table.py, fastconv.kernels.table -> kernels; the package itself is its __init__."""
    parts = path_or_module.removesuffix(".py").replace("/", ".").removeprefix("fastconv").lstrip(".").split(".")
    return parts[0] or "__init__"


def breaches(files: dict[str, list[Import]]) -> list[str]:
    """Each import that reaches up, or sideways on the ground floor."""
    found = []
    for path, entries in files.items():
        own = unit(path)
        if own not in LEVEL:
            found.append(f"{path} stands on no floor")
            continue
        for entry in entries:
            if entry.module.partition(".")[0] != "fastconv":
                continue
            other = unit(entry.module)
            sideways = own in GROUND and other != own
            if sideways or LEVEL.get(other, len(FLOORS)) > LEVEL[own]:
                found.append(f"{path}:{entry.line} imports {entry.module}")
    return found


def strangers(files: dict[str, list[Import]]) -> list[str]:
    """Each import of a third party that is not installed with fastconv, or not wanted there."""
    found = []
    for path, entries in files.items():
        for entry in entries:
            name = entry.module.partition(".")[0]
            allowed = (
                name in STANDARD | {"fastconv"}
                or (name in REQUIRED and not (name == "numba" and unit(path) in WITHOUT_NUMBA))
                or path in ONLY_IN.get(name, ())
                or (name in EXTRAS and entry.inside)
                or entry.module.startswith("llvmlite.ir")  # one file: see below
            )
            if not allowed:
                found.append(f"{path}:{entry.line} imports {entry.module}")
    return found


def speaks_llvm(files: dict[str, list[Import]]) -> list[str]:
    return [path for path, entries in files.items() if any(entry.module.startswith("llvmlite.ir") for entry in entries)]


def test_each_file_imports_only_from_below():
    assert breaches(read(PACKAGE)) == []


def test_third_parties_stay_where_they_belong():
    assert strangers(read(PACKAGE)) == []


def test_at_most_one_kernel_file_speaks_llvm():
    assert all(path.startswith("kernels/") for path in speaks_llvm(read(PACKAGE)))
    assert len(speaks_llvm(read(PACKAGE))) <= 1


def test_a_package_that_breaks_the_rules_is_caught(tmp_path):
    """The same functions on six wrong files and a right one."""
    for name, text in {
        "geometry/windows.py": "from fastconv import memory\nimport numba\n",
        "kernels/table.py": "def f():\n    from fastconv import ops\n",
        "kernels/words.py": "from llvmlite import ir\n",
        "ops/convolution.py": "import llvmlite.ir\nfrom fastconv.kernels import table\nimport fastconv.layers.simple as s\n",
        "layers/plot.py": "import matplotlib\nfrom fastconv import algorithm\n",
        "train/loop.py": "from fastconv import layers\nimport numpy as np\ndef plot():\n    import matplotlib\n",
        "extra/things.py": "import torch\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for module in ("memory", "layers/simple", "ops/__init__", "layers/__init__", "kernels/__init__"):
        (tmp_path / f"{module}.py").touch()
    files = read(tmp_path)
    assert breaches(files) == [
        "extra/things.py stands on no floor",
        "geometry/windows.py:1 imports fastconv.memory",
        "kernels/table.py:2 imports fastconv.ops",
        "layers/plot.py:2 imports fastconv",
        "ops/convolution.py:3 imports fastconv.layers.simple",
    ]
    assert strangers(files) == [
        "extra/things.py:1 imports torch",
        "geometry/windows.py:2 imports numba",
        "layers/plot.py:1 imports matplotlib",
    ]
    assert speaks_llvm(files) == ["kernels/words.py", "ops/convolution.py"]
