"""What one is told after a slip of the pen, or with the words of another package."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import hiermodels as hm
from hiermodels.core.suggestions import did_you_mean


@pytest.mark.parametrize(
    ("given", "known", "guess"),
    [
        ("shcool", ["school", "y"], ". Did you mean 'school'?"),
        ("SCHOOL", ["school", "y"], ". Did you mean 'school'?"),
        ("tua", ["mu", "tau"], ". Did you mean 'tau'?"),
        ("zebra", ["school", "y"], ""),
        (3, ["school", "y"], ""),
        ("anything", [], ""),
    ],
)
def test_names_that_are_alike_are_suggested(given, known, guess):
    assert did_you_mean(given, known) == guess


def test_a_name_from_elsewhere_is_suggested_only_where_it_would_do():
    assert did_you_mean("seed", ["random_seed"], {"seed": "random_seed"}).endswith("'random_seed'?")
    assert did_you_mean("seed", ["draws"], {"seed": "random_seed"}) == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 1}, "has no option 'seed'.*mean 'random_seed'"),
        ({"group": "school"}, "has no option 'group'.*mean 'groups'"),
        ({"vi": "sigma"}, "has no option 'vi'.*mean 'variance'"),
        ({"sei": "sigma"}, "has no option 'sei'.*mean 'se'"),
        ({"n_chains": 2}, "has no option 'n_chains'.*mean 'chains'"),
        ({"iter": 100}, "has no option 'iter'.*mean 'draws'"),
        ({"target_accept": 0.9}, "has no option 'target_accept': engine='nuts' has it"),
        ({"engine": "mcmc"}, "found 'mcmc'. Did you mean 'nuts'"),
        ({"engine": "exakt"}, "found 'exakt'. Did you mean 'exact'"),
        ({"family": "gaussian"}, "found 'gaussian'. Did you mean 'normal'"),
        ({"family": "binomal"}, "found 'binomal'. Did you mean 'binomial'"),
        ({"groups": "shcool"}, "no column 'shcool'.*mean 'school'"),
        ({"priors": {"tua": hm.FlatSD()}}, "no parameter 'tua'.*mean 'tau'"),
        ({"priors": {"tau": "HalfCouchy(5)"}}, "'tau': there is no 'HalfCouchy'.*'HalfCauchy'"),
        ({"priors": {"tau": "student_t(3, 0, 5)"}}, "no 'student_t'.*mean 'HalfStudentT'"),
        ({"priors": {"tau": "HalfNormal("}}, "'tau': expected one such as HalfNormal"),
        (
            {"priors": {"tau": "HalfNormal(rate=2)"}},
            "missing a required argument: 'sd'; expected HalfNormal",
        ),
    ],
)
def test_fit_says_what_may_have_been_meant(schools, arguments, message, capsys):
    with pytest.raises(hm.HierModelsError, match=message):
        hm.fit(schools, **arguments)


def test_an_option_that_is_not_known_is_refused_before_anything_is_printed(schools, capsys):
    with pytest.raises(hm.SpecError, match="seed"):
        hm.fit(schools, seed=1)
    assert capsys.readouterr().out == ""


@pytest.fixture(scope="module")
def fit(schools) -> hm.Fit:
    priors = {"mu": "Normal(mu=0, sigma=20)", "tau": "HalfCauchy(5)"}
    return hm.fit(schools, se="sigma", priors=priors, draws=10, random_seed=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda fit: fit.rank(level="schol"), "found 'schol'. Did you mean 'school'"),
        (lambda fit: fit.rank(levle="school"), "argument 'levle'. Did you mean 'level'"),
        (lambda fit: fit.loo(unit="schol"), "found 'schol'. Did you mean 'school'"),
        (lambda fit: fit.summary(hdi_prob=0.9), "'hdi_prob'. Did you mean 'ci_prob'"),
        (lambda fit: fit.summary(["tua"]), "Did you mean 'tau'"),
        (lambda fit: fit.check(replicate="scool"), "Did you mean 'school'"),
    ],
)
def test_methods_say_what_may_have_been_meant(fit, call, message):
    with pytest.raises((hm.SpecError, TypeError), match=message):
        call(fit)


def test_priors_may_be_written_out(fit, schools):
    assert fit.spec.priors["tau"] == hm.HalfCauchy(5.0)
    assert fit.spec.priors["mu"] == hm.Normal(0.0, 20.0)
    table = fit.sensitivity({"wide": {"tau": "HalfNormal(sigma=50)"}})
    assert table.references["wide"].spec.priors["tau"] == hm.HalfNormal(50.0)


@pytest.mark.parametrize(
    ("given", "same"),
    [
        (lambda: hm.HalfNormal(sigma=5), hm.HalfNormal(5)),
        (lambda: hm.Normal(mu=1, sigma=5), hm.Normal(1, 5)),
        (lambda: hm.Normal(1, sigma=5), hm.Normal(1, 5)),
        (lambda: hm.Exponential(lam=4), hm.Exponential(0.25)),
        (lambda: hm.Exponential(scale=4), hm.Exponential(4)),
        (lambda: hm.Uniform(lower=0, upper=3), hm.Uniform(3)),
    ],
)
def test_names_of_pymc_are_taken_where_they_mean_the_same(given, same):
    assert given() == same
    assert eval(repr(given()), vars(hm)) == same


def test_priors_by_the_names_of_pymc_have_the_densities_that_these_mean():
    """PyMC's ``sigma`` is SciPy's ``scale``, and its rate ``lam`` the inverse of one."""
    at = np.array([0.1, 1.0, 2.5])
    pairs = [
        (hm.HalfNormal(sigma=2.0), stats.halfnorm(scale=2.0)),
        (hm.Exponential(lam=4.0), stats.expon(scale=0.25)),
        (hm.Exponential(scale=4.0), stats.expon(scale=4.0)),
        (hm.Uniform(lower=0, upper=3.0), stats.uniform(0, 3.0)),
        (hm.Normal(mu=1.0, sigma=2.0), stats.norm(1.0, 2.0)),
    ]
    for own, theirs in pairs:
        np.testing.assert_allclose(own.log_density(at), theirs.logpdf(at), rtol=1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: hm.HalfNormal(sd=1, sigma=2), "sd: also given as sigma"),
        (lambda: hm.Exponential(lam=0), "lam=0.*expected a positive"),
        (lambda: hm.Exponential(lam=math.inf), "lam=inf.*expected a positive"),
        (lambda: hm.Exponential(mean=1, lam=2), "expected the mean or the rate"),
        (lambda: hm.Uniform(lower=1, upper=2), "lower=1.*expected 0"),
    ],
)
def test_what_means_something_else_is_refused(given, message):
    with pytest.raises(hm.SpecError, match=message):
        given()


def test_standard_errors_as_brms_writes_them(schools):
    own = hm.fit(schools, "y ~ 1 + (1 | school)", se="sigma", draws=5, random_seed=1)
    theirs = hm.fit(schools, "y | se(sigma) ~ 1 + (1 | school)", draws=5, random_seed=1)
    assert theirs.spec == own.spec
    assert theirs.datatree["posterior"].equals(own.datatree["posterior"])
    with pytest.raises(hm.SpecError, match=r"the formula says what se is; leave out se=…"):
        hm.fit(schools, "y | se(sigma) ~ 1 + (1 | school)", se="sigma")
    with pytest.raises(hm.SpecError, match="brms's weights multiply log likelihoods"):
        hm.fit(schools, "y | weights(sigma) ~ 1 + (1 | school)")
