"""Which moments of counts' posteriors exist: against how means given the sds grow with them."""

from __future__ import annotations

import numpy as np
import pytest

import hiermodels as hm
from hiermodels.exact.leaf_moments import LeafMoments
from hiermodels.exact.leaf_propriety import check
from hiermodels.exact.rate_moments import RateMoments
from hiermodels.posterior.moments import KINDS, MEAN, Moment, of_variables
from tests.exact.test_leaf_propriety import design
from tests.oracles.count_tails import binomial, log_given_tau, slope


def moments(r, n, x=None, **options):
    found = design(r, n, x, **options)
    groups = ("hospital",) if found.parent is None else ("region", "hospital")
    covariates = tuple(n[5:-1] for n in found.coefficients if n.startswith("beta"))
    spec = hm.Spec(
        "deaths", groups, "se", covariates, has_intercept=found.has_intercept, priors=found.priors
    )
    return LeafMoments(spec, check(found))


PRIORS = [(hm.FlatVariance(), 1), (hm.FlatSD(), 0), (hm.HalfCauchy(1), -2), (hm.HalfNormal(1), -50)]


@pytest.mark.parametrize(("tau", "power"), PRIORS, ids=str)
def test_moments_of_tau_need_informative_groups(tau, power):
    """``p(τ) ~ τ^(a − k + 1)`` with k of them, so that the m-th needs ``k > a + m + 2``."""
    for k in range(power + 4 if power >= -2 else 0, 12):
        found = moments([1] * k + [0, 5, 5], 5, tau=tau)
        for order in (1, 2, 4):
            lack = found.shortage("tau", order)
            assert (lack is None) == (k > power + order + 2)
            assert (found.shortage("mu", order) is None) == (lack is None)
            assert (found.shortage("theta", order) is None) == (lack is None)
            if lack:
                assert lack.size == k
                assert lack.needed == power + order + 3
                assert found.lacking("theta", order).tolist() == [False] * k + [True] * 3
            assert found.exist(["p"], order)


def test_given_tau_the_effect_of_an_extreme_group_grows_and_that_of_others_does_not():
    r, n = [1, 2, 3, 0, 4, 0], [5, 5, 5, 5, 4, 0]
    groups, x = [binomial(a, b) for a, b in zip(r, n, strict=True)], np.ones((6, 1))
    lacks = moments(r, n, tau=hm.FlatSD()).lacking("theta", 2)
    assert lacks.tolist() == [False] * 3 + [True] * 3
    for i, grows in enumerate(lacks):

        def log_mean(tau, i=i):
            return log_given_tau(groups, x, tau, factor=(i, np.abs)) - log_given_tau(groups, x, tau)

        assert slope(log_mean, 1e3, 1e4) == pytest.approx(1.0 * grows, abs=5e-3)


def test_proper_priors_of_means_leave_the_extreme_groups():
    found = moments([1, 2, 0], 5, tau=hm.FlatSD(), proper=("mu",))
    assert found.exist(["mu"], 4)
    assert not found.exist(["tau"], 1)
    assert found.lacking("theta", 1).tolist() == [False, False, True]


def test_without_an_intercept_one_group_fewer_is_needed():
    found = moments([1, 2, 3, 4], 5, tau=hm.FlatSD(), intercept=False)
    assert [found.exist(["tau"], order) for order in (1, 2)] == [True, True]
    assert not moments([1, 2, 3], 5, tau=hm.FlatSD(), intercept=False).exist(["tau"], 2)


def test_a_slope_takes_effects_without_covariates_with_it():
    """An informative group's linear predictor stays; less x'β it goes with β, unless x = 0."""
    found = moments([1, 2, 3, 2, 4, 0], 5, [0, 1, 2, 3, 1, 1], tau=hm.FlatSD())
    assert found.exist(["tau", "mu", "beta"], 1)
    for name in ("tau", "mu", "beta", "theta"):
        assert not found.exist([name], 2)
    assert found.lacking("beta", 2).tolist() == [True]
    assert found.lacking("theta", 2).tolist() == [False] + [True] * 5
    assert found.lacking("theta", 2, own=True).tolist() == [False] * 5 + [True]
    proper = moments([1, 2, 3, 0], 5, [0, 1, 2, 1], tau=hm.FlatSD(), proper=("beta[x0]",))
    assert proper.exist(["beta"], 4)
    assert proper.lacking("theta", 2).tolist() == [False] * 3 + [True]


@pytest.mark.parametrize("tau", [hm.Fixed(1.0), hm.Uniform(3.0), hm.HalfNormal(1.0)], ids=str)
def test_under_priors_that_fall_fast_all_exist(tau):
    found = moments([0, 5, 5], 5, tau=tau)
    assert found.exist(["tau", "mu", "theta", "p"], 4)


