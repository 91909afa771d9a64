"""What every registered kernel has to keep, each by itself.

A new kernel takes part as soon as it stands in ``KERNELS``; it needs an entry in ``CASES`` below,
which makes an example and knows the truth from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from hiermodels.core.arrays import Floats
from hiermodels.core.names import ROOT
from hiermodels.exact.kernels.kernel import Kernel
from hiermodels.exact.kernels.records import Rows
from hiermodels.exact.kernels.registry import KERNELS
from hiermodels.exact.kernels.tree.tree import Coefficients, Variances
from tests.oracles import dense

NODES = 5
CLOSE = {"rtol": 0, "atol": 1e-9}


@dataclass(frozen=True)
class Case:
    """An example of a kernel, with the truth at each node.

    ``mean`` and ``covariance`` are those of the intercept and of all effects, downwards, then of
    β: (n, v) and (n, v, v).  ``without`` gives the log likelihood without the rows that are marked,
    ``log_prior`` the log prior density of intercept and β, (n, 1 + q); both (n,).
    """

    kernel: Kernel
    values: tuple[Floats, ...]
    sizes: tuple[int, ...]  # of the intercept, 1, then members of each level
    rows: Rows
    log_likelihood: Floats
    mean: Floats
    covariance: Floats
    without: Callable[[Any], Floats]
    log_prior: Callable[[Floats], Floats]

    @property
    def given(self):
        return self.kernel.given(self.values)

    @property
    def q(self):
        return self.mean.shape[1] - sum(self.sizes)

    @property
    def levels(self):
        """Each level, where its values are, and how many."""
        starts = np.cumsum((0, *self.sizes))
        for i, size in enumerate(self.sizes):
            yield ROOT + i, slice(starts[i], starts[i + 1]), size

    @property
    def innermost(self):
        return ROOT + len(self.sizes) - 1


def nested(make: Callable[..., Kernel]) -> Case:
    """Two levels above unbalanced rows, σ² unknown, against one large normal distribution."""
    rng = np.random.default_rng(3)
    design, q = dense.random_design(rng, 2, 2, known=False), 2
    values = tuple(rng.uniform(0.1, 3, (3, NODES)))
    values[0][0] = 0.0  # a variance of exactly 0 is an ordinary value
    centre, precision = rng.normal(size=q + 1), rng.uniform(0.1, 2, q + 1)  # of intercept and β
    prior = Coefficients(
        np.append(np.zeros(q), centre[0]),
        precision[0],
        centre[1:],
        np.diag(precision[1:]),
        0.5 * np.log(precision[1:] / (2 * np.pi)).sum(),
    )
    nodes = [Variances.of([v[[i]] for v in values], 2) for i in range(NODES)]
    truth = [dense.conditional(design, node, prior) for node in nodes]

    def log_density_of(kept: Any) -> Floats:
        """Log density of some rows at each node."""
        found = []
        for node in nodes:
            mean, covariance, matrix, noise = dense.joint(design, node, prior)
            total = matrix @ covariance @ matrix.T + np.diag(noise)
            law = multivariate_normal((matrix @ mean)[kept], total[np.ix_(kept, kept)])
            found.append(law.logpdf(design.y[kept]))
        return np.array(found)

    return Case(
        kernel=make(design.tree, prior),
        values=values,
        sizes=(1, int(design.parent.max()) + 1, len(design.parent)),
        rows=Rows(np.column_stack([design.x, design.y]), design.weight, design.group),
        log_likelihood=log_density_of(np.full(len(design.y), True)),
        mean=np.array([mean for mean, _ in truth]),
        covariance=np.array([covariance for _, covariance in truth]),
        without=lambda unit: log_density_of(~unit),
        log_prior=lambda at: norm(centre, precision**-0.5).logpdf(at).sum(axis=1),
    )


CASES = {("normal", "nested"): nested}


@pytest.fixture(params=KERNELS, ids="-".join, scope="module")
def case(request):
    assert request.param in CASES, f"make an example of {request.param} in CASES, in {__name__}"
    return CASES[request.param](KERNELS[request.param])


def test_the_likelihood_is_the_truth(case):
    np.testing.assert_allclose(case.given.log_likelihood(), case.log_likelihood, **CLOSE)


def test_the_rounding_error_is_small_where_nothing_lies_far_apart(case):
    error = case.given.rounding_error()
    assert error.shape == (NODES,)
    assert ((error > 0) & (error < 1e-12)).all()


def test_a_node_does_not_depend_on_the_others(case):
    some = case.kernel.given([value[2:4] for value in case.values])
    np.testing.assert_allclose(
        some.log_likelihood(), case.given.log_likelihood()[2:4], rtol=1e-13, atol=0
    )


def test_coefficients_are_the_truth(case):
    mean, covariance = case.given.coefficients()
    np.testing.assert_allclose(mean, case.mean[:, sum(case.sizes) :], **CLOSE)
    here = slice(sum(case.sizes), None)
    np.testing.assert_allclose(covariance, case.covariance[:, here, here], **CLOSE)


def test_moments_of_values_are_the_truth(case):
    variances = np.diagonal(case.covariance, axis1=1, axis2=2)
    for level, here, size in case.levels:
        mean, variance = case.given.moments(level, np.zeros(case.q))
        np.testing.assert_allclose(mean, case.mean[:, here], **CLOSE)
        np.testing.assert_allclose(variance, variances[:, here], **CLOSE)
        last = np.array([size - 1])
        some = case.given.moments(level, np.zeros(case.q), last)
        np.testing.assert_allclose(some[0], mean[:, last], **CLOSE)


def test_values_with_coefficients_are_the_truth(case):
    """``v + x'β`` jointly, and the same as values taken at ``x``, whose origin is ``−x``."""
    x = np.linspace(-1, 2, case.q)
    for level, here, size in case.levels:
        members = np.arange(size)
        lift = np.zeros((size, case.mean.shape[1]))
        lift[:, here] = np.eye(size)
        lift[:, sum(case.sizes) :] = x
        mean, variance = case.given.joint(level, members).at(members, np.tile(x, (size, 1)))
        np.testing.assert_allclose(mean, case.mean @ lift.T, **CLOSE)
        truth = np.einsum("ui,nij,uj->nu", lift, case.covariance, lift)
        np.testing.assert_allclose(variance, truth, **CLOSE)
        for found, moved in zip((mean, variance), case.given.moments(level, -x), strict=True):
            np.testing.assert_allclose(found, moved, **CLOSE)


