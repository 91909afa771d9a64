"""The package's structure: what imports what, and how light it is."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hiermodels

PACKAGE = Path(hiermodels.__file__).parent
STOREYS = """
    __init__ cli demo fit calibration report
    plots plots.comparison compare
    plots.shrinkage plots.caterpillar plots.trace plots.predictive plots.variance
    plots.sensitivity plots.layout checks predict summary loo
    left_out group_likelihood
    zarr_store recipe rank estimates components default_prior sensitivity storage parquet
    engines.nuts engines.exact engines models parameterization
    simulation reference point_estimates integrated regression conjugate noise_free conditional
    marginal
    posterior joint
    page tables inputs moments propriety memory spec sufficient aggregate lazy failures
    new_rows covariates statistics data labels roles priors design formula
    uniformity montecarlo mixture cubature leave_out gaussian chebyshev lattice
    datasets lecture arguments options hdf5 blas parallel progress files wording errors
"""
FLOORS = STOREYS.split()
HEAVY = (
    *("pymc", "pytensor", "nutpie", "numba", "matplotlib", "arviz_plots", "arviz_stats"),
    *("arviz_base", "formulaic", "h5netcdf", "h5py", "pyarrow.parquet", "rich", "zarr"),
    *("scipy.linalg", "scipy.optimize", "scipy.special", "scipy.stats"),
)


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imports(path: Path, top_level_only: bool) -> set[str]:
    """Names of the modules that a file imports, the package's own without its name."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_file_has_its_floor():
    assert sorted(map(module_name, FILES)) == sorted(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_file_imports_only_what_stands_below_it(path):
    floor = FLOORS.index(module_name(path))
    own = {name.removeprefix("hiermodels.") for name in imports(path, top_level_only=True)}
    above = [name for name in own if name in FLOORS and FLOORS.index(name) <= floor]
    assert not above


@pytest.mark.parametrize(
    "name",
    ["chebyshev", "cubature", "gaussian", "lattice", "leave_out", "mixture", "montecarlo"],
)
def test_the_mathematics_knows_neither_frames_nor_models(name):
    used = {
        module.split(".")[0] for module in imports(PACKAGE / f"{name}.py", top_level_only=False)
    }
    assert used <= {
        "__future__",
        "collections",
        "dataclasses",
        "functools",
        "hiermodels",
        "itertools",
        "math",
        "numpy",
        "scipy",
        "typing",
    }


def test_import_is_light():
    code = f"import sys, hiermodels; print([m for m in {HEAVY!r} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_every_public_name_exists_and_is_documented():
    for name in hiermodels.__all__:
        thing = getattr(hiermodels, name)
        assert thing.__doc__, name
