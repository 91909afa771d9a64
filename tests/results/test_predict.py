"""Predictions: means and laws of each kind of row, joint draws, labels, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import polars
import pytest
from scipy import optimize, stats

import hiermodels as hm
from hiermodels.api.result import Fit
from hiermodels.core.seeds import named_seed
from hiermodels.exact.kernels.tree.tree import Coefficients, Variances
from hiermodels.exact.quadrature import IntegratedPosterior
from hiermodels.results.predicting import predict
from tests.oracles import dense

PASTES = {"outcome": "strength", "groups": ["batch", "cask"]}
CALENDAR = {"outcome": "y", "groups": ["district", "school"], "se": "se"}


@pytest.fixture(scope="module")
def eight(schools):
    return hm.fit(schools, priors={"tau": hm.HalfCauchy(5)}, random_seed=1)


@pytest.fixture(scope="module")
def pastes():
    return hm.fit(hm.datasets.load_pastes(), **PASTES, random_seed=1)


@pytest.fixture(scope="module")
def calendar():
    return hm.fit(hm.datasets.load_school_calendar(), **CALENDAR, random_seed=1, draws=10_000)


# Without Monte Carlo error


def test_eight_schools_by_brute_force(eight, schools):
    """Known and new schools: normal given τ, summed over thirty thousand values of log τ."""
    y, v = schools["y"].to_numpy(), schools["sigma"].to_numpy() ** 2
    tau = np.exp(np.linspace(-30, 15, 30_001))[:, None]
    w = 1 / (v + tau**2)
    mu, mu_var = (w * y).sum(1, keepdims=True) / w.sum(1, keepdims=True), 1 / w.sum(1)[:, None]
    log_density = 0.5 * (np.log(w).sum(1) + np.log(mu_var[:, 0]) - (w * (y - mu) ** 2).sum(1))
    weight = np.exp(log_density - log_density.max()) * (stats.halfcauchy(0, 5).pdf(tau) * tau)[:, 0]
    weight /= weight.sum()
    b = v * w
    means = np.hstack([b * mu + (1 - b) * y, mu])
    variances = np.hstack([(1 - b) * v + b**2 * mu_var, mu_var + tau**2])
    new = pd.DataFrame({"school": ["A", "D", "Z"], "sigma": [3.0, 11.0, 7.0]})
    found = eight.predict(new)
    for row, (unit, se) in enumerate([(0, 3.0), (3, 11.0), (8, 7.0)]):
        for name, noise in (("y_mean", 0.0), ("y", se**2)):
            m, s = means[:, unit], np.sqrt(variances[:, unit] + noise)
            mean = weight @ m
            sd = np.sqrt(weight @ (s**2 + (m - mean) ** 2))
            assert float(found.mean[name][row]) == pytest.approx(mean, abs=1e-8 * sd)
            assert float(found.sd[name][row]) == pytest.approx(sd, rel=1e-8)
            below = weight @ stats.norm.cdf(10.0, m, s)
            assert found.cdf(name, [10.0])[row] == pytest.approx(below, abs=1e-9)
            q = optimize.brentq(
                lambda x, m=m, s=s: weight @ stats.norm.cdf(x, m, s) - 0.9, mean, mean + 9 * sd
            )
            assert float(found.quantile(0.9)[name][0, row]) == pytest.approx(q, abs=1e-8 * sd)


def studies(seed=3, known=True):
    """Unbalanced rows with two covariates, one of them constant in each school."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"s{s}", f"s{s}c{c}", 5.0 + s)
        for s in range(6)
        for c in range(rng.integers(1, 4))
        for _ in range(rng.integers(1, 4))
    ]
    data = pd.DataFrame(rows, columns=["school", "room", "year"])
    data["dose"] = rng.normal(size=len(data))
    mu = dict(zip(data["room"].unique(), rng.normal(5, 1.5, data["room"].nunique()), strict=True))
    data["y"] = 0.2 * data["year"] + data["dose"] + data["room"].map(mu)
    data["y"] += rng.normal(size=len(data))
    return data.assign(se=rng.uniform(0.5, 1.5, len(data))) if known else data


DENSE = {
    "three levels, known se": ("y ~ year + dose + (1 | school/room)", True, "lam"),
    "two levels, unknown sigma": ("y ~ year + dose + (1 | room)", False, "mu"),
}


