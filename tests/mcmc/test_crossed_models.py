"""PyMC models of crossed groups: densities against plain formulas."""

from __future__ import annotations

from dataclasses import replace

import arviz_stats
import numpy as np
import pandas as pd
import pytensor.tensor as pt
import pytest
from scipy import stats

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.joint import log_joint
from hiermodels.mcmc import crossed_approximation
from hiermodels.mcmc.crossed_approximation import LikelySds
from hiermodels.mcmc.model import build_model, outcome_of
from hiermodels.mcmc.parameterization import choose
from hiermodels.results.simulation import draw_variables
from tests.mcmc.test_nuts import assert_agrees, sample

PLAIN = {"mode": "FAST_COMPILE"}  # a few evaluations are not worth compiling for
CLOSE = {"rel": 1e-10}


def rows(seed=0, n=40):
    """Rows of three crossed columns, unbalanced, with empty cells, and one nested in the first."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 6, n)
    return pd.DataFrame(
        {
            "y": 20 + rng.normal(0, 2, 6)[a] + rng.normal(0, 1.5, n),
            "x": rng.normal(1, 1, n),
            "se": rng.uniform(0.5, 2, n),
            "a": np.array(list("pqrstu"))[a],
            "b": rng.integers(0, 5, n),
            "c": rng.integers(0, 2, n),
        }
    )


SDS = {"tau": hm.HalfNormal(3.0), "tau_a": hm.Exponential(1.5), "sigma": hm.HalfNormal(2.0)}
MEANS = {"mu": hm.Normal(18.0, 6.0), "beta": hm.Normal(0.2, 1.0)}
CASES = {  # formula, columns of errors, priors
    "two": ("y ~ x + (1 | a) + (1 | b)", {}, SDS | MEANS),
    "flat": ("y ~ x + (1 | a) + (1 | b)", {}, {}),
    "three": ("y ~ (1 | a) + (1 | b) + (1 | c)", {}, SDS | {"mu": MEANS["mu"]}),
    "nested too": ("y ~ x + (1 | a/c) + (1 | b)", {}, SDS),
    "known errors": ("y ~ x + (1 | a) + (1 | b)", {"se": "se"}, {"tau": hm.HalfNormal(3.0)}),
    "weights": ("y ~ x + (1 | a) + (1 | b)", {"weights": "se"}, SDS),
    "no intercept": ("y ~ 0 + x + (1 | a) + (1 | b)", {}, SDS),
}
PAIRS = [(name, "centered") for name in CASES if name != "flat"]
PAIRS += [(name, "noncentered") for name in ("flat", "nested too", "no intercept")]


def point_of(name, seed=1):
    """Specification, data, and values of all variables."""
    formula, columns, priors = CASES[name]
    frame = rows() if columns else rows().drop(columns="se")
    spec, data = prepare(frame, formula, priors=priors, **columns)
    rng = np.random.default_rng(seed)
    values = {"mu": rng.normal(20, 2), "sigma": rng.uniform(0.8, 2)}
    values["beta"] = rng.normal(0, 0.5, len(spec.covariates))
    for level, groups in zip(spec.levels, data.levels, strict=True):
        values[level.sd] = rng.uniform(0.5, 3)
        values[level.effect] = rng.normal(0, values[level.sd], len(groups))
    return spec, data, {name: np.asarray(values[name]) for name in spec.variables}


def log_density_of(spec, data, values):
    """Rows, effects and priors, from densities of scipy and labels of the rows."""
    frame = rows()
    mean = np.full(len(frame), values["mu"] if spec.intercept else 0.0)
    if spec.covariates:
        mean = mean + values["beta"][0] * frame["x"].to_numpy()
    total = 0.0
    for column, groups in zip(spec.groups, data.levels, strict=True):
        text = frame[column].astype(str)
        if spec.nesting == (-1, 0, -1) and column == "c":
            text = frame["a"] + "/" + text
        own = dict(zip(map(str, groups.labels), values[f"theta_{column}"], strict=True))
        mean = mean + text.map(own).to_numpy()
        total += stats.norm(0, values[f"tau_{column}"]).logpdf(values[f"theta_{column}"]).sum()
    sd = frame["se"].to_numpy() if spec.se else values["sigma"]
    sd = sd / np.sqrt(frame["se"].to_numpy()) if spec.columns else sd
    total += stats.norm(mean, sd).logpdf(frame["y"]).sum()
    for name, prior in spec.priors.items():
        if isinstance(prior, hm.Normal):
            value = values["beta"][0] if name.startswith("beta") else values[name]
            total += stats.norm(prior.mean, prior.sd).logpdf(value)
        elif name in spec.sds:
            total += prior.log_density_sd(values[name])
    return total


def sampled(spec, data, values, model):
    """The same point, in the variables that the model samples."""
    known = dict(values)
    if spec.covariates and spec.intercept:
        weight = data.precision
        centre = weight @ data.design.matrix / weight.sum()
        known["mu_centre"] = values["mu"] + centre @ values["beta"]
    for level in spec.levels:
        centre = known.get("mu_centre", known.get("mu", 0.0))
        known[f"{level.effect}_centre"] = values[level.effect] + centre
        known[f"{level.effect}_offset"] = values[level.effect] / values[level.sd]
    point = {}
    for variable in model.free_RVs:
        value, transform = known[variable.name], model.rvs_to_transforms[variable]
        if transform is not None:
            value = transform.forward(pt.as_tensor(value), *variable.owner.inputs).eval(**PLAIN)
        point[model.rvs_to_values[variable].name] = value
    return point


def log_density(model, point):
    return float(model.compile_logp(jacobian=False, **PLAIN)(point))


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_the_density_is_that_of_plain_formulas(name, form):
    spec, data, values = point_of(name)
    model = build_model(spec, data, form)
    expected = log_density_of(spec, data, values)
    assert log_joint(spec, data, values) == pytest.approx(expected, **CLOSE)
    point = sampled(spec, data, values, model)
    offsets = sum(len(values[lv.effect]) * np.log(values[lv.sd]) for lv in spec.levels)
    more = offsets if form == "noncentered" else 0.0
    assert log_density(model, point) == pytest.approx(expected + more, **CLOSE)
    names = [name for name in spec.variables if name in model.named_vars]
    replaced = model.replace_rvs_by_values([model[name] for name in names])
    found = model.compile_fn(replaced, **PLAIN)(point)
    for variable, value in zip(names, found, strict=True):
        np.testing.assert_allclose(value, values[variable], rtol=1e-9, atol=1e-12)
    assert names == list(spec.variables)


@pytest.mark.parametrize("name", ["nested too", "known errors"])
def test_rows_have_the_density_of_their_means(name):
    spec, data, values = point_of(name)
    model = build_model(spec, data, "centered", "rows")
    expected = log_density_of(spec, data, values)
    point = sampled(spec, data, values, model)
    assert log_density(model, point) == pytest.approx(expected, **CLOSE)
    np.testing.assert_array_equal(model["b_of_row"].get_value(), data.memberships[-1])


def test_another_outcome_of_the_same_rows():
    spec, data, values = point_of("two")
    model = build_model(spec, data, "centered", exchangeable=True)
    other = replace(data, y=data.y[::-1].copy())
    with model:
        for name, value in outcome_of(spec, data)(other).items():
            if name in model:
                model.set_data(name, value)
    expected = log_joint(spec, other, values)
    assert log_density(model, sampled(spec, data, values, model)) == pytest.approx(
        expected, **CLOSE
    )


def balanced(a, b, tau_a, tau_b, seed):
    """A row for each pair, with sigma = 1."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": np.repeat(np.arange(a), b), "b": np.tile(np.arange(b), a)})
    effects = rng.normal(0, tau_a, a)[frame["a"]] + rng.normal(0, tau_b, b)[frame["b"]]
    return frame.assign(y=effects + rng.normal(0, 1, a * b))


