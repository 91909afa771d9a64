"""PyMC models with slopes and with three columns of groups: densities against plain formulas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytensor.tensor as pt
import pytest
from scipy import stats

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.block_data import Layout
from hiermodels.exact.block_effects import BlockEffects
from hiermodels.exact.joint import log_joint
from hiermodels.mcmc.block_approximation import BlockApproximation
from hiermodels.mcmc.model import build_model, outcome_of
from hiermodels.mcmc.parameterization import choose
from hiermodels.mcmc.transforms import PartialCorrelations
from hiermodels.model.level import INTERCEPT
from hiermodels.model.priors.covariance import correlation_matrix
from tests.oracles.dense_blocks import Nested, floats

PLAIN = {"mode": "FAST_COMPILE"}  # a few evaluations are not worth compiling for
CLOSE = {"rel": 1e-10}


def rows(seed=0):
    """Rows of twelve groups in eight in four, unbalanced, one group with one row."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(12), [1, 4, 2, 5, 3, 4, 6, 3, 4, 2, 3, 4])
    n = len(group)
    return pd.DataFrame(
        {
            "y": 20 + rng.normal(0, 2, 12)[group] + rng.normal(0, 1.5, n),
            "x": rng.normal(1, 1, n),
            "w": rng.normal(30, 5, n),
            "se": rng.uniform(0.5, 2, n),
            "a": np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3])[group],
            "b": np.array([0, 0, 1, 1, 2, 2, 3, 4, 4, 5, 6, 7])[group],
            "g": group,
            "by": rng.choice(["p", "q", "r"], n),
            "sex": np.array(["f", "m", "m", "f", "f", "m"] * 2)[group],
        }
    )


SIGMA = {"sigma": hm.HalfNormal(2.0)}
MEANS = {"mu": hm.Normal(18.0, 6.0), "beta": hm.Normal(0.2, 1.0)}
TAUS = {"tau": hm.HalfNormal(3.0), "tau[x]": hm.Exponential(1.5)}
LKJ = {"rho": hm.LKJ(1.7)}
CASES = {  # formula, whether the rows' variances are known or weighted, priors
    "slopes": ("y ~ x + (1 + x | g)", False, SIGMA | MEANS | TAUS | LKJ),
    "flat": ("y ~ x + w + (1 + x | g)", False, {}),
    "flat covariance": ("y ~ x + (1 + x | g)", False, {"tau": hm.FlatCovariance()}),
    "uncorrelated": ("y ~ x + w + (1 + x || g)", True, MEANS | TAUS),
    "slopes alone": ("y ~ w + x + (0 + x | g)", False, MEANS | SIGMA),
    "no intercept": ("y ~ 0 + x + (0 + x | g)", False, SIGMA | {"beta": MEANS["beta"]}),
    "three effects": ("y ~ x + w + (1 + x + w | g)", False, MEANS | LKJ | {"tau": TAUS["tau"]}),
    "outer slopes": ("y ~ x + w + (1 + x | a) + (1 | a:g)", False, SIGMA | {"rho_a": hm.LKJ(2.0)}),
    "inner slopes": ("y ~ x + (1 | a) + (1 + x | a:b)", True, {"rho_b": hm.LKJ(2.0)}),
    "four levels": ("y ~ x + (1 | a/b/g)", False, MEANS | SIGMA | {"tau_b": hm.HalfCauchy(1.0)}),
    "four levels, flat": ("y ~ (1 | a/b/g)", True, {}),
    "weights": ("y ~ x + w + (1 + x | g)", "weights", SIGMA | MEANS | TAUS | LKJ),
    "strata": ("y ~ x + w + (1 + x | g)", "by", MEANS | TAUS | LKJ | SIGMA),
    "strata of groups": ("y ~ x + (1 | g)", "sex", MEANS | {"sigma[m]": hm.HalfNormal(2.0)}),
    "strata of levels": ("y ~ x + (1 | b/g)", "by", {"sigma[q]": hm.HalfCauchy(1.0)}),
    "a known sd": ("y ~ x + (1 + x | g)", False, {"tau[x]": hm.Fixed(0.4)}),
}
FORMS = ("centered", "noncentered")


