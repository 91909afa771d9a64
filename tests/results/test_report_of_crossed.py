"""Reports of crossed groups: by column, with how to make the fit again.

One report is made for all tests: its pictures take some seconds.
"""

from __future__ import annotations

import html
import re

import pytest

import hiermodels as hm


@pytest.fixture(scope="module")
def fitted():
    frame, formula = hm.datasets.load_penicillin(), "diameter ~ 1 + (1 | plate) + (1 | sample)"
    priors = {"tau_plate": hm.Fixed(0.9), "tau_sample": hm.HalfNormal(4.0), "sigma": hm.Fixed(0.55)}
    return hm.fit(frame, formula, priors=priors, random_seed=1, draws=200)


@pytest.fixture(scope="module")
def text(tmp_path_factory, fitted):
    path = fitted.report(tmp_path_factory.mktemp("report") / "report.html")
    return html.unescape(re.sub(r"<[^>]+>", " ", path.read_text(encoding="utf-8")))


def test_both_columns_have_their_sizes_and_tables(text):
    words = " ".join(text.split())
    assert "rows of a plate 6, median 6" in words
    assert "rows of a sample 24, median 24" in words
    for column in ("plate", "sample"):
        assert f"Posterior of theta_{column}, the effect of each {column}" in words


def test_each_column_has_its_estimates(text):
    words = " ".join(text.split())
    for column in ("plate", "sample"):
        assert f"Estimates of each {column}, without, with full" in words
        assert f"theta_{column}: from what all else leaves of its rows (open)" in words
        assert f"Ranks of the {column} deviations" in words
    assert "raw: what all else leaves of the group's rows. pooled: no deviation." in words
    assert "raw mean" not in words.lower()
    assert "theta_sample: estimates given the sd of their level" in words
    assert "tau_plate is fixed at 0.9: nothing varies with it" in words


def test_predictions_and_units_that_are_left_out(text, fitted):
    words = " ".join(text.split())
    assert "Beside a known group, those that are crossed with it are new" in words
    shown = fitted.predict().to_frame()
    (sample,) = shown.index[shown["sample"] == "F"]
    assert f"new plate, known sample (new) F {shown.loc[sample, 'mean']:.4g}" in words
    for unit, size in (("row", 144), ("plate", 24), ("sample", 6)):
        assert f"{unit} {size} {fitted.loo(unit).elpd:.4g}" in words
    assert "Left out: it" not in words


def test_the_formula_makes_the_fit_again(text):
    found = re.search(r"'(diameter ~ [^']*)'", text)
    assert found is not None
    spec = hm.fit(hm.datasets.load_penicillin(), found[1], draws=5, priors="weak").spec
    assert spec.nesting == (-1, -1)
    assert spec.groups == ("plate", "sample")
