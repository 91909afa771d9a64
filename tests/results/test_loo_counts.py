"""Groups of counts left out: against figures of another code, and fits without them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.exact import leaf_rows_left_out
from tests.oracles.count_figures import FIGURES, model

NAMES = ["surgical_half_normal1", "surgical_flat_variance", "pumps_half_normal1"]


@pytest.mark.parametrize("name", NAMES)
def test_figures_of_another_code(name):
    data, said = model(name)
    loo = hm.fit(data, **said, draws=10, random_seed=1).loo("group")
    figures = FIGURES[name]
    assert loo.certificate < 1e-6
    assert loo.elpd == pytest.approx(figures["elpd"], abs=1e-8)
    np.testing.assert_allclose(loo.elpd_i, figures["elpd_i"], atol=1e-9)
    by_row = hm.fit(data, **said, draws=10, random_seed=1).loo()
    np.testing.assert_array_equal(by_row.elpd_i, loo.elpd_i)


def test_the_difference_of_two_marginal_likelihoods():
    data, said = model("surgical_proper")
    loo = hm.fit(data, **said, draws=10, random_seed=1).loo("group")
    whole = hm.reference(data, **said).log_marginal_likelihood
    for group in (0, 7):
        rest = hm.reference(data.drop(index=group), **said).log_marginal_likelihood
        assert loo.elpd_i[group].item() == pytest.approx(whole - rest, abs=1e-9)


def test_a_group_that_the_posterior_needs():
    data = hm.datasets.load_surgical().head(5)
    said = {"outcome": "deaths", "trials": "cases", "groups": "hospital"}
    fit = hm.fit(data, **said, draws=10, random_seed=1)
    with pytest.warns(UserWarning, match="'B', 'C', 'D', 'E' cannot be left out"):
        loo = fit.loo("group")
    assert np.isnan(loo.elpd_i).values.tolist() == [False, True, True, True, True]


HALF = {"mu": hm.Normal(0, 3), "tau": hm.HalfNormal(1)}
ROWS = {
    "binomial": (
        {
            "group": list("ccaabbbdd"),
            "y": [3, 5, 0, 1, 9, 7, 8, 4, 4],
            "n": [9, 9, 8, 9, 9, 9, 9, 4, 4],
        },
        {"outcome": "y", "trials": "n"},
    ),
    "rows of 0 and 1": (
        {"group": list("aaaaabbbbcccd"), "y": [0, 0, 1, 1, 0, 1, 1, 0, 1, 0, 0, 0, 1]},
        {"outcome": "y", "family": "binomial"},
    ),
    "poisson with offsets": (
        {
            "group": list("aabbbccd"),
            "y": [3, 0, 11, 8, 14, 2, 2, 5],
            "e": [1.5, 1.0, 2.0, 1.1, 3.0, 1.0, 1.0, 2.5],
            "o": [0.0, 0.2, 0.0, 0.1, -0.3, 0.0, 0.0, 0.4],
        },
        {"outcome": "y", "exposure": "e", "offset": "o"},
    ),
    "binomial with offsets and a covariate": (
        {
            "group": list("aabbbccdd"),
            "y": [3, 1, 5, 6, 4, 2, 2, 5, 7],
            "n": 9,
            "o": [0.0, 0.5, 0.0, 0.0, -0.5, 0.1, 0.1, 0.0, 0.0],
            "x": [0.0, 0, 1, 1, 1, 0, 0, 1, 1],
        },
        {"outcome": "y", "trials": "n", "offset": "o", "covariates": ["x"]},
    ),
    "negative binomial": (
        {
            "group": list("aabbbccd"),
            "y": [3, 0, 11, 8, 14, 2, 2, 5],
            "e": [1.5, 1, 2, 1.1, 3, 1, 1, 2.5],
        },
        {"outcome": "y", "exposure": "e", "family": hm.NegativeBinomial(3.0)},
    ),
    "student t": (
        {
            "group": list("aabbbccd"),
            "y": [0.3, 1.1, -0.4, 0.2, 9.0, 1.3, 1.9, -0.7],
            "s": [0.5, 0.6, 0.4, 0.7, 0.9, 0.5, 0.5, 0.6],
        },
        {"outcome": "y", "se": "s", "family": hm.StudentT(4.0)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_left_out_as_in_fits_without_them(name):
    """The difference of two log marginal likelihoods, of all rows and of all but one.

    Of each row; with a covariate, of one of each group that has rows of its own kind.
    """
    columns, said = ROWS[name]
    data = pd.DataFrame(columns)
    said = {
        "groups": "group",
        "priors": HALF | ({"beta": hm.Normal(0, 2)} if "x" in data else {}),
        **said,
    }
    loo = hm.fit(data, **said, draws=10, random_seed=1).loo()
    assert loo.n_refits == 0
    assert loo.certificate < 1e-6
    whole = hm.reference(data, **said).log_marginal_likelihood
    for row in (1, 3, 6) if "x" in data else range(len(data)):
        rest = hm.reference(data.drop(index=row), **said).log_marginal_likelihood
        assert loo.elpd_i[row].item() == pytest.approx(whole - rest, abs=1e-8)
        again = hm.reference(pd.concat([data, data.iloc[[row]]]), **said).log_marginal_likelihood
        further = loo.elpd_i[row].item() + loo.p_loo_i[row].item()
        assert further == pytest.approx(again - whole, abs=1e-8)


def test_rows_of_an_improper_prior_and_their_order():
    """Whatever the order of the rows, and by the predicted probability given a fit without one."""
    columns, said = ROWS["binomial"]
    data = pd.DataFrame(columns)
    said = {"groups": "group", "priors": {"tau": hm.HalfNormal(1)}, **said}
    loo = hm.fit(data, **said, draws=10, random_seed=1).loo()
    for row in (0, 2, 5):
        rest = hm.fit(data.drop(index=row), **said, draws=10, random_seed=1)
        new = data.iloc[[row]]
        probability = rest.predict(new.drop(columns="y"), random_seed=1).pmf(new["y"].to_numpy())
        assert loo.elpd_i[row].item() == pytest.approx(np.log(np.ravel(probability)[0]), abs=1e-8)
    other = np.random.default_rng(2).permutation(len(data))
    mixed = hm.fit(data.iloc[other].reset_index(drop=True), **said, draws=10, random_seed=1).loo()
    np.testing.assert_allclose(mixed.elpd_i, loo.elpd_i.to_numpy()[other], atol=1e-10)


def test_single_rows_of_groups_in_any_order():
    data, said = model("surgical_half_normal1")
    other = np.random.default_rng(1).permutation(len(data))
    mixed = data.iloc[other].reset_index(drop=True)
    loo = hm.fit(mixed, **said, draws=10, random_seed=1).loo()
    np.testing.assert_allclose(
        loo.elpd_i, np.array(FIGURES["surgical_half_normal1"]["elpd_i"])[other], atol=1e-9
    )


def test_a_row_that_the_posterior_needs():
    """Without the only death of a group too few groups are informative for a flat variance."""
    rows = {"group": list("aabbccdd"), "y": [1, 0, 2, 1, 1, 2, 2, 1], "n": 5}
    data = pd.DataFrame(rows)
    fit = hm.fit(data, outcome="y", trials="n", groups="group", draws=10, random_seed=1)
    with pytest.warns(UserWarning, match="row '0' cannot be left out"):
        loo = fit.loo()
    assert np.isnan(loo.elpd_i).values.tolist() == [row == 0 for row in range(8)]
    assert "informative" in loo.reasons["0"]


def test_too_many_rows_that_differ(monkeypatch):
    monkeypatch.setattr(leaf_rows_left_out, "MAX_PAIRS", 3)
    columns, said = ROWS["binomial"]
    fit = hm.fit(pd.DataFrame(columns), groups="group", priors=HALF, **said, draws=10)
    with pytest.raises(hm.SpecError, match="Say unit='group'"):
        fit.loo()


def test_parts_of_the_rows_are_the_whole(monkeypatch):
    columns, said = ROWS["binomial"]
    fit = hm.fit(pd.DataFrame(columns), groups="group", priors=HALF, **said, draws=10)
    whole = fit.loo().elpd_i
    monkeypatch.setattr(leaf_rows_left_out, "MAX_HELD", 3)
    np.testing.assert_allclose(fit.loo().elpd_i, whole, atol=1e-11)


def test_variance_components_are_on_the_latent_scale():
    data, said = model("surgical_half_normal1")
    fit = hm.fit(data, **said, draws=4000, random_seed=1)
    table = fit.variance_components()
    tau = fit.datatree["posterior"]["tau"].to_numpy().ravel()
    share = tau**2 / (tau**2 + np.pi**2 / 3)
    for name, values in (("tau", tau), ("tau²", tau**2), ("share[group]", share)):
        z = (values.mean() - table.loc[name, "mean"]) / values.std() * np.sqrt(len(values))
        assert abs(z) < 4
        assert table.loc[name, "sd"] == pytest.approx(values.std(), rel=0.05)
        below = (values < table.loc[name, "median"]).mean()
        assert below == pytest.approx(0.5, abs=0.02)