@dataclass
class Point:
    """Values of all variables of a model, and what plain formulas say of them."""

    spec: hm.Spec
    data: hm.GroupedData
    values: dict

    @classmethod
    def random(cls, name, seed=1):
        formula, known, priors = CASES[name]
        column = {"weights": "se"} if known == "weights" else {"se": "se"}
        column = {"residual_by": known, "weights": "se"} if known in ("by", "sex") else column
        frame = rows() if known else rows().drop(columns="se")
        spec, data = prepare(frame, formula, **(column if known else {}), priors=priors)
        rng = np.random.default_rng(seed)
        values = {"mu": rng.normal(20, 2), "sigma": rng.uniform(0.8, 2)}
        if spec.strata:
            values["sigma"] = rng.uniform(0.8, 2, len(spec.strata))
        if spec.intercept == "lam":
            values["lam"] = values.pop("mu")
        values["beta"] = rng.normal(0, 0.5, len(spec.covariates))
        point = cls(spec, data, values)
        for number, level in enumerate(spec.levels):
            e, u = len(level.terms), len(data.levels[number])
            sds = np.array([spec.fixed.get(sd, rng.uniform(0.5, 3)) for sd in level.sds])
            partial = pt.as_tensor(rng.normal(0, 0.7, e * (e - 1) // 2))
            if level.correlation:
                rho = PartialCorrelations(e).backward(partial).eval(**PLAIN)
                values[level.correlation] = rho if e > 2 else rho[0]
            values[level.sd] = sds if level.has_slopes else sds[0]
            own = point.parents(number) + rng.normal(size=(u, e)) * sds
            values[level.effect] = own if level.has_slopes else own[:, 0]
        kept = {name: np.asarray(values[name]) for name in spec.variables}
        return cls(spec, data, kept)

    def top(self, term):
        spec = self.spec
        if term == INTERCEPT:
            return self.values[spec.intercept] if spec.has_intercept else 0.0
        return self.values["beta"][spec.covariates.index(term)]

    def effects(self, number):
        level = self.spec.levels[number]
        own = self.values[level.effect]
        return own if level.has_slopes else own[:, None]

    def parents(self, number):
        """Means (u, e) of a level's effects."""
        level, data = self.spec.levels[number], self.data
        columns = []
        for term in level.terms:
            member, above = np.arange(len(data.levels[number])), number
            while above:
                member, above = data.levels[above].parent[member], above - 1
                outer = self.spec.levels[above]
                if term in outer.terms:
                    columns.append(self.effects(above)[member, outer.terms.index(term)])
                    break
            else:
                columns.append(np.full(len(data.levels[number]), self.top(term)))
        return np.stack(columns, axis=1)

    def matrix(self, number):
        level = self.spec.levels[number]
        if not level.correlation:
            return np.eye(len(level.terms))
        return correlation_matrix(np.atleast_1d(self.values[level.correlation]))

    def sds(self, number):
        return np.atleast_1d(self.values[self.spec.levels[number].sd])

    def log_prior(self):
        spec, total = self.spec, 0.0
        for name in (*spec.top, *spec.coefficients):
            prior = spec.priors[name]
            if isinstance(prior, hm.Normal):
                term = INTERCEPT if name in spec.top else name[5:-1]
                total += stats.norm(prior.mean, prior.sd).logpdf(self.top(term))
        sigma = np.atleast_1d(self.values["sigma"]) if spec.has_sigma else ()
        sds = dict(zip(spec.residual_sds, sigma, strict=True))
        for number, level in enumerate(spec.levels):
            sds |= dict(zip(level.sds, self.sds(number), strict=True))
            if isinstance(spec.priors.get(level.correlation), hm.LKJ):
                total += self.log_lkj(number, spec.priors[level.correlation].eta)
            if level.sd in spec.priors and level.has_slopes:  # a flat covariance
                total += sum(np.log(2 * sds.pop(name) ** len(level.terms)) for name in level.sds)
        return total + sum(
            spec.priors[name].log_density_sd(sd)
            for name, sd in sds.items()
            if name not in spec.fixed
        )

    def log_lkj(self, number, eta):
        """The Beta of one correlation; of three the constants of Lewandowski et al. (2009)."""
        matrix = self.matrix(number)
        if len(matrix) == 2:
            return stats.beta(eta, eta, -1, 2).logpdf(matrix[0, 1])
        rho = matrix[[1, 2, 2], [0, 0, 1]]
        rest = (rho[2] - rho[0] * rho[1]) / np.sqrt((1 - rho[0] ** 2) * (1 - rho[1] ** 2))
        outer = stats.beta(eta + 0.5, eta + 0.5, -1, 2)
        jacobian = -0.5 * np.log((1 - rho[0] ** 2) * (1 - rho[1] ** 2))
        return outer.logpdf(rho[:2]).sum() + stats.beta(eta, eta, -1, 2).logpdf(rest) + jacobian

    def log_density_of_effects(self):
        total = 0.0
        for number in range(len(self.spec.levels)):
            scale = np.diag(self.sds(number))
            law = stats.multivariate_normal(cov=scale @ self.matrix(number) @ scale)
            total += law.logpdf(self.effects(number) - self.parents(number)).sum()
        return total

    def log_density_of_rows(self):
        data, columns = self.data, {}
        member = data.group
        for number in range(len(self.spec.levels) - 1, -1, -1):
            for j, term in enumerate(self.spec.levels[number].terms):
                columns.setdefault(term, self.effects(number)[member, j])
            member = data.levels[number].parent[member]
        mean = np.zeros(len(data.y))
        for term in (INTERCEPT, *self.spec.covariates):
            own = columns.get(term, self.top(term))
            j = self.spec.covariates.index(term) if term != INTERCEPT else None
            mean = mean + own * (1.0 if j is None else data.design.matrix[:, j])
        sd = data.se if data.se is not None else self.values["sigma"]
        sd = sd[data.columns["residual_by"].astype(int)] if self.spec.strata else sd
        sd = sd / np.sqrt(data.columns.get("weights", 1.0))
        return stats.norm(mean, sd).logpdf(data.y).sum()

    def sampled(self, model, forms):
        """The same point, in the variables that the model samples."""
        near, spec = BlockApproximation.of(self.spec, self.data), self.spec
        names = (*spec.top, "beta", "sigma")
        known = {name: self.values[name] for name in names if name in self.values}
        if spec.strata:
            known |= dict(zip(spec.residual_sds, known["sigma"], strict=True))
        fixed = [spec.covariates.index(name) for name in spec.fixed_covariates]
        moved = 0.0
        if spec.covariates and spec.intercept:
            known[f"{spec.intercept}_centre"] = known[spec.intercept] + near.shift @ known["beta"]
            moved = near.shift[fixed] @ known["beta"][fixed]
        for number, level in enumerate(spec.levels):
            known |= dict(zip(level.sds, self.sds(number), strict=True))
            if level.correlation:
                known[level.correlation] = self.values[level.correlation]
            factor = self.sds(number)[:, None] * np.linalg.cholesky(self.matrix(number))
            away = np.linalg.solve(factor, (self.effects(number) - self.parents(number)).T)
            for j, term in enumerate(level.terms):
                name = f"{level.effect}[{term}]" if level.has_slopes else level.effect
                own = self.effects(number)[:, j]
                known |= {name: own, f"{name}_centre": own + moved, f"{name}_offset": away[j]}
        point = {}
        for variable in model.free_RVs:
            value, transform = known[variable.name], model.rvs_to_transforms[variable]
            if transform is not None:
                inputs = variable.owner.inputs
                value = transform.forward(pt.as_tensor(value), *inputs).eval(**PLAIN)
            point[model.rvs_to_values[variable].name] = value
        return point

    def log_factors(self):
        """``Σ log(τ_i C_ii)`` over all members: of the effects' density around their offsets'."""
        total = 0.0
        for number, groups in enumerate(self.data.levels):
            factor = np.linalg.cholesky(self.matrix(number))
            total += len(groups) * np.log(self.sds(number) * np.diag(factor)).sum()
        return total


def log_density(model, point):
    return float(model.compile_logp(jacobian=False, **PLAIN)(point))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CASES)
def test_the_density_is_that_of_plain_formulas(name, form):
    point = Point.random(name)
    model = build_model(point.spec, point.data, form)
    expected = point.log_prior() + point.log_density_of_effects() + point.log_density_of_rows()
    joint = log_joint(point.spec, point.data, point.values)
    assert joint == pytest.approx(expected, **CLOSE)
    sampled = point.sampled(model, form)
    offsets = point.log_factors() if form == "noncentered" else 0.0
    assert log_density(model, sampled) == pytest.approx(expected + offsets, **CLOSE)
    names = [name for name in point.spec.variables if name in model.named_vars]
    found = model.compile_fn(model.replace_rvs_by_values([model[name] for name in names]), **PLAIN)(
        sampled
    )
    for variable, value in zip(names, found, strict=True):
        np.testing.assert_allclose(value, point.values[variable], rtol=1e-9, atol=1e-12)
    assert names == list(point.spec.variables)


@pytest.mark.parametrize(
    "name", ["slopes", "uncorrelated", "weights", "strata", "outer slopes", "four levels"]
)
def test_rows_have_the_density_of_their_sums(name):
    point = Point.random(name)
    model = build_model(point.spec, point.data, "centered", "rows")
    expected = log_joint(point.spec, point.data, point.values)
    assert log_density(model, point.sampled(model, "centered")) == pytest.approx(expected, **CLOSE)


def test_levels_may_have_different_forms():
    point = Point.random("four levels")
    forms = {"theta_a": "centered", "theta_b": "noncentered", "theta_g": "centered"}
    model = build_model(point.spec, point.data, forms)
    expected = log_joint(point.spec, point.data, point.values)
    expected += len(point.data.levels[1]) * np.log(point.values["tau_b"])
    assert log_density(model, point.sampled(model, forms)) == pytest.approx(expected, **CLOSE)


def dense(point):
    """The same model as one multivariate normal, in many digits."""
    spec, data, layout = point.spec, point.data, Layout(point.spec)
    z, x = layout.split(data.design.matrix)
    sigma = float(np.atleast_1d(point.values.get("sigma", 1.0))[0])
    factors = []
    for number in range(len(spec.levels)):
        own, factor = layout.effects(number), np.zeros((z.shape[1], z.shape[1]))
        root = np.linalg.cholesky(point.matrix(number))
        factor[np.ix_(own, own)] = point.sds(number)[:, None] * root / sigma
        factors.append(factor)
    names = [spec.intercept if t == INTERCEPT else f"beta[{t}]" for t in layout.coefficients]
    mean, precision = np.array([spec.priors[name].mean_and_precision() for name in names]).T
    weight = data.columns.get("weights", np.ones(len(data.y)))
    weight = weight if data.se is None else data.se**-2.0
    if spec.strata:
        sds = point.values["sigma"][data.columns["residual_by"].astype(int)]
        weight = weight * (sigma / sds) ** 2
    parents = tuple(level.parent for level in data.levels[1:])
    fixed = np.array(layout.fixed, dtype=bool)
    return Nested(z, x, data.y, weight, data.group, parents, factors, sigma, fixed, mean, precision)


@pytest.mark.parametrize("name", CASES)
def test_the_marginal_density_is_that_of_dense_algebra(name):
    point = Point.random(name)
    model = build_model(point.spec, point.data, "marginal")
    of_means = sum(
        stats.norm(point.spec.priors[name].mean, point.spec.priors[name].sd).logpdf(
            point.top(INTERCEPT if name in point.spec.top else name[5:-1])
        )
        for name in (*point.spec.top, *point.spec.coefficients)
        if isinstance(point.spec.priors[name], hm.Normal)
    )
    expected = dense(point).log_likelihood() + point.log_prior() - of_means
    found = log_density(model, point.sampled(model, {}))
    assert found == pytest.approx(expected, rel=1e-9)
    assert not {"theta", "mu", "beta"} & set(model.named_vars)


@pytest.mark.parametrize("form", ["centered", "marginal"])
@pytest.mark.parametrize("name", ["slopes", "outer slopes"])
def test_the_outcome_can_be_exchanged(name, form):
    point = Point.random(name)
    other = rows().assign(y=lambda frame: 3 * frame["y"] - frame["x"] ** 2).drop(columns="se")
    spec, data = prepare(other, CASES[name][0], priors=CASES[name][2])
    model = build_model(point.spec, point.data, form, exchangeable=True)
    for key, value in outcome_of(spec, point.data)(data).items():
        model[key].set_value(value)
    sampled = point.sampled(model, form)
    anew = build_model(spec, data, form)
    moved = Point(spec, data, point.values)
    expected = log_density(anew, moved.sampled(anew, form))
    assert log_density(model, sampled) == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("name", ["three effects", "outer slopes", "four levels"])
def test_effects_drawn_given_the_sds_are_those_of_dense_algebra(name):
    """Means and covariances of all effects and coefficients; the sds do not change."""
    point, size = Point.random(name), 4000
    spec, data = point.spec, point.data
    sampled = [*spec.sds, *(level.correlation for level in spec.levels), "sigma"]
    sampled += [level.sd for level in spec.levels]
    known = {
        name: np.broadcast_to(value, (size, *value.shape))
        for name, value in point.values.items()
        if name in sampled
    }
    rng = np.random.default_rng(np.random.SeedSequence(4))
    drawn = BlockEffects.given(spec, data, known, rng).variables()
    for key, value in known.items():
        np.testing.assert_allclose(np.moveaxis(drawn[key], -1, 0), value, rtol=1e-12, atol=1e-13)
    exact, layout = dense(point), Layout(spec)
    mean, covariance, _ = exact.coefficients
    found = [
        drawn["mu"] if t == INTERCEPT else drawn["beta"][spec.covariates.index(t)]
        for t in layout.coefficients
    ]
    require_moments(np.array(found), floats(mean)[:, 0], floats(covariance))
    for number, level in enumerate(spec.levels):
        own = layout.effects(number)
        mean, covariance = exact.effects(number, 1)
        found = drawn[level.effect][1].reshape(-1, size)
        require_moments(found, mean[own], covariance[np.ix_(own, own)])


def require_moments(draws, mean, covariance):
    """Draws (e, n) have these moments, up to five standard errors."""
    white = np.linalg.solve(np.linalg.cholesky(covariance), draws - mean[:, None])
    n = draws.shape[1]
    assert np.abs(white.mean(axis=1)).max() < 5 / np.sqrt(n)
    assert np.abs(white @ white.T / n - np.eye(len(mean))).max() < 5 * np.sqrt(2 / n)


def test_auto_takes_the_form_that_the_data_s_weight_asks_for():
    """``1 − B`` of intercepts is the tree's, and of slopes that of a regression in each group."""
    point = Point.random("four levels")
    near = BlockApproximation.of(point.spec, point.data)
    (tau_a, tau_b, tau_g, sigma), weights = near.sds**2, near.weights_of_data()
    error = sigma / np.bincount(point.data.group)
    for number, variance in ((2, tau_g), (1, tau_b), (0, tau_a)):
        np.testing.assert_allclose(weights[number][:, 0], variance / (error + variance), rtol=1e-10)
        error = 1 / np.bincount(point.data.levels[number].parent, 1 / (error + variance))
    point = Point.random("slopes")
    near = BlockApproximation.of(point.spec, point.data)
    z = np.column_stack([np.ones(len(point.data.y)), point.data.design.matrix])
    for group in range(3):
        own = z[point.data.group == group]
        spread = np.diag(near.sds[:2] ** 2)
        gain = (
            spread
            @ own.T
            @ np.linalg.inv(own @ spread @ own.T + near.sds[2] ** 2 * np.eye(len(own)))
        )
        found = near.weights_of_data()[0][group]
        np.testing.assert_allclose(found, np.diag(gain @ own), rtol=1e-8)


@pytest.mark.parametrize(("noise", "form"), [(0.1, "centered"), (30.0, "noncentered")])
def test_auto_chooses_by_how_much_the_data_say(noise, form):
    rng = np.random.default_rng(2)
    frame = rows().assign(se=noise)
    frame["y"] += rng.normal(0, 2, 12)[frame["g"]] * frame["x"]
    spec, data = prepare(frame, "y ~ x + (1 + x | g)", se="se", priors=TAUS)
    choice = choose("auto", spec, data)
    assert choice.forms == {"theta": form}
    assert choice.reason.startswith("the data's weight in the median g's theta, on average over")


def built(frame, formula, parameterization="auto", **roles):
    return build_model(*prepare(frame, formula, **roles), parameterization)


def test_what_makes_no_sense_is_refused():
    formula, frame = "y ~ x + (1 + x || g)", rows().drop(columns="se")
    zero = {"tau[x]": hm.Fixed(0)}
    with pytest.raises(hm.SpecError, match=r"tau\[x\] is fixed at 0; take 'noncentered'"):
        built(frame, formula, "centered", priors=zero)
    fixed = {"tau": hm.Fixed(1), "sigma": hm.Fixed(1)}
    with pytest.raises(hm.SpecError, match="samples the sds, and all of them are fixed"):
        built(frame, formula, "marginal", priors=fixed)
    renamed = frame.rename(columns={"g": "sum_of_rows"})
    with pytest.raises(hm.SpecError, match="'sum_of_rows' of its own; rename"):
        built(renamed, "y ~ x + (1 + x | sum_of_rows)")
    few = frame.query("a < 1")
    with pytest.raises(hm.ImproperPosteriorError):
        built(few, "y ~ x + (1 + x | a)", "noncentered")


def test_an_sd_that_is_fixed_at_0_leaves_its_effects_where_their_parents_are():
    zero = {"tau[x]": hm.Fixed(0.0)}
    model = built(rows(), "y ~ x + (1 + x | g)", "noncentered", priors=zero, se="se")
    point = model.initial_point()
    values = model.replace_rvs_by_values([model["theta"], model["beta"]])
    theta, beta = model.compile_fn(values, **PLAIN)(point)
    np.testing.assert_array_equal(theta[:, 1], np.full(12, beta[0]))
    assert np.isfinite(model.compile_logp(**PLAIN)(point))


def test_models_are_built_from_frames_as_from_specifications():
    frame, formula = rows().drop(columns="se"), "y ~ x + (1 | a/b/g)"
    priors = {"tau_b": hm.HalfNormal(2.0)}
    spec, data = prepare(frame, formula, priors=priors)
    models = [
        hm.build_model(frame, formula, priors=priors, parameterization="noncentered"),
        hm.build_model(spec, data, "noncentered"),
        hm.build_model(spec=spec, data=data, parameterization="noncentered"),
    ]
    point = models[0].initial_point()
    found = {float(model.compile_logp(**PLAIN)(point)) for model in models}
    assert len(found) == 1
    for wrong in ({"formula": formula}, {"groups": "g"}):
        with pytest.raises(hm.SpecError, match=f"{next(iter(wrong))}: a specification says"):
            hm.build_model(spec=spec, data=data, **wrong)
    with pytest.raises(hm.SpecError, match="data: expected"):
        hm.build_model(spec, frame)
