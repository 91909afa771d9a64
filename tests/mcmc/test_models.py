"""PyMC models: their log densities against plain formulas, row by row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytensor.tensor as pt
import pytest
from pymc.model_graph import ModelGraph, model_to_mermaid
from scipy import stats
from scipy.stats import norm

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.joint import log_joint
from hiermodels.exact.kernels.tree.marginal import log_likelihood
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.standardize import standardize
from hiermodels.mcmc import model as models
from hiermodels.mcmc.parameterization import FORMS, OBSERVED, PARAMETERIZATIONS
from hiermodels.mcmc.transforms import UnitScale

PLAIN = {"mode": "FAST_COMPILE"}  # a few evaluations are not worth compiling for
CLOSE = {"rel": 1e-11}


def pupils(seed=0):
    """Rooms in schools, unbalanced, with a standard error and two covariates for each row."""
    rng = np.random.default_rng(seed)
    rooms = np.repeat(np.arange(8), rng.integers(1, 5, 8))
    n = len(rooms)
    return pd.DataFrame(
        {
            "school": [f"s{room // 3}" for room in rooms],
            "room": [f"r{room}" for room in rooms],
            "y": 50 + rng.normal(0, 3, 8)[rooms] + rng.normal(0, 2, n),
            "se": rng.uniform(0.5, 3, n),
            "ses": rng.normal(4, 0.5, n),
            "size": rng.normal(0, 20, 8)[rooms],
        }
    )


PROPER = {"mu": hm.Normal(45.0, 10.0), "tau": hm.HalfNormal(3.0), "sigma": hm.HalfNormal(2.0)}
OUTER = {"lam": PROPER["mu"], "kappa": hm.HalfNormal(4.0)}
BETA = {"beta": hm.Normal(0.5, 2.0)}


def without(priors, *names):
    return {name: prior for name, prior in priors.items() if name not in names}


CASES = {
    "se": ("y ~ 1 + (1 | room)", "se", without(PROPER, "sigma")),
    "sigma": ("y ~ 1 + (1 | room)", None, PROPER),
    "three levels": ("y ~ 1 + (1 | school/room)", None, without(PROPER, "mu") | OUTER),
    "covariates": ("y ~ ses + size + (1 | room)", None, PROPER | BETA),
    "all": (
        "y ~ ses + size + (1 | school/room)",
        "se",
        without(PROPER, "mu", "sigma") | OUTER | BETA,
    ),
}


@dataclass
class Point:
    """Values of all parameters, and the density of parameters and rows by plain formulas."""

    spec: hm.Spec
    data: hm.GroupedData
    sds: dict
    beta: np.ndarray
    offsets: dict

    @classmethod
    def random(cls, name, seed):
        formula, se, priors = CASES[name]
        frame = pupils() if se else pupils().drop(columns="se")
        spec, data = prepare(frame, formula, se=se, priors=priors)
        rng = np.random.default_rng(seed)
        sizes = dict(zip(spec.locations, (*data.sizes, 1), strict=True))
        return cls(
            spec,
            data,
            {sd: rng.uniform(0.5, 3) for sd in spec.sds},
            rng.normal(size=len(spec.covariates)),
            {value: rng.normal(size=size) for value, size in sizes.items()},
        )

    @property
    def locations(self):
        """The intercept and the effects, each its parent's plus its sd times its offset."""
        names, spec = list(reversed(self.spec.locations)), self.spec
        locations = {names[0]: 50 + 5 * self.offsets[names[0]]}
        for above, name in pairwise(names):
            locations[name] = self.parents(name, locations[above]) + (
                self.sds[spec.spreads[spec.locations.index(name)]] * self.offsets[name]
            )
        return locations

    def parents(self, name, above):
        level = self.spec.locations.index(name)
        return above[self.data.parents[level]] if level < len(self.data.parents) else above[0]

    def log_prior_of_tops(self):
        """Density of the logarithms of the sds, of the intercept and of β."""
        total = sum(
            self.spec.variance_prior(name).log_density_log_sd(np.log(sd))
            for name, sd in self.sds.items()
        )
        top = self.spec.priors[self.spec.intercept]
        total += norm(top.mean, top.sd).logpdf(self.locations[self.spec.intercept]).sum()
        return total + norm(0.5, 2.0).logpdf(self.beta).sum()

    def log_density_of_effects(self):
        locations, names = self.locations, self.spec.locations
        pairs = zip(names, names[1:], self.spec.spreads, strict=False)
        return sum(
            norm(self.parents(name, locations[above]), self.sds[sd]).logpdf(locations[name]).sum()
            for name, above, sd in pairs
        )

    def log_density_of_rows(self):
        mean = self.locations["theta"][self.data.group] + self.data.design.matrix @ self.beta
        sigma = self.data.se if self.data.se is not None else self.sds["sigma"]
        return norm(mean, sigma).logpdf(self.data.y).sum()

    def sampled(self, model):
        """The same point, in the variables that the model samples."""
        standard = standardize(self.data)
        shift = self.data.design.matrix.mean(axis=0) @ self.beta
        if self.data.se is not None:
            shift = (
                np.average(self.data.design.matrix, axis=0, weights=self.data.se**-2.0) @ self.beta
            )
        point = {}
        for variable in model.value_vars:
            name = variable.name
            known = name.removesuffix("_log__").removesuffix("_unit__").removesuffix("_centre")
            if name.endswith("_log__"):
                point[name] = np.log(self.sds[known])
            elif name.endswith("_offset"):
                point[name] = self.offsets[name.removesuffix("_offset")]
            elif known == "beta":
                point[name] = np.linalg.solve(standard.scale * standard.basis, self.beta)
            else:
                values = (self.locations[known] + shift - standard.location) / standard.scale
                point[name] = values if variable.ndim else values[0]
        return point

    def log_jacobian(self, model):
        """Of the variables that are sampled in a unit of their own."""
        standard = standardize(self.data)
        total = 0.0
        for variable in model.value_vars:
            if variable.name == "beta_unit__":
                total += np.linalg.slogdet(standard.scale * standard.basis)[1]
            elif variable.name.endswith("_unit__"):
                total += np.log(standard.scale) * np.size(self.sampled(model)[variable.name])
        return total


