"""Predictions where slopes vary, and with three columns of groups: laws and joint draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from tests.oracles.mixed_models import Mixed, indicators

DRAWS = 2500  # of each of four chains


def _rows(seed, sizes, rows):
    """Rows of nested groups, labels a0/b0/…, with a covariate x and an outcome."""
    rng = np.random.default_rng(seed)
    names = "abc"[: len(sizes)]
    index = np.repeat(np.arange(np.prod(sizes)), rows)
    columns = {}
    for number, name in enumerate(names):
        below = int(np.prod(sizes[number + 1 :]))
        columns[name] = [f"{name}{i}" for i in (index // below) % sizes[number]]
    frame = pd.DataFrame(columns)
    frame["x"] = rng.normal(size=len(frame)).round(2)
    frame["y"] = (frame["x"] + rng.normal(size=len(frame)) + 0.5 * (index % 3)).round(2)
    return frame.drop(index=[0, 5])


@dataclass(frozen=True)
class Case:
    """A model with known sds, and what varies at each of its levels."""

    formula: str
    frame: pd.DataFrame
    levels: tuple[tuple[str, dict[str, float]], ...]  # columns of groups, and sds of the terms
    new: pd.DataFrame
    intercept: bool = True

    @property
    def priors(self):
        """All sds fixed."""
        named = {}
        for column, sds in self.levels:
            sd = "tau" if len(self.levels) == 1 else f"tau_{column}"
            several = list(sds) != ["Intercept"]
            named |= {f"{sd}[{t}]" if several else sd: hm.Fixed(v) for t, v in sds.items()}
        return {**named, "sigma": hm.Fixed(0.8)}

    def truth(self, new=None):
        """Mean and covariance of the means of new rows, by dense algebra."""
        new = self.new if new is None else new
        both = pd.concat([self.frame, new], ignore_index=True)
        columns = {"Intercept": np.ones(len(both)), "x": both["x"].to_numpy()}
        parts, variances, path = [], [], pd.Series("", both.index)
        for column, sds in self.levels:
            path = path + "/" + both[column]
            group, labels = pd.factorize(path)
            parts.append(indicators(group, np.column_stack([columns[t] for t in sds]), len(labels)))
            variances += [*np.array(list(sds.values())) ** 2] * len(labels)
        x = np.column_stack([columns[t] for t in columns if self.intercept or t == "x"])
        z, n = np.hstack(parts), len(self.frame)
        noise = 0.64 * np.eye(n)
        model = Mixed(self.frame["y"].to_numpy(), x[:n], z[:n], np.diag(variances), noise)
        return model.combinations(x[n:], z[n:])


NEW_GROUPS = pd.DataFrame(
    {"a": ["a0", "a1", "a1", "new", "new", "other"], "x": [0.0, 2.0, -1.0, 0.0, 3.0, 3.0]}
)
NEW_CLASSES = pd.DataFrame(
    {
        "a": ["a0", "a1", "a1", "new", "new", "new", "a2"],
        "b": ["b0", "b1", "new", "b0", "b0", "b1", "b0"],
        "x": [0.5, 2.0, -1.0, 0.0, 3.0, 1.0, -2.0],
    }
)
NEW_LEAVES = pd.DataFrame(
    {
        "a": ["a0", "a1", "a1", "a1", "new", "new", "new"],
        "b": ["b0", "b1", "b1", "new", "b0", "b0", "b1"],
        "c": ["c1", "c0", "new", "c0", "c0", "c1", "c0"],
        "x": [0.5, 2.0, -1.0, 0.0, 3.0, 1.0, -2.0],
    }
)
BOTH, ALONE = {"Intercept": 0.9, "x": 0.5}, {"Intercept": 0.7}
CASES = {
    "uncorrelated": Case("y ~ x + (1 + x || a)", _rows(1, [6], 6), (("a", BOTH),), NEW_GROUPS),
    "slopes alone": Case("y ~ x + (0 + x | a)", _rows(2, [6], 6), (("a", {"x": 0.6}),), NEW_GROUPS),
    "no intercept": Case(
        "y ~ 0 + x + (1 + x || a)", _rows(3, [6], 6), (("a", BOTH),), NEW_GROUPS, False
    ),
    "outer slopes": Case(
        "y ~ x + (1 + x || a) + (1 | a:b)",
        _rows(4, [5, 3], 4),
        (("a", BOTH), ("b", ALONE)),
        NEW_CLASSES,
    ),
    "inner slopes": Case(
        "y ~ x + (1 | a) + (1 + x || a:b)",
        _rows(5, [5, 3], 4),
        (("a", ALONE), ("b", BOTH)),
        NEW_CLASSES,
    ),
    "four levels": Case(
        "y ~ x + (1 | a/b/c)",
        _rows(6, [4, 3, 2], 3),
        (("a", ALONE), ("b", {"Intercept": 0.4}), ("c", {"Intercept": 0.6})),
        NEW_LEAVES,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_known_and_new_groups_by_dense_algebra(name):
    """With known sds all is normal: means and sds to ten digits, and the draws' covariance."""
    case = CASES[name]
    fit = hm.fit(case.frame, case.formula, priors=case.priors, draws=DRAWS, random_seed=1)
    mean, covariance = case.truth()
    found = fit.predict(case.new, random_seed=2)
    shown, outcome = found.names
    np.testing.assert_allclose(found.mean[shown], mean, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.sd[shown], np.sqrt(np.diag(covariance)), rtol=1e-10)
    np.testing.assert_allclose(found.sd[outcome] ** 2, np.diag(covariance) + 0.64, rtol=1e-10)
    draws = found.datatree["predictions"][shown].to_numpy().reshape(-1, len(mean))
    size, variance = len(draws), np.diag(covariance)
    assert np.abs((draws.mean(axis=0) - mean) / np.sqrt(variance / size)).max() < 4.5
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / size)
    assert np.abs((np.cov(draws.T) - covariance) / error).max() < 4.5
    rest = found.datatree["predictions"][outcome].to_numpy().reshape(draws.shape) - draws
    assert np.abs(np.cov(rest.T) - 0.64 * np.eye(len(mean))).max() < 4.5 * 0.64 * np.sqrt(2 / size)


