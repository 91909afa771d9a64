"""Counts against posteriors that were computed with another code: see ``count_figures``."""

from __future__ import annotations

import numpy as np
import pytest

import hiermodels as hm
from tests.oracles.count_figures import FIGURES, model

TWO_LEVELS = [name for name in FIGURES if "three" not in name and "seeds" not in name]
Q = ("0.025", "0.5", "0.975")
PROBABILITIES = [float(p) for p in Q]
_REFERENCES: dict[str, hm.ReferencePosterior] = {}


def reference(name):
    if name not in _REFERENCES:
        data, said = model(name)
        _REFERENCES[name] = hm.reference(data, **said)
    return _REFERENCES[name]


def own(values, figures):
    """Of a variable with a value for each group those of which figures are known."""
    numbers = values.to_numpy()
    return numbers[..., figures["groups"]] if "group" in values.dims else numbers


@pytest.mark.parametrize("name", TWO_LEVELS)
def test_moments(name):
    exact, figures = reference(name), FIGURES[name]
    assert exact.certificate < 1e-9
    for variable in {"tau", "mu", "theta", "p", "rate"} & figures.keys():
        mean, sd = (np.array(figures[variable][of]) for of in ("mean", "sd"))
        found = own(exact.mean[variable], figures)
        np.testing.assert_allclose((found - mean) / sd, 0.0, atol=1e-10)
        np.testing.assert_allclose(own(exact.sd[variable], figures) / sd, 1.0, atol=1e-10)


@pytest.mark.parametrize("name", TWO_LEVELS)
def test_quantiles(name):
    exact, figures = reference(name), FIGURES[name]
    for variable in {"tau", "mu", "theta", "p", "rate"} & figures.keys():
        if "quantile" not in figures[variable]:
            continue
        found = exact.quantile(PROBABILITIES, variable)[variable]
        known = np.array([figures[variable]["quantile"][p] for p in Q])
        sd = np.array(figures[variable]["sd"])
        np.testing.assert_allclose((own(found, figures) - known) / sd, 0.0, atol=1e-6)
        medians = exact.quantile(0.5, variable)[variable].to_numpy()[0]
        np.testing.assert_allclose(exact.cdf(variable, medians), 0.5, atol=1e-9)


def test_log_marginal_likelihood():
    known = FIGURES["surgical_proper"]["log_integral"]
    assert reference("surgical_proper").log_marginal_likelihood == pytest.approx(known, abs=1e-10)


def test_a_flat_prior_has_no_marginal_likelihood():
    with pytest.raises(hm.ImproperPosteriorError, match="these are not: mu ~ Flat"):
        _ = reference("pumps_half_normal1").log_marginal_likelihood


@pytest.mark.parametrize("name", ["imatinib_half_normal1", "nielweise2007_half_normal0.5"])
def test_draws(name):
    """Means of independent draws, in their standard errors."""
    data, said = model(name)
    fit = hm.fit(data, **said, random_seed=1)
    exact, drawn = reference(name), fit.datatree["posterior"].to_dataset()
    for variable in fit.spec.variables:
        error = exact.sd[variable] / np.sqrt(4000)
        z = (drawn[variable].mean(["chain", "draw"]) - exact.mean[variable]) / error
        assert np.abs(z).max() < 4.5


@pytest.mark.parametrize("name", ["surgical_half_normal1", "nielweise2007_half_normal0.5"])
def test_successes_and_failures_may_be_exchanged(name):
    data, said = model(name)
    if "family" in said:
        arms = {"a": data["n1"] - data["a"], "c": data["n2"] - data["c"]}
        other = hm.reference(data.assign(**arms), **said)
    else:
        other = hm.reference(data.assign(r=data["n"] - data["r"]), **said)
    exact = reference(name)
    for variable in ("mu", "theta"):
        np.testing.assert_allclose(other.mean[variable], -exact.mean[variable], rtol=1e-9)
    np.testing.assert_allclose(other.sd["tau"], exact.sd["tau"], rtol=1e-9)


def test_a_heavy_tail_of_tau_keeps_its_moments():
    """With tau up to 1e130 on the lattice, a group without events goes where tau goes."""
    data = hm.datasets.load_surgical().head(5)
    said = {"outcome": "deaths", "trials": "cases", "groups": "hospital"}
    said["priors"] = {"mu": hm.Normal(0, 2.5)}
    exact, fit = hm.reference(data, **said), hm.fit(data, **said, random_seed=1)
    assert np.isnan(exact.sd["theta"]).to_numpy().tolist() == [True] + [False] * 4
    assert np.isfinite(exact.mean["theta"]).all()
    drawn = fit.datatree["posterior"].to_dataset()
    z = (drawn["mu"].mean() - exact.mean["mu"]) / exact.sd["mu"] * np.sqrt(4000)
    assert abs(z) < 4
    for name in ("tau", "mu", "theta", "p"):
        medians = exact.quantile([0.47, 0.53], name)[name]
        middle = drawn[name].median(["chain", "draw"])
        assert ((medians[0] < middle) & (middle < medians[1])).all()
