"""The exact posterior of groups with several effects, against posteriors that are known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.errors import ImproperPosteriorError, SpecError
from hiermodels.exact.blocks.correlations import coordinate, log_lkj, z_of
from hiermodels.exact.blocks.draws import BlockDraws
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.model import BlockModel, CovariancePrior
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.blocks.propriety import check
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.kernels.blocks.blocks import Blocks
from tests.oracles.published import PASTES
from tests.oracles.slopes import CAKES_MEANS, SLEEP, cakes, sleepstudy

FLAT, JEFFREYS = hm.FlatSD(), hm.Jeffreys()
SLEEP_PRIORS = {
    "sleepstudy_flat_sd_lkj1": (CovariancePrior((FLAT, FLAT), 1.0), JEFFREYS),
    "sleepstudy_half_normal_lkj2": (
        CovariancePrior((hm.HalfNormal(50), hm.HalfNormal(20)), 2.0),
        hm.HalfNormal(50),
    ),
}


def line(x):
    """Columns of an intercept and a slope."""
    return np.column_stack([np.ones(len(x)), x])


@cache
def sleep_blocks():
    y, days, subject = sleepstudy()
    return Blocks.of((line(days), np.zeros((180, 0)), y), subject)


@cache
def sleep(name):
    level, sigma = SLEEP_PRIORS[name]
    return BlockPosterior.of(BlockModel.of(sleep_blocks(), (level,), sigma))


def few(seed=2, groups=6, q=1):
    """A few groups with a covariate within them and slopes."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), 4)
    n = len(group)
    x, t = rng.normal(size=(n, q)), rng.normal(size=n)
    y = 1 + x.sum(axis=1) + rng.normal(size=groups)[group] * (1 + 0.5 * t) + rng.normal(size=n)
    return Blocks.of((line(t), x, y), group)


def assert_moments(found, known, tolerance=1e-8):
    (mean, sd), (known_mean, known_sd) = found, (np.array(part) for part in known)
    np.testing.assert_allclose((mean - known_mean) / known_sd, 0.0, atol=tolerance)
    np.testing.assert_allclose(sd / known_sd, 1.0, atol=tolerance)


@pytest.mark.parametrize("name", SLEEP)
def test_sleep_study(name):
    posterior, known = sleep(name), SLEEP[name]
    assert posterior.certificate < 1e-8
    sds = [known["hyper"][key] for key in ("tau0", "tau1", "sigma")]
    assert_moments(posterior.sd_moments(), [[sd[k] for sd in sds] for k in ("mean", "sd")])
    rho = known["hyper"]["rho"]
    assert_moments(posterior.correlation_moments(), [[rho["mean"]], [rho["sd"]]])
    for found, key in (
        (posterior.coefficient_moments(), "coefficients"),
        (posterior.effect_moments(0), "effects"),
    ):
        assert_moments(found, [known[key]["mean"], known[key]["sd"]])


def test_cakes_whose_fit_is_singular_by_maximum_likelihood():
    angle, temperature, recipe, batch = cakes()
    x = np.column_stack([recipe == 1, recipe == 2]).astype(float)
    blocks = Blocks.of((line(temperature), x, angle), batch)
    posterior = BlockPosterior.of(
        BlockModel.of(blocks, (CovariancePrior((FLAT, FLAT), 1.0),), JEFFREYS)
    )
    (*tau, sigma), rho = posterior.sd_moments()[0], posterior.correlation_moments()[0]
    assert tau == pytest.approx(CAKES_MEANS["tau"], abs=5e-5)
    assert (rho[0], sigma) == pytest.approx((CAKES_MEANS["rho"], CAKES_MEANS["sigma"]), abs=5e-5)
    # all batches have the same temperatures: the slope is that of least squares
    slope = np.linalg.lstsq(np.column_stack([line(temperature), x]), angle)[0][1]
    assert posterior.coefficient_moments()[0][1] == pytest.approx(slope, rel=1e-12)


def test_pastes_with_sigma_integrated():
    frame = hm.datasets.load_pastes()
    cask, batch = np.repeat(np.arange(30), 2), np.repeat(np.arange(10), 3)
    columns = np.ones((60, 1)), np.zeros((60, 0)), frame["strength"].to_numpy()
    level = CovariancePrior((hm.FlatVariance(),))
    model = BlockModel.of(Blocks.of(columns, cask, (batch,)), (level, level), JEFFREYS)
    posterior = BlockPosterior.of(model)
    assert len(posterior.lattice) < 3500
    known = [PASTES[name] for name in ("kappa", "tau", "sigma")]
    assert_moments(posterior.sd_moments(), [[k[m] for k in known] for m in ("mean", "sd")], 1e-9)


