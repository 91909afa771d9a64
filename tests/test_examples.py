"""Every example in a docstring and in the README runs, and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import runpy
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

import hiermodels as hm

mpl.use("Agg")
ROOT = Path(__file__).parents[1]
MODULES = [
    name for _, name, _ in pkgutil.walk_packages(hm.__path__, "hiermodels.") if "cli" not in name
]


@pytest.mark.parametrize("name", ["hiermodels", *MODULES])
def test_docstrings(name):
    importlib.import_module(name)
    result = doctest.testmod(sys.modules[name], optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_readme(capsys):
    text = (ROOT / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    scope = {}
    exec(example, scope)
    shown = re.search(r"`print\(fit\)` shows\n\n```\n(.*?)```", text, re.DOTALL).group(1)
    out = capsys.readouterr().out
    assert shown in out
    assert "The draws agree with the exact posterior" in out


def test_the_error_in_the_readme():
    text = (ROOT / "README.md").read_text()
    shown = re.search(r"ImproperPosteriorError: (.*?)```", text, re.DOTALL).group(1)
    with pytest.raises(hm.ImproperPosteriorError) as caught:
        hm.fit(hm.datasets.load_eight_schools().head(3))
    assert " ".join(shown.split()) == str(caught.value)


def test_the_gallery():
    """Its code runs and leaves pictures, which are there."""
    run = runpy.run_path(str(ROOT / "docs/make_images.py"))
    for image, plot in run["pictures"]():
        assert (ROOT / "docs" / image).is_file(), image
        assert plot.get_viz("figure") is not None
        mpl.pyplot.close("all")


def test_the_lecture_page():
    """The table in docs/lecture.md is what the package computes."""
    from hiermodels.demo import lecture_quantiles

    players = hm.datasets.load_baseball()
    fit = hm.fit(players, outcome="y", groups="player", se="sigma", draws=1, chains=1)
    q = (0.025, 0.5, 0.975)
    exact = fit.reference().quantile(q, ["theta"])["theta"].to_numpy()
    recipe = lecture_quantiles(fit, q)
    rows = re.findall(r"^\| ([A-Z][^|]*) \| (.*) \|$", (ROOT / "docs/lecture.md").read_text(), re.M)
    assert len(rows) == 12
    for name, numbers in rows:
        i = players["player"].tolist().index(name)
        found = [players["y"][i], *exact[:, i], *recipe[:, i]]
        assert [f"{value:.3f}" for value in found] == numbers.split(" | ")
