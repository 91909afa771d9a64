"""Data sets: against the figures of their publications, and what is simulated."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.data.read_rows import read
from hiermodels.datasets import (
    load_baseball,
    load_cbpp,
    load_dyestuff,
    load_eight_schools,
    load_orthodont,
    load_pastes,
    load_penicillin,
    load_pumps,
    load_rat_tumors,
    load_sarcoma_baskets,
    load_school_calendar,
    load_sleepstudy,
    load_surgical,
    simulate_classrooms,
    simulate_hospitals,
)


def mean_squares(frame, outcome, groups):
    """Mean squares of a balanced nested analysis of variance, from the outermost level."""
    means = [
        frame.groupby(groups[:i])[outcome].transform("mean") for i in range(1, len(groups) + 1)
    ]
    means = [frame[outcome].mean(), *means, frame[outcome]]
    units = [1, *(frame.groupby(groups[:i]).ngroups for i in range(1, len(groups) + 1)), len(frame)]
    return [
        ((means[i + 1] - means[i]) ** 2).sum() / (units[i + 1] - units[i])
        for i in range(len(groups) + 1)
    ]


def test_baseball():
    frame = load_baseball()
    assert frame["player"].nunique() == len(frame) == 18
    assert frame["y"].sum() == pytest.approx(4.777)
    assert ((frame["y"] - frame["ability"]) ** 2).sum() == pytest.approx(0.0754, abs=5e-5)


def test_eight_schools():
    frame = load_eight_schools()
    weight = frame["sigma"] ** -2
    assert (frame["y"] * weight).sum() / weight.sum() == pytest.approx(7.7, abs=0.05)
    assert weight.sum() ** -0.5 == pytest.approx(4.1, abs=0.05)


def test_school_calendar():
    frame = load_school_calendar()
    assert list(frame) == ["district", "school", "year", "y", "se"]
    sizes = frame.groupby("district", sort=False).size()
    assert ", ".join(sizes.index) == "11, 12, 18, 27, 56, 58, 71, 86, 91, 108, 644"
    assert sizes.tolist() == [4, 4, 3, 4, 4, 11, 3, 8, 6, 5, 4]
    assert frame["school"].tolist() == [str(i) for i in range(1, 57)]
    assert frame["year"].dtype.kind == "i"
    years = {1976: 19, 1989: 4, 1994: 5, 1995: 2, 1997: 15, 2000: 11}
    assert frame["year"].value_counts().to_dict() == years
    variance = frame["se"] ** 2
    assert frame["y"].sum() == pytest.approx(6.72)
    assert (frame["y"] ** 2).sum() == pytest.approx(6.6462)
    assert variance.sum() == pytest.approx(1.458)
    assert (1 / variance).sum() == pytest.approx(11841.296119679344)
    assert (frame["y"] / variance).sum() == pytest.approx(549.5212383218)


def test_roles_of_the_school_calendar_are_inferred():
    roles = read(load_school_calendar()).roles
    assert (roles.outcome, roles.groups, roles.se) == ("y", ("district", "school"), "se")


def test_penicillin():
    """Restricted maximum likelihood as lme4 publishes it, which is closed as cells are balanced."""
    frame = load_penicillin()
    table = frame.pivot(index="plate", columns="sample", values="diameter")
    assert table.shape == (24, 6)
    assert not table.isna().any().any()
    rest = table.sub(table.mean(axis=1), axis=0).sub(table.mean(axis=0)) + table.to_numpy().mean()
    sigma2 = (rest.to_numpy() ** 2).sum() / (23 * 5)
    plate, sample = (table.mean(axis=axis).var() - sigma2 / n for axis, n in ((1, 6), (0, 24)))
    found = [table.to_numpy().mean(), *np.sqrt([plate, sample, sigma2])]
    assert found == pytest.approx([22.97222, 0.8467, 1.9316, 0.5499], abs=5e-5)


def test_sleepstudy():
    frame = load_sleepstudy()
    assert frame.groupby("Subject")["Days"].agg(list).tolist() == [list(range(10))] * 18
    # intercept and slope, and their sds over subjects fitted one by one: lme4's published figures
    slope, intercept = np.polyfit(frame["Days"], frame["Reaction"], 1)
    assert (intercept, slope) == pytest.approx((251.405, 10.467), abs=5e-4)
    assert frame["Reaction"].agg(["min", "max"]).tolist() == [194.3322, 466.3535]


def test_orthodont():
    """Restricted maximum likelihood as nlme publishes it, which is closed where ages are equal.

    The covariance of the children's own coefficients is ``T + σ²(X'X)⁻¹``.
    """
    frame = load_orthodont()
    assert frame.groupby("Subject")["age"].agg(list).tolist() == [[8, 10, 12, 14]] * 27
    assert frame.groupby("Sex")["Subject"].nunique().to_dict() == {"Female": 11, "Male": 16}
    means = frame.groupby(["Sex", "age"])["distance"].mean().to_numpy()
    published = [21.18, 22.23, 23.09, 24.09, 22.88, 23.81, 25.72, 27.47]
    assert means == pytest.approx(published, abs=5.1e-3)
    x = np.column_stack([np.ones(4), [8, 10, 12, 14]])
    y = frame["distance"].to_numpy().reshape(27, 4).T
    own, squares, *_ = np.linalg.lstsq(x, y)
    assert own.mean(axis=1) == pytest.approx([16.7611111, 0.6601852], abs=1e-7)
    sigma2 = squares.sum() / (27 * 2)
    t = np.cov(own) - sigma2 * np.linalg.inv(x.T @ x)
    sds = np.sqrt(np.diag(t))
    assert [*sds, np.sqrt(sigma2)] == pytest.approx([2.3270339, 0.2264276, 1.3100399], abs=5e-6)
    assert t[0, 1] / sds.prod() == pytest.approx(-0.609, abs=5e-4)


def test_pastes():
    frame = load_pastes()
    assert frame.groupby(["batch", "cask"]).size().tolist() == [2] * 30
    assert frame["strength"].sum() == pytest.approx(3603.2)
    found = mean_squares(frame, "strength", ["batch", "cask"])
    assert found == pytest.approx([27.4891852, 17.5453333, 0.678])
    assert read(frame, groups=["batch", "cask"]).sizes == (30, 10)


def test_dyestuff():
    frame = load_dyestuff()
    means = {"A": 1505, "B": 1528, "C": 1564, "D": 1498, "E": 1600, "F": 1470}
    assert frame.groupby("batch")["yield_"].mean().to_dict() == means
    assert mean_squares(frame, "yield_", ["batch"]) == pytest.approx([11271.5, 2451.25])
    assert read(frame).roles.outcome == "yield_"


def test_surgical():
    """Total and extreme rates of the BUGS examples: 7.4% died, none at A, 14.4% at H."""
    frame = load_surgical()
    assert list(frame) == ["hospital", "deaths", "cases"]
    assert frame[["deaths", "cases"]].sum().tolist() == [208, 2814]
    rate = frame.set_index("hospital").eval("deaths / cases")
    assert (rate.idxmin(), rate.idxmax()) == ("A", "H")
    assert rate["H"] == pytest.approx(0.144, abs=5e-4)


def test_cbpp():
    """99 new cases among 842 animals at risk; maxima of likelihoods are in ``exact/glmm``."""
    frame = load_cbpp()
    assert list(frame) == ["herd", "period", "incidence", "size"]
    assert frame[["incidence", "size"]].sum().tolist() == [99, 842]
    assert frame["herd"].nunique() == 15
    assert frame.groupby("period").size().tolist() == [15, 14, 14, 13]


def test_rat_tumors():
    """Gelman et al., section 5.1: mean 0.136 and sd 0.103 of 70 rates, so alpha, beta 1.4, 8.6."""
    frame = load_rat_tumors()
    assert list(frame) == ["experiment", "tumors", "rats"]
    assert frame["experiment"].tolist() == [str(i) for i in range(1, 72)]
    assert frame.iloc[70][["tumors", "rats"]].tolist() == [4, 14]
    assert frame[["tumors", "rats"]].sum().tolist() == [267, 1739]
    rate = frame.head(70).eval("tumors / rats")
    mean, sd = rate.mean(), rate.std()
    assert mean == pytest.approx(0.136, abs=5e-4)
    assert sd == pytest.approx(0.103, abs=1e-3)
    total = mean * (1 - mean) / sd**2 - 1
    assert total * mean == pytest.approx(1.4, abs=0.05)
    assert total * (1 - mean) == pytest.approx(8.6, abs=0.05)


def test_pumps():
    """Raw rates per thousand hours, as Gaver and O'Muircheartaigh have them."""
    frame = load_pumps()
    assert list(frame) == ["pump", "failures", "hours"]
    assert frame["failures"].sum() == 75
    assert frame["hours"].sum() == pytest.approx(350.24)
    rates = [0.053, 0.064, 0.080, 0.111, 0.573, 0.605, 0.952, 0.952, 1.904, 2.095]
    np.testing.assert_allclose(frame.eval("failures / hours"), rates, rtol=0, atol=1e-3)


