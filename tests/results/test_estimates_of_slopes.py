"""Estimates of groups where slopes vary, and with three columns of groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.data.covariates import locate
from hiermodels.exact.block_plug_in import plug_in_blocks
from hiermodels.exact.block_reference import BlockReference
from hiermodels.exact.blocks.likelihood import maximize
from hiermodels.exact.quadrature import IntegratedPosterior
from tests.oracles.growth import oxboys
from tests.oracles.mixed_models import Mixed, indicators
from tests.oracles.slopes import cakes
from tests.results.test_predict_slopes import CASES


def _sleep():
    return hm.datasets.load_sleepstudy()


def _cakes():
    angle, t, recipe, batch = cakes()
    names = {"recipe": [f"r{r}" for r in recipe], "batch": [f"b{b}" for b in batch]}
    return pd.DataFrame({"angle": angle, "t": t, **names})


def _found(reference, restricted):
    return maximize(reference.posterior.marginal.residual, restricted)


def _dense(found, frame, outcome, x, terms, group):
    """The oracle at the covariance that was found, of one column of groups."""
    codes, labels = pd.factorize(frame[group], sort=True)
    factor = found.factors[0][..., 0] * found.sigma
    effects = np.kron(np.eye(len(labels)), factor @ factor.T)
    errors = found.sigma**2 * np.eye(len(frame))
    return Mixed(
        frame[outcome].to_numpy(), x, indicators(codes, terms, len(labels)), effects, errors
    )


def _with_one(column):
    return np.column_stack([np.ones(len(column)), column])


# lme4's vignette (sleep study), and Pinheiro & Bates (2000), Mixed-Effects Models
AGE = "age + (1 + age | Subject)"
DAYS = "Reaction ~ Days + (1 + Days | Subject)"
PUBLISHED = [
    (_sleep, DAYS, "reml", 1743.628, 24.7405, 5.9221, 0.0656),
    (_sleep, DAYS, "ml", 1751.939, 23.7806, 5.7168, 0.0813),
    (hm.datasets.load_orthodont, f"distance ~ {AGE}", "reml", 442.6367, 2.3270, 0.22643, -0.609),
    (oxboys, f"height ~ {AGE}", "reml", 724.0909, 8.08107, 1.680717, 0.641),
]


@pytest.mark.parametrize(
    ("load", "formula", "method", "criterion", "intercept", "slope", "rho"), PUBLISHED
)
def test_published_criteria_and_sds(load, formula, method, criterion, intercept, slope, rho):
    """To all digits that are published, and the criterion to 1e-10 by dense algebra."""
    frame = load()
    reference = hm.reference(frame, formula)
    found = _found(reference, method == "reml")
    deviance = -2 * found.log_likelihood
    assert deviance == pytest.approx(criterion, abs=6e-4)
    outcome, x, group = *frame.columns[:2], "Subject"
    terms = _with_one(frame[x].to_numpy(dtype=float))
    dense = _dense(found, frame, outcome, terms, terms, group)
    assert deviance == pytest.approx(dense.criterion(method == "reml"), rel=1e-12, abs=1e-10)
    sds = reference.plug_in(method, locate(reference.data, "zero")).sds.sds
    assert sds[f"tau[{x}]"] == pytest.approx(slope, rel=1e-4)
    assert sds["tau[Intercept]"] == pytest.approx(intercept, rel=1e-4)
    assert sds["rho"] == pytest.approx(rho, abs=6e-4)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_no_other_place_is_higher(method):
    """The dense criterion rises from the maximum by as much in both directions of each number."""
    frame = hm.datasets.load_orthodont()
    found = _found(hm.reference(frame, "distance ~ age + (1 + age | Subject)"), method == "reml")
    terms = _with_one(frame["age"].to_numpy())
    best = _dense(found, frame, "distance", terms, terms, "Subject")
    spread = best.effects[:2, :2]
    for i, j in ((0, 0), (0, 1), (1, 1)):
        step = np.zeros((2, 2))
        step[i, j] = step[j, i] = 1e-3 * np.sqrt(spread[i, i] * spread[j, j])
        up, down = (
            replace(best, effects=best.effects + np.kron(np.eye(27), s)) for s in (step, -step)
        )
        rises = [
            m.criterion(method == "reml") - best.criterion(method == "reml") for m in (up, down)
        ]
        assert min(rises) > 0
        assert abs(rises[0] - rises[1]) < 0.02 * max(rises)


@pytest.fixture(scope="module")
def sleep():
    """The sleep study, of which one subject has one row only, and another two of one day."""
    frame = _sleep()
    first, second = (frame["Subject"] == label for label in ("308", "309"))
    kept = frame[~(first & (frame["Days"] > 0)) & ~(second & (frame["Days"] > 1))].copy()
    kept.loc[kept["Subject"] == "309", "Days"] = 4
    return kept.reset_index(drop=True)


@pytest.mark.parametrize("at", ["zero", "means", {"Days": 4}])
def test_columns_are_those_of_dense_algebra(sleep, at):
    """Raw, pooled, empirical Bayes and coefficients with their errors, at any x."""
    reference = hm.reference(sleep, "Reaction ~ Days + (1 + Days | Subject)")
    found = _found(reference, True)
    days = sleep["Days"].to_numpy(dtype=float)
    terms = _with_one(days)
    dense = _dense(found, sleep, "Reaction", terms, terms, "Subject")
    x = {"zero": 0.0, "means": days.mean()}.get(at, 4.0) if isinstance(at, str) else 4.0
    each, n = np.array([[1.0, x], [0.0, 1.0]]), 18
    mean, covariance = dense.combinations(np.tile(each, (n, 1)), np.kron(np.eye(n), each))
    table = plug_in_blocks(reference.spec, reference.posterior, "reml", locate(reference.data, at))
    columns = table.effects["theta"]
    np.testing.assert_allclose(columns["eb"], mean, rtol=1e-9)
    np.testing.assert_allclose(columns["eb_sd"], np.sqrt(np.diag(covariance)), rtol=1e-8)
    pooled = each @ np.linalg.lstsq(terms, dense.y)[0]
    np.testing.assert_allclose(columns["pooled"], np.tile(pooled, n), rtol=1e-10)
    for number, label in enumerate(np.unique(sleep["Subject"])):
        own, raw = terms[sleep["Subject"] == label], columns["raw"][2 * number : 2 * number + 2]
        y, error = dense.y[sleep["Subject"] == label], columns["raw_se"][2 * number :][:2]
        if np.linalg.matrix_rank(own) == 2:
            inverse = np.linalg.inv(own.T @ own)
            np.testing.assert_allclose(raw, each @ inverse @ own.T @ y, rtol=1e-9)
            variance = found.sigma**2 * np.diag(each @ inverse @ each.T)
            np.testing.assert_allclose(error, np.sqrt(variance), rtol=1e-9)
            continue
        assert np.isnan(raw[1])
        assert np.isnan(error[1])
        if own[0, 1] == x:
            assert raw[0] == pytest.approx(y.mean(), rel=1e-10)
            assert error[0] == pytest.approx(found.sigma / np.sqrt(len(y)), rel=1e-10)
        else:
            assert np.isnan(raw[0])
    gamma, spread = dense.coefficients
    np.testing.assert_allclose(table.coefficients, each @ gamma, rtol=1e-9)
    np.testing.assert_allclose(
        table.coefficient_ses, np.sqrt(np.diag(each @ spread @ each.T)), rtol=1e-9
    )


def test_blups_of_the_sleep_study_as_lme4_has_them():
    """``coef(fm1)$Subject`` of the first three subjects, as published in lme4's documentation."""
    fit = hm.fit(_sleep(), "Reaction ~ Days + (1 + Days | Subject)", random_seed=1, draws=50)
    blups = fit.estimates().table["eb"]
    published = {"308": (253.6637, 19.6663), "309": (211.0064, 1.8476), "310": (212.4447, 5.0184)}
    for label, values in published.items():
        np.testing.assert_allclose(blups.loc[label], values, atol=3e-4)


