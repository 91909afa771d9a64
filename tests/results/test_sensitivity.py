"""Posteriors under other priors: distances by hand, published figures, and the warning."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import hiermodels as hm
from hiermodels.exact.noise_free import reference_posterior
from hiermodels.posterior.reference_posterior import ReferencePosterior
from tests.oracles.published import SCHOOLS_FLAT_SD, SCHOOLS_FLAT_VARIANCE


def frame(y, sigma):
    return pd.DataFrame({"group": [f"g{i}" for i in range(len(y))], "y": y, "sigma": sigma})


def test_eight_schools_move_as_published(schools):
    moved = hm.sensitivity(schools, priors={"sd": {"tau": hm.FlatSD()}})
    old, new = SCHOOLS_FLAT_VARIANCE, SCHOOLS_FLAT_SD
    for name in ("mu", "tau", "theta"):
        mean, sd = (np.array(old[name][key]) for key in ("mean", "sd"))
        shift = (np.array(new[name]["mean"]) - mean) / sd
        np.testing.assert_allclose(moved.shifts[name].sel(alternative="sd"), shift, atol=1e-7)
        row = moved.table.loc[("sd", name)]
        assert row["shift_max"] == pytest.approx(np.abs(shift).max(), abs=1e-7)
        assert row["shift_rms"] == pytest.approx(np.sqrt((shift**2).mean()), abs=1e-7)
        ratio = np.exp(np.log(np.array(new[name]["sd"]) / sd).mean())
        assert row["sd_ratio"] == pytest.approx(ratio, abs=1e-7)
    assert moved.table.loc[("sd", "theta"), "where"] == "A"
    assert moved.verdict == (
        "Another prior of tau moves, by so many posterior sds: mu 0.03, tau 0.61, theta 0.31."
    )


def test_the_distance_of_two_distributions_by_adaptive_quadrature():
    """``p(V) ∝ V^{−(k − 1)/2} exp(−S/2V)`` under a flat variance; over τ under a flat sd."""
    y = np.random.default_rng(3).normal(0, 1.3, 8)
    moved = hm.sensitivity(frame(y, 0.8), priors={"sd": {"tau": hm.FlatSD()}})
    law = stats.invgamma(2.5, scale=((y - y.mean()) ** 2).sum() / 2)
    tau = np.geomspace(0.02, 5, 150)
    variance = 1 - law.sf(0.64 + tau**2) / law.sf(0.64)

    def mass(top):
        return integrate.quad(lambda t: law.pdf(0.64 + t**2), 0, top, epsabs=0, limit=200)[0]

    sd = np.array([mass(t) for t in tau]) / mass(np.inf)
    expected = np.abs(variance - sd).max()
    assert moved.table.loc[("sd", "tau"), "kolmogorov"] == pytest.approx(expected, abs=1e-3)
    assert np.isnan(moved.table.loc[("sd", "theta"), "kolmogorov"])


def test_defaults_change_one_prior_at_a_time_with_a_scale_from_the_data():
    data = hm.datasets.load_school_calendar().drop(columns="year")
    moved = hm.sensitivity(data, baseline={"tau": hm.FlatSD()})
    scale = float(f"{data['y'].std():.2g}")
    assert scale == 0.33
    expected = [
        ("kappa", hm.FlatSD()),
        ("kappa", hm.HalfNormal(scale)),
        ("kappa", hm.HalfCauchy(scale)),
        ("kappa", hm.InverseGamma(0.001, 0.001)),
        ("tau", hm.FlatVariance()),
        ("tau", hm.HalfNormal(scale)),
        ("tau", hm.HalfCauchy(scale)),
        ("tau", hm.InverseGamma(0.001, 0.001)),
    ]
    assert list(moved.references) == [f"{name} ~ {prior}" for name, prior in expected]
    for (name, prior), reference in zip(expected, moved.references.values(), strict=True):
        assert dict(reference.spec.priors) == {**moved.baseline.spec.priors, name: prior}
    assert dict(moved.refused) == {}
    assert list(moved.shifts["alternative"]) == list(moved.references)
    assert len(moved.verdict.splitlines()) == 2


def test_changes_at_the_top_matter_less_at_the_bottom():
    """The lecture's claim, on strengths of a paste in casks in batches."""
    data = hm.datasets.load_pastes()
    changed = {"half-Cauchy": {"kappa": hm.HalfCauchy(1)}}
    moved = hm.sensitivity(data, groups=["batch", "cask"], priors=changed)
    shift = moved.table.loc["half-Cauchy", "shift_max"]
    assert shift["kappa"] > shift["mu"] > shift["tau"] > shift["theta"] > shift["sigma"]
    assert shift["theta"] < 0.1


