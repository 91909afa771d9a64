"""Variance components where slopes vary, and with three columns of groups."""

from __future__ import annotations

import numpy as np
import pytest

import hiermodels as hm
from hiermodels.exact.block_reference import BlockReference
from hiermodels.exact.quadrature import IntegratedPosterior
from tests.results.test_predict_slopes import CASES


@pytest.fixture(scope="module")
def sleep():
    """The sleep study."""
    frame = hm.datasets.load_sleepstudy()
    return hm.fit(frame, "Reaction ~ Days + (1 + Days | Subject)", random_seed=1)


@pytest.fixture(scope="module")
def four():
    """Four levels of intercepts, with proper priors."""
    case = CASES["four levels"]
    priors = {name: hm.HalfNormal(1) for name in ("tau_a", "tau_b", "tau_c", "sigma")}
    return hm.fit(case.frame, case.formula, priors=priors, random_seed=1)


def _agree(table, draws, names):
    """Means, sds and quantiles of draws, up to their errors and those of the table's draws."""
    n = next(iter(draws.values())).size
    for name in names:
        own, row = draws[name], table.loc[name]
        assert abs(row["mean"] - own.mean()) < 4.5 * own.std() / np.sqrt(n)
        kurtosis = ((own - own.mean()) ** 4).mean() / own.var() ** 2
        assert abs(row["sd"] / own.std() - 1) < 4.5 * np.sqrt((kurtosis - 1) / 4 / n)
        for column, p in (("eti89_lb", 0.055), ("median", 0.5), ("eti89_ub", 0.945)):
            error = np.sqrt(p * (1 - p) * (1 / n + 1 / 40_000))
            assert abs((own <= row[column]).mean() - p) < 4.5 * error


@pytest.mark.parametrize("day", [0, 9])
def test_shares_at_a_day_are_those_of_the_draws(sleep, day):
    """z'T z, and its part in z'T z + sigma²."""
    kept = sleep.datatree["posterior"]
    (first, second), rho = kept["tau"].to_numpy().reshape(-1, 2).T, kept["rho"].to_numpy().ravel()
    between = first**2 + 2 * day * rho * first * second + day**2 * second**2
    rows = kept["sigma"].to_numpy().ravel() ** 2
    draws = {
        "var[Subject]": between,
        "share[Subject]": between / (between + rows),
        "share[residual]": rows / (between + rows),
        "tau[Days]²": second**2,
        "sigma²": rows,
    }
    _agree(sleep.variance_components(at={"Days": day}), draws, draws)


def test_means_have_no_monte_carlo_error(sleep):
    """E τ² = (E τ)² + Var τ; and E z'T z is a parabola in x whose ends bend by E τ_Days²."""
    table, exact = sleep.variance_components(), sleep.reference()
    for name, label in (("tau[Intercept]", "Intercept"), ("tau[Days]", "Days")):
        mean, sd = (float(m["tau"].sel(effect=label)) for m in (exact.mean, exact.sd))
        assert table.loc[f"{name}²", "mean"] == pytest.approx(mean**2 + sd**2, rel=1e-9)
    at = {x: sleep.variance_components(at={"Days": x}).loc["var[Subject]", "mean"] for x in (-1, 1)}
    bend = at[1] + at[-1] - 2 * table.loc["tau[Intercept]²", "mean"]
    assert bend == pytest.approx(2 * table.loc["tau[Days]²", "mean"], rel=1e-9)
    shares = table.loc[["share[Subject]", "share[residual]"], "mean"]
    assert shares.sum() == pytest.approx(1.0, rel=1e-12)


def test_shares_of_four_levels_are_those_of_the_draws(four):
    """Each level's, the rows', and the correlation of two rows of one innermost group."""
    kept = four.datatree["posterior"]
    parts = {c: kept[f"tau_{c}"].to_numpy().ravel() ** 2 for c in "abc"}
    parts["residual"] = kept["sigma"].to_numpy().ravel() ** 2
    total = sum(parts.values())
    draws = {f"share[{name}]": own / total for name, own in parts.items()}
    draws |= {"icc[c]": 1 - parts["residual"] / total, "tau_b²": parts["b"]}
    table = four.variance_components()
    assert list(table.index[-5:]) == [*(f"share[{c}]" for c in "abc"), "share[residual]", "icc[c]"]
    _agree(table, draws, draws)


@pytest.mark.parametrize(
    ("load", "formula", "options"),
    [
        (hm.datasets.load_pastes, "strength ~ 1 + (1 | batch/cask)", {}),
        (hm.datasets.load_school_calendar, "y ~ 1 + (1 | district/school)", {"se": "se"}),
    ],
)
def test_intercepts_alone_are_as_by_the_tree(load, formula, options):
    """Two lattices and recursions: the same means and sds of shares and of squares of sds."""
    blocks_or_tree = hm.reference(load(), formula, **options)
    tree = IntegratedPosterior.of(blocks_or_tree.spec, blocks_or_tree.data)
    blocks, p = BlockReference.of(tree.spec, tree.data), np.array([0.1, 0.5])
    one, other = blocks.variance_shares(p).rows, tree.variance_shares(p).rows
    assert one.keys() == other.keys()
    for name, row in other.items():
        np.testing.assert_allclose(one[name][:2], row[:2], rtol=1e-6)
        np.testing.assert_allclose(one[name][2:], row[2:], atol=0.02 * row[1] / 0.2)
    names = ["kappa", "tau", *(["sigma"] if tree.spec.has_sigma else [])]
    np.testing.assert_allclose(
        blocks.variance_moments(names), tree.variance_moments(names), rtol=1e-6
    )


def test_fixed_sds_give_fixed_shares():
    """All sds known: the shares are numbers, at any x."""
    case = CASES["outer slopes"]
    fit = hm.fit(case.frame, case.formula, priors=case.priors, random_seed=1, draws=25)
    table, x = fit.variance_components(at={"x": 2.0}), 2.0
    outer, inner, rows = 0.9**2 + 0.5**2 * x**2, 0.7**2, 0.8**2
    total = outer + inner + rows
    expected = {"var[a]": outer, "share[a]": outer / total, "share[b]": inner / total}
    for name, value in expected.items():
        np.testing.assert_allclose(table.loc[name].drop("sd"), value, rtol=1e-12)
        assert table.loc[name, "sd"] == pytest.approx(0, abs=1e-12)


def test_each_groups_own_covariates_are_refused(sleep):
    """A variance between groups needs one x."""
    with pytest.raises(hm.SpecError, match=r"at: a variance between groups is at the same cov"):
        sleep.variance_components(at="own")
    assert "Days = 4.5" in repr(sleep.variance_components(at="means"))


@pytest.mark.filterwarnings("ignore::hiermodels.errors.PrecisionWarning")
def test_moments_that_do_not_exist_are_nan():
    """With five groups τ² of slopes has a mean and no sd: only what lacks one is nan."""
    frame = hm.datasets.load_sleepstudy()
    few = frame[frame["Subject"].isin(frame["Subject"].unique()[:5])]
    table = hm.fit(few, "Reaction ~ Days + (1 + Days | Subject)", random_seed=1, draws=25)
    table = table.variance_components()
    assert table.loc["tau[Days]²", ["mean", "sd"]].isna().tolist() == [False, True]
    assert table.loc["share[Subject]"].notna().all()
    assert "tau[Days]²" in repr(table)
