"""Draws of three levels: of effects given all above them, against plain grids, and of all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import pytest
from scipy import special, stats

import hiermodels as hm
from hiermodels.errors import PrecisionError
from hiermodels.exact.leaves.nested import draws as module
from hiermodels.exact.leaves.nested.draws import NestedDraws, NestedEffects
from hiermodels.exact.leaves.nested.marginal import NestedMarginal
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.normal_leaves import NormalLeaves
from hiermodels.families.poisson_leaves import PoissonLeaves
from hiermodels.families.student_t_leaves import StudentTLeaves
from tests.oracles.count_figures import FIGURES

SIZE = 20_000
PARENT = np.array([1, 0, 1, 0, 1, 2])  # neither in order, nor of one size
X = np.array([0.5, -1.0, 0.0, 2.0, 0.3, 1.1])
COUNTS, TRIALS = np.array([5.0, 0, 10, 3, 2, 0]), np.array([10.0, 4, 12, 9, 40, 7])
EXPOSURE = np.array([20.0, 1, 2, 1, 3, 0.1])
LOCATION, SD = np.array([-2.0, 0, 6, 3, 2.3, 1]), np.array([2.0, 1, 1, 0.5, 0.3, 1])
ABOVE = {  # four draws of all that stands above the outer groups, each of them many times
    "tau": np.array([0.05, 0.4, 2.0, 0.0]),
    "kappa": np.array([0.3, 2.0, 0.01, 1.0]),
    "gamma": np.array([[0.2, 1.0], [-1.0, 0.5], [1.5, 0.1], [0.3, 0.0]]),
}


def binomial(i, theta):
    return -COUNTS[i] * np.logaddexp(0, -theta) - (TRIALS - COUNTS)[i] * np.logaddexp(0, theta)


def poisson(i, theta):
    return COUNTS[i] * theta - EXPOSURE[i] * np.exp(theta)


def student(i, theta):
    return -2.5 * np.log1p(((theta - LOCATION[i]) / SD[i]) ** 2 / 4)


def normal(i, theta):
    return -0.5 * ((theta - LOCATION[i]) / SD[i]) ** 2


LEAVES = {
    binomial: BinomialLeaves.of(COUNTS, TRIALS),
    poisson: PoissonLeaves.of(COUNTS, EXPOSURE),
    student: StudentTLeaves.of(LOCATION, SD, 4.0),
    normal: NormalLeaves.of(LOCATION, SD),
}
FAMILIES = pytest.mark.parametrize("log_leaf", LEAVES, ids=lambda leaf: leaf.__name__)
COVARIATES = pytest.mark.parametrize("covariate", [False, True], ids=["", "covariate"])


def model_of(leaves, parent=PARENT, x=None):
    """A model; priors do not matter to what is drawn given all above."""
    columns = [np.ones(len(parent))] if x is None else [np.ones(len(parent)), x]
    p = len(columns)
    priors = hm.HalfNormal(1.0), hm.HalfNormal(1.0)
    rows = np.stack(columns, axis=1)
    return NestedModel(leaves, parent, rows, True, np.zeros(p), np.zeros(p), *priors)


def effects_of(leaves, covariate=False, size=SIZE, seed=1, above=ABOVE):
    which = np.arange(size) % len(above["tau"])
    gamma = above["gamma"][which] if covariate else above["gamma"][which, :1]
    model = model_of(leaves, x=X if covariate else None)
    sds = above["tau"][which], above["kappa"][which]
    return NestedEffects(model, *sds, gamma, np.random.SeedSequence(seed))


@dataclass(frozen=True)
class PlainGrid:
    """What is known of the effects given one draw of all above, by the trapezoid rule."""

    log_leaf: object
    tau: float
    kappa: float
    lam: float
    shift: np.ndarray
    reach: float = 9.0

    @cached_property
    def mu(self):
        return self.lam + self.kappa * np.linspace(
            -self.reach, self.reach, 1 + round(67 * self.reach)
        )

    def log_integral(self, i):
        """Log integral of a group over its effect, at all places of μ."""
        z = np.linspace(-self.reach, self.reach, 1 + round(27 * self.reach))
        theta = self.mu[:, None] + self.shift[i] + self.tau * z
        return special.logsumexp(self.log_leaf(i, theta) - z**2 / 2, axis=1)

    def log_density(self, outer, without=()):
        """Of μ_s, of all its groups or without some."""
        own = [i for i in np.flatnonzero(outer == PARENT) if i not in without]
        prior = -0.5 * ((self.mu - self.lam) / self.kappa) ** 2
        return prior + sum((self.log_integral(i) for i in own), start=np.zeros(len(self.mu)))

    def below_mu(self, outer):
        """Distribution function of μ_s."""
        return distribution(self.mu, self.log_density(outer))

    def below_theta(self, i):
        """Distribution function of a group's effect, its outer group's summed over."""
        if self.tau == 0:
            below = self.below_mu(PARENT[i])
            return lambda theta: below(theta - self.shift[i])
        ends = self.mu[[0, -1]] + self.shift[i] + self.tau * np.array([-9, 9])
        theta = np.linspace(*ends, 2001)
        others = self.log_density(PARENT[i], without=(i,))
        likely = np.flatnonzero(others > others.max() - 40)
        mu, weight = self.mu[likely], np.exp(others[likely] - others.max())
        given = np.exp(-0.5 * ((theta[:, None] - mu - self.shift[i]) / self.tau) ** 2) @ weight
        with np.errstate(divide="ignore"):
            return distribution(theta, np.log(given) + self.log_leaf(i, theta))


def distribution(places, log_density):
    density = np.exp(log_density - log_density.max())
    cells = (density[1:] + density[:-1]) / 2
    below = np.concatenate([[0.0], np.cumsum(cells)]) / cells.sum()
    return lambda at: np.interp(at, places, below)


def plain_grids(log_leaf, covariate, above=ABOVE, reach=9.0):
    for tau, kappa, gamma in zip(above["tau"], above["kappa"], above["gamma"], strict=True):
        shift = X * gamma[1] if covariate else np.zeros(len(X))
        yield PlainGrid(log_leaf, float(tau), float(kappa), float(gamma[0]), shift, reach)


@COVARIATES
@FAMILIES
def test_draws_have_the_laws_of_plain_grids(log_leaf, covariate):
    size = SIZE if LEAVES[log_leaf].log_concave else SIZE // 10  # the others take longer
    effects = effects_of(LEAVES[log_leaf], covariate, size)
    outer, inner = effects.effects(0), effects.effects(1)
    for n, grid in enumerate(plain_grids(log_leaf, covariate)):
        drawn = slice(n, None, len(ABOVE["tau"]))
        for s, own in enumerate(outer[:, drawn]):
            assert stats.kstest(grid.below_mu(s)(own), "uniform").pvalue > 1e-3, (n, s)
        for i, own in enumerate(inner[:, drawn]):
            assert stats.kstest(grid.below_theta(i)(own), "uniform").pvalue > 1e-3, (n, i)


@FAMILIES
def test_effects_of_groups_are_drawn_given_those_of_their_outer_groups(log_leaf):
    """Of θ_i given μ_s its distribution function is uniform, whatever μ_s."""
    effects = effects_of(LEAVES[log_leaf], covariate=True, size=1000)
    outer, inner = effects.effects(0), effects.effects(1)
    z = np.linspace(-9, 9, 1001)
    for i, s in enumerate(PARENT):
        mean = outer[s] + effects.gamma[:, 1] * X[i]
        np.testing.assert_allclose(inner[i, 3::4], mean[3::4], rtol=1e-14)  # where τ is 0
        below = []
        for own, mu, tau in zip(inner[i], mean, effects.tau, strict=True):
            if tau:
                law = distribution(mu + tau * z, log_leaf(i, mu + tau * z) - z**2 / 2)
                below.append(law(own))
        assert stats.kstest(below, "uniform").pvalue > 1e-3
        given = np.delete(outer[s], np.s_[3::4])
        assert stats.spearmanr(below, given).pvalue > 1e-3


def test_normal_effects_have_the_moments_of_normal_equations():
    tau, kappa, lam, size = 0.7, 1.3, 0.4, 40_000
    model, one = model_of(LEAVES[normal]), np.ones(size)
    seed = np.random.SeedSequence(4)
    effects = NestedEffects(model, tau * one, kappa * one, lam * one[:, None], seed)
    drawn = np.concatenate([effects.effects(0), effects.effects(1)])
    tree = np.eye(3)[PARENT]
    prior = kappa**2 * np.block([[np.eye(3), tree.T], [tree, tree @ tree.T]])
    prior[3:, 3:] += tau**2 * np.eye(6)
    gain = prior[:, 3:] @ np.linalg.inv(prior[3:, 3:] + np.diag(SD**2))
    mean, covariance = lam + gain @ (LOCATION - lam), prior - gain @ prior[3:]
    error = np.sqrt(np.diag(covariance) / size)
    assert np.abs((drawn.mean(axis=1) - mean) / error).max() < 4
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert np.abs((np.cov(drawn) - covariance) / scale).max() < 4 * np.sqrt(2 / size)


@FAMILIES
def test_without_spread_effects_are_their_means(log_leaf):
    effects = effects_of(LEAVES[log_leaf], size=40)
    none = np.zeros(40)
    still = NestedEffects(effects.model, effects.tau, none, effects.gamma, effects.seed)
    np.testing.assert_array_equal(still.effects(0), np.tile(effects.lam, (3, 1)))
    fixed = NestedEffects(effects.model, none, effects.kappa, effects.gamma, effects.seed)
    np.testing.assert_array_equal(fixed.effects(1), fixed.effects(0)[PARENT])


@FAMILIES
def test_some_members_have_the_draws_that_they_have_among_all(log_leaf, monkeypatch):
    monkeypatch.setattr(module, "OUTER_CHUNK", 900)  # several chunks and panels
    monkeypatch.setattr(module, "CHUNK", 900)
    monkeypatch.setattr(module, "TABULATED", 4)
    effects = effects_of(LEAVES[log_leaf], covariate=True, size=400)
    every = [effects.effects(level) for level in (0, 1)]
    for level, some in ((0, [2, 0]), (0, [1]), (1, [5, 0, 2]), (1, [1]), (1, [])):
        members = np.array(some, dtype=np.intp)
        np.testing.assert_array_equal(effects.effects(level, members), every[level][members])


@FAMILIES
def test_draws_are_the_same_with_any_number_of_threads(log_leaf, monkeypatch):
    monkeypatch.setattr(module, "OUTER_CHUNK", 900)
    monkeypatch.setattr(module, "CHUNK", 900)
    effects = effects_of(LEAVES[log_leaf], size=400)
    drawn = []
    for cores in (1, 2):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        drawn.append([effects.effects(0), effects.effects(1)])
    for one, two in zip(*drawn, strict=True):
        np.testing.assert_array_equal(one, two)
    again = effects_of(LEAVES[log_leaf], size=400, seed=2)
    assert (again.effects(0) != drawn[0][0])[effects.kappa[None, :].repeat(3, 0) > 0].all()


def test_far_from_the_data_an_outer_group_without_events_is_half_of_its_prior():
    """Where the prior is wide, its likelihood is a step at about 0."""
    parent, size = np.array([0, 0, 1]), 4000
    leaves = BinomialLeaves.of(np.array([0.0, 0, 9]), np.array([5.0, 7, 9]))
    wide, lam = np.repeat([1e4, 1e7], size), np.zeros((2 * size, 1))
    narrow = np.full(2 * size, 0.5)
    seed = np.random.SeedSequence(3)
    drawn = NestedEffects(model_of(leaves, parent), narrow, wide, lam, seed).effects(0) / wide
    for kappa in (1e4, 1e7):
        for sign, own in ((-1, drawn[0]), (1, drawn[1])):
            some = sign * own[wide == kappa]
            assert stats.kstest(some, stats.halfnorm.cdf).pvalue > 1e-3


def test_priors_in_conflict_with_the_data_are_drawn_from_beyond_the_tables():
    above = {
        "tau": np.array([0.3, 0.05]),
        "kappa": np.array([0.4, 1.5]),
        "gamma": np.array([[9.0, 0.0], [-7.0, 0.0]]),
    }
    for log_leaf in (binomial, student):
        drawn = effects_of(LEAVES[log_leaf], above=above, size=4000).effects(0)
        for n, grid in enumerate(plain_grids(log_leaf, False, above, 30.0)):
            for s, own in enumerate(drawn[:, n::2]):
                assert stats.kstest(grid.below_mu(s)(own), "uniform").pvalue > 1e-3


def test_a_model_without_an_intercept_has_outer_groups_around_0():
    base = model_of(LEAVES[binomial], x=X)
    alone = NestedModel(
        base.leaves, PARENT, X[:, None], False, np.zeros(1), np.zeros(1), base.prior, base.prior
    )
    sds, seed = (np.full(300, 0.5), np.full(300, 0.8)), np.random.SeedSequence(1)
    beta = np.linspace(-1, 1, 300)[:, None]
    with_zero = np.hstack([np.zeros((300, 1)), beta])
    for level in (0, 1):
        np.testing.assert_array_equal(
            NestedEffects(alone, *sds, beta, seed).effects(level),
            NestedEffects(base, *sds, with_zero, seed).effects(level),
        )


def test_tables_that_are_not_good_enough_are_refused(monkeypatch):
    monkeypatch.setattr(module, "TOLERANCE", 1e-17)
    monkeypatch.setattr(module, "MAX_REFINEMENTS", 2)
    with pytest.raises(PrecisionError, match="effects of outer groups cannot be drawn"):
        effects_of(LEAVES[binomial], size=40).effects(0)


# With all above drawn as well.


def synthetic():
    known = FIGURES["three_level_synthetic_half_normal1"]
    counts, trials, outer = (np.array(known["data"][name]) for name in ("r", "n", "outer"))
    return known, NestedMarginal(model_of(BinomialLeaves.of(counts, trials), outer))


def test_means_of_all_draws_are_the_published_ones():
    known, marginal = synthetic()
    laid, z = marginal.lattice(0.4), []
    for seed in range(3):
        draws = NestedDraws.draw(marginal, 4000, np.random.default_rng(seed), laid)
        assert draws.drawn.largest_ratio <= draws.drawn.bound
        effects = draws.effects
        drawn = {"tau": effects.tau, "kappa": effects.kappa, "lam": effects.lam}
        drawn |= {"mu": effects.effects(0)}
        drawn |= {"theta": effects.effects(1, np.array(known["groups"]))}
        for name, own in drawn.items():
            mean, sd = (np.atleast_1d(known[name][key]) for key in ("mean", "sd"))
            z.append((np.atleast_2d(own).mean(axis=1) - mean) / (sd / np.sqrt(4000)))
            spread = np.atleast_2d(own).std(axis=1) / sd
            np.testing.assert_allclose(spread, 1.0, atol=0.06)
    every = np.concatenate(z)
    assert np.abs(every).max() < 4
    assert 0.7 < np.sqrt(np.mean(every**2)) < 1.3


@cache
def small(outer=None, inner=None):
    """A posterior, and a lattice of it."""
    half = hm.HalfNormal(1.0)
    model = replace(model_of(LEAVES[binomial]), outer_prior=outer or half, prior=inner or half)
    marginal = NestedMarginal(model)
    return marginal, marginal.lattice(0.4)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [(None, None), (None, hm.Fixed(0.4)), (None, hm.Fixed(0)), (hm.Fixed(0), None)],
    ids=["", "tau known", "tau 0", "kappa 0"],
)
def test_draws_have_the_means_of_sums_over_a_lattice(outer, inner):
    (marginal, laid), size = small(outer, inner), 400
    effects = NestedDraws.draw(marginal, size, np.random.default_rng(3), laid).effects
    sds, lam = marginal.coordinates.sds(laid.points), marginal.coordinates.gamma(laid.points)[:, 0]
    values = [(effects.kappa, sds[:, 0]), (effects.tau, sds[:, 1]), (effects.lam, lam)]
    for own, nodes in values:
        mean = laid.weights @ nodes
        error = np.sqrt(laid.weights @ (nodes - mean) ** 2 / size)
        assert abs(own.mean() - mean) <= 4 * error + 1e-12
    for fixed, own in ((outer, effects.kappa), (inner, effects.tau)):
        if fixed is not None:
            np.testing.assert_array_equal(own, fixed.value)


def test_effects_are_the_same_again_from_points_and_seed():
    marginal, _ = small(hm.Fixed(0.5), hm.Fixed(0.4))
    draws = NestedDraws.draw(marginal, 200, np.random.default_rng(3))
    again = NestedEffects.at(marginal, draws.drawn.points, draws.effects.seed)
    for level in (0, 1):
        np.testing.assert_array_equal(again.effects(level), draws.effects.effects(level))
    other = NestedDraws.draw(marginal, 200, np.random.default_rng(4))
    assert (other.effects.effects(1) != again.effects(1)).all()


def test_interpolated_densities_draw_what_exact_ones_draw(monkeypatch):
    (marginal, laid), drawn = small(), []
    for tolerance in (1e-5, -1.0):
        monkeypatch.setattr("hiermodels.numerics.lattice_interpolation.TOLERANCE", tolerance)
        rng = np.random.default_rng(5)
        drawn.append(NestedDraws.draw(marginal, 200, rng, laid).drawn)
    np.testing.assert_array_equal(drawn[0].points, drawn[1].points)
    np.testing.assert_allclose(drawn[0].log_density, drawn[1].log_density, atol=1e-5)
    assert (drawn[0].log_density != drawn[1].log_density).any()