def test_known_standard_errors():
    schools = hm.datasets.load_eight_schools()
    blocks = Blocks.of(
        (np.ones((8, 1)), np.zeros((8, 0)), schools["y"].to_numpy(dtype=float)),
        np.arange(8),
        weight=schools["sigma"].to_numpy(dtype=float) ** -2.0,
    )
    model = BlockModel.of(blocks, (CovariancePrior((hm.HalfCauchy(5),)),), hm.Fixed(1))
    reference = hm.reference(schools, priors={"tau": hm.HalfCauchy(5)})
    posterior = BlockPosterior.of(model)
    assert_moments(
        tuple(part[0] for part in posterior.effect_moments(0)),
        (reference.mean["theta"].to_numpy(), reference.sd["theta"].to_numpy()),
    )


def test_covariates_and_priors_of_coefficients_as_in_the_tree():
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(7), [1, 2, 3, 4, 5, 6, 3])
    x = rng.normal(size=(24, 2))
    y = 3 + x @ [1.0, -2.0] + rng.normal(size=7)[group] + rng.normal(size=24)
    frame = pd.DataFrame({"g": [f"g{i}" for i in group], "x": x[:, 0], "w": x[:, 1], "y": y})
    priors = {
        "mu": hm.Normal(1, 2),
        "beta[x]": hm.Normal(0, 0.5),
        "tau": hm.HalfNormal(2),
        "sigma": hm.HalfCauchy(1),
    }
    reference = hm.reference(frame, "y ~ x + w + (1 | g)", priors=priors)
    model = BlockModel(
        Blocks.of((np.ones((24, 1)), x, y), group),
        (CovariancePrior((priors["tau"],)),),
        priors["sigma"],
        mean=np.array([1.0, 0.0, 0.0]),
        precision=np.array([0.25, 4.0, 0.0]),
    )
    posterior = BlockPosterior.of(model)
    known = [
        [float(part["mu"]), *part["beta"].to_numpy()] for part in (reference.mean, reference.sd)
    ]
    assert_moments(posterior.coefficient_moments(), known)
    known = [[float(part[k]) for k in ("tau", "sigma")] for part in (reference.mean, reference.sd)]
    assert_moments(posterior.sd_moments(), known)


@pytest.mark.parametrize("proper", [False, True])
def test_sigma_integrated_and_on_the_lattice(proper):
    """Two computations that have the recursion alone in common, with all constants."""
    mean, precision = np.array([0.5, 0.0, 1.0]), np.array([1.0, 0.25, 4.0]) * proper
    level = CovariancePrior((hm.HalfNormal(3), hm.HalfNormal(2)))
    model = BlockModel(few(), (level,), hm.HalfNormal(2), mean, precision)
    integrated, whole = (
        BlockPosterior.of(replace(model, integrate_sigma=own)) for own in (True, False)
    )
    assert [p.lattice.points.shape[1] for p in (integrated, whole)] == [2, 3]
    assert integrated.log_integral == pytest.approx(whole.log_integral, abs=1e-8)
    for moments in ("sd_moments", "coefficient_moments"):
        assert_moments(getattr(integrated, moments)(), getattr(whole, moments)())
    assert_moments(integrated.effect_moments(0), whole.effect_moments(0))


def test_four_levels():
    """Sums of squares of a balanced design are independent: so are their mean squares."""
    rng = np.random.default_rng(4)
    a, b, c = np.repeat(np.arange(8), 3), np.repeat(np.arange(24), 2), np.repeat(np.arange(48), 3)
    y = rng.normal(size=8)[a][b][c] + rng.normal(size=24)[b][c] + rng.normal(size=48)[c]
    y = y + rng.normal(size=144)
    blocks = Blocks.of((np.ones((144, 1)), np.zeros((144, 0)), y), c, (a, b))
    level = CovariancePrior((hm.FlatVariance(),))
    posterior = BlockPosterior.of(BlockModel.of(blocks, (level,) * 3, JEFFREYS))
    assert posterior.lattice.points.shape[1] == 3
    means = [np.full(144, y.mean()), *(_means(y, m) for m in (a[b][c], b[c], c)), y]
    squares = [((low - high) ** 2).sum() for high, low in pairwise(means)]
    known = _mean_variances(squares, df=(7, 16, 24, 96), size=(18, 6, 3, 1))
    law = posterior.scale.coefficients
    theta2 = np.exp(2 * posterior.values.log_theta)
    found = [posterior.lattice.weights @ (t * law.sigma2) for t in (*theta2, np.ones(1))]
    np.testing.assert_allclose(found, known, rtol=0.01)


def _means(y, member):
    return (np.bincount(member, y) / np.bincount(member))[member]


