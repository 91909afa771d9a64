"""The package's structure: what imports what, and how light it is."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import hiermodels

PACKAGE = Path(hiermodels.__file__).parent
# From what users call down to what every file may use: imports run down this list only.
ROOMS = (
    *("cli", "demo", "hiermodels", "datasets", "lecture"),
    *("api", "results", "io", "plots", "mcmc", "exact", "posterior"),
    *("data", "model", "families", "numerics", "core", "errors"),
)
MATHEMATICS = ("families", "numerics", "exact.kernels")
HEAVY = (
    *("pymc", "pytensor", "nutpie", "numba", "matplotlib", "arviz_plots", "arviz_stats"),
    *("arviz_base", "formulaic", "h5netcdf", "h5py", "pyarrow.parquet", "rich", "zarr"),
    *("scipy.linalg", "scipy.optimize", "scipy.special", "scipy.stats"),
)
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES, MAX_LINES_OF_CODE = 400, 50  # of a file, and of a function without its docstring


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__").removeprefix("hiermodels.")


MODULES = {module_name(path): path for path in FILES}


def imports(name: str) -> set[str]:
    """Full names of all modules that a module imports, in functions too."""
    used: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            used |= {full for full in names if own(full) in MODULES} or {node.module}
        elif isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names}
    return used


def own(full: str) -> str | None:
    """Name of a module of the package, without the package's; None of others."""
    return full.removeprefix("hiermodels.") if full.startswith("hiermodels.") else None


def own_imports(name: str) -> set[str]:
    return {module for module in map(own, imports(name)) if module}


def room(module: str) -> str:
    return module.split(".")[0]


def test_every_file_is_in_a_room():
    assert {room(name) for name in MODULES} == set(ROOMS)


def test_tests_are_in_rooms_of_the_same_names():
    rooms = {path.parent.name for path in Path(__file__).parent.glob("*/test_*.py")}
    assert rooms <= {*ROOMS, "contracts", "hostile", "statistical"}


@pytest.mark.parametrize("name", [name for name in ROOMS if (PACKAGE / name).is_dir()])
def test_every_room_has_a_table_of_contents(name):
    contents = ast.get_docstring(ast.parse(MODULES[name].read_text())) or ""
    inside = {other.split(".")[1] for other in MODULES if other.startswith(f"{name}.")}
    assert {module for module in inside if f"``{module}``" not in contents} == set()


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_run_down_the_list_of_rooms(name):
    floor = ROOMS.index(room(name))
    assert not [other for other in own_imports(name) if ROOMS.index(room(other)) < floor]


def test_no_circle_of_imports():
    graph = {name: own_imports(name) for name in MODULES}
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_files_are_short():
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: size for name, size in lines.items() if size > MAX_LINES} == {}


def lines_of_code(function: ast.FunctionDef) -> int:
    """Lines of a function from its signature on, without its docstring."""
    size = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return size
    docstring = function.body[0]
    return size - ((docstring.end_lineno or 0) - docstring.lineno + 1)


def test_functions_are_short():
    sizes = {
        f"{name}.{node.name}": lines_of_code(node)
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: size for name, size in sizes.items() if size > MAX_LINES_OF_CODE} == {}


def test_no_module_has_the_name_of_a_public_function():
    functions = {name for name in hiermodels.__all__ if callable(getattr(hiermodels, name))}
    assert not functions & {name.split(".")[-1] for name in MODULES}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(MATHEMATICS)])
def test_the_mathematics_knows_neither_frames_nor_models(name):
    used = {room(own(full) or full) for full in imports(name)}
    assert used <= {
        "__future__",
        "collections",
        "core",
        "dataclasses",
        "errors",
        "exact",
        "families",
        "functools",
        "itertools",
        "math",
        "numerics",
        "numpy",
        "scipy",
        "types",
        "typing",
    }


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import hiermodels", (*HEAVY, "narwhals", "hiermodels.exact")),
        ("from hiermodels import calibrate, compare, fit, load, reference, sensitivity", HEAVY),
    ],
    ids=["package", "verbs"],
)
def test_import_is_light(statement, heavy):
    code = f"import sys; {statement}; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_every_public_name_exists_and_is_documented():
    for name in hiermodels.__all__:
        thing = getattr(hiermodels, name)
        assert thing.__doc__, name
