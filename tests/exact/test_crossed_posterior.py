"""The posterior of crossed groups, against published values, brute force and nested levels."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import hiermodels as hm
from hiermodels.errors import ImproperPosteriorError, SpecError
from hiermodels.exact.blocks.hyper_laws import HyperLaws
from hiermodels.exact.blocks.model import BlockModel, CovariancePrior
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.crossed.draws import CrossedDraws
from hiermodels.exact.crossed.marginal import CrossedMarginal
from hiermodels.exact.crossed.mixtures import NEW, CrossedMixtures
from hiermodels.exact.crossed.model import CrossedModel
from hiermodels.exact.crossed.posterior import CrossedPosterior
from hiermodels.exact.crossed.propriety import check, contrasts
from hiermodels.exact.crossed.rows import CrossedRows
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.crossed.downward import ABSENT
from hiermodels.model.priors.variance import Fixed
from hiermodels.numerics import normal_mixture
from tests.oracles.penicillin import FIGURES, diameters, probabilities

NAMES = "abc"


def model_of(rows, priors, sigma, weights=None, prior=None):
    x, y, members = rows
    sizes = tuple(int(m.max()) + 1 for m in members)
    weights = np.ones(len(y)) if weights is None else weights
    mean, precision = prior or (np.zeros(x.shape[1]), np.zeros(x.shape[1]))
    columns = tuple(NAMES[: len(sizes)])
    names = tuple(f"tau_{c}" for c in columns)
    observed = CrossedRows(x, y, tuple(members), sizes, weights)
    return CrossedModel(observed, tuple(priors), sigma, mean, precision, names, columns)


def random_rows(sizes=(7, 5), n=40, seed=1):
    rng = np.random.default_rng(seed)
    members = [rng.permutation(np.resize(np.arange(size), n)) for size in sizes]
    x = np.column_stack([np.ones(n), rng.normal(size=n)])
    effects = [rng.normal(size=size)[m] for size, m in zip(sizes, members, strict=True)]
    return x, 3 + x[:, 1] + rng.normal(size=n) + sum(effects), members


@pytest.fixture(scope="module")
def penicillin():
    y = diameters()
    plate, sample = (m.ravel() for m in np.indices(y.shape))
    rows = np.ones((144, 1)), y.ravel(), [plate, sample]
    return CrossedPosterior.of(model_of(rows, [hm.FlatSD()] * 2, hm.Jeffreys()))


def test_moments_of_penicillin(penicillin):
    taus = [FIGURES["tau"][name] for name in ("plate", "sample")]
    mean, sd = penicillin.sd_moments()
    for found, own in zip(mean, [*taus, FIGURES["sigma"]], strict=True):
        assert found == pytest.approx(own["mean"], abs=1e-8 * own["sd"])
    for found, own in zip(sd, [*taus, FIGURES["sigma"]], strict=True):
        assert found == pytest.approx(own["sd"], rel=1e-8)
    top = FIGURES["top"]
    (mean,), (sd,) = penicillin.coefficient_moments()
    assert (mean, sd) == pytest.approx((top["mean"], top["sd"]), abs=1e-8 * top["sd"])
    for factor, name in enumerate(("plate", "sample")):
        mean, sd = penicillin.effect_moments(factor)
        assert_allclose(mean, FIGURES[name]["mean"], rtol=0, atol=1e-8 * sd.min())
        assert_allclose(sd, FIGURES[name]["sd"], rtol=1e-8)
    assert penicillin.certificate < 1e-8


def test_quantiles_of_penicillin(penicillin):
    laws = HyperLaws(penicillin)
    for sd, own in enumerate([*FIGURES["tau"].values(), FIGURES["sigma"]]):
        found = laws.sd_quantiles(sd, np.array([float(p) for p in own["q"]]))
        assert_allclose(found, list(own["q"].values()), rtol=0, atol=1e-8 * own["sd"])
        density = laws.sd_density(sd, found)
        away = (probabilities(sd, found) - [float(p) for p in own["q"]]) / density
        assert np.abs(away).max() < 1e-9 * own["sd"]


def test_draws_of_penicillin(penicillin):
    size = 4000
    drawn = CrossedDraws.draw(penicillin.marginal, size, np.random.default_rng(1))
    every = [(k, np.arange(n)) for k, n in enumerate((24, 6))]
    effects = np.concatenate(drawn.effects(every))
    some = drawn.effects([(1, np.array([2])), (0, np.array([5, 3]))])
    assert np.array_equal(np.concatenate(some), effects[[26, 5, 3]])
    mean, sd = (
        np.concatenate(m) for m in zip(*map(penicillin.effect_moments, (0, 1)), strict=True)
    )
    assert np.abs((effects.mean(axis=1) - mean) / sd).max() < 4.5 / np.sqrt(size)
    laws = HyperLaws(penicillin)
    for sd, values in enumerate([*drawn.sds, drawn.sigma]):
        uniform = np.sort(laws.sd_cdf(sd, values))
        distance = np.abs(uniform - (np.arange(size) + 0.5) / size).max()
        assert distance < 1.8 / np.sqrt(size)  # Kolmogorov: probability 0.003


@pytest.fixture(scope="module")
def known_errors():
    """Sds by brute force on a plain grid, every value of which is a dense normal density."""
    rows, rng = random_rows(n=20), np.random.default_rng(2)
    x, y, members = rows
    weights = rng.uniform(0.5, 2, len(y))
    prior = np.array([1.0, 0.0]), np.array([0.04, 0.5])
    priors = [hm.HalfNormal(1.5), hm.Exponential(1.0)]
    posterior = CrossedPosterior.of(model_of(rows, priors, Fixed(1.0), weights, prior))
    t = np.linspace(-21.5, 3.2, 170)
    grid = np.stack(np.meshgrid(t, t, indexing="ij"), -1).reshape(-1, 2)
    z = [np.eye(int(m.max()) + 1)[m] for m in members]
    base = np.diag(1 / weights) + (x / prior[1]) @ x.T
    v = base + sum(np.exp(2 * g)[:, None, None] * (q @ q.T) for g, q in zip(grid.T, z, strict=True))
    left = y - x @ prior[0]
    solved = np.linalg.solve(v, np.broadcast_to(left[:, None], (len(v), len(y), 1)))[..., 0]
    log_density = -0.5 * (np.linalg.slogdet(v)[1] + solved @ left + len(y) * np.log(2 * np.pi))
    for own, g in zip(priors, grid.T, strict=True):
        log_density = log_density + own.log_density_log_sd(g)
    total = np.exp(log_density).sum() * (t[1] - t[0]) ** 2
    weight = np.exp(log_density) / np.exp(log_density).sum()
    return posterior, (grid, z, solved, np.linalg.inv(v), weight, np.log(total))


def test_known_errors_by_brute_force(known_errors):
    posterior, (grid, z, solved, inverse, weight, log_integral) = known_errors
    tau = np.exp(grid)
    mean = weight @ tau
    sd = np.sqrt(weight @ (tau - mean) ** 2)
    found = posterior.sd_moments()
    assert_allclose(found[0][:2], mean, rtol=1e-8)
    assert_allclose(found[1][:2], sd, rtol=1e-7)  # of the grid's lower end
    assert posterior.log_integral == pytest.approx(log_integral, abs=1e-7)
    for k, q in enumerate(z):
        given = tau[:, k, None] ** 2 * (solved @ q)
        mean = weight @ given
        gain = np.einsum("nu,gnm,mu->gu", q, inverse, q, optimize=True)
        own = tau[:, k, None] ** 2 - tau[:, k, None] ** 4 * gain
        sd = np.sqrt(weight @ (own + (given - mean) ** 2))
        assert_allclose(posterior.effect_moments(k)[0], mean, rtol=0, atol=1e-8)
        assert_allclose(posterior.effect_moments(k)[1], sd, rtol=1e-7)


def nested_both():
    """``(1 | a/b)`` as crossed factors, and as nested levels."""
    rng = np.random.default_rng(5)
    parent = np.arange(12) // 3
    group = np.repeat(np.arange(12), rng.integers(1, 7, 12))
    n = len(group)
    x = np.column_stack([np.ones(n), rng.normal(size=n)])
    y = x @ [1.0, 0.5] + rng.normal(size=n) + rng.normal(size=12)[group]
    y = y + rng.normal(size=4)[parent[group]]
    priors = hm.HalfNormal(2.0), hm.FlatSD(), hm.HalfCauchy(1.0)
    crossed = model_of((x, y, [parent[group], group]), priors[:2], priors[2])
    blocks = Blocks.of((x[:, :1], x[:, 1:], y), group, (parent,), np.ones(n), (True,))
    levels = tuple(CovariancePrior((prior,)) for prior in priors[:2])
    return CrossedPosterior.of(crossed), BlockPosterior.of(BlockModel.of(blocks, levels, priors[2]))


def test_nested_groups_are_what_the_blocks_say():
    crossed, blocks = nested_both()
    for found, own in zip(crossed.sd_moments(), blocks.sd_moments(), strict=True):
        assert_allclose(found, own, rtol=1e-8)
    for found, own in zip(crossed.coefficient_moments(), blocks.coefficient_moments(), strict=True):
        assert_allclose(found, own, rtol=1e-8)
    assert crossed.log_integral == pytest.approx(blocks.log_integral, abs=1e-8)
    parent = np.arange(12) // 3
    mixtures = CrossedMixtures(crossed)
    value = mixtures.sums([parent, np.arange(12)], np.tile([1.0, 0.0], (12, 1)))
    weights, mean, sd = value
    total = weights @ mean
    spread = np.sqrt(weights @ (sd**2 + (mean - total) ** 2))
    found = blocks.effect_moments(1)
    assert_allclose(total, found[0][0], rtol=0, atol=1e-8 * spread.min())
    assert_allclose(spread, found[1][0], rtol=1e-7)


def test_sums_of_effects_are_those_of_draws(penicillin):
    """Of a pair, of a plate by itself, and of a new sample on a known plate."""
    members = [np.array([3, 5, 7]), np.array([2, ABSENT, NEW])]
    law = CrossedMixtures(penicillin).sums(members, np.ones((3, 1)), np.array([0.0, 0.0, 1.0]))
    rng = np.random.default_rng(4)
    drawn = CrossedDraws.draw(penicillin.marginal, 4000, rng)
    plates, samples = drawn.effects([(0, members[0]), (1, np.arange(6))])
    noise = rng.standard_normal((2, 4000))
    mu = drawn.coefficients[0]
    new = mu + plates[2] + drawn.sds[1] * noise[0] + drawn.sigma * noise[1]
    for r, values in enumerate([mu + plates[0] + samples[2], mu + plates[1], new]):
        own = law[0], law[1][:, [r]], law[2][:, [r]]
        uniform = np.sort(normal_mixture.cdf(*own, values[:, None])[:, 0])
        assert np.abs(uniform - (np.arange(4000) + 0.5) / 4000).max() < 1.8 / np.sqrt(4000)


@pytest.mark.parametrize("sizes", [(7, 5), (6, 4, 3)])
def test_density_falls_along_rays_as_ranks_say(sizes):
    model = model_of(random_rows(sizes), [hm.FlatSD()] * len(sizes), hm.Jeffreys())
    marginal = CrossedMarginal.of(model)
    for ray in marginal.tails.rays[: 2 ** len(sizes) - 1]:
        log_theta = np.zeros((len(sizes), 2))
        log_theta[list(ray.sds)] = [6.0, 7.0]
        values = Values(log_theta, np.empty((0, 2)), None, np.zeros(2))
        first, second = marginal.log_density_of(values, marginal.root(values))
        assert (second - first) / 2 == pytest.approx(ray.exponent, abs=0.01)


def test_contrasts_are_ranks_of_dense_matrices():
    x, y, members = random_rows((6, 4, 3), n=25)
    members[1] = members[1] // 2 + 2 * (members[0] // 3)  # in two parts
    x = np.column_stack([x, np.arange(6.0)[members[0]], members[1] == 1])
    model = model_of((x, y, members), [hm.HalfNormal(1.0)] * 3, hm.HalfNormal(1.0))
    z = [np.eye(int(m.max()) + 1)[m] for m in members]
    for size in (1, 2, 3):
        for some in combinations(range(3), size):
            both = np.hstack([x, *(z[k] for k in some)])
            rank = np.linalg.matrix_rank(both) - np.linalg.matrix_rank(x)
            assert contrasts(model, some).number == rank
    every = np.linalg.matrix_rank(np.hstack([x, *z]))
    assert model.residual_df == len(y) - every


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y, m: (x, y, [m[0], m[1] * 0]), "'b' has a single group"),
        (
            lambda x, y, m: (np.column_stack([x, np.eye(5)[m[1]][:, 1:]]), y, m),
            "'b' is a function of the covariates",
        ),
        (lambda x, y, m: (x, y, [m[0], m[1] % 2]), "tau_b may grow without end.*2 'b' groups"),
        (lambda x, y, m: (x[:9], y[:9], [m[0][:9], m[1][:9]]), "fit all 9 rows exactly"),
    ],
)
def test_posteriors_that_do_not_exist(change, words):
    model = model_of(change(*random_rows()), [hm.FlatVariance()] * 2, hm.Jeffreys())
    with pytest.raises(ImproperPosteriorError, match=words):
        check(model)


def test_nodes_whose_digits_are_lost_have_no_weight():
    """Far out, where a flat variance has its tail; the truth has σ on an axis of the lattice."""
    priors = [hm.FlatVariance(), hm.HalfNormal(1.0)]
    model = model_of(random_rows(n=60), priors, hm.Jeffreys())
    found, other = (CrossedPosterior.of(m) for m in (model, model.with_sigma_on_lattice()))
    assert found.certificate < 1e-8
    for own, true in zip(found.sd_moments(), other.sd_moments(), strict=True):
        assert_allclose(own, true, rtol=1e-7)
    assert np.isfinite(HyperLaws(found).sd_quantiles(2, np.array([0.025, 0.975]))).all()


def test_rows_that_coefficients_alone_fit_say_nothing_of_sigma():
    x, y, members = random_rows(n=2)
    model = model_of((x, y, members), [hm.HalfNormal(1.0)] * 2, hm.Jeffreys())
    with pytest.raises(ImproperPosteriorError, match=r"sigma may grow.*The 2 rows.*use more rows"):
        check(model)


def test_columns_of_the_same_groups_are_refused():
    x, y, members = random_rows()
    same = np.array([3, 0, 1, 2, 6, 5, 4])[members[0]]
    model = model_of((x, y, [members[0], same]), [hm.FlatSD()] * 2, hm.Jeffreys())
    with pytest.raises(SpecError, match="'a' and 'b' are the same 7 groups"):
        check(model)


def test_too_many_members_are_refused_before_they_are_tried():
    members = [np.arange(12_000) % 6000, np.arange(12_000) // 2]
    rows = np.ones((12_000, 1)), np.zeros(12_000), members
    with pytest.raises(SpecError, match=r"6,000 here, and at most 5,000 fit.*engine='nuts'"):
        model_of(rows, [hm.FlatSD()] * 2, hm.Jeffreys())
