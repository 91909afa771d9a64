"""Statistics of groups with slopes in place of rows, in memory, in parts and in lazy frames."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.data.statistics import statistics_of
from hiermodels.exact.block_data import block_model
from hiermodels.exact.kernels.blocks.upward import evaluate

LINE = "Reaction ~ Days + (1 + Days | Subject)"
FORMULAS = {
    "line": "y ~ x + z + (1 + x | b)",
    "slopes alone": "y ~ x + z + (0 + x | b)",
    "no intercept": "y ~ 0 + x + z + (0 + x + z || b)",
    "two levels": "y ~ x + z + (0 + x | a) + (1 | a:b)",
    "slopes above": "y ~ x + z + (1 + x || a) + (1 | a:b)",
    "categories": "y ~ kind + x + (1 + kind || b)",
    "products": "y ~ x*z + (1 + x + x:z || a)",
}


def rows(seed: int = 1) -> pd.DataFrame:
    """Rows of groups of 1 to 6; x is constant in some, and 2z + 1 in others."""
    rng = np.random.default_rng(seed)
    size = np.array([1, 1, 2, 2, 3, 4, 5, 6, 6, 6, 6, 6, 4, 5])
    b = np.repeat(np.arange(len(size)), size)
    x, z = rng.normal(size=(2, len(b)))
    x[b == 2] = 0.1
    x[b == 5] = 2 * z[b == 5] + 1
    for group in (8, 9, 10, 11):  # of one design
        x[b == group] = [0.3, 0.1, 0.7, 0.2, 0.9, 0.8]
        z[b == group] = 0
    slope = rng.normal(size=len(size))[b]
    y = 3 + 2 * x - z + slope * x + rng.normal(size=len(size))[b] + rng.normal(size=len(b))
    return pd.DataFrame(
        {
            "a": (b % 4).astype(str),
            "b": b.astype(str),
            "x": x,
            "z": z,
            "kind": rng.choice(["p", "q", "r"], len(b)),
            "y": y,
            "known": rng.uniform(0.5, 2, len(b)),
        }
    )


def shuffled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sample(frac=1, random_state=2)


def in_parts(frame: pd.DataFrame, formula: str, **roles) -> hm.SufficientStatistics:
    """Statistics of three parts that have groups in common, added up."""
    levels = {"kind": ["p", "q", "r"]} if "kind" in formula else None
    part = np.arange(len(frame)) % 3
    of = hm.SufficientStatistics.of
    return sum(of(frame[part == i], formula, levels=levels, **roles) for i in range(3))


def ways(frame: pd.DataFrame, formula: str, **roles):
    """Specification and data by each way from rows to statistics."""
    frame = shuffled(frame)
    yield prepare(hm.SufficientStatistics.of(frame, formula, **roles))
    yield prepare(in_parts(frame, formula, **roles))
    yield prepare(pl.from_pandas(frame).lazy(), formula, **roles)


def log_likelihood(spec, data, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Log determinants, and what is left at the root, at a few covariances."""
    blocks = block_model(spec, data).blocks
    rng = np.random.default_rng(3)
    factors = [np.tril(rng.normal(size=(blocks.p, blocks.p)))[..., None] for _ in spec.levels]
    found = evaluate(blocks, [spread * factor for factor in factors])
    return found.log_det, np.abs(found.triangle)


@pytest.mark.parametrize("weights", [None, "known"])
@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_statistics_have_the_likelihood_of_the_rows(formula, weights):
    expected = log_likelihood(*prepare(rows(), formula, weights=weights))
    for spec, data in ways(rows(), formula, weights=weights):
        assert not data.has_rows
        log_det, triangle = log_likelihood(spec, data)
        np.testing.assert_allclose(log_det, expected[0], rtol=1e-12)
        np.testing.assert_allclose(triangle, expected[1], atol=1e-12 * expected[1].max())


@pytest.mark.parametrize("way", ["statistics", "parts", "lazy"])
def test_posteriors_are_those_of_the_rows(sleep, way):
    frame = shuffled(hm.datasets.load_sleepstudy())
    if way == "lazy":
        found = hm.reference(pl.from_pandas(frame).lazy(), LINE)
    elif way == "parts":
        found = hm.reference(in_parts(frame, LINE))
    else:
        found = hm.reference(hm.SufficientStatistics.of(frame, LINE))
    assert block_model(found.spec, found.data).blocks.designs.shape == (2, 2, 1)
    for name in sleep.spec.variables:
        mean, sd = sleep.mean[name], sleep.sd[name]
        other = {dim: mean[dim] for dim in sleep.spec.dims(name) if dim == "Subject"}
        assert float(np.abs((found.mean[name].sel(other) - mean) / sd).max()) < 1e-9
        assert float(np.abs(found.sd[name].sel(other) / sd - 1).max()) < 1e-9


@pytest.fixture(scope="module")
def sleep():
    return hm.reference(hm.datasets.load_sleepstudy(), LINE)


