"""Digits that are lost where variances, covariates or priors lie far apart are counted."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from mpmath import mp
from scipy.special import gammaln

import hiermodels as hm
from hiermodels.errors import PrecisionError, PrecisionWarning
from hiermodels.exact.block_reference import BlockReference
from hiermodels.exact.kernels.tree.marginal import log_likelihood
from hiermodels.exact.quadrature import IntegratedPosterior

GROUPS, EACH = 8, 5
OFFSETS = np.array([0, 1, 2.5, 3, 7, 4, 9, 6])


def rows(apart: float, between: float = 0.0, slope: float = 1.5) -> pd.DataFrame:
    """Groups whose means lie ``apart`` of one another, and rows of sd 0.7 around them."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(GROUPS), EACH)
    x = rng.normal(size=GROUPS * EACH) + between * OFFSETS[::-1][group]
    y = slope * x + rng.normal(size=GROUPS)[group] + 0.7 * rng.normal(size=len(x))
    school = np.array(list("aabbccdd"))[group]
    return pd.DataFrame({"school": school, "g": group, "x": x, "y": y + apart * OFFSETS[group]})


def within(data: pd.DataFrame) -> tuple[float, float, float]:
    """Slope within groups, and mean and sd of σ, if the groups' means say nothing of them.

    Under Jeffreys' prior ``σ² ~ InvGamma(ν/2, S/2)``, with S the residual sum of squares within
    groups and ``ν = n − J − 1``.
    """
    exact = data[["x", "y"]].astype(np.longdouble).groupby(data["g"])
    x, y = (exact[["x", "y"]].transform(lambda v: v - v.mean())).to_numpy(np.longdouble).T
    slope = x @ y / (x @ x)
    half, df = float(np.square(y - slope * x).sum()) / 2, len(x) - GROUPS - 1
    mean = np.sqrt(half) * np.exp(gammaln((df - 1) / 2) - gammaln(df / 2))
    return float(slope), mean, np.sqrt(half / (df / 2 - 1) - mean**2)


@pytest.mark.parametrize(
    "formula", ["y ~ x + (1 | g)", "y ~ x + (1 | school/g)", "y ~ 0 + x + (1 | g)"]
)
@pytest.mark.parametrize("apart", [1e5, 1e6, 1e7])
def test_far_groups_leave_sigma_to_the_rows(apart: float, formula: str) -> None:
    data = rows(apart)
    slope, mean, sd = within(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        reference = hm.reference(data, formula)
    means, sds = reference.mean, reference.sd
    assert float(means["sigma"]) == pytest.approx(mean, abs=3e-9 * sd)
    assert float(sds["sigma"]) == pytest.approx(sd, rel=3e-9)
    assert float(means["beta"][0]) == pytest.approx(
        slope, abs=(1e-8 + 0.1 / apart) * float(sds["beta"][0])
    )
    assert abs(float(means["sigma"]) - mean) <= reference.certificate * sd


def exact_log_likelihood(data: pd.DataFrame, sigma: float, tau: float) -> mp.mpf:
    """``log p(y | σ, τ)`` with flat priors of intercept and slope, dense and in 60 digits."""
    with mp.workdps(60):
        n = len(data)
        x = mp.matrix([[mp.mpf(1), mp.mpf(float(v))] for v in data["x"]])
        y = mp.matrix([mp.mpf(float(v)) for v in data["y"]])
        group = data["g"].to_numpy()
        same = group[:, None] == group
        variance = mp.matrix(n, n)
        for i in range(n):
            for j in range(n):
                variance[i, j] = mp.mpf(tau) ** 2 * int(same[i, j]) + mp.mpf(sigma) ** 2 * (i == j)
        inverse = variance**-1
        information = x.T * inverse * x
        rest = y - x * (information**-1 * (x.T * inverse * y))
        square = (rest.T * inverse * rest)[0]
        return -(mp.log(mp.det(variance)) + mp.log(mp.det(information)) + square) / 2


@pytest.mark.parametrize("slope", [0.0, 1e3])
@pytest.mark.parametrize(("apart", "between"), [(1.0, 1e6), (1e6, 1.0), (1e6, 1e3), (1e8, 1e3)])
def test_the_log_likelihood_errs_by_no_more_than_is_claimed(
    apart: float, between: float, slope: float
) -> None:
    data = rows(apart, between, slope).iloc[:20]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        reference = hm.reference(data, "y ~ x + (1 | g)")
        given = reference.spec, reference.data
        both = _by_blocks(BlockReference.of(*given)), _by_tree(IntegratedPosterior.of(*given))
    for found, sigma, tau, claimed in both:
        true = [exact_log_likelihood(data, s, t) for s, t in zip(sigma, tau, strict=True)]
        error = [float(mp.mpf(float(a)) - b) for a, b in zip(found, true, strict=True)]
        assert np.ptp(error) <= 3 * claimed


def _by_tree(exact: IntegratedPosterior):
    """Log likelihoods, σ and τ at the heaviest points, and the error that is claimed."""
    marginal, lattice = exact.marginal, exact.lattice
    points = lattice.points[np.argsort(lattice.weights)[-3:]]
    found = log_likelihood(marginal.data.tree, marginal.variances(points), marginal.coefficients)
    sds = marginal.sds(points)
    tau, sigma = (sds[:, marginal.names.index(name)] for name in ("tau", "sigma"))
    return found, sigma, tau, exact.certificate


def _by_blocks(exact: BlockReference):
    """The same at the mean of σ given each point."""
    posterior = exact.posterior
    nodes = np.argsort(posterior.lattice.weights)[-3:]
    sigma, blocks = posterior.scale.sigma[nodes], posterior.model.blocks
    found = posterior.root.at(nodes).log_likelihood(sigma, blocks.n_rows, blocks.log_weight)
    return found, sigma, np.exp(posterior.values.log_theta[0, nodes]) * sigma, exact.certificate


def test_an_outcome_that_leaves_too_few_digits_for_the_rows_is_refused() -> None:
    data = rows(apart=5e11)
    with pytest.raises(PrecisionError, match="larger than the rows' residual sd"):
        hm.reference(data, "y ~ x + (1 | g)")


def test_an_outcome_that_leaves_few_digits_for_the_rows_is_named() -> None:
    with pytest.warns(PrecisionWarning, match="rounding errors are of the order of .* 7 digits"):
        reference = hm.reference(rows(apart=1e7), "y ~ x + (1 | g)")
    assert 1e-8 < reference.certificate < 1e-6
    assert "7 digits; rounding errors are about" in " ".join(reference.how())