def test_moments_that_do_not_exist_are_replaced_by_quantiles(schools):
    four = schools.head(4)
    moved = hm.sensitivity(four, priors={"sd": {"tau": hm.HalfNormal(5)}})
    assert moved.table["by"].to_dict() == {
        ("sd", "mu"): "median",
        ("sd", "tau"): "median",
        ("sd", "theta"): "mean",
    }
    q = [stats.norm.cdf(-1), 0.5, stats.norm.cdf(1)]
    old = moved.baseline.quantile(q, ["tau"])["tau"].to_numpy()
    new = moved.references["sd"].quantile(q, ["tau"])["tau"].to_numpy()
    row = moved.table.loc[("sd", "tau")]
    assert row["shift_max"] == pytest.approx(abs(new[1] - old[1]) / ((old[2] - old[0]) / 2))
    assert row["sd_ratio"] == pytest.approx((new[2] - new[0]) / (old[2] - old[0]))


def test_the_unit_of_the_outcome_does_not_matter(schools):
    plain = hm.sensitivity(schools, priors={"a": {"tau": hm.HalfNormal(3)}})
    tenfold = schools.assign(y=10 * schools["y"] + 7, sigma=10 * schools["sigma"])
    scaled = hm.sensitivity(tenfold, priors={"a": {"tau": hm.HalfNormal(30)}})
    np.testing.assert_allclose(scaled.shifts["theta"], plain.shifts["theta"], atol=1e-8)
    np.testing.assert_allclose(scaled.table["sd_ratio"], plain.table["sd_ratio"], rtol=1e-8)


def test_a_posterior_that_does_not_exist_is_left_out_or_refused(schools):
    three = schools.head(3)
    moved = hm.sensitivity(three, baseline={"tau": hm.FlatSD()})
    assert list(moved.refused) == ["tau ~ FlatVariance()"]
    assert moved.table.loc["tau ~ FlatVariance()", "by"].to_dict() == {
        "(all)": "not computed: the posterior does not exist"
    }
    assert "Another prior of tau moves" in moved.verdict
    with pytest.raises(hm.ImproperPosteriorError):
        hm.sensitivity(
            three,
            baseline={"tau": hm.FlatSD()},
            priors={"flat": {"tau": hm.FlatVariance()}},
        )


def test_priors_of_coefficients_may_change_too():
    rng = np.random.default_rng(1)
    data = frame(rng.normal(size=10), 0.5).assign(x=rng.normal(size=10))
    fit = hm.fit(data, "y ~ x + (1 | group)", se="sigma", draws=1, chains=1)
    moved = fit.sensitivity({"sceptical": {"beta": hm.Normal(0, 0.1)}})
    assert moved.references["sceptical"].spec.priors["beta[x]"] == hm.Normal(0, 0.1)
    assert moved.shifts["beta"].dims == ("alternative", "coef")
    assert moved.verdict.startswith("Another prior of beta[x] moves")


@pytest.mark.parametrize(
    ("alternatives", "message"),
    [
        ({}, "expected at least one other prior"),
        ({"same": {"tau": hm.FlatVariance()}}, "'same' changes no prior"),
        ({"tau": hm.FlatSD()}, "alternatives by name, each a mapping"),
        ({"a": {"kappa": hm.FlatSD()}}, "no parameter 'kappa'"),
    ],
)
def test_wrong_alternatives_are_refused(schools, alternatives, message):
    with pytest.raises(hm.SpecError, match=message):
        hm.sensitivity(schools, priors=alternatives)


def test_one_population_is_refused():
    data = pd.DataFrame({"y": [1.0, 2.0, 4.0]})
    with pytest.raises(hm.SpecError, match="no group-level variance"):
        hm.sensitivity(data, groups=[], outcome="y")


def test_the_display_has_the_table_and_the_verdict(schools):
    moved = hm.sensitivity(schools)
    assert "tau ~ FlatVariance(), on the variance tau²" in repr(moved)
    assert "no Monte Carlo error" in repr(moved)
    assert moved.verdict in repr(moved)
    assert "<table" in moved._repr_html_()