def _mean_variances(squares, df, size, draws=500_000):
    """Posterior means of the variances by simulation, under flat variances and 1/σ².

    A mean square's variance ``v`` has the density ``v^(−df/2) exp(−SS/2v)``, of ``v`` growing from
    the rows to the outermost level.
    """
    rng = np.random.default_rng(9)
    shapes = [d / 2 - 1 + (k == len(df) - 1) for k, d in enumerate(df)]
    v = np.array(
        [s / 2 / rng.standard_gamma(a, draws) for s, a in zip(squares, shapes, strict=True)]
    )
    v = v[:, (np.diff(v, axis=0) < 0).all(axis=0)]
    below = np.vstack([v[1:], np.zeros(v.shape[1])])
    return ((v - below) / np.array(size)[:, None]).mean(axis=1)


def test_uncorrelated_effects_and_one_that_does_not_vary():
    blocks = few(groups=8)
    with_all = BlockModel.of(blocks, (CovariancePrior((FLAT, FLAT)),), JEFFREYS)
    posterior = BlockPosterior.of(with_all)
    assert posterior.lattice.points.shape[1] == 2
    assert len(posterior.correlation_moments()[0]) == 0
    fixed = BlockModel.of(blocks, (CovariancePrior((FLAT, hm.Fixed(0))),), hm.HalfNormal(2))
    absent = replace(fixed, levels=(CovariancePrior((FLAT, None)),))
    a, b = BlockPosterior.of(fixed), BlockPosterior.of(absent)
    assert_moments(a.effect_moments(0), b.effect_moments(0))
    np.testing.assert_allclose(a.sd_moments()[0], np.insert(b.sd_moments()[0], 1, 0.0), rtol=1e-8)


def test_three_effects():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(5), 6)
    z = np.column_stack([np.ones(30), rng.normal(size=(30, 2))])
    blocks = Blocks.of((z, np.zeros((30, 0)), rng.normal(size=30)), group)
    level = CovariancePrior((hm.HalfNormal(1),) * 3, 2.0)
    with pytest.raises(SpecError, match="6 unknown sds and correlations"):
        BlockMarginal.of(BlockModel.of(blocks, (level,), hm.HalfNormal(1)))


@pytest.mark.parametrize(("eta", "e"), [(1.0, 2), (2.5, 2), (0.7, 3)])
def test_prior_of_correlations_integrates_to_one(eta, e):
    u = np.arange(-9, 9, 0.25)
    k = e * (e - 1) // 2
    grid = np.stack(np.meshgrid(*[u] * k, indexing="ij")).reshape(k, -1)
    z = z_of(grid)
    slope = np.log1p(np.exp(-2.5 - grid) + np.exp(grid - 2.5)).sum(axis=0)
    total = np.exp(log_lkj(z, eta) + slope).sum() * 0.25 ** len(z)
    assert total == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(coordinate(z_of(u)), u, atol=1e-12)


def ray_slope(model, direction, rho=0.0, singular=False):
    """Exponent of λ = θ² along a ray, in the density of log θ and z."""
    marginal = BlockMarginal(model, None)
    logs = []
    for t in (8.0, 9.0):
        log_theta = np.array([[t if moves else 0.0] for moves in direction])
        # along one direction, 1 − ρ² is as 1/λ
        z = np.array([[np.arctanh(rho) + (t if singular else 0.0)]])
        values = Values(log_theta, z, None, log_lkj(z, model.levels[0].eta))
        logs.append(marginal.log_density_of(values, marginal.root(values))[0])
    return (logs[1] - logs[0]) / 2


@pytest.mark.parametrize(
    ("level", "groups", "exists"),
    [
        (CovariancePrior((FLAT, FLAT), 1.0), 2, False),
        (CovariancePrior((FLAT, FLAT), 1.0), 3, True),
        (CovariancePrior.flat(2), 5, False),
        (CovariancePrior.flat(2), 6, True),
        (CovariancePrior((hm.FlatVariance(), FLAT)), 3, False),
        (CovariancePrior((hm.FlatVariance(), FLAT)), 4, True),
        (CovariancePrior((FLAT, FLAT), 0.1), 3, True),
    ],
)
def test_when_the_posterior_exists(level, groups, exists):
    model = BlockModel.of(few(groups=groups), (level,), JEFFREYS)
    if not exists:
        with pytest.raises(ImproperPosteriorError, match="independent contrasts"):
            check(model)
        return
    rays = check(model).rays
    for direction, singular in (((1, 0), False), ((0, 1), False), ((1, 1), False), ((1, 1), True)):
        own = tuple(np.flatnonzero(direction))
        if level.eta is None and singular:
            continue
        if level.eta is None:
            continue
        (ray,) = [r for r in rays if r.sds == own and bool(r.direction) == singular]
        assert ray_slope(model, direction, 0.3, singular) == pytest.approx(ray.exponent, abs=2e-3)


