"""Statistics of groups in place of rows: the same posteriors, and parts that add up."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.data.statistics import SufficientStatistics, statistics_of

QUANTILES = [0.025, 0.5, 0.975]


def pupils(seed: int = 1, offset: float = 0.0, rows: int = 600) -> pd.DataFrame:
    """Rows of classrooms in schools, with covariates at each level."""
    rng = np.random.default_rng(seed)
    school = rng.integers(12, size=rows)
    room = rng.integers(1, 4, size=rows)
    size = np.array([0.1, 0.3, 0.7, 1.1])
    sex = rng.choice(["F", "M"], size=rows)
    ses = rng.normal(size=rows)
    effect = rng.normal(size=12)[school] + rng.normal(size=(12, 4))[school, room]
    y = offset + effect + 0.5 * ses + (sex == "M") + rng.normal(size=rows)
    return pd.DataFrame(
        {
            "school": [f"s{i}" for i in school],
            "room": room,
            "size": size[school % 4],
            "sex": sex,
            "ses": ses,
            "se": rng.uniform(0.5, 2.0, size=rows),
            "y": y,
        }
    )


CASES = {
    "two levels": {"outcome": "y", "groups": ["school"]},
    "three levels": {"outcome": "y", "groups": ["school", "room"]},
    "covariates": {"formula": "y ~ ses + sex + size + ses:sex + (1 | school/room)"},
    "known errors": {"outcome": "y", "groups": ["school"], "se": "se"},
    "all": {"formula": "y ~ ses + size + (1 | school/room)", "se": "se"},
}

SIGMA = {"sigma": hm.Fixed(2.0)}  # with which two sds are unknown, and not three


def columns(case: str, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without standard errors that would be inferred."""
    return frame if "se" in CASES[case] else frame.drop(columns="se")


def assert_same_posterior(found, expected, tolerance: float) -> None:
    """In posterior sds."""
    for name in expected.spec.variables:
        sd = expected.sd[name]
        assert float(np.abs((found.mean[name] - expected.mean[name]) / sd).max()) < tolerance
        assert float(np.abs(found.sd[name] / sd - 1).max()) < tolerance
    sds = list(expected.spec.sds)
    a, b = found.quantile(QUANTILES, sds), expected.quantile(QUANTILES, sds)
    assert float(np.abs(a / b - 1).to_array().max()) < tolerance


@pytest.mark.parametrize("case", CASES)
def test_posterior_from_statistics_is_the_one_from_rows(case):
    frame = columns(case, pupils())
    exact = hm.reference(frame, **CASES[case])
    found = hm.reference(SufficientStatistics.of(frame, **CASES[case]))
    assert_same_posterior(found, exact, 1e-9)


@pytest.mark.parametrize("case", CASES)
def test_log_marginal_likelihood_is_the_one_from_rows(case):
    frame = columns(case, pupils())
    spec = hm.reference(frame, **CASES[case]).spec
    sds = dict.fromkeys(spec.sds, hm.HalfNormal(2.0))
    priors = {spec.intercept: hm.Normal(0, 5), **sds}
    priors |= {"beta": hm.Normal(0, 3)} if spec.covariates else {}
    exact = hm.reference(frame, **CASES[case], priors=priors)
    found = hm.reference(SufficientStatistics.of(frame, **CASES[case]), priors=priors)
    assert found.log_marginal_likelihood == pytest.approx(exact.log_marginal_likelihood, abs=1e-8)


def exact_statistics(frame: pd.DataFrame, names: list[str]):
    """Means by group and pooled cross-products, in rational arithmetic."""
    means, scatter = {}, [[Fraction(0)] * len(names) for _ in names]
    for label, part in frame.groupby(["school", "room"]):
        rows = [[Fraction(float(value)) for value in part[name]] for name in names]
        mean = [sum(row) / len(row) for row in rows]
        means[label] = mean
        away = [[v - m for v in row] for row, m in zip(rows, mean, strict=True)]
        for i, a in enumerate(away):
            for j, b in enumerate(away):
                scatter[i][j] += sum(x * y for x, y in zip(a, b, strict=True))
    return means, np.array(scatter, dtype=object)


