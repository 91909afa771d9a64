"""Deviations of crossed groups given one sd."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact import crossed_given_sd
from hiermodels.exact.crossed.marginal import CrossedMarginal
from hiermodels.exact.crossed.posterior import CrossedPosterior
from hiermodels.exact.crossed_data import crossed_model
from hiermodels.exact.given_sd import moments_given_sd
from hiermodels.model.priors.variance import Fixed, FlatVariance
from tests.results.test_predict_crossed import rows

FORMULA = "y ~ x + (1 | a) + (1 | b)"


def dense(frame: pd.DataFrame, sds: dict[str, float], sigma: float, column: str):
    """Means and sds of a column's deviations: ``τ² Z' V⁻¹ (y − X γ)``, γ flat."""
    own = {name: pd.get_dummies(frame[name]).to_numpy(float) for name in sds}
    v = sigma**2 * np.eye(len(frame)) + sum(sds[n] ** 2 * z @ z.T for n, z in own.items())
    x = np.column_stack([np.ones(len(frame)), frame["x"]])
    inverse = np.linalg.inv(v)
    p = inverse - inverse @ x @ np.linalg.solve(x.T @ inverse @ x, x.T @ inverse)
    gain = sds[column] ** 2 * own[column].T
    mean = gain @ p @ frame["y"].to_numpy()
    return mean, np.sqrt(sds[column] ** 2 - np.einsum("un,nm,um->u", gain, p, gain))


@pytest.mark.parametrize("column", ["a", "b"])
def test_with_all_others_known_they_are_those_of_dense_algebra(column):
    frame = rows()
    priors = {f"tau_{name}": hm.Fixed(1.3) for name in "ab"} | {"sigma": hm.Fixed(0.9)}
    priors[f"tau_{column}"] = hm.HalfNormal(2.0)
    fit = hm.fit(frame, FORMULA, priors=priors, draws=10, random_seed=1)
    found = moments_given_sd(fit.spec, fit.data, f"tau_{column}", f"theta_{column}")
    assert found["mean"].dims == ("at", column)
    for k in (0, 7, 24):
        sds = {"a": 1.3, "b": 1.3} | {column: float(found["at"][k])}
        moments = dense(frame, sds, 0.9, column)
        for part, expected in zip(("mean", "sd"), moments, strict=True):
            ours = found[part][k].to_series().sort_index()
            np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-10)


def test_over_the_posterior_of_the_sd_they_average_to_the_posterior():
    """``E θ = ∫ E(θ | τ) p(τ | y) dτ`` but for the tails, 1 %, that are left out."""
    priors = {"tau": hm.HalfNormal(2.0)}
    fit = hm.fit(rows(), FORMULA, priors=priors, draws=10, random_seed=1)
    found = moments_given_sd(fit.spec, fit.data, "tau_a", "theta_a")
    exact, at = fit.reference(), found["at"].to_numpy()
    density = exact.density("tau_a", at)
    average = np.trapezoid(found["mean"].T * density, at) / np.trapezoid(density, at)
    away = (average - exact.mean["theta_a"]) / exact.sd["theta_a"]
    assert float(np.abs(away).max()) < 0.02


def test_the_lattice_says_what_a_posterior_with_the_sd_fixed_does():
    """Of its own effects and of the others; the truth has sigma on an axis of the lattice."""
    spec, data = prepare(rows(), FORMULA, priors={"tau": hm.HalfNormal(2.0)})
    model = crossed_model(spec, data)
    found = {name: moments_given_sd(spec, data, "tau_a", name) for name in ("theta_a", "theta_b")}
    for k in (0, 12, 24):
        priors = (Fixed(float(found["theta_a"]["at"][k])), hm.HalfNormal(2.0))
        given = CrossedPosterior.of(replace(model, sd_priors=priors))
        for factor, own in enumerate(found.values()):
            mean, sds = given.effect_moments(factor)
            np.testing.assert_allclose(own["mean"][k], mean, rtol=0, atol=1e-5 * sds.min())
            np.testing.assert_allclose(own["sd"][k], sds, rtol=2e-4)


def test_a_fixed_sd_and_columns_of_too_many_groups_are_refused(monkeypatch):
    priors = {"tau_a": hm.Fixed(1.0), "tau_b": hm.HalfNormal(2.0)}
    fit = hm.fit(rows(), FORMULA, priors=priors, draws=10, random_seed=1)
    with pytest.raises(hm.SpecError, match="tau_a is fixed at 1"):
        fit.plot_trace_tau(level="a")
    monkeypatch.setattr(crossed_given_sd, "MAX_MEMBERS", 4)
    with pytest.raises(hm.SpecError, match="more than 4 groups; found 5"):
        fit.plot_trace_tau(level="b")


def test_peaks_that_rounding_makes_far_below_the_posterior_are_left_alone():
    """With sigma on the lattice: at e⁻⁶ of an error the log density is -1e7, and its digits few."""
    rng = np.random.default_rng(5)
    subject, item, rater = (rng.integers(0, size, 400) for size in (20, 10, 8))
    y = 10 + rng.normal(0, 1, 20)[subject] + rng.normal(0, 0.7, 10)[item]
    y = y + 0.05 * rng.normal(0, 1, 8)[rater] + rng.normal(0, 1, 400)
    frame = pd.DataFrame({"y": y, "subject": subject, "item": item, "rater": rater})
    formula = "y ~ 1 + (1 | subject) + (1 | item) + (1 | rater)"
    spec, data = prepare(frame, formula, priors="weak")
    model = crossed_model(spec, data)
    for sd in np.linspace(0.54, 1.5, 25).tolist():
        priors = (Fixed(sd), FlatVariance(), FlatVariance())
        found = CrossedMarginal.of(replace(model, sd_priors=priors)).mode_and_scale
        assert len(found.modes) == 1
