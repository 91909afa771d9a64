"""Posteriors with few or no degrees of freedom left at a level: dense, in many digits, and by grid.

Where covariates use up all degrees of freedom within groups, the residual sum of squares of the
rows is 0.  It is divided by σ², which has its own prior and may be as small as that allows: so a
rounding error in its place is a posterior of its own.
"""

from __future__ import annotations

import itertools
from functools import cache

import mpmath as mp
import numpy as np
import pandas as pd
import pytest
from scipy.linalg import null_space

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.kernels.tree.marginal import log_likelihood
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.standardize import standardize

LEVELS = ("sigma", "tau", "kappa")
SIZES = (1e-14, 1e-9, 1e-5, 0.01, 1.0, 10.0)


def design(seed, levels, left):
    """Rows in groups (in schools), with so many covariates that ``left`` df are left at a level."""
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(3), rng.integers(1, 4, 3)) if levels == 3 else np.zeros(5, int)
    group = np.repeat(np.arange(len(school)), rng.permutation([2, 3] + [1] * (len(school) - 2)))
    schools = school.max() + 1
    unit_of_row = (np.arange(len(group)), group, school[group])
    sizes = (len(group), len(school), schools, 1)
    columns = []
    for level, df in enumerate(left[:levels]):
        for _ in range(max(0, sizes[level] - sizes[level + 1] - df)):
            columns.append(rng.normal(size=sizes[level])[unit_of_row[level]])
    x = np.reshape(columns, (-1, len(group))).T
    x = x @ (np.eye(x.shape[1]) + np.tril(rng.normal(size=(x.shape[1],) * 2), -1))  # a mixture
    frame = pd.DataFrame(x, columns=[f"x{j}" for j in range(x.shape[1])])
    frame = frame.assign(school=[f"s{i}" for i in school[group]], group=[f"g{i}" for i in group])
    return frame.assign(y=100 + rng.normal(size=len(group)))


def roles(frame, levels):
    covariates = [name for name in frame if name.startswith("x")]
    groups = ["school", "group"] if levels == 3 else "group"
    return {"outcome": "y", "groups": groups, "covariates": covariates or None}


def priors(levels):
    return {name: hm.HalfNormal(1) for name in LEVELS[:levels]}


def indicators(frame, levels):
    """For each sd, a matrix with a column for each effect of it."""
    labels = [np.arange(len(frame)), frame["group"].to_numpy(), frame["school"].to_numpy()]
    return [pd.get_dummies(label).to_numpy(dtype=float) for label in labels[:levels]]


def log_likelihood_in_many_digits(frame, levels, sds):
    """Log of ``p(y | sds)`` with flat coefficients and its quadratic form, by dense matrices."""
    mp.mp.dps = 70
    x = mp.matrix([[1, *row] for row in frame.filter(like="x").to_numpy().tolist()])
    y = mp.matrix(frame["y"].tolist())
    v = mp.zeros(len(frame))
    for sd, z in zip(sds, indicators(frame, levels), strict=True):
        v += mp.mpf(float(sd)) ** 2 * mp.matrix((z @ z.T).tolist())
    precision = mp.inverse(v)
    t = x.T * precision * x
    residual = y - x * mp.lu_solve(t, x.T * (precision * y))
    square = (residual.T * (precision * residual))[0]
    return float(-(mp.log(mp.det(v)) + mp.log(mp.det(t)) + square) / 2), float(square)


CASES = [
    (levels, left) for levels in (2, 3) for left in itertools.product((0, 1, 2), repeat=levels)
]


@cache
def truth_of(levels, left):
    """Sds (σ first), log likelihoods and sums of squares at five places."""
    frame = design([*left, levels], levels, left)
    sds = np.random.default_rng(7).choice(SIZES, (5, levels))
    return sds, *np.transpose([log_likelihood_in_many_digits(frame, levels, s) for s in sds])