@pytest.mark.parametrize("offset", [0.0, 1e9, -3e12])
@pytest.mark.parametrize("parts", [1, 100])
def test_parts_add_up_to_the_whole_digit_by_digit(offset, parts):
    frame = pupils(offset=offset, rows=2000).drop(columns="se")
    part = np.random.default_rng(2).integers(parts, size=len(frame))
    formula = "y ~ ses + size + (1 | school/room)"
    pieces = [SufficientStatistics.of(frame[part == i], formula) for i in range(parts)]
    total = sum(pieces)
    means, scatter = exact_statistics(frame, ["ses", "size", "y"])
    assert total.n_rows == len(frame)
    assert len(total.weight) == len(means)
    spread = np.array([1.0, 1.0, float(scatter[2, 2] / len(frame)) ** 0.5])
    for c, room in enumerate(total.own_labels[1]):
        expected = means[total.labels[0][total.parents[0][c]], room]
        hi, lo = total.mean[c], total.rest[c]
        error = [
            float(Fraction(float(a)) + Fraction(float(b)) - e)
            for a, b, e in zip(hi, lo, expected, strict=True)
        ]
        assert np.abs(error / spread).max() < 1e-13
    size = np.sqrt(np.diag(scatter.astype(float)))
    size[1] = 1.0  # constant within groups
    error = (total.scatter - scatter).astype(float) / np.outer(size, size)
    assert np.abs(error).max() < 1e-13
    assert (total.scatter[1] == 0).all()  # exactly


def test_order_and_labels_of_added_parts_are_those_of_the_rows():
    frame = pupils().drop(columns="se")
    roles = CASES["three levels"]
    whole = SufficientStatistics.of(frame, **roles)
    added = SufficientStatistics.of(frame[:50], **roles) + SufficientStatistics.of(
        frame[50:], **roles
    )
    for mine, theirs in zip(added.labels, whole.labels, strict=True):
        assert mine.tolist() == theirs.tolist()
    for mine, theirs in zip(added.parents, whole.parents, strict=True):
        assert mine.tolist() == theirs.tolist()
    assert added.count.tolist() == whole.count.tolist()


def test_parts_may_hold_a_single_group_each():
    frame = pupils().drop(columns="se")
    roles = CASES["three levels"]
    total = sum(
        SufficientStatistics.of(part, **roles) for _, part in frame.groupby(["school", "room"])
    )
    assert_same_posterior(hm.reference(total), hm.reference(frame, **roles), 1e-9)


def test_a_part_alone_is_refused_when_it_is_fitted():
    frame = pupils().drop(columns="se")
    part = SufficientStatistics.of(frame[frame["school"] == "s1"], **CASES["three levels"])
    with pytest.raises(hm.ImproperPosteriorError, match="column 'school' has one group only"):
        hm.reference(part)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome": "ses"}, "outcome is 'y' in one and 'ses'"),
        ({"groups": ["room"]}, "groups is"),
        ({"se": "se"}, "se is None in one and 'se'"),
        ({"covariates": ["ses"]}, "covariates are  in one and 'ses'"),
    ],
)
def test_parts_of_other_columns_are_refused(change, message):
    frame = pupils().rename(columns={"se": "error"})
    roles = {"outcome": "y", "groups": ["school"]}
    first = SufficientStatistics.of(frame, **roles)
    other = frame.rename(columns={"error": "se"}) if "se" in change else frame
    second = SufficientStatistics.of(other, **(roles | change))
    with pytest.raises(hm.SpecError, match=message):
        first + second


def test_parts_that_were_centred_each_for_itself_are_refused():
    frame = pupils().drop(columns="se")
    for function in ("center", "scale"):
        formula = f"y ~ {function}(ses) + (1 | school)"
        first, second = (SufficientStatistics.of(part, formula) for part in (frame[:9], frame[9:]))
        with pytest.raises(
            hm.SpecError, match=r"'ses' is written with center or scale.*data\['ses'"
        ):
            first + second
    whole = SufficientStatistics.of(frame, formula)
    assert_same_posterior(hm.reference(whole), hm.reference(frame, formula), 1e-9)


def test_parts_with_other_levels_are_refused_unless_all_are_declared():
    frame = pupils().drop(columns="se")
    frame["track"] = np.resize(["a", "b", "c"], len(frame))
    formula = "y ~ track + (1 | school)"
    parts = [frame[frame["track"] != name] for name in "ac"]
    first, second = (SufficientStatistics.of(part, formula) for part in parts)
    with pytest.raises(hm.SpecError, match=r"track.*levels=\{'track'"):
        first + second
    declared = {"track": ["a", "b", "c"]}
    total = sum(SufficientStatistics.of(part, formula, levels=declared) for part in parts)
    assert_same_posterior(hm.reference(total), hm.reference(pd.concat(parts), formula), 1e-9)