@pytest.mark.parametrize("name", CASES)
def test_centered_is_the_joint_density_of_rows_and_parameters(name):
    point = Point.random(name, 1)
    model = models.build_model(point.spec, point.data, "centered")
    expected = point.log_prior_of_tops() + point.log_density_of_effects()
    expected += point.log_density_of_rows() + point.log_jacobian(model)
    found = model.compile_logp(**PLAIN)(point.sampled(model))
    assert found == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("name", CASES)
def test_the_joint_density_of_stored_variables_is_pymc_s(name):
    """Of the centred model without the Jacobians of what it samples."""
    point = Point.random(name, 3)
    model = models.build_model(point.spec, point.data, "centered")
    expected = model.compile_logp(jacobian=False, **PLAIN)(point.sampled(model))
    variables = {name: np.array([sd]) for name, sd in point.sds.items()} | {
        name: values[None] if point.spec.dims(name) else values
        for name, values in point.locations.items()
    }
    if point.spec.covariates:
        variables["beta"] = point.beta[None]
    found = log_joint(point.spec, point.data, variables).item()
    assert found == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("name", CASES)
def test_noncentered_is_the_joint_density_of_rows_and_offsets(name):
    point = Point.random(name, 2)
    model = models.build_model(point.spec, point.data, "noncentered")
    offsets = [point.offsets[value] for value in point.spec.locations[:-1]]
    expected = point.log_prior_of_tops() + sum(norm.logpdf(offset).sum() for offset in offsets)
    expected += point.log_density_of_rows() + point.log_jacobian(model)
    found = model.compile_logp(**PLAIN)(point.sampled(model))
    assert found == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("parameterization", ["centered", "noncentered"])