def averaged(weights, mean, variance):
    """Mean and variance of a mixture over nodes (n,), of components (n, u)."""
    centre = weights @ mean
    return centre, weights @ (variance + (mean - centre) ** 2)


def test_mixtures_average_the_nodes(case):
    rng = np.random.default_rng(4)
    weights = rng.dirichlet(np.ones(NODES), size=2)
    variances = np.diagonal(case.covariance, axis1=1, axis2=2)
    found = case.given.mixture(weights, np.zeros(case.q))
    for m, row in enumerate(weights):
        mean, variance = averaged(row, case.mean, variances)
        for i, (_, here, _) in enumerate(case.levels):
            np.testing.assert_allclose(found.means[i][m], mean[here], **CLOSE)
            np.testing.assert_allclose(found.variances[i][m], variance[here], **CLOSE)
        np.testing.assert_allclose(found.beta[m], mean[sum(case.sizes) :], **CLOSE)


def test_joint_mixtures_average_the_nodes(case):
    weights = np.random.default_rng(5).dirichlet(np.ones(NODES))
    for level, _, size in case.levels:
        members, x = np.arange(size), np.tile(np.linspace(-1, 2, case.q), (size, 1))
        expected = averaged(weights, *case.given.joint(level, members).at(members, x))
        found = case.given.mixture_joint(weights, level, members).at(members, x)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one[0], other, **CLOSE)