DRAWN = {"at": "means", "outcomes": True, "random_seed": None, "memory_budget": 2**31}


@pytest.mark.parametrize("case", DENSE)
def test_covariates_by_dense_linear_algebra(case):
    """At each node of a wide lattice, one large conditional normal; no recursion, no scaling."""
    formula, known, intercept = DENSE[case]
    priors = {intercept: hm.Normal(4, 30), "beta": hm.Normal(0.1, 2), "tau": hm.HalfNormal(2)}
    priors |= {"kappa": hm.HalfNormal(2)} if known else {}
    fit = hm.fit(studies(known=known), formula, priors=priors, random_seed=1, draws=10)
    exact, data = IntegratedPosterior.of(fit.spec, fit.data), fit.data
    exact = replace(exact, lattice=exact.marginal.lattice(1.2))
    parent = data.parents[0] if data.parents else None
    weight = np.ones(len(data.y)) if data.se is None else data.se**-2
    design = dense.Design(data.design.matrix, data.y, weight, data.group, parent)
    prior = Coefficients(np.array([0, 0, 4.0]), 1 / 900, np.full(2, 0.1), np.eye(2) / 4)
    rooms = data.labels[-1].tolist()
    room = rooms.index("s1c0")
    new = pd.DataFrame(
        {
            "school": ["s1", "s1", "elsewhere", "s1"],
            "room": ["s1c0", "attic", "attic", "s1c0"],
            "year": [9.0, 6.0, 12.0, 6.0],
            "dose": [-2.0, 0.3, 1.0, 0.0],
            "se": [0.7, 0.1, 2.0, 0.7],
        }
    )
    new_data = new if known else new.drop(columns=["school", "se"])
    found = predict(fit.posterior, lambda: exact, new_data, **DRAWN)
    sizes = [1, *([6] if known else []), len(rooms)]
    first = sum(sizes[:-1])  # of the rooms
    unit = [first + room, 1 + 1 if known else 0, 0, first + room]
    depth = [0, 1, len(sizes) - 1, 0]
    kept = exact.lattice.weights > 1e-13
    weights = exact.lattice.weights[kept] / exact.lattice.weights[kept].sum()
    mean, variance = {}, {}
    for name in found.names:
        mean[name], variance[name] = (np.empty((len(weights), 4)) for _ in range(2))
    for node, sds in enumerate(exact.marginal.sds(exact.lattice.points[kept])):
        spreads = sds[: len(sizes) - 1] ** 2
        sigma2 = 1.0 if known else sds[-1] ** 2
        setting = Variances(tuple(np.array([s]) for s in spreads[::-1]), np.array([sigma2]))
        centre, covariance = dense.conditional(design, setting, prior)
        for row in range(4):
            pick = np.zeros(len(centre))
            pick[unit[row]], pick[-2:] = 1.0, new.loc[row, ["year", "dose"]].to_numpy(float)
            more = spreads[: depth[row]].sum()
            mean["y_mean"][node, row] = mean["y"][node, row] = pick @ centre
            variance["y_mean"][node, row] = pick @ covariance @ pick + more
            noise = new["se"][row] ** 2 if known else sigma2
            variance["y"][node, row] = variance["y_mean"][node, row] + noise
    for name in found.names:
        expected = weights @ mean[name]
        sd = np.sqrt(weights @ (variance[name] + (mean[name] - expected) ** 2))
        np.testing.assert_allclose((found.mean[name] - expected) / sd, 0, atol=1e-8)
        np.testing.assert_allclose(found.sd[name], sd, rtol=1e-8)
        law = weights @ stats.norm.cdf(7.0, mean[name], np.sqrt(variance[name]))
        np.testing.assert_allclose(found.cdf(name, [7.0]), law, atol=1e-8)
        ends = found.quantile([0.03, 0.6])[name]
        for p, values in zip([0.03, 0.6], ends.to_numpy(), strict=True):
            np.testing.assert_allclose(found.cdf(name, values), p, atol=1e-9)