@pytest.mark.parametrize("name", CASES)
def test_rows_have_the_density_of_their_means_and_scatter(name, parameterization):
    first = Point.random(name, 4)
    means, rows = (
        models.build_model(first.spec, first.data, parameterization, observed).compile_logp(**PLAIN)
        for observed in OBSERVED
    )
    model = models.build_model(first.spec, first.data, parameterization)
    for seed in (4, 5, 6):
        point = Point.random(name, seed).sampled(model)
        assert rows(point) == pytest.approx(means(point), **CLOSE)


@pytest.mark.parametrize("name", ["sigma", "three levels", "covariates"])
def test_rows_and_means_agree_under_flat_priors(name):
    formula = CASES[name][0]
    proper = {"kappa": hm.HalfNormal(1.0)} if "/" in formula else {}
    spec, data = prepare(pupils().drop(columns="se"), formula, priors=proper)
    by = [models.build_model(spec, data, "auto", observed) for observed in OBSERVED]
    means, rows = (model.compile_logp(**PLAIN) for model in by)
    start, rng = by[0].initial_point(), np.random.default_rng(1)
    for _ in range(3):
        point = {key: value + rng.normal(size=np.shape(value)) for key, value in start.items()}
        assert rows(point) == pytest.approx(means(point), **CLOSE)


def test_a_mapping_states_each_level():
    point = Point.random("three levels", 1)
    forms = {"theta": "centered", "mu": "noncentered"}
    mixed = models.build_model(point.spec, point.data, forms)
    names = [variable.name for variable in mixed.free_RVs]
    assert names == ["tau", "kappa", "sigma", "lam", "mu_offset", "theta"]
    expected = point.log_prior_of_tops() + norm.logpdf(point.offsets["mu"]).sum()
    theta, mu = point.locations["theta"], point.locations["mu"]
    expected += norm(point.parents("theta", mu), point.sds["tau"]).logpdf(theta).sum()
    expected += point.log_density_of_rows() + point.log_jacobian(mixed)
    found = mixed.compile_logp(**PLAIN)(point.sampled(mixed))
    assert found == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("parameterization", ["centered", "noncentered"])
@pytest.mark.parametrize("name", CASES)
def test_reported_values_belong_to_the_point(name, parameterization):
    point = Point.random(name, 3)
    model = models.build_model(point.spec, point.data, parameterization)
    names = [*point.spec.locations, *point.spec.sds]
    evaluate = model.compile_fn(
        model.replace_rvs_by_values([model[name] for name in names]),
        inputs=model.value_vars,
        on_unused_input="ignore",
        **PLAIN,
    )
    expected = {**point.locations, **point.sds}
    for name, found in zip(names, evaluate(point.sampled(model)), strict=True):
        np.testing.assert_allclose(np.ravel(found), np.ravel(expected[name]), rtol=1e-9)


def dense_log_likelihood(point):
    """``log p(y | sds)`` from the covariance of all rows."""
    data, spec = point.data, point.spec
    x = data.design.matrix
    top = spec.priors[spec.intercept]
    unit = data.group
    covariance = np.diag(
        data.se**2 if data.se is not None else np.full(len(unit), point.sds["sigma"] ** 2)
    )
    covariance += top.sd**2 + 4.0 * x @ x.T
    for level, name in enumerate(spec.spreads):
        covariance += point.sds[name] ** 2 * (unit[:, None] == unit)
        unit = data.parents[level][unit] if level < len(data.parents) else unit
    mean = top.mean + x @ np.full(x.shape[1], 0.5)
    return stats.multivariate_normal(mean, covariance).logpdf(data.y)


@pytest.mark.parametrize("name", CASES)
def test_marginal_is_the_dense_density_of_the_rows(name):
    for seed in range(3):
        point = Point.random(name, seed)
        model = models.build_model(point.spec, point.data, "marginal")
        found = model.compile_logp(vars=model.potentials, **PLAIN)(point.sampled(model))
        assert found == pytest.approx(dense_log_likelihood(point), **CLOSE)


