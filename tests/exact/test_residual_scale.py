"""The integral over σ against plain sums, with priors near the data and far from them."""

from __future__ import annotations

import numpy as np
import pytest

import hiermodels as hm
from hiermodels.exact.blocks.model import BlockModel, CovariancePrior
from hiermodels.exact.blocks.residual_scale import ResidualScale
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.upward import evaluate

S = np.linspace(-30, 30, 30_001)


def random_prior(rng):
    scale = 10 ** rng.uniform(-2, 2)
    kinds = hm.HalfNormal, hm.HalfCauchy, hm.Exponential, lambda scale: hm.HalfStudentT(4, scale)
    return kinds[rng.integers(len(kinds))](scale)


@pytest.mark.parametrize("seed", range(12))
def test_any_priors(seed):
    rng = np.random.default_rng(seed)
    n, q = (4, 6, 30)[seed % 3], seed % 2
    group = np.sort(np.append(np.arange(3), rng.integers(0, 3, n - 3)))
    y = rng.normal(size=n) * 10 ** rng.uniform(-2, 2)
    blocks = Blocks.of((np.ones((n, 1)), rng.normal(size=(n, q)), y), group)
    model = BlockModel(
        blocks,
        (CovariancePrior((random_prior(rng),)),),
        random_prior(rng),
        rng.normal(size=1 + q),
        rng.uniform(0, 1, 1 + q) * (seed % 4 > 1),
    )
    log_theta = rng.normal(size=(1, 3)) * 3
    root = evaluate(blocks, [np.exp(log_theta)[None]])
    scale = ResidualScale(model)
    law, total = scale.law(root, log_theta), scale.log_integral(root, log_theta)
    for i in range(3):
        own = root.at(slice(i, i + 1))
        logs = scale.log_density(own, log_theta[:, [i]], S[None])[0]
        known = np.logaddexp.reduce(logs) + np.log(S[1] - S[0])
        assert total[i] == pytest.approx(known, abs=1e-9)
        weights = np.exp(logs - known) * (S[1] - S[0])
        assert law.sigma[i] == pytest.approx(weights @ np.exp(S), rel=1e-9)
        assert law.coefficients.sigma2[i] == pytest.approx(weights @ np.exp(2 * S), rel=1e-9)
        if model.flat_coefficients:
            continue
        at = own.at_each(len(S)).with_prior(model.mean, model.precision, np.exp(S))
        mean = at.mean @ weights
        away = at.mean - mean[:, None]
        covariance = (at.covariance * np.exp(2 * S) + away[:, None] * away) @ weights
        np.testing.assert_allclose(law.coefficients.mean[:, i], mean, rtol=1e-8)
        np.testing.assert_allclose(law.coefficients.covariance[..., i], covariance, rtol=1e-8)


@pytest.mark.parametrize("log_theta", [-60.0, 6.0, 12.0])
def test_nodes_far_from_the_posterior(log_theta):
    rng = np.random.default_rng(3)
    blocks = Blocks.of((np.ones((8, 1)), np.zeros((8, 0)), rng.normal(size=8)), np.arange(8) // 2)
    model = BlockModel.of(blocks, (CovariancePrior((hm.HalfNormal(1),)),), hm.HalfNormal(1))
    at, scale = np.array([[log_theta]]), ResidualScale(model)
    root = evaluate(blocks, [np.exp(at)[None]])
    places, _ = scale.places(root, at)
    assert places.shape[1] < 200
    wide = np.arange(-80, 20, 0.002)
    top = wide[scale.log_density(root, at, wide[None])[0].argmax()]
    near = top + np.linspace(-1, 1, 100_001) * min(6.0, 10 * np.exp(-log_theta / 2))
    logs = scale.log_density(root, at, near[None])[0]
    known = np.logaddexp.reduce(logs) + np.log(near[1] - near[0])
    rounding = 1e-14 * abs(known)
    assert scale.log_integral(root, at)[0] == pytest.approx(known, abs=1e-8 + rounding)
