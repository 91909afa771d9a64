"""Reports of crossed groups: by column, with how to make the fit again.

One report is made for all tests: its pictures take some seconds.
"""

from __future__ import annotations

import html
import re

import pytest

import hiermodels as hm


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    frame, formula = hm.datasets.load_penicillin(), "diameter ~ 1 + (1 | plate) + (1 | sample)"
    priors = {"tau_plate": hm.Fixed(0.9), "tau_sample": hm.HalfNormal(4.0), "sigma": hm.Fixed(0.55)}
    fit = hm.fit(frame, formula, priors=priors, random_seed=1, draws=200)
    path = fit.report(tmp_path_factory.mktemp("report") / "report.html")
    return html.unescape(re.sub(r"<[^>]+>", " ", path.read_text(encoding="utf-8")))


def test_both_columns_have_their_sizes_and_tables(text):
    words = " ".join(text.split())
    assert "rows of a plate 6, median 6" in words
    assert "rows of a sample 24, median 24" in words
    for column in ("plate", "sample"):
        assert f"Posterior of theta_{column}, the effect of each {column}" in words


def test_the_formula_makes_the_fit_again(text):
    found = re.search(r"'(diameter ~ [^']*)'", text)
    assert found is not None
    spec = hm.fit(hm.datasets.load_penicillin(), found[1], draws=5, priors="weak").spec
    assert spec.nesting == (-1, -1)
    assert spec.groups == ("plate", "sample")
