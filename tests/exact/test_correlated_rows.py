"""Rows with correlated known errors against dense multivariate normal algebra."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

import hiermodels as hm
from hiermodels.exact.joint import log_joint
from tests.oracles.correlated import Dense, indicators, studies

TAU, KAPPA, S = 0.7, 1.3, 4.0  # sds of effects within and between studies, and of coefficients
OUTCOMES = "y ~ 0 + a + b + c + (0 + a + b + c || study)"


def intercepts(formula, seed=7):
    """Effects of groups of any levels, and a covariate."""
    frame, v = studies(seed)
    frame["lab"] = np.where(frame["study"] < "s4", "p", "q")
    frame["arm"] = frame.groupby("study").cumcount() // 2
    levels = formula.partition("| ")[2].rstrip(")").split("/")
    top = "lam" if len(levels) == 2 else "mu"
    priors = {"beta": hm.Normal(0, S), top: hm.Normal(0, S)}
    names = {1: ("tau",), 2: ("kappa", "tau")}.get(len(levels), [f"tau_{name}" for name in levels])
    sds = [KAPPA, TAU, 0.4][: len(levels)]
    priors |= {name: hm.Fixed(sd) for name, sd in zip(names, sds, strict=True)}
    fit = hm.fit(frame, formula, covariance=v, priors=priors, draws=2500, random_seed=1)
    sizes, member, own = [len(level) for level in fit.data.levels], fit.data.group, []
    for level in fit.data.levels[::-1]:
        own.insert(0, indicators(member, np.arange(len(level))))
        member = level.parent[member]
    columns = np.column_stack([np.ones(len(frame)), frame["x"], *own])
    variances = np.repeat(np.square([S, *sds]), [2, *sizes])
    effects, above = {}, np.eye(1, columns.shape[1])
    for number, level in enumerate(fit.data.levels):
        above = above[level.parent].copy()
        first = 2 + sum(sizes[:number])
        above[:, first : first + len(level)] += np.eye(len(level))
        effects[fit.spec.levels[number].effect] = above
    return fit, Dense(frame["y"].to_numpy(), columns, variances, v), effects


def several(seed=7):
    """Several outcomes of each study, uncorrelated between studies."""
    frame, v = studies(seed)
    priors = {"beta": hm.Normal(0, S), "tau": hm.Fixed(TAU)}
    fit = hm.fit(frame, OUTCOMES, covariance=v, priors=priors, draws=2500, random_seed=1)
    (labels,) = (level.labels for level in fit.data.levels)
    kinds, u = frame[["a", "b", "c"]].to_numpy(), len(labels)
    own = indicators(frame["study"], labels)[:, :, None] * kinds[:, None]
    columns = np.column_stack([kinds, own.reshape(len(frame), -1)])
    theta = np.column_stack([np.tile(np.eye(3), (u, 1)), np.eye(3 * u)])
    variances = np.repeat([S**2, TAU**2], [3, 3 * u])
    return fit, Dense(frame["y"].to_numpy(), columns, variances, v), {"theta": theta}


CASES = {
    "studies": lambda: intercepts("y ~ x + (1 | study)"),
    "studies and rows": lambda: intercepts("y ~ x + (1 | study/effect)"),
    "studies in labs": lambda: intercepts("y ~ x + (1 | lab/study)"),
    "rows of studies in labs": lambda: intercepts("y ~ x + (1 | lab/study/effect)"),
    "arms of studies": lambda: intercepts("y ~ x + (1 | study/arm)"),
    "arms of studies in labs": lambda: intercepts("y ~ x + (1 | lab/study/arm)"),
    "several outcomes": several,
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A fit, its dense twin, and its effects as combinations."""
    return CASES[request.param]()


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
    member = fit.data.group
    for level in fit.data.levels[::-1]:
        if level.column == "arm":
            with pytest.raises(
                hm.SpecError, match=r"rows of different arm are correlated.*several"
            ):
                fit.loo("arm")
            member = level.parent[member]
            continue
        expected = [dense.left_out(np.flatnonzero(member == u)) for u in range(len(level))]
        found = fit.loo(level.column).elpd_i
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
        member = level.parent[member]


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
    """``lp`` is the density of effects given those above, of coefficients and of rows with V."""
    fit, dense, _ = case
    draws = fit.datatree["posterior"].to_dataset().isel(chain=0, draw=slice(5))
    values = {str(name): own.to_numpy() for name, own in draws.data_vars.items()}
    found = log_joint(fit.spec, fit.data, values)
    deviations, parts = [], [values[name][:, None] for name in fit.spec.top] + [values["beta"]]
    if fit.spec.has_slopes:
        deviations = [(values["theta"] - values["beta"][:, None]).reshape(5, -1)]
    else:
        above = parts[0]
        for level, groups in zip(fit.spec.levels, fit.data.levels, strict=True):
            deviations.append(values[level.effect] - above[:, groups.parent])
            above = values[level.effect]
    u = np.column_stack([*parts, *deviations])
    assert u.shape[1] == dense.columns.shape[1]
    expected = multivariate_normal.logpdf(dense.y - u @ dense.columns.T, None, dense.v)
    expected += norm.logpdf(u, 0, np.sqrt(dense.variances)).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("decades", [2, 4])
def test_variances_may_differ_by_orders_of_magnitude(decades):
    """Of rows of one study, whose V is nearly singular then, but for its units."""
    frame, v = studies(3)
    scale = 10 ** np.random.default_rng(1).uniform(-decades, decades, len(v))
    v = v * scale[:, None] * scale
    priors = {"beta": hm.Normal(0, S), "lam": hm.Normal(0, S)}
    priors |= {"tau": hm.Fixed(0.01), "kappa": hm.Fixed(KAPPA)}
    reference = hm.reference(frame, "y ~ x + (1 | study/effect)", covariance=v, priors=priors)
    same = frame["study"].to_numpy()[:, None] == frame["study"].to_numpy()
    x = np.column_stack([np.ones(len(v)), frame["x"]])
    total = v + S**2 * x @ x.T + KAPPA**2 * same + 0.01**2 * np.eye(len(v))
    sd = np.sqrt(np.diag(total))
    expected = multivariate_normal.logpdf(frame["y"] / sd, None, total / sd[:, None] / sd)
    expected -= np.log(sd).sum()
    assert reference.log_marginal_likelihood == pytest.approx(expected, rel=1e-11)