@pytest.mark.parametrize(("offset", "tolerance"), [(1e2, 1e-12), (1e4, 1e-10), (1e6, 1e-8)])
def test_a_large_mean_costs_what_it_costs_rows(offset, tolerance):
    """Its digits: effects at x = 0 are meant, and [1 x] is nearly of rank one."""
    frame = rows().assign(x=lambda frame: frame["x"] + offset)
    expected = log_likelihood(*prepare(frame, FORMULAS["line"]))
    for spec, data in ways(frame, FORMULAS["line"]):
        log_det, triangle = log_likelihood(spec, data)
        np.testing.assert_allclose(log_det, expected[0], rtol=1e-13)
        np.testing.assert_allclose(triangle[-1, -1], expected[1][-1, -1], rtol=tolerance)


@pytest.mark.parametrize(("noise", "lost"), [(1.0, 0), (1e-2, 4), (1e-4, 8)])
def test_what_slopes_explain_costs_digits_in_sums_only(noise, lost):
    """Rows and parts of them keep 13 digits of what is left; sums of products lose what is said."""
    frame = rows()
    rng = np.random.default_rng(5)
    size = frame.groupby("b")["b"].transform("size")
    frame = frame[size > 3]
    frame["y"] = frame["x"] * frame["b"].astype(float) + noise * rng.normal(size=len(frame))
    left = 0.0
    for _, group in frame.groupby("b"):
        x = np.column_stack([np.ones(len(group)), group["x"]])
        left += np.linalg.lstsq(x, group["y"])[1].item()
    eager, parts, lazy = (data for _, data in ways(frame, "y ~ x + (1 + x | b)"))
    for data in (eager, parts):
        assert data.slopes.rest[-1, -1] == pytest.approx(left, rel=1e-11)
    assert lazy.slopes.rest[-1, -1] == pytest.approx(left, rel=10.0 ** (lost - 13))


def test_cross_products_of_parts_digit_by_digit():
    frame = rows()
    frame[["x", "y"]] += 1e9
    total = in_parts(shuffled(frame), FORMULAS["line"])
    names = ["x", "z", "y"]
    found = total.slopes.products(total.with_slopes)
    for label, own in zip(total.labels[-1], found, strict=True):
        group = frame[frame["b"] == label]
        z = [[Fraction(float(v)) for v in group[name]] for name in names]
        away = [[v - sum(column) / len(column) for v in column] for column in z]
        expected = [float(sum(a * b for a, b in zip(away[0], b, strict=True))) for b in away]
        size = np.sqrt([float(sum(a * a for a in column)) for column in away])
        assert np.abs(own[0] - expected).max() <= 1e-13 * max(size[0] * size.max(), 1.0)
        if group["x"].nunique() == 1:
            assert not own.any()  # exactly


def test_the_joint_density_is_that_of_all_rows():
    frame = rows()
    for weights in (None, "known"):
        of = hm.SufficientStatistics.of(shuffled(frame), FORMULAS["two levels"], weights=weights)
        proper = {f"tau_{name}": hm.HalfNormal(1) for name in ("a", "b")}
        fit = hm.fit(of, draws=3, chains=1, random_seed=1, priors=proper)
        draws = fit.datatree["posterior"].to_dataset().isel(chain=0)
        expected = np.zeros(3)
        for i in range(3):
            one = draws.isel(draw=i)
            b = one["theta_b"].sel(b=frame["b"].to_list()).to_numpy()
            a = one["theta_a"].sel(a=frame["a"].to_list()).to_numpy()[:, 0]
            mean = b + a * frame["x"] + one["beta"].to_numpy()[1] * frame["z"]
            sigma = one["sigma"].item() / (frame[weights] if weights else 1.0) ** 0.5
            expected[i] += stats.norm(mean, sigma).logpdf(frame["y"]).sum()
            at = one["theta_a"].to_numpy()[:, 0], one["theta_b"].to_numpy()
            beta, sds = one["beta"].to_numpy()[0], (one["tau_a"].item(), one["tau_b"].item())
            expected[i] += stats.norm(beta, sds[0]).logpdf(at[0]).sum()
            expected[i] += stats.norm(one["mu"], sds[1]).logpdf(at[1]).sum()
            expected[i] += stats.halfnorm.logpdf(sds).sum() - np.log(one["sigma"])
        found = fit.datatree["sample_stats"]["lp"].to_numpy()[0]
        np.testing.assert_allclose(found, expected + np.log(2), rtol=1e-10)


@pytest.fixture(scope="module")
def fits():
    frame = hm.datasets.load_sleepstudy()
    options = {"draws": 100, "random_seed": 1}
    return hm.fit(frame, LINE, **options), hm.fit(pl.from_pandas(frame).lazy(), LINE, **options)


