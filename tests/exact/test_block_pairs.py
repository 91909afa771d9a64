"""Posteriors that have a lattice for inner and one for outer covariances."""

from functools import cache

import numpy as np
import pytest
from scipy import stats

import hiermodels as hm
from hiermodels.errors import SpecError
from hiermodels.exact.blocks import cut as cut_module
from hiermodels.exact.blocks.coordinates import Coordinates
from hiermodels.exact.blocks.cut import Cut
from hiermodels.exact.blocks.draws import BlockDraws
from hiermodels.exact.blocks.hyper_laws import HyperLaws
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.mixtures import Mixtures
from hiermodels.exact.blocks.model import BlockModel, CovariancePrior
from hiermodels.exact.blocks.pair_nodes import PairNodes
from hiermodels.exact.blocks.pair_refinement import Mass
from hiermodels.exact.blocks.pairs import PairMarginal
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.numerics.lattice import Lattice

FLAT, JEFFREYS = hm.FlatSD(), hm.Jeffreys()
BOTH = CovariancePrior((FLAT, FLAT), 1.0)
APART = CovariancePrior((FLAT, FLAT))
INTERCEPTS = CovariancePrior((FLAT, None))


def line(x):
    return np.column_stack([np.ones(len(x)), x])


@cache
def nested(sizes=(8, 4), q=0, weighted=False):
    """Rows at four times of the groups of the last of some levels, each of which has so many."""
    rng = np.random.default_rng(1)
    parents = tuple(
        np.repeat(np.arange(np.prod(sizes[:k])), sizes[k]) for k in range(1, len(sizes))
    )
    groups = int(np.prod(sizes))
    group, t = np.repeat(np.arange(groups), 4), np.tile([-1.5, -0.5, 0.5, 1.5], groups)
    x, y = rng.normal(size=(len(t), q)), 0.5 * rng.normal(size=len(t))
    member = group
    for level in reversed(range(len(sizes))):
        effects = rng.normal(size=(member.max() + 1, 2)) @ np.array([[0.9, 0.3], [0.0, 0.5]])
        y += (line(t) * effects[member]).sum(axis=1)
        member = parents[level - 1][member] if level else member
    weight = rng.gamma(5, 0.2, len(t)) if weighted else None
    return Blocks.of((line(t), x, y + x.sum(axis=1)), group, parents, weight)


def model_of(blocks, *levels, sigma=JEFFREYS):
    return BlockModel.of(blocks, levels, sigma)


def differences(one, other):
    """Of means and sds, in units of the second's sds."""
    return max(np.abs((one[0] - other[0]) / other[1]).max(), np.abs(one[1] / other[1] - 1).max())


@pytest.mark.parametrize(
    ("sizes", "levels", "inner", "outer"),
    [
        ((8, 4), (BOTH, BOTH), [2, 3, 5], [0, 1, 4]),
        ((8, 4), (APART, APART), [2, 3], [0, 1]),
        ((8, 4), (INTERCEPTS, BOTH), [1, 2, 3], [0]),
        ((4, 3, 2), (INTERCEPTS, BOTH, INTERCEPTS), None, None),
        ((4, 3, 2), (INTERCEPTS, APART, APART), [3, 4], [0, 1, 2]),
        ((4, 3, 2), (APART, APART, INTERCEPTS), [2, 3, 4], [0, 1]),
        ((8,), (BOTH,), None, None),
    ],
)
def test_where_levels_are_cut(sizes, levels, inner, outer):
    cut = Cut.of(Coordinates(model_of(nested(sizes), *levels)))
    if inner is None:
        assert cut is None
    else:
        assert (cut.inner.tolist(), cut.outer.tolist()) == (inner, outer)


def test_levels_are_not_cut_where_sigma_has_a_coordinate():
    uniform = CovariancePrior((hm.Uniform(9), hm.Uniform(9)))
    assert Cut.of(Coordinates(model_of(nested(), uniform, uniform))) is None
    bounded = CovariancePrior((hm.Uniform(9), hm.Uniform(9)), 1.0)
    with pytest.raises(SpecError, match=r"has 7 unknown sds and correlations.*engine='nuts'"):
        BlockMarginal.of(model_of(nested(), bounded, bounded))


@pytest.mark.parametrize(
    ("sizes", "levels", "q"),
    [
        ((8, 4), (BOTH, BOTH), 0),
        ((3, 4), (BOTH, BOTH), 2),
        ((8, 4), (INTERCEPTS, BOTH), 1),
        ((4, 3, 2), (INTERCEPTS, APART, APART), 1),
        ((4, 3, 2), (APART, APART, INTERCEPTS), 0),
    ],
)
def test_pairs_have_the_density_of_all_levels_together(sizes, levels, q):
    marginal = BlockMarginal.of(model_of(nested(sizes, q, True), *levels, sigma=hm.HalfNormal(2)))
    pairs = PairMarginal(marginal, marginal.cut)
    points = np.random.default_rng(2).normal(size=(9, marginal.coordinates.dimension))
    inner, outer = points[:, pairs.cut.inner], points[:, pairs.cut.outer]
    expected = marginal.log_density(points)
    assert pairs.log_density(pairs.below(inner), inner, outer) == pytest.approx(expected, abs=1e-10)
    one = pairs.log_density(pairs.below(inner[:1]), inner[:1], outer)
    same = marginal.log_density(pairs.points(inner[:1], outer))
    assert one == pytest.approx(same, abs=1e-10)


