"""Priors in tables, in text, in sets, and of one's own.

What each of them has to keep is in ``tests/contracts/test_priors_contract.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from scipy import integrate, stats

import hiermodels as hm
from hiermodels.model.priors.registry import parse_prior
from hiermodels.model.priors.sets import weak_scale
from hiermodels.results.report.recipe import snippet


class HalfT:
    """Student's t folded at 0, which SciPy has not."""

    def __init__(self, nu, scale):
        self.law = stats.t(nu, scale=scale)

    def logpdf(self, value):
        return np.log(2) + self.law.logpdf(value)

    def cdf(self, value):
        return 2 * self.law.cdf(value) - 1


PROPER = {
    hm.HalfNormal(2.5): stats.halfnorm(scale=2.5),
    hm.HalfCauchy(0.7): stats.halfcauchy(scale=0.7),
    hm.HalfStudentT(3.5, 1.5): HalfT(3.5, 1.5),
    hm.Exponential(2.0): stats.expon(scale=2),
    hm.Uniform(30.0): stats.uniform(0, 30),
    hm.InverseGamma(2.5, 0.4): stats.invgamma(2.5, scale=0.4),
}


def test_text_states_name_and_values():
    assert str(hm.HalfCauchy(5)) == "HalfCauchy(beta=5)"
    assert str(hm.Normal(0, 10)) == "Normal(mean=0, sd=10)"
    assert str(hm.FlatSD()) == "FlatSD()"


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf])
@pytest.mark.parametrize(
    ("prior", "name"),
    [
        *[(prior, name) for prior in PROPER for name in vars(prior)],
        (hm.Normal(1, 2), "sd"),
        *[(hm.NormalInverseGamma(1, 2, 3, 4), name) for name in ("s", "alpha", "beta")],
    ],
    ids=str,
)
def test_scales_must_be_positive_and_finite(prior, name, value):
    with pytest.raises(hm.SpecError) as refused:
        replace(prior, **{name: value})
    kind = type(prior).__name__
    assert str(refused.value) == f"{kind}({name}={value!r}): expected a positive, finite number"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("prior", "name"), [(hm.Normal(1, 2), "mean"), (hm.NormalInverseGamma(1, 2, 3, 4), "m")]
)
def test_means_must_be_finite(prior, name, value):
    with pytest.raises(hm.SpecError) as refused:
        replace(prior, **{name: value})
    kind = type(prior).__name__
    assert str(refused.value) == f"{kind}({name}={value!r}): expected a finite number"


def test_normal_and_flat_priors_of_means():
    assert hm.Normal(3.0, 0.5).mean_and_precision() == (3.0, 4.0)
    assert hm.Flat().mean_and_precision() == (0.0, 0.0)
    assert hm.Normal(3.0, 0.5).is_proper
    assert not hm.Flat().is_proper
    assert hm.NormalInverseGamma(1, 2, 3, 4).is_proper


@pytest.mark.parametrize("scale", [1e-100, 1e-3, 1e100])
@pytest.mark.parametrize("alpha", [0.5, 1e8])
def test_tables_find_priors_wherever_they_are_and_however_narrow(scale, alpha):
    prior = hm.InverseGamma(alpha, scale * alpha)
    law = stats.invgamma(alpha, scale=scale * alpha)
    drawn = hm.VariancePrior.draw(prior, 20_000, np.random.default_rng(2))
    assert stats.kstest(law.cdf(drawn**2), "uniform").pvalue > 1e-3


class Levels:
    """Stands in for a random generator: uniform numbers that are known."""

    def random(self, size):
        return (np.arange(size) + 0.5) / size


@pytest.mark.parametrize(("prior", "law"), PROPER.items(), ids=map(str, PROPER))
def test_tables_invert_the_distribution_function(prior, law):
    """To the error of the trapezoid rule on 4,001 places."""
    sd = hm.VariancePrior.draw(prior, 1000, Levels())
    drawn = sd if prior.scale == "sd" else sd**2
    np.testing.assert_allclose(law.cdf(drawn), Levels().random(1000), rtol=0, atol=2e-5)


def test_a_draw_from_a_uniform_prior_is_never_0():
    class Least:
        def random(self, size):
            return np.zeros(size)

    assert hm.Uniform(3.0).draw(2, Least()).tolist() == [3.0, 3.0]


def test_tails_too_heavy_for_a_table_are_refused():
    with pytest.raises(hm.SpecError, match=r"give InverseGamma a method draw\(size, rng\)"):
        hm.VariancePrior.draw(hm.InverseGamma(0.01, 1.0), 3, np.random.default_rng(1))