def test_draws_follow_the_law(case):
    """Means and covariances of intercept, effects and β at one node, within Monte Carlo error."""
    n, node = 40_000, 1
    given = case.kernel.given([np.full(n, value[node]) for value in case.values])
    one, two = np.random.SeedSequence(1).spawn(2)
    upper = given.draw_upper(one)
    groups = given.draw_groups(upper, two, (1.0, np.zeros(n)))
    drawn = np.vstack([*upper.levels, groups, upper.beta])
    sd = np.sqrt(np.diag(case.covariance[node]))
    away = (drawn - case.mean[node][:, None]) / sd[:, None]
    assert np.abs(away.mean(axis=1)).max() < 4.5 / np.sqrt(n)
    correlation = case.covariance[node] / np.outer(sd, sd)
    assert np.abs(away @ away.T / n - correlation).max() < 4.5 * np.sqrt(2 / n)


def test_draws_of_some_groups_are_those_of_all(case):
    one, two = np.random.SeedSequence(2).spawn(2)
    upper, unit = case.given.draw_upper(one), (2.0, np.arange(float(NODES)))
    every = case.given.draw_groups(upper, two, unit)
    some = np.array([0, case.sizes[-1] - 1])
    np.testing.assert_allclose(
        case.given.draw_groups(upper, two, unit, some), every[some], rtol=1e-13
    )


def left_out(case, of, level, count):
    found = np.empty((NODES, count))
    for nodes, part, densities in case.given.left_out(of, level, np.arange(count)):
        found[nodes, part] = densities.left_out
    return found


def test_rows_are_left_out(case):
    """``log p(y_u | the rest) = log p(y) − log p(the rest)``."""
    count = len(case.rows.group)
    found = left_out(case, case.rows, case.innermost + 1, count)
    for row in range(count):
        truth = case.log_likelihood - case.without(np.arange(count) == row)
        np.testing.assert_allclose(found[:, row], truth, **CLOSE)


def test_groups_are_left_out(case):
    found = left_out(case, case.kernel.within(case.rows), case.innermost, case.sizes[-1])
    for group in range(case.sizes[-1]):
        truth = case.log_likelihood - case.without(case.rows.group == group)
        np.testing.assert_allclose(found[:, group], truth, **CLOSE)


def test_outermost_members_are_independent_given_what_is_above_them(case):
    """Averaged over the posterior of intercept and β, ``1/p(all rows | these)`` is ``1/p(y)``.

    Without an average: ``p(y) = p(y | these) p(these) / p(these | y)`` at any value of these.
    """
    within = case.kernel.within(case.rows)
    these = np.r_[0, sum(case.sizes) : case.mean.shape[1]]  # intercept and β
    at = case.mean[:, these] + 0.3
    densities = case.given.densities_of_outermost(within, at[:, 0], at[:, 1:])
    assert densities.shape == (NODES, case.sizes[1])
    ratio = np.empty(NODES)
    for node in range(NODES):
        covariance = case.covariance[node][np.ix_(these, these)]
        away = at[node] - case.mean[node, these]
        square = away @ np.linalg.solve(covariance, away)
        log_det = np.linalg.slogdet(2 * np.pi * covariance)[1]
        ratio[node] = densities[node].sum() + 0.5 * (square + log_det) - case.log_likelihood[node]
    np.testing.assert_allclose(ratio + case.log_prior(at), 0, atol=1e-8)


def test_variances_of_what_is_new(case):
    """Of a row's mean given the member above it: levels add up, from 0 at the groups themselves."""
    below = [case.given.variance_below(level) for level, _, _ in reversed(list(case.levels))]
    assert (below[0] == 0).all()
    assert (np.diff(below, axis=0) >= 0).all()
    assert case.given.variance_of_row().shape == (NODES,)
