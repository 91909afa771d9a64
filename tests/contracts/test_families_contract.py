"""What every registered family has to keep, each by itself.

A new family takes part as soon as it stands in ``FAMILIES``; it needs a line in ``CASES`` below,
which has its parameters and columns, and says the same in SciPy.
"""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from itertools import pairwise

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import integrate, special, stats

import hiermodels as hm
from hiermodels.core.codec import pack, unpack
from hiermodels.families import totals
from hiermodels.families.checks import OUTCOME
from hiermodels.families.family import Family
from hiermodels.families.normal import STRATA
from hiermodels.families.registry import FAMILIES

PLAIN = {"mode": "FAST_COMPILE"}  # a few evaluations are not worth compiling for
ETA = np.array([-1.5, 0.0, 0.3, 2.0])
OFFSET = np.array([0.2, -0.5, 0.0, 0.2])
THETA = np.linspace(-4, 4, 9)
LINKS = {"identity": lambda mean: mean, "log": np.log, "logit": special.logit}


class OddsRatioLaw:
    """Counts of 2×2 tables with their margins, each with its exact binomial coefficients."""

    dist = None

    def __init__(self, eta, columns):
        margins = (columns[name].astype(int) for name in columns)
        self.tables = [self.table(*row) for row in zip(eta, *margins, strict=True)]

    @staticmethod
    def table(eta, treated, control, events):
        p = np.zeros(treated + 1)
        for u in range(max(0, events - control), min(treated, events) + 1):
            p[u] = math.comb(treated, u) * math.comb(control, events - u) * math.exp(u * eta)
        return p / p.sum()

    def each(self, of_table, y):
        columns = [of_table(p, y[..., i]) for i, p in enumerate(self.tables)]
        return np.stack(columns, axis=-1)

    def logpmf(self, y):
        return self.each(lambda p, count: np.log(p[count.astype(int)]), y)

    def cdf(self, y):
        return self.each(lambda p, count: np.append(np.cumsum(p), 0.0)[self.place(p, count)], y)

    @staticmethod
    def place(p, count):
        return np.clip(np.floor(count), -1, len(p) - 1).astype(int)

    def mean(self):
        return np.array([p @ np.arange(len(p)) for p in self.tables])

    def var(self):
        return np.array([p @ np.arange(len(p)) ** 2 for p in self.tables]) - self.mean() ** 2

    def ppf(self, level):
        return np.array([float(np.searchsorted(np.cumsum(p), level)) for p in self.tables])


def negative_binomial(eta, columns, size):
    mean = columns["exposure"] * np.exp(eta)
    return stats.nbinom(size, size / (size + mean))


