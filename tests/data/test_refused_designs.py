"""Designs whose coefficients the data alone cannot tell apart: empty cells, and ridge priors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.polynomial.legendre import leggauss
from scipy import stats

import hiermodels as hm

TAU = {"tau": hm.HalfNormal(1)}
EMPTY = "a[z]:b[w]"
FORMULA = "y ~ a*b + (1 | g)"


def with_an_empty_cell():
    rng = np.random.default_rng(0)
    labels = {"a": list("xyz"), "b": list("uvw"), "g": list("ABCDEFGH")}
    data = pd.DataFrame({name: rng.choice(values, 40) for name, values in labels.items()})
    data["y"] = rng.normal(size=40)
    return data[(data["a"] != "z") | (data["b"] != "w")]


def test_an_empty_cell_of_an_interaction_is_left_out_and_said_so(capsys):
    """As if the columns of the other cells had been written out by hand."""
    data = with_an_empty_cell()
    names, by_hand = {}, data.copy()
    for level in "yz":
        by_hand[f"a{level}"] = names[f"a[{level}]"] = (data["a"] == level).astype(float)
    for level in "vw":
        by_hand[f"b{level}"] = names[f"b[{level}]"] = (data["b"] == level).astype(float)
    for cell in ("yv", "zv", "yw"):
        product = by_hand[f"a{cell[0]}"] * by_hand[f"b{cell[1]}"]
        by_hand[cell] = names[f"a[{cell[0]}]:b[{cell[1]}]"] = product
    found = hm.reference(data, FORMULA, priors=TAU)
    assert capsys.readouterr().out == f"left out, as no row lies in these cells: {EMPTY}\n"
    assert f"none in the cell '{EMPTY}'" in repr(found)
    columns = [column for column in by_hand if column not in data]
    exact = hm.reference(by_hand, outcome="y", groups="g", covariates=columns, priors=TAU)
    assert found.spec.covariates == tuple(names)
    for name in ("mu", "tau", "sigma", "beta"):
        np.testing.assert_allclose(found.mean[name], exact.mean[name], rtol=1e-8)
        np.testing.assert_allclose(found.sd[name], exact.sd[name], rtol=1e-8)


@pytest.mark.parametrize("how", ["statistics", "added", "lazy"])
def test_an_empty_cell_of_statistics(how):
    data = with_an_empty_cell()
    rows = hm.reference(data, FORMULA, priors=TAU)
    if how == "lazy":
        found = hm.reference(pl.from_pandas(data).lazy(), FORMULA, priors=TAU)
    else:
        levels = {"a": list("xyz"), "b": list("uvw")}
        parts = [data] if how == "statistics" else [data[:20], data[20:]]
        some = [hm.SufficientStatistics.of(part, FORMULA, levels=levels) for part in parts]
        found = hm.reference(sum(some), priors=TAU)
    for name in ("mu", "tau", "sigma", "beta"):
        np.testing.assert_allclose(found.mean[name], rows.mean[name], rtol=1e-8, atol=1e-10)


def test_nothing_is_predicted_in_an_empty_cell(tmp_path: Path):
    data = with_an_empty_cell()
    fit = hm.fit(data, FORMULA, priors=TAU, draws=20, random_seed=1)
    again = hm.load(fit.to_netcdf(tmp_path / "fit.nc"))
    assert again.data.design.empty == (EMPTY,)
    new = data[:3].assign(a=list("zzx"), b=list("vwu"))
    for one in (fit, again):
        assert len(one.predict(new.iloc[[0, 2]])) == 2
        with pytest.raises(hm.DataError, match=r"lie in the cell 'a\[z\]:b\[w\]'"):
            one.predict(new)


def test_an_empty_cell_of_the_reference_is_still_a_linear_combination():
    data = with_an_empty_cell()
    data["a"] = pd.Categorical(data["a"], ["z", "x", "y"])
    data["b"] = pd.Categorical(data["b"], ["w", "u", "v"])
    with pytest.raises(hm.DataError, match="is a linear combination"):
        hm.reference(data, FORMULA, priors=TAU)


def ridge():
    """Eight rows in four groups; columns that are equal, constant, and more than the rows."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(8, 11))
    x[:, 3], x[:, 5], x[:, 6] = x[:, 2], 1.0, [0, 0, 1, 1, 1, 0, 0, 0]
    data = pd.DataFrame(x, columns=[f"x{i}" for i in range(11)])
    return data.assign(g=list("aabbbccd"), y=rng.normal(size=8))


