"""Models without an intercept, against dense algebra, many digits, grids and equal models."""

from __future__ import annotations

import itertools
import warnings
from functools import cache

import mpmath as mp
import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt
import pytest
import xarray as xr
from scipy import special, stats
from scipy.optimize import minimize

import hiermodels as hm
from hiermodels.cli import main
from hiermodels.data.prepare import prepare
from hiermodels.exact.joint import log_joint
from hiermodels.exact.kernels.tree import marginal as recursion
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.standardize import standardize
from hiermodels.mcmc import model as models

TWO, THREE = "y ~ 0 + x + (1 | g)", "y ~ 0 + x + (1 | s/g)"
HALF = {"tau": hm.HalfNormal(2), "sigma": hm.HalfNormal(2)}
QUIET = {"progressbar": False, "random_seed": 1}
PLAIN = {"mode": "FAST_COMPILE"}  # a few evaluations are not worth compiling for


def rows(seed=0, schools=3, x_mean=2.0):
    """Rows in groups in schools; a covariate far from 0 and one of three levels."""
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(schools), rng.integers(1, 4, schools))
    group = np.repeat(np.arange(len(school)), rng.integers(1, 5, len(school)))
    n = len(group)
    frame = pd.DataFrame({"x": rng.normal(size=n) + x_mean, "f": np.resize(list("abc"), n)})
    frame = frame.assign(s=[f"s{i}" for i in school[group]], g=[f"g{i}" for i in group])
    effects = rng.normal(size=schools)[school[group]] + rng.normal(size=len(school))[group]
    return frame.assign(
        y=1.5 * frame["x"] + effects + rng.normal(size=n), se=rng.uniform(0.3, 1, n)
    )


def indicator(labels):
    """A column for each label, in the order in which the labels come."""
    codes, known = pd.factorize(labels)
    return np.eye(len(known))[codes]


class Dense:
    """``y ~ N(X beta, V)`` with the covariance matrix V of the rows written out."""

    def __init__(self, frame, x, columns, variances, noise):
        self.y, self.x = frame["y"].to_numpy(), np.asarray(x, float).reshape(len(frame), -1)
        self.parts = [(indicator(frame[c]), v) for c, v in zip(columns, variances, strict=True)]
        self.v = np.diag(np.broadcast_to(noise, len(frame)).astype(float))
        self.v = self.v + sum(v * z @ z.T for z, v in self.parts)
        self.inverse = np.linalg.inv(self.v)
        self.covariance = np.linalg.inv(self.x.T @ self.inverse @ self.x)
        self.beta = self.covariance @ self.x.T @ self.inverse @ self.y

    @property
    def log_likelihood(self):
        """With beta integrated over a flat prior."""
        rest = self.y - self.x @ self.beta
        n, q = self.x.shape
        log_det = np.linalg.slogdet(self.v)[1] - np.linalg.slogdet(self.covariance)[1]
        return -0.5 * ((n - q) * np.log(2 * np.pi) + log_det + rest @ self.inverse @ rest)

    def effects(self, lift, cross, prior):
        """Means and sds of values with this prior covariance, and this one with the rows."""
        gain = cross @ self.inverse
        mean = gain @ (self.y - self.x @ self.beta)
        slope = lift - gain @ self.x
        return mean, np.sqrt(np.diag(prior - gain @ cross.T + slope @ self.covariance @ slope.T))


