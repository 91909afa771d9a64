"""Rows with correlated known errors against dense multivariate normal algebra."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import hiermodels as hm
from hiermodels.exact.joint import log_joint
from tests.oracles.correlated import Dense, indicators, studies

TAU, KAPPA, S = 0.7, 1.3, 4.0  # sds of effects within and between studies, and of coefficients
NESTED = "y ~ x + (1 | study/effect)"
ONE = "y ~ x + (1 | study)"
OUTCOMES = "y ~ 0 + a + b + c + (0 + a + b + c || study)"
PRIOR = {"beta": hm.Normal(0, S), "tau": hm.Fixed(TAU)}


def nested(seed):
    """Effects of studies and of their rows, and a covariate."""
    frame, v = studies(seed)
    priors = {**PRIOR, "lam": hm.Normal(0, S), "kappa": hm.Fixed(KAPPA)}
    fit = hm.fit(frame, NESTED, covariance=v, priors=priors, draws=2500, random_seed=1)
    groups = [level.labels for level in fit.data.levels]
    blocks = [indicators(frame[level.column], level.labels) for level in fit.data.levels]
    columns = np.column_stack([np.ones(len(frame)), frame["x"], *blocks])
    u, g = map(len, groups)
    variances = np.repeat([S**2, KAPPA**2, TAU**2], [2, u, g])
    study_of = indicators(frame["study"], groups[0])[np.argmax(blocks[1], axis=0)]
    mu = np.column_stack([np.ones(u), np.zeros(u), np.eye(u), np.zeros((u, g))])
    theta = np.column_stack([np.ones(g), np.zeros(g), study_of, np.eye(g)])
    return fit, Dense(frame["y"].to_numpy(), columns, variances, v), {"mu": mu, "theta": theta}


def one_level(seed):
    """Effects of studies alone, and a covariate."""
    frame, v = studies(seed)
    priors = {**PRIOR, "mu": hm.Normal(0, S)}
    fit = hm.fit(frame, ONE, covariance=v, priors=priors, draws=2500, random_seed=1)
    (labels,) = (level.labels for level in fit.data.levels)
    u = len(labels)
    columns = np.column_stack([np.ones(len(frame)), frame["x"], indicators(frame["study"], labels)])
    theta = np.column_stack([np.ones(u), np.zeros(u), np.eye(u)])
    variances = np.repeat([S**2, TAU**2], [2, u])
    return fit, Dense(frame["y"].to_numpy(), columns, variances, v), {"theta": theta}


def several(seed):
    """Several outcomes of each study, uncorrelated between studies."""
    frame, v = studies(seed)
    fit = hm.fit(frame, OUTCOMES, covariance=v, priors=PRIOR, draws=2500, random_seed=1)
    (labels,) = (level.labels for level in fit.data.levels)
    kinds, u = frame[["a", "b", "c"]].to_numpy(), len(labels)
    own = indicators(frame["study"], labels)[:, :, None] * kinds[:, None]
    columns = np.column_stack([kinds, own.reshape(len(frame), -1)])
    theta = np.column_stack([np.tile(np.eye(3), (u, 1)), np.eye(3 * u)])
    variances = np.repeat([S**2, TAU**2], [3, 3 * u])
    return fit, Dense(frame["y"].to_numpy(), columns, variances, v), {"theta": theta}


CASES = {"nested": nested, "one level": one_level, "several outcomes": several}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A fit, its dense twin, and its effects as combinations."""
    return CASES[request.param](7)


def test_moments_and_evidence(case):
    fit, dense, effects = case
    reference = fit.reference()
    coefficients = fit.spec.means
    rows = np.eye(len(dense.variances))[: len(coefficients)]
    mean, sd = dense.moments(rows)
    names = [*fit.spec.top, *(["beta"] if fit.spec.covariates else [])]
    found = [np.atleast_1d(getattr(reference, m)[name]) for m in ("mean", "sd") for name in names]
    np.testing.assert_allclose(np.concatenate(found), [*mean, *sd], rtol=1e-11, atol=1e-11)
    for name, rows in effects.items():
        mean, sd = dense.moments(rows)
        np.testing.assert_allclose(np.ravel(reference.mean[name]), mean, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(np.ravel(reference.sd[name]), sd, rtol=1e-11)
    evidence = reference.log_marginal_likelihood
    np.testing.assert_allclose(evidence, dense.log_density(), rtol=1e-11, atol=1e-11)


def test_rows_and_groups_left_out(case):
    """A row given all others, of its study too: what is known of its error is part of that."""
    fit, dense, _ = case
    expected = [dense.left_out([i]) for i in range(len(dense.y))]
    np.testing.assert_allclose(fit.loo().elpd_i, expected, rtol=1e-10, atol=1e-10)
    outer = fit.spec.groups[0]
    member = fit.data.group
    for level in fit.data.levels[:0:-1]:
        member = level.parent[member]
    expected = [dense.left_out(np.flatnonzero(member == u)) for u in range(member.max() + 1)]
    np.testing.assert_allclose(fit.loo(outer).elpd_i, expected, rtol=1e-10, atol=1e-10)


def test_draws(case):
    """Draws have the moments that they should, those of sums and differences of effects too."""
    fit, dense, effects = case
    size = fit.datatree["posterior"].sizes["draw"] * 4
    for name, rows in effects.items():
        values = fit.datatree["posterior"][name].to_numpy().reshape(size, -1).T
        rows = np.concatenate([rows, rows[1:] - rows[:-1], rows[1:] + rows[:-1]])
        values = np.concatenate([values, values[1:] - values[:-1], values[1:] + values[:-1]])
        mean, sd = dense.moments(rows)
        assert np.abs((values.mean(axis=1) - mean) / sd).max() < 4.5 / np.sqrt(size)
        assert np.abs(values.std(axis=1) / sd - 1).max() < 4.5 / np.sqrt(2 * size)


def test_joint_density(case):
    """``lp`` is the density of effects and rows; that of rows with all of V."""
    fit, dense, _ = case
    draws = {
        str(name): values.to_numpy()[0, :5]
        for name, values in fit.datatree["posterior"].data_vars.items()
    }
    found = log_joint(fit.spec, fit.data, draws)
    theta = draws["theta"]
    if fit.spec.has_slopes:
        eta = np.einsum("nue,ie->niu", theta, dense.columns[:, :3])[
            :, np.arange(len(dense.y)), fit.data.group
        ]
        deviations = (theta - draws["beta"][:, None]).reshape(5, -1), TAU
        levels = [deviations]
    else:
        eta = theta[:, fit.data.group] + draws["beta"] * fit.data.design.matrix[:, 0]
        if "lam" in draws:
            above = draws["mu"][:, fit.data.levels[1].parent]
            levels = [(theta - above, TAU), (draws["mu"] - draws["lam"][:, None], KAPPA)]
        else:
            levels = [(theta - draws["mu"][:, None], TAU)]
    expected = multivariate_normal.logpdf(dense.y - eta, np.zeros(len(dense.y)), dense.v)
    for deviation, sd in levels:
        expected = expected - 0.5 * (deviation**2).sum(axis=1) / sd**2
        expected = expected - deviation.shape[1] * np.log(sd * np.sqrt(2 * np.pi))
    for name in ("lam", "mu", "beta"):
        if name in fit.spec.top or name == "beta":
            values = draws[name].reshape(5, -1)
            expected = expected - 0.5 * (values**2).sum(axis=1) / S**2
            expected = expected - values.shape[1] * np.log(S * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-10)
