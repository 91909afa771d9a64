"""Totals of the counts of groups in place of their rows: the same likelihoods, and parts add up."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import mpmath
import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.core.codec import pack
from hiermodels.data.prepare import prepare
from hiermodels.exact.joint import log_joint
from hiermodels.exact.leaf_data import group_covariates, leaves_of
from tests.data import counts

THETA = np.array([-7.0, -2.0, -0.8, 0.0, 1.5])
SECOND = 300  # first row of the second part


def whole(leaves):
    """Log likelihoods of the groups with all constants; (g, K)."""
    return leaves.constant[:, None] + leaves.log_likelihood(THETA)


def by_group(case: str, frame: pd.DataFrame, labels) -> np.ndarray:
    """The same from the rows, in SciPy."""
    each = counts.log_probabilities(case, frame, THETA[:, None])
    keys = frame["visit"] if "| visit" in counts.FORMULAS[case] else frame["hospital"]
    if "ward" in counts.FORMULAS[case]:
        keys = frame["region"] + "/" + frame["ward"].astype(str)
    return np.array([each[:, keys == label].sum(axis=1) for label in labels])


@pytest.mark.parametrize("case", counts.FORMULAS)
def test_totals_have_the_likelihood_of_all_rows(case):
    frame = counts.rows()
    statistics = hm.SufficientStatistics.of(frame, **counts.said(case))
    spec, same = prepare(statistics)
    expected = by_group(case, frame, statistics.labels[-1])
    np.testing.assert_allclose(whole(leaves_of(spec, same)), expected, rtol=1e-12, atol=1e-10)
    _, rows = prepare(frame, **counts.said(case))
    np.testing.assert_allclose(whole(leaves_of(spec, rows)), expected, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(group_covariates(same), group_covariates(rows), rtol=1e-15)


@pytest.mark.parametrize("case", counts.FORMULAS)
def test_parts_add_up_to_the_statistics_of_all_rows(case):
    frame, said = counts.rows(), counts.said(case)
    if "center" in said["formula"]:
        said["formula"] = said["formula"].replace("center(size)", "size")
    levels = {"kind": ["a", "b", "c"]} if "kind" in said["formula"] else None
    parts = [
        hm.SufficientStatistics.of(part, **said, levels=levels)
        for part in (frame[:100], frame[100:SECOND], frame[SECOND:])
    ]
    together = sum(parts)
    spec, same = prepare(together)
    expected = by_group(case, frame, together.labels[-1])
    np.testing.assert_allclose(whole(leaves_of(spec, same)), expected, rtol=1e-12, atol=1e-10)
    assert together.n_rows == len(frame)


def test_totals_are_sums():
    frame = counts.rows()
    sums = frame.groupby("hospital")[["cases", "deaths", "hours", "events"]].sum()
    binomial = hm.SufficientStatistics.of(frame, counts.FORMULAS["trials"])
    sums = sums.loc[binomial.labels[0]]
    assert binomial.totals["outcome"].tolist() == sums["deaths"].tolist()
    assert binomial.totals["trials"].tolist() == sums["cases"].tolist()
    poisson = hm.SufficientStatistics.of(frame, counts.FORMULAS["exposure"])
    np.testing.assert_allclose(poisson.totals["exposure"], sums["hours"], rtol=1e-14)
    assert set(poisson.totals) == {"outcome", "exposure", "log_given"}


def test_what_totals_leave_out_is_the_probability_of_the_rows_given_them():
    """A hypergeometric one, here in rational numbers: rows of 2 of 5, 0 of 7 and 6 of 9."""
    frame = pd.DataFrame({"g": ["a"] * 3 + ["b"], "y": [2, 0, 6, 1], "n": [5, 7, 9, 1]})
    found = hm.SufficientStatistics.of(frame, outcome="y", trials="n", groups="g")
    exact = Fraction(comb(5, 2) * comb(9, 6), comb(21, 8))
    assert found.totals["log_given"][0] == pytest.approx(np.log(float(exact)), rel=1e-14)
    assert found.totals["log_given"][1] == 0


def log_comb(n: int, k: int):
    """``log C(n, k)`` to 30 digits."""
    with mpmath.workdps(30):
        return mpmath.log(mpmath.binomial(n, k))


def test_constants_keep_their_digits_where_counts_are_large():
    """A million trials, twice: the first digits of the Gaussian limit are not lost."""
    n = 10**6
    frame = pd.DataFrame({"g": ["a", "a"], "y": [500_000, 499_000], "n": [n, n]})
    found = hm.SufficientStatistics.of(frame, outcome="y", trials="n", groups="g")
    expected = log_comb(n, 500_000) + log_comb(n, 499_000) - log_comb(2 * n, 999_000)
    assert found.totals["log_given"][0] == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.parametrize("case", ["trials", "exposure and shift"])
def test_the_joint_density_is_the_one_of_the_rows(case):
    frame, rng = counts.rows(), np.random.default_rng(2)
    spec, rows = prepare(frame, **counts.said(case), priors={"tau": hm.HalfNormal(1)})
    _, summed = prepare(hm.SufficientStatistics.of(frame, **counts.said(case)))
    drawn = {"mu": rng.normal(size=3), "tau": rng.uniform(0.5, 2, size=3)}
    drawn |= {"theta": rng.normal(size=(3, rows.n_groups))}
    drawn["beta"] = rng.normal(size=(3, len(spec.covariates)))
    assert rows.labels[0].tolist() == summed.labels[0].tolist()
    expected = log_joint(spec, rows, drawn)
    np.testing.assert_allclose(log_joint(spec, summed, drawn), expected, rtol=1e-12)


@pytest.mark.parametrize("case", ["shifted trials", "rows of 0 and 1", "rows"])
def test_files_keep_totals(case, tmp_path):
    statistics = hm.SufficientStatistics.of(counts.rows(), **counts.said(case))
    statistics.to_netcdf(tmp_path / "statistics.nc")
    loaded = hm.load_statistics(tmp_path / "statistics.nc")
    assert loaded.roles == statistics.roles
    assert loaded.totals.keys() == statistics.totals.keys()
    for name, values in statistics.totals.items():
        assert loaded.totals[name].tolist() == values.tolist()
    assert str(loaded) == str(statistics)


def test_files_of_normal_rows_are_as_earlier_versions_read_them():
    statistics = hm.SufficientStatistics.of(counts.rows(), "hours ~ size + (1 | hospital)")
    assert statistics.totals == {}
    stored = pack(statistics, "statistics", {})["fields"]
    assert "totals" not in stored
    assert "family" not in stored["roles"]["fields"]


def test_observations_are_the_totals():
    statistics = hm.SufficientStatistics.of(counts.rows(), counts.FORMULAS["trials"])
    seen = statistics.observations
    assert seen.dim == "hospital"
    assert seen.observed["deaths"].tolist() == statistics.totals["outcome"].tolist()
    assert seen.constant["cases"].tolist() == statistics.totals["trials"].tolist()
    assert seen.constant["rows_of_hospital"].sum() == statistics.n_rows


def refusal(frame: pd.DataFrame, *formula: str, **more) -> str:
    with pytest.raises(hm.SpecError) as told:
        hm.SufficientStatistics.of(frame, *formula, **more)
    return str(told.value)


REFUSED = {
    "a covariate of rows": (
        "deaths | trials(cases) ~ hours + (1 | hospital)",
        None,
        "rows of the family 'binomial' do not add up: covariate 'hours' differs between rows of "
        "one hospital: 'h4', 'h6', 'h8', 'h0', 'h1' and 4 more",
    ),
    "an offset of rows": (
        "deaths | trials(cases) ~ offset(own) + (1 | hospital)",
        None,
        "rows of the family 'binomial' do not add up: offset 'own' differs between rows of one "
        "hospital",
    ),
    "rows with a size": (
        "events ~ (1 | hospital)",
        hm.NegativeBinomial(2.0),
        "rows of the family 'negative_binomial' do not add up: counts of several rows do not have "
        "the distribution of one; found",
    ),
    "t errors": (
        "own ~ (1 | visit)",
        hm.StudentT(4),
        "rows of the family 'student_t' do not add up: what rows say of a group is no function",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_add_up_is_refused(case):
    formula, family, expected = REFUSED[case]
    errors = {"se": "hours"} if case == "t errors" else {}
    message = refusal(counts.rows(), formula, family=family, **errors)
    assert message.startswith(f"statistics: {expected}")
    assert message.endswith("Fit the rows themselves, in a data frame in memory")


def test_parts_with_different_covariates_or_offsets_do_not_add_up():
    of, frame = hm.SufficientStatistics.of, counts.rows()
    for name, kind in (("size", "covariate"), ("shift", "offset")):
        formula = "deaths | trials(cases) ~ size + offset(shift) + (1 | hospital)"
        moved = frame.assign(**{name: frame[name] + (frame["hospital"] == "h5")})
        with pytest.raises(hm.SpecError, match=f"{kind} '{name}' differs .* one hospital: 'h5'"):
            of(frame, formula) + of(moved, formula)
    single = {"formula": "events ~ (1 | visit)", "family": hm.NegativeBinomial(2.0)}
    with pytest.raises(hm.SpecError, match="found 2 rows of visit 0"):
        of(frame, **single) + of(frame, **single)


def test_parts_of_other_families_or_columns_do_not_add_up():
    of, frame = hm.SufficientStatistics.of, counts.rows()
    one = of(frame, "events ~ (1 | hospital)", family="poisson")
    with pytest.raises(hm.SpecError, match="family is Poisson"):
        one + of(frame, "events ~ (1 | hospital)", family="normal")
    with pytest.raises(hm.SpecError, match="columns is"):
        one + of(frame, "events | rate(hours) ~ (1 | hospital)")