def warned(data, formula=None, **options):
    """The one warning of a fit, which points to the line that called it."""
    with pytest.warns(hm.PriorWarning) as caught:
        fit = hm.fit(data, formula, draws=10, random_seed=1, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    return fit, str(caught[0].message)


def three_figures(value):
    return f"{float(f'{float(value):.3g}'):g}"


def test_a_default_that_drives_the_answer_is_told_once_with_the_figures(schools):
    fit, text = warned(schools)
    for one, sd in (
        (hm.reference(schools, priors={"tau": hm.FlatSD()}), 10.1),
        (fit.reference(), 15.3),
    ):
        square = one.mean["tau"] ** 2 + one.sd["tau"] ** 2 + one.sd["mu"] ** 2
        assert float(three_figures(np.sqrt(square))) == sd
    assert text.startswith("8 'school' groups say little of tau: its default prior matters.")
    assert (
        "Under FlatSD(), on the sd tau, in place of FlatVariance(), on the variance tau², the "
        "posterior mean of tau is 6.58 in place of 11.4 (0.61 posterior sd away), the posterior "
        "mean of theta[A] is 11.4 in place of 14.6 (0.31 posterior sd away), the sd of a new "
        "school is 10.1 in place of 15.3 (0.34 posterior sd away)."
    ) in text
    assert text.endswith(
        "such as priors={'tau': hm.HalfNormal(…)} or priors='weak'; .sensitivity() compares them."
    )


def test_the_warned_figures_are_those_of_three_levels_too():
    data = hm.datasets.simulate_classrooms(5, random_seed=0)
    fit, text = warned(data)
    moved = fit.sensitivity({"sd": {"kappa": hm.FlatSD()}})
    row = moved.table.loc[("sd", "mu")]
    old, new = moved.baseline, moved.references["sd"]
    unit = {"school": row["where"]}
    means = [three_figures(one.mean["mu"].sel(unit)) for one in (new, old)]
    assert f"mean of mu[{row['where']}] is {means[0]} in place of {means[1]}" in text
    assert f"({row['shift_max']:.2f} posterior sd away)" in text


def test_four_schools_of_three_classrooms_are_warned_of():
    """Neither E κ nor E λ exists, and κ's median halves under the other flat prior."""
    sizes = {"classrooms": (3, 3), "pupils": (5, 10)}
    data = hm.datasets.simulate_classrooms(4, **sizes, random_seed=2)
    fit, text = warned(data)
    assert "4 'school' groups are too few for a mean of lam, kappa (needs 5)" in text
    moved = fit.sensitivity({"sd": {"kappa": hm.FlatSD()}})
    medians = [
        float(one.quantile(0.5, ["kappa"])["kappa"].item())
        for one in (moved.references["sd"], moved.baseline)
    ]
    said = text.split("posterior median of kappa is ")[1].split(" (")[0].split(" in place of ")
    np.testing.assert_allclose([float(value) for value in said], medians, rtol=0.01)


def test_five_schools_with_a_covariate_are_warned_of(schools):
    data = schools.head(5).assign(x=[0.3, -1.0, 0.5, 2.0, 1.1])
    _, text = warned(data, "y ~ x + (1 | school)", se="sigma")
    assert "5 'school' groups are too few for a mean of mu, tau, theta, beta (needs 6)" in text
    _, text = warned(data, "y ~ x + (1 | school)", se="sigma", priors={"beta": hm.Normal(0, 1)})
    assert "a mean of" not in text


def test_many_groups_that_say_little_are_warned_of(baseball):
    """Eighteen players: τ moves by 0.60 posterior sd, and Clemente by 0.34."""
    fit, text = warned(baseball)
    moved = fit.sensitivity({"sd": {"tau": hm.FlatSD()}}).table
    for name in ("tau", "theta"):
        assert f"({moved.loc[('sd', name), 'shift_max']:.2f} posterior sd away)" in text
    assert "theta[Clemente]" in text


def test_an_inner_level_is_warned_of_too():
    """Thirty certain schools, of two classrooms each that hardly differ."""
    rng = np.random.default_rng(4)
    school = np.repeat(np.arange(30), 2)
    data = pd.DataFrame({"s": [f"s{i}" for i in school], "c": [f"c{i}" for i in range(60)]})
    data["y"] = 5 * rng.normal(size=30)[school] + 0.1 * rng.normal(size=60)
    roles = {"outcome": "y", "groups": ["s", "c"], "se": "se"}
    _, text = warned(data.assign(se=0.5), **roles)
    assert text.startswith("60 'c' groups say little of tau")
    assert "kappa" not in text


@pytest.mark.parametrize(
    ("data", "priors"),
    [
        (hm.datasets.load_eight_schools(), {"tau": hm.FlatVariance()}),
        (hm.datasets.load_eight_schools(), "lecture"),
        (hm.datasets.load_eight_schools(), "weak"),
        (hm.datasets.load_eight_schools().head(2), {"tau": hm.HalfCauchy(1)}),
        (frame(np.random.default_rng(1).normal(0, 4, 30), 0.5), None),
    ],
    ids=["stated", "all stated", "weak", "proper", "certain"],
)
def test_no_warning_where_none_is_due(data, priors):
    with warnings.catch_warnings():
        warnings.simplefilter("error", hm.PriorWarning)
        hm.fit(data, priors=priors, draws=10, random_seed=1)


def test_nothing_moves_by_more_than_the_bound_that_silences_the_look():
    """``|E₁ f − E₀ f| ≤ sd(f) cv(1/τ)``, whatever f is: with it nothing else is computed."""
    for seed in range(4):
        y = np.random.default_rng(seed).normal(0, 2.0, 25)
        exact = hm.reference(frame(y, 0.7))
        moved = hm.sensitivity(frame(y, 0.7), priors={"sd": {"tau": hm.FlatSD()}}).table
        tau = exact.marginal.sds(exact.lattice.points)[:, 0]
        first, second = (exact.lattice.weights @ tau**-m for m in (1.0, 2.0))
        bound = np.sqrt(second / first**2 - 1)
        assert moved["shift_max"].max() <= bound < 0.3


def test_sets_of_priors_have_names(schools):
    moved = hm.sensitivity(schools, priors={"weak": "weak"})
    assert moved.references["weak"].spec.priors["tau"] == hm.HalfStudentT(3, 11.1)
    back = hm.sensitivity(schools, baseline="weak", priors={"lecture": "lecture"})
    assert back.references["lecture"].spec.priors["tau"] == hm.FlatVariance()
    assert back.baseline.spec == moved.references["weak"].spec


def test_the_notorious_alternative_is_computed_for_few_classrooms():
    """It was refused, or took minutes, with 6 to 10 schools of 2 or 3 classrooms."""
    pupils = hm.datasets.simulate_classrooms(8, classrooms=(2, 3), pupils=(5, 10), random_seed=2)
    prior = hm.InverseGamma(0.001, 0.001)
    roles = {"outcome": "score", "groups": ["school", "classroom"]}
    moved = hm.sensitivity(pupils, **roles, priors={"notorious": {"kappa": prior}})
    (other,) = moved.references.values()
    assert other.certificate < 1e-8
    assert len(other.lattice) < 200_000
    assert moved.table.loc[("notorious", "kappa"), "shift_max"] > 0.1


@pytest.fixture
def without_half_cauchy(monkeypatch):
    """Make the posterior under a half-Cauchy prior one that cannot be integrated."""

    def reference(spec, data, tol):
        if any(isinstance(prior, hm.HalfCauchy) for prior in spec.priors.values()):
            raise hm.PrecisionError("two spacings differ")
        return reference_posterior(spec, data, tol)

    monkeypatch.setattr("hiermodels.results.alternatives.reference_posterior", reference)


def test_an_alternative_that_cannot_be_computed_is_a_row_with_its_reason(
    schools, without_half_cauchy
):
    fit = hm.fit(schools, random_seed=1, draws=100)
    for moved in (
        fit.sensitivity(),
        fit.sensitivity({"half-Cauchy": {"tau": hm.HalfCauchy(5)}, "sd": {"tau": hm.FlatSD()}}),
    ):
        (name,) = moved.refused
        assert "HalfCauchy" in name or name == "half-Cauchy"
        row = moved.table.loc[(name, "(all)")]
        assert row["by"] == "not computed: no quadrature gives three digits"
        assert np.isnan(row["shift_max"])
        assert moved.refused[name] == "two spacings differ"
        assert name not in moved.references
        assert list(moved.table.index.unique("alternative")).index(name) < len(moved.references)
        assert moved.verdict.startswith("Another prior of tau moves, by so many posterior sds: mu")
        assert len(moved.plot().data["prior"]) == 1 + len(moved.references)
    nothing = fit.sensitivity({"half-Cauchy": {"tau": hm.HalfCauchy(5)}})
    assert list(nothing.table["by"]) == ["not computed: no quadrature gives three digits"]
    assert "No other prior could be compared." in repr(nothing)


def test_an_alternative_with_fewer_digits_says_how_many(schools, monkeypatch):
    digits = property(lambda self: 3 if self.spec.priors["tau"] == hm.FlatSD() else None)
    monkeypatch.setattr(ReferencePosterior, "digits", digits)
    moved = hm.sensitivity(
        schools, priors={"sd": {"tau": hm.FlatSD()}, "half": {"tau": hm.HalfNormal(5)}}
    )
    assert "\nsd: 3 digits: off by" in repr(moved)
    assert "half: " not in repr(moved)
    assert moved.table.attrs["digits"] == 3


def test_other_priors_of_log_odds_have_the_scale_1():
    hospitals = hm.datasets.load_surgical()
    roles = {"outcome": "deaths", "trials": "cases", "groups": "hospital"}
    moved = hm.sensitivity(hospitals, **roles, baseline={"tau": hm.FlatSD()})
    names = moved.table.index.unique("alternative")
    assert {"tau ~ HalfNormal(sd=1)", "tau ~ HalfCauchy(beta=1)"} <= set(names)
