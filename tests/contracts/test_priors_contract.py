"""What every registered prior has to keep, each by itself.

A new prior takes part as soon as it stands in ``PRIORS``; it needs a line in ``LAWS`` below, which
says the same in SciPy.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass, replace

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from scipy import integrate, stats

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.standardize import standardize
from hiermodels.io import netcdf
from hiermodels.mcmc.model import build_model
from hiermodels.mcmc.transforms import PartialCorrelations
from hiermodels.model.priors.registry import PRIORS, parse_prior

VALUES = (2.5, 1.5, 3.5, 0.75)  # parameters, in order
SINGLE = 1e-7  # PyMC has some constants in 32 bits
PLAIN = {"mode": "FAST_COMPILE"}  # a few evaluations are not worth compiling for


class Half:
    """A distribution that is symmetric around 0, folded there."""

    def __init__(self, whole):
        self.whole = whole

    def logpdf(self, value):
        return np.log(2) + self.whole.logpdf(value)

    def cdf(self, value):
        return 2 * self.whole.cdf(value) - 1


class Power:
    """The improper density ``value**exponent``."""

    def __init__(self, exponent):
        self.exponent = exponent

    def logpdf(self, value):
        return self.exponent * np.log(np.abs(value))


# The law of each prior on the scale that it is stated on, from SciPy; None of what has no density.
# Of a mean and a variance together it is the law of the mean given σ = 1.
LAWS = {
    "FlatVariance": lambda p: Power(0),
    "FlatSD": lambda p: Power(0),
    "Jeffreys": lambda p: Power(-1),
    "HalfNormal": lambda p: stats.halfnorm(scale=p.sd),
    "HalfCauchy": lambda p: stats.halfcauchy(scale=p.beta),
    "HalfStudentT": lambda p: Half(stats.t(p.nu, scale=p.sigma)),
    "Exponential": lambda p: stats.expon(scale=p.mean),
    "Uniform": lambda p: stats.uniform(0, p.upper),
    "InverseGamma": lambda p: stats.invgamma(p.alpha, scale=p.beta),
    "Fixed": lambda p: None,
    "Flat": lambda p: Power(0),
    "Normal": lambda p: stats.norm(p.mean, p.sd),
    "NormalInverseGamma": lambda p: stats.norm(p.m, p.s),
}


def example(kind):
    return kind(**{f.name: v for f, v in zip(fields(kind), VALUES, strict=False)})


# Of covariances: in PyMC below, else in tests/model/test_covariance_priors.py.
OF_COVARIANCES = {"LKJ": hm.LKJ, "FlatCovariance": hm.FlatCovariance}
ALONE = {name: kind for name, kind in PRIORS.items() if name not in OF_COVARIANCES}
MEMBERS = [example(kind) for kind in ALONE.values()]


def law(prior):
    name = type(prior).__name__
    assert name in LAWS, f"say in LAWS, in {__name__}, what {name} is in SciPy"
    return LAWS[name](prior)


def of_sds(priors=MEMBERS):
    """Those of sds that have a density."""
    return [p for p in priors if isinstance(p, hm.VariancePrior) and law(p)]


def of_means(priors=MEMBERS):
    return [p for p in priors if not isinstance(p, hm.VariancePrior)]


def proper(priors):
    return [p for p in priors if p.is_proper]


def each(priors):
    return pytest.mark.parametrize("prior", priors, ids=str)


def inside(prior):
    """Sds that the prior allows, on the prior's own scale."""
    sd = np.array([0.01, 0.1, 0.7, 1.0, 2.0])
    return sd if prior.scale == "sd" else sd**2


def name_in_a_model(prior):
    return "tau" if isinstance(prior, hm.VariancePrior) else "mu"


def logp(variable, values):
    """Log density of a PyMC variable by itself, at values on its own scale."""
    value = variable.type("value")
    compiled = pm.compile([value], pm.logp(variable, value), **PLAIN)
    return np.array([float(compiled(v)) for v in values])


# What it says of itself.


def test_every_public_prior_is_registered():
    public = [kind for kind in vars(hm).values() if isinstance(kind, type)]
    kinds = {k for k in public if issubclass(k, hm.Prior) and not k.__abstractmethods__}
    assert set(PRIORS.values()) == kinds


