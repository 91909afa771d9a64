"""The likelihood of the sds of very many crossed groups, interpolated, against each node's own."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import hiermodels as hm
from hiermodels.exact.crossed.draws import CrossedDraws
from hiermodels.exact.crossed.interpolated import InterpolatedMarginal, interpolated
from hiermodels.exact.crossed.marginal import CrossedMarginal, Remembered
from hiermodels.exact.crossed.model import CrossedModel
from hiermodels.exact.crossed.posterior import CrossedPosterior
from hiermodels.exact.crossed.rows import CrossedRows
from hiermodels.exact.kernels.crossed import upward
from hiermodels.model.priors.variance import Fixed

SIZES = 500, 300


def model_of(priors, sigma, n=5000, sizes=SIZES):
    rng = np.random.default_rng(1)
    members = tuple(rng.integers(0, size, n) for size in sizes)
    x = np.column_stack([np.ones(n), rng.normal(size=n)])
    y = 3 + x[:, 1] + rng.normal(size=n)
    for own, size, sd in zip(members, sizes, (0.8, 0.6), strict=True):
        y += sd * rng.normal(size=size)[own]
    rows = CrossedRows(x, y, members, sizes, np.ones(n))
    names = ("tau_a", "tau_b")
    return CrossedModel(rows, priors, sigma, np.zeros(2), np.zeros(2), names, ("a", "b"))


MODELS = {
    "sigma integrated": ((hm.FlatVariance(),) * 2, hm.Jeffreys()),
    "sigma on the lattice": ((hm.Uniform(2.0), Fixed(0.6)), hm.HalfNormal(2.0)),
    "sigma known": ((hm.HalfNormal(1.0),) * 2, Fixed(1.0)),
    "one sd known": ((hm.HalfNormal(1.0), Fixed(0.6)), Fixed(1.0)),
    "one sd is 0": ((hm.HalfNormal(1.0), Fixed(0.0)), Fixed(1.1)),
}


@pytest.fixture(scope="module", params=MODELS)
def plain(request):
    return CrossedMarginal.of(model_of(*MODELS[request.param]))


@pytest.fixture(scope="module")
def marginal(plain):
    return interpolated(plain)


def test_log_density_is_that_of_each_node(plain, marginal):
    """Within the region, at its edge, and far beyond it."""
    assert isinstance(marginal, InterpolatedMarginal)
    assert marginal.error <= 1e-9
    scale, d = plain.mode_and_scale, plain.coordinates.dimension
    away = np.random.default_rng(2).normal(size=(12, d))
    away *= np.repeat([1.0, 5.0, 8.5, 14.0], 3)[:, None] / np.linalg.norm(away, axis=1)[:, None]
    points = scale.modes[0] + away @ scale.basis.T
    assert_allclose(marginal.log_density(points), plain.log_density(points), rtol=0, atol=2e-9)
    values = plain.coordinates.values(points)
    found, true = marginal.root(values), plain.root(values)
    assert_allclose(found.mean, true.mean, rtol=0, atol=1e-10)
    assert_allclose(found.covariance, true.covariance, rtol=1e-8)


@pytest.mark.parametrize("plain", ["sigma integrated"], indirect=True)
def test_moments_are_those_of_plain_nodes(plain, marginal):
    found, true = (CrossedPosterior(own, *own.laid(1.5)) for own in (marginal, plain))
    for ours, theirs in (
        (found.sd_moments(), true.sd_moments()),
        (found.coefficient_moments(), true.coefficient_moments()),
    ):
        assert_allclose(ours[0], theirs[0], rtol=0, atol=1e-9 * theirs[1].min())
        assert_allclose(ours[1], theirs[1], rtol=1e-9)
    assert marginal.error <= found.differences


def test_draws_take_few_nodes(monkeypatch):
    nodes, evaluate = [], upward.Eliminated.of

    def counted(design, theta):
        nodes.append(theta.shape[1])
        return evaluate(design, theta)

    monkeypatch.setattr(upward.Eliminated, "of", counted)
    marginal = interpolated(CrossedMarginal.of(model_of(*MODELS["sigma integrated"])))
    drawn = CrossedDraws.draw(marginal, 4000, np.random.default_rng(1))
    assert sum(nodes) < 300
    mean, sd = CrossedPosterior(marginal, *marginal.laid(0.9)).sd_moments()
    sds = np.vstack([drawn.sds, drawn.sigma])
    assert_allclose((sds.mean(axis=1) - mean) / sd, 0, atol=4.5 / np.sqrt(4000))
    assert_allclose(sds.std(axis=1), sd, rtol=4.5 / np.sqrt(8000))


def test_where_no_polynomial_is_near_enough_nodes_stay_by_themselves(monkeypatch):
    """Few rows, whose posterior reaches down to where the sds are 0."""
    monkeypatch.setattr("hiermodels.exact.crossed.marginal.DEAR", 5)
    plain = CrossedMarginal.of(model_of((hm.HalfNormal(1.0),) * 2, hm.HalfNormal(2.0), 60, (9, 8)))
    assert plain.is_dear
    assert interpolated(plain) is plain


def test_remembered_points_are_evaluated_once():
    seen = []

    def square(points):
        seen.extend(points.tolist())
        return points[:, 0] ** 2

    remembered = Remembered(square)
    for points in ([[1.0], [2.0], [1.0]], [[3.0], [2.0]]):
        assert_allclose(remembered(np.array(points)), np.array(points)[:, 0] ** 2)
    assert seen == [[1.0], [2.0], [3.0]] or seen == [[2.0], [1.0], [3.0]]
