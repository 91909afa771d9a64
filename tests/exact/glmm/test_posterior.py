"""Draws and the reference of counts with covariates within groups, against other computations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.glmm.directions import corners, with_corners
from hiermodels.exact.glmm.draws import draw
from hiermodels.exact.glmm.lattice_points import LatticePoints
from hiermodels.exact.glmm.sphere_points import SpherePoints
from hiermodels.exact.glmm_data import takes_rows
from hiermodels.exact.glmm_grid import GlmmGrid
from hiermodels.exact.glmm_left_out import some_rows
from hiermodels.exact.row_propriety import require_proper
from hiermodels.results.loo import leave_one_out
from tests.oracles.rows_of_counts import binary, grid_means

PRIORS = {"mu": hm.Normal(-0.5, 1.0), "tau": hm.HalfNormal(0.7), "beta": hm.Normal(0.0, 1.0)}
ROOMS = {"formula": "y ~ x + (1 | room)", "family": "binomial", "priors": PRIORS}


def test_reference_against_a_grid_over_everything():
    """Which has an error of its own of about 1e-4."""
    with pytest.warns(hm.PrecisionWarning):
        exact = hm.reference(binary(), **ROOMS)
    expected = grid_means(binary())
    for name in ("tau", "mu", "beta", "theta", "p"):
        mean = exact.mean[name].to_numpy().ravel()
        np.testing.assert_allclose(mean, np.ravel(expected[name]), atol=4e-4, err_msg=name)
    for name in ("tau", "mu", "beta"):
        assert exact.sd[name].item() == pytest.approx(expected[f"sd of {name}"], abs=4e-4)


def test_leaving_out_a_room():
    """``E[1/m]``: against the ratio of the evidence with and without its rows."""
    whole = binary()
    with pytest.warns(hm.PrecisionWarning):
        both = hm.reference(whole, **ROOMS)
    with pytest.warns(hm.PrecisionWarning):
        less = hm.reference(whole[whole["room"] != 2], **ROOMS)
    expected = both.log_marginal_likelihood - less.log_marginal_likelihood
    found = leave_one_out(both, "room").elpd_i.sel(room=2).item()
    assert found == pytest.approx(expected, abs=1e-5)


def test_leaving_out_a_row():
    """``E[1/L]``: likewise."""
    whole = binary()
    with pytest.warns(hm.PrecisionWarning):
        both = hm.reference(whole, **ROOMS)
    with pytest.warns(hm.PrecisionWarning):
        less = hm.reference(whole.drop(index=5), **ROOMS)
    expected = both.log_marginal_likelihood - less.log_marginal_likelihood
    found = leave_one_out(both, "row").elpd_i[5].item()
    assert found == pytest.approx(expected, abs=1e-5)


def test_leaving_out_groups_with_covariates_of_their_own():
    """More of them than a lattice holds: what is left is a design without the group."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(14, 4)), columns=list("abcd"))
    frame = frame.assign(g=[f"g{i}" for i in range(14)], n=30, r=rng.integers(3, 27, 14))
    spec, data = prepare(frame, "r | trials(n) ~ a + b + c + d + (1 | g)", priors=PRIORS)
    assert takes_rows(spec, data)
    for group in range(14):
        less = some_rows(data, data.group != group)
        require_proper(spec, less)
        assert less.labels[0].tolist() == [f"g{i}" for i in range(14) if i != group]


# Crowder (1978), Applied Statistics 27:34, table 3: seeds that germinated on 21 plates.
SEEDS = {
    "r": [10, 23, 23, 26, 17, 5, 53, 55, 32, 46, 10, 8, 10, 8, 23, 0, 3, 22, 15, 32, 3],
    "n": [39, 62, 81, 51, 39, 6, 74, 72, 51, 79, 13, 16, 30, 28, 45, 4, 12, 41, 30, 51, 7],
    "seed": [0] * 11 + [1] * 10,
    "root": [0] * 5 + [1] * 6 + [0] * 5 + [1] * 5,
}
# Means and sds by an integration of its own over the same density, right to 1e-10.
KNOWN = {
    "tau": (0.38855109802, 0.14516122793),
    "mu": (-0.37959337549, 0.20247708180),
    "beta[seed]": (-0.38244923783, 0.25545092740),
    "beta[root]": (1.03098727203, 0.24579543646),
}
LOG_INTEGRAL = -59.74515515886


def seeds():
    """The grid of a model whose covariates are those of groups: the lattice's own, too."""
    frame = pd.DataFrame(SEEDS).assign(plate=[f"p{i}" for i in range(21)])
    priors = {"tau": hm.HalfNormal(1)}
    spec, data = prepare(frame, "r | trials(n) ~ seed + root + (1 | plate)", priors=priors)
    return GlmmGrid(spec, data)


@pytest.fixture(scope="module")
def grid():
    return seeds()