@each(MEMBERS)
def test_it_is_a_frozen_record(prior):
    assert is_dataclass(prior)
    with pytest.raises(FrozenInstanceError):
        prior.anything = 1.0
    assert hash(prior) == hash(example(type(prior)))


@each(MEMBERS)
def test_its_repr_can_be_evaluated(prior):
    assert eval(repr(prior), dict(PRIORS)) == prior
    assert parse_prior(repr(prior)) == prior
    assert parse_prior(str(prior)) == prior


@each([p for p in MEMBERS if fields(p)])
@pytest.mark.parametrize("value", [np.nan, np.inf, "2", None, True, 10**400])
def test_parameters_are_finite_numbers(prior, value):
    for field in fields(prior):
        with pytest.raises(hm.SpecError, match=rf"{type(prior).__name__}.*{field.name}"):
            replace(prior, **{field.name: value})


@pytest.fixture(scope="module")
def fit(schools):
    return hm.fit(schools, draws=5)


@pytest.mark.parametrize("kind", ALONE.values(), ids=ALONE)
def test_it_survives_a_file(kind, fit, tmp_path):
    """With numbers that no short decimal has."""
    awkward = (1 / 3, 1e-300, 5, np.float64(np.pi))
    prior = kind(*awkward[: len(fields(kind))])
    if isinstance(prior, hm.NormalInverseGamma):
        spec = hm.Spec("y", (), priors={"theta": prior})
    else:
        spec = replace(fit.spec, priors={name_in_a_model(prior): prior})
    path = netcdf.save(replace(fit.posterior, spec=spec), tmp_path / "fit.nc")
    found = netcdf.load(path).spec
    assert found == spec
    assert prior in found.priors.values()


# Its density, against SciPy, and its tails and draws, against the density.


@each(of_sds())
def test_the_density_of_an_sd_is_scipys(prior):
    np.testing.assert_allclose(
        prior.log_density(inside(prior)), law(prior).logpdf(inside(prior)), rtol=1e-12, atol=1e-13
    )


@each(of_means())
def test_the_density_of_a_mean_is_scipys(prior):
    value, sigma = np.array([-20.0, -1.0, 0.3, 5.0]), np.ones(4)
    scaled = (sigma,) if isinstance(prior, hm.NormalInverseGamma) else ()
    found = prior.log_density(value, *scaled)
    np.testing.assert_allclose(found, law(prior).logpdf(value), rtol=1e-12, atol=1e-13)


@each(of_sds())
def test_the_density_of_the_log_is_that_of_the_sd(prior):
    sd = np.array([0.01, 0.3, 2.0])
    own, slope = (sd, 1.0) if prior.scale == "sd" else (sd**2, 2 * sd)
    expected = prior.log_density(own) + np.log(slope)
    np.testing.assert_allclose(prior.log_density_sd(sd), expected, rtol=1e-12, atol=1e-13)
    whole = prior.log_density_log_sd(np.array([-1, 0]))
    np.testing.assert_array_equal(whole, prior.log_density_log_sd(np.array([-1.0, 0.0])))


@each(proper(of_sds()))
def test_a_proper_density_integrates_to_one(prior):
    end = min(40.0, np.log(prior.upper))
    mass = integrate.quad(lambda t: np.exp(prior.log_density_log_sd(t)), -40, end, limit=500)[0]
    assert mass == pytest.approx(1, abs=1e-8)


@each(of_sds())
def test_tails_are_as_stated(prior):
    """Slopes of ``log p(log τ)`` against log τ² far out; whether it is proper follows."""
    for t, stated in ((-30.0, prior.lower_tail), (30.0, prior.upper_tail)):
        values = prior.log_density_log_sd(np.array([t, t + 1e-3]))
        if np.isinf(stated):
            assert values[0] < -1e6  # faster than any power of τ
        else:
            assert (values[1] - values[0]) / 2e-3 == pytest.approx(stated, abs=1e-6)


@each(of_sds())
def test_the_gaussian_tail_is_as_stated(prior):
    """Minus the slope of ``log p(τ)`` against τ² far out."""
    sd = np.array([1e6, 1.001e6])
    first, second = prior.log_density_sd(sd)
    if np.isfinite(prior.gaussian_tail):
        slope = (second - first) / (sd[1] ** 2 - sd[0] ** 2)
        assert -slope == pytest.approx(prior.gaussian_tail, rel=1e-6, abs=1e-5)
    else:
        assert first == second == -np.inf


