"""Effects given one sd, with slopes and with three grouping columns."""

from __future__ import annotations

import numpy as np
import pytest

import hiermodels as hm
from hiermodels.data.covariates import ZERO
from hiermodels.exact.given_sd import moments_given_sd
from tests.exact.test_block_left_out import PRIORS, SLOPES, few_subjects, four_levels


def test_slopes_given_their_sd_average_to_the_posterior():
    """``E θ = ∫ E(θ | τ) p(τ | y) dτ`` over the places; and given τ they are those of fixed τ."""
    frame, priors = few_subjects(), {**PRIORS, "rho": hm.LKJ(2)}
    fit = hm.fit(frame, SLOPES, priors=priors, draws=10, random_seed=1)
    found = moments_given_sd(fit.spec, fit.data, "tau[Days]", "theta", None, "Days")
    assert found["mean"].dims == ("at", "Subject")
    at = found["at"].to_numpy()
    for k in (3, 15):
        fixed = hm.reference(frame, SLOPES, priors=priors | {"tau[Days]": hm.Fixed(at[k])})
        mean, sd = (part["theta"].sel(effect="Days") for part in (fixed.mean, fixed.sd))
        assert float(np.abs((found["mean"][k] - mean) / sd).max()) < 2e-4
        assert float(np.abs(found["sd"][k] / sd - 1).max()) < 2e-4
    reference = fit.reference()
    density = reference.density("tau", np.repeat(at[:, None], 2, axis=1))[:, 1]
    average = np.trapezoid(found["mean"].T * density, at) / np.trapezoid(density, at)
    expected, sd = (p["theta"].sel(effect="Days") for p in (reference.mean, reference.sd))
    assert float(np.abs((average - expected) / sd).max()) < 0.02  # 1 % of the tail is left out


def test_three_grouping_columns_given_one_sd():
    frame, priors = four_levels(), {f"tau_{name}": hm.HalfNormal(1) for name in "abc"}
    fit = hm.fit(frame, "y ~ x + (1 | a/b/c)", se="se", priors=priors, draws=10, random_seed=1)
    found = moments_given_sd(fit.spec, fit.data, "tau_b", "theta_b")
    at = float(found["at"][9])
    fixed = hm.reference(
        frame, "y ~ x + (1 | a/b/c)", se="se", priors=priors | {"tau_b": hm.Fixed(at)}
    ).at(ZERO)
    shift = (found["mean"][9] - fixed.mean["theta_b"]) / fixed.sd["theta_b"]
    assert float(np.abs(shift).max()) < 2e-4
    assert float(np.abs(found["sd"][9] / fixed.sd["theta_b"] - 1).max()) < 2e-4


@pytest.mark.parametrize("effect", [None, "Days"])
def test_the_picture_of_slopes_over_their_sd(effect):
    fit = hm.fit(few_subjects(), SLOPES, priors="weak", draws=10, random_seed=1)
    assert fit.plot_trace_tau(effect=effect) is not None