def test_declared_levels_are_checked():
    frame = pupils().drop(columns="se")
    formula = "y ~ sex + (1 | school)"
    with pytest.raises(hm.SpecError, match="no covariate"):
        SufficientStatistics.of(frame, formula, levels={"room": ["1", "2"]})
    with pytest.raises(hm.SpecError, match="two levels or more"):
        SufficientStatistics.of(frame, formula, levels={"sex": ["F"]})
    with pytest.raises(hm.DataError, match="'M'"):
        SufficientStatistics.of(frame, formula, levels={"sex": ["F", "X"]})


def test_integers_and_text_are_no_common_labels():
    frame = pupils().drop(columns="se")
    roles = {"outcome": "y", "groups": ["room"]}
    first = SufficientStatistics.of(frame, **roles)
    second = SufficientStatistics.of(frame.astype({"room": str}), **roles)
    with pytest.raises(hm.SpecError, match="integers for labels in one part"):
        first + second


def test_only_statistics_can_be_added():
    statistics = SufficientStatistics.of(pupils(), **CASES["known errors"])
    with pytest.raises(TypeError):
        statistics + 1
    with pytest.raises(TypeError):
        1 + statistics


@pytest.fixture(scope="module")
def fits():
    frame = pupils().drop(columns="se")
    formula = CASES["covariates"]["formula"]
    options = {"priors": SIGMA, "draws": 300, "random_seed": 1}
    statistics = SufficientStatistics.of(frame, formula)
    return hm.fit(frame, formula, **options), hm.fit(statistics, **options)


def test_a_fit_of_statistics_does_what_needs_no_rows(fits):
    rows, fit = fits
    assert "statistics" not in repr(fit)
    assert fit.summary().shape == rows.summary().shape
    np.testing.assert_allclose(
        fit.estimates().table.select_dtypes("number"),
        rows.estimates().table.select_dtypes("number"),
        rtol=1e-7,
        atol=1e-9,
    )
    table, expected = (one.variance_components() for one in (fit, rows))
    np.testing.assert_allclose(table["median"], expected["median"], rtol=1e-7)
    assert len(fit.rank().table) == fit.data.sizes[0]
    assert fit.draws().sizes == rows.draws().sizes
    predicted, truth = (one.predict(random_seed=1) for one in (fit, rows))
    np.testing.assert_allclose(predicted.mean["y"], truth.mean["y"], rtol=1e-9)
    np.testing.assert_allclose(predicted.sd["y"], truth.sd["y"], rtol=1e-9)


def test_sensitivity_needs_no_rows():
    frame = pupils().drop(columns="se")
    roles = CASES["two levels"]
    found = hm.sensitivity(SufficientStatistics.of(frame, **roles)).table
    expected = hm.sensitivity(frame, **roles).table
    assert found.index.tolist() == expected.index.tolist()  # with the same scales
    np.testing.assert_allclose(found["shift_max"], expected["shift_max"], atol=1e-8)


@pytest.mark.slow
def test_nuts_needs_no_rows():
    statistics = SufficientStatistics.of(hm.datasets.load_eight_schools())
    mcmc = hm.fit(statistics, engine="nuts", random_seed=1, progressbar=False)
    exact = hm.reference(hm.datasets.load_eight_schools())
    assert hm.compare(mcmc, exact, alpha=1e-4).passed  # whichever draws a platform makes


def test_a_shrinkage_plot_needs_no_rows(fits):
    from matplotlib import pyplot as plt

    fits[1].plot_shrinkage()
    plt.close("all")


@pytest.mark.parametrize(
    "use",
    [
        lambda fit: fit.data.y,
        lambda fit: fit.data.group,
        lambda fit: fit.plot_ppc("dist"),
        lambda fit: fit.plot_ppc("loo_pit"),
        lambda fit: hm.fit(fit.data, log_likelihood=True),
        lambda fit: hm.fit(fit.data, posterior_predictive=True),
        lambda fit: hm.calibrate(fit.data, priors={}),
        lambda fit: hm.build_model(fit.spec, fit.data, observed="rows"),
    ],
)
def test_what_needs_rows_is_refused(fits, use):
    with pytest.raises(hm.SpecError):
        use(fits[1])


def test_predicted_outcomes_with_known_errors_need_new_rows():
    statistics = SufficientStatistics.of(pupils(), **CASES["known errors"])
    fit = hm.fit(statistics, draws=100, random_seed=1)
    with pytest.raises(hm.SpecError, match="new_data"):
        fit.predict()
    assert fit.predict(outcomes=False).mean.sizes["row"] == len(statistics.weight) + 1
    new = pd.DataFrame({"school": ["s1", "new"], "se": [1.0, 2.0]})
    assert fit.predict(new).mean.sizes["row"] == 2


