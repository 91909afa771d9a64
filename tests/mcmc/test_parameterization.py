"""How a model's levels are stated, against the dense algebra that the rule speaks of."""

from __future__ import annotations

import numpy as np
import pytest

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.standardize import standardize
from hiermodels.mcmc import parameterization


def classrooms(**truth):
    return hm.datasets.simulate_classrooms(20, (2, 6), (2, 9), random_seed=1, **truth)


def choose(frame, *asked, **roles):
    return parameterization.choose(*(asked or ("auto",)), *prepare(frame, **roles))


def dense_weights(data, sds):
    """How little ``E[value | y]`` moves with the value's parent, from the rows' covariance."""
    weights, n = [], len(data.y)
    rows, unit = data.se**2 if data.se is not None else np.full(n, sds["sigma"] ** 2), data.group
    covariance = np.diag(rows)
    for level, name in enumerate(("tau", "kappa")[: len(data.sizes)]):
        with_unit = sds[name] ** 2 * (unit == np.arange(data.sizes[level])[:, None])
        covariance += sds[name] ** 2 * (unit[:, None] == unit)
        weights.append(np.linalg.solve(covariance, with_unit.T).sum(axis=0))
        unit = data.parents[level][unit] if level < len(data.parents) else unit
    return weights


@pytest.mark.parametrize("groups", [["classroom"], ["school", "classroom"]])
def test_weights_of_the_data_are_those_of_the_dense_posterior(groups):
    spec, data = prepare(classrooms(), outcome="score", groups=groups)
    marginal = Marginal.of(spec, standardize(data))
    sds = dict(zip(spec.sds, (0.8, 0.6, 1.7) if len(groups) == 2 else (0.8, 1.7), strict=True))
    found = parameterization.weights_of_data(marginal, np.array(list(sds.values())))
    for weights, expected in zip(found[::-1], dense_weights(data, sds), strict=True):
        np.testing.assert_allclose(weights, expected, rtol=1e-10)


def test_weights_of_the_data_with_known_errors(schools):
    marginal = Marginal.of(*(lambda spec, data: (spec, standardize(data)))(*prepare(schools)))
    [weights] = parameterization.weights_of_data(marginal, np.array([7.0]))
    np.testing.assert_allclose(weights, 49 / (49 + schools["sigma"] ** 2), rtol=1e-12)


def test_small_errors_flip_the_choice(schools):
    assert choose(schools).name == "noncentered"
    precise = choose(schools.assign(sigma=schools["sigma"] / 10))
    assert precise.name == "centered"
    assert precise.forms == {"theta": "centered"}
    assert precise.reason.endswith("school's theta is 0.99, at least ½")


def test_a_prior_has_its_say(schools):
    frame = schools.assign(sigma=schools["sigma"] / 10)
    tight = choose(frame, priors={"tau": hm.HalfNormal(0.1)})
    assert tight.name == "noncentered"


def test_more_rows_flip_the_choice():
    few = hm.datasets.simulate_classrooms(20, 5, 2, tau=0.5, random_seed=1)
    many = hm.datasets.simulate_classrooms(20, 5, 50, tau=0.5, random_seed=1)
    assert choose(few).forms["theta"] == "noncentered"
    assert choose(many).forms["theta"] == "centered"


def test_each_level_has_its_own_form():
    pastes = choose(hm.datasets.load_pastes(), outcome="strength", groups=["batch", "cask"])
    assert pastes.name == "theta centered, mu noncentered"
    assert pastes.stated == {"theta": "centered", "mu": "noncentered"}
    assert "median cask's theta" in pastes.reason
    assert "median batch's mu is 0.39, less than ½" in pastes.reason
    other = choose(classrooms(kappa=3.0, tau=0.2))
    assert other.name == "theta noncentered, mu centered"


@pytest.mark.parametrize(
    ("load", "model", "expected"),
    [
        (hm.datasets.load_eight_schools, {}, "noncentered"),
        (hm.datasets.load_baseball, {"groups": "player", "se": "sigma"}, "noncentered"),
        (
            hm.datasets.load_school_calendar,
            {"groups": ["district", "school"], "se": "se"},
            "centered",
        ),
        (hm.datasets.load_dyestuff, {"formula": "yield_ ~ (1 | batch)"}, "centered"),
    ],
)
def test_the_forms_of_the_bundled_data(load, model, expected):
    """So their default draws are those of a form that ``test_engines_agree`` judges."""
    outcome = {} if "formula" in model else {"outcome": "y"}
    assert choose(load(), **outcome, **model).name == expected


def test_the_expectation_is_that_of_the_posterior(schools):
    """The coarse scan against the quadrature of the reference, to what a coarse scan can do."""
    spec, data = prepare(schools)
    reference = hm.reference(schools)
    tau = reference.quantile(np.linspace(0.005, 0.995, 100))["tau"].to_numpy()
    weights = np.median(tau[:, None] ** 2 / (tau[:, None] ** 2 + data.se**2), axis=1)
    found = float(parameterization.choose("auto", spec, data).reason.split("is ")[1].split(",")[0])
    assert found == pytest.approx(weights.mean(), abs=0.02)


def test_the_unit_of_the_outcome_does_not_matter(schools):
    tiny = schools.assign(y=1e-9 * schools["y"], sigma=1e-9 * schools["sigma"])
    assert choose(tiny) == choose(schools)


def test_what_is_asked_for_is_done(schools):
    spec, data = prepare(schools)
    for asked in parameterization.PARAMETERIZATIONS:
        choice = parameterization.choose(asked, spec, data)
        assert (choice.name, choice.reason) == (asked, "as asked for")
        assert parameterization.choose(choice.stated, spec, data) == choice


def test_one_population_has_no_choice():
    frame = hm.datasets.load_eight_schools()[["y"]]
    for asked in ("auto", "noncentered"):
        choice = choose(frame, asked, groups=())
        assert choice.forms == {}
        assert choice.stated == "centered"


@pytest.mark.parametrize(
    "asked", ["partial", {"theta": "centered", "mu": "centered"}, {"theta": "marginal"}, {}]
)
def test_what_is_not_known_is_refused(schools, asked):
    with pytest.raises(hm.SpecError, match=r"parameterization: expected .* found"):
        choose(schools, asked)


def test_rows_cannot_be_had_of_values_that_are_integrated_out(schools):
    spec, data = prepare(schools)
    with pytest.raises(hm.SpecError, match=r"'marginal' integrates out .* observed='rows'"):
        parameterization.choose("marginal", spec, data, "rows")
    with pytest.raises(hm.SpecError, match=r"observed: expected .* found 'raw'"):
        parameterization.choose("auto", spec, data, "raw")