@pytest.mark.parametrize("rows", [True, False], ids=["rows", "statistics"])
@pytest.mark.parametrize(("levels", "left"), CASES)
def test_the_likelihood_has_its_digits_whatever_the_sds(levels, left, rows):
    frame = design([*left, levels], levels, left)
    taken = roles(frame, levels)
    data = frame if rows else hm.SufficientStatistics.of(frame, **taken)
    spec, grouped = prepare(data, priors=priors(levels), **(taken if rows else {}))
    marginal = Marginal.of(spec, standardize(grouped))
    sds, truth, squares = truth_of(levels, left)
    variances = marginal.variances_of(np.roll(sds, -1, axis=1))
    found = log_likelihood(marginal.data.tree, variances, marginal.coefficients)
    order = np.argsort(squares)
    seen = order[squares[order] < max(1e3, 2 * squares.min())]  # elsewhere the density is nothing
    np.testing.assert_allclose(
        found[seen] - found[seen[0]], truth[seen] - truth[seen[0]], rtol=1e-11, atol=1e-11
    )


class Grid:
    """The posterior of a model with half-normal priors on a dense grid of u, ``log sd = u − e^−u``.

    The likelihood is that of contrasts ``K'y`` with ``K'X = 0``: with no residual sum of squares to
    form, nothing is lost where sds are small.  The first contrasts are free of groups, the next of
    schools.
    """

    def __init__(self, frame, levels, step=0.0625):
        x = np.column_stack([np.ones(len(frame)), frame.filter(like="x")])
        effects = indicators(frame, levels)
        contrasts, first = np.empty((len(frame), 0)), []
        for z in (*effects[1:], np.empty((len(frame), 0))):
            first.append(contrasts.shape[1])
            new = null_space(np.column_stack([x, z, contrasts]).T)
            contrasts = np.column_stack([contrasts, new])
        y, parts = contrasts.T @ frame["y"].to_numpy(), []
        for start, z in zip(first, effects, strict=True):
            loading = contrasts.T @ z
            loading[:start] = 0.0
            parts.append(loading @ loading.T)
        axis = np.arange(-3.25, 3.0, step)
        u = np.stack(np.meshgrid(*[axis] * levels, indexing="ij"), -1).reshape(-1, levels)
        logs = u - np.exp(-u)
        self.sds = np.exp(logs)
        log_density = np.empty(len(logs))
        for i in range(0, len(logs), 20_000):
            block = slice(i, i + 20_000)
            v = np.einsum("nl,lij->nij", self.sds[block] ** 2, parts)
            size = np.sqrt(np.einsum("nii->ni", v))
            scaled = v / size[:, :, None] / size[:, None, :]
            z = y / size
            square = np.einsum("ni,ni->n", z, np.linalg.solve(scaled, z[:, :, None])[:, :, 0])
            log_det = np.linalg.slogdet(scaled)[1] + 2 * np.log(size).sum(axis=1)
            log_density[block] = -0.5 * (log_det + square)
        log_density += (logs + np.log1p(np.exp(-u)) - 0.5 * self.sds**2).sum(axis=1)
        self.weights = np.exp(log_density - log_density.max())
        self.weights /= self.weights.sum()

    def mean_and_sd(self):
        mean = self.weights @ self.sds
        return mean, np.sqrt(self.weights @ (self.sds - mean) ** 2)


@pytest.mark.parametrize(
    ("levels", "left"),
    [(2, (0, 1)), (2, (0, 2)), (2, (1, 0)), (2, (0, 4)), (3, (0, 1, 1)), (3, (0, 0, 2))],
)
def test_the_posterior_is_that_of_a_dense_grid(levels, left):
    frame = design([*left, levels], levels, left)
    exact = hm.reference(frame, priors=priors(levels), **roles(frame, levels))
    mean, sd = Grid(frame, levels, 0.08 if levels == 3 else 0.0625).mean_and_sd()
    for i, name in enumerate(LEVELS[:levels]):
        assert abs(float(exact.mean[name]) - mean[i]) < 1e-8 * sd[i]
        assert abs(float(exact.sd[name]) / sd[i] - 1) < 1e-8