def test_a_fixed_sd_has_no_tail():
    assert hm.Fixed(1e9).gaussian_tail == np.inf


@each(of_sds())
def test_nothing_lies_beyond_the_upper_end(prior):
    if np.isfinite(prior.upper):
        beyond = np.log(prior.upper) + np.array([1e-9, 1.0, 100.0])
        assert (prior.log_density_log_sd(beyond) == -np.inf).all()


@each([p for p in MEMBERS if law(p)])
def test_it_is_proper_where_scipy_has_the_law(prior):
    assert prior.is_proper == (not isinstance(law(prior), Power))


@each(proper(of_sds()))
@pytest.mark.parametrize("draw", [None, hm.VariancePrior.draw], ids=["own", "tabulated"])
def test_draws_of_an_sd_follow_the_density(prior, draw):
    sd = (draw or type(prior).draw)(prior, 50_000, np.random.default_rng(1))
    assert sd.shape == (50_000,)
    own = sd if prior.scale == "sd" else sd**2
    assert stats.kstest(own, law(prior).cdf).pvalue > 1e-3


@each([p for p in proper(of_means()) if isinstance(p, hm.CoefficientPrior)])
def test_draws_of_a_mean_follow_the_density(prior):
    drawn = prior.draw(50_000, np.random.default_rng(1))
    assert drawn.shape == (50_000,)
    assert stats.kstest(drawn, law(prior).cdf).pvalue > 1e-3


@each([p for p in MEMBERS if not p.is_proper])
def test_an_improper_prior_has_no_draws(prior):
    with pytest.raises(hm.SpecError, match="is improper: there is nothing to draw from"):
        prior.draw(3, np.random.default_rng(1))


# Its form in PyMC, against the density and the exact engine.


@each(of_sds())
def test_pymc_has_the_same_density_of_an_sd(prior):
    sd = np.array([0.1, 0.7, 2.0])
    with pm.Model():
        variable = prior.to_pymc(pm, "tau", 1.0)
    assert variable.name == "tau"
    np.testing.assert_allclose(logp(variable, sd), prior.log_density_sd(sd), rtol=0, atol=SINGLE)


@each(of_means())
def test_pymc_has_the_same_density_of_a_mean(prior):
    value, sigma, shift = np.array([-20.0, 0.3, 5.0]), np.full(3, 1.3), 0.25
    scaled = {"sigma": sigma[0]} if isinstance(prior, hm.NormalInverseGamma) else {}
    with pm.Model():
        variable = prior.to_pymc(pm, "mu", 0.0, shift=shift, **scaled)
    expected = prior.log_density(value - shift, *([sigma] if scaled else []))
    np.testing.assert_allclose(logp(variable, value), expected, rtol=1e-12, atol=1e-13)


@each([p for p in MEMBERS if fields(p)])
def test_pymc_states_whole_numbers_in_double(prior):
    """PyTensor takes the logarithm of a whole number in 32 bits."""
    whole = type(prior)(*(i + 2 for i, _ in enumerate(fields(prior))))
    floats = replace(whole, **{f.name: float(getattr(whole, f.name)) for f in fields(whole)})
    found = []
    for stated in (whole, floats):
        with pm.Model() as model:
            variable = stated.to_pymc(pm, "x", 1.0)
        found.append(
            logp(variable, [0.3, 0.9]) if model.free_RVs else np.array(variable.eval(**PLAIN))
        )
    np.testing.assert_array_equal(*found)


@each(proper(of_sds()))
def test_pymc_draws_from_the_same_law(prior):
    with pm.Model():
        variable = prior.to_pymc(pm, "tau", 1.0)
    sd = pm.draw(variable, 4000, random_seed=1, **PLAIN)
    own = sd if prior.scale == "sd" else sd**2
    assert stats.kstest(own, law(prior).cdf).pvalue > 1e-3


@each([p for p in MEMBERS if not p.is_proper])
def test_pymc_draws_no_number_from_an_improper_prior(prior):
    with pm.Model() as model:
        variable = prior.to_pymc(pm, "x", 1.0)
    assert np.isnan(pm.draw(variable, **PLAIN))
    assert f"x ~ {type(prior).__name__}" in model.str_repr()


