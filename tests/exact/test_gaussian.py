"""The recursion against the dense multivariate normal distribution."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats

from hiermodels.core.arrays import Floats
from hiermodels.core.names import ROOT
from hiermodels.exact.kernels.records import UpperDraws
from hiermodels.exact.kernels.tree import marginal as recursion
from hiermodels.exact.kernels.tree.draws import draw_groups, draw_upper
from hiermodels.exact.kernels.tree.marginal import beta_moments, upward
from hiermodels.exact.kernels.tree.moments import (
    level_joint,
    level_moments,
    mixture_joint,
    mixture_moments,
)
from hiermodels.exact.kernels.tree.tree import Coefficients, Tree, Variances
from tests.oracles.dense import conditional, log_likelihood, random_design

CASES = [
    (levels, q, known, zero, seed)
    for levels in (1, 2)
    for q in (0, 2)
    for known in (True, False)
    for zero in (None, *range(levels))
    for seed in range(5)
]


def setting(rng, levels, zero, size=1):
    """Random variances; the spread of level ``zero`` is exactly 0."""
    spreads = [rng.uniform(0.05, 4, size) for _ in range(levels)]
    if zero is not None:
        spreads[zero] = np.zeros(size)
    return spreads


def independent(mean, precision):
    """Independent normal priors of β and, last, of the intercept."""
    return Coefficients(
        root_row=np.append(np.zeros(len(mean) - 1), mean[-1]),
        root_precision=precision[-1],
        mean=mean[:-1],
        precision=np.diag(precision[:-1]),
        log_normalizer=0.5 * np.log(precision[:-1] / (2 * np.pi)).sum(),
    )


def case(levels, q, known, zero, seed):
    rng = np.random.default_rng([seed, levels, q, known])
    design = random_design(rng, levels, q, known)
    sigma2 = np.ones(1) if known else rng.uniform(0.1, 3, 1)
    variances = Variances(tuple(setting(rng, levels, zero)), sigma2)
    prior = independent(rng.normal(size=q + 1), rng.uniform(0.1, 2, q + 1))
    return design, variances, prior


@pytest.mark.parametrize(("levels", "q", "known", "zero", "seed"), CASES)
def test_log_likelihood_is_the_dense_one(levels, q, known, zero, seed):
    design, variances, prior = case(levels, q, known, zero, seed)
    found = recursion.log_likelihood(design.tree, variances, prior)[0]
    np.testing.assert_allclose(found, log_likelihood(design, variances, prior), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("levels", "q", "known", "zero", "seed"), CASES)
def test_conditional_moments_are_the_dense_ones(levels, q, known, zero, seed):
    design, variances, prior = case(levels, q, known, zero, seed)
    mean, covariance = conditional(design, variances, prior)
    moments = mixture_moments(design.tree, variances, np.ones((1, 1)), prior, np.zeros(q))
    found_mean = np.concatenate([*(m[0] for m in moments.means), moments.beta[0]])
    found_variance = np.concatenate(
        [*(v[0] for v in moments.variances), np.diag(moments.beta_covariance[0])]
    )
    np.testing.assert_allclose(found_mean, mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found_variance, np.diag(covariance), rtol=0, atol=1e-10)


@dataclass(frozen=True)
class Several:
    """A random design at several nodes, its covariates moved by ``origin``, and the dense truth.

    Moving x by c moves the intercept to ``α + c'β``: its prior mean becomes the row ``[−c, m]``.
    """

    tree: Tree
    variances: Variances
    prior: Coefficients
    origin: Floats
    log_likelihood: Floats
    mean: Floats  # (n, v): of [root, (schools), theta, beta] at the x that was 0, at each node
    covariance: Floats  # (n, v, v)

    @classmethod
    def random(cls, levels, q, n=6):
        rng = np.random.default_rng([19, levels, q])
        design = random_design(rng, levels, q, known=False)
        variances = Variances(tuple(setting(rng, levels, None, n)), rng.uniform(0.1, 3, n))
        prior = independent(rng.normal(size=q + 1), rng.uniform(0.1, 2, q + 1))
        nodes = [variances[slice(i, i + 1)] for i in range(n)]
        truth = [conditional(design, node, prior) for node in nodes]
        origin = rng.normal(size=q)
        return cls(
            replace(design, x=design.x - origin).tree,
            variances,
            replace(prior, root_row=np.append(-origin, prior.root_row[-1])),
            origin,
            np.array([log_likelihood(design, node, prior) for node in nodes]),
            *(np.array(part) for part in zip(*truth, strict=True)),
        )

    def place(self, level):
        """Where the root, the members of a level, or β after the groups, stand among all."""
        sizes = [1, *self.tree.sizes, self.tree.n_covariates]
        return slice(sum(sizes[: level - ROOT]), sum(sizes[: level - ROOT + 1]))

    def mixed(self, weights):
        """Mean and covariance of all of these over nodes with these weights."""
        mean = weights @ self.mean
        away = self.mean - mean
        within = np.einsum("n,nij->ij", weights, self.covariance)
        return mean, within + (weights[:, None] * away).T @ away


SEVERAL = [(levels, q, block) for levels in (1, 2) for q in (0, 2) for block in (1 << 15, 30)]


@pytest.fixture
def several(request, monkeypatch):
    levels, q, block = request.param
    monkeypatch.setattr("hiermodels.exact.kernels.tree.conditional.BLOCK", block)
    monkeypatch.setattr("hiermodels.exact.kernels.tree.marginal.UPWARD", block)
    return Several.random(levels, q)


@pytest.mark.parametrize("several", SEVERAL, indirect=True)
def test_moved_covariates_change_nothing(several):
    """Neither the density nor, taken where x was 0, the values, at any node and level."""
    case = several.tree, several.variances, several.prior
    np.testing.assert_allclose(
        recursion.log_likelihood(*case), several.log_likelihood, rtol=0, atol=1e-10
    )
    beta, place = beta_moments(*case), several.place(len(several.tree.sizes))
    np.testing.assert_allclose(beta[0], several.mean[:, place], rtol=0, atol=1e-10)
    np.testing.assert_allclose(beta[1], several.covariance[:, place, place], rtol=0, atol=1e-10)
    for level in range(ROOT, len(several.tree.sizes)):
        place = several.place(level)
        mean, variance = level_moments(*case, several.origin, level)
        np.testing.assert_allclose(mean, several.mean[:, place], rtol=0, atol=1e-10)
        truth = np.diagonal(several.covariance, axis1=1, axis2=2)[:, place]
        np.testing.assert_allclose(variance, truth, rtol=0, atol=1e-10)


@pytest.mark.parametrize("several", SEVERAL, indirect=True)
def test_several_mixtures_at_once(several):
    weights = np.random.default_rng(23).dirichlet(np.full(6, 0.4), 3)
    found = mixture_moments(several.tree, several.variances, weights, several.prior, several.origin)
    beta = several.place(len(several.tree.sizes))
    for i, row in enumerate(weights):
        mean, covariance = several.mixed(row)
        values = np.concatenate([*(m[i] for m in found.means), found.beta[i]])
        np.testing.assert_allclose(values, mean, rtol=0, atol=1e-10)
        variances = np.concatenate([v[i] for v in found.variances])
        np.testing.assert_allclose(
            variances, np.diag(covariance)[: len(variances)], rtol=0, atol=1e-10
        )
        np.testing.assert_allclose(
            found.beta_covariance[i], covariance[beta, beta], rtol=0, atol=1e-10
        )


@pytest.mark.parametrize("several", SEVERAL, indirect=True)
def test_mixtures_of_some_groups_are_those_of_all(several):
    weights = np.random.default_rng(23).dirichlet(np.full(6, 0.4), 2)
    case = several.tree, several.variances, weights, several.prior, several.origin
    some = np.arange(several.tree.n_groups)[::-2]
    whole, part = mixture_moments(*case), mixture_moments(*case, some)
    for ours, theirs in ((part.means, whole.means), (part.variances, whole.variances)):
        np.testing.assert_allclose(ours[-1], theirs[-1][:, some], rtol=0, atol=1e-13)
        np.testing.assert_allclose(ours[0], theirs[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("q", [0, 2])
def test_draws_have_the_joint_distribution_of_all_values(levels, q):
    """Whitened by the dense truth: no two of them go together, and none is too wide."""
    rng = np.random.default_rng([53, levels, q])
    design = random_design(rng, levels, q, known=False)
    one = Variances(tuple(setting(rng, levels, None)), np.array([0.7]))
    prior = independent(rng.normal(size=q + 1), rng.uniform(0.1, 2, q + 1))
    mean, covariance = conditional(design, one, prior)
    n = 40_000
    upper, theta = draw(design.tree, one[np.zeros(n, dtype=np.intp)], prior, 1)
    values = np.concatenate([*upper.levels, theta, upper.beta])
    white = np.linalg.solve(np.linalg.cholesky(covariance), values - mean[:, None])
    assert np.abs(white.mean(axis=1)).max() < 4.5 / np.sqrt(n)
    products = white @ white.T / n - np.eye(len(white))
    assert np.abs(products).max() < 5.5 * np.sqrt(2 / n)


@pytest.mark.parametrize("several", SEVERAL, indirect=True)
def test_values_together_with_coefficients(several):
    """At each node and over weighted nodes, for some members of each level, at some x."""
    rng = np.random.default_rng(29)
    case = several.tree, several.variances
    weights = rng.dirichlet(np.ones(6))
    beta = several.place(len(several.tree.sizes))
    for level, size in enumerate((1, *several.tree.sizes), start=ROOT):
        members = rng.permutation(size)[:3]
        rows = several.place(level).start + members
        each = level_joint(*case, several.prior, level, members)
        mixed = mixture_joint(*case, weights, several.prior, level, members)
        mean, covariance = several.mixed(weights)
        truths = [(each, several.mean, several.covariance), (mixed, mean[None], covariance[None])]
        asked = rng.integers(len(members), size=5)
        x = rng.normal(size=(5, several.tree.n_covariates))
        for found, mean, covariance in truths:
            np.testing.assert_allclose(found.beta, mean[:, beta], rtol=0, atol=1e-10)
            spread = covariance[:, beta, beta]
            np.testing.assert_allclose(found.beta_covariance, spread, rtol=0, atol=1e-10)
            lift = np.zeros((5, covariance.shape[1]))  # v + x'β, of all
            lift[np.arange(5), rows[asked]] = 1
            lift[:, beta] = x
            located, variance = found.at(asked, x - several.origin)
            np.testing.assert_allclose(located, mean @ lift.T, rtol=0, atol=1e-10)
            truth = np.einsum("ri,nij,rj->nr", lift, covariance, lift)
            np.testing.assert_allclose(variance, truth, rtol=0, atol=1e-10)


@pytest.mark.parametrize("levels", [1, 2])
def test_flat_priors_are_the_limit_of_vague_ones(levels):
    rng = np.random.default_rng(levels)
    design = random_design(rng, levels, 2, known=False)
    variances = Variances(tuple(setting(rng, levels, None)), np.ones(1))
    flat = mixture_moments(
        design.tree, variances, np.ones((1, 1)), Coefficients.flat(2), np.zeros(2)
    )
    mean, _ = conditional(design, variances, Coefficients.flat(2))  # dense: prior variance 1e9
    found = np.concatenate([*(m[0] for m in flat.means), flat.beta[0]])
    np.testing.assert_allclose(found, mean, rtol=0, atol=1e-6)


def test_flat_likelihood_differs_from_a_vague_one_by_the_prior_density():
    """∫ p(y|μ) dμ is the limit of p(y)·√(2π·v) for a prior variance v → ∞."""
    rng = np.random.default_rng(3)
    design = random_design(rng, 2, 0, known=True)
    variances = Variances(tuple(setting(rng, 2, None)), np.ones(1))
    vague = independent(np.zeros(1), np.array([1e-9]))
    flat = recursion.log_likelihood(design.tree, variances, Coefficients.flat())[0]
    proper = recursion.log_likelihood(design.tree, variances, vague)[0]
    assert flat == pytest.approx(proper + 0.5 * np.log(2 * np.pi * 1e9), abs=1e-6)


@pytest.mark.parametrize("spread", [1.0, 1e12, 1e20])
def test_the_intercept_falls_back_on_its_prior_where_the_groups_say_nothing(spread):
    """``1/(1/v + k/(τ² + σ²))`` for k groups of one row, to all digits however large τ is."""
    rng = np.random.default_rng(4)
    design = random_design(rng, 1, 0, known=True)
    weight = design.tree.weight
    variances, prior = (
        Variances((np.array([spread]),), np.ones(1)),
        independent(np.zeros(1), np.array([0.25])),
    )
    _, variance = level_moments(design.tree, variances, prior, np.zeros(0), level=ROOT)
    expected = 1 / (0.25 + (1 / (spread + 1 / weight)).sum())
    np.testing.assert_allclose(variance, [[expected]], rtol=1e-13)


@pytest.mark.parametrize("dense", [0, 8])
def test_equal_weights_are_put_together_without_a_trace(monkeypatch, dense):
    """Groups of equal size share their sums, in a plain or a sparse table: the same density."""
    monkeypatch.setattr("hiermodels.exact.kernels.tree.tree.DENSE", dense)
    rng = np.random.default_rng(5)
    mean, weight = rng.normal(size=(12, 1)), rng.choice([1.0, 2.0, 5.0], 12)
    parent = np.repeat(np.arange(3), 4)
    variances = Variances((np.array([0.7]), np.array([0.4])), np.array([1.3]))

    def likelihood(weights):
        tree = Tree(mean, weights, np.zeros((1, 1)), 12, 0.0, (parent,))
        found = recursion.log_likelihood(tree, variances, Coefficients.flat())[0]
        return len(tree.by_weight.weight), found

    together, found = likelihood(weight)
    apart, expected = likelihood(weight * (1 + 1e-14 * np.arange(12)))
    assert (together, apart) == (3, 12)
    assert found == pytest.approx(expected, abs=1e-11)


def test_sums_by_weight_are_those_of_plain_loops():
    """Around each parent's weighted mean, so that groups far from 0 lose no digits."""
    rng = np.random.default_rng(6)
    mean, weight = 1e6 + rng.normal(size=(12, 2)), rng.choice([1.0, 2.0, 5.0], 12)
    parent = np.repeat(np.arange(3), [2, 4, 6])
    found = Tree(mean, weight, np.zeros((2, 2)), 12, 0.0, (parent,)).by_weight
    centre = [np.average(mean[parent == u], axis=0, weights=weight[parent == u]) for u in range(3)]
    np.testing.assert_allclose(found.centre, centre, rtol=1e-15)
    away = mean - found.centre[parent]
    assert found.weight.tolist() == [1, 2, 5]
    sums = found.sums.reshape(3, 3, 3)  # by weight, column and parent
    for w, value in enumerate(found.weight):
        here = weight == value
        assert found.groups[w] == here.sum()
        np.testing.assert_allclose(
            found.product[w], (away[here].T @ away[here]).ravel(), rtol=1e-13
        )
        for u in range(3):
            both = here & (parent == u)
            expected = [both.sum(), *away[both].sum(axis=0)]
            np.testing.assert_allclose(sums[w, :, u], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("ratio", [1 + 1e-9, 3.0, 1e3, 1e12])
@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("q", [0, 1])
def test_few_weights_stand_for_many(monkeypatch, levels, q, ratio):
    """The density and the parents' means and errors, also of a parent of light groups alone."""
    rng = np.random.default_rng(41)
    g = 3000
    weight = np.sort(ratio ** rng.uniform(-0.5, 0.5, g))
    parents = (np.repeat(np.arange(5), g // 5),) if levels == 2 else ()
    mean = rng.normal(size=(g, q + 1))
    tree = Tree(mean, weight, np.eye(q + 1), 2 * g, 0.0, parents)
    spread = np.array([0.0, 1e-9, 1e-4, 0.3, 1.0, 7.0, 1e5])
    variances = Variances((np.full(7, 0.1), spread)[-levels:], np.full(7, 0.8))
    prior = Coefficients.flat(q)
    found = upward(tree, variances, prior)
    assert len(tree.by_weight.weight) < g / 8
    monkeypatch.setattr("hiermodels.exact.kernels.tree.tree.FEW", g)
    plain = replace(tree)
    expected = upward(plain, variances, prior)
    assert len(plain.by_weight.weight) == g
    size = np.abs(0.5 * np.log(spread[:, None] + 0.8 / weight)).sum(axis=1) + np.abs(
        expected.log_likelihood
    )
    assert (np.abs(found.log_likelihood - expected.log_likelihood) <= 1e-14 * size).all()
    for ours, theirs in zip(found.pooled, expected.pooled, strict=True):
        np.testing.assert_allclose(ours.error, theirs.error, rtol=1e-13)
        away = np.abs(ours.mean - theirs.mean).max(axis=2)
        assert (away <= 1e-13 * np.sqrt(g) + 1e-12 * np.sqrt(theirs.error)).all()


@pytest.mark.parametrize("middle", [1.0, 1.9, 1e10, 1e-150])
def test_weights_that_differ_by_rounding_alone(middle):
    """Their logarithms may be the same numbers, and there is nothing to interpolate between."""
    weight = middle * (1 + np.finfo(float).eps * np.arange(40))
    mean = np.random.default_rng(43).normal(size=(40, 1))
    variances = Variances((np.array([0.3]) / middle,), np.ones(1))
    found, expected = (
        recursion.log_likelihood(Tree(mean, w, np.eye(1), 80, 0.0), variances, Coefficients.flat())
        for w in (weight, np.full(40, middle))
    )
    assert found == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(("kinds", "plain"), [(16, True), (17, False), (200, False)])
def test_a_table_of_sums_that_is_mostly_empty_is_not_stored_in_full(kinds, plain):
    """With 200 groups under 100 parents, 8 numbers a group are 16 weights of each parent."""
    weight = 1.0 + np.arange(200) % kinds
    tree = Tree(np.ones((200, 1)), weight, np.eye(1), 200, 0.0, (np.repeat(np.arange(100), 2),))
    assert isinstance(tree.by_weight.sums, np.ndarray) == plain


@pytest.mark.parametrize("q", [0, 2])
def test_a_factor_of_the_prior_density_is_a_factor_of_the_likelihood(q):
    several = Several.random(1, q)
    prior = replace(several.prior, log_normalizer=several.prior.log_normalizer + 3.5)
    found = recursion.log_likelihood(several.tree, several.variances, prior)
    np.testing.assert_allclose(found, several.log_likelihood + 3.5, rtol=0, atol=1e-10)


def draw(tree, variances, prior, seed):
    upper_seed, group_seed = np.random.SeedSequence(seed).spawn(2)
    upper = draw_upper(tree, variances, prior, upper_seed)
    return upper, draw_groups(tree, variances, upper, group_seed, (1.0, np.zeros(1)))


def test_many_nodes_are_as_one_at_a_time(monkeypatch):
    rng = np.random.default_rng(7)
    design = random_design(rng, 2, 1, known=False)
    spreads = tuple(rng.uniform(0.1, 2, 50) for _ in range(2))
    variances = Variances(spreads, rng.uniform(0.1, 2, 50))
    prior = Coefficients.flat(1)
    whole = recursion.log_likelihood(design.tree, variances, prior)
    monkeypatch.setattr("hiermodels.exact.kernels.tree.marginal.UPWARD", 1)
    single = recursion.log_likelihood(design.tree, variances, prior)
    np.testing.assert_allclose(whole, single, rtol=0, atol=1e-12)


def test_a_level_of_only_children_adds_its_spread_to_the_next():
    """A tree of four levels from one of three: the same law, with the variances added."""
    rng = np.random.default_rng(37)
    design = random_design(rng, 2, 1, known=False)
    tree, prior = design.tree, independent(np.array([0.3, -0.2]), np.array([0.5, 0.8]))
    schools = np.arange(tree.sizes[0])
    taller = replace(tree, parents=(schools, *tree.parents))
    assert taller.sizes == (tree.sizes[0], *tree.sizes)
    n = 4
    low, middle, high = rng.uniform(0.1, 2, (3, n))
    sigma2 = rng.uniform(0.1, 2, n)
    short, tall = Variances((middle + high, low), sigma2), Variances((high, middle, low), sigma2)
    np.testing.assert_allclose(
        recursion.log_likelihood(taller, tall, prior),
        recursion.log_likelihood(tree, short, prior),
        rtol=0,
        atol=1e-11,
    )
    for ours, theirs in ((2, 1), (1, 0), (ROOT, ROOT)):
        for mine, other in zip(
            level_moments(taller, tall, prior, np.zeros(1), ours),
            level_moments(tree, short, prior, np.zeros(1), theirs),
            strict=True,
        ):
            np.testing.assert_allclose(mine, other, rtol=0, atol=1e-11)
    still = Variances((np.zeros(n), middle, low), sigma2)
    drawn = draw_upper(taller, still, prior, np.random.SeedSequence(1))
    root, districts, classes = drawn.levels
    assert (len(classes), len(districts)) == (tree.sizes[0], tree.sizes[0])
    np.testing.assert_allclose(districts, np.repeat(root, len(districts), axis=0), atol=1e-12)
    assert (np.abs(classes - districts) > 1e-3).any(axis=1).all()


def test_four_levels_are_one_large_normal_distribution():
    """Districts of several schools, of several classes: the density, and values of each level."""
    rng = np.random.default_rng(47)
    schools, classes = np.array([0, 0, 1, 1, 1]), np.repeat(np.arange(5), [2, 1, 3, 2, 2])
    weight, y = rng.uniform(0.5, 3, 10), rng.normal(size=10)
    log_weight = float(np.log(weight).sum())
    tree = Tree(y[:, None], weight, np.zeros((1, 1)), 10, log_weight, (schools, classes))
    spreads = rng.uniform(0.2, 2, 3)
    variances = Variances(tuple(spreads[:, None]), np.ones(1))
    prior = independent(np.array([0.7]), np.array([0.25]))
    noise = np.repeat([4.0, *spreads], [1, 2, 5, 10])  # of the root, districts, schools, classes
    loads = [np.eye(18)[:1]]
    for first, parent in ((1, np.zeros(2, dtype=int)), (3, schools), (8, classes)):
        loads.append(np.eye(18)[first : first + len(parent)] + loads[-1][parent])
    covariance = (loads[-1] * noise) @ loads[-1].T + np.diag(1 / weight)
    found = recursion.log_likelihood(tree, variances, prior)
    law = stats.multivariate_normal(np.full(10, 0.7), covariance)
    np.testing.assert_allclose(found, law.logpdf(y), rtol=0, atol=1e-11)
    for level, load in enumerate(loads, start=ROOT):
        cover = (load * noise) @ loads[-1].T
        mean = 0.7 + cover @ np.linalg.solve(covariance, y - 0.7)
        variance = np.diag((load * noise) @ load.T - cover @ np.linalg.solve(covariance, cover.T))
        members = np.arange(len(load))[::-2]
        case = tree, variances, prior, np.zeros(0), level
        np.testing.assert_allclose(level_moments(*case), [[mean], [variance]], atol=1e-11)
        some = level_moments(*case, members)
        np.testing.assert_allclose(some, [[mean[members]], [variance[members]]], atol=1e-11)
    n = 20_000
    many = variances[np.zeros(n, dtype=np.intp)]
    upper = draw_upper(tree, many, prior, np.random.SeedSequence(1))
    for load, draws in zip(loads[:-1], upper.levels, strict=True):
        cover = (load * noise) @ loads[-1].T
        mean = 0.7 + cover @ np.linalg.solve(covariance, y - 0.7)
        spread = (load * noise) @ load.T - cover @ np.linalg.solve(covariance, cover.T)
        z = (draws.mean(axis=1) - mean) / np.sqrt(np.diag(spread) / n)
        assert np.abs(z).max() < 4
        np.testing.assert_allclose(np.cov(draws), spread.squeeze(), rtol=0, atol=0.05)


def test_a_mixture_keeps_the_digits_of_its_heaviest_node():
    """A far node of weight 1e-30 neither adds to the mean nor rounds the variance."""
    far = 1e6
    tree = Tree(np.array([[far], [-far], [-far]]), np.array([2.0, 1, 1]), np.zeros((1, 1)), 4, 0.0)
    variances = Variances((np.array([0.0, 1e14, 0.0]),), np.full(3, 1e-2))
    weights = np.array([[1e-30, 1.0, 1e-30]])
    case = tree, variances, weights, Coefficients.flat()
    moments = mixture_moments(*case, np.zeros(0))
    members = np.arange(3)
    joint = mixture_joint(tree, variances, weights[0], case[3], 0, members)
    shrink = 1e-2 / tree.weight / (1e-2 / tree.weight + 1e14)
    precision = (1 / (1e-2 / tree.weight + 1e14)).sum()
    expected = (1 - shrink) * 1e-2 / tree.weight + shrink**2 / precision
    for variance in (moments.variances[-1][0], joint.variance[0]):
        np.testing.assert_allclose(variance, expected, rtol=1e-12)


def test_flat_priors_have_the_shape_that_is_asked_for():
    for q, prior in ((0, Coefficients.flat()), (3, Coefficients.flat(3))):
        assert prior.root_row.tolist() == [0] * (q + 1)
        assert prior.mean.tolist() == [0] * q
        assert prior.precision.tolist() == np.zeros((q, q)).tolist()
        assert (prior.root_precision, prior.log_normalizer) == (0, 0)
        assert prior.root_spread == np.inf


@pytest.mark.parametrize("levels", [1, 2])
def test_draws_have_the_conditional_moments(levels):
    rng = np.random.default_rng(11)
    design = random_design(rng, levels, 2, known=False)
    n = 40_000
    one = Variances(tuple(setting(rng, levels, None)), np.ones(1))
    many = Variances(tuple(np.repeat(s, n) for s in one.between), np.repeat(one.sigma2, n))
    prior = independent(np.array([0.3, 0.7, -0.2]), np.array([0.5, 1.5, 0.8]))
    mean, covariance = conditional(design, one, prior)
    upper, groups = draw(design.tree, many, prior, 11)
    values = np.concatenate([*upper.levels, groups, upper.beta])
    variance = np.diag(covariance)
    z = (values.mean(axis=1) - mean) / np.sqrt(variance / n)
    assert np.abs(z).max() < 4.5
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / n)
    assert (np.abs(np.cov(values) - covariance) < 4.5 * error).all()


@pytest.mark.parametrize("kinds", [1, 40], ids=["equal weights", "different weights"])
def test_groups_are_drawn_around_their_conditional_means(kinds):
    """Given what stands above: each by itself, in every block of a random stream; in any unit."""
    rng = np.random.default_rng(41)
    g, n = 40, 10_000
    weight = np.repeat(rng.uniform(1, 3, kinds), g // kinds)
    parent = np.repeat(np.arange(8), 5)
    tree = Tree(rng.normal(size=(g, 2)), weight, np.zeros((2, 2)), g, 0.0, (parent,))
    spread, sigma2 = rng.uniform(0.1, 2, (2, n))
    above, beta = rng.normal(size=(8, n)), rng.normal(size=(1, n))
    upper = UpperDraws((np.zeros((1, n)), above), beta)
    seed = np.random.SeedSequence(43, spawn_key=(2,))
    case = tree, Variances((np.ones(n), spread), sigma2), upper, seed
    drawn = draw_groups(*case, (1.0, np.zeros(n)))
    error = sigma2 / weight[:, None]
    shrink = error / (error + spread)
    own = tree.mean[:, 1:] - tree.mean[:, :1] * beta
    z = (drawn - shrink * above[parent] - (1 - shrink) * own) / np.sqrt((1 - shrink) * error)
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.cov(z) - np.eye(g)).max() < 5 * np.sqrt(2 / n)
    again = draw_groups(*case, (-3.0, above[0]))
    np.testing.assert_allclose(again, above[0] - 3 * drawn, rtol=0, atol=1e-12)


def test_draws_do_not_depend_on_how_the_work_is_cut(monkeypatch):
    rng = np.random.default_rng(13)
    design = random_design(rng, 2, 1, known=False)
    variances = Variances(tuple(rng.uniform(0.1, 2, 64) for _ in range(2)), np.ones(64))
    upper, groups = draw(design.tree, variances, Coefficients.flat(1), 1)
    monkeypatch.setattr("hiermodels.exact.kernels.tree.conditional.BLOCK", 8)
    monkeypatch.setattr("hiermodels.exact.kernels.tree.marginal.UPWARD", 8)
    other, other_groups = draw(design.tree, variances, Coefficients.flat(1), 1)
    np.testing.assert_allclose(groups, other_groups, rtol=0, atol=1e-12)
    for a, b in zip(upper.levels, other.levels, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_some_groups_are_drawn_as_they_are_among_all():
    rng = np.random.default_rng(17)
    g = 300
    tree = Tree(rng.normal(size=(g, 1)), rng.uniform(1, 3, g), np.eye(1), 2 * g, 0.0)
    variances = Variances((rng.uniform(0.1, 2, 20),), np.ones(20))
    seed = np.random.SeedSequence(5)
    upper = draw_upper(tree, variances, Coefficients.flat(), seed)
    unit = (2.0, np.arange(20.0))
    every = draw_groups(tree, variances, upper, seed, unit)
    some = np.array([299, 0, 64, 63, 65, 128, 5])
    assert (draw_groups(tree, variances, upper, seed, unit, some) == every[some]).all()