def test_groups_that_say_nothing_of_a_slope():
    """Slopes of four groups of six count, and a direction that two rows of equal x leave open."""
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(6), 3)
    t = np.where(group < 2, 2.0, rng.normal(size=18))
    blocks = Blocks.of((line(t), np.zeros((18, 0)), rng.normal(size=18)), group)
    model = BlockModel.of(blocks, (CovariancePrior((FLAT, FLAT), 1.0),), JEFFREYS)
    rays = check(model).rays
    contrasts = {(ray.sds, bool(ray.direction)): ray.contrasts.number for ray in rays}
    assert contrasts[(0,), False] == 5
    assert contrasts[(1,), False] == 5  # two groups share an intercept of their own, x being 2
    assert contrasts[(0, 1), False] == 8


def test_moments_that_do_not_exist():
    """Of four groups sds have means alone, but effects that their rows tell have sds."""
    model = BlockModel.of(few(groups=4), (CovariancePrior((FLAT, FLAT), 1.0),), JEFFREYS)
    posterior = BlockPosterior.of(model, tol=1e-5)
    assert posterior.marginal.tails.orders.tolist() == [1.0, 1.0, 2.0]
    mean, sd = posterior.sd_moments()
    assert np.isfinite(mean).tolist() == [True] * 3
    assert np.isfinite(sd).tolist() == [False, False, True]
    mean, sd = posterior.coefficient_moments()
    assert np.isfinite(mean).tolist() == [True] * 3
    assert np.isfinite(sd).tolist() == [False, False, True]  # β varies within the groups
    draws = BlockDraws.draw(posterior.marginal, 40_000, np.random.default_rng(1))
    mean, sd = (part.ravel() for part in posterior.effect_moments(0))
    drawn = draws.effects[0].reshape(8, -1)
    assert np.abs((drawn.mean(axis=1) - mean) / sd).max() < 4.5 / np.sqrt(40_000)
    assert np.abs(drawn.std(axis=1) / sd - 1).max() < 0.03


def test_coefficients_that_vary_between_groups_alone():
    rng = np.random.default_rng(7)
    group = np.repeat(np.arange(5), 3)
    x = np.column_stack([rng.normal(size=5)[group], rng.normal(size=15)])
    blocks = Blocks.of((np.ones((15, 1)), x, rng.normal(size=15)), group)
    tails = check(BlockModel.of(blocks, (CovariancePrior((FLAT,)),), JEFFREYS))
    assert tails.coefficients_exist(1).all()
    assert tails.coefficients_exist(2).tolist() == [False, False, True]
    assert not tails.effects_exist(0, 2).any()  # a group's mean less x'β is its effect
    proper = BlockModel(
        blocks, (CovariancePrior((FLAT,)),), JEFFREYS, np.zeros(3), np.array([0.0, 1.0, 0.0])
    )
    assert check(proper).coefficients_exist(2).all()  # one contrast more between groups


def test_rows_that_are_fitted_exactly():
    group = np.repeat(np.arange(5), 2)
    t = np.tile([0.0, 1.0], 5)
    blocks = Blocks.of((line(t), np.zeros((10, 0)), np.arange(10.0) ** 1.5), group)
    level = CovariancePrior((hm.HalfNormal(1),) * 2, 1.0)
    with pytest.raises(ImproperPosteriorError, match="all 10 rows exactly"):
        check(BlockModel.of(blocks, (level,), JEFFREYS))


def test_groups_of_one_row_as_in_the_tree():
    """Without residual degrees of freedom σ may go to 0 while the sds do not."""
    y = np.random.default_rng(6).normal(size=7) * 2
    frame = pd.DataFrame({"g": [f"g{i}" for i in range(7)], "y": y})
    priors = {"tau": hm.HalfNormal(2), "sigma": hm.HalfNormal(1)}
    reference = hm.reference(frame, "y ~ 1 + (1 | g)", priors=priors)
    blocks = Blocks.of((np.ones((7, 1)), np.zeros((7, 0)), y), np.arange(7))
    model = BlockModel.of(blocks, (CovariancePrior((priors["tau"],)),), priors["sigma"])
    assert not model.relative
    posterior = BlockPosterior.of(model)
    known = [[float(part[k]) for k in ("tau", "sigma")] for part in (reference.mean, reference.sd)]
    assert_moments(posterior.sd_moments(), known)


def test_bad_models():
    with pytest.raises(SpecError, match="eta=0"):
        CovariancePrior((FLAT, FLAT), 0.0)
    with pytest.raises(SpecError, match="expected 2 effects at each level"):
        BlockModel.of(few(), (CovariancePrior((FLAT,)),), JEFFREYS)
    with pytest.raises(SpecError, match="expected priors of 1 levels"):
        BlockModel.of(few(), (), JEFFREYS)