def test_singular_correlations_are_ordinary():
    """The cakes, of which ``lmer`` says "singular": ρ = 1, and nothing is higher."""
    frame = _cakes()
    reference = hm.reference(frame, "angle ~ t + recipe + (1 + t | batch)")
    found = _found(reference, True)
    sds = plug_in_blocks(
        reference.spec, reference.posterior, "reml", locate(reference.data, "zero")
    ).sds
    assert sds.sds["rho"] == pytest.approx(1.0, abs=1e-12)
    recipes = [(frame["recipe"] == r).to_numpy(dtype=float) for r in ("r1", "r2")]
    x = np.column_stack([np.ones(270), frame["t"], *recipes])
    # labels in the order of their codes: the oracle sorts them as the package does
    terms = _with_one(frame["t"].to_numpy())
    dense = _dense(found, frame, "angle", x, terms, "batch")
    best = dense.criterion(True)
    assert -2 * found.log_likelihood == pytest.approx(best, rel=1e-12)
    sd = np.sqrt(np.diag(dense.effects[:2, :2]))
    for rho in (0.9, 0.99, 0.999):
        spread = np.outer(sd, sd) * np.array([[1, rho], [rho, 1]])
        other = replace(dense, effects=np.kron(np.eye(45), spread))
        assert other.criterion(True) > best


