"""When posteriors of counts exist whose covariates vary within groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.row_propriety import require_proper
from hiermodels.exact.row_sums import RowSums

# Groups of two rows of 0 and 1, at x = 0 and x = 1.
FALLS, RISES, ZEROS, ONES = (1, 0), (0, 1), (0, 0), (1, 1)


def frame(*groups):
    rows = [(g, y, x, g // 2) for g, pair in enumerate(groups) for x, y in enumerate(pair)]
    return pd.DataFrame(rows, columns=["g", "y", "x", "outer"])


def check(*groups, formula="y ~ x + (1 | g)", **priors):
    spec, data = prepare(frame(*groups), formula, family="binomial", priors=priors)
    require_proper(spec, RowSums.of(spec, data).sums)


def log_marginal(groups, tau):
    """``log p(y | tau)`` under flat priors of mu and beta, by sums over grids."""
    theta = tau * np.linspace(-9, 9, 2001)
    theta = np.sort(np.append(theta, np.linspace(-60, 60, 2001)))
    eta, total = np.linspace(-6, 6, 61), []
    betas = np.linspace(-40, 40, 161)
    step = np.gradient(theta)
    prior = -0.5 * (theta / tau - eta[:, None]) ** 2 - 0.5 * np.log(2 * np.pi) - np.log(tau)
    weight = np.exp(prior) * step
    for beta in betas:
        log_m = 0.0
        for pair in set(groups):
            log_row = [
                -np.logaddexp(0, (1 - 2 * y) * (theta + x * beta)) for x, y in enumerate(pair)
            ]
            log_m = log_m + groups.count(pair) * np.log(weight @ np.exp(sum(log_row)))
        total.append(log_m)
    return np.log(np.exp(np.array(total)).sum() * (eta[1] - eta[0]) * tau * (betas[1] - betas[0]))


@pytest.mark.parametrize(
    ("groups", "contrasts"),
    [
        ((FALLS, FALLS, RISES, RISES), 3),
        ((FALLS, RISES, RISES), 2),
        ((FALLS, RISES, ONES, ONES, ZEROS), 1),
    ],
)
def test_the_likelihood_falls_as_the_count_says(groups, contrasts):
    """As tau to minus the number of contrasts, by which the priors below are told apart."""
    slope = (log_marginal(groups, 3e3) - log_marginal(groups, 1e3)) / np.log(3)
    assert slope == pytest.approx(-contrasts, abs=0.06)
    priors = {3: hm.FlatVariance(), 2: hm.FlatSD(), 1: hm.HalfCauchy(1)}
    for needed, prior in priors.items():
        if contrasts >= needed:
            check(*groups, tau=prior)
        else:
            message = rf"of {len(groups)} 'g' groups .* informative.* on tau needs"
            with pytest.raises(hm.ImproperPosteriorError, match=message):
                check(*groups, tau=prior)


def test_rows_that_a_covariate_separates_are_refused():
    tau = {"tau": hm.HalfNormal(1)}
    with pytest.raises(hm.ImproperPosteriorError, match=r"beta\[x\] separates the counts: .* rows"):
        check(FALLS, FALLS, ONES, **tau)
    check(FALLS, FALLS, ONES, **tau, **{"beta[x]": hm.Normal(0, 2.5)})
    check(FALLS, FALLS, ONES, ZEROS, **tau)
    check(FALLS, FALLS, RISES, **tau)


def test_all_zeros_need_a_proper_intercept():
    tau = {"tau": hm.HalfNormal(1)}
    with pytest.raises(hm.ImproperPosteriorError, match="nothing bounds mu from below"):
        check(ZEROS, ZEROS, formula="y ~ 1 + (1 | g)", **tau)
    check(ZEROS, ZEROS, formula="y ~ 1 + (1 | g)", **tau, mu=hm.Normal(0, 2.5))


def test_each_level_needs_its_own():
    groups, formula = (FALLS, RISES) * 4, "y ~ x + (1 | outer/g)"
    check(*groups, formula=formula, tau=hm.FlatVariance(), kappa=hm.FlatVariance())
    with pytest.raises(hm.ImproperPosteriorError, match="on kappa needs"):
        check(*groups[:6], formula=formula, tau=hm.HalfNormal(1), kappa=hm.FlatVariance())
