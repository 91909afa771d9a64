"""Columns that a formula crosses, and the data nest: the model is that of nested ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import hiermodels as hm
from hiermodels.results.report.sections import _roles as roles_of
from tests.oracles.dense_crossed import Crossed

CROSSED, NESTED = "strength ~ 1 + (1 | jar) + (1 | batch)", "strength ~ 1 + (1 | batch/jar)"
NAMES = {"lam", "kappa", "mu", "tau", "theta", "sigma"}


@pytest.fixture(scope="module")
def pastes():
    data = hm.datasets.load_pastes()
    return data.assign(jar=data["batch"] + data["cask"])


@pytest.fixture(scope="module")
def fits(pastes):
    both = {CROSSED: {"tau": hm.HalfNormal(3.0), "tau_jar": hm.HalfNormal(5.0)}}
    both[NESTED] = {"kappa": hm.HalfNormal(3.0), "tau": hm.HalfNormal(5.0)}
    return [hm.fit(pastes, f, priors=p, draws=100, random_seed=1) for f, p in both.items()]


def test_draws_and_the_reference_are_the_same(fits):
    found, nested = fits
    assert found.spec == nested.spec
    draws = [fit.datatree["posterior"].to_dataset() for fit in fits]
    assert draws[0].equals(draws[1])
    assert set(draws[0].data_vars) == NAMES
    means, sds = ([getattr(fit.reference(), what) for fit in fits] for what in ("mean", "sd"))
    for name in NAMES:
        assert_allclose(means[0][name], means[1][name], rtol=0, atol=1e-10)
        assert_allclose(sds[0][name], sds[1][name], rtol=1e-10)


def test_the_posterior_is_that_of_the_crossed_formula(pastes):
    """Of the sum of two effects, given sds, by one large normal distribution in many digits."""
    sds = {"kappa": 1.5, "tau": 2.0, "sigma": 0.8}
    fixed = {"tau_batch": 1.5, "tau_jar": 2.0, "sigma": 0.8}
    priors = {name: hm.Fixed(value) for name, value in fixed.items()}
    found = hm.reference(pastes, CROSSED, priors=priors).mean
    members = [pd.factorize(pastes[column])[0] for column in ("batch", "jar")]
    x, y = np.ones((60, 1)), pastes["strength"].to_numpy()
    theta = sds["kappa"] / sds["sigma"], sds["tau"] / sds["sigma"]
    mean, _ = Crossed(x, y, tuple(members), (10, 30), np.ones(60), theta).joint
    parent = members[0][np.unique(members[1], return_index=True)[1]]
    batch = mean[0] + mean[1:11]
    assert_allclose(found["mu"], batch, rtol=0, atol=1e-10)
    assert_allclose(found["theta"], batch[parent] + mean[11:], rtol=0, atol=1e-10)


def test_predictions_estimates_and_reports(fits):
    new = pd.DataFrame({"batch": ["A", "A", "new"], "jar": ["Ab", "new", "newer"]})
    predictions = [fit.predict(new).to_frame() for fit in fits]
    pd.testing.assert_frame_equal(*predictions)
    estimates = [str(fit.estimates()) for fit in fits]
    assert estimates[0] == estimates[1]
    said = "each jar lies in one batch, so that this is (1 | batch/jar)"
    assert said in str(fits[0])
    assert said in dict(roles_of(fits[0].data))["note"]


def test_pymc_models_have_the_same_names(pastes):
    models = [hm.build_model(pastes, formula, priors="weak") for formula in (CROSSED, NESTED)]
    assert set(models[0].named_vars) == set(models[1].named_vars)


def test_two_names_of_one_parameter_are_refused(pastes):
    for crossed, nested in (("tau_batch", "kappa"), ("mu", "lam")):
        priors = {crossed: hm.Fixed(1.0), nested: hm.Fixed(2.0)}
        with pytest.raises(hm.SpecError, match=f"'{crossed}' and '{nested}' are one parameter"):
            hm.reference(pastes, CROSSED, priors=priors)


def test_sensitivity_takes_the_names_of_either_formula(fits):
    found, nested = fits
    wide = hm.HalfNormal(9.0)
    same = {"kappa": wide, "tau": wide}, {"kappa": wide}, {"tau": wide}
    crossed = {"tau": wide}, {"tau_batch": wide}, {"tau_jar": wide}
    for one, other in zip(crossed, same, strict=True):
        tables = [fit.sensitivity({"wide": p}).table for fit, p in ((found, one), (nested, other))]
        pd.testing.assert_frame_equal(*tables)