def columns(grid, tau, gamma):
    return np.column_stack([tau, grid.arrays.coefficients(gamma)])


def test_lattice_points(grid):
    points = LatticePoints.of(grid.marginal)
    values = columns(grid, points.tau, points.gamma)
    mean = points.means(values.T)
    sd = np.sqrt(points.means((values.T - mean[:, None]) ** 2))
    known = np.array(list(KNOWN.values())).T
    assert points.error < 1e-3
    np.testing.assert_allclose((mean - known[0]) / known[1], 0, atol=2e-5)
    np.testing.assert_allclose(sd / known[1], 1, atol=2e-5)
    evidence = points.lattice.log_integral + grid.arrays.constant.sum() + grid.arrays.log_volume
    assert evidence == pytest.approx(LOG_INTEGRAL, abs=1e-5)


def test_points_along_random_directions(grid):
    points = SpherePoints.of(grid.marginal, enough=2e-3)
    values = columns(grid, points.tau, points.gamma)
    mean = points.means(values.T)
    known = np.array(list(KNOWN.values())).T
    assert 1e-5 < points.error < 2e-3
    np.testing.assert_allclose((mean - known[0]) / known[1], 0, atol=points.error)
    evidence = points.lattice.log_integral + grid.arrays.constant.sum() + grid.arrays.log_volume
    assert evidence == pytest.approx(LOG_INTEGRAL, abs=1e-3)


def test_draws(grid):
    drawn = draw(grid.marginal, 8000, np.random.default_rng(2))
    values = columns(grid, drawn.tau, drawn.gamma)
    known = np.array(list(KNOWN.values())).T
    z = (values.mean(axis=0) - known[0]) / (known[1] / np.sqrt(8000))
    assert np.abs(z).max() < 4.5
    np.testing.assert_allclose(values.std(axis=0) / known[1], 1, atol=0.05)
    assert -0.01 < drawn.largest <= 0


@pytest.mark.parametrize("p", [1, 2, 3, 5, 8, 12])
def test_rules_for_directions(p):
    """Means of degree 4 over the sphere; odd ones vanish by symmetry."""
    unit, weight = with_corners(p, 2, np.random.default_rng(1))
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1)
    fourth = np.einsum("n,ni,nj,nk,nl->ijkl", weight, unit, unit, unit, unit)
    eye = np.eye(p)
    pairs = [np.einsum(f"{both}->ijkl", eye, eye) for both in ("ij,kl", "ik,jl", "il,jk")]
    np.testing.assert_allclose(fourth, sum(pairs) / (p * (p + 2)), atol=1e-14)
    signs = corners(p)
    assert (np.unique(-signs, axis=0) == signs).all()


def patients(kind, covariates, seed=3, n=200, hospitals=10):
    """Covariates of very different scales, away from 0."""
    rng = np.random.default_rng(seed)
    hospital = rng.integers(0, hospitals, n)
    frame = pd.DataFrame({"hospital": [f"h{i:02}" for i in hospital]})
    eta = -0.7 + 0.6 * rng.normal(size=hospitals)[hospital]
    for i in range(covariates):
        z = rng.normal(size=n)
        frame[f"x{i}"], eta = (z + 30) * 10.0**i, eta + 0.3 * z
    if kind == "binomial":
        return frame.assign(died=rng.random(n) < 1 / (1 + np.exp(-eta)))
    hours = rng.uniform(0.5, 4, n)
    return frame.assign(hours=hours, events=rng.poisson(hours * np.exp(eta)))