def test_all_degrees_of_freedom_are_used_up_within_groups():
    """Ten groups of one row, but for one of two, and a covariate: σ is known from its prior."""
    rng = np.random.default_rng(11)
    frame = pd.DataFrame({"x": rng.normal(size=11), "g": [f"s{i}" for i in [0, *range(10)]]})
    frame["y"] = 2 + rng.normal(size=11)
    weak = {"tau": hm.HalfNormal(1), "sigma": hm.HalfNormal(1)}
    exact = hm.reference(frame, "y ~ x + (1|g)", priors=weak)
    mean, sd = Grid(frame.rename(columns={"g": "group"}).assign(school=""), 2).mean_and_sd()
    np.testing.assert_allclose(mean, [0.63255461, 0.54304135], atol=5e-9)
    for name, truth, width in zip(LEVELS[:2], mean, sd, strict=True):
        assert abs(float(exact.mean[name]) - truth) < 1e-8 * width
    np.testing.assert_allclose(exact.mean["beta"], 0.09656, atol=1e-5)  # by another dense grid
    np.testing.assert_allclose(exact.sd["beta"], 0.29840, atol=1e-5)
    fit = hm.fit(frame, "y ~ x + (1|g)", priors=weak, random_seed=1)
    assert hm.compare(fit, exact).passed


def test_nothing_is_left_to_estimate_from():
    """As many coefficients as rows: the sds have their priors, and the draws too."""
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(rng.normal(size=(6, 5)), columns=[f"x{i}" for i in range(5)])
    frame = frame.assign(g=list("abcdef"), y=rng.normal(size=6))
    formula = "y ~ x0 + x1 + x2 + x3 + x4 + (1 | g)"
    exact = hm.reference(frame, formula, priors=priors(2))
    expected = np.sqrt(2 / np.pi)
    for name in ("tau", "sigma"):
        assert abs(float(exact.mean[name]) - expected) < 1e-9
        assert abs(float(exact.sd[name]) - np.sqrt(1 - expected**2)) < 5e-9
    coefficients = np.linalg.solve(
        np.column_stack([np.ones(6), frame.filter(like="x")]), frame["y"]
    )
    np.testing.assert_allclose(exact.mean["beta"], coefficients[1:], rtol=1e-9)


def test_a_factor_and_years_that_use_up_all_degrees_of_freedom():
    """A factor with a level for each further row of a group; years far from 0."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"g": list("aabbccdef"), "visit": list("121314111")})
    frame = frame.assign(year=2000 + np.arange(9.0), y=rng.normal(size=9))
    for covariates in (["visit"], ["year", "visit"]):
        given = {"outcome": "y", "groups": "g", "covariates": covariates}
        exact = hm.reference(frame, priors=priors(2), **given)
        x = [(frame["visit"] == v).astype(float) for v in "234"]
        if "year" in covariates:
            x.append(frame["year"] - 2004)
        plain = pd.DataFrame({f"x{j}": column for j, column in enumerate(x)})
        grid = Grid(plain.assign(group=frame["g"], school="", y=frame["y"]), 2)
        mean, sd = grid.mean_and_sd()
        found = np.array([float(exact.mean[name]) for name in LEVELS[:2]])
        assert (np.abs(found - mean) < 1e-8 * sd).all()


def test_columns_whose_difference_is_constant_within_groups():
    """``x1 − x0`` belongs to the groups, though neither column does."""
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(5), [2, 1, 1, 1, 1])
    x0 = rng.normal(size=6)
    x1 = x0 + rng.normal(size=5)[group]
    frame = pd.DataFrame({"x0": x0, "x1": x1, "group": group.astype(str), "school": ""})
    frame["y"] = rng.normal(size=6)
    exact = hm.reference(frame, "y ~ x0 + x1 + (1 | group)", priors=priors(2))
    mean, sd = Grid(frame, 2).mean_and_sd()
    found = np.array([float(exact.mean[name]) for name in LEVELS[:2]])
    assert (np.abs(found - mean) < 1e-8 * sd).all()