@pytest.mark.parametrize("name", CASES)
def test_marginal_under_flat_priors_is_the_recursion(name):
    formula, se, _ = CASES[name]
    frame = pupils() if se else pupils().drop(columns="se")
    proper = {"kappa": hm.HalfNormal(1.0)} if "/" in formula else {}
    spec, data = prepare(frame, formula, se=se, priors=proper)
    marginal = Marginal.of(spec, standardize(data))
    sds = np.random.default_rng(1).uniform(0.01, 5, (4, len(spec.sds)))
    expected = log_likelihood(marginal.data.tree, marginal.variances_of(sds), marginal.coefficients)
    expected += marginal.data.log_jacobian
    model = models.build_model(spec, data, "marginal")
    logp = model.compile_logp(vars=model.potentials, **PLAIN)
    for row, value in zip(sds, expected, strict=True):
        point = {f"{name}_log__": log for name, log in zip(spec.sds, np.log(row), strict=True)}
        assert logp(point) == pytest.approx(value, **CLOSE)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize("name", CASES)
def test_outcomes_can_be_exchanged(name, parameterization):
    """The coordinates stay those of the outcome with which the model was built."""
    point = Point.random(name, 6)
    model = models.build_model(point.spec, point.data, parameterization, exchangeable=True)
    other = replace(point, data=replace(point.data, y=3.0 + 2.0 * point.data.y[::-1]))
    is_marginal = parameterization == "marginal"
    density = dense_log_likelihood if is_marginal else Point.log_density_of_rows
    logp, at = model.compile_logp(**PLAIN), point.sampled(model)
    before = logp(at)
    for given, value in models.outcome_of(point.spec, point.data)(other.data).items():
        model[given].set_value(value)
    assert logp(at) - before == pytest.approx(density(other) - density(point), rel=1e-10)


def test_gradients_of_the_marginal_are_right():
    point = Point.random("all", 5)
    model = models.build_model(point.spec, point.data, "marginal")
    logp, slope = model.compile_logp(**PLAIN), model.compile_dlogp(**PLAIN)
    at = point.sampled(model)
    names = [variable.name for variable in model.value_vars]
    for name, found in zip(names, slope(at), strict=True):
        step = 1e-5
        ends = [logp({**at, name: at[name] + sign * step}) for sign in (1, -1)]
        assert found == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)


def test_one_population_is_the_conjugate_model():
    y = np.array([3.1, 4.0, 2.2, 5.9])
    prior = hm.NormalInverseGamma(m=2.0, s=1.5, alpha=3.0, beta=4.0)
    frame = pd.DataFrame({"y": y})
    model = hm.normal_inverse_gamma(frame, outcome="y", priors={"theta": prior})
    location, scale, theta, sigma2 = 3.1, 2.0, 3.3, 1.7  # median, power of 2 near max |y − median|
    expected = norm(theta, np.sqrt(sigma2)).logpdf(y).sum()
    expected += norm(2.0, 1.5 * np.sqrt(sigma2)).logpdf(theta) + np.log(scale)
    expected += stats.invgamma(3.0, scale=4.0).logpdf(sigma2) + np.log(2 * sigma2)
    point = {"theta_unit__": (theta - location) / scale, "sigma_log__": np.log(sigma2) / 2}
    assert model.compile_logp(**PLAIN)(point) == pytest.approx(expected, **CLOSE)


def test_rows_of_one_population():
    frame = pd.DataFrame({"y": [3.1, 4.0, 2.2, 5.9]})
    for prior in (hm.NormalInverseGamma(m=2.0, s=1.5, alpha=3.0, beta=4.0), hm.Flat()):
        roles = {"outcome": "y", "priors": {"theta": prior}}
        means, rows = (
            hm.normal_inverse_gamma(frame, observed=observed, **roles) for observed in OBSERVED
        )
        point = {"theta_unit__": 0.3, "sigma_log__": -0.2}
        found, expected = (model.compile_logp(**PLAIN)(point) for model in (rows, means))
        assert found == pytest.approx(expected, **CLOSE)
        assert rows.named_vars_to_dims == {"y": ("row",)}


