"""The page of a fit of counts: all sections, on the outcome's scale."""

from __future__ import annotations

import contextlib

import pytest

import hiermodels as hm
from tests.results.test_report import COMMON, OF_GROUPS, check_structure, write


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    data = hm.datasets.load_sarcoma_baskets()
    with contextlib.redirect_stdout(None):
        fit = hm.fit(data, outcome="responders", trials="patients", groups="subtype", random_seed=1)
    folder = tmp_path_factory.mktemp("page")
    return write(fit, folder, source="baskets.csv", sensitivity=True)


def test_it_has_every_section(parsed):
    check_structure(parsed)
    assert parsed.sections == [*COMMON, *OF_GROUPS, "code"]
    assert "Binomial hierarchical model of responders" in parsed.blocks["h1"]


def test_nothing_failed_but_what_is_refused_for_a_reason(parsed):
    text = " ".join(parsed.text)
    for error in ("KeyError", "AssertionError", "TypeError", "ValueError", "AttributeError"):
        assert error not in text
    pictures = [image["alt"] for image in parsed.all("img")]
    assert len(pictures) == 6
    assert any("Raw proportion and posterior mean of each subtype" in alt for alt in pictures)


def test_both_scales_have_a_table_and_trials_a_line(parsed):
    text = " ".join(parsed.text)
    assert "Posterior of p, the effect of each subtype, on the outcome's scale" in text
    assert "Posterior of theta, the effect of each subtype" in text
    assert "patients: 2 to 29" in text
    assert "zero counts of subtype" in text
    hyperparameters = text.split("Posterior of the sds, means and coefficients")[1][:200]
    assert "p[" not in hyperparameters


def test_the_code_makes_the_fit_again(parsed):
    snippet = next(block for block in parsed.blocks["pre"] if "hm.fit(" in block)
    assert "responders | trials(patients) ~ (1 | subtype)" in snippet
