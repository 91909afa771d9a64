"""Other priors of slopes and of three grouping columns; inverse gammas, where σ is integrated."""

from __future__ import annotations

import numpy as np
import pytest

import hiermodels as hm
from hiermodels.exact.block_data import block_model
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.results.other_priors import default_alternatives, priors_with
from tests.exact.test_block_left_out import SLOPES, few_subjects, four_levels

SD, COVARIANCE, VAGUE = hm.FlatSD(), hm.FlatCovariance(), hm.InverseGamma(0.001, 0.001)
UNCORRELATED = "Reaction ~ Days + (1 + Days || Subject)"


@pytest.fixture(scope="module")
def sleep():
    return hm.fit(hm.datasets.load_sleepstudy(), SLOPES, draws=10, random_seed=1)


def test_every_sd_and_the_correlation_are_given_other_priors(sleep):
    found = default_alternatives(sleep.spec, sleep.data)
    assert list(found) == [
        "tau[Intercept] ~ FlatVariance()",
        "tau[Intercept] ~ HalfNormal(sd=56)",
        "tau[Intercept] ~ HalfCauchy(beta=56)",
        "tau[Intercept] ~ InverseGamma(alpha=0.001, beta=0.001)",
        "tau[Days] ~ FlatVariance()",
        "tau[Days] ~ HalfNormal(sd=20)",  # 56 over the sd of days, 2.87
        "tau[Days] ~ HalfCauchy(beta=20)",
        "tau[Days] ~ InverseGamma(alpha=0.001, beta=0.001)",
        "rho ~ LKJ(eta=2)",
        "tau ~ FlatCovariance()",
    ]


def test_priors_of_a_covariance_take_the_place_of_one_another(sleep):
    spec = sleep.spec
    whole = priors_with(spec, {"tau": COVARIANCE})
    assert whole["tau"] == COVARIANCE
    assert not {"tau[Days]", "rho"} & set(whole)
    half = hm.HalfNormal(9)
    both = priors_with(spec, {"tau": half, "tau[Days]": SD})
    assert (both["tau[Intercept]"], both["tau[Days]"], "tau" in both) == (half, SD, False)
    other = hm.fit(
        few_subjects(), SLOPES, priors={"tau": COVARIANCE, "sigma": half}, draws=10, random_seed=1
    )
    assert list(default_alternatives(other.spec, other.data)) == [
        "tau ~ FlatVariance() and rho ~ LKJ(eta=1)",
        "tau ~ FlatSD() and rho ~ LKJ(eta=1)",
    ]
    assert "tau" not in priors_with(other.spec, {"tau": SD, "rho": hm.LKJ(1)})


def test_shifts_are_those_of_two_references(sleep):
    frame = hm.datasets.load_sleepstudy()
    found = sleep.sensitivity({"closer": {"rho": hm.LKJ(4)}, "flat": {"tau": COVARIANCE}})
    old = sleep.reference()
    for name, priors in (("closer", {"rho": hm.LKJ(4)}), ("flat", {"tau": COVARIANCE})):
        new = hm.reference(frame, SLOPES, priors=priors)
        shift = (new.mean["rho"] - old.mean["rho"]) / old.sd["rho"]
        assert found.table.loc[(name, "rho"), "shift_max"] == pytest.approx(abs(float(shift)))
        shift = np.abs((new.mean["tau"] - old.mean["tau"]) / old.sd["tau"])
        assert found.table.loc[(name, "tau"), "shift_max"] == pytest.approx(float(shift.max()))
        assert found.table.loc[(name, "tau"), "where"] == str(
            ("Intercept", "Days")[int(np.argmax(shift.data))]
        )
        values = np.linspace(1, 60, 4000)[:, None] * [1.0, 0.25]
        below = np.abs(new.cdf("tau", values) - old.cdf("tau", values)).max()
        assert found.table.loc[(name, "tau"), "kolmogorov"] == pytest.approx(float(below), abs=2e-3)
        shift = np.abs((new.mean["theta"] - old.mean["theta"]) / old.sd["theta"]).to_numpy()
        subject, effect = np.unravel_index(shift.argmax(), shift.shape)
        where = f"{sleep.data.coords['Subject'][subject]}, {('Intercept', 'Days')[effect]}"
        assert found.table.loc[(name, "theta"), "where"] == where
    assert "Another prior of tau moves" in found.verdict
    for level in (None, "Subject"):
        assert found.plot(level=level) is not None
    assert found.plot(level="theta", effect="Days") is not None


def test_an_inverse_gamma_among_slopes_is_integrated_to_eight_digits():
    """σ integrated at each node, or with a coordinate of its own: the same moments."""
    priors = {"tau": VAGUE, "tau[Days]": hm.HalfNormal(20), "sigma": hm.InverseGamma(2, 500)}
    fit = hm.fit(few_subjects(), UNCORRELATED, priors=priors, draws=10, random_seed=1)
    found = fit.reference().posterior
    assert found.model.relative
    assert found.certificate < 1e-8
    absolute = block_model(fit.spec, fit.data)
    absolute = type(absolute)(**{**vars_of(absolute), "integrate_sigma": False})
    expected = BlockPosterior.of(absolute, tol=1e-7)
    assert not expected.model.relative
    sd = expected.sd_moments()[1]
    for mine, theirs in zip(found.sd_moments(), expected.sd_moments(), strict=True):
        np.testing.assert_allclose(mine / sd, theirs / sd, rtol=0, atol=2e-7)
    assert found.log_integral == pytest.approx(expected.log_integral, abs=1e-7)


def vars_of(model):
    return {name: getattr(model, name) for name in model.__dataclass_fields__}


def test_three_grouping_columns_under_inverse_gammas_reach_eight_digits():
    frame = four_levels().drop(columns="se")
    priors = {f"tau_{name}": hm.HalfNormal(1) for name in "abc"}
    for name in "abc":
        own = priors | {f"tau_{name}": VAGUE}
        reference = hm.reference(frame, "y ~ x + (1 | a/b/c)", priors=own)
        assert reference.posterior.model.relative
        assert reference.certificate < 1e-8


def test_an_inverse_gamma_agrees_with_the_tree():
    """Intercepts alone, by the two engines."""
    frame = few_subjects()
    priors = {"tau": VAGUE, "sigma": hm.HalfNormal(50)}
    expected = hm.reference(frame, "Reaction ~ Days + (1 | Subject)", priors=priors)
    model = block_model(expected.spec, expected.data)
    found = BlockPosterior.of(model)
    assert found.model.relative
    mean, sd = found.sd_moments()
    scale = [float(expected.sd[name]) for name in ("tau", "sigma")]
    exact = [
        [float(part[name]) for name in ("tau", "sigma")] for part in (expected.mean, expected.sd)
    ]
    np.testing.assert_allclose(mean / scale, np.array(exact[0]) / scale, rtol=0, atol=1e-8)
    np.testing.assert_allclose(sd / scale, np.array(exact[1]) / scale, rtol=0, atol=1e-8)
