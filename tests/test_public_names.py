"""What ``hiermodels`` shows of itself, and what is installed with it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import hiermodels as hm
from tests.test_layout import MODULES, imports

ROOT = Path(__file__).parents[1]
PUBLIC = sorted([*hm.__all__, "__version__"])
ARVIZ = ("arviz", "arviz-base", "arviz-plots", "arviz-stats")


def run(code: str) -> str:
    """What Python prints that has imported nothing yet."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_dir_lists_everything_public_and_nothing_else():
    loaded = "import hiermodels.plots, hiermodels.model.spec; hm.two_level"
    before, after = run(
        f"import hiermodels as hm; print(*dir(hm)); {loaded}; print(*dir(hm))"
    ).splitlines()
    assert before.split() == after.split() == PUBLIC
    later = {"ConvergenceWarning", "build_model", "normal_inverse_gamma", "three_level"}
    assert later | {"two_level", "datasets", "lecture", "plots"} < set(PUBLIC)
    assert not {"blas", "core", "exact", "annotations", "Any", "import_module"} & set(PUBLIC)


def test_a_star_import_takes_what_is_listed():
    scope: dict[str, object] = {}
    exec("from hiermodels import *", scope)
    assert sorted({*scope} - {"__builtins__"} | {"__version__"}) == PUBLIC


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'hiermodels' has no attribute 'plot'"):
        hm.plot  # noqa: B018


def test_pictures_are_loaded_when_they_are_asked_for():
    start = "import sys, hiermodels as hm; print('matplotlib' in sys.modules)"
    shown = run(f"{start}; print(hm.plots.plot_shrinkage.__name__)")
    assert shown.split() == ["False", "plot_shrinkage"]


def test_each_part_of_arviz_is_as_new_as_pymc_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = "\n".join(project["dependencies"])
    floors = re.findall(r"^(arviz[a-z-]*(?:\[xarray])?)>=(\d+)\.(\d+)$", needed, re.MULTILINE)
    assert [name for name, *_ in floors] == [*ARVIZ[:-1], "arviz-stats[xarray]"]
    assert all((int(major), int(minor)) >= (1, 1) for _, major, minor in floors)


@pytest.mark.parametrize("name", ARVIZ)
def test_arviz_is_installed_in_the_version_that_is_tested(name):
    assert f"{name}=={version(name)}" in (ROOT / "constraints.txt").read_text().splitlines()


@pytest.mark.parametrize("name", sorted(MODULES))
def test_arviz_itself_is_the_user_s_to_import(name):
    """The package takes its parts; ``import arviz`` would load them all."""
    assert not [used for used in imports(name) if used.split(".")[0] == "arviz"]
