"""Posteriors that do not exist are refused; those that do are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.model.priors.variance import Jeffreys


def frame(k):
    y = np.linspace(-1, 2, k)
    return pd.DataFrame({"group": [f"g{i}" for i in range(k)], "y": y, "sigma": 0.5})


NEEDED = [
    (hm.FlatVariance(), hm.Flat(), 4),
    (hm.FlatVariance(), hm.Normal(0, 1), 3),
    (hm.FlatSD(), hm.Flat(), 3),
    (hm.FlatSD(), hm.Normal(0, 1), 2),
    (hm.HalfCauchy(1), hm.Flat(), 2),
    (hm.HalfNormal(1), hm.Flat(), 2),
]


@pytest.mark.parametrize(("tau", "mu", "needed"), NEEDED, ids=str)
def test_number_of_groups_that_is_needed(tau, mu, needed):
    fit = hm.fit(frame(needed), priors={"tau": tau, "mu": mu}, random_seed=1)
    assert np.isfinite(fit.datatree["posterior"]["theta"]).all()
    if needed > 2:
        with pytest.raises(hm.ImproperPosteriorError, match=f"so {needed} 'group' groups"):
            hm.fit(frame(needed - 1), priors={"tau": tau, "mu": mu})


def test_the_message_has_count_and_remedy():
    with pytest.raises(hm.ImproperPosteriorError) as caught:
        hm.fit(frame(3))
    assert str(caught.value) == (
        "the posterior does not exist: 3 'group' groups less 1 flat coefficient leave 2 contrasts, "
        "and FlatVariance() on tau needs at least 3, so 4 'group' groups. Give tau a proper prior, "
        "such as priors={'tau': …} with FlatSD() (which needs 3 groups), HalfNormal(sd=…) or "
        "HalfCauchy(beta=…), or add data."
    )


def test_the_remedy_works():
    fit = hm.fit(frame(3), priors={"tau": hm.FlatSD()}, random_seed=1)
    assert np.isfinite(fit.reference().quantile([0.05, 0.95]).to_array()).all()


def test_one_over_the_variance_is_never_proper():
    with pytest.raises(hm.ImproperPosteriorError, match="infinite mass at tau = 0"):
        hm.fit(frame(50), priors={"tau": Jeffreys()})


def test_every_engine_refuses():
    with pytest.raises(hm.ImproperPosteriorError):
        hm.fit(frame(3), engine="nuts")
    with pytest.raises(hm.ImproperPosteriorError):
        hm.reference(frame(3))


def test_moments_on_rays_on_which_two_variances_grow():
    """Six schools of one classroom, flat on both variances: κ + τ has five contrasts for 1 + 1.

    Along κ alone ``E κ²`` would exist (1 − 5/2 + 1 < 0); along κ and τ together it does not
    (2 − 5/2 + 1 > 0), and no E κ (2 − 5/2 + ½ = 0).
    """
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"s": list("abcdef"), "r": [f"r{i}" for i in range(6)], "se": 0.5})
    data["y"] = rng.normal(size=6)
    exact = hm.reference(data, outcome="y", groups=["s", "r"], se="se")
    assert np.isnan(exact.mean["kappa"])
    assert np.isnan(exact.sd["kappa"])
    proper = hm.reference(
        data, outcome="y", groups=["s", "r"], se="se", priors={"tau": hm.HalfNormal(1)}
    )
    assert np.isfinite(proper.sd["kappa"])
    assert proper.certificate < 1e-8


def test_a_moment_of_each_variance_is_not_one_of_their_product():
    """Half-Cauchy κ and few schools: E κ² τ² need not exist for the lattice to end."""
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"s": list("aabbcc"), "r": [f"r{i}" for i in range(6)], "se": 0.5})
    data["y"] = rng.normal(size=6)
    priors = {"kappa": hm.HalfCauchy(1.0), "tau": hm.FlatVariance()}
    exact = hm.reference(data, outcome="y", groups=["s", "r"], se="se", priors=priors)
    assert np.isfinite(exact.quantile([0.05, 0.95], ["kappa"])["kappa"]).all()


def test_a_moment_that_exists_by_a_hair_counts_as_one_that_does_not(schools):
    """``E τ²`` is an integral of ``exp(−0.001 x)``: finite, and beyond all numbers."""
    prior = hm.InverseGamma(0.001, 0.001)
    exact = hm.reference(schools.head(3), priors={"tau": prior})
    assert np.isfinite(exact.mean["tau"])
    assert np.isnan(exact.sd["tau"])
    assert "does not exist" in exact.sd["tau"].attrs["note"]


@pytest.mark.parametrize("prior", [hm.HalfNormal(4), hm.FlatSD(), hm.FlatVariance()])
@pytest.mark.parametrize("explained", ["all", "within groups", "singletons", "equal rows"])
def test_rows_without_a_remainder_need_more_than_a_proper_prior(prior, explained):
    """A half-normal density is finite at σ = 0, where the likelihood of such rows is not."""
    x = np.array([3.0, 2.0, -1.0, -6.0, 0.0, 5.0, 4.5, 1.0])
    group = np.array([0, 1, 1, 0, 1, 2, 0, 2])
    y = {"all": 1 + 2 * x, "within groups": group**2 + 2 * x, "equal rows": 0.1 * group}.get(
        explained, 3 * x
    )
    if explained == "singletons":
        group, prior = np.arange(8), hm.HalfNormal(4)
    frame = pd.DataFrame({"y": y, "x": x, "g": [f"g{i}" for i in group]})
    roles = {"outcome": "y", "groups": "g", "covariates": "x"}
    priors = {"tau": hm.HalfNormal(3), "sigma": prior}
    with pytest.raises(hm.ImproperPosteriorError, match="explain all rows without a remainder"):
        hm.reference(frame, **roles, priors=priors)
    falling = {"tau": hm.HalfNormal(3), "sigma": hm.InverseGamma(2, 1)}
    assert np.isfinite(hm.reference(frame, **roles, priors=falling).sd["sigma"])
