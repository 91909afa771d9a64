"""Priors of correlations and covariances: densities and draws, against integrals and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

import hiermodels as hm
from hiermodels.model.priors.covariance import correlation_matrix
from hiermodels.model.priors.registry import parse_prior

TWO = ("Reaction", ("Subject",), None, ("Days",))


@pytest.mark.parametrize("eta", [0.7, 1.0, 2.5])
def test_lkj_of_one_correlation_is_a_beta(eta):
    rho = np.array([-0.9, -0.2, 0.0, 0.6])
    law = stats.beta(eta, eta, loc=-1, scale=2)
    np.testing.assert_allclose(hm.LKJ(eta).log_density(rho[:, None]), law.logpdf(rho), rtol=1e-12)
    drawn = hm.LKJ(eta).draw(20_000, np.random.default_rng(1))
    assert drawn.shape == (20_000, 1)
    assert stats.kstest(drawn[:, 0], law.cdf).pvalue > 1e-3


def test_lkj_of_three_correlations_integrates_to_one():
    """Over the two others given the first, which are an ellipse."""

    def inner(b, a, c):
        return np.exp(hm.LKJ(2.0).log_density(np.array([a, b, c])))

    def end(a, c):
        return np.sqrt((1 - a * a) * (1 - c * c))

    mass = integrate.tplquad(
        lambda b, a, c: inner(b, a, c),
        -1,
        1,
        -1,
        1,
        lambda c, a: a * c - end(a, c),
        lambda c, a: a * c + end(a, c),
        epsabs=1e-5,
        epsrel=1e-5,
    )[0]
    assert mass == pytest.approx(1, abs=1e-4)


def test_margins_of_drawn_correlations():
    """Of e effects each correlation is Beta(a, a) on (−1, 1), a = η + (e − 2)/2."""
    drawn = hm.LKJ(1.5).draw(20_000, np.random.default_rng(2), effects=3)
    law = stats.beta(2.0, 2.0, loc=-1, scale=2)
    for column in drawn.T:
        assert stats.kstest(column, law.cdf).pvalue > 1e-3
    assert np.linalg.eigvalsh(correlation_matrix(drawn)).min() > 0


@pytest.mark.parametrize("prior", [hm.LKJ(2.0), hm.FlatCovariance()], ids=str)
def test_they_are_written_and_read(prior):
    assert eval(repr(prior), vars(hm)) == prior
    assert parse_prior(repr(prior)) == prior


def test_lkj_needs_a_positive_number():
    with pytest.raises(hm.SpecError, match=r"LKJ\(eta=-1"):
        hm.LKJ(-1)