@dataclass(frozen=True)
class Clinging(hm.VariancePrior):
    """``p(log τ) ∝ τ^0.02 exp(−τ)``: much of it at sds below any that can be measured."""

    scale: ClassVar = "sd"
    lower_tail: ClassVar[float] = 0.01
    upper_tail: ClassVar[float] = -np.inf

    def log_density_log_sd(self, t):
        return 0.02 * t - np.exp(t)


def test_lower_tails_too_heavy_for_a_table_are_refused():
    with pytest.raises(hm.SpecError, match=r"give Clinging a method draw\(size, rng\)"):
        Clinging().draw(3, np.random.default_rng(1))


@dataclass(frozen=True)
class Rayleigh(hm.VariancePrior):
    """``p(τ) = τ/s² exp(−τ²/2s²)``: a prior of a user's own."""

    s: float
    scale: ClassVar = "sd"
    lower_tail: ClassVar[float] = 1.0
    upper_tail: ClassVar[float] = -np.inf

    def log_density_log_sd(self, t):
        u = t - np.log(self.s)
        return 2 * u - np.exp(2 * u) / 2


def test_a_user_can_add_a_prior(schools):
    exact = hm.reference(schools, priors={"tau": Rayleigh(4.0)})
    y, sigma = schools["y"].to_numpy(), schools["sigma"].to_numpy()

    def density(tau):
        variance = sigma**2 + tau**2
        mean = (y / variance).sum() / (1 / variance).sum()
        log_density = stats.norm.logpdf(y, mean, variance**0.5).sum()
        return (
            np.exp(log_density) / np.sqrt((1 / variance).sum()) * stats.rayleigh(scale=4).pdf(tau)
        )

    mass, first = (
        integrate.quad(f, 0, 60, epsabs=0, epsrel=1e-11)[0]
        for f in (density, lambda t: t * density(t))
    )
    assert float(exact.mean["tau"]) == pytest.approx(first / mass, rel=1e-8)


def test_a_user_s_prior_can_be_drawn_from():
    drawn = Rayleigh(4.0).draw(50_000, np.random.default_rng(1))
    assert stats.kstest(drawn, stats.rayleigh(scale=4).cdf).pvalue > 1e-3


def test_a_prior_that_bounds_tau(schools):
    """With an upper bound the coordinate changes; the density is cut off, nothing else."""

    exact = hm.reference(schools, priors={"tau": hm.Uniform(6.0)})
    free = hm.reference(schools, priors={"tau": hm.FlatSD()})
    tau = np.array([0.5, 2.0, 5.0, 5.99])
    expected = free.cdf("tau", tau) / free.cdf("tau", 6.0)
    np.testing.assert_allclose(exact.cdf("tau", tau), expected, atol=1e-8)
    assert exact.cdf("tau", [6.0, 7.0]).tolist() == pytest.approx([1.0, 1.0], abs=1e-9)
    draws = hm.fit(schools, priors={"tau": hm.Uniform(6.0)}, random_seed=1).datatree["posterior"]
    assert float(draws["tau"].max()) < 6.0
    assert float(draws["tau"].mean()) == pytest.approx(float(exact.mean["tau"]), abs=0.12)


@pytest.mark.parametrize(
    ("text", "prior"),
    [
        ("HalfNormal(5)", hm.HalfNormal(5)),
        (" Normal( mean=-1.5, sd = 1e-3 ) ", hm.Normal(-1.5, 0.001)),
        ("HalfStudentT(3, sigma=+2)", hm.HalfStudentT(3, 2)),
        ("FlatSD()", hm.FlatSD()),
        ("NormalInverseGamma(0, 10, 2, 3)", hm.NormalInverseGamma(0, 10, 2, 3)),
    ],
)
def test_priors_are_read_as_they_are_written(text, prior):
    assert parse_prior(text) == prior


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected one such as HalfNormal"),
        ("HalfNormal", "expected one such as HalfNormal"),
        ("hm.HalfNormal(5)", "expected one such as HalfNormal"),
        ("HalfNormal(5", "expected one such as HalfNormal"),
        ("HalfNormal(5)\0", "expected one such as HalfNormal"),
        ("(" * 10_000, "expected one such as HalfNormal"),
        ("exit()", "there is no 'exit'; expected one of FlatVariance, FlatSD, .*Normal"),
        ("Prior()", "there is no 'Prior'"),
        ("HalfNormal()", r"missing a required argument: 'sd'; expected HalfNormal\(sd\)"),
        ("HalfNormal(1, 2)", r"too many positional arguments; expected HalfNormal\(sd\)"),
        ("HalfNormal(1, scale=1)", r"argument 'scale'; expected HalfNormal\(sd\)"),
        ("HalfNormal(**{'sd': 1})", "expected numbers"),
        ("HalfNormal(*[1])", "expected numbers"),
        ("HalfStudentT(1)", r"argument: 'sigma'; expected HalfStudentT\(nu, sigma\)$"),
        ("HalfNormal(True)", r"prior 'HalfNormal\(True\)': expected numbers; found True"),
        ("HalfNormal(sd=0j)", r"prior 'HalfNormal\(sd=0j\)': expected numbers; found 0j"),
        ("HalfNormal('5')", "expected numbers; found '5'"),
        ("HalfNormal(1j)", "expected numbers; found 1j"),
        ("HalfNormal(exit())", r"expected numbers; found exit\(\)"),
        (f"HalfNormal(1{'0' * 400})", "expected numbers"),
        ("HalfNormal(-1)", "expected a positive, finite number"),
        ("HalfNormal(1e400)", "expected a positive, finite number"),
    ],
)
def test_priors_that_are_not_understood(text, message):
    with pytest.raises(hm.SpecError, match=message):
        parse_prior(text)