@pytest.mark.parametrize("covariates", ["x", "f", "x + f", "x*f", ""])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("levels", [2, 3])
def test_given_the_sds_all_is_dense_algebra(levels, known, covariates):
    frame = rows(1)
    tau, kappa, sigma = 0.7, 1.3, 0.9
    nest = "(1 | s/g)" if levels == 3 else "(1 | g)"
    formula = f"y ~ 0 + {covariates} + {nest}" if covariates else f"y ~ 0 + {nest}"
    priors = {"tau": hm.Fixed(tau)} | ({} if known else {"sigma": hm.Fixed(sigma)})
    priors |= {"kappa": hm.Fixed(kappa)} if levels == 3 else {}
    found = hm.reference(frame, formula, priors=priors, se="se" if known else False)
    dummies = {level: (frame["f"] == level).to_numpy(float) for level in "abc"}
    full, x = np.column_stack(list(dummies.values())), frame[["x"]].to_numpy()
    design = {
        "x": x,
        "f": full,
        "x + f": np.hstack([x, full]),
        "x*f": np.hstack([x, full, x * full[:, 1:]]),
        "": np.empty((len(frame), 0)),
    }[covariates]
    columns, variances = (["g", "s"], [tau**2, kappa**2]) if levels == 3 else (["g"], [tau**2])
    noise = frame["se"].to_numpy() ** 2 if known else sigma**2
    dense = Dense(frame, design, columns, variances, noise)
    np.testing.assert_allclose(found.lattice.log_integral, dense.log_likelihood, rtol=1e-11)
    if covariates:
        np.testing.assert_allclose(found.mean["beta"], dense.beta, rtol=1e-10)
        np.testing.assert_allclose(found.sd["beta"], np.sqrt(np.diag(dense.covariance)), rtol=1e-10)
    z = dense.parts[0][0]
    cross, prior = tau**2 * z.T, tau**2 * np.eye(z.shape[1])
    if levels == 3:
        w = dense.parts[1][0]
        above = w[np.unique(pd.factorize(frame["g"])[0], return_index=True)[1]]
        cross = cross + kappa**2 * above @ w.T
        prior = prior + kappa**2 * above @ above.T
        mean, sd = dense.effects(0.0, kappa**2 * w.T, kappa**2 * np.eye(w.shape[1]))
        np.testing.assert_allclose(found.mean["mu"], mean, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(found.sd["mu"], sd, rtol=1e-10)
    mean, sd = dense.effects(0.0, cross, prior)
    np.testing.assert_allclose(found.mean["theta"], mean, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found.sd["theta"], sd, rtol=1e-10)
    assert not {"lam", *(("mu",) if levels == 2 else ())} & set(found.mean)


SIZES = (1e-14, 1e-9, 1e-5, 0.01, 1.0, 10.0)
LEFT = [(levels, left) for levels in (2, 3) for left in itertools.product((0, 1, 2), repeat=levels)]


def crowded(levels, left, constant):
    """As many covariates as leave so many df at each level, and a constant one or none."""
    rng = np.random.default_rng([*left, levels, constant])
    school = np.repeat(np.arange(3), rng.integers(1, 4, 3)) if levels == 3 else np.zeros(5, int)
    group = np.repeat(np.arange(len(school)), rng.permutation([2, 3] + [1] * (len(school) - 2)))
    units = (np.arange(len(group)), group, school[group])
    sizes = (len(group), len(school), school.max() + 1, 1)
    columns = [np.full(len(group), 3.0)] if constant else []
    for level, df in enumerate(left):
        for _ in range(max(0, sizes[level] - sizes[level + 1] - df)):
            columns.append(rng.normal(size=sizes[level])[units[level]])
    x = np.reshape(columns, (-1, len(group))).T
    x = x @ (np.eye(x.shape[1]) + np.tril(rng.normal(size=(x.shape[1],) * 2), -1))
    frame = pd.DataFrame(x, columns=[f"x{j}" for j in range(x.shape[1])])
    frame = frame.assign(s=[f"s{i}" for i in school[group]], g=[f"g{i}" for i in group])
    return frame.assign(y=30 + rng.normal(size=len(group)))


def in_many_digits(frame, levels, sds):
    """Log of ``p(y | sds)`` with flat beta and its quadratic form, by dense matrices."""
    mp.mp.dps = 70
    y, v = mp.matrix(frame["y"].tolist()), mp.zeros(len(frame))
    labels = [np.arange(len(frame)), frame["g"].to_numpy(), frame["s"].to_numpy()]
    for sd, label in zip(sds, labels[:levels], strict=True):
        z = indicator(label)
        v += mp.mpf(float(sd)) ** 2 * mp.matrix((z @ z.T).tolist())
    precision, covariates = mp.inverse(v), frame.filter(like="x").to_numpy()
    log_det, rest = mp.log(mp.det(v)), y
    if covariates.size:
        x = mp.matrix(covariates.tolist())
        t = x.T * precision * x
        rest = y - x * mp.lu_solve(t, x.T * (precision * y))
        log_det += mp.log(mp.det(t))
    square = (rest.T * (precision * rest))[0]
    return float(-(log_det + square) / 2), float(square)


@cache
def truth_of(levels, left, constant):
    """Sds (σ first), log likelihoods and sums of squares at four places."""
    frame = crowded(levels, left, constant)
    sds = np.random.default_rng(7).choice(SIZES, (4, levels))
    return sds, *np.transpose([in_many_digits(frame, levels, s) for s in sds])


@pytest.mark.parametrize("from_rows", [True, False], ids=["rows", "statistics"])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(("levels", "left"), LEFT)
def test_the_likelihood_has_its_digits_whatever_the_df(levels, left, constant, from_rows):
    """With the constant column no df is left above the groups, where y and the mean are far off."""
    frame = crowded(levels, left, constant)
    terms = [name for name in frame if name.startswith("x")]
    formula = f"y ~ {' + '.join(['0', *terms])} + (1 | {'s/g' if levels == 3 else 'g'})"
    priors = {name: hm.HalfNormal(1) for name in ("sigma", "tau", "kappa")[:levels]}
    data = frame if from_rows else hm.SufficientStatistics.of(frame, formula)
    spec, grouped = prepare(data, formula if from_rows else None, priors=priors)
    marginal = Marginal.of(spec, standardize(grouped))
    sds, truth, squares = truth_of(levels, left, constant)
    variances = marginal.variances_of(np.roll(sds, -1, axis=1))
    found = recursion.log_likelihood(marginal.data.tree, variances, marginal.coefficients)
    order = np.argsort(squares)
    seen = order[squares[order] < max(1e3, 2 * squares.min())]
    np.testing.assert_allclose(
        found[seen] - found[seen[0]], truth[seen] - truth[seen[0]], rtol=2e-10, atol=2e-10
    )


@pytest.mark.parametrize("covariates", ["x", "f", ""])
def test_the_posterior_is_that_of_a_dense_grid(covariates):
    """Two unknown sds with half-normal priors, in ``log sd = u − exp(−u)``, by the trapezoid."""
    frame = rows(2)
    formula = f"y ~ 0 + {covariates} + (1 | g)" if covariates else "y ~ 0 + (1 | g)"
    exact = hm.reference(frame, formula, priors=HALF, se=False)
    x = {"x": frame[["x"]], "f": indicator(frame["f"]), "": np.empty((len(frame), 0))}[covariates]
    u = np.arange(-4, 4, 1 / 12)
    log_sd = u - np.exp(-u)
    sds, log_slope = np.exp(log_sd), np.log1p(np.exp(-u))
    log_prior = stats.halfnorm(scale=2).logpdf(sds) + log_sd + log_slope
    log, moments = [], []
    for i, j in itertools.product(range(len(u)), repeat=2):
        prior = log_prior[i] + log_prior[j]
        if prior < -60 or sds[j] < 0.02:  # where the rows of a group leave nothing of the density
            continue
        dense = Dense(frame, x, ["g"], [sds[i] ** 2], sds[j] ** 2)
        log.append(prior + dense.log_likelihood)
        z = dense.parts[0][0]
        mean, sd = dense.effects(0.0, sds[i] ** 2 * z.T, sds[i] ** 2 * np.eye(z.shape[1]))
        own = [*zip((sds[i], sds[j]), (0, 0), strict=True), *zip(mean, sd, strict=True)]
        own += zip(dense.beta, np.sqrt(np.diag(dense.covariance)), strict=True)
        moments.append(own)
    log, moments = np.array(log), np.array(moments)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    mean = weight @ moments[:, :, 0]
    sd = np.sqrt(weight @ (moments[:, :, 1] ** 2 + (moments[:, :, 0] - mean) ** 2))
    names = ["tau", "sigma", "theta", *(["beta"] if covariates else [])]
    for values, expected in ((exact.mean, mean), (exact.sd, sd)):
        found = np.concatenate([np.atleast_1d(values[name]) for name in names])
        np.testing.assert_allclose(found / sd, expected / sd, rtol=0, atol=2e-8)
    spec, _ = prepare(frame, formula, priors=HALF, se=False)
    assert spec.variables == ("tau", "theta", *(["beta"] if covariates else []), "sigma")


EQUAL = [("0 + one", "1"), ("0 + f", "f"), ("0 + x + f", "f + x"), ("0 + f:h", "f*h")]


@pytest.mark.parametrize(
    ("without", "with_one", "nest"),
    [(*pair, nest) for pair in EQUAL for nest in ("(1 | g)", "")] + [(*EQUAL[1], "(1 | s/g)")],
)
def test_what_spans_a_constant_is_the_model_with_an_intercept(without, with_one, nest):
    """Only the names change: theta is less by what has become a coefficient."""
    frame = rows(3, schools=6).assign(one=1.0)
    frame["h"] = np.resize(list("uuvv"), len(frame))
    frame["y"] += 100
    first, second = (f"y ~ {f} + {nest}".removesuffix(" + ") for f in (without, with_one))
    priors = {"tau": hm.FlatSD(), "kappa": hm.HalfNormal(3)}
    priors = {
        name: priors[name] for name in ("tau", "kappa")[: len(nest.split("/")) if nest else 0]
    }
    a, b = (hm.reference(frame, f, priors=priors, se=False) for f in (first, second))
    assert a.certificate < 1e-8
    top = b.spec.intercept
    for name in a.spec.sds:
        np.testing.assert_allclose(a.mean[name], b.mean[name], rtol=1e-8)
        q = [r.quantile([0.1, 0.9])[name] for r in (a, b)]
        np.testing.assert_allclose(*q, rtol=0, atol=1e-6 * float(b.sd[name]))
    place = {"one": "one", "f": "f[a]", "x + f": "f[a]", "f:h": "f[a]:h[u]"}[without[4:]]
    np.testing.assert_allclose(a.mean["beta"].sel(coef=place), b.mean[top], rtol=1e-9)
    np.testing.assert_allclose(a.sd["beta"].sel(coef=place), b.sd[top], rtol=1e-7)


def test_it_is_the_limit_of_a_narrow_prior_on_the_mean():
    frame = rows(4)
    priors = HALF | {"beta": hm.Normal(0, 3)}
    exact = hm.reference(frame, TWO, priors=priors, se=False)
    near = hm.reference(
        frame, "y ~ x + (1 | g)", priors=priors | {"mu": hm.Normal(0, 1e-6)}, se=False
    )
    for name in ("tau", "sigma", "theta", "beta"):
        np.testing.assert_allclose(exact.mean[name], near.mean[name], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(exact.sd[name], near.sd[name], rtol=1e-5)
    assert exact.log_marginal_likelihood == pytest.approx(near.log_marginal_likelihood, abs=1e-6)


def test_an_outcome_far_from_0_keeps_its_digits():
    frame = rows(5).assign(year=lambda d: 2000 + d["x"])
    frame["y"] = 1e4 + frame["y"]
    a = hm.reference(frame, "y ~ 0 + f + (1 | g)", priors=HALF, se=False)
    b = hm.reference(frame, "y ~ f + (1 | g)", priors=HALF, se=False)
    np.testing.assert_allclose(a.mean["tau"], b.mean["tau"], rtol=1e-9)
    np.testing.assert_allclose(a.mean["beta"].sel(coef="f[a]"), b.mean["mu"], rtol=1e-12)
    priors = {"tau": hm.Fixed(0.5), "sigma": hm.Fixed(0.8)}
    found = hm.reference(frame, "y ~ 0 + year + (1 | g)", priors=priors, se=False)
    dense = Dense(frame, frame[["year"]], ["g"], [0.25], 0.64)
    np.testing.assert_allclose(found.mean["beta"], dense.beta, rtol=1e-12)
    np.testing.assert_allclose(found.sd["beta"], np.sqrt(dense.covariance[0]), rtol=1e-9)


def restricted(frame, x, columns, variances, noise, profile=False):
    """Minus the restricted log likelihood, or the profiled one."""
    dense = Dense(frame, x, columns, variances, noise)
    if not profile:
        return -dense.log_likelihood
    rest = dense.y - dense.x @ dense.beta
    return 0.5 * (np.linalg.slogdet(dense.v)[1] + rest @ dense.inverse @ rest)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("covariates", ["x", "f"])
def test_estimates_by_likelihood_are_those_of_the_dense_one(covariates, method):
    frame = rows(6, schools=6)
    table = hm.fit(frame, f"y ~ 0 + {covariates} + (1 | g)", draws=10, se=False, **QUIET)
    found = table.estimates(method=method)
    x = frame[["x"]].to_numpy() if covariates == "x" else indicator(frame["f"])

    def height(log_sds):
        tau2, sigma2 = np.exp(2 * log_sds)
        return restricted(frame, x, ["g"], [tau2], sigma2, method == "ml")

    best = minimize(height, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 0})
    tau, sigma = np.exp(best.x)
    assert found.sds["tau"] == pytest.approx(tau, rel=1e-5)
    assert found.sds["sigma"] == pytest.approx(sigma, rel=1e-5)
    dense = Dense(frame, x, ["g"], [found.sds["tau"] ** 2], found.sds["sigma"] ** 2)
    assert list(found.coefficients.index) == [f"beta[{n}]" for n in table.spec.covariates]
    np.testing.assert_allclose(found.coefficients["estimate"], dense.beta, rtol=1e-9)
    se = np.sqrt(np.diag(dense.covariance))
    np.testing.assert_allclose(found.coefficients["se"], se, rtol=1e-9)


@pytest.mark.parametrize("formula", ["y ~ 0 + x + (1 | g)", "y ~ 0 + (1 | g)"])
def test_estimates_by_moments(formula):
    """DerSimonian–Laird, Hedges and Paule–Mandel with the textbook's P."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"x": rng.normal(size=9) + 2, "g": list("abcdefghi")})
    frame = frame.assign(se=rng.uniform(0.3, 1, 9), y=2 * frame["x"] + 2 * rng.normal(size=9))
    x = frame[["x"]].to_numpy() if "x" in formula else np.empty((9, 0))
    y, v, p = frame["y"].to_numpy(), frame["se"].to_numpy() ** 2, x.shape[1]

    def projection(w):
        w = np.diag(w)
        return w - w @ x @ np.linalg.inv(x.T @ w @ x) @ x.T @ w if p else w

    fit = hm.fit(frame, formula, se="se", draws=10, **QUIET)
    at = projection(1 / v)
    expected = (y @ at @ y - (9 - p)) / np.trace(at)
    assert fit.estimates(method="dl").sds["tau"] ** 2 == pytest.approx(expected, rel=1e-10)
    at = projection(np.ones(9))
    expected = (y @ at @ y - np.trace(at @ np.diag(v))) / (9 - p)
    assert fit.estimates(method="he").sds["tau"] ** 2 == pytest.approx(expected, rel=1e-10)
    tau2 = fit.estimates(method="pm").sds["tau"] ** 2
    assert y @ projection(1 / (v + tau2)) @ y == pytest.approx(9 - p, rel=1e-10)


@pytest.mark.parametrize("formula", ["y ~ 0 + x", "y ~ 0 + f", "y ~ 0 + x*f"])
def test_regression_is_the_classical_table(formula):
    frame = rows(7, schools=6)
    full, x = indicator(frame["f"]), frame[["x"]].to_numpy()
    design = {"0 + x": x, "0 + f": full, "0 + x*f": np.hstack([x, full, x * full[:, 1:]])}
    x = design[formula.removeprefix("y ~ ")]
    beta, [rest], *_ = np.linalg.lstsq(x, frame["y"])
    df = len(frame) - x.shape[1]
    scale = np.sqrt(rest / df * np.diag(np.linalg.inv(x.T @ x)))
    exact = hm.reference(frame, formula, se=False)
    q = np.array([0.01, 0.5, 0.9])
    expected = stats.t(df, beta, scale).ppf(q[:, None])
    np.testing.assert_allclose(exact.quantile(q)["beta"], expected, rtol=1e-9)
    assert set(exact.mean) == {"beta", "sigma"}
    known = hm.reference(frame, formula, se="se")
    weight = frame["se"].to_numpy() ** -2
    covariance = np.linalg.inv((x.T * weight) @ x)
    np.testing.assert_allclose(known.mean["beta"], covariance @ x.T @ (weight * frame["y"]))
    np.testing.assert_allclose(known.sd["beta"], np.sqrt(np.diag(covariance)), rtol=1e-10)


def test_conjugate_regression_is_the_dense_multivariate_t():
    frame = rows(8, schools=6)
    prior = hm.NormalInverseGamma(m=0.5, s=2.0, alpha=3.0, beta=2.0)
    exact = hm.reference(frame, "y ~ 0 + x + f", priors={"beta": prior}, se=False)
    x = np.column_stack([frame["x"], indicator(frame["f"])])
    shape = 2 / 3 * (np.eye(len(x)) + 4 * x @ x.T)
    law = stats.multivariate_t(x @ np.full(4, 0.5), shape, df=6)
    assert exact.log_marginal_likelihood == pytest.approx(law.logpdf(frame["y"]), rel=1e-10)


NEEDS = [
    (hm.FlatVariance(), 3, "y ~ 0 + (1 | g)"),  # τ^−g·τ²: g > 2
    (hm.FlatSD(), 2, "y ~ 0 + (1 | g)"),
    (hm.FlatVariance(), 4, "y ~ 0 + x + (1 | g)"),
    (hm.FlatSD(), 3, "y ~ 0 + x + (1 | g)"),
    (hm.HalfNormal(1), 1, "y ~ 0 + (1 | g)"),
]


@pytest.mark.parametrize(("prior", "groups", "formula"), NEEDS)
def test_how_many_groups_it_takes(prior, groups, formula):
    """One fewer than with an intercept; x is the same in all rows of a group."""
    whole = pd.DataFrame({"y": [1.0, -2.0, 2.5, 0.5], "x": [1.0, 2.0, 2.5, 0.7], "g": list("abcd")})
    whole = whole.assign(se=0.5)
    enough = hm.reference(whole.head(groups), formula, se="se", priors={"tau": prior})
    assert np.isfinite(enough.quantile(0.5)["tau"]).all()
    if groups > 1:
        with pytest.raises(hm.ImproperPosteriorError, match="the posterior does not exist"):
            hm.reference(whole.head(groups - 1), formula, se="se", priors={"tau": prior})


def test_which_moments_exist():
    """``E tau`` under a flat variance takes four groups, ``E tau²`` five: one fewer as well."""
    frame = pd.DataFrame({"y": [1.0, -2.0, 2.5, 0.5, 1.0], "g": list("abcde"), "se": 0.5})
    for groups, mean, sd in ((3, False, False), (4, True, False), (5, True, True)):
        exact = hm.reference(frame.head(groups), "y ~ 0 + (1 | g)", se="se")
        assert bool(np.isfinite(exact.mean["tau"])) is mean
        assert bool(np.isfinite(exact.sd["tau"])) is sd
        assert np.isfinite(exact.sd["theta"]).all()


def test_sigma_needs_what_the_covariates_leave():
    """Rows that the covariates explain exactly; a df of the root is spent by a constant column."""
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "g": list("aabb")})
    frame["y"] = 2 * frame["x"]
    with pytest.raises(hm.ImproperPosteriorError, match="the covariates explain all rows"):
        hm.reference(frame, "y ~ 0 + x", se=False)
    with pytest.raises(hm.ImproperPosteriorError, match="1 rows less 1 flat coefficients"):
        hm.reference(frame.head(1), "y ~ 0 + x", se=False)
    priors = {"tau": hm.HalfNormal(1), "sigma": hm.HalfNormal(1)}
    with pytest.raises(hm.ImproperPosteriorError, match="the covariates explain all rows"):
        hm.reference(frame, "y ~ 0 + x + (1 | g)", se=False, priors=priors)
    frame["y"] += 1  # explained by x and a mean, not by x alone
    hm.reference(frame, "y ~ 0 + x", se=False)


def test_what_cannot_be_told_apart():
    frame = rows(1).assign(zero=0.0, twice=lambda d: 2 * d["x"], one=1.0)
    with pytest.raises(hm.DataError, match="'twice' is a linear combination of 'x', exactly"):
        hm.reference(frame, "y ~ 0 + x + twice + (1 | g)", se=False)
    with pytest.raises(hm.DataError, match="'zero' is 0 in every row, which says nothing"):
        hm.reference(frame, "y ~ 0 + zero + (1 | g)", se=False)
    with pytest.raises(hm.DataError, match="'one' is constant"):
        hm.reference(frame, "y ~ one + (1 | g)", se=False)
    with pytest.raises(hm.DataError, match="2 columns need at least 2 rows; found 1"):
        hm.reference(frame.head(1), "y ~ 0 + x + one", se=False)
    with pytest.raises(hm.SpecError, match="no parameter 'mu'; it has tau, beta"):
        hm.reference(frame, TWO, se=False, priors={"mu": hm.Normal(0, 1)})


def test_an_empty_cell_is_left_out(capsys):
    frame = rows(3, schools=6)
    frame["h"] = np.where(frame["f"] == "a", "u", np.resize(list("uv"), len(frame)))
    fit = hm.fit(frame, "y ~ 0 + f:h + (1 | g)", se=False, draws=10, **QUIET)
    assert fit.data.design.empty == ("f[a]:h[v]",)
    assert len(fit.spec.covariates) == 5
    assert "left out" in capsys.readouterr().out


def test_every_coding_is_full_where_no_column_stands_for_the_mean():
    frame = rows(3, schools=6)
    frame["h"] = np.resize(list("uuvv"), len(frame))
    names = {
        "0 + f": ["f[a]", "f[b]", "f[c]"],
        "0 + f + h": ["f[a]", "f[b]", "f[c]", "h[v]"],
        "0 + x + f": ["x", "f[a]", "f[b]", "f[c]"],
        "0 + f:x": ["f[a]:x", "f[b]:x", "f[c]:x"],
        "0 + h:f": [f"h[{h}]:f[{f}]" for f in "abc" for h in "uv"],
        "0 + center(x)": ["center(x)"],
    }
    for formula, expected in names.items():
        spec, _ = prepare(frame, f"y ~ {formula} + (1 | g)", se=False)
        assert sorted(spec.covariates) == sorted(expected)


def forward(transform, value):
    """What is sampled in a value's place."""
    return (
        pt.as_tensor(transform.forward(pt.as_tensor(value))).eval(**PLAIN) if transform else value
    )


def plain(draws, i):
    """One draw of all variables."""
    return {str(n): v.to_numpy()[0, i] for n, v in draws.items()}


@pytest.mark.parametrize("observed", ["means", "rows"])
@pytest.mark.parametrize("form", ["centered", "noncentered"])
@pytest.mark.parametrize("formula", [TWO, THREE, "y ~ 0 + f + (1 | g)", "y ~ 0 + (1 | g)"])
def test_pymc_states_the_joint_density(formula, form, observed):
    frame = rows(9, schools=4)
    priors = HALF | {"beta": hm.Normal(0, 3)} if "+ (1 | g)" in formula and "x" in formula else HALF
    priors = priors | ({"kappa": hm.HalfNormal(1)} if "s/g" in formula else {})
    fit = hm.fit(frame, formula, priors=priors, se=False, draws=5, **QUIET)
    spec, draws = fit.spec, fit.datatree["posterior"].to_dataset()
    model = models.build_model(spec, fit.data, form, observed)
    logp = model.compile_logp(jacobian=False, **PLAIN)
    for i in range(3):
        values, point, jacobian = plain(draws, i), {}, 0.0
        parent = {
            "mu": 0.0,
            "theta": values["mu"][fit.data.parents[0]] if "s/g" in formula else 0.0,
        }
        for rv in model.free_RVs:
            name = rv.name.removesuffix("_offset")
            value = np.asarray(values[name])
            if rv.name.endswith("_offset"):
                sd = values[{"theta": "tau", "mu": "kappa"}[name]]
                value, jacobian = (value - parent[name]) / sd, jacobian + len(value) * np.log(sd)
            transform = model.rvs_to_transforms[rv]
            own = model.rvs_to_values[rv].name
            point[own] = forward(transform, value)
        expected = float(log_joint(spec, fit.data, values)) + jacobian
        assert logp(point) == pytest.approx(expected, rel=1e-9)
        stored = float(fit.datatree["sample_stats"]["lp"].to_numpy()[0, i])
        assert stored == pytest.approx(expected - jacobian, rel=1e-9)


def test_pymc_integrates_as_the_exact_engine():
    frame = rows(10, schools=4)
    spec, data = prepare(frame, THREE, se=False)
    marginal = Marginal.of(spec, standardize(data))
    model = models.build_model(spec, data, "marginal")
    logp = model.compile_logp(vars=model.potentials, **PLAIN)
    for sds in ([0.5, 1.0, 2.0], [3.0, 0.1, 0.7]):
        point = {f"{n}_log__": np.log(v) for n, v in zip(spec.sds, sds, strict=True)}
        variances = marginal.variances_of(np.array([sds]))
        found = recursion.log_likelihood(marginal.data.tree, variances, marginal.coefficients)
        assert logp(point) == pytest.approx(found[0] + marginal.data.log_jacobian, rel=1e-10)


@pytest.mark.parametrize("observed", ["means", "rows"])
def test_pymc_states_a_regression(observed):
    frame = rows(8, schools=6)
    prior = hm.NormalInverseGamma(m=0.5, s=2.0, alpha=3.0, beta=2.0)
    spec, data = prepare(frame, "y ~ 0 + x", priors={"beta": prior}, se=False)
    model = models.build_model(spec, data, observed=observed)
    assert {v.name for v in model.free_RVs} == {"beta", "sigma"}
    with model:
        point = model.initial_point()
        beta = model.replace_rvs_by_values([model["beta"]])[0].eval(
            {v: point[v.name] for v in model.value_vars if v.name in point and "beta" in v.name},
            **PLAIN,
        )
    sigma = np.exp(point["sigma_log__"])
    values = {"beta": beta, "sigma": np.asarray(sigma)}
    found = model.compile_logp(jacobian=False, **PLAIN)(point)
    assert found == pytest.approx(float(log_joint(spec, data, values)), rel=1e-9)


def test_nuts_agrees_with_the_exact_engine():
    frame = rows(11, schools=4)
    frame["y"] += 50
    formula = "y ~ 0 + f + (1 | g)"
    options = {"priors": HALF, "se": False, **QUIET}
    sampled = hm.fit(frame, formula, engine="nuts", draws=500, chains=2, **options)
    assert set(sampled.datatree["posterior"].data_vars) == {"tau", "theta", "beta", "sigma"}
    assert hm.compare(sampled, hm.fit(frame, formula, draws=10, **options)).passed


@pytest.mark.parametrize(("formula", "unit"), [(TWO, "row"), (TWO, "group"), (THREE, "outer")])
def test_cross_validation_is_refitting(formula, unit):
    frame = rows(12, schools=4)
    priors = HALF | {"beta": hm.Normal(0, 3)}
    priors |= {"kappa": hm.HalfNormal(2)} if "s/g" in formula else {}
    options = {"formula": formula, "priors": priors, "se": False}
    found = hm.fit(frame, **options, draws=10, **QUIET).loo(unit)
    units = {"row": frame.index, "group": frame["g"], "outer": frame["s"]}[unit]
    whole = hm.reference(frame, **options).log_marginal_likelihood
    labels = found.elpd_i.coords[found.unit].to_numpy()
    for place in (0, len(labels) - 1):
        rest = hm.reference(frame[units != labels[place]], **options).log_marginal_likelihood
        assert float(found.elpd_i[place]) == pytest.approx(whole - rest, abs=1e-6)


@pytest.mark.parametrize("formula", [TWO, THREE])
def test_predictions_of_known_and_new_groups(formula):
    """A new group's mean is ``x'beta``, and its variance ``x'Cx + kappa² + tau²``, by algebra."""
    frame = rows(13, schools=4)
    kappa, tau, sigma = (1.3 if "s/g" in formula else 0.0), 0.7, 0.9
    priors = {"tau": hm.Fixed(tau), "sigma": hm.Fixed(sigma)}
    priors |= {"kappa": hm.Fixed(kappa)} if kappa else {}
    fit = hm.fit(frame, formula, priors=priors, se=False, draws=4000, **QUIET)
    new = frame.iloc[[0, 1]].assign(
        x=[3.0, -1.0], g=["new", frame["g"][0]], s=["new", frame["s"][0]]
    )
    dense = Dense(frame, frame[["x"]], ["g", "s"], [tau**2, kappa**2], sigma**2)
    mean, sd = 3 * dense.beta[0], np.sqrt(9 * dense.covariance[0, 0] + tau**2 + kappa**2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fit.predict(new, outcomes=False, random_seed=1)
    (name,) = found.mean.data_vars
    center, spread = found.mean[name].to_numpy(), found.sd[name].to_numpy()
    assert center[0] == pytest.approx(mean, rel=1e-9)
    assert spread[0] == pytest.approx(sd, rel=1e-9)
    theta = hm.reference(frame, formula, priors=priors, se=False).at({"x": -1}).mean["theta"]
    assert center[1] == pytest.approx(float(theta[0]), rel=1e-9)
    draws = found.datatree["predictions"][name].to_numpy().reshape(-1, 2)[:, 0]
    assert draws.mean() == pytest.approx(mean, abs=5 * sd / len(draws) ** 0.5)
    assert draws.std() == pytest.approx(sd, rel=0.05)


@pytest.mark.parametrize("formula", [TWO, THREE, "y ~ 0 + f*x + (1 | g)", "y ~ 0 + (1 | g)"])
def test_files_and_formulas_go_round(tmp_path, formula):
    frame = rows(14, schools=6)
    fit = hm.fit(frame, formula, priors="weak", se=False, draws=20, **QUIET)
    back = hm.load(fit.to_netcdf(tmp_path / "fit.nc"))
    assert back.spec == fit.spec
    assert not back.spec.has_intercept
    xr.testing.assert_identical(back.datatree["posterior"].ds, fit.datatree["posterior"].ds)
    np.testing.assert_array_equal(back.reference().mean["tau"], fit.reference().mean["tau"])
    assert ("mu" in fit.datatree["posterior"]) is (formula == THREE)
    assert "lam" not in fit.datatree["posterior"]
    assert "~ Normal(0, " in repr(fit)
    fit.to_zarr(tmp_path / "fit.zarr")
    fit.to_parquet(tmp_path / "theta.parquet")
    assert len(pd.read_parquet(tmp_path / "theta.parquet")) == frame["g"].nunique()
    if formula != TWO:
        return
    fit.report(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "~ 0 + " in text
    assert "could not" not in text


def test_every_verb(tmp_path):
    frame = rows(15, schools=4)
    priors = HALF | {"beta": hm.Normal(0, 3)}
    fit = hm.fit(
        frame,
        TWO,
        priors=priors,
        se=False,
        draws=200,
        log_likelihood="marginal",
        prior=True,
        **QUIET,
    )
    names = {"tau", "theta", "beta", "sigma"}
    assert set(fit.datatree["prior"].data_vars) == names
    assert set(fit.reference().mean) == names
    assert sorted(fit.rank().table.index) == sorted(set(frame["g"]))
    assert "mu" not in " ".join(fit.summary().index)
    for at in ("means", "own", "zero", {"x": 3}):
        assert np.isfinite(fit.summary(at=at)["mean"]).all()
        assert np.isfinite(fit.estimates(at=at).table["eb"]).all()
    fit.variance_components()
    fit.check(random_seed=1)
    fit.check(replicate="g", random_seed=1)
    fit.sensitivity()
    for plot in (fit.plot_shrinkage, fit.plot_caterpillar, fit.plot_trace_tau, fit.plot_variance):
        plot()
    exact = fit.reference()
    q = exact.quantile([0.2, 0.8])
    np.testing.assert_allclose(
        exact.cdf("theta", q["theta"]), [[0.2], [0.8]] * np.ones((1, len(q["g"])))
    )
    assert np.isfinite(exact.density("theta", q["theta"])).all()
    theta = exact.mean["theta"] + 3 * exact.mean["beta"].item()
    np.testing.assert_allclose(exact.at({"x": 3}).mean["theta"], theta, rtol=1e-10)


def test_the_marginal_likelihood_of_groups_is_dense():
    frame = rows(16, schools=4)
    fit = hm.fit(frame, TWO, se=False, draws=5, log_likelihood="marginal", **QUIET)
    draws, found = fit.datatree["posterior"], fit.datatree["log_likelihood"]["y"].to_numpy()[0]
    for i in range(3):
        tau, sigma = float(draws["tau"][0, i]), float(draws["sigma"][0, i])
        for j, (_, part) in enumerate(frame.groupby("g", sort=False)):
            mean = float(draws["beta"][0, i, 0]) * part["x"]
            v = tau**2 + sigma**2 * np.eye(len(part))
            law = stats.multivariate_normal(mean, v)
            assert found[i, j] == pytest.approx(law.logpdf(part["y"]), rel=1e-9)


@pytest.mark.parametrize("formula", [TWO, "y ~ 0 + f + (1 | s/g)", "y ~ 0 + x:f + (1 | g)"])
def test_lazy_data_and_statistics_agree(formula):
    polars, duckdb = pytest.importorskip("polars"), pytest.importorskip("duckdb")
    frame = rows(17, schools=5).sort_values(["s", "g"], ignore_index=True)
    priors = {"tau": hm.HalfNormal(1)} | ({"kappa": hm.HalfNormal(1)} if "s/g" in formula else {})
    options = {"formula": formula, "priors": priors, "se": False}
    expected = hm.reference(frame, **options).mean
    parts = [hm.SufficientStatistics.of(frame[frame["s"].isin(s)], formula, se=False,
             levels={"f": list("abc")} if "f" in formula else None)
             for s in (["s0", "s1"], ["s2", "s3", "s4"])]  # fmt: skip
    found = [
        hm.reference(polars.from_pandas(frame).lazy(), **options).mean,
        hm.reference(duckdb.connect().from_df(frame), **options).mean,
        hm.reference(sum(parts), priors=priors).mean,
    ]
    for means in found:
        assert set(means) == set(expected)
        for name in ("tau", "sigma", "beta"):
            np.testing.assert_allclose(means[name], expected[name], rtol=1e-8)
        for group in frame["g"].unique():
            a, b = (m["theta"].sel(g=group) for m in (means, expected))
            np.testing.assert_allclose(a, b, rtol=1e-7)
    other = hm.SufficientStatistics.of(frame, formula.replace("0 + ", ""), se=False)
    with pytest.raises(hm.SpecError):
        parts[0] + other


def test_simulations_are_calibrated():
    frame = rows(18, schools=4)
    priors = HALF | {"beta": hm.Normal(0, 1)}
    spec, data = prepare(frame, TWO, priors=priors, se=False)
    found = hm.calibrate(frame, TWO, priors=priors, se=False, simulations=40, random_seed=1)
    assert found.passed
    assert spec.parameters == ("tau", "beta[x]", "sigma")
    assert data.n_rows == len(frame)


def test_the_command_line(tmp_path, capsys):
    rows(14, schools=6).drop(columns="se").to_csv(tmp_path / "rows.csv", index=False)
    argument = ["fit", str(tmp_path / "rows.csv"), "--formula", "y ~ -1 + x + (1 | g)"]
    assert main([*argument, "--out", str(tmp_path / "fit.nc")]) in (0, None)
    assert "theta[g] ~ Normal(0, tau)" in capsys.readouterr().out
    assert not hm.load(tmp_path / "fit.nc").spec.has_intercept


def test_pymc_starts_near_the_coefficients():
    """An outcome far from 0, of which the coefficients of the levels take all."""
    frame = rows(1)
    frame["y"] += 1e5
    spec, data = prepare(frame, "y ~ 0 + f + (1 | g)", se=False, priors=HALF)
    model = models.build_model(spec, data)
    values = model.initial_point()
    (value,) = model.replace_rvs_by_values([model["beta"]])
    beta = value.eval({v: values[v.name] for v in pm.inputvars(value)}, **PLAIN)
    np.testing.assert_allclose(beta, 1e5, rtol=1e-3)


@pytest.mark.parametrize(
    ("nest", "priors"),
    [
        ("(1 | g)", {"tau": hm.HalfNormal(1)}),
        ("(1 | s/g)", {"kappa": hm.HalfNormal(1), "tau": hm.Fixed(0.3)}),
    ],
)
def test_draws_of_counts_around_0_have_their_distribution_functions(nest, priors):
    """Of sorted probabilities below draws, each should be near its place: 6 in 10,000 are not."""
    frame = pd.DataFrame({"s": list("aabb"), "g": list("klmn"), "r": [0, 3, 5, 9], "n": 10})
    fit = hm.fit(frame, f"r | trials(n) ~ 0 + {nest}", priors=priors, **QUIET)
    assert not fit.spec.top
    place = (np.arange(4000)[:, None] + 0.5) / 4000
    for name in (next(iter(priors)), "theta", "p"):
        draws = fit.datatree["posterior"][name].stack(all_=("chain", "draw"))
        values = draws.transpose("all_", ...).to_numpy()
        below = np.sort(fit.reference().cdf(name, values).reshape(4000, -1), axis=0)
        assert np.abs(below - place).max() < 2.0 / np.sqrt(4000), name


def test_effects_of_counts_around_0_peak_there():
    """Distribution functions by sums over log τ and Gauss's rule, at effects down to 1e-6."""
    successes, trials = np.array([0, 3, 5, 9]), 10
    frame = pd.DataFrame({"g": list("klmn"), "r": successes, "n": trials})
    exact = hm.reference(frame, "r | trials(n) ~ 0 + (1 | g)", priors={"tau": hm.HalfNormal(1)})
    tau = np.exp(np.linspace(-40, 2.3, 700))[:, None, None]
    x, weight = np.polynomial.legendre.leggauss(200)

    def below(effect):
        """``∫ p(r | θ) N(θ | 0, τ²) dθ`` up to an effect, for each τ and group."""
        high = np.clip(effect / tau, -9, 9)
        z = -9 + (high + 9) * (x + 1) / 2
        density = np.exp(-(z**2) / 2) * (high + 9) * weight
        p = special.expit(tau * z)[..., None]
        return (density[..., None] * p**successes * (1 - p) ** (trials - successes)).sum(axis=2)[
            :, 0
        ]

    whole = below(np.inf)
    prior = (tau * np.exp(-(tau**2) / 2))[:, 0] * whole.prod(axis=1, keepdims=True)
    for effect in (-2.0, -1e-3, -1e-6, 0.0, 1e-4, 0.1, 1.5):
        known = (prior / prior.sum() * below(effect) / whole).sum(axis=0)
        np.testing.assert_allclose(exact.cdf("theta", np.full(4, effect)), known, atol=1e-8)
