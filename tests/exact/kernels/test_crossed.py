"""Crossed groups at given sds, against one large normal distribution in many digits."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from mpmath import mp
from numpy.testing import assert_allclose

from hiermodels.exact.kernels.crossed.design import CrossedDesign
from hiermodels.exact.kernels.crossed.downward import ABSENT, Effects
from hiermodels.exact.kernels.crossed.upward import Eliminated, evaluate
from tests.oracles.dense_crossed import Crossed

THETA = np.array([[0.0, 0.7, 3.0, 1e-4, 100.0], [1.3, 0.0, 0.2, 30.0, 1e-3], [0.4, 2.0, 0.0, 1, 9]])


def rows(kind: str, seed: int = 1, n: int = 11):
    """Rows (x, y, members, sizes, weights) of a design of a kind."""
    rng = np.random.default_rng(seed)
    sizes = {"one level": (6, 1), "three": (5, 4, 3), "no covariates": (4, 6)}.get(kind, (6, 4))
    sizes = (6, 3, 4) if kind == "nested in part" else sizes
    members = tuple(rng.integers(0, size, n) for size in sizes)
    if kind == "disconnected":
        members = (members[0], members[1] // 2 + 2 * (members[0] // 3))
    if kind == "unused member":
        members = (np.where(members[0] == 2, 1, members[0]), members[1])
    if kind == "nested":
        members = (members[0], members[0] // 2)
    if kind == "nested in part":
        members = (members[0], members[0] // 2, members[2])
    x = np.column_stack([np.ones(n), rng.normal(size=n), rng.normal(size=sizes[0])[members[0]]])
    x = {"no covariates": x[:, :1], "no coefficients": x[:, :0]}.get(kind, x)
    weights = rng.uniform(0.3, 4, n) if kind == "weights" else np.ones(n)
    y = 5 + rng.normal(size=n) + rng.normal(size=sizes[1])[members[1]]
    return x, y, members, sizes, weights


KINDS = (
    *("unbalanced", "one level", "three", "no covariates", "no coefficients"),
    *("disconnected", "unused member", "nested", "nested in part", "weights"),
)


NONE = "no coefficients"


@cache
def truths_of(kind: str) -> list[Crossed]:
    made = rows(kind)
    truths = [Crossed(*made, tuple(t)) for t in THETA[: len(made[3])].T]
    with mp.workdps(32):
        for truth in truths:
            _ = truth.parts, truth.joint if kind != NONE else None
    return truths


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(params=["pooled", "each", "dense"])
def design(kind, request, monkeypatch):
    """Products of members that have the same n are held, those of each member, or none."""
    if request.param != "pooled":
        monkeypatch.setattr("hiermodels.exact.kernels.crossed.design.POOLED", 0)
    if request.param == "dense":
        monkeypatch.setattr("hiermodels.exact.kernels.crossed.large.MAX_PRODUCTS", -1)
        monkeypatch.setattr("hiermodels.exact.kernels.crossed.large.DENSE_NUMBERS", 8)
    return CrossedDesign.of(*rows(kind))


def at(design, theta=THETA):
    return Eliminated.of(design, theta[: len(design.sizes)])


def test_log_density(kind, design):
    root = evaluate(design, THETA[: len(design.sizes)])
    log_likelihood = root.log_scale + 0.5 * design.log_weight
    for i, truth in enumerate(truths_of(kind)):
        log_det, square = truth.parts
        assert log_likelihood[i] == pytest.approx(log_det, rel=0, abs=1e-11)
        assert root.square[i] == pytest.approx(square, rel=1e-11)


@pytest.mark.parametrize("n", [3, 1000])  # nodes at a time
def test_nodes_come_in_batches(design, n, monkeypatch):
    numbers = n * (len(design.within) ** 2 + design.sizes[design.eliminated])
    theta = np.tile(THETA[: len(design.sizes)], 3)
    whole = evaluate(design, theta)
    monkeypatch.setattr("hiermodels.exact.kernels.crossed.upward.NUMBERS", numbers)
    parts = evaluate(design, theta)
    assert_allclose(parts.triangle, whole.triangle, rtol=1e-12, atol=1e-12)
    assert_allclose(parts.log_det, whole.log_det, rtol=1e-13)


def moments_of(design, rows_of, variances, root):
    """Means and variances (n, r) of effects at σ = 1, from their rows given γ."""
    mean = rows_of[..., -1] + np.einsum("nrc,cn->nr", rows_of[..., :-1], root.mean)
    spread = np.einsum("nrc,cdn,nrd->nr", rows_of[..., :-1], root.covariance, rows_of[..., :-1])
    return mean, variances + spread


@pytest.mark.parametrize("kind", [k for k in KINDS if k != NONE])
def test_laws_of_some_members(kind, design):
    effects = Effects(at(design))
    for k, size in enumerate(design.sizes):
        some = np.arange(size)[::-2]
        for found, every in zip(effects.laws_of_some(k, some), effects.laws(k), strict=True):
            assert_allclose(found, every[:, some], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != NONE])
def test_moments_of_effects(kind, design):
    eliminated = at(design)
    effects, root = Effects(eliminated), eliminated.root()
    c = design.n_coefficients
    for i, truth in enumerate(truths_of(kind)):
        mean, covariance = truth.joint
        assert_allclose(design.anchor + root.mean[:, i], mean[:c], rtol=1e-10, atol=1e-10)
        assert_allclose(root.covariance[..., i], covariance[:c, :c], rtol=1e-9, atol=1e-12)
    first = c
    for k, size in enumerate(design.sizes):
        found = moments_of(design, *effects.laws(k), root)
        for i, truth in enumerate(truths_of(kind)):
            mean, covariance = truth.joint
            own = slice(first, first + size)
            assert_allclose(found[0][i], mean[own], rtol=0, atol=1e-10)
            assert_allclose(found[1][i], covariance.diagonal()[own], rtol=1e-10, atol=1e-10)
        first += size


@pytest.mark.parametrize("kind", [k for k in KINDS if k != NONE])
def test_moments_of_sums_of_effects(kind, design):
    rng = np.random.default_rng(2)
    members = [rng.integers(ABSENT, size, 20) for size in design.sizes]
    eliminated = at(design)
    root = eliminated.root()
    found = moments_of(design, *Effects(eliminated).sums(members), root)
    starts = design.n_coefficients + np.cumsum([0, *design.sizes[:-1]])
    for i, truth in enumerate(truths_of(kind)):
        mean, covariance = truth.joint
        for r, own in enumerate(zip(*members, strict=True)):
            some = [s + m for s, m in zip(starts, own, strict=True) if m != ABSENT]
            assert found[0][i, r] == pytest.approx(mean[some].sum(), abs=1e-9)
            variance = covariance[np.ix_(some, some)].sum()
            assert found[1][i, r] == pytest.approx(variance, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("kind", ["three", "unused member"])
def test_draws(kind):
    """Their means, and the covariances of all of them, given the coefficients."""
    design = CrossedDesign.of(*rows(kind))
    size, sigma = 4_000, 0.8
    theta = np.tile(THETA[: len(design.sizes), 1:2], size)
    gamma = np.array([0.3, -0.2, 0.4])
    drawn = Effects(at(design, theta)).draw(
        np.tile(gamma[:, None], size), np.full(size, sigma), np.random.default_rng(3)
    )
    x, y, members, sizes, weights = rows(kind)
    z = Crossed(x, y, members, sizes, weights, tuple(theta[:, 0])).z
    spread = np.diag(np.repeat(theta[:, 0] ** 2, sizes))
    gain = spread @ z.T @ np.linalg.inv(z @ spread @ z.T + np.diag(1 / weights))
    mean = gain @ (y - x @ (design.anchor + gamma))
    covariance = sigma**2 * (spread - gain @ z @ spread)
    found, every = np.concatenate(drawn), np.sqrt(size)
    sd = np.sqrt(covariance.diagonal())
    unit = np.where(sd > 0, sd, 1e-12)  # of effects whose sd is 0
    assert np.abs((found.mean(axis=1) - mean) / unit).max() < 4.5 / every
    errors = np.abs(np.cov(found) - covariance) / np.outer(unit, unit)
    assert errors.max() < 4.5 * np.sqrt(2) / every


def test_balanced_cells_in_closed_form():
    """Of one row a cell: eigenvalues 1 + Jθ_a², 1 + Iθ_b² and 1."""
    i, j, rng = 7, 4, np.random.default_rng(4)
    y = rng.normal(size=(i, j))
    a, b = (m.ravel() for m in np.meshgrid(np.arange(i), np.arange(j), indexing="ij"))
    design = CrossedDesign.of(np.ones((i * j, 1)), y.ravel(), (a, b), (i, j))
    root = evaluate(design, THETA[:2])
    of_a, of_b = 1 + j * THETA[0] ** 2, 1 + i * THETA[1] ** 2
    grand, rows_of, columns = y.mean(), y.mean(axis=1), y.mean(axis=0)
    rest = ((y - rows_of[:, None] - columns + grand) ** 2).sum()
    between = j * ((rows_of - grand) ** 2).sum() / of_a + i * ((columns - grand) ** 2).sum() / of_b
    log_det = (i - 1) * np.log(of_a) + (j - 1) * np.log(of_b) + np.log(i * j)
    assert_allclose(root.square, between + rest, rtol=1e-13)
    assert_allclose(root.log_scale, -log_det / 2, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kind", ["unbalanced", "disconnected", "nested"])
def test_range_of_ratios(kind):
    """Right to 1e-11 where all sds are up to 100 σ, and any one of them up to 10⁵ σ."""
    made = rows(kind)
    theta = np.array(
        [
            [100.0, 0.3, 100.0, 1e3, 1e5, 0.0, 0.3, 0.3, 3.0],
            [100.0, 100.0, 0.3, 0.3, 0.3, 0.0, 1e3, 1e5, 1e5],
        ]
    )
    root = evaluate(CrossedDesign.of(*made), theta)
    with mp.workdps(32):
        truths = [Crossed(*made, tuple(t)).parts for t in theta.T]
    df = len(made[1]) - made[0].shape[1]
    found = root.log_scale - 0.5 * df * np.log(root.square)
    true = [log_det - 0.5 * df * np.log(square) for log_det, square in truths]
    assert_allclose(found, true, rtol=0, atol=1e-11)