@pytest.fixture(scope="module")
def sleep():
    """The sleep study with 10,000 draws."""
    frame = hm.datasets.load_sleepstudy()
    formula = "Reaction ~ Days + (1 + Days | Subject)"
    return hm.fit(frame, formula, draws=DRAWS, random_seed=1)


def test_rows_of_one_new_group_share_correlated_effects(sleep):
    """Given the sds and ρ the values of a new group at x and x' have the covariance z'T z'."""
    days = np.array([0.0, 9.0])
    new = pd.DataFrame({"Subject": ["new", "new"], "Days": days})
    draws = sleep.predict(new, random_seed=2).datatree["predictions"]["Reaction_mean"]
    kept = sleep.datatree["posterior"]
    top = kept["mu"].to_numpy()[..., None] + kept["beta"].to_numpy() * days
    deviation = (draws.to_numpy() - top).reshape(-1, 2)
    (first, second), rho = kept["tau"].to_numpy().reshape(-1, 2).T, kept["rho"].to_numpy().ravel()
    at_nine = first**2 + 18 * rho * first * second + 81 * second**2
    products = [deviation[:, 0] ** 2, deviation[:, 0] * deviation[:, 1], deviation[:, 1] ** 2]
    given = [first**2, first**2 + 9 * rho * first * second, at_nine]
    for product, expected in zip(products, given, strict=True):
        rest = product - expected
        assert abs(rest.mean()) < 4.5 * rest.std() / np.sqrt(len(rest))


def test_draws_have_the_laws_without_monte_carlo_error(sleep):
    """Known and new groups at several x: uniform values of the distribution functions."""
    new = pd.DataFrame({"Subject": ["308", "309", "new", "new"], "Days": [0.0, 12.0, 0.0, 5.0]})
    found = sleep.predict(new, random_seed=3)
    for name in found.names:
        draws = found.datatree["predictions"][name].to_numpy().reshape(-1, len(new))
        uniform = np.sort(found.cdf(name, draws[::16]), axis=0)
        places = (np.arange(len(uniform)) + 0.5) / len(uniform)
        distance = np.abs(uniform - places[:, None]).max(axis=0)
        assert distance.max() < 2.0 / np.sqrt(len(uniform))


def test_cdf_and_quantiles_of_predictions_are_inverse(sleep):
    """P(y ≤ q_p) = p of known and new groups."""
    new = pd.DataFrame({"Subject": ["308", "new"], "Days": [3.0, 20.0]})
    found, p = sleep.predict(new), np.array([0.01, 0.3, 0.5, 0.9])
    for name in found.names:
        quantiles = found.quantile(p)[name].to_numpy()
        np.testing.assert_allclose(found.cdf(name, quantiles), p[:, None] + np.zeros(2), atol=1e-9)


def test_draws_of_some_groups_are_those_that_are_kept(sleep):
    """``draws`` gives both effects of each group that is named."""
    some = sleep.draws(["309", "308"])
    assert some.dims == ("chain", "draw", "Subject", "effect")
    kept = sleep.datatree["posterior"]["theta"].sel(Subject=["309", "308"])
    np.testing.assert_array_equal(some, kept)
