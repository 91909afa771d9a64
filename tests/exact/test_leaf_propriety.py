"""When posteriors of counts exist: against slopes of ``log p(y | log τ)`` far out."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.exact import leaf_propriety
from hiermodels.exact.leaf_design import LeafDesign, Wording
from hiermodels.exact.leaf_propriety import check
from hiermodels.model.priors.variance import Jeffreys
from tests.oracles.count_tails import (
    binomial,
    log_given_kappa,
    log_given_sds,
    log_given_tau,
    slope,
)

WIDE = hm.HalfNormal(1.0)


def design(
    r,
    n,
    x=None,
    *,
    tau=WIDE,
    kappa=WIDE,
    proper=(),
    parent=None,
    intercept=True,
):
    """A design of binomial counts; ``x`` (k,) or (k, q), ``proper`` names with normal priors."""
    r, n = np.broadcast_arrays(r, n)
    columns = np.ones((len(r), int(intercept)))
    top = "mu" if parent is None else "lam"
    slopes = np.zeros((len(r), 0)) if x is None else np.asarray(x, float).reshape(len(r), -1)
    names = (*[top][: int(intercept)], *(f"beta[x{j}]" for j in range(slopes.shape[1])))
    outer = {} if parent is None else {"kappa": kappa}
    inner_groups = "'hospital' groups"
    return LeafDesign(
        falls_below=r > 0,
        falls_above=r < n,
        x=np.column_stack([columns, slopes]),
        coefficients=names,
        is_flat=np.array([name not in proper for name in names], dtype=bool),
        has_intercept=intercept,
        priors={**outer, "tau": tau},
        labels=[f"h{i}" for i in range(len(r))],
        wording=Wording(
            (inner_groups,) if parent is None else ("'region' groups", inner_groups),
            "deaths = 0",
            "deaths = cases",
        ),
        parent=None if parent is None else np.array(parent),
        n_parents=0 if parent is None else max(parent) + 1,
    )


def refused(*args, **options):
    with pytest.raises(hm.ImproperPosteriorError) as caught:
        check(design(*args, **options))
    return str(caught.value)


# The rule, against the quadrature.

DESIGNS = {
    "three informative": ([1, 2, 3, 0, 4], [5, 5, 5, 5, 4], None),
    "none": ([0, 1, 1], [1, 1, 1], None),
    "one, and a group without trials": ([1, 0, 5, 0], [5, 5, 5, 0], None),
    "a covariate": ([1, 2, 3, 0, 4], [5, 5, 5, 5, 4], [0, 1, 2, 0, 1]),
    "a covariate, none informative": ([0, 0, 2, 2, 0, 2], [2] * 6, [0, 1, 0, 1, 2, 2]),
}


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("prior", ["flat", "no intercept", "normal"])
def test_the_exponent_of_tau_is_minus_its_contrasts(name, prior):
    r, n, x = DESIGNS[name]
    proper = {"normal": ("mu", "beta[x0]")}.get(prior, ())
    found = design(r, n, x, proper=proper, intercept=prior != "no intercept")
    groups = [binomial(a, b) for a, b in zip(r, n, strict=True)]

    def log_density(tau):
        normal = 2.0 if prior == "normal" else None
        return log_given_tau(groups, found.x, tau, normal=normal)

    contrasts = check(found).tails.contrasts["tau"]
    assert slope(log_density, 1e3, 1e4) == pytest.approx(-contrasts, abs=5e-3)


OUTER = {
    "a covariate between": ([1, 2, 1, 3], [0, 1, 2, 3], [0, 1, 2, 3]),
    "a covariate within": ([1, 2, 1, 3], [0, 1, 0, 1], [0, 0, 1, 2]),
    "held by both sides twice": ([0, 5, 0, 5, 1], [0, 1, 1, 0, 1], [0, 0, 1, 1, 2]),
    "held by both sides once": ([0, 5, 1, 2, 1], [0, 1, 1, 0, 2], [0, 0, 1, 2, 3]),
    "one side only": ([0, 0, 1, 2, 1, 3], [0, 1, 1, 0, 2, 2], [0, 0, 1, 2, 3, 2]),
}


@pytest.mark.parametrize("name", OUTER)
def test_the_exponent_of_kappa_is_minus_its_contrasts(name):
    r, x, parent = OUTER[name]
    found = check(design(r, 5, x, parent=parent)).tails.contrasts["kappa"]
    groups = [binomial(a, 5) for a in r]
    exponent = slope(lambda kappa: log_given_kappa(groups, x, parent, kappa), 300, 1000)
    assert exponent == pytest.approx(-found, abs=0.02)


def test_the_exponents_of_two_sds_that_grow_together():
    """Four informative clinics; four regions that are, one of them by zeros and full ones."""
    r, parent = [1, 2, 1, 0, 5, 0, 2], [0, 0, 1, 2, 2, 3, 4]
    contrasts = check(design(r, 5, parent=parent)).tails.contrasts
    assert contrasts == {"kappa": 3, "tau": 3}
    kinds = {a: binomial(a, 5) for a in r}
    groups = [kinds[a] for a in r]

    def equal(t):
        return log_given_sds(groups, parent, t, t)

    def kappa_alone(t):
        return log_given_kappa(groups, None, parent, t)

    assert slope(equal, 1e3, 1e4) == pytest.approx(-3, abs=0.01)
    assert slope(kappa_alone, 1e2, 1e3) == pytest.approx(-3, abs=0.01)


# What exists.


@pytest.mark.parametrize(
    ("tau", "needed"),
    [(hm.FlatVariance(), 4), (hm.FlatSD(), 3), (hm.HalfCauchy(1), 1), (hm.HalfNormal(1), 0)],
    ids=str,
)
@pytest.mark.parametrize(("proper", "fewer"), [((), 0), (("mu",), 1)])
def test_informative_groups_that_a_prior_of_tau_needs(tau, needed, proper, fewer):
    """Extreme groups, as many as there may be, do not help."""
    needed = max(needed - fewer, 0)
    extreme = [0, 5] * 10
    assert check(design([1] * needed + extreme, 5, tau=tau, proper=proper)).tails.sizes == {
        "tau": needed
    }
    if needed:
        message = refused([1] * (needed - 1) + extreme, 5, tau=tau, proper=proper)
        assert f"on tau needs {needed}." in message


def test_binary_rows():
    """No row is informative: flat μ and half-Cauchy leave ``p(log τ)`` flat at infinity."""
    r = [0, 1] * 20
    assert "none is informative" in refused(r, 1, tau=hm.HalfCauchy(1))
    check(design(r, 1, tau=hm.HalfNormal(1)))
    check(design(r, 1, tau=hm.HalfCauchy(1), proper=("mu",)))


def test_groups_without_trials_say_nothing():
    check(design([1, 2, 3, 1, 0, 0], [5, 5, 5, 5, 0, 0], tau=hm.FlatVariance()))
    assert "of 4 'hospital' groups 3 are informative; with" in refused(
        [1, 2, 3, 0], [5, 5, 5, 0], tau=hm.FlatVariance()
    )
    assert "none of the 2 'hospital' groups says anything of mu." in refused([0, 0], [0, 0])
    check(design([0, 0], [0, 0], proper=("mu",)))


@pytest.mark.parametrize("tau", [hm.Fixed(0.0), hm.Fixed(2.0), hm.Uniform(3.0)], ids=str)
def test_bounded_sds_need_an_end_of_mu_only(tau):
    check(design([0, 5], 5, tau=tau))
    check(design([2], 5, tau=tau))
    assert "nothing bounds mu from below" in refused([0, 0], 5, tau=tau)


def test_infinite_mass_at_zero():
    assert "Jeffreys() on tau has infinite mass at tau = 0" in refused([1] * 50, 5, tau=Jeffreys())


# What does not, and what the messages say.


def test_too_few_groups_are_informative():
    assert refused([1, 2, 0, 0, 5, 0], 5, tau=hm.FlatVariance()) == (
        "the posterior does not exist: of 6 'hospital' groups 2 are informative (deaths = 0 or "
        "deaths = cases tells one side only); with 1 flat coefficient, FlatVariance() on tau needs "
        "4. Give tau a proper prior, such as priors={'tau': HalfNormal(1)}, or add data."
    )
    message = refused([1, 2, 3, 0], 5, tau=hm.FlatVariance())
    assert "3 are informative (deaths = 0 tells one side only)" in message
    assert "priors={'tau': HalfNormal(1)} or FlatSD() (which needs 3), or add data" in message
    check(design([1, 2, 3, 0], 5, tau=hm.FlatSD()))


@pytest.mark.parametrize(
    ("count", "has", "end"), [(0, "deaths = 0", "below"), (5, "deaths = cases", "above")]
)
def test_all_groups_are_at_one_end(count, has, end):
    assert refused([count] * 12, 5) == (
        f"the posterior does not exist: all 12 'hospital' groups have {has}, so nothing bounds mu "
        f"from {end}. Give mu a proper prior, such as priors={{'mu': Normal(0, 2.5)}}, or add data."
    )
    check(design([count] * 12, 5, proper=("mu",)))
    message = refused([count] * 4, 5, [1, 2, 3, 4])
    assert "Give beta[x0] and mu proper priors" in message
    check(design([count] * 4, 5, [1, 2, 3, 4], proper=("beta[x0]", "mu")))


def test_a_covariate_that_separates():
    r = [0, 0, 0, 5, 5]
    assert refused(r, 5, [1, 2, 3, 4, 5]) == (
        "the posterior does not exist: beta[x0] separates the counts: of the 'hospital' groups "
        "that it moves, 3 have deaths = 0 and 2 have deaths = cases ('h0', 'h1', 'h2', 'h3', "
        "'h4'), and none has a count in between. Give beta[x0] a proper prior, such as "
        "priors={'beta[x0]': Normal(0, 2.5)}, leave beta[x0] out, or add data."
    )
    check(design(r, 5, [1, 2, 3, 4, 5], proper=("beta[x0]",)))
    check(design(r, 5, [1, 2, 4, 3, 5]))


def test_a_category_of_zeros():
    """Its dummy goes to −∞; the other groups do not see it."""
    r, x = [1, 2, 3, 1, 0, 0], [[0, 3], [0, 1], [0, 2], [0, 2], [1, 5], [1, 1]]
    message = refused(r, 5, x)
    assert "beta[x0] separates the counts" in message
    assert "2 have deaths = 0 ('h4', 'h5'), and none" in message
    check(design(r, 5, x, proper=("beta[x0]",)))
    check(design([1, 2, 3, 1, 0, 2], 5, x))


def test_two_covariates_that_separate_together_only():
    x = np.array([[0, 0], [2, 1], [1, 2], [3, 3], [0.4, 1], [2, 2.6]])
    r = np.where(x[:, 1] - x[:, 0] > 0, 5, 0)
    message = refused(r, 5, x)
    assert (
        "beta[x0] and beta[x1] separate the counts: of the 'hospital' groups that they" in message
    )
    for one in (x[:, :1], x[:, 1:]):
        check(design(r, 5, one))
    check(design(r, 5, x, proper=("beta[x0]",)))


def test_a_covariate_that_only_groups_without_trials_have():
    message = refused([1, 2, 3, 0], [5, 5, 5, 0], [0, 0, 0, 1])
    assert "the 'hospital' groups that have data say nothing of beta[x0]." in message


def test_outer_groups_are_counted_by_their_pooled_counts():
    """Three of five regions are informative, one of them by a full and an empty clinic."""
    r, parent = [1, 2, 2, 0, 5, 0, 0, 5, 3, 2, 1], [0, 0, 1, 2, 2, 3, 3, 4, 0, 1, 1]
    flat = {"kappa": hm.FlatVariance(), "tau": hm.HalfNormal(1)}
    message = refused(r, 5, parent=parent, **flat)
    assert "of 5 'region' groups 3 are informative, their counts pooled (" in message
    assert "FlatVariance() on kappa needs 4." in message
    r[-4] = 3  # of the region of full clinics
    check(design(r, 5, parent=parent, **flat))
    both = {"kappa": hm.FlatVariance(), "tau": hm.FlatVariance()}
    assert check(design(r, 5, parent=parent, **both)).tails.sizes == {"kappa": 4, "tau": 7}
    r[-1] = r[-2] = 0
    assert "tau needs 6." in refused(r, 5, parent=parent, **both)


def test_one_outer_group_says_nothing_of_kappa():
    """It is kappa that needs a prior, whatever its prior does to what tau needs."""
    both = {"kappa": hm.FlatVariance(), "tau": hm.FlatVariance()}
    message = refused([1, 4, 2, 3, 3], 10, parent=[0] * 5, **both)
    assert "of 1 'region' groups 1 is informative, their counts pooled;" in message
    assert "FlatVariance() on kappa needs 4. Give kappa a proper prior" in message
    assert "tau" not in message
    check(design([1, 4, 2, 3, 3], 10, parent=[0] * 5, **both | {"kappa": hm.HalfNormal(1)}))


@pytest.mark.parametrize(
    ("family", "columns", "words"),
    [
        (hm.Binomial(), {"trials": "cases"}, ("deaths = 0", "deaths = cases", "HalfNormal(1)")),
        (hm.Binomial(), {}, ("deaths = 0", "deaths = 1", "HalfNormal(1)")),
        (
            hm.OddsRatio(),
            {"trials": "n", "control_trials": "m", "total_events": "all"},
            ("the lowest possible deaths", "the highest possible deaths", "HalfNormal(1)"),
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_messages_have_the_names_of_the_columns(family, columns, words):
    spec = hm.Spec("deaths", ("region", "clinic"), family=family, columns=columns)
    found = Wording.of(spec)
    assert found.groups == ("'region' groups", "'clinic' groups")
    assert (found.zero, found.full, found.sd_prior) == words


def test_what_is_proposed_has_a_scale_only_where_the_link_has():
    spec = hm.Spec("y", ("study",), "se", family=hm.StudentT(4))
    assert Wording.of(spec).mean_prior == "Normal(mean=…, sd=…)"


def test_thirty_thousand_groups():
    rng = np.random.default_rng(1)
    found = design(rng.integers(0, 3, 30_000), 2, rng.normal(size=(30_000, 3)))
    start = time.perf_counter()
    assert check(found).tails.sizes["tau"] == found.is_informative.sum()
    assert time.perf_counter() - start < 0.5


ZEROS = {"y": [0, 0, 0, 0, 0, 0], "x": [0, 0, 0, 1, 1, 1]}
REFUSED = {
    "zeros": (ZEROS, {}),
    "zeros and a flat sd": (ZEROS, {"tau": hm.FlatSD()}),
    "zeros and a proper sd": (ZEROS, {"tau": hm.HalfNormal(2)}),
    "successes alone": ({"y": [5] * 6}, {}),
    "two informative": ({"y": [0, 0, 2, 3, 0, 0]}, {}),
    "three informative": ({"y": [0, 0, 2, 3, 1, 0]}, {}),
    "no informative one": ({"y": [0, 0, 5, 5, 0, 0]}, {}),
    "zeros, with a covariate": (ZEROS, {"covariates": ["x"]}),
    "separated, others few": (
        {"y": [0, 0, 0, 2, 3, 2], "x": [0, 0, 0, 1, 1, 1]},
        {"covariates": ["x"]},
    ),
    "separated": ({"y": [0, 1, 2, 2, 3, 2], "x": [1, 0, 0, 0, 0, 0]}, {"covariates": ["x"]}),
    "mass at 0": ({"y": [1, 1, 2, 2, 3, 2]}, {"tau": hm.Jeffreys()}),
    "mass at 0, few informative": ({"y": [0, 1, 2, 2, 0, 5]}, {"tau": hm.Jeffreys()}),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_every_remedy_that_is_proposed_works(name):
    """Each is followed as it stands, by itself: priors, another sd's prior, a covariate less."""
    columns, given = REFUSED[name]
    data = pd.DataFrame({"g": list("abcdef"), "n": 5, **columns})
    priors = {key: prior for key, prior in given.items() if key != "covariates"}
    said = {"outcome": "y", "trials": "n", "groups": "g", "draws": 10, "random_seed": 1}
    covariates = given.get("covariates", [])
    with pytest.raises(hm.ImproperPosteriorError) as caught:
        hm.fit(data, **said, covariates=covariates, priors=priors)
    message = str(caught.value)
    remedies = [priors | found for found in proposed(message)]
    assert remedies
    for remedy in remedies:
        hm.fit(data, **said, covariates=covariates, priors=remedy)
    if "out, or add data" in message:
        hm.fit(data, **said, priors=priors)
    assert ("leave beta[x] out" in message) == (name == "separated")


