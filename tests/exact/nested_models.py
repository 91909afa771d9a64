"""Models with three levels that several tests look at."""

from __future__ import annotations

from functools import cache

import numpy as np

import hiermodels as hm
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.exact.leaves.nested.posterior import NestedPosterior
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.normal_leaves import NormalLeaves
from tests.oracles.count_figures import FIGURES

KNOWN = FIGURES["three_level_synthetic_half_normal1"]
R = np.array([[1, 3, 0], [4, 2, 5], [0, 1, 0], [6, 2, 7]])
N = np.array([[5, 8, 3], [6, 9, 7], [4, 5, 2], [6, 8, 9]])
X = np.array([[0.3, -1.0, 0.5], [1.2, -0.4, 0.0], [0.7, -1.5, 0.2], [-0.6, 1.0, 0.1]])
FEW = 9  # groups, of which there are figures with the covariate X
TAU, KAPPA = 1, 0  # levels


def model_of(leaves, parent, outer=None, inner=None, precision=0.0, intercept=True):
    p = int(intercept)
    return NestedModel(
        leaves,
        parent,
        np.ones((len(leaves), p)),
        intercept,
        np.zeros(p),
        np.full(p, precision),
        outer or hm.HalfNormal(1),
        inner or hm.HalfNormal(1),
    )


def small(leaves=None, **said):
    leaves = leaves or BinomialLeaves.of(R.ravel(), N.ravel())
    return model_of(leaves, np.repeat(np.arange(4), 3), **said)


def with_covariate(x, leaves=None, precision=1.0, outer=None, inner=None, size=FEW):
    """The first groups, three in each outer one, with covariates x (q, 12)."""
    leaves = leaves or BinomialLeaves.of(R.ravel(), N.ravel())
    rows = np.column_stack([np.ones(12), *np.atleast_2d(x)])[:size]
    p, kept = rows.shape[1], np.arange(size)
    return NestedModel(
        leaves.take(kept),
        kept // 3,
        rows,
        True,
        np.zeros(p),
        np.full(p, precision),
        outer or hm.HalfNormal(1),
        inner or hm.HalfNormal(1),
    )


@cache
def synthetic():
    r, n, outer = (np.array(KNOWN["data"][name]) for name in ("r", "n", "outer"))
    return NestedPosterior.of(model_of(BinomialLeaves.of(r, n), outer))


@cache
def few():
    """The posterior of twelve groups in four outer ones."""
    return NestedPosterior.of(small(precision=1.0))


@cache
def normal():
    """A posterior of normal leaves, and what the normal engine knows of it."""
    data = hm.datasets.load_school_calendar()
    data = data[data["district"].isin(sorted(set(data["district"]))[:3])].reset_index(drop=True)
    half = hm.HalfNormal(0.5)
    priors = {"tau": half, "kappa": half, "lam": hm.Normal(0, 1)}
    known = hm.reference(
        data, outcome="y", groups=["district", "school"], se="se", priors=priors, tol=1e-10
    )
    leaves = NormalLeaves.of(data["y"].to_numpy(float), data["se"].to_numpy(float))
    model = model_of(leaves, data["district"].factorize()[0], half, half, precision=1.0)
    return NestedPosterior.of(model, tol=1e-9), known


def assert_moments(found, known, tolerance):
    (mean, sd), (known_mean, known_sd) = found, known
    scale = np.array(known_sd)
    np.testing.assert_allclose((mean - np.array(known_mean)) / scale, 0.0, atol=tolerance)
    np.testing.assert_allclose(sd / scale, 1.0, atol=tolerance)