def test_coefficients_with_and_without_a_proper_prior():
    priors = {"beta[ses]": hm.Normal(0.5, 2.0), "tau": hm.HalfNormal(1.0)}
    spec, data = prepare(pupils(), "y ~ ses + size + (1 | room)", se="se", priors=priors)
    model = models.build_model(spec, data)
    standard = standardize(data)
    basis = standard.scale * standard.basis
    beta = np.array([1.3, -0.7])
    point = model.initial_point() | {"beta_unit__": np.linalg.solve(basis, beta)}
    logp = model.compile_logp(vars=[model["beta"]], **PLAIN)
    expected = norm(0.5, 2.0).logpdf(1.3) + np.linalg.slogdet(basis)[1]
    assert logp(point) == pytest.approx(expected, **CLOSE)


def test_rows_that_are_all_equal_leave_a_finite_density():
    frame = pd.DataFrame({"g": list("aabbccdd"), "y": np.repeat([1.0, 2.0, 4.0, 3.0], 2)})
    model = hm.two_level(frame, groups="g", priors={"sigma": hm.InverseGamma(2.0, 1.0)})
    assert np.isfinite(model.compile_logp(**PLAIN)(model.initial_point()))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_the_initial_point_moves_with_the_unit(schools, scale, parameterization):
    frame = schools.assign(y=1e3 + scale * schools["y"], sigma=scale * schools["sigma"])
    model = hm.two_level(frame, parameterization=parameterization)
    start = model.initial_point()
    tau = np.exp(start.pop("tau_log__"))
    assert 5 < tau / scale < 50
    assert all((np.abs(values) <= 1).all() for values in start.values())


def test_unit_scale_is_a_change_of_basis():
    matrix = np.array([[2.0, 0.5], [0.1, 0.3]])
    value = np.array([1.4, -0.2])
    for transform, log_jacobian in (
        (UnitScale(3.0, 4.0), np.full(2, np.log(4.0))),
        (UnitScale(0.5, matrix), np.log(np.linalg.det(matrix))),
    ):
        there = transform.forward(pt.as_tensor(value))
        np.testing.assert_allclose(transform.backward(there).eval(**PLAIN), value)
        np.testing.assert_allclose(transform.log_jac_det(there).eval(**PLAIN), log_jacobian)


@pytest.mark.parametrize("name", ["theta_offset", "theta_centre", "log_likelihood", "y_mean"])
def test_a_group_column_with_the_name_of_a_variable_is_refused(schools, name):
    with pytest.raises(hm.SpecError, match=f"groups: .* {name!r} of its own; rename"):
        hm.two_level(schools.rename(columns={"school": name}))


def test_an_outcome_with_the_name_of_a_variable_is_refused(schools):
    with pytest.raises(hm.SpecError, match="outcome: 'mu' cannot be the name of a variable"):
        hm.two_level(schools.rename(columns={"y": "mu"}))


@pytest.mark.parametrize("name", ["school_of_row", "x", "se"])
def test_columns_named_after_the_data_of_rows_are_refused(name):
    frame = pupils().rename(columns={"y": name} if name != "se" else {"se": "x"})
    outcome, se = (name, "se") if name != "se" else ("y", "x")
    arguments = {"outcome": outcome, "groups": "school", "se": se, "covariates": "ses"}
    arguments["priors"] = {"tau": hm.HalfNormal(1.0)}
    with pytest.raises(hm.SpecError, match="of its own; rename this column"):
        hm.two_level(frame, observed="rows", **arguments)
    hm.two_level(frame, **arguments)


