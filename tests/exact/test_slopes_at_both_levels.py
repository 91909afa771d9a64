"""Slopes at both levels against importance sampling in plain numpy.

Two lattices, as wide as those of draws, are laid for the module in about eight seconds.
"""

from types import SimpleNamespace

import numpy as np
import pytest

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.block_data import block_model
from hiermodels.exact.block_reference import BlockReference
from hiermodels.exact.blocks.draws import BlockDraws, laid_for_draws
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.given_sd import moments_given_sd
from tests.oracles.brute_slopes import KNOWN, pupils

FORMULA = "y ~ x + (1 + x | school/class)"
PRIORS = {
    "mu": hm.Normal(0, 3),
    "beta": hm.Normal(0, 2),
    "tau_school": hm.HalfNormal(1),
    "tau_class": hm.HalfNormal(1),
    "rho_school": hm.LKJ(2),
    "rho_class": hm.LKJ(2),
    "sigma": hm.HalfNormal(1),
}
SIZE = 4000
WIDE = 0.01  # error of the log mass on lattices as wide as those of draws


@pytest.fixture(scope="module")
def marginal():
    return BlockMarginal.of(block_model(*prepare(pupils(), FORMULA, priors=PRIORS)))


@pytest.fixture(scope="module")
def laid(marginal):
    return laid_for_draws(marginal)[0]


def test_the_log_evidence_is_that_of_importance_sampling(laid):
    known, error = KNOWN["log_evidence"]
    assert abs(laid.log_integral - known) < 3 * error + WIDE


def test_draws_have_the_moments_of_importance_sampling(marginal, laid):
    drawn = BlockDraws.draw(marginal, SIZE, np.random.default_rng(1), laid)
    schools, classes = drawn.effects
    columns = {
        "tau_school": drawn.sds[:2],
        "tau_class": drawn.sds[2:],
        "sigma": drawn.sigma[None],
        "rho_school": drawn.correlations[:1],
        "rho_class": drawn.correlations[1:],
        "gamma": drawn.coefficients,
        "school": schools[:, 0],
        "class": classes[:, 0],
    }
    for name, draws in columns.items():
        mean, of_mean, sd, of_sd = np.transpose(KNOWN[name])
        error = np.hypot(of_mean, sd / np.sqrt(SIZE))
        assert (np.abs(draws.mean(axis=1) - mean) < 4 * error).all(), name
        away = ((draws - draws.mean(axis=1, keepdims=True)) ** 2).std(axis=1) / (2 * sd)
        error = np.hypot(of_sd, away / np.sqrt(SIZE))
        assert (np.abs(draws.std(axis=1) - sd) < 4 * error).all(), name


def test_tables_say_that_quantiles_are_less_precise():
    asked = prepare(pupils(), FORMULA)
    stated = [
        BlockReference(*asked, SimpleNamespace(certificate=error)).precision
        for error in (4e-6, 1e-8)
    ]
    assert stated[0] == ["5 digits: off by 4e-06 posterior sd at the most, quantiles by 2e-03"]
    assert not stated[1]


def test_no_lattice_holds_what_is_left_given_one_sd():
    spec, data = prepare(pupils(), FORMULA)
    words = (
        r"given tau_school\[x\], 6 sds and correlations .*plot_variance shows .*\(1 \+ x \|\| g\)"
    )
    with pytest.raises(hm.errors.SpecError, match=words):
        moments_given_sd(spec, data, "tau_school[x]", "theta_school", term="x")