def test_a_fit_of_a_lazy_frame_does_what_needs_no_rows(fits):
    rows_, lazy = fits
    drawn = [fit.datatree["posterior"].to_dataset() for fit in fits]
    for name in drawn[0].data_vars:
        mine = drawn[1][name].sel({dim: drawn[0][dim] for dim in drawn[0][name].dims})
        np.testing.assert_allclose(mine, drawn[0][name], rtol=1e-6, atol=1e-8)
    tables = [fit.estimates().table.select_dtypes("number").sort_index() for fit in fits]
    np.testing.assert_allclose(*tables, rtol=1e-6, atol=1e-8)
    new = pd.DataFrame({"Subject": ["308", "new"], "Days": [2.0, 20.0]})
    means = [fit.predict(new, outcomes=False, random_seed=1).mean for fit in fits]
    for name in means[0]:
        np.testing.assert_allclose(means[0][name], means[1][name], rtol=1e-6)
    ranked = [fit.rank(effect="Days").table.sort_index()["mean"] for fit in fits]
    np.testing.assert_allclose(*ranked, rtol=1e-6)
    sizes = [fit.data.covariate_sizes for fit in fits]  # of which sensitivity makes priors
    np.testing.assert_allclose(*sizes, rtol=1e-13)
    assert hm.build_model(lazy.spec, lazy.data, parameterization="marginal").free_RVs
    assert rows_.spec == lazy.spec


def test_compare_tells_statistics_apart(fits):
    from hiermodels.results.matching import require_same_data

    frame = hm.datasets.load_sleepstudy()
    same = hm.SufficientStatistics.of(shuffled(frame), LINE)
    require_same_data(fits[0].data, same)
    require_same_data(same, fits[1].data)
    frame["Days"] = frame["Days"].max() - frame["Days"]
    with pytest.raises(hm.SpecError, match="the cross-products of the groups differ"):
        require_same_data(fits[0].data, hm.SufficientStatistics.of(frame, LINE))


@pytest.mark.parametrize(
    "use",
    [
        lambda fit, path: fit.check(),
        lambda fit, path: fit.plot_lines(),
        lambda fit, path: fit.report(path / "report.html"),
        lambda fit, path: fit.loo(),
        lambda fit, path: fit.loo(unit="group"),
        lambda fit, path: hm.fit(fit.data, log_likelihood=True),
        lambda fit, path: hm.fit(fit.data, log_likelihood="marginal"),
        lambda fit, path: hm.fit(fit.data, posterior_predictive=True),
        lambda fit, path: hm.build_model(fit.spec, fit.data, observed="rows"),
    ],
)
def test_what_needs_rows_is_refused(fits, tmp_path, use):
    with pytest.raises(hm.SpecError, match="Fit the rows themselves"):
        use(fits[1], tmp_path)


def test_statistics_are_stored_bit_by_bit(fits, tmp_path):
    statistics = hm.SufficientStatistics.of(rows(), FORMULAS["products"], weights="known")
    again = hm.load_statistics(statistics.to_netcdf(tmp_path / "some.nc"))
    for name in ("rows", "rest"):
        mine, theirs = (getattr(one.slopes, name) for one in (again, statistics))
        np.testing.assert_array_equal(mine, theirs)
    assert again.roles == statistics.roles
    loaded = hm.load(fits[1].to_netcdf(tmp_path / "fit.nc"))
    assert loaded.datatree.identical(fits[1].datatree)


def test_statistics_without_slopes_are_stored_as_before(tmp_path):
    import h5py

    path = hm.SufficientStatistics.of(rows(), "y ~ x + (1 | b)").to_netcdf(tmp_path / "some.nc")
    with h5py.File(path) as file:
        texts = [str(value) for value in file.attrs.values()]
        file.visititems(lambda name, item: texts.extend(map(str, item.attrs.values())))
    assert not any("slopes" in text for text in texts)


def test_parts_of_other_slopes_are_refused():
    parts = [
        hm.SufficientStatistics.of(rows(), f"y ~ x + z + (1 + {name} | b)") for name in ("x", "z")
    ]
    with pytest.raises(hm.SpecError, match="of the same columns: varying is"):
        parts[0] + parts[1]


def test_what_cannot_be_statistics_of_slopes_is_refused():
    statistics = statistics_of(prepare(rows(), FORMULAS["line"])[1])
    with pytest.raises(hm.SpecError, match="lack what each group says of its slopes"):
        replace(statistics, slopes=None)
    for name in ("rows", "rest"):
        wrong = replace(statistics.slopes, **{name: getattr(statistics.slopes, name)[1:]})
        with pytest.raises(hm.DataError, match=rf"slopes\.{name}: expected finite numbers"):
            replace(statistics, slopes=wrong)
    with pytest.raises(hm.SpecError, match="has no mean"):
        hm.SufficientStatistics.of(rows(), "y ~ z + (1 + x | b)")


def test_counts_with_slopes_are_refused_as_they_are_with_rows():
    frame = rows().assign(n=lambda frame: (frame["y"] > 3).astype(int))
    for data in (frame, pl.from_pandas(frame).lazy()):
        with contextlib.redirect_stdout(None), pytest.raises(hm.SpecError) as error:
            hm.fit(data, "n ~ a + (1 + a | b)", family="binomial")
        assert "slopes" in str(error.value)