def proposed(message):
    """The sets of priors that a message proposes."""
    advice = message[max(message.find("Give "), message.find("Use ")) :]
    stated = re.search(r"priors=(\{.*?\})", advice)
    if stated:
        yield eval(stated.group(1), vars(hm))
    for flat in ("FlatSD()", "FlatVariance()"):
        if flat in advice:
            yield {"tau": eval(flat, vars(hm))}
    if "HalfNormal(sd=…)" in advice:
        yield {"tau": hm.HalfNormal(1)}


def test_few_rows_of_each_outer_group_decide_only_what_all_of_them_do(monkeypatch):
    rng, decided = np.random.default_rng(1), []
    of_few = leaf_propriety._allow_only_zero
    for trial in range(150):
        size, n, p = int(rng.integers(1, 8)), int(rng.integers(8, 60)), int(rng.integers(0, 4))
        parent = np.sort(np.append(np.arange(size), rng.integers(0, size, n - size)))
        x = rng.normal(size=(n, p)).round(trial % 2)
        side = x @ rng.normal(size=p) + rng.normal(size=size)[parent] > 0
        if trial % 3:
            side = rng.random(n) < 0.5
        design = SimpleNamespace(
            flat_slopes=x, parent=parent, n_parents=size, falls_below=side, falls_above=~side
        )
        monkeypatch.setattr(leaf_propriety, "_allow_only_zero", of_few)
        cone = leaf_propriety.outer_cone(design)

        def never(*given):
            decided.append(of_few(*given))
            return False

        monkeypatch.setattr(leaf_propriety, "_allow_only_zero", never)
        for name, value in vars(leaf_propriety.outer_cone(design)).items():
            np.testing.assert_array_equal(getattr(cone, name), value, err_msg=name)
    assert 10 < sum(decided) < len(decided) - 10
