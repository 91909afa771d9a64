"""When rates have means: against ``log E[e^(mθ) | τ]`` summed over wide grids."""

from __future__ import annotations

import numpy as np
import pytest

import hiermodels as hm
from hiermodels.exact.leaf_design import LeafDesign, Wording
from hiermodels.exact.rate_moments import RateMoments
from tests.oracles.count_tails import log_mean_power, log_mean_power_outer, poisson


def moments(y, x=None, *, tau, kappa=None, proper=(), parent=None, above=np.inf):
    """Of Poisson counts, or of others whose likelihoods fall as ``e^(−above θ)``."""
    y = np.asarray(y, dtype=float)
    columns = np.ones((len(y), 1)) if x is None else np.column_stack([np.ones(len(y)), x])
    names = ("mu", "beta[x]")[: columns.shape[1]]
    falls = np.full(len(y), above > 0)
    design = LeafDesign(
        falls_below=y > 0,
        falls_above=falls,
        x=columns,
        coefficients=names,
        is_flat=np.array([name not in proper for name in names]),
        has_intercept=True,
        priors={"tau": tau} if kappa is None else {"kappa": kappa, "tau": tau},
        labels=range(len(y)),
        wording=Wording(("'pump' groups",)),
        parent=parent,
        n_parents=0 if parent is None else int(parent.max()) + 1,
    )
    return RateMoments(design, y, np.full(len(y), float(above)))


def widest(exists, steps=40):
    """The largest sd of half-normal priors under which a moment exists."""
    low, high = 1e-3, 10.0
    assert exists(low)
    assert not exists(high)
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if exists(middle) else (low, middle)
    return low


def growth(log_mean, low, high):
    """Coefficient of ``τ²`` in ``log E[… | τ]``."""
    return (log_mean(high) - log_mean(low)) / (high**2 - low**2)


ONE = np.array([1.0])


@pytest.mark.parametrize("k", [1, 2, 10])
@pytest.mark.parametrize("order", [1, 2])
def test_the_widest_half_normal_prior_under_a_flat_intercept(k, order):
    """``m² s² < k/(k + 1)``, whatever the counts, zeros among them."""
    y = np.arange(k)
    bound = widest(lambda s: moments(y, tau=hm.HalfNormal(s)).of_new_group(ONE, order) is None)
    assert bound == pytest.approx(np.sqrt(k / (k + 1)) / order, rel=1e-5)


@pytest.mark.parametrize("order", [1, 2])
def test_under_a_normal_intercept_the_widest_is_one_over_the_order(order):
    def exists(s):
        found = moments([1, 0, 3], tau=hm.HalfNormal(s), proper=("mu",))
        return found.of_new_group(ONE, order) is None

    assert widest(exists) == pytest.approx(1 / order, rel=1e-5)


def test_the_intercept_grows_with_the_square_of_tau():
    """``log E[e^μ | τ]`` as ``τ²/(2k)``, and not at all under a normal prior."""
    y = [0, 1, 3, 2, 0]
    groups, x = [poisson(a) for a in y], np.ones((5, 1))
    found = growth(lambda t: log_mean_power(groups, x, ONE, t, 1.0), 20, 30)
    bound = widest(lambda s: moments(y, tau=hm.HalfNormal(s)).of_new_group(ONE, 1) is None)
    assert 0.5 / bound**2 == pytest.approx(0.5 + found, rel=3e-3)


@pytest.mark.parametrize("at", [0.0, 3.0, -3.0])
def test_far_from_the_data_a_slope_adds_to_the_growth(at):
    """At x = 3 small counts at the other end bound it less than large ones would."""
    y, x = [0, 1, 3, 2], np.array([-1.0, 0, 1, 2])
    row, groups = np.array([1.0, at]), [poisson(a) for a in y]
    columns = np.column_stack([np.ones(4), x])
    found = growth(lambda t: log_mean_power(groups, columns, row, t, 4.0), 10, 15)
    bound = widest(lambda s: moments(y, x, tau=hm.HalfNormal(s)).of_new_group(row, 1) is None)
    assert 0.5 / bound**2 == pytest.approx(0.5 + found, rel=0.01)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
@pytest.mark.parametrize("own", [None, 0, 2])
def test_two_sds_that_grow_together(share, own):
    """Half-normal priors of sds in any ratio, of a group in a new or in a known outer group."""
    y, parent = [1, 0, 2, 1, 3, 1], np.array([0, 0, 1, 1, 1, 2])
    groups = [poisson(a) for a in y]

    def log_mean(t):
        sds = t * np.sqrt([1 - share, share])
        return log_mean_power_outer(groups, parent, 1, *sds, own)

    new = 1.0 if own is None else 1 - share
    expected = growth(log_mean, 20, 30) + new / 2
    found = moments(y, tau=hm.HalfNormal(1), kappa=hm.HalfNormal(1), parent=parent)
    assert found._growth(ONE, 1, 1 - share, share, own) == pytest.approx(expected, rel=5e-3)


