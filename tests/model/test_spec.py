"""Specifications: what they say and what they refuse."""

from __future__ import annotations

import pytest

import hiermodels as hm
from hiermodels.model.priors.variance import Jeffreys


def test_two_levels_in_words():
    spec = hm.Spec("y", ("school",), "sigma", priors={"tau": hm.HalfCauchy(5)})
    assert spec.describe() == [
        "y ~ Normal(theta[school], sigma) with known sigma",
        "theta[school] ~ Normal(mu, tau)",
    ]
    assert spec.describe_priors() == {"mu": "Flat()", "tau": "HalfCauchy(beta=5), on the sd tau"}
    assert (spec.variables, spec.sds) == (("mu", "tau", "theta"), ("tau",))


def test_three_levels_in_words():
    spec = hm.Spec("score", ("school", "class"))
    assert spec.describe() == [
        "score ~ Normal(theta[class], sigma)",
        "theta[class] ~ Normal(mu[school], tau)",
        "mu[school] ~ Normal(lam, kappa)",
    ]
    assert spec.describe_priors() == {
        "lam": "Flat()",
        "kappa": "FlatVariance(), on the variance kappa²",
        "tau": "FlatVariance(), on the variance tau²",
        "sigma": "Jeffreys(), on the variance sigma²",
    }
    assert spec.variables == ("lam", "kappa", "mu", "tau", "theta", "sigma")
    assert spec.dims("theta") == ("class",)
    assert spec.dims("mu") == ("school",)
    assert spec.dims("lam") == spec.dims("tau") == ()


def test_an_unknown_parameter():
    with pytest.raises(hm.SpecError, match="no parameter 'kappa'; it has mu, tau"):
        hm.Spec("y", ("school",), "sigma", priors={"kappa": hm.FlatSD()})


@pytest.mark.parametrize("prior", [hm.Flat(), hm.Normal(0, 1), "flat", 3.0, hm.HalfNormal])
def test_a_prior_of_the_wrong_kind_for_an_sd(prior):
    with pytest.raises(hm.SpecError, match="'tau' needs a prior of an sd or a variance"):
        hm.Spec("y", ("school",), "sigma", priors={"tau": prior})


def test_a_prior_of_the_wrong_kind_for_a_mean():
    with pytest.raises(hm.SpecError, match=r"'mu' needs Flat\(\) or Normal"):
        hm.Spec("y", ("school",), "sigma", priors={"mu": hm.FlatSD()})


def test_too_many_levels():
    with pytest.raises(hm.SpecError, match="expected at most 3 columns"):
        hm.Spec("y", ("a", "b", "c", "d"), "sigma")


def test_frozen():
    spec = hm.Spec("y", ("school",), "sigma")
    with pytest.raises(AttributeError):
        spec.outcome = "z"
    with pytest.raises(TypeError):
        spec.priors["tau"] = Jeffreys()


@pytest.mark.parametrize("name", ["theta", "tau", "mu", "chain", "draw", "row", "coef", "a/b"])
def test_groups_that_are_called_like_a_variable_or_a_dimension(name):
    with pytest.raises(hm.SpecError, match="cannot be the name of a dimension"):
        hm.Spec("y", (name,), "sigma")


@pytest.mark.parametrize("name", ["mg/dl", "row", "chain", "group"])
def test_a_column_that_no_datatree_can_hold_is_refused(schools, name):
    with pytest.raises(hm.SpecError, match=f"outcome: '{name}' cannot be the name"):
        hm.fit(schools.rename(columns={"y": name}), outcome=name, groups="school", se="sigma")
    with pytest.raises(hm.SpecError, match=f"se: '{name}' cannot be the name"):
        hm.fit(schools.rename(columns={"sigma": name}), outcome="y", groups="school", se=name)