PAIRS = "y ~ 1 + (1 | a) + (1 | b)"


def test_the_choice_follows_the_posterior_of_the_sds():
    """Of few groups with a weak effect: the data outweigh the prior in many draws, not in most."""
    priors = {"tau": hm.HalfNormal(2.0)}
    fit = hm.fit(balanced(30, 4, 1.0, 0.3, 3), PAIRS, priors=priors, random_seed=1)
    draws = fit.datatree["posterior"].to_dataset()
    expected = [
        float((rows * draws[f"tau_{name}"] ** 2 >= draws["sigma"] ** 2).mean())
        for name, rows in (("a", 4), ("b", 30))
    ]
    found = LikelySds.of(fit.spec, fit.data).chances()
    np.testing.assert_allclose(found, expected, atol=0.06)  # whole points of a wide lattice
    choice = choose("auto", fit.spec, fit.data)
    assert choice.forms == {"theta_b": "noncentered", "theta_a": "centered"}
    assert "median a's theta_a with probability 1.00, at least 0.8" in choice.reason


def test_very_many_groups_are_looked_at_in_one_place(monkeypatch):
    spec, data = prepare(balanced(30, 20, 5.0, 0.05, 2), PAIRS)
    monkeypatch.setattr(crossed_approximation, "MAX_OTHERS", 3)
    likely = LikelySds.of(spec, data)
    assert likely.theta2.shape == (2, 1)
    np.testing.assert_allclose(likely.theta2[0], 25, rtol=0.4)  # sd of an sd of 30 groups: 13 %
    assert likely.chances().tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("sds", "name"), [((0.8, 0.3), "theta_a"), ((0.5, 2.0), "theta_b")])