def test_sds_of_zero_are_ordinary():
    """Rows without any slope between groups: the sd is exactly 0, ρ is not defined."""
    rng = np.random.default_rng(3)
    group, x = np.repeat(np.arange(12), 5), np.tile(np.arange(5.0), 12)
    noise = rng.normal(size=(12, 5))
    noise -= noise.mean(axis=1, keepdims=True)
    noise -= (noise @ (np.arange(5) - 2))[:, None] * (np.arange(5) - 2) / 10
    y = 2 * rng.normal(size=12)[group] + 0.3 * x + noise.ravel()
    frame = pd.DataFrame({"y": y, "x": x - 2, "g": [f"g{i}" for i in group]})
    fit = hm.fit(frame, "y ~ x + (1 + x | g)", random_seed=1, draws=50)
    found = fit.estimates()
    assert found.sds["tau[x]"] == 0
    assert np.isnan(found.sds["rho"])
    alone = hm.fit(frame, "y ~ x + (1 | g)", random_seed=1, draws=50).estimates()
    assert found.sds["tau[Intercept]"] == pytest.approx(alone.sds["tau"], rel=1e-8)
    intercepts = found.table["eb"].xs("Intercept", level="effect")
    np.testing.assert_allclose(intercepts, alone.table["eb"], rtol=1e-8)


CALENDAR = "y ~ year + (1 | district/school)"


