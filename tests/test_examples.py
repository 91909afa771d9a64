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
    """Its example prints what it says; of NUTS, which depends on the machine, but for numbers."""
    text = (ROOT / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(example, {})
    (shown,) = re.findall(r"and prints\n\n```\n(.*?)```", text, re.DOTALL)
    verdict = "The draws agree with the exact posterior"
    expected, found = (
        " ".join(output.split()).partition(verdict) for output in (shown, capsys.readouterr().out)
    )
    assert found[:2] == expected[:2]
    numbers = re.compile(r"\d[\d.,]*")
    assert numbers.sub("#", found[2].strip()) == numbers.sub("#", expected[2].strip())


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files_and_headings(page):
    for target, heading in re.findall(r"\]\(([^):#]+)#?([^)]*)\)", (ROOT / page).read_text()):
        assert (ROOT / target).exists(), target
        if heading:
            assert f"# {heading}\n" in (ROOT / target).read_text().lower(), heading


def test_the_gallery():
    """Its code runs and leaves pictures, which are there."""
    run = runpy.run_path(str(ROOT / "docs/make_images.py"))
    for image, plot in run["pictures"]():
        assert (ROOT / "docs" / image).is_file(), image
        assert plot.get_viz("figure") is not None
        mpl.pyplot.close("all")


def test_the_page_of_the_lecture_s_sampler(capsys):
    """Its code runs; what it draws is near the exact posterior that it prints beside it."""
    text = (ROOT / "docs/sampler.md").read_text()
    scope: dict[str, object] = {}
    for cell in re.findall(r"^```{code-cell} ipython3\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        exec(cell, scope)
    shown = re.findall(r"^E .*?(\d+\.\d+) +(\d+\.\d+)$", capsys.readouterr().out, re.MULTILINE)
    assert len(shown) == 6
    for drawn, exact in shown:
        assert float(drawn) == pytest.approx(float(exact), rel=0.02)


def test_the_shown_lines_of_the_lecture_s_sampler():
    """The excerpts that the page takes from the module are found there, each once or first."""
    source = (ROOT / "hiermodels/lecture.py").read_text()
    text = (ROOT / "docs/sampler.md").read_text()
    excerpts = re.findall(r"^:start-at: (.*)\n:end-at: (.*)$", text, re.MULTILINE)
    assert len(excerpts) == 2
    for start, end in excerpts:
        after = source[source.index(start) :]
        assert 100 < after.index(end) < 700


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