# By name: the family, its columns, and from η and columns to the law in SciPy.
CASES = {
    "normal": (
        {},
        {"sd": np.array([0.5, 1.0, 3.0, 0.01]), "weights": np.array([4.0, 1.0, 0.5, 2.0])},
        lambda eta, columns: stats.norm(eta, columns["sd"] / np.sqrt(columns["weights"])),
    ),
    "student_t": (
        {"nu": 4},
        {"sd": np.array([0.5, 1.0, 3.0, 0.01])},
        lambda eta, columns: stats.t(4, eta, columns["sd"]),
    ),
    "binomial": (
        {},
        {"trials": np.array([200.0, 1.0, 12.0, 40.0])},
        lambda eta, columns: stats.binom(columns["trials"], special.expit(eta)),
    ),
    "poisson": (
        {},
        {"exposure": np.array([30.0, 1.0, 0.05, 7.5])},
        lambda eta, columns: stats.poisson(columns["exposure"] * np.exp(eta)),
    ),
    "negative_binomial": (
        {"size": 2.5},
        {"exposure": np.array([30.0, 1.0, 0.05, 7.5])},
        lambda eta, columns: negative_binomial(eta, columns, 2.5),
    ),
    "odds_ratio": (
        {},
        {
            "trials": np.array([90.0, 8.0, 20.0, 44.0]),
            "control_trials": np.array([80.0, 8.0, 12.0, 35.0]),
            "total_events": np.array([60.0, 9.0, 2.0, 70.0]),
        },
        OddsRatioLaw,
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
    assert set(family.columns) - {STRATA} == set(columns)  # strata are labels
    assert set(family.defaults) <= set(columns)
    assert hash(family) == hash(replace(family))


def numbers(family):
    """Fields that are parameters; others name columns of the data."""
    return [f for f in fields(family) if not isinstance(getattr(family, f.name), str)]


def test_it_names_columns_of_the_data_by_text(family):
    for field in set(fields(family)) - set(numbers(family)):
        for value in (0, "", None, "a\0"):
            with pytest.raises(hm.SpecError, match=rf"{type(family).__name__}.*{field.name}"):
                replace(family, **{field.name: value})


def test_its_parameters_are_positive_numbers(family):
    for field in numbers(family):
        for value in (0, -1.0, np.nan, np.inf, "2", None, True, 10**400):
            with pytest.raises(hm.SpecError, match=rf"{type(family).__name__}.*{field.name}"):
                replace(family, **{field.name: value})


def test_it_is_public_unless_it_needs_no_name(family):
    kinds = {kind for kind in vars(hm).values() if isinstance(kind, type)}
    assert type(family) in kinds or family.name == "normal"


def test_its_effect_is_what_the_link_makes_of_it(family):
    np.testing.assert_allclose(LINKS[family.link](family.inverse_link(ETA)), ETA, atol=1e-15)
    assert family.effect in (None, "p", "rate")
    assert family.effect is None or family.link != "identity"


def test_it_names_its_columns_and_parameters_in_words(family):
    words = family.describe("a + b", {name: f"the {name}" for name in family.columns})
    assert "a + b" in words
    assert all(f"the {name}" in words for name in family.columns)
    assert all(f"{getattr(family, field.name):g}" in words for field in numbers(family))
    given = {name: name for name in family.columns if name not in family.defaults}
    assert "a + b" in family.describe("a + b", given)


def test_it_survives_a_file(name, family):
    awkward = (1 / 3, 1e-300)
    given = {f.name: value for f, value in zip(numbers(family), awkward, strict=False)}
    kept = replace(family, **given)
    assert unpack(json.loads(json.dumps(pack(kept, "family", {}))), xr.Dataset()) == kept


def test_rows_of_the_law_are_valid(family, columns, y):
    for outcomes in y:
        assert not list(family.invalid(outcomes, columns))


def test_columns_that_need_not_be_given_suit_rows_of_0_and_1(family, columns):
    defaults = {key: np.array([value]) for key, value in family.defaults.items()}
    if defaults:
        assert not list(family.invalid(np.array([0.0, 1.0, 1.0, 0.0]), {**columns, **defaults}))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_found(family, columns, y, value):
    for column in (OUTCOME, *columns):
        given = {key: values.copy() for key, values in {**columns, OUTCOME: y[1]}.items()}
        given[column][2] = value
        outcome = given.pop(OUTCOME)
        faults = {fault.column: fault for fault in family.invalid(outcome, given)}
        assert faults[column].rows.tolist() == [False, False, True, False]
        assert faults[column].expected.startswith("a ")


@pytest.mark.parametrize("value", [-1.0, 0.5, 1e5])
def test_counts_are_whole_and_within_their_row(family, columns, y, value):
    if not family.is_discrete or (value > 1 and "exposure" in columns):
        return
    outcome = y[1].copy()
    outcome[1] = value
    (fault,) = family.invalid(outcome, columns)
    assert fault.column == OUTCOME
    assert fault.rows.tolist() == [False, True, False, False]


def test_columns_of_one_value_are_of_all_rows(family, columns, y):
    one = {key: column[:1] for key, column in columns.items()}
    same = {key: np.full(4, column[0]) for key, column in columns.items()}
    for outcomes in (y[0], np.full(4, np.nan)):
        found = [list(family.invalid(outcomes, given)) for given in (one, same)]
        assert str(found[0]) == str(found[1])


def test_its_repr_can_be_evaluated(family):
    kind = type(family)
    assert eval(repr(family), {kind.__name__: kind}) == family


def test_the_likelihood_is_scipys(family, columns, law, y):
    for outcomes in y:
        found = family.log_likelihood(outcomes, ETA, columns)
        np.testing.assert_allclose(found, log_mass(law, outcomes), rtol=1e-12, atol=1e-13)


def test_moments_and_distribution_functions_are_scipys(family, columns, law, y):
    mean, variance = family.moments(ETA, columns)
    np.testing.assert_allclose(mean, law.mean(), rtol=1e-12)
    np.testing.assert_allclose(variance, law.var(), rtol=1e-12)
    several = y + np.array([[-1.0], [0.0], [0.5]])
    found = family.cdf(several, ETA, columns)
    np.testing.assert_allclose(found, law.cdf(several), rtol=1e-11, atol=1e-15)


def test_no_outcome_is_beyond_the_support(family, columns, law):
    lowest, highest = family.support(columns)
    np.testing.assert_array_equal(family.cdf(highest, ETA, columns), 1.0)
    np.testing.assert_array_equal(family.cdf(lowest - 0.5, ETA, columns), 0.0)
    if family.is_discrete:
        below = family.cdf(lowest, ETA, columns)
        np.testing.assert_allclose(below, np.exp(log_mass(law, lowest)), rtol=1e-11)


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


def test_outcomes_lie_within_their_bounds(family, columns):
    """And both ends are outcomes that a row may have."""
    low, high = (np.broadcast_to(end, len(ETA)) for end in family.support(columns))
    eta = np.broadcast_to(ETA, (2000, len(ETA)))
    drawn = family.draw(eta, columns, np.random.default_rng(4))
    assert ((low <= drawn) & (drawn <= high)).all()
    for end, beyond in ((low, -1), (high, 1)):
        if np.isfinite(end).all():
            assert not list(family.invalid(end, columns))
            assert list(family.invalid(end + beyond, columns))
    assert np.isfinite(low).all() == family.is_discrete


def test_raw_estimates_are_of_the_effect(family, columns):
    """Over very many rows of one effect they are what the link makes of it."""
    eta, offset = np.full((20_000, 4), 0.3) + OFFSET, np.broadcast_to(OFFSET, (20_000, 4))
    if family.link == "logit":
        eta = eta - offset
    drawn = family.draw(eta, columns, np.random.default_rng(5))
    total, size = family.raw(drawn, columns, OFFSET)
    estimate = total.sum(axis=0) / np.broadcast_to(size, total.shape).sum(axis=0)
    expected = family.inverse_link(np.array(0.3)) if family.effect else 0.3
    assert estimate[0] == pytest.approx(expected, abs=0.03)


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


def test_pymc_takes_outcomes_that_can_be_exchanged(family, columns, y):
    with pm.Model(coords={"row": range(len(ETA))}) as model:
        family.to_pymc(pm, "y", ETA, columns, pm.Data("outcomes", y[0], dims="row"), "row")
    log_density = model.compile_logp(**PLAIN)
    for outcomes in y:
        model["outcomes"].set_value(outcomes)
        expected = family.log_likelihood(outcomes, ETA, columns).sum()
        assert log_density({}) == pytest.approx(expected, rel=1e-9)


def test_rows_of_one_predictor_add_up_where_it_says_so(family, columns, y):
    """Then what is left of their density depends on the predictor no more."""
    each = family.log_likelihood(y[1], THETA[:, None], columns).sum(axis=1)
    sums = {key: np.array([column.sum()]) for key, column in columns.items()}
    total = y[1].sum()[None]
    left = np.array([np.nan])
    if not list(family.invalid(total, sums)):
        left = each - family.log_likelihood(total, THETA[:, None], sums)[:, 0]
    assert (np.ptp(left) < 1e-9) == bool(family.additive)


# What all rows of a group say of its one effect.


def whole(leaves, theta):
    """Log likelihoods with all constants; (k, K)."""
    return leaves.constant[:, None] + leaves.log_likelihood(theta)


def leaves_of(family, y, columns, group, offset=OFFSET):
    group = np.array(group)
    return family.leaves(y, columns, offset, group, group.max() + 1)


GROUPINGS = {"a group": [0, 0, 0, 0], "two": [1, 0, 0, 1], "rows": [2, 0, 3, 1]}


@pytest.fixture(params=GROUPINGS.values(), ids=GROUPINGS)
def group(request):
    return np.array(request.param)


def test_a_group_has_the_likelihood_of_its_rows(family, columns, y, group):
    for outcomes in y:
        each = family.log_likelihood(outcomes, THETA[:, None] + OFFSET, columns)
        expected = [each[:, group == g].sum(axis=1) for g in range(group.max() + 1)]
        found = whole(leaves_of(family, outcomes, columns, group), THETA)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_rows_of_one_offset_add_up(family, columns, y, group):
    """To counts, where they do."""
    same = {key: np.full(4, column[0]) for key, column in columns.items()}
    offset = np.full(4, 0.3)
    each = family.log_likelihood(y[0], THETA[:, None] + 0.3, same)
    expected = [each[:, group == g].sum(axis=1) for g in range(group.max() + 1)]
    found = whole(leaves_of(family, y[0], same, group, offset), THETA)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def whole_of_totals(family, counts):
    return whole(totals.leaves_of(family, counts), THETA)


def test_totals_have_the_likelihood_of_their_rows(family, columns, y, group):
    """With repeats, and of totals once more; rows that do not add up stay as they are."""
    if not (family.additive or len(set(group)) == len(group)) or not family.is_discrete:
        return
    offset = OFFSET if family.link == "log" else np.array([0.3, -0.2])[group % 2]
    rows = totals.Counts(y[0], columns, offset, np.zeros(4))
    size = group.max() + 1
    times = np.array([1, 3, 2, 1]) if family.additive else np.ones(4)
    each = times * family.log_likelihood(y[0], THETA[:, None] + offset, columns)
    expected = [each[:, group == g].sum(axis=1) for g in range(size)]
    found = totals.totals(family, rows, group, size, times)
    np.testing.assert_allclose(whole_of_totals(family, found), expected, rtol=1e-12, atol=1e-12)
    if family.additive and family.link == "log":
        one = totals.totals(family, found, np.zeros(size, dtype=int), 1)
        expected = [np.sum(expected, axis=0)]
        np.testing.assert_allclose(whole_of_totals(family, one), expected, rtol=1e-12)


def test_leaves_have_places_of_their_own(family, columns, y, group):
    leaves = leaves_of(family, y[1], columns, group)
    own = np.stack([THETA + g for g in range(len(leaves))])
    found = leaves.log_likelihood(own)
    for g, theta in enumerate(own):
        np.testing.assert_allclose(found[g], leaves.log_likelihood(theta)[g], rtol=1e-13)


def test_slope_and_information_are_derivatives(family, columns, y, group):
    for outcomes in y:
        leaves = leaves_of(family, outcomes, columns, group)
        sd = leaves.information[:, None] ** -0.5
        theta = leaves.centre[:, None] + np.linspace(-3, 3, 7) * sd
        low, middle, high = (leaves.log_likelihood(theta + d * sd) for d in (-1e-4, 0, 1e-4))
        slope, information = leaves.slope_and_information(theta)
        np.testing.assert_allclose((high - low) / 2e-4, slope * sd, rtol=1e-6, atol=1e-6)
        bend = (2 * middle - low - high) / 1e-8
        np.testing.assert_allclose(bend, information * sd**2, rtol=1e-3, atol=2e-3)


def test_an_expansion_is_the_log_likelihood_with_its_derivatives(family, columns, y, group):
    for outcomes in (*y, np.zeros(4)):
        if list(family.invalid(outcomes, columns)):
            continue
        leaves = leaves_of(family, outcomes, columns, group)
        sd = leaves.information[:, None] ** -0.5
        theta = leaves.centre[:, None] + np.linspace(-30, 30, 13) * sd
        expected = leaves.log_likelihood(theta), *leaves.slope_and_information(theta)
        for found, own in zip(leaves.expansion(theta), expected, strict=True):
            np.testing.assert_allclose(found, own, rtol=1e-11, atol=1e-11)


def test_the_supremum_is_zero_and_tails_fall_where_they_say(family, columns, y, group):
    for outcomes in (*y, np.zeros(4)):
        if list(family.invalid(outcomes, columns)):
            continue
        leaves = leaves_of(family, outcomes, columns, group)
        sd = leaves.information[:, None] ** -0.5
        values = leaves.log_likelihood(leaves.centre[:, None] + sd * np.linspace(-60, 60, 9601))
        assert (values <= 1e-12).all()
        assert (values.max(axis=1) > -1e-3).all()
        far = leaves.log_likelihood(leaves.centre[:, None] + sd * np.array([-1e5, 1e5]))
        np.testing.assert_array_equal(far[:, 0] < -40, leaves.falls_below)
        np.testing.assert_array_equal(far[:, 1] < -40, leaves.falls_above)


def test_leaves_are_integrated_at_the_step_that_they_say(family, columns, y, group):
    """Against a prior three times as wide: the trapezoid rule and adaptive quadrature."""
    for outcomes in y:
        leaves = leaves_of(family, outcomes, columns, group)
        for g in range(len(leaves)):
            one = leaves.take(np.array([g]))
            centre, sd, step = one.centre[0], one.information[0] ** -0.5, one.step[0]

            def integrand(theta, one=one, centre=centre, sd=sd):
                prior = np.exp(-0.5 * ((theta - centre) / (3 * sd)) ** 2)
                return np.exp(one.log_likelihood(np.atleast_1d(theta))[0]) * prior

            theta = centre + np.arange(-int(30 * sd / step), int(30 * sd / step) + 1) * step
            edges = centre + sd * np.arange(-30, 31)
            exact = sum(
                integrate.fixed_quad(integrand, low, high, n=40)[0] for low, high in pairwise(edges)
            )
            assert integrand(theta).sum() * step == pytest.approx(exact, rel=1e-12)


def test_some_groups_can_be_taken_and_those_alike_are_found(family, columns, y, group):
    leaves = leaves_of(family, y[1], columns, group)
    last = np.arange(len(leaves))[::-1]
    taken = leaves.take(np.append(last, 0))
    expected = whole(leaves, THETA)[np.append(last, 0)]
    np.testing.assert_allclose(whole(taken, THETA), expected, rtol=1e-13, atol=1e-13)
    distinct, inverse = taken.distinct()
    found = distinct.log_likelihood(THETA)[inverse]
    np.testing.assert_allclose(found, taken.log_likelihood(THETA), rtol=1e-13, atol=1e-13)


def test_the_protocol_is_kept(family):
    """Of what the type checker cannot see: names of what every family has."""
    names = set(Family.__annotations__) | {n for n in vars(Family) if not n.startswith("_")}
    assert not [name for name in names if not hasattr(family, name)]
