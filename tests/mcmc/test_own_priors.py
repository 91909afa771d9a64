"""Priors of a user's own in PyMC: stated by their density, by themselves, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pymc as pm
import pytest
from scipy import stats

import hiermodels as hm

PLAIN = {"mode": "FAST_COMPILE"}
TAU = np.array([0.1, 0.7, 2.0, 9.0])


@dataclass(frozen=True)
class Rayleigh(hm.VariancePrior):
    """``p(τ) = τ/s² exp(−τ²/2s²)``."""

    s: float
    scale: ClassVar = "sd"
    lower_tail: ClassVar[float] = 1.0
    upper_tail: ClassVar[float] = -np.inf

    def log_density_log_sd(self, t):
        u = t - np.log(self.s)
        return 2 * u - np.exp(2 * u) / 2


@dataclass(frozen=True)
class Steeper(hm.HalfNormal):
    """Inherits what a half-normal is in PyMC, and has another density."""

    def log_density_log_sd(self, t):
        return super().log_density_log_sd(t) - np.exp(t)


@dataclass(frozen=True)
class Cubic(hm.VariancePrior):
    """``p(τ) = 3 τ²/upper³`` up to a bound, and 0 beyond, which needs numbers."""

    upper: float
    scale: ClassVar = "sd"
    lower_tail: ClassVar[float] = 1.5
    upper_tail: ClassVar[float] = -np.inf

    def log_density_log_sd(self, t):
        bound = np.log(self.upper)
        return np.where(t <= bound, np.log(3) + 3 * (t - bound), -np.inf)


@dataclass(frozen=True)
class StatedCubic(Cubic):
    def to_pymc(self, pm, name, start=1.0):
        return pm.Deterministic(name, self.upper * pm.Beta(f"{name}_share", 3.0, 1.0))


@dataclass(frozen=True)
class BoundedPower(hm.VariancePrior):
    """The same without a case for what lies beyond the bound."""

    upper: float
    scale: ClassVar = "sd"
    lower_tail: ClassVar[float] = 1.5
    upper_tail: ClassVar[float] = -np.inf

    def log_density_log_sd(self, t):
        return np.log(3) + 3 * (t - np.log(self.upper))


def density_in(model, variable="tau"):
    value = model[variable].type("value")
    compiled = pm.compile([value], pm.logp(model[variable], value), **PLAIN)
    return np.array([float(compiled(tau)) for tau in TAU])


@pytest.mark.parametrize("prior", [Rayleigh(4.0), Steeper(2.0), Steeper(2)], ids=str)
def test_the_density_states_it(schools, prior):
    model = hm.two_level(schools, priors={"tau": prior})
    np.testing.assert_allclose(density_in(model), prior.log_density_sd(TAU), rtol=1e-12)
    assert np.isfinite(model.compile_logp(**PLAIN)(model.initial_point()))


def test_draws_come_from_the_density(schools):
    model = hm.two_level(schools, priors={"tau": Rayleigh(4.0), "mu": hm.Normal(0, 5)})
    drawn = pm.draw(model["tau"], 2000, random_seed=1, **PLAIN)
    assert stats.kstest(drawn, stats.rayleigh(scale=4).cdf).pvalue > 1e-3
    assert "tau ~ Rayleigh" in model.str_repr()


def test_a_class_with_another_density_does_not_inherit_draws():
    drawn = Steeper(2.0).draw(20_000, np.random.default_rng(1))
    tau = np.linspace(0, 12, 4001)
    density = np.exp(-(tau**2) / 8 - tau)
    below = np.append(0, np.cumsum(density[1:] + density[:-1]))
    law = lambda x: np.interp(x, tau, below / below[-1])  # noqa: E731
    assert stats.kstest(drawn, law).pvalue > 1e-3


def test_a_bound_is_kept(schools):
    model = hm.two_level(schools, priors={"tau": BoundedPower(3.0)})
    (name,) = (v.name for v in model.value_vars if v.name.startswith("tau"))
    assert name == "tau_interval__"
    assert model.initial_point()[name] == 0.0  # half of the bound, as the data's unit lies beyond


def test_a_density_that_needs_numbers_is_refused_with_remedies(schools):
    refusal = (
        r"PyMC cannot state Cubic\(upper=30\) of 'tau': Cubic\.log_density_log_sd needs numbers.*"
        r"Give Cubic a method to_pymc\(pm, name, start\).*engine='exact'"
    )
    with pytest.raises(hm.SpecError, match=refusal):
        hm.two_level(schools, priors={"tau": Cubic(30.0)})
    assert hm.reference(schools, priors={"tau": Cubic(30.0)}).mean["tau"] > 0


def test_it_may_state_itself(schools):
    model = hm.two_level(schools, priors={"tau": StatedCubic(30.0)})
    assert next(v.name for v in model.free_RVs) == "tau_share"


@pytest.mark.slow
def test_both_engines_have_one_posterior(schools):
    roles = {"priors": {"tau": Rayleigh(4.0)}, "random_seed": 1}
    fit = hm.fit(schools, engine="nuts", progressbar=False, **roles)
    assert hm.compare(fit, hm.reference(schools, priors=roles["priors"])).passed