def test_with_three_levels_both_priors_have_to_fall():
    """Balanced: the growth is linear in τ² and κ², so each sd has a bound of its own."""
    y, parent = np.arange(6), np.repeat([0, 1, 2], 2)

    def exists(tau, kappa, order=1, own=None):
        priors = {"tau": hm.HalfNormal(tau), "kappa": hm.HalfNormal(kappa)}
        return moments(y, parent=parent, **priors).of_new_group(ONE, order, own) is None

    assert widest(lambda s: exists(s, 0.1), 15) == pytest.approx(np.sqrt(6 / 7), rel=1e-3)
    assert widest(lambda s: exists(0.1, s), 15) == pytest.approx(np.sqrt(3 / 4), rel=1e-3)
    assert exists(0.99 * np.sqrt(6 / 7), 0.99 * np.sqrt(3 / 4))
    assert widest(lambda s: exists(s, 1e3, own=1), 15) == pytest.approx(np.sqrt(2 / 3), rel=1e-3)


def test_two_priors_that_are_narrow_enough_each_are_not_together():
    """Of groups of sizes 1 and 9 the growth is more than that along either sd."""
    y, parent = np.ones(10), np.repeat([0, 1], [1, 9])
    priors = {"tau": hm.HalfNormal(0.95), "kappa": hm.HalfNormal(0.81)}
    found = moments(y, parent=parent, **priors)
    for one in (priors | {"tau": hm.HalfNormal(0.3)}, priors | {"kappa": hm.HalfNormal(0.3)}):
        assert moments(y, parent=parent, **one).of_new_group(ONE, 1) is None
    lack = found.of_new_group(ONE, 1)
    assert lack.reason == (
        "HalfNormal(sd=0.81) on kappa and HalfNormal(sd=0.95) on tau together fall too slowly"
    )


@pytest.mark.parametrize(
    "tau", [hm.HalfCauchy(0.1), hm.Exponential(0.1), hm.FlatSD(), hm.InverseGamma(9, 1)], ids=str
)
def test_never_under_a_prior_that_falls_more_slowly_than_a_normal_one(tau):
    for proper in ((), ("mu",)):
        assert moments(range(30), tau=tau, proper=proper).of_new_group(ONE, 1) is not None


@pytest.mark.parametrize("tau", [hm.Fixed(2.0), hm.Uniform(5.0)], ids=str)
def test_always_where_tau_is_bounded(tau):
    found = moments([0, 2], tau=tau)
    assert found.of_new_group(ONE, 4) is None
    outer = {"parent": np.array([0, 1]), "kappa": hm.FlatSD()}
    assert moments([3, 2], tau=tau, **outer).of_new_group(ONE, 1, 1) is None
    lack = moments([3, 2], tau=tau, **outer).of_new_group(ONE, 1)
    assert lack.reason == "FlatSD() on kappa falls too slowly"
    both = outer | {"kappa": hm.Fixed(1.0)}
    assert moments([3, 2], tau=tau, **both).of_new_group(ONE, 1) is None


def test_what_is_said_and_that_the_remedy_works():
    lack = moments(range(10), tau=hm.HalfNormal(1)).of_new_group(ONE, 1)
    assert lack.reason == "HalfNormal(sd=1) on tau falls too slowly"
    assert lack.needed == "HalfNormal(0.953) or a narrower one"
    assert moments(range(10), tau=hm.HalfNormal(0.953)).of_new_group(ONE, 1) is None
    assert moments(range(10), tau=hm.HalfNormal(0.954)).of_new_group(ONE, 1) is not None


@pytest.mark.parametrize("s", [1.0, 3.0])
def test_the_remedy_is_narrower_than_a_bound_of_three_decimals(s):
    """Under a normal prior of μ the bound is 1 itself, where the mean does not exist."""
    lack = moments([1, 2], tau=hm.HalfNormal(s), proper=("mu",)).of_new_group(ONE, 1)
    assert lack.needed == "HalfNormal(0.999) or a narrower one"


def test_rates_of_groups_that_were_observed():
    """Poisson: always; negative binomial with size 1½: the mean; without data: as a new one."""
    assert moments([0, 2, 5], tau=hm.FlatSD()).of_groups(4).all()
    heavy = moments([0, 2, 5], tau=hm.HalfNormal(0.1), above=1.5)
    assert heavy.of_groups(1).all()
    assert not heavy.of_groups(2).any()
    for s, exists in ((0.81, True), (0.82, False)):
        known = moments([2, 5], tau=hm.HalfNormal(s))
        empty = LeafDesign(
            **{
                **vars(known.design),
                "falls_below": np.array([True, True, False]),
                "falls_above": np.array([True, True, False]),
                "x": np.ones((3, 1)),
            }
        )
        rates = RateMoments(empty, np.array([2.0, 5, 0]), np.array([np.inf, np.inf, 0]))
        assert rates.of_groups(1).tolist() == [True, True, exists]


def test_likelihoods_that_fall_exponentially_bound_less():
    """One group with ``e^(−0.8θ)``: ``E e^μ`` is infinite at each τ; two hold it."""
    bounded = hm.Uniform(2.0)
    assert moments([3], tau=bounded, above=0.8).of_new_group(ONE, 1) is not None
    assert moments([3, 1], tau=bounded, above=0.8).of_new_group(ONE, 1) is None
    lack = moments([3], tau=bounded, above=0.8).of_new_group(ONE, 1)
    assert lack.reason == "flat priors leave too much open"