def test_known_groups_at_the_mean_of_x_have_the_posterior_of_theta_there():
    """Moving a covariate's 0 to some x makes the prediction at that x the posterior of θ."""
    data, formula = studies(known=False), "y ~ dose + (1 | school/room)"
    fit = hm.fit(data, formula, draws=10)
    there = hm.reference(data.assign(dose=data["dose"] - 1.5), formula)
    new = data.drop_duplicates("room").assign(dose=1.5)
    found = fit.predict(new)
    np.testing.assert_allclose(found.mean["y_mean"], there.mean["theta"], rtol=1e-9)
    np.testing.assert_allclose(found.sd["y_mean"], there.sd["theta"], rtol=1e-9)
    np.testing.assert_allclose(
        found.quantile([0.1, 0.9])["y_mean"], there.quantile([0.1, 0.9])["theta"], rtol=1e-6
    )


def test_one_population_is_student_t():
    y = np.array([3.1, 4.7, 2.2, 5.0, 3.9])
    prior = hm.NormalInverseGamma(1.0, 2.0, 1.5, 2.5)
    fit = hm.fit(pd.DataFrame({"y": y}), groups=[], priors={"theta": prior}, random_seed=1)
    kappa, alpha = 5 + 0.25, 1.5 + 2.5
    mean = (y.sum() + 0.25) / kappa
    beta = 2.5 + 0.5 * (((y - y.mean()) ** 2).sum() + 5 * (y.mean() - 1) ** 2 / (1 + 5 * 4))
    found = fit.predict(random_seed=2)
    assert len(found) == 1
    for name, extra in (("y_mean", 0.0), ("y", 1.0)):
        law = stats.t(2 * alpha, mean, np.sqrt(beta / alpha * (1 / kappa + extra)))
        assert float(found.mean[name][0]) == pytest.approx(law.mean(), rel=1e-12)
        assert float(found.sd[name][0]) == pytest.approx(law.std(), rel=1e-12)
        assert found.quantile(0.9)[name].item() == pytest.approx(law.ppf(0.9), rel=1e-9)
        assert found.cdf(name, [2.0])[0] == pytest.approx(law.cdf(2.0), rel=1e-9)
        draws = found.datatree["predictions"][name].to_numpy().ravel()
        assert stats.kstest(draws, law.cdf).pvalue > 1e-3
    flat = hm.fit(pd.DataFrame({"y": y[:3]}), groups=[], draws=10).predict()
    assert np.isfinite(flat.mean["y"]).all()
    assert np.isnan(flat.sd["y"]).all()  # two degrees of freedom have no variance


def test_moments_that_do_not_exist():
    """Four schools, flat on τ²: no E τ, so no mean of a new school, though known ones have one."""
    data = hm.datasets.load_eight_schools().head(4)
    found = hm.fit(data, draws=10).predict()
    np.testing.assert_array_equal(np.isnan(found.mean["y"]), [False] * 4 + [True])
    assert "does not exist" in found.mean["y"].attrs["note"]
    assert np.isfinite(found.quantile([0.1, 0.9])["y"]).all()
    assert np.isfinite(found.to_frame()["y_eti89_ub"]).all()
    # with a normal prior μ has a mean even if τ has none; a new school has not
    few = hm.fit(data.head(3), priors={"mu": hm.Normal(0, 10)}, draws=10)
    assert np.isfinite(few.reference().mean["mu"])
    assert np.isnan(few.reference().mean["tau"])
    np.testing.assert_array_equal(np.isnan(few.predict().mean["y_mean"]), [False] * 3 + [True])


# Draws