# Three levels: four regions with informative pooled counts, one of zeros, six informative clinics.
R = [1, 2, 2, 3, 1, 4, 0, 0, 0]
PARENT = [0, 0, 1, 1, 2, 3, 0, 4, 4]


def test_few_regions_lack_moments_of_what_grows_with_kappa():
    """τ has six clinics, enough for four moments under a half-Cauchy prior; κ four regions."""
    found = moments(R, 5, parent=PARENT, tau=hm.HalfNormal(1), kappa=hm.FlatSD())
    assert found.exist(["tau", "lam", "kappa"], 1)
    for name in ("lam", "kappa"):
        lack = found.shortage(name, 2)
        assert (lack.size, lack.what, lack.needed) == (4, "informative 'region' groups", 5)
    assert found.lacking("mu", 2).tolist() == [False] * 4 + [True]
    assert found.lacking("theta", 2).tolist() == [False] * 7 + [True] * 2
    assert found.exist(["tau"], 4)


def test_few_clinics_lack_moments_of_what_grows_with_tau():
    """Regions go with λ, and so does each clinic that is not informative."""
    found = moments(R, 5, parent=PARENT, tau=hm.FlatVariance(), kappa=hm.HalfNormal(1))
    lack = found.shortage("tau", 4)
    assert (lack.size, lack.what, lack.needed) == (6, "informative 'hospital' groups", 8)
    assert found.lacking("mu", 4).all()
    assert found.lacking("theta", 4).tolist() == [False] * 6 + [True] * 3
    assert found.exist(["kappa"], 4)
    proper = moments(
        R, 5, parent=PARENT, tau=hm.FlatVariance(), kappa=hm.HalfNormal(1), proper=("lam",)
    )
    assert proper.exist(["lam", "mu", "kappa"], 4)
    assert proper.lacking("theta", 4).tolist() == [False] * 6 + [True] * 3


def test_both_sds_grow_together():
    """Five contrasts for flat on both variances, 1 + 1: neither κ nor τ has a mean."""
    r, parent = [1, 2, 2, 3, 1, 4], range(6)
    found = moments(r, 5, parent=parent, tau=hm.FlatVariance(), kappa=hm.FlatVariance())
    assert not found.exist(["kappa"], 1)
    assert not found.exist(["tau"], 1)
    one = moments(r, 5, parent=parent, tau=hm.HalfNormal(1), kappa=hm.FlatVariance())
    assert one.exist(["kappa"], 2)
    flat = {"tau": hm.FlatVariance(), "kappa": hm.FlatVariance()}
    held = moments(r, 5, parent=parent, proper=("lam",), **flat)
    assert held.exist(["lam", "theta"], 4)
    assert held.exist(["mu"], 1)
    assert held.lacking("mu", 2).all()  # −½·6 + 1 + 1 + 1 is not below 0


def test_regions_and_a_slope_that_go_together():
    """A covariate of regions: their means without it go with β, but for x = 0."""
    found = moments(
        [1, 2, 1, 3], 5, [0, 1, 2, 3], parent=range(4), tau=hm.HalfNormal(1), kappa=hm.HalfCauchy(1)
    )
    assert found.lacking("beta", 4).tolist() == [True]
    assert found.lacking("mu", 4).tolist() == [False, True, True, True]
    assert found.lacking("theta", 4).tolist() == [False, True, True, True]
    assert not found.lacking("theta", 4, own=True).any()
    within = moments(
        [1, 2, 1, 3], 5, [0, 1, 0, 1], parent=[0, 0, 1, 2], tau=hm.HalfNormal(1), kappa=hm.FlatSD()
    )
    assert within.exist(["beta", "mu"], 4)
    assert not within.exist(["kappa"], 2)


# What tables say.


def test_tables_say_what_there_is_too_little_of():
    found = moments([1, 2, 3, 0, 0], 5, tau=hm.FlatSD())
    assert found.why(of_variables(["mu", "tau", "theta", "p"], [MEAN])) == (
        "nan: this moment does not exist; under these priors 3 informative 'hospital' groups are "
        "too few for a mean of mu, tau, theta (needs 4). Medians exist"
    )


def test_tables_say_which_prior_falls_too_slowly():
    class WithRate(LeafMoments):
        def shortage(self, name, order):
            if name != "rate":
                return super().shortage(name, order)
            rates = RateMoments(self.tails.design, np.arange(3.0), np.full(3, np.inf))
            return rates.of_new_group(np.ones(1), order)

    plain = moments([1, 2, 3], 5)
    found = WithRate(plain.spec, plain.tails)
    shown = [Moment(KINDS[order], "rate", order, ("rate", "mu")) for order in KINDS]
    assert found.counts(shown) == (
        "HalfNormal(sd=1) on tau falls too slowly for a mean of rate (needs HalfNormal(0.866) or a "
        "narrower one), an sd of rate (needs HalfNormal(0.433) or a narrower one)"
    )