def test_rows_are_stated_as_in_a_textbook(schools):
    model = hm.two_level(schools, parameterization="centered", observed="rows")
    text = " ".join(model.str_repr().split())
    assert text == (
        "school_of_row = Data(<shared>) sigma = Data(<shared>) "
        "tau ~ FlatVariance() mu ~ Flat() theta ~ Normal(mu, tau) "
        "y ~ Normal(f(theta, school_of_row), <shared>)"
    )
    frame = pupils()
    model = hm.three_level(
        frame, "y ~ ses + size + (1 | school/room)", se="se", observed="rows", priors=OUTER
    )
    dims = {"school_of_room": ("room",), "room_of_row": ("row",), "x": ("row", "coef")}
    assert {name: model.named_vars_to_dims[name] for name in dims} == dims
    assert model.named_vars_to_dims["se"] == model.named_vars_to_dims["y"] == ("row",)
    assert model.coords["coef"] == ("ses", "size")
    np.testing.assert_array_equal(model["se"].get_value(), frame["se"])


STATED = [(form, observed) for form in FORMS for observed in OBSERVED] + [("marginal", "means")]


@pytest.mark.parametrize(("parameterization", "observed"), STATED)
@pytest.mark.parametrize("name", CASES)
def test_tables_and_graphs_are_drawn_under_improper_priors(name, parameterization, observed):
    formula, se, _ = CASES[name]
    frame = pupils() if se else pupils().drop(columns="se")
    proper = {"kappa": hm.HalfNormal(1.0)} if "/" in formula else {}
    spec, data = prepare(frame, formula, se=se, priors=proper)
    model = models.build_model(spec, data, parameterization, observed)
    named = {variable.name for variable in [*model.basic_RVs, *model.deterministics]}
    assert {f"{name}[b] ~[/b]" for name in spec.sds} <= set(model.table().columns[0].cells)
    plates = {
        variable.var.name: plate.dim_info.names
        for plate in ModelGraph(model).get_plates()
        for variable in plate.variables
    }
    assert named <= set(plates)
    for name in named & set(spec.variables):
        assert plates[name] == spec.dims(name)
    assert "tau ~ FlatVariance" in model_to_mermaid(model)


@pytest.mark.parametrize("observed", OBSERVED)
def test_the_graph_of_one_population(observed):
    frame = pd.DataFrame({"y": [3.1, 4.0, 2.2, 5.9]})
    model = hm.normal_inverse_gamma(frame, outcome="y", observed=observed)
    text = model_to_mermaid(model)
    assert "sigma ~ Jeffreys" in text
    assert "theta ~ Flat" in text
    model.table()


def test_builders_refuse_other_levels():
    frame = pupils()
    roles = {"outcome": "y", "se": "se"}
    with pytest.raises(hm.SpecError, match=r"two_level: groups: expected one column; found \['s"):
        hm.two_level(frame, groups=["school", "room"], **roles)
    with pytest.raises(hm.SpecError, match="three_level: groups: expected two columns"):
        hm.three_level(frame, groups=["room"], **roles)


def test_builders_name_their_variables_after_the_specification(schools):
    model = hm.two_level(schools)
    assert [variable.name for variable in model.free_RVs] == ["tau", "mu", "theta_offset"]
    assert {"mu", "tau", "theta"} <= set(model.named_vars)
    assert model.named_vars_to_dims == dict.fromkeys(["theta_offset", "theta", "y"], ("school",))
    assert model.coords["school"] == tuple("ABCDEFGH")
    frame = pupils()
    model = hm.three_level(
        frame, "y ~ ses + (1 | school/room)", se="se", priors={"kappa": hm.HalfNormal(1.0)}
    )
    assert {"lam", "kappa", "mu", "tau", "theta", "beta"} <= set(model.named_vars)
    assert model.named_vars_to_dims["mu"] == ("school",)
    assert model.named_vars_to_dims["y_mean"] == ("room",)


def test_posteriors_that_do_not_exist_are_refused(schools):
    with pytest.raises(hm.ImproperPosteriorError, match="does not exist"):
        hm.two_level(schools[:3])
    with pytest.raises(hm.ImproperPosteriorError, match="two rows that differ"):
        hm.normal_inverse_gamma(pd.DataFrame({"y": [1.0, 1.0]}), outcome="y")


def test_unknown_parameterizations_are_refused(schools):
    with pytest.raises(hm.SpecError, match=r"expected one of 'auto', .*; found 'partial'"):
        hm.two_level(schools, parameterization="partial")