@pytest.mark.parametrize("name", ["calendar", "pastes"])
def test_draws_have_the_computed_laws(name, request):
    fit = request.getfixturevalue(name)
    found = fit.predict(random_seed=3)
    draws = found.datatree["predictions"].to_dataset()
    n = draws.sizes["chain"] * draws.sizes["draw"]
    z = (draws.mean(["chain", "draw"]) - found.mean) / (found.sd / np.sqrt(n))
    assert float(np.abs(z).to_array().max()) < 4.5
    for variable in found.names:
        flat = draws[variable].to_numpy().reshape(n, -1)[:: n // 250]
        pit = found.cdf(variable, flat)
        assert min(stats.kstest(column, stats.uniform.cdf).pvalue for column in pit.T) > 1e-4


def assert_covariance(a, b, expected):
    product = (a - a.mean()) * (b - b.mean())
    assert abs(product.mean() - expected) < 4.5 * product.std() / np.sqrt(len(product))


def test_new_units_that_share_a_parent_share_its_value(calendar):
    """Two new schools: of one new district Var λ + E κ²; of a known one Var μ; else Var λ."""
    exact = calendar.reference()
    new = pd.DataFrame(
        {"district": ["x", "x", "z", "12", "12"], "school": ["p", "q", "p", "p", "q"]}
    )
    found = calendar.predict(new, outcomes=False, random_seed=5)
    p, q, apart, here, beside = found.datatree["predictions"]["y_mean"].to_numpy().reshape(-1, 5).T
    var_lam = float(exact.sd["lam"]) ** 2
    kappa2 = float(exact.sd["kappa"]) ** 2 + float(exact.mean["kappa"]) ** 2
    tau2 = float(exact.sd["tau"]) ** 2 + float(exact.mean["tau"]) ** 2
    assert_covariance(p, q, var_lam + kappa2)
    assert_covariance(p, apart, var_lam)
    assert_covariance(here, beside, float(exact.sd["mu"].sel(district="12")) ** 2)
    variance = found.sd["y_mean"].to_numpy() ** 2
    np.testing.assert_allclose(variance[0], var_lam + kappa2 + tau2, rtol=1e-8)
    np.testing.assert_allclose(
        variance[3], float(exact.sd["mu"].sel(district="12")) ** 2 + tau2, rtol=1e-8
    )


def test_rows_of_one_new_group_share_its_value_but_not_their_noise(pastes):
    new = pd.DataFrame({"batch": ["K", "A", "K", "A", "A"], "cask": ["a", "d", "a", "d", "e"]})
    found = pastes.predict(new, random_seed=1)
    draws = found.datatree["predictions"].to_dataset()
    mean, outcome = draws["strength_mean"].to_numpy(), draws["strength"].to_numpy()
    np.testing.assert_array_equal(mean[..., 0], mean[..., 2])
    np.testing.assert_array_equal(mean[..., 1], mean[..., 3])
    assert not (mean[..., 3] == mean[..., 4]).any()
    noise = (outcome - mean) / pastes.datatree["posterior"]["sigma"].to_numpy()[..., None]
    z = np.corrcoef(noise.reshape(-1, 5).T) - np.eye(5)
    assert np.abs(z).max() < 4.5 / np.sqrt(4000)
    assert stats.kstest(noise.ravel(), stats.norm.cdf).pvalue > 1e-3


def test_without_the_column_of_a_level_every_row_is_a_new_unit(pastes):
    batches = pastes.predict(pd.DataFrame({"batch": ["A", "A", "K", "K"]}), random_seed=1)
    assert batches.kind.tolist() == ["new cask in known batch"] * 2 + ["new batch"] * 2
    draws = batches.datatree["predictions"]["strength_mean"].to_numpy().reshape(-1, 4)
    kappa2 = float((pastes.datatree["posterior"]["kappa"] ** 2).mean())
    assert not (draws[:, 0] == draws[:, 1]).any()
    assert np.cov(draws[:, 2], draws[:, 3])[0, 1] > 0.5 * kappa2  # still one batch
    nothing = pastes.predict(pd.DataFrame(index=["first", "second"]), random_seed=1)
    assert nothing.kind.tolist() == ["new batch"] * 2
    draws = nothing.datatree["predictions"]["strength_mean"].to_numpy().reshape(-1, 2)
    assert abs(np.cov(draws.T)[0, 1]) < 0.5 * kappa2  # two batches


def test_known_groups_keep_the_joint_draws_of_the_fit():
    data = studies(known=False)
    fit = hm.fit(data, "y ~ year + dose + (1 | school/room)", draws=50, random_seed=1)
    lean = hm.fit(
        data, "y ~ year + dose + (1 | school/room)", draws=50, random_seed=1, memory_budget=1e3
    )
    new = data.sample(frac=1, random_state=1)
    found = fit.predict(new, random_seed=2).datatree["predictions"].to_dataset()
    posterior = fit.datatree["posterior"].to_dataset()
    expected = posterior["theta"].sel(room=new["room"].to_numpy()).to_numpy()
    expected = expected + posterior["beta"].to_numpy() @ new[["year", "dose"]].to_numpy().T
    np.testing.assert_allclose(found["y_mean"], expected, rtol=1e-12)
    assert "theta" not in lean.datatree["posterior"]
    on_demand = lean.predict(new, random_seed=2).datatree["predictions"].to_dataset()
    assert on_demand.equals(found)


def test_a_seed_gives_the_same_bits_and_other_streams_than_the_fit(eight):
    new = pd.DataFrame({"school": ["A", "new"], "sigma": 10.0})
    first, second, other = (eight.predict(new, random_seed=s).datatree for s in (1, 1, 2))
    assert first["predictions"].to_dataset().equals(second["predictions"].to_dataset())
    assert not first["predictions"].to_dataset().equals(other["predictions"].to_dataset())
    draws = eight.datatree["posterior"].to_dataset()  # was drawn with seed 1, too
    new_theta = first["predictions"]["y_mean"].to_numpy()[..., 1]
    z_new = ((new_theta - draws["mu"]) / draws["tau"]).to_numpy().ravel()
    z_known = ((draws["theta"] - draws["mu"]) / draws["tau"]).to_numpy().reshape(-1, 8)
    z_known = np.clip(z_known, -4, 4)
    assert np.abs(np.corrcoef(z_new, z_known.T)[0, 1:]).max() < 4 / np.sqrt(4000)
    twins = [eight.predict(new, random_seed=np.random.default_rng(3)).datatree for _ in range(2)]
    assert twins[0]["predictions"].to_dataset().equals(twins[1]["predictions"].to_dataset())


def test_streams_of_one_seed_are_apart():
    states = [
        np.random.SeedSequence(1),
        *np.random.SeedSequence(1).spawn(2),
        named_seed(1, "predict"),
        named_seed(1, "posterior_predictive"),
    ]
    assert len({tuple(state.generate_state(4)) for state in states}) == 5


def test_predictions_do_not_ask_which_engine_drew(eight):
    other = Fit(replace(eight.posterior, engine="nuts"))
    first, second = (fit.predict(random_seed=1) for fit in (eight, other))
    assert first.to_frame().equals(second.to_frame())
    assert (
        first.datatree["predictions"]
        .to_dataset()
        .equals(second.datatree["predictions"].to_dataset())
    )


def test_draws_of_nuts(mcmc):
    found = mcmc.predict(random_seed=1)
    draws = found.datatree["predictions"]["y_mean"].mean(["chain", "draw"])
    assert float((np.abs(draws - found.mean["y_mean"]) / found.sd["y_mean"]).max()) < 0.15


def test_more_draws_than_memory(eight):
    found = eight.predict(memory_budget=1e5)
    assert np.isfinite(found.to_frame()["y_sd"]).all()
    with pytest.raises(hm.SpecError, match=r"4,000 draws need 0\.55 MiB \(y_mean 0.27 MiB, y 0.27"):
        _ = found.datatree


# Without new data


def test_the_two_cases_of_the_lecture(eight, schools):
    found = eight.predict()
    table = found.to_frame()
    assert table["school"].tolist() == [*"ABCDEFGH", "(new)"]
    assert table["kind"].tolist() == ["known school"] * 8 + ["new school"]
    exact = eight.reference()
    np.testing.assert_allclose(table["mean"][:8], exact.mean["theta"], rtol=1e-12)
    np.testing.assert_allclose(table["sd"][:8], exact.sd["theta"], rtol=1e-12)
    total = np.sqrt(exact.sd["theta"].to_numpy() ** 2 + schools["sigma"] ** 2)
    np.testing.assert_allclose(table["y_sd"][:8], total, rtol=1e-12)
    assert found.rows.se[-1] == np.median(schools["sigma"])
    assert "sigma: the median of those of the known group's rows" in repr(found)


def test_every_level_of_three(calendar):
    found = calendar.predict()
    data = hm.datasets.load_school_calendar()
    kinds = ["known school"] * 56 + ["new school in known district"] * 11 + ["new district"]
    assert found.kind.tolist() == kinds
    table = found.to_frame()
    medians = data.groupby("district")["se"].median()
    rows = table["kind"] == kinds[-2]
    assert dict(zip(table["district"][rows], found.rows.se[rows], strict=True)) == medians.to_dict()
    exact = calendar.reference()
    np.testing.assert_allclose(table["mean"][rows], exact.mean["mu"], rtol=1e-9)
    pairs = set(map(tuple, table[["district", "school"]][:56].to_numpy()))
    assert pairs == set(map(tuple, data[["district", "school"]].to_numpy()))


def test_at_the_means_of_covariates():
    data = studies(known=False)
    found = hm.fit(data, "y ~ year + dose + (1 | room)", draws=10).predict()
    np.testing.assert_allclose(
        found.rows.x, np.tile(data[["year", "dose"]].mean(), (len(found), 1))
    )
    assert "at the covariates' means: year = " in repr(found)


# Labels


def kinds_of(fit, **columns):
    return fit.predict(pd.DataFrame(columns), outcomes=False).kind.tolist()


def test_inner_labels_are_looked_up_within_outer_ones(pastes):
    """Cask a of batch B is not cask a of batch A; all batches have casks a, b and c."""
    batch, cask = ["B", "A", "A", "K"], ["a", "a", "d", "a"]
    found = pastes.predict(pd.DataFrame({"batch": batch, "cask": cask}))
    theta = pastes.reference().mean["theta"].sel(cask=["B/a", "A/a"])
    np.testing.assert_allclose(found.mean["strength_mean"][:2], theta, rtol=1e-10)
    known, fresh, new = "known cask", "new cask in known batch", "new batch"
    assert found.kind.tolist() == [known, known, fresh, new]


def test_numbers_and_text_that_are_written_alike():
    data = studies(known=False)
    codes, _ = pd.factorize(data["room"])
    numbers = hm.fit(data.assign(room=codes), "y ~ (1 | room)", draws=10)
    text = hm.fit(data.assign(room=codes.astype(str)), "y ~ (1 | room)", draws=10)
    for fit in (numbers, text):
        for labels in ([1, 0], ["1", "0"], pd.Categorical([1, 0])):
            found = fit.predict(pd.DataFrame({"room": labels}))
            assert found.kind.tolist() == ["known room"] * 2
            expected = fit.reference().mean["theta"][[1, 0]]
            np.testing.assert_allclose(found.mean["y_mean"], expected, rtol=1e-10)
    assert kinds_of(numbers, room=[1, 99]) == ["known room", "new room"]
    assert kinds_of(text, room=["1", "99"]) == ["known room", "new room"]
    for fit, labels, kind in [
        (numbers, ["1", "99"], "whole numbers"),
        (numbers, [1.0, 2.5], "whole numbers"),
        (text, [1, 99], "text"),
        (text, [1.0, 99.0], "text"),
    ]:
        with pytest.raises(hm.DataError, match=f"labels of new groups must be {kind}"):
            kinds_of(fit, room=labels)


def test_numbers_that_begin_anew_in_each_school():
    data = studies(known=False)
    data["room"] = data["room"].str[-1].astype(int)
    fit = hm.fit(data, "y ~ (1 | school/room)", draws=10)
    assert kinds_of(fit, school=["s1", "s1", "x"], room=[0, 77, 0]) == [
        "known room",
        "new room in known school",
        "new school",
    ]
    with pytest.raises(hm.DataError, match="labels of new groups must be whole numbers"):
        kinds_of(fit, school=["s1"], room=[77.5])


def test_labels_that_may_be_meant_in_two_ways(pastes, calendar):
    """A school's number of its own under another district; a name as coordinates write it."""
    message = "'1' stands under district '12' in row 0; .* it is school '1' of district '11'"
    with pytest.raises(hm.DataError, match=message):
        kinds_of(calendar, district=["12"], school=["1"])
    with pytest.raises(hm.DataError, match="under district 'new' in row 0"):
        kinds_of(calendar, district=["new"], school=["1"])
    with pytest.raises(hm.DataError, match=r"it is cask 'a' of batch 'A'\. Write known groups"):
        kinds_of(pastes, batch=["A"], cask=["A/a"])


def test_order_index_and_labels_are_kept(pastes):
    data = hm.datasets.load_pastes().sample(frac=1, random_state=2)
    data.index = [f"assay {i}" for i in range(60)]
    found = pastes.predict(data, random_seed=1)
    table = found.to_frame()
    assert table.index.equals(data.index)
    assert table[["batch", "cask"]].equals(data[["batch", "cask"]].astype(table["batch"].dtype))
    assert found.datatree["predictions"]["row"].values.tolist() == data.index.tolist()
    theta = pastes.reference().mean["theta"].sel(cask=(data["batch"] + "/" + data["cask"]).tolist())
    np.testing.assert_allclose(table["mean"], theta, rtol=1e-10)
    constant = found.datatree["predictions_constant_data"].to_dataset()
    assert constant["batch"].values.tolist() == data["batch"].tolist()
    assert set(constant["kind"].values) == {"known cask"}
    nested = data.set_index(["batch", "cask"], drop=False).rename_axis(["b", "c"])
    assert pastes.predict(nested).to_frame().index.equals(nested.index)
    assert pastes.predict(nested).datatree["predictions"]["row"].values.tolist() == [*range(60)]


def test_polars(pastes):
    frame = polars.DataFrame({"batch": ["K", "A"], "cask": ["a", "b"]})
    expected = pastes.predict(frame.to_pandas()).to_frame()
    pd.testing.assert_frame_equal(pastes.predict(frame).to_frame(), expected)


def test_predictions_are_saved(pastes, tmp_path):
    import xarray as xr

    tree = pastes.predict(random_seed=1).datatree
    tree.to_netcdf(tmp_path / "predictions.nc", engine="h5netcdf")
    read = xr.open_datatree(tmp_path / "predictions.nc", engine="h5netcdf").load()
    assert read["predictions"].to_dataset().equals(tree["predictions"].to_dataset())


# Refusals and appearance


REFUSED = {
    "no se": ({"school": ["A"]}, "no column 'sigma'.*outcomes=False"),
    "se": ({"school": ["A"], "sigma": [0.0]}, "expected positive standard errors"),
    "gap": ({"school": ["A", "B"], "sigma": [1.0, None]}, "missing value, in row 1. Fill them, or"),
    "empty": ({"school": [""], "sigma": [1.0]}, "empty label"),
    "misspelt": ({"shcool": ["A"], "sigma": [1.0]}, "no column 'school'.*found 'shcool'"),
    "rows": ({"school": [], "sigma": []}, "the frame is empty"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(eight, case):
    columns, message = REFUSED[case]
    with pytest.raises(hm.DataError, match=message):
        eight.predict(pd.DataFrame(columns))


def test_refusals_of_covariates_and_levels(pastes):
    data = studies(known=False).assign(sex=lambda d: np.where(d["dose"] > 0, "f", "m"))
    fit = hm.fit(data, "y ~ sex + dose + (1 | room)", draws=10)
    with pytest.raises(hm.DataError, match="there is no column 'sex'"):
        fit.predict(data[["room", "dose"]])
    with pytest.raises(hm.DataError, match="the data that were fitted have the levels 'f', 'm'"):
        fit.predict(data.assign(sex="x"))
    with pytest.raises(hm.DataError, match="column 'dose': 1 missing value, in row 4"):
        fit.predict(data.assign(dose=data["dose"].mask(data.index == 4)))
    with pytest.raises(hm.DataError, match="no column 'batch', which says what the labels of"):
        pastes.predict(pd.DataFrame({"cask": ["a"]}))
    with pytest.raises(hm.DataError, match="expected a data frame"):
        pastes.predict([1, 2])
    found = pastes.predict()
    for call in (
        lambda: found.quantile(1.5),
        lambda: found.quantile(0.5, ["theta"]),
        lambda: found.cdf("theta", [0.0]),
        lambda: found.to_frame(ci_prob=89),
    ):
        with pytest.raises(hm.SpecError):
            call()


def test_what_is_shown_stays_short(pastes):
    new = pd.concat([hm.datasets.load_pastes()] * 167)
    found = pastes.predict(new)
    assert len(repr(found).splitlines()) < 20
    assert "10,020 × known cask" in repr(found)
    assert "… 10,010 more rows" in found._repr_html_()
    evil = pd.DataFrame({"batch": ["<b>"], "cask": ["<script>"]})
    assert "<script>" not in pastes.predict(evil)._repr_html_()
    assert len(found.to_frame()) == 10_020


def test_a_group_called_like_a_column_of_the_table():
    data = studies(known=False).rename(columns={"room": "mean"})
    table = hm.fit(data, "y ~ (1 | mean)", draws=10).predict().to_frame()
    assert table["mean"].tolist()[-1] == "(new)"
    assert np.isfinite(table["mean_"]).all()