WEAK = {
    "effects": (hm.datasets.load_eight_schools(), {"groups": "school", "se": "sigma"}, "y"),
    "rows": (hm.datasets.load_dyestuff(), {"groups": "batch"}, "yield_"),
    "levels": (hm.datasets.load_pastes(), {"groups": ["batch", "cask"]}, "strength"),
    "small": (hm.datasets.load_baseball(), {"groups": "player", "se": "sigma"}, "y"),
}


@pytest.mark.parametrize("name", WEAK)
def test_weak_priors_have_the_scale_of_the_outcome(name):
    """brms's rule: ``max(2.5, round(mad(y), 1))`` with mad the sd of a normal distribution."""
    data, roles, outcome = WEAK[name]
    mad = stats.median_abs_deviation(data[outcome], scale="normal")
    expected = hm.HalfStudentT(3, max(2.5, round(mad, 1)))
    fit = hm.fit(data, outcome=outcome, **roles, priors="weak", draws=10, random_seed=1)
    priors = dict(fit.spec.priors)
    assert {priors[sd] for sd in fit.spec.sds} == {expected}
    assert {v for k, v in priors.items() if k not in fit.spec.sds} == {hm.Flat()}
    for table in (fit.summary(), fit.reference().summary()):
        assert f"HalfStudentT(nu=3, sigma={expected.sigma:g}), on the sd tau" in repr(table)
    assert weak_scale() == 2.5  # on the scale of a link


def test_the_priors_of_the_lecture_are_the_defaults_spelled_out(schools):
    roles = {"outcome": "y", "groups": "school", "se": "sigma"}
    fits = [hm.fit(schools, **roles, priors=p, draws=10, random_seed=1) for p in (None, "lecture")]
    assert fits[0].spec == fits[1].spec
    assert dict(fits[1].spec.priors) == {"mu": hm.Flat(), "tau": hm.FlatVariance()}


@pytest.mark.parametrize("verb", [hm.fit, hm.reference, hm.calibrate])
def test_other_sets_of_priors_are_refused(schools, verb):
    with pytest.raises(hm.SpecError, match="or 'weak' or 'lecture'; found 'vague'"):
        verb(schools, outcome="y", groups="school", se="sigma", priors="vague")


def test_of_statistics_the_weak_scale_is_not_known():
    roles = {"outcome": "yield_", "groups": "batch"}
    statistics = hm.SufficientStatistics.of(hm.datasets.load_dyestuff(), **roles)
    sd = round(hm.datasets.load_dyestuff()["yield_"].std(), 1)
    remedy = f"'tau': hm.HalfStudentT(3, {sd:g}), 'sigma': hm.HalfStudentT(3, {sd:g})"
    with pytest.raises(hm.SpecError, match=re.escape(remedy)):
        hm.fit(statistics, priors="weak")
    roles = {"outcome": "y", "groups": "school", "se": "sigma"}
    statistics = hm.SufficientStatistics.of(hm.datasets.load_eight_schools(), **roles)
    with pytest.raises(hm.SpecError, match=re.escape("priors={'tau': hm.HalfStudentT(3, …)}")):
        hm.fit(statistics, priors="weak")


def test_weak_priors_are_kept_in_files_and_in_recipes(schools, tmp_path):
    fit = hm.fit(schools, priors="weak", draws=40, random_seed=1)
    again = hm.load(fit.to_netcdf(tmp_path / "weak.nc"))
    assert again.spec == fit.spec
    assert "'tau': hm.HalfStudentT(nu=3.0, sigma=11.1)" in snippet(fit.posterior)