def test_sarcoma_baskets():
    """The responders are those of the abstract; of their patients some are missing."""
    frame = load_sarcoma_baskets().set_index("subtype")
    assert list(frame) == ["responders", "patients"]
    assert frame["responders"].tolist() == [2, 0, 1, 6, 7, 3, 5, 1, 0, 3]
    assert frame.sum().tolist() == [28, 179]
    abstract = [16, 13, 12, 29, 31, 30, 27, 7, 2, 22]
    assert (frame["patients"] <= abstract).all()
    assert sum(abstract) == 189


def test_sizes_that_are_the_same_everywhere():
    frame = simulate_classrooms(3, 4, 5, random_seed=1)
    assert list(frame) == ["school", "classroom", "score"]
    assert frame["school"].unique().tolist() == ["s1", "s2", "s3"]
    assert frame.groupby("school")["classroom"].nunique().tolist() == [4] * 3
    assert frame.groupby("classroom").size().tolist() == [5] * 12


def test_sizes_that_vary():
    frame = simulate_classrooms((5, 9), (1, 3), (2, 6), random_seed=1)
    schools, rooms = frame.groupby("school"), frame.groupby("classroom")
    assert 5 <= schools.ngroups <= 9
    assert set(schools["classroom"].nunique()) == {1, 2, 3}
    assert set(rooms.size()) == {2, 3, 4, 5, 6}
    assert (rooms["school"].nunique() == 1).all()