MODELS = {
    "binomial": ("died ~ x0 + x1 + x2 + x3 + (1 | hospital)", 4, "Monte Carlo over directions"),
    "poisson": ("events | rate(hours) ~ x0 + x1 + (1 | hospital)", 2, "no Monte Carlo error"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_covariates_of_any_scale(kind):
    """Draws against weighted points; and the same bits for the same seed."""
    formula, covariates, error = MODELS[kind]
    said = {"priors": {"tau": hm.HalfNormal(1)}, "random_seed": 4, "draws": 500}
    said |= {"family": "binomial"} if kind == "binomial" else {}
    frame = patients(kind, covariates)
    fit = hm.fit(frame, formula, **said)
    draws = fit.datatree["posterior"].to_dataset()
    again = hm.fit(frame, formula, **said).datatree["posterior"].to_dataset()
    assert draws.equals(again)
    with pytest.warns(hm.PrecisionWarning):
        exact = fit.reference()
    assert error in str(exact)
    for name in ("mu", "tau", "beta", "theta"):
        own = draws[name].mean(["chain", "draw"]) - exact.mean[name]
        assert float(np.abs(own / exact.sd[name]).max()) < 4.5 / np.sqrt(2000), name


@pytest.mark.parametrize("alike", [False, True])
def test_a_lattice_is_laid_where_it_can_hold_the_posterior(alike):
    """Not where tau is known well, but 0 is not ruled out: from its mode that is many sds away."""
    said = {"family": "binomial", "priors": {"tau": hm.HalfNormal(1)}}
    frame = patients("binomial", 3, n=2000, hospitals=500)
    if alike:
        frame["hospital"] = frame["hospital"].sample(frac=1, random_state=1).to_numpy()
    spec, data = prepare(frame, "died ~ x0 + x1 + x2 + (1 | hospital)", **said)
    assert LatticePoints.can_hold(GlmmGrid(spec, data).marginal) == alike


def test_a_tau_that_is_fixed():
    """One tau, and a prior of it beyond which there is nothing."""
    said = {**ROOMS, "random_seed": 1}
    fixed = hm.fit(binary(), **(said | {"priors": PRIORS | {"tau": hm.Fixed(0.5)}}))
    assert (fixed.datatree["posterior"]["tau"] == 0.5).all()
    bounded = hm.fit(binary(), **(said | {"priors": PRIORS | {"tau": hm.Uniform(0.5)}}))
    tau = bounded.datatree["posterior"]["tau"]
    assert 0.45 < float(tau.max()) <= 0.5


def test_no_group_varies():
    """Tau near 0, and a group of one row."""
    frame = binary().assign(room=lambda f: f["room"].where(f.index > 0, 9))
    fit = hm.fit(frame, **{**ROOMS, "priors": PRIORS | {"tau": hm.HalfNormal(1e-3)}}, random_seed=1)
    draws = fit.datatree["posterior"].to_dataset()
    assert float(np.abs(draws["theta"] - draws["mu"]).max()) < 0.01


def test_what_separates_is_named():
    frame = binary().assign(y=lambda f: f["x"] > 2)
    with pytest.raises(hm.ImproperPosteriorError, match=r"beta\[x\]"):
        hm.fit(frame, "y ~ x + (1 | room)", family="binomial", priors={"tau": hm.HalfNormal(1)})


def test_draws_on_demand_and_in_a_file(tmp_path):
    said = {**ROOMS, "random_seed": 3}
    kept = hm.fit(binary(), **said)
    fit = hm.fit(binary(), **said, memory_budget=1)
    assert "theta" not in fit.datatree["posterior"]
    expected = kept.datatree["posterior"]["theta"].sel(room=[2]).to_numpy()
    np.testing.assert_array_equal(fit.draws([2]).to_numpy(), expected)
    path = fit.to_netcdf(tmp_path / "fit.nc")
    np.testing.assert_array_equal(hm.load(path).draws([2]).to_numpy(), expected)


def herds(n):
    """The first herds of cbpp, of which the last ones have no case."""
    frame = hm.datasets.load_cbpp()
    return frame[frame["herd"].isin(frame["herd"].unique()[:n])]


def test_few_groups_under_a_flat_prior():
    """Eight herds, whose tau reaches to hundreds, are drawn; with six it would take too long."""
    how = {"formula": "incidence | trials(size) ~ period + (1 | herd)", "random_seed": 1}
    fit = hm.fit(herds(8), draws=50, **how)
    assert fit.datatree["posterior"].attrs["acceptance"] > 0.2
    with pytest.raises(hm.SpecError, match=r"would accept about 1 of .* proposals"):
        hm.fit(herds(6), **how)


def test_a_tau_that_is_fixed_at_almost_nothing():
    fit = hm.fit(binary(), **ROOMS | {"priors": PRIORS | {"tau": hm.Fixed(1e-9)}}, random_seed=1)
    assert (fit.datatree["posterior"]["tau"] == 1e-9).all()


def test_a_tau_far_from_0():
    """Counts so large that tau at 0 is less likely by e¹⁰⁰⁰: about as normal effects have it."""
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"g": np.repeat(np.arange(12), 5), "x": rng.normal(size=60)})
    effects = rng.normal(0, 0.8, 12)
    frame["y"] = rng.poisson(np.exp(9 + 0.3 * frame["x"] + effects[frame["g"]]))
    fit = hm.fit(
        frame, "y ~ x + (1 | g)", family="poisson", priors={"tau": hm.HalfNormal(1)}, random_seed=1
    )
    draws = fit.datatree["posterior"].to_dataset()
    normal = hm.reference(
        pd.DataFrame({"y": effects, "se": 1e-3, "g": range(12)}),
        "y ~ 1 + (1 | g)",
        se="se",
        priors={"tau": hm.HalfNormal(1)},
    )
    mean, sd = (float(part["tau"]) for part in (normal.mean, normal.sd))
    assert float(draws["tau"].mean()) == pytest.approx(mean, abs=5 * sd / np.sqrt(4000) + 0.01)
    assert draws.attrs["largest_ratio"] <= 1
