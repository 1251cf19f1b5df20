"""The floors of the package: each file imports only what stands below it, and third parties only where they belong."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import fastconv

PACKAGE = Path(fastconv.__file__).parent
GROUND = ("geometry", "memory", "streams", "files", "reflexes", "version")  # each stands alone: it knows nothing else of fastconv
FLOORS = (
    GROUND,
    ("kernels",),
    ("ops",),
    ("layers", "losses", "optim"),
    ("train", "data", "models", "saving", "differences", "profiling", "inference", "functional", "saliency"),
    ("explain", "plot"),
    ("lessons",),
    ("cli", "__main__", "__init__"),
)
LEVEL = {unit: level for level, units in enumerate(FLOORS) for unit in units}

# Inside kernels, in the same way: a room is a folder, or a file beside the folders.
ROOMS = (
    ("compile",),
    ("simd",),
    ("igemm", "narrow", "depthwise", "winograd", "pooling", "elementwise", "plain", "resample", "textbook"),  # which know nothing of each other
    ("textbook_passes", "errors", "selfcheck"),
    ("table",),
    ("__init__",),
)
ROOM_LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
SPEAK_LLVM = ("kernels/compile/", "kernels/simd/")

REQUIRED = {"numpy", "numba"}  # what `pip install fastconv` brings
WITHOUT_NUMBA = GROUND
ONLY_IN = {
    "tqdm": {"train/progress.py"},
    "llvmlite": {"kernels/compile/cache.py", "kernels/compile/forks.py", "cli/info.py"},
}  # for its version, its lock
EXTRAS = {"matplotlib", "safetensors", "PIL"}  # installed by choice, so imported by the function that needs them
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
                or entry.module.startswith(("llvmlite.ir", "llvmlite.binding"))  # in two rooms: see below
            )
            if not allowed:
                found.append(f"{path}:{entry.line} imports {entry.module}")
    return found


def speaks_llvm(files: dict[str, list[Import]]) -> list[str]:
    return [path for path, entries in files.items() if any(entry.module.startswith("llvmlite.ir") for entry in entries)]


def room(path_or_module: str) -> str:
    """kernels/igemm/plan.py, fastconv.kernels.igemm -> igemm; kernels/table.py -> table."""
    parts = path_or_module.removesuffix(".py").replace("/", ".").removeprefix("fastconv.").split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def room_breaches(files: dict[str, list[Import]]) -> list[str]:
    """Each import inside kernels that reaches up, or into a neighboring room of arithmetic."""
    found = []
    for path, entries in files.items():
        if unit(path) != "kernels":
            continue
        own = room(path)
        if own not in ROOM_LEVEL:
            found.append(f"{path} is in no room")
            continue
        for entry in entries:
            if not entry.module.startswith("fastconv.kernels"):
                continue
            other = room(entry.module)
            sideways = own in ROOMS[2] and other in ROOMS[2] and other != own
            if sideways or ROOM_LEVEL.get(other, len(ROOMS)) > ROOM_LEVEL[own]:
                found.append(f"{path}:{entry.line} imports {entry.module}")
    return found


def circles(files: dict[str, list[Import]]) -> list[str]:
    """Modules that import each other in a ring when they are loaded, and those that import them."""
    names = {".".join(("fastconv", *Path(path).with_suffix("").parts)).removesuffix(".__init__"): path for path in files}
    uses = {name: {entry.module for entry in files[path] if not entry.inside and entry.module in names} - {name} for name, path in names.items()}
    while True:
        ends = {name for name, used in uses.items() if not used}
        if not ends:
            return sorted(uses)
        uses = {name: used - ends for name, used in uses.items() if name not in ends}


def test_each_file_imports_only_from_below():
    assert breaches(read(PACKAGE)) == []


def test_third_parties_stay_where_they_belong():
    assert strangers(read(PACKAGE)) == []


def test_two_rooms_speak_llvm():
    assert [path for path in speaks_llvm(read(PACKAGE)) if not path.startswith(SPEAK_LLVM)] == []


def test_rooms_of_kernels_know_what_stands_below_them():
    assert room_breaches(read(PACKAGE)) == []


def test_no_modules_import_each_other():
    assert circles(read(PACKAGE)) == []


def test_a_package_that_breaks_the_rules_is_caught(tmp_path):
    """The same functions on wrong files and right ones."""
    for name, text in {
        "geometry/windows.py": "from fastconv import memory\nimport numba\n",
        "kernels/table.py": "def f():\n    from fastconv import ops\n",
        "kernels/words.py": "from llvmlite import ir\n",
        "kernels/simd/tile.py": "from fastconv.kernels.compile import flags\nfrom fastconv.kernels.igemm import plan\n",
        "kernels/compile/flags.py": "import numba\n",
        "kernels/igemm/plan.py": "from fastconv.kernels.simd import tile\nfrom fastconv.kernels.pooling import windows\n",
        "kernels/pooling/windows.py": "from fastconv.kernels.table import x\nfrom fastconv.kernels.pooling import windows\n",
        "ops/convolution.py": "import llvmlite.ir\nfrom fastconv.kernels import table\nimport fastconv.layers.simple as s\n",
        "layers/plot.py": "import matplotlib\nfrom fastconv import algorithm\n",
        "train/loop.py": "from fastconv import layers\nimport numpy as np\ndef plot():\n    import matplotlib\n",
        "extra/things.py": "import torch\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
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
    assert room_breaches(files) == [
        "kernels/igemm/plan.py:2 imports fastconv.kernels.pooling.windows",
        "kernels/pooling/windows.py:1 imports fastconv.kernels.table",
        "kernels/simd/tile.py:2 imports fastconv.kernels.igemm.plan",
        "kernels/words.py is in no room",
    ]
    assert circles(files) == ["fastconv.kernels.igemm.plan", "fastconv.kernels.simd.tile"]