def test_both_ends_of_the_sizes_are_equally_likely():
    frame = simulate_classrooms(3000, (1, 3), 1, random_seed=1)
    counts = frame.groupby("school").size().value_counts()
    assert (abs(counts - 1000) < 4 * np.sqrt(3000 * 2 / 9)).all()


def test_a_seed_gives_the_same_pupils():
    first = simulate_classrooms(5, (2, 4), (3, 9), beta=0.3, random_seed=1)
    pd.testing.assert_frame_equal(
        first, simulate_classrooms(5, (2, 4), (3, 9), beta=0.3, random_seed=1)
    )
    assert not first.equals(simulate_classrooms(5, (2, 4), (3, 9), beta=0.3, random_seed=2))


def test_a_generator_goes_on():
    rng = np.random.default_rng(1)
    first, second = (simulate_classrooms(2, 2, 2, random_seed=rng) for _ in range(2))
    assert first.equals(simulate_classrooms(2, 2, 2, random_seed=1))
    assert not first.equals(second)


def test_a_covariate_leaves_the_rest_as_it_is():
    plain = simulate_classrooms(5, (2, 4), (3, 9), random_seed=1)
    with_ses = simulate_classrooms(5, (2, 4), (3, 9), beta=0.3, random_seed=1)
    assert list(with_ses) == ["school", "classroom", "score", "ses"]
    np.testing.assert_allclose(with_ses["score"] - 0.3 * with_ses["ses"], plain["score"])
    assert with_ses.attrs["theta"] == plain.attrs["theta"]


def test_the_truth_is_kept():
    frame = simulate_classrooms(
        4000, 5, 4, lam=100, kappa=3, tau=2, sigma=1, beta=-0.5, random_seed=1
    )
    truth = frame.attrs
    assert [truth[name] for name in ("lam", "kappa", "tau", "sigma", "beta")] == [
        100,
        3,
        2,
        1,
        -0.5,
    ]
    mu = pd.Series(truth["mu"])
    rooms = frame.drop_duplicates("classroom").set_index("classroom")["school"]
    theta = pd.Series(truth["theta"])
    assert theta.index.equals(rooms.index)
    noise = frame["score"] - frame["classroom"].map(theta) + 0.5 * frame["ses"]
    for sample, mean, sd in [
        (mu, 100, 3),
        (theta - rooms.map(mu), 0, 2),
        (noise, 0, 1),
        (frame["ses"], 0, 1),
    ]:
        assert abs(sample.mean() - mean) < 4 * sd / np.sqrt(len(sample))
        assert abs(sample.std() - sd) < 4 * sd / np.sqrt(2 * len(sample))


def test_variance_components_are_recovered():
    frame = simulate_classrooms(2000, 5, 4, kappa=3, tau=2, sigma=1, random_seed=1)
    between, rooms, within = mean_squares(frame, "score", ["school", "classroom"])
    assert within == pytest.approx(1, rel=0.03)
    assert (rooms - within) / 4 == pytest.approx(4, rel=0.06)
    assert (between - rooms) / 20 == pytest.approx(9, rel=0.12)