def test_the_column_whose_mean_is_known_least_is_around_the_intercept(sds, name):
    """By ``τ²`` for each of its groups: 0.8²/50 > 0.3²/12, and 0.5²/50 < 2²/12."""
    spec, data = prepare(balanced(50, 12, *sds, 3), PAIRS)
    model = build_model(spec, data, "centered")
    assert [n for n in model.named_vars if n.endswith("_centre")] == [f"{name}_centre"]


def test_marginal_is_refused():
    spec, data, _ = point_of("two")
    with pytest.raises(hm.SpecError, match="crossed; take 'centered' or 'noncentered', or engine="):
        build_model(spec, data, "marginal")


def test_simulated_parameters():
    spec, data, _ = point_of("nested too")
    priors = {**dict(spec.priors), **MEANS, "beta[x]": hm.Normal(0.2, 1.0)}
    priors.pop("beta")
    spec = hm.Spec("y", spec.groups, covariates=("x",), priors=priors, nesting=spec.nesting)
    drawn = draw_variables(spec, data, 4000, np.random.default_rng(3))
    for level in spec.levels:
        scaled = drawn[level.effect] / drawn[level.sd][:, None]
        assert abs(scaled.mean()) < 0.05
        assert scaled.std() == pytest.approx(1.0, abs=0.03)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::hiermodels.mcmc.convergence.ConvergenceWarning")
def test_nuts_finds_the_posterior_of_penicillin():
    """Against sums over lattices in two dimensions, of which two spacings differ by 1e-10 sd."""
    frame, formula = hm.datasets.load_penicillin(), "diameter ~ 1 + (1 | plate) + (1 | sample)"
    priors = {"tau": hm.FlatSD()}
    posterior = sample(frame, formula, priors)
    assert_agrees(posterior)
    draws = posterior.datatree["posterior"].to_dataset()
    assert list(draws.data_vars) == list(posterior.spec.variables)
    errors = arviz_stats.mcse(draws)
    means = {"mu": 22.9722222, "tau_plate": 0.8973739, "tau_sample": 2.7074349, "sigma": 0.5537204}
    for name, mean in means.items():
        assert abs(draws[name].mean() - mean) / errors[name] < 4.5, name