@each([p for p in of_sds() if not isinstance(p, hm.Jeffreys)])
def test_pymc_and_the_exact_engine_have_one_marginal_posterior(prior, schools):
    """Of tau, with everything else integrated out; both log densities at the same places."""
    spec, data = prepare(schools, priors={"tau": prior})
    marginal = Marginal.of(spec, standardize(data))
    model = build_model(spec, data, "marginal")
    (value,) = model.value_vars
    places = (-2.0, 0.3, 1.7)
    to_tau = pm.compile([value], model.replace_rvs_by_values([model["tau"]]), **PLAIN)
    sd = np.array([float(to_tau(v)[0]) for v in places])
    u = marginal.coordinate(0, sd)
    exact = marginal.log_density(u[:, None]) - marginal.axes[0].log_slope(u) - np.log(sd)
    compiled = model.compile_logp(jacobian=False, **PLAIN)
    found = [compiled({value.name: v}) for v in places]
    np.testing.assert_allclose(found, exact, rtol=1e-9, atol=SINGLE)


# Priors of covariances: their form in PyMC, of two effects and of three.


def correlations(prior, effects):
    """A model with the correlations of so many effects alone."""
    several = {"transform": PartialCorrelations(effects)} if effects > 2 else {}
    with pm.Model() as model:
        prior.to_pymc(pm, "rho", effects=effects, **several)
    return model


@pytest.mark.parametrize("prior", [hm.LKJ(0.7), hm.LKJ(2.5), hm.FlatCovariance()], ids=str)
@pytest.mark.parametrize("effects", [2, 3])
def test_pymc_has_the_same_density_of_correlations(prior, effects):
    """Also in the coordinate that is sampled, by the derivatives of the way back."""
    model = correlations(prior, effects)
    rho = np.array([[0.3, -0.2, 0.5], [-0.9, 0.4, -0.6], [0.9, 0.9, -0.9]])[
        :, : 1 + 2 * (effects - 2)
    ]
    rho = rho if effects > 2 else rho[:2]
    flat = isinstance(prior, hm.FlatCovariance)
    expected = np.zeros(2) if flat else prior.log_density(rho[:2])
    given = rho if effects > 2 else rho[:, 0]
    found = np.array([pm.logp(model["rho"], value).eval(**PLAIN) for value in given])
    np.testing.assert_allclose(found[:2], expected, rtol=1e-12, atol=1e-13)
    if effects > 2:
        assert found[2] == -np.inf  # no matrix with these correlations is positive definite
    (value,) = model.value_vars
    transform = model.rvs_to_transforms[model["rho"]]
    inputs = model["rho"].owner.inputs
    place = transform.forward(pt.as_tensor(given[1]), *inputs).eval(**PLAIN)
    back = transform.backward(value, *inputs)
    slopes = pt.jacobian(back, value) if effects > 2 else pt.grad(back, value)
    np.testing.assert_allclose(back.eval({value: place}, **PLAIN), given[1], rtol=1e-12)
    log_det = np.linalg.slogdet(np.atleast_2d(slopes.eval({value: place}, **PLAIN)))[1]
    whole = float(model.compile_logp(**PLAIN)({value.name: place}))
    assert whole == pytest.approx(expected[1] + log_det, rel=1e-10)


@pytest.mark.parametrize("effects", [2, 3])
def test_pymc_draws_correlations_from_the_same_law(effects):
    model = correlations(hm.LKJ(1.5), effects)
    drawn = pm.draw(model["rho"], 4000, random_seed=1, **PLAIN).reshape(4000, -1)
    law = stats.beta(*[1.5 + (effects - 2) / 2] * 2, -1, 2)
    assert drawn.shape[1] == effects * (effects - 1) // 2
    for column in drawn.T:
        assert stats.kstest(column, law.cdf).pvalue > 1e-3
    nothing = pm.draw(correlations(hm.FlatCovariance(), effects)["rho"], **PLAIN)
    assert np.isnan(nothing).all()
    assert np.size(nothing) == drawn.shape[1]


@pytest.mark.parametrize("effects", [2, 3])
def test_pymc_has_the_sds_of_a_flat_covariance(effects):
    """``dT = Π 2 τ^e dτ · dρ``."""
    (prior, *_), sd = hm.FlatCovariance().sd_priors(effects), np.array([0.1, 0.7, 2.0])
    with pm.Model():
        variable = prior.to_pymc(pm, "tau", 1.0)
    expected = np.log(2) + effects * np.log(sd)
    np.testing.assert_allclose(logp(variable, sd), expected, rtol=1e-12, atol=SINGLE)