def test_without_any_spread():
    frame = simulate_classrooms(2, 2, 2, lam=5, kappa=0, tau=0, sigma=0)
    assert (frame["score"] == 5).all()


def test_the_truth_does_not_stand_in_the_way():
    frame = simulate_classrooms(2, 2, 2, beta=1, random_seed=1)
    assert json.loads(json.dumps(frame.attrs)) == frame.attrs
    assert len(pd.concat([frame, frame.copy()])) == 16


def test_roles_of_pupils_are_inferred():
    data = read(simulate_classrooms(3, 2, 4, random_seed=1))
    assert (data.roles.outcome, data.roles.groups) == ("score", ("school", "classroom"))
    assert data.sizes == (6, 3)


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", (3, 2), (0, 2), (1, 2, 3), (1.0, 2.0), [2, 3]])
@pytest.mark.parametrize("name", ["n_schools", "classrooms", "pupils"])
def test_sizes_that_are_none(name, size):
    with pytest.raises(hm.SpecError, match=rf"{name}: expected a positive whole number, .*; found"):
        simulate_classrooms(**{name: size})


@pytest.mark.parametrize("name", ["kappa", "tau", "sigma"])
def test_a_negative_spread(name):
    with pytest.raises(hm.SpecError, match=f"{name}: expected a finite number of 0 or more; found"):
        simulate_classrooms(**{name: -1.0})


@pytest.mark.parametrize("name", ["lam", "beta", "tau"])
def test_parameters_that_are_not_finite(name):
    with pytest.raises(hm.SpecError, match=f"{name}: expected a finite number"):
        simulate_classrooms(**{name: np.nan})


def test_hospitals_have_the_truth_beside_them():
    frame = simulate_hospitals(4000, (50, 150), mu=-1.0, tau=0.5, beta=0.8, random_seed=1)
    assert list(frame) == ["hospital", "deaths", "cases", "severity"]
    assert frame["cases"].between(50, 150).all()
    assert frame["cases"].nunique() == 101
    truth = frame.attrs
    assert [truth[name] for name in ("mu", "tau", "beta")] == [-1.0, 0.5, 0.8]
    theta, p = (frame["hospital"].map(truth[name]) for name in ("theta", "p"))
    np.testing.assert_allclose(np.log(p / (1 - p)), theta + 0.8 * frame["severity"])
    for sample, mean, sd in ((theta, -1.0, 0.5), (frame["severity"], 0, 1)):
        assert abs(sample.mean() - mean) < 4 * sd / np.sqrt(4000)
        assert abs(sample.std() - sd) < 4 * sd / np.sqrt(2 * 4000)
    z = (frame["deaths"] - frame["cases"] * p) / np.sqrt(frame["cases"] * p * (1 - p))
    assert abs(z.mean()) < 4 / np.sqrt(4000)
    assert (z**2).mean() == pytest.approx(1, abs=0.1)
    assert json.loads(json.dumps(truth)) == truth


def test_a_seed_gives_the_same_hospitals():
    first = simulate_hospitals((5, 9), random_seed=1)
    pd.testing.assert_frame_equal(first, simulate_hospitals((5, 9), random_seed=1))
    assert not first.equals(simulate_hospitals((5, 9), random_seed=2))
    assert 5 <= len(first) <= 9
    severe = simulate_hospitals((5, 9), beta=0.3, random_seed=1)
    assert severe["cases"].equals(first["cases"])
    assert severe.attrs["theta"] == first.attrs["theta"]


def test_without_differences_all_hospitals_have_one_rate():
    frame = simulate_hospitals(3, 10, mu=-40.0, tau=0, random_seed=1)
    assert frame["deaths"].tolist() == [0, 0, 0]
    assert list(frame.attrs["p"].values()) == pytest.approx([np.exp(-40.0)] * 3, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": -1.0}, "tau: expected a finite number of 0 or more; found"),
        ({"mu": np.inf}, "mu: expected a finite number; found"),
        ({"cases": (5, 2)}, "cases: expected a positive whole number, .*; found"),
        ({"n_hospitals": 0}, "n_hospitals: expected a positive whole number, .*; found"),
    ],
)
def test_hospitals_that_cannot_be(options, message):
    with pytest.raises(hm.SpecError, match=message):
        simulate_hospitals(**options)
