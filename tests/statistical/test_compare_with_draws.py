"""Draws against draws, with error on both sides: the stated rate, and wrong samplers caught."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import special, stats

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.glmm.importance import draw_weighted, resample
from hiermodels.exact.glmm_grid import GlmmGrid
from hiermodels.numerics.monte_carlo_error import combine
from hiermodels.results.draw_tests import STATISTICS
from hiermodels.results.two_samples import tests_of_both as compared
from tests.exact.glmm.test_posterior import patients

COMPARISONS = 200
TESTED = [name != "sd" for name in STATISTICS]
SAID = {"family": "binomial", "priors": {"tau": hm.HalfNormal(1)}, "engine": "importance"}
FORMULA = "died ~ x0 + x1 + x2 + x3 + (1 | hospital)"


def autocorrelated(rng, draws, rho):
    """Four chains of six variables that depend on one another: normal, skewed, and of a sd."""
    z = rng.standard_normal((4, draws, 6))
    for i in range(1, draws):
        z[:, i] = rho * z[:, i - 1] + np.sqrt(1 - rho**2) * z[:, i]
    return quantities(z)


def quantities(z):
    mixed = z @ (np.eye(6) + 0.3)
    u = special.ndtr(mixed / np.sqrt(((np.eye(6) + 0.3) ** 2).sum(axis=0)))
    skewed = np.exp(mixed[..., 4:5] / 2), -np.log1p(-u[..., 5:])
    return np.concatenate([mixed[..., :4], *skewed], axis=2)


def repeated(rng, draws):
    """Resampled from proposals that are too wide, as by importance."""
    z = 1.2 * rng.standard_normal((8 * draws, 6))
    log_weight = -0.5 * (z**2).sum(axis=1) * (1 - 1 / 1.2**2)
    weight = np.exp(log_weight)
    z = z[resample(weight / weight.sum(), 4 * draws, rng)]
    return quantities(z.reshape(4, draws, 6))


def p_value(x, y):
    both = (xr.DataArray(own, dims=["chain", "draw", "group"]) for own in (x, y))
    return combine(compared(*both, (True, True, True))["p"].reshape(6, -1)[:, TESTED])


@pytest.mark.parametrize(("rho", "sizes"), [(0.0, (250, 250)), (0.8, (500, 250))])
def test_right_draws_fail_at_the_stated_rate(rho, sizes):
    """Chains against draws that are resampled by importance, and the other way round in size."""
    rng = np.random.default_rng(7)
    p = np.array(
        [
            p_value(autocorrelated(rng, sizes[0], rho), repeated(rng, sizes[1]))
            for _ in range(COMPARISONS)
        ]
    )
    for alpha in (0.01, 0.05):  # outside of the limits with probability 0.001
        least, most = stats.binom.ppf([0.0005, 0.9995], COMPARISONS, alpha)
        assert least <= (p < alpha).sum() <= most


@pytest.fixture(scope="module")
def frame():
    return patients("binomial", 4, n=90)


@pytest.fixture(scope="module")
def exact(frame):
    return hm.fit(frame, FORMULA, **SAID, random_seed=1)


@pytest.fixture(scope="module")
def other(frame):
    """The same by an engine whose draws are others."""
    return hm.fit(frame, FORMULA, **SAID, random_seed=2)


def moved(fit, change):
    tree = fit.datatree.copy()
    tree["posterior"] = change(tree["posterior"].to_dataset())
    return tree


def without_the_jacobian(draws):
    """A prior that is meant for tau² and used for tau is one times tau too much."""
    flat = draws.stack(sample=["chain", "draw"]).reset_index("sample", drop=True)
    tau = flat["tau"].to_numpy()
    taken = resample(tau / tau.sum(), 4000, np.random.default_rng(1))
    values = {name: flat[name].isel(sample=taken) for name in flat.data_vars}
    return xr.Dataset(
        {
            name: (("chain", "draw", *own.dims[:-1]), shaped(own.to_numpy()))
            for name, own in values.items()
        },
        {name: draws[name] for name in draws.coords},
    )


def shaped(values):
    """From (…, n) to (4, n/4, …)."""
    return np.moveaxis(values, -1, 0).reshape(4, -1, *values.shape[:-1])


def test_right_draws_pass_and_the_sides_are_named(other, exact):
    found = hm.compare(other, exact)
    assert found.passed, found.verdict
    assert "Monte Carlo error on both sides: the exact side is 4,000 draws" in str(found)
    assert "engine='importance', weights" in str(found)
    error = found.table["mcse"]["tau", "mean"]
    sd = float(exact.datatree["posterior"]["tau"].std())
    assert error == pytest.approx(sd * np.sqrt(2 / 3700), rel=0.25)


@pytest.mark.parametrize("name", ["mu", "tau", "theta"])
def test_a_shift_is_caught(other, exact, name):
    tree = moved(other, lambda draws: draws.assign({name: draws[name] + 0.3 * draws[name].std()}))
    found = hm.compare(tree, exact)
    assert not found.passed
    assert "too high" in found.verdict


def test_a_prior_of_tau_that_is_confused_is_caught(other, exact):
    found = hm.compare(moved(other, without_the_jacobian), exact)
    assert not found.passed
    assert "tau is too high" in found.verdict


def test_laplace_posing_as_exact_is_caught(frame, other, exact):
    """Modes and curvatures given tau, and Laplace's marginal density of that: no weights."""
    spec, data = prepare(frame, FORMULA, family="binomial", priors=SAID["priors"])
    grid = GlmmGrid(spec, data)
    rough = draw_weighted(grid.marginal, 4000, np.random.default_rng(3))
    gamma = grid.arrays.coefficients(rough.gamma)
    beta = gamma[:, 1:].reshape(4, 1000, -1)
    tree = moved(
        other,
        lambda draws: draws.assign(
            tau=(("chain", "draw"), rough.tau.reshape(4, -1)),
            mu=(("chain", "draw"), gamma[:, 0].reshape(4, -1)),
            beta=(("chain", "draw", "coef"), beta),
        ),
    )
    found = hm.compare(tree, exact, var_names=["tau", "mu", "beta"])
    assert not found.passed


def test_draws_are_not_compared_with_themselves(exact, monkeypatch):
    """Draws are not compared with themselves, but with the reference."""
    asked = []
    monkeypatch.setattr(hm.Fit, "reference", lambda self: asked.append(self) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        hm.compare(exact, exact)
    assert asked