PRIORS = {
    "mu": hm.Normal(0, 2),
    "beta": hm.Normal(0.2, 0.7),
    "tau": hm.HalfNormal(1),
    "sigma": hm.HalfNormal(1),
}
RIDGE = "y ~ " + " + ".join(f"x{i}" for i in range(11)) + " + (1 | g)"


def test_more_coefficients_than_rows_under_normal_priors():
    """Against the rows' dense normal distribution, at 120 × 120 settings of the two sds."""
    data = ridge()
    x, y = data.filter(like="x").to_numpy(), data["y"].to_numpy()
    z = pd.get_dummies(data["g"]).to_numpy(float)
    place, weight = leggauss(120)
    sds = np.stack(np.meshgrid(*[4 * (place + 1)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    mass = np.outer(4 * weight, 4 * weight).ravel() * stats.halfnorm.pdf(sds).prod(axis=1)
    squares = sds[:, :, None, None] ** 2
    total = squares[:, 0] * z @ z.T + squares[:, 1] * np.eye(8) + 4 + 0.49 * x @ x.T
    away = y - x @ np.full(11, 0.2)
    solved = np.linalg.solve(total, np.broadcast_to(away[:, None], (len(sds), 8, 1)))[..., 0]
    log_density = -0.5 * (np.linalg.slogdet(total)[1] + solved @ away + 8 * np.log(2 * np.pi))
    mass *= np.exp(log_density)
    evidence = mass.sum()
    exact = hm.reference(data, RIDGE, priors=PRIORS)
    assert exact.log_marginal_likelihood == pytest.approx(np.log(evidence), abs=1e-8)
    mass /= evidence
    for i, name in enumerate(("tau", "sigma")):
        assert float(exact.mean[name]) == pytest.approx(mass @ sds[:, i], rel=1e-8)
    beta = 0.2 + 0.49 * mass @ solved @ x
    np.testing.assert_allclose(exact.mean["beta"], beta, rtol=1e-8, atol=1e-9)
    assert float(exact.mean["mu"]) == pytest.approx(4 * mass @ solved.sum(axis=1), rel=1e-8)


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        (["beta"], "column 'x5' is constant"),
        (["beta[x2]", "beta[x3]"], "column 'x3' is a linear combination of .* 'x2'"),
        ([f"beta[x{i}]" for i in range(11) if i not in (3, 5)], "9 columns and an intercept need"),
    ],
)
def test_what_nothing_tells_apart_is_still_refused(flat, message):
    data = ridge()
    for given in (data, hm.SufficientStatistics.of(data, RIDGE)):
        formula = RIDGE if given is data else None
        with pytest.raises(hm.DataError, match=message):
            hm.reference(given, formula, priors=PRIORS | dict.fromkeys(flat, hm.Flat()))


def test_statistics_of_more_coefficients_than_rows():
    data = ridge()
    priors = PRIORS | {"beta[x2]": hm.Flat()}
    rows = hm.reference(data, RIDGE, priors=priors)
    found = hm.reference(hm.SufficientStatistics.of(data, RIDGE), priors=priors)
    for name in ("mu", "tau", "sigma", "beta"):
        np.testing.assert_allclose(found.mean[name], rows.mean[name], rtol=1e-6, atol=1e-8)


def test_draws_and_predictions_of_more_coefficients_than_rows():
    data = ridge()
    fit = hm.fit(data, RIDGE, priors=PRIORS, random_seed=1)
    assert hm.compare(fit, fit).passed
    predicted = fit.predict(data, random_seed=1)
    rows = predicted.datatree["predictions"]["y_mean"].mean(("chain", "draw"))
    error = 5 * predicted.sd["y_mean"] / np.sqrt(4000)
    assert (np.abs(rows - predicted.mean["y_mean"]) < error).all()