def test_what_needs_the_distribution_of_known_errors_is_refused():
    statistics = SufficientStatistics.of(pupils(), **CASES["known errors"])
    fit = hm.fit(statistics, draws=100, random_seed=1)
    with pytest.raises(hm.SpecError, match="typical standard error"):
        fit.variance_components()
    with pytest.raises(hm.SpecError, match="sd of the outcome"):
        fit.sensitivity()
    assert len(fit.sensitivity({"other": {"tau": hm.HalfNormal(1)}}).references) == 1


def test_roles_are_said_once():
    statistics = SufficientStatistics.of(pupils(), **CASES["known errors"])
    with pytest.raises(hm.SpecError, match="leave out groups"):
        hm.fit(statistics, groups=["school"])
    with pytest.raises(hm.SpecError, match="name their columns"):
        SufficientStatistics.of(pupils().drop(columns="se"), outcome="y", groups=[])


def test_draws_are_compared_with_statistics(fits):
    rows, fit = fits
    assert hm.compare(rows, fit.reference()).passed
    assert hm.compare(fit, rows.reference()).passed
    frame = pupils(seed=3).drop(columns="se")
    with pytest.raises(hm.SpecError, match="different data"):
        hm.compare(
            rows,
            hm.reference(SufficientStatistics.of(frame, **CASES["covariates"]), priors=SIGMA),
        )


@pytest.mark.parametrize("case", CASES)
def test_statistics_are_stored_bit_by_bit(case, tmp_path):
    frame = columns(case, pupils(offset=1e9))
    statistics = SufficientStatistics.of(frame, **CASES[case])
    again = hm.load_statistics(statistics.to_netcdf(tmp_path / "some.nc"))
    for name in ("count", "weight", "mean", "rest", "scatter"):
        np.testing.assert_array_equal(getattr(again, name), getattr(statistics, name))
    assert again.roles == statistics.roles
    assert again.design.levels == statistics.design.levels
    assert (again + statistics).n_rows == 2 * len(frame)


def test_a_fit_of_statistics_is_stored(fits, tmp_path):
    again = hm.load(fits[1].to_netcdf(tmp_path / "fit.nc"))
    assert again.datatree.identical(fits[1].datatree)
    assert again.summary().equals(fits[1].summary())


def test_files_of_other_kinds_are_told_apart(fits, tmp_path):
    fit = fits[1].to_netcdf(tmp_path / "fit.nc")
    statistics = fits[1].data.to_netcdf(tmp_path / "statistics.nc")
    with pytest.raises(hm.DataError, match=r"hiermodels\.load reads fits"):
        hm.load_statistics(fit)
    with pytest.raises(hm.DataError, match="group 'posterior'"):
        hm.load(statistics)


def test_nearly_dependent_covariates_are_refused():
    frame = pupils().drop(columns="se")
    noise = np.random.default_rng(5).normal(size=len(frame))
    frame["near"] = frame["ses"] + 1e-6 * noise
    roles = {"outcome": "y", "groups": ["school"], "covariates": ["ses", "near"]}
    hm.reference(frame, **roles)  # rows tell them apart
    with pytest.raises(hm.DataError, match="'near' is a linear combination"):
        hm.reference(SufficientStatistics.of(frame, **roles))
    roles["covariates"] = ["ses", "constant"]
    with pytest.raises(hm.DataError, match="'constant' is constant"):
        hm.reference(SufficientStatistics.of(frame.assign(constant=2.5), **roles))


def test_what_cannot_be_statistics_is_refused():
    from dataclasses import replace

    statistics = SufficientStatistics.of(pupils(), **CASES["known errors"])
    for change in (
        {"mean": statistics.mean[:-1]},
        {"weight": -statistics.weight},
        {"scatter": -statistics.scatter},
        {"rest": statistics.rest * np.nan},
    ):
        with pytest.raises(hm.DataError, match="statistics"):
            replace(statistics, **change)


def test_statistics_of_statistics_are_themselves():
    statistics = SufficientStatistics.of(pupils(), **CASES["known errors"])
    assert statistics_of(statistics) is statistics


def test_a_report_needs_rows(tmp_path):
    fit = hm.fit(hm.SufficientStatistics.of(hm.datasets.load_dyestuff()), draws=10, random_seed=1)
    with pytest.raises(hm.SpecError, match="report needs rows"):
        fit.report(tmp_path / "report.html")
    assert not list(tmp_path.iterdir())
