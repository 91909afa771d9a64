"""What every registered family has to keep, each by itself.

A new family takes part as soon as it stands in ``FAMILIES``; it needs a line in ``CASES`` below,
which has its parameters and columns, and says the same in SciPy.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, is_dataclass

import numpy as np
import pymc as pm
import pytest
from scipy import stats

from hiermodels.families.registry import FAMILIES

PLAIN = {"mode": "FAST_COMPILE"}  # a few evaluations are not worth compiling for
ETA = np.array([-1.5, 0.0, 0.3, 2.0])
# By name: the family, its columns, and from η and columns to the law in SciPy.
CASES = {
    "normal": (
        {},
        {"sd": np.array([0.5, 1.0, 3.0, 0.01])},
        lambda eta, columns: stats.norm(eta, columns["sd"]),
    ),
}


@pytest.fixture(params=FAMILIES)
def name(request):
    assert request.param in CASES, f"say in CASES, in {__name__}, what it is in SciPy"
    return request.param


@pytest.fixture
def family(name):
    return FAMILIES[name](**CASES[name][0])


@pytest.fixture
def columns(name):
    return CASES[name][1]


@pytest.fixture
def law(name, columns):
    return CASES[name][2](ETA, columns)


def log_mass(law, y):
    return law.logpdf(y) if hasattr(law.dist, "logpdf") else law.logpmf(y)


def require_law(drawn, law):
    """Draws (n, N) of each row follow the law; the distribution functions of counts jump."""
    below = law.cdf(drawn)
    if not hasattr(law.dist, "logpdf"):
        below -= np.random.default_rng(2).random(drawn.shape) * np.exp(log_mass(law, drawn))
    for row in below.T:
        assert stats.kstest(row, "uniform").pvalue > 1e-3


@pytest.fixture
def y(law):
    """Outcomes of three replicates of the rows, (3, N)."""
    return np.stack([law.ppf(p) for p in (0.02, 0.5, 0.9)])


def test_it_is_a_frozen_record_and_knows_its_name_and_columns(family, name, columns):
    assert is_dataclass(family)
    with pytest.raises(FrozenInstanceError):
        family.anything = 1.0
    assert family.name == name
    assert set(family.columns) == set(columns)


def test_its_repr_can_be_evaluated(family):
    kind = type(family)
    assert eval(repr(family), {kind.__name__: kind}) == family


def test_the_likelihood_is_scipys(family, columns, law, y):
    for outcomes in y:
        found = family.log_likelihood(outcomes, ETA, columns)
        np.testing.assert_allclose(found, log_mass(law, outcomes), rtol=1e-12, atol=1e-13)


def test_draws_of_the_linear_predictor_broadcast(family, columns, y):
    """Many η for each row, one column for all rows; as draws of a posterior have them."""
    eta = np.stack([ETA, ETA + 1, ETA - 1])
    one = {key: column[:1] for key, column in columns.items()}
    several = {key: np.full((3, 4), column[0]) for key, column in columns.items()}
    found = family.log_likelihood(y[1], eta, one)
    assert found.shape == (3, 4)
    for i in range(3):
        each = {key: column[i] for key, column in several.items()}
        np.testing.assert_allclose(found[i], family.log_likelihood(y[1], eta[i], each))


def test_draws_follow_the_likelihood(family, columns, law):
    eta = np.broadcast_to(ETA, (20_000, len(ETA)))
    drawn = family.draw(eta, columns, np.random.default_rng(1))
    assert drawn.shape == (20_000, len(ETA))
    require_law(drawn, law)


def test_pymc_has_the_same_likelihood(family, columns, y):
    for outcomes in y:
        with pm.Model(coords={"row": range(len(ETA))}) as model:
            eta = pm.Data("eta", ETA, dims="row")
            variable = family.to_pymc(pm, "y", eta, columns, outcomes, "row")
        assert variable.name == "y"
        assert model.named_vars_to_dims["y"] == ("row",)
        expected = family.log_likelihood(outcomes, ETA, columns).sum()
        assert model.compile_logp(**PLAIN)({}) == pytest.approx(expected, rel=1e-9)


def test_pymc_draws_from_the_same_law(family, columns, law, y):
    with pm.Model(coords={"row": range(len(ETA))}):
        eta = pm.Data("eta", ETA, dims="row")
        variable = family.to_pymc(pm, "y", eta, columns, y[1], "row")
    drawn = pm.draw(variable, 4000, random_seed=1, **PLAIN)
    require_law(drawn, law)