@pytest.mark.filterwarnings("ignore::hiermodels.errors.PrecisionWarning")
@pytest.mark.parametrize("sigma", [JEFFREYS, hm.HalfNormal(2)])
def test_all_pairs_of_two_lattices_say_what_one_lattice_says(monkeypatch, sigma):
    """In three dimensions, which one lattice holds to many digits."""
    model = model_of(nested(), INTERCEPTS, APART, sigma=sigma)
    one = BlockPosterior.of(model, 1e-6)
    monkeypatch.setattr(cut_module, "LEAST", 3)
    two = BlockPosterior.of(model, 1e-6)
    assert isinstance(one.lattice, Lattice)
    assert isinstance(two.lattice, PairNodes)
    assert two.certificate < 1e-5
    assert two.log_integral == pytest.approx(one.log_integral, abs=1e-6)
    mass = Mass.of(two.marginal)
    assert abs(mass.lattice.log_integral - one.log_integral) < mass.lattice_error() < 1e-3
    assert differences(two.sd_moments(), one.sd_moments()) < 5e-6
    assert differences(two.coefficient_moments(), one.coefficient_moments()) < 5e-6
    for level in (0, 1):
        assert differences(two.effect_moments(level), one.effect_moments(level)) < 5e-6
    p = np.array([0.025, 0.25, 0.5, 0.75, 0.975])
    for sd in range(4):
        found = HyperLaws(two).sd_quantiles(sd, p)
        assert HyperLaws(one).sd_cdf(sd, found) == pytest.approx(p, abs=2e-5)
    members = np.arange(8)
    found, expected = (Mixtures(own).effect_quantiles(0, 0, members, p) for own in (two, one))
    assert np.abs(found - expected).max() < 1e-5 * one.effect_moments(0)[1][0].min()


@pytest.fixture(scope="module")
def four():
    """Correlated slopes at the outer level, intercepts at the inner one."""
    return BlockPosterior.of(model_of(nested((12, 4)), BOTH, INTERCEPTS), 1e-3)


def test_sums_over_pairs_agree_with_exact_draws(four):
    """Draws are accepted by the exact density, whatever the quadrature's error."""
    size = 4000
    drawn = BlockDraws.draw(four.marginal, size, np.random.default_rng(3))
    assert drawn.drawn.largest_ratio <= drawn.drawn.bound
    sds = np.vstack([drawn.sds, drawn.sigma])
    effects = (own.reshape(-1, size) for own in drawn.effects)
    moments = ([part.ravel() for part in four.effect_moments(level)] for level in (0, 1))
    columns = [
        (sds, four.sd_moments()),
        (drawn.correlations, four.correlation_moments()),
        (drawn.coefficients, four.coefficient_moments()),
        *zip(effects, moments, strict=True),
    ]
    for draws, (mean, sd) in columns:
        assert np.abs((draws.mean(axis=1) - mean) / sd).max() * np.sqrt(size) < 4.5
        error = np.std((draws - mean[:, None]) ** 2, axis=1) / np.sqrt(size)
        assert np.abs((draws.var(axis=1) - sd**2) / error).max() < 5
    laws = HyperLaws(four)
    for sd in range(4):
        assert stats.kstest(laws.sd_cdf(sd, sds[sd, :1000]), "uniform").pvalue > 1e-3
    below = laws.correlation_cdf(0, drawn.correlations[0, :1000])
    assert stats.kstest(below, "uniform").pvalue > 1e-3


def test_sums_over_pairs_state_what_they_reach(four):
    assert four.certificate <= 1e-3
    nodes = four.lattice
    assert isinstance(nodes, PairNodes)
    assert nodes.every.sum(axis=1) == pytest.approx(np.ones(3))
    assert np.abs(nodes.weights).sum() < 4


def test_draws_of_slopes_at_two_levels_are_accepted_by_their_density():
    marginal = BlockMarginal.of(model_of(nested((12, 4)), BOTH, BOTH))
    drawn = BlockDraws.draw(marginal, 500, np.random.default_rng(3)).drawn
    assert drawn.points.shape == (500, 6)
    assert drawn.largest_ratio <= drawn.bound
    assert drawn.acceptance > 0.25
    assert drawn.log_density == pytest.approx(marginal.log_density(drawn.points), abs=1e-9)