@pytest.mark.parametrize("at", ["zero", "means", "own"])
@pytest.mark.parametrize(
    ("load", "formula", "options"),
    [
        (hm.datasets.load_school_calendar, CALENDAR, {"se": "se"}),
        (hm.datasets.load_pastes, "strength ~ 1 + (1 | batch/cask)", {}),
        (_sleep, "Reaction ~ Days + (1 | Subject)", {}),
        (_sleep, "Reaction ~ 0 + Days + (1 | Subject)", {}),
    ],
)
def test_intercepts_alone_are_as_by_the_tree(load, formula, options, at):
    """Blocks of one effect, and the scalar recursion: two computations of the same estimates."""
    blocks_or_tree = hm.reference(load(), formula, **options)
    tree = IntegratedPosterior.of(blocks_or_tree.spec, blocks_or_tree.data)
    blocks = BlockReference.of(tree.spec, tree.data)
    place = locate(tree.data, at)
    for method in ("reml", "ml"):
        one, other = (exact.plug_in(method, place) for exact in (blocks, tree))
        for name, sd in other.sds.sds.items():
            assert one.sds.sds[name] == pytest.approx(sd, rel=1e-6)
        for kind in ("effects", "weights"):
            for name, columns in getattr(other, kind).items():
                for column, values in columns.items():
                    found = getattr(one, kind)[name][column]
                    size = np.abs(values).max()
                    np.testing.assert_allclose(found, values, rtol=1e-6, atol=1e-7 * size)
        np.testing.assert_allclose(one.coefficients, other.coefficients, rtol=1e-7)
        np.testing.assert_allclose(one.coefficient_ses, other.coefficient_ses, rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_all_levels_given_known_sds(name):
    """Empirical Bayes at x = 0.5 of every level's groups, where slopes vary at any of them."""
    case = CASES[name]
    fit = hm.fit(case.frame, case.formula, priors=case.priors, draws=25, random_seed=1)
    found, columns = fit.estimates(at={"x": 0.5}), [column for column, _ in case.levels]
    tables = [found.outermost, found.outer, found.table][-len(columns) :]
    for number, table in enumerate(tables):
        known = columns[: number + 1]
        groups = case.frame[known].drop_duplicates().sort_values(known)
        groups = pd.concat([groups.assign(**dict.fromkeys(columns[number + 1 :], "new"))] * 2)
        size = len(groups) // 2
        mean, covariance = case.truth(groups.assign(x=np.repeat([0.5, 1.5], size)))
        unit = np.eye(size)
        combinations = {
            "Intercept": np.hstack([unit, 0 * unit]),
            "x": np.hstack([-unit, unit]),
        }
        for term in case.levels[number][1]:
            own = table.xs(term, level="effect") if table.index.nlevels > 1 else table
            rows = combinations[term]
            np.testing.assert_allclose(own["eb"], rows @ mean, rtol=1e-9, atol=1e-10)
            if number + 1 == len(columns):
                sd = np.sqrt(np.diag(rows @ covariance @ rows.T))
                np.testing.assert_allclose(own["eb_sd"], sd, rtol=1e-9)
                np.testing.assert_allclose(own["sd"], sd, rtol=1e-8)
            np.testing.assert_allclose(own["mean"], own["eb"], rtol=1e-8, atol=1e-9)
    assert "fixed" in repr(fit.estimates().table) or found.sds["sigma"] == 0.8


def test_raw_effects_where_slopes_vary_above():
    """Of a class: the mean of its rows at its school's slope, with the error of so many rows."""
    case = CASES["outer slopes"]
    fit = hm.fit(case.frame, case.formula, priors=case.priors, draws=25, random_seed=1)
    found = fit.estimates(at={"x": 0.5})
    slopes = found.outer["eb"].xs("x", level="effect")
    frame = case.frame
    shown = frame["y"] - slopes.loc[frame["a"]].to_numpy() * (frame["x"] - 0.5)
    groups = shown.groupby([frame["a"], frame["b"]])
    np.testing.assert_allclose(found.table["raw"], groups.mean(), rtol=1e-9)
    np.testing.assert_allclose(found.table["raw_se"], 0.8 / np.sqrt(groups.size()), rtol=1e-9)


def test_shrinkage_of_four_levels():
    """B = e/(e + tau²) at the estimates, and its mean over the posterior by the draws."""
    case = CASES["four levels"]
    fit = hm.fit(case.frame, case.formula, draws=2500, random_seed=1)
    found = fit.estimates()
    for table, name in ((found.outermost, "tau_a"), (found.outer, "tau_b"), (found.table, "tau_c")):
        error = table["raw_se"] ** 2
        expected = error / (error + found.sds[name] ** 2)
        np.testing.assert_allclose(table["shrinkage_eb"], expected, rtol=1e-8)
    kept = fit.datatree["posterior"]
    error = kept["sigma"].to_numpy().ravel() ** 2 / 3
    shares = error / (error + kept["tau_c"].to_numpy().ravel() ** 2)
    full = case.frame.groupby(["a", "b", "c"]).size().to_numpy() == 3
    difference = found.table["shrinkage"].to_numpy()[full] - shares.mean()
    assert np.abs(difference).max() < 4.5 * shares.std() / np.sqrt(len(shares))


@pytest.mark.filterwarnings("ignore::hiermodels.errors.PrecisionWarning")
def test_what_the_rows_do_not_determine_is_nan():
    """With two rows in each group two effects leave nothing for σ: no estimate, and a reason."""
    rng = np.random.default_rng(1)
    group, x = np.repeat(np.arange(8), 2), np.tile([-1.0, 1.0], 8)
    y = rng.normal(size=16) + rng.normal(size=8)[group]
    frame = pd.DataFrame({"y": y, "x": x, "g": [f"g{i}" for i in group]})
    priors = {"sigma": hm.HalfNormal(1)}
    fit = hm.fit(frame, "y ~ x + (1 + x | g)", priors=priors, random_seed=1, draws=25)
    found = fit.estimates()
    assert np.isnan(list(found.sds.values())).all()
    assert found.table["eb"].isna().all()
    assert found.table[["pooled", "mean"]].notna().all(axis=None)
    assert "no estimate" in repr(found.table)


def test_sds_that_the_likelihood_does_not_tell_apart_are_nan():
    """One class in each school: the data know the sum of their variances."""
    case = CASES["outer slopes"]
    frame = case.frame[case.frame["b"] == "b1"]
    frame = frame.assign(y=frame["y"] + 2.0 * pd.factorize(frame["a"])[0])
    priors = {"tau_b": hm.HalfNormal(1)}
    fit = hm.fit(frame, case.formula, priors=priors, random_seed=1, draws=25)
    found = fit.estimates()
    assert np.isnan(found.sds["tau_b"])
    assert np.isnan(found.sds["tau_a[Intercept]"])
    assert found.sds["tau_a[x]"] >= 0
    assert "does not change" in repr(found.table)


def test_truth_by_effect(sleep):
    """Errors of intercepts and of slopes, one by one; true values as a frame or a Series."""
    fit = hm.fit(sleep, "Reaction ~ Days + (1 + Days | Subject)", random_seed=1, draws=25)
    truth = fit.estimates().table["mean"] + 1.0
    found = fit.estimates(truth)
    assert found.errors.loc[("Days", "posterior mean"), "rmse"] == pytest.approx(1.0)
    again = fit.estimates(truth.unstack())
    pd.testing.assert_frame_equal(found.errors, again.errors)
    with pytest.raises(hm.DataError, match="columns 'Intercept', 'Days'"):
        fit.estimates(truth.unstack()["Days"])


def test_methods_that_are_not_for_this_model_are_refused(sleep):
    """Moment estimators, and covariances of which a part is fixed."""
    formula = "Reaction ~ Days + (1 + Days | Subject)"
    fit = hm.fit(sleep, formula, random_seed=1, draws=25)
    with pytest.raises(hm.SpecError, match=r"'dl'.*use 'reml' or 'ml'"):
        fit.estimates(method="dl")
    priors = {"tau[Days]": hm.Fixed(6)}
    fit = hm.fit(sleep, formula, priors=priors, random_seed=1, draws=25)
    with pytest.raises(
        hm.SpecError, match=r"'tau\[Days\]' is fixed, and its effects are correlated"
    ):
        fit.estimates()
