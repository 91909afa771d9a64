"""Where effects are shown: at means, at own covariates, at 0 or elsewhere, in every table."""

from __future__ import annotations

import formulaic
import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.core.arrays import Floats
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import locate
from hiermodels.data.read_rows import read
from hiermodels.data.statistics import statistics_of
from hiermodels.exact.given_sd import moments_given_sd
from hiermodels.model.formula.parse import parse
from hiermodels.posterior.record import at_covariates
from hiermodels.posterior.target import Target

PRIORS = {"tau": hm.HalfNormal(0.5)}
WHERE = ["means", "own", "zero", {"year": 1999.5}, {"year": 1999.5, "dose": -1}]


def trials(k: int = 9, seed: int = 3) -> pd.DataFrame:
    """Effects of studies, with years around 2000."""
    rng = np.random.default_rng(seed)
    year = rng.integers(1990, 2011, k)
    return pd.DataFrame(
        {
            "study": [f"s{i}" for i in range(k)],
            "year": year,
            "dose": rng.normal(size=k),
            "yi": 0.03 * (year - 2000) + rng.normal(0, 0.4, k),
            "se": rng.uniform(0.1, 0.4, k),
        }
    )


def pupils(seed: int = 4) -> pd.DataFrame:
    """Rooms in schools, with rows of unequal number and a covariate far from 0."""
    rng = np.random.default_rng(seed)
    size = 60
    school, room = rng.integers(6, size=size), rng.integers(1, 4, size=size)
    year = rng.integers(1990, 2011, size) + school
    sex = rng.choice(["F", "M"], size)
    y = 0.05 * year + rng.normal(size=6)[school] + (sex == "M") + rng.normal(size=size)
    labels = {
        "school": [f"s{i}" for i in school],
        "room": [f"s{i}r{j}" for i, j in zip(school, room, strict=True)],
    }
    return pd.DataFrame(
        {**labels, "year": year, "sex": sex, "grade": rng.integers(1, 4, size), "y": y}
    )


@pytest.fixture(scope="module")
def fit():
    return hm.fit(trials(), "yi ~ year + dose + (1 | study)", se="se", priors=PRIORS, random_seed=1)


@pytest.fixture(scope="module")
def nested():
    formula, priors = "y ~ year + sex + (1 | school/room)", {"kappa": hm.HalfNormal(1)}
    frame = pupils().assign(se=1.0)
    return hm.fit(frame, formula, se="se", priors=priors, draws=50, random_seed=1)


def moved(frame: pd.DataFrame, **columns: float) -> hm.ReferencePosterior:
    """The posterior of rows whose covariates were moved, so that their 0 is where it is asked."""
    frame = frame.assign(**{name: frame[name] - value for name, value in columns.items()})
    return hm.reference(frame, "yi ~ year + dose + (1 | study)", se="se", priors=PRIORS)


def assert_same(found: hm.ReferencePosterior, expected: hm.ReferencePosterior, name: str) -> None:
    """To the precision of the quadrature, in posterior sds."""
    sd = expected.sd[name].to_numpy()
    p = [0.05, 0.5, 0.95]
    gaps = [
        found.mean[name] - expected.mean[name],
        found.sd[name] - expected.sd[name],
        *(found.quantile(p)[name] - expected.quantile(p)[name]),
    ]
    assert max(float(np.abs(gap / sd).max()) for gap in gaps) < 1e-8
    values = expected.mean[name].to_numpy() + 0.3 * sd
    np.testing.assert_allclose(found.cdf(name, values), expected.cdf(name, values), atol=1e-8)
    density = expected.density(name, values)
    np.testing.assert_allclose(found.density(name, values), density, rtol=1e-7)


def test_years_do_not_ruin_tables(fit):
    """Values at the year 0, thousands of years before the data, with sds of dozens."""
    table = fit.reference().summary(["mu", "theta"])
    assert table["sd"].max() < 0.5
    raw, y = fit.estimates().table["raw"], trials()["yi"]
    assert raw.between(y.min() - 1, y.max() + 1).all()
    assert fit.summary()["sd"].loc["theta[s0]"] < 0.5
    assert fit.rank().table["sd"].max() < 0.5
    assert fit.reference().summary(at="zero")["sd"].loc["mu"] > 10  # as it was


@pytest.mark.parametrize("name", ["mu", "theta"])
def test_values_at_means_are_those_of_centred_covariates(fit, name):
    frame = trials()
    expected = moved(frame, year=frame["year"].mean(), dose=frame["dose"].mean())
    assert_same(fit.reference().at("means"), expected, name)
    assert_same(
        fit.reference().at({"year": 2003}), moved(frame, year=2003, dose=frame["dose"].mean()), name
    )
    assert_same(fit.reference().at("zero"), fit.reference(), name)


def test_each_group_at_its_own_covariates(fit):
    frame = trials()
    own = fit.reference().at("own")
    for row in frame[:3].itertuples():
        other = moved(frame, year=row.year, dose=row.dose)
        at = {"study": row.study}
        sd = float(other.sd["theta"].sel(at))
        assert float(own.mean["theta"].sel(at)) == pytest.approx(
            float(other.mean["theta"].sel(at)), abs=1e-8 * sd
        )
        assert float(own.sd["theta"].sel(at)) == pytest.approx(sd, rel=1e-8)


@pytest.mark.parametrize("at", ["means", "own", {"year": 1999.5, "sex": "M"}])
def test_values_of_every_level_are_those_that_are_predicted(nested, at):
    """Another way: the joint distribution of a unit's value with beta."""
    exact, place = nested.reference(), locate(nested.data, at)
    shown = exact.at(at)
    sds = {"theta": [], "mu": ["tau"], "lam": ["tau", "kappa"]}  # of new units below one
    for name, added in sds.items():
        level = nested.spec.level_of(name)
        size = np.size(exact.mean[name])
        x = np.broadcast_to(place.of(level), (size, 2))
        target = Target(level, np.arange(size), x)
        mean, sd = exact.predictive_moments(target)
        np.testing.assert_allclose(np.ravel(shown.mean[name]), mean, atol=1e-8 * sd.max())
        more = sum(float(exact.mean[tau]) ** 2 + float(exact.sd[tau]) ** 2 for tau in added)
        np.testing.assert_allclose(np.ravel(shown.sd[name]), np.sqrt(sd**2 - more), rtol=1e-7)
    size = nested.data.n_groups
    target = Target(1, np.arange(size), np.broadcast_to(place.of(1), (size, 2)))
    quantiles = exact.predictive_quantiles(target, np.array([0.1, 0.8]))
    np.testing.assert_allclose(shown.quantile([0.1, 0.8], "theta")["theta"], quantiles, atol=1e-9)


def test_own_covariates_are_the_means_of_the_rows(nested):
    rows, place = pupils(), locate(nested.data, "own")
    x = pd.DataFrame({"year": rows["year"], "sex[M]": (rows["sex"] == "M").astype(float)})
    for level, column in enumerate(["school", "room"]):
        expected = x.groupby(rows[column]).mean().loc[nested.data.labels[level]]
        np.testing.assert_allclose(place.of(level), expected, rtol=1e-14)
    np.testing.assert_allclose(place.of(ROOT), x.mean(), rtol=1e-14)


@pytest.mark.parametrize("at", WHERE)
def test_draws_are_moved_by_beta(fit, at):
    place = locate(fit.data, at)
    before = fit.datatree.copy(deep=True)
    table = fit.summary(at=at, kind="stats", round_to="none")
    draws = fit.datatree["posterior"].to_dataset()
    for name, level in (("theta", 0), ("mu", ROOT)):
        x = np.broadcast_to(place.of(level), (9 if level == 0 else 1, 2))
        theta = draws[name].to_numpy().reshape(4000, -1)
        expected = theta + draws["beta"].to_numpy().reshape(4000, 2) @ x.T
        rows = table["mean"][[row for row in table.index if row.split("[")[0] == name]]
        np.testing.assert_allclose(rows, expected.mean(axis=0), atol=1e-10)
    assert fit.datatree.identical(before)  # what is kept stays at x = 0
    sds = fit.reference().sd["theta"].to_numpy() / 63
    z = (table["mean"].iloc[2:11] - fit.reference().at(at).mean["theta"].to_numpy()) / sds
    assert at == "own" or np.abs(z).max() < 4


def test_draws_that_were_not_kept_are_moved_too(fit):
    roles = {"se": "se", "priors": PRIORS, "random_seed": 1}
    lean = hm.fit(trials(), "yi ~ year + dose + (1 | study)", memory_budget=0, **roles)
    for at in ("own", "means"):
        kept, made = (at_covariates(one.posterior, locate(one.data, at)) for one in (fit, lean))
        theta = kept.datatree["posterior"]["theta"].sel(study=["s4", "s2"]).to_numpy()
        np.testing.assert_allclose(made.draw_groups(np.array([4, 2])), theta, rtol=1e-12)
        assert lean.rank(at=at).table.equals(fit.rank(at=at).table)


FORMULAS = [
    "year*sex",
    "sex + year:sex",
    "center(year)*sex",
    "scale(year):sex + sex + C(grade)",
    "year + sex*C(grade) + year:sex",
    "sex:C(grade)",
]


@pytest.mark.parametrize("terms", FORMULAS)
@pytest.mark.parametrize(
    "given", [{"year": 2004.0}, {"sex": "M"}, {"sex": "F", "year": 1990.0}, {"grade": 2}]
)
def test_given_columns_are_as_given_and_all_else_is_averaged(terms, given):
    """The mean over the rows of formulaic's columns, with the given ones replaced."""
    frame = pupils()
    formula = f"y ~ {terms} + (1 | school)"
    data = read(frame, outcome="y", groups=["school"], covariates=parse(formula).terms)
    if not set(given) <= set(parse(formula).columns):
        with pytest.raises(hm.SpecError, match="is no column of a covariate; these are"):
            locate(data, given)
        return
    spec = formulaic.model_matrix(terms, frame).model_spec
    replaced = spec.get_model_matrix(frame.assign(**given))
    np.testing.assert_allclose(
        locate(data, given).of(0), replaced.iloc[:, 1:].mean(), rtol=1e-12, atol=1e-13
    )
    from_statistics = locate(statistics_of(data), given).of(0)
    np.testing.assert_allclose(from_statistics, replaced.iloc[:, 1:].mean(), rtol=1e-12, atol=1e-13)


def test_means_that_do_not_show_are_asked_for():
    frame = pupils().assign(ses=1.5)
    frame["ses"] = np.linspace(-1, 3, len(frame))
    data = read(frame, outcome="y", groups=["school"], covariates=["year:ses"])
    with pytest.raises(hm.SpecError, match=r"the mean of 'ses' is not known.*Give a value"):
        locate(data, {"year": 2000})
    assert locate(data, {"year": 2000, "ses": 0.5}).of(0) == pytest.approx([1000])
    assert locate(data, "means").of(0) == pytest.approx([(frame["year"] * frame["ses"]).mean()])


def raw_by_hand(frame: pd.DataFrame, tau: float, at: Floats) -> Floats:
    """Each mean moved along the generalised least-squares line."""
    x = np.column_stack([np.ones(len(frame)), frame[["year", "dose"]]])
    weight = 1 / (frame["se"].to_numpy() ** 2 + tau**2)
    beta = np.linalg.solve((x.T * weight) @ x, (x.T * weight) @ frame["yi"])[1:]
    return frame["yi"] - (x[:, 1:] - at) @ beta


@pytest.mark.parametrize("at", WHERE)
def test_raw_means_stand_at_the_same_covariates(fit, at):
    frame = trials()
    found = fit.estimates(at=at)
    expected = raw_by_hand(frame, found.sds["tau"], locate(fit.data, at).of(0))
    np.testing.assert_allclose(found.table["raw"], expected, rtol=1e-9)
    if at == "own":
        np.testing.assert_allclose(found.table["raw"], frame["yi"], rtol=1e-12)
    shown = fit.reference().at(at)
    np.testing.assert_allclose(found.table["mean"], shown.mean["theta"], rtol=1e-12)
    b = found.table["shrinkage_eb"]
    np.testing.assert_allclose(
        found.table["eb"], (1 - b) * found.table["raw"] + b * pooled(fit, found, at), rtol=1e-8
    )


def pooled(fit, found, at):
    """The line of generalised least squares at each x, given the estimated sd."""
    frame = trials()
    x = np.column_stack([np.ones(len(frame)), frame[["year", "dose"]]])
    weight = 1 / (frame["se"].to_numpy() ** 2 + found.sds["tau"] ** 2)
    coefficients = np.linalg.solve((x.T * weight) @ x, (x.T * weight) @ frame["yi"])
    return coefficients[0] + locate(fit.data, at).of(0) @ coefficients[1:]


def test_ranks_and_probabilities_at_own_covariates(fit):
    league, shown = fit.rank(at="own", threshold=0.1), fit.reference().at("own")
    table = league.table.loc[fit.data.labels[-1]]
    np.testing.assert_allclose(table["mean"], shown.mean["theta"], rtol=1e-12)
    np.testing.assert_allclose(table["p_above_0.1"], 1 - shown.cdf("theta", np.full(9, 0.1)))
    draws = fit.datatree["posterior"].to_dataset()
    x = trials()[["year", "dose"]].to_numpy()
    theta = (draws["theta"] + draws["beta"].to_numpy() @ x.T).to_numpy().reshape(-1, 9)
    ranks = (theta[:, :, None] <= theta[:, None, :]).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(table["rank_mean"], ranks)
    alike = [fit.rank(at=at).table["rank_mean"] for at in ("means", "zero")]
    pd.testing.assert_series_equal(*alike)  # a common x moves all alike


@pytest.mark.parametrize("at", ["means", "own", "zero", {"year": 2005}])
def test_predictions_without_new_data(nested, at):
    found, shown = nested.predict(at=at, outcomes=False), nested.reference().at(at)
    rooms, schools = nested.data.sizes
    mean = found.mean["y_mean"].to_numpy()
    expected = [shown.mean["theta"], shown.mean["mu"], [float(shown.mean["lam"])]]
    sd = float(shown.sd["lam"])
    np.testing.assert_allclose(mean, np.concatenate(expected), atol=1e-8 * sd)
    assert len(mean) == rooms + schools + 1
    assert locate(nested.data, at).words in found.notes
    with pytest.raises(hm.SpecError, match="new_data have covariates of their own"):
        nested.predict(pupils()[:2], at="zero")


def test_lines_of_the_trace_are_moved(fit):
    frame = trials()
    year, dose = frame["year"].mean(), frame["dose"].mean()
    place = locate(fit.data, "means")
    found = moments_given_sd(fit.spec, fit.data, "tau", "theta", place)
    other = moved(frame, year=year, dose=dose)
    expected = moments_given_sd(other.spec, other.data, "tau", "theta")
    for name in ("mean", "sd"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-7)


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("means", "mu, theta at the covariates' means: year = {year}, dose = {dose}"),
        ("own", "mu, theta each at its own covariates, the means of its rows"),
        ("zero", "mu, theta at x = 0"),
        (
            {"year": 2000},
            "mu, theta at year = 2000, other covariates at their means: dose = {dose}",
        ),
        ({"dose": 1, "year": 2000}, "mu, theta at dose = 1, year = 2000"),
    ],
)
def test_tables_say_where_effects_are_shown(fit, at, words):
    frame = trials()
    words = words.format(year=f"{frame['year'].mean():.5g}", dose=f"{frame['dose'].mean():.5g}")
    for table in (fit.reference().summary(at=at), fit.summary(at=at)):
        assert words in table.attrs["notes"]
        assert words in repr(table)
    assert words.replace("mu, ", "") in fit.rank(at=at).table.attrs["notes"]
    assert words.replace("mu, theta ", "") in " ".join(fit.estimates(at=at).table.attrs["notes"])
    assert not any(
        "at" in note.split() for note in fit.reference().summary(["tau"], at=at).attrs["notes"]
    )


def test_centred_covariates_are_named_in_their_own_unit():
    exact = hm.reference(trials(), "yi ~ scale(year) + (1 | study)", se="se", priors=PRIORS)
    plain = hm.reference(trials(), "yi ~ year + (1 | study)", se="se", priors=PRIORS)
    year = f"{trials()['year'].mean():.5g}"
    assert f"mu at the covariates' means: year = {year}" in exact.summary(["mu"]).attrs["notes"]
    assert_same(exact.at({"year": 2003}), plain.at({"year": 2003}), "theta")
    assert_same(exact, plain.at("means"), "theta")


def test_without_covariates_nothing_is_said(schools):
    fit = hm.fit(schools, priors=PRIORS, random_seed=1)
    for at in ("means", "own", "zero", {}):
        assert fit.reference().at(at) is fit.reference()
        tables = [fit.summary(at=at), fit.reference().summary(at=at), fit.rank(at=at).table]
        assert not any("covariates" in repr(table) or "x = 0" in repr(table) for table in tables)
    with pytest.raises(
        hm.SpecError, match="'year' is no column of a covariate; this model has none"
    ):
        fit.summary(at={"year": 2000})


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("mean", "expected 'auto', 'own', 'means', 'zero', or a mapping.*found 'mean'"),
        (None, "expected 'auto', 'own', 'means', 'zero'"),
        (np.zeros(2), "expected 'auto', 'own', 'means', 'zero'"),
        ({"yeer": 1}, "'yeer' is no column of a covariate; these are 'year', 'sex'"),
        ({1: 1}, "1 is no column of a covariate"),
        ({"year": "late"}, "column 'year': expected numbers; found 'late'"),
        ({"year": np.inf}, "column 'year': expected a finite number"),
        ({"sex": "X"}, "column 'sex' has the levels 'F', 'M'; found 'X'"),
    ],
)
def test_what_is_no_place_is_refused(nested, at, message):
    uses = [nested.reference().at, nested.summary, nested.rank, nested.estimates, nested.predict]
    for use in (*uses, *([] if at is None else [nested.reference().summary])):
        with pytest.raises(hm.SpecError, match=message):
            use(at) if use == nested.reference().at else use(at=at)


def test_draws_are_compared_where_they_are_kept(fit):
    assert hm.compare(fit, fit.reference().at("means")).table.equals(hm.compare(fit, fit).table)


def test_statistics_of_known_errors_have_weighted_means_and_say_so():
    frame = trials()
    frame = pd.concat([frame, frame.assign(yi=frame["yi"] + 0.1, year=frame["year"] + 2)])
    statistics = hm.SufficientStatistics.of(frame, "yi ~ year + (1 | study)", se="se")
    year = np.average(frame["year"], weights=frame["se"] ** -2)
    place = locate(statistics, "means")
    assert place.of(0) == pytest.approx([year])
    assert place.words == f"at the covariates' means (weighted with 1/se²): year = {year:.5g}"
    table = hm.reference(statistics, priors=PRIORS).summary()
    assert table["sd"].max() < 0.5


def test_cells_without_rows_are_no_place_to_show_effects():
    frame = pupils()
    frame = frame[(frame["sex"] == "F") | (frame["grade"] < 3)]
    data = read(frame, outcome="y", groups=["school"], covariates=parse("y ~ sex*C(grade)").terms)
    assert data.design.empty == ("sex[M]:grade[3]",)
    found = locate(data, {"sex": "M", "grade": 2}).of(0)
    assert dict(zip(data.design.names, found, strict=True)) == {
        "sex[M]": 1,
        "grade[2]": 1,
        "grade[3]": 0,
        "sex[M]:grade[2]": 1,
    }
    for at in ({"sex": "M", "grade": 3}, {"sex": "M"}):
        with pytest.raises(hm.SpecError, match=r"lies in the cell 'sex\[M\]:grade\[3\]'"):
            locate(data, at)


@pytest.mark.parametrize("se", ["se", False])
@pytest.mark.parametrize("at", WHERE[:4])
def test_intercepts_of_regressions_are_those_of_moved_covariates(se, at):
    frame = trials(12)[["yi", "year", "se"]]
    there = {"means": frame["year"].mean(), "own": frame["year"].mean(), "zero": 0}
    year = at["year"] if isinstance(at, dict) else there[at]
    found = hm.reference(frame, "yi ~ year", se=se)
    table = found.summary(at=at)
    moved_there = frame.assign(year=frame["year"] - year)
    expected = hm.reference(moved_there, "yi ~ year", se=se).summary(at="zero")
    columns = ["mean", "sd", "median", "eti89_lb", "eti89_ub"]
    np.testing.assert_allclose(table[columns], expected[columns], rtol=1e-9, atol=1e-10)
    assert sum(note.startswith("mu at ") for note in table.attrs["notes"]) == 1
    drawn = hm.fit(frame, "yi ~ year", se=se, random_seed=1).posterior
    draws = drawn.datatree["posterior"].to_dataset()
    shown = at_covariates(drawn, locate(drawn.data, at)).datatree["posterior"]["mu"]
    np.testing.assert_allclose(shown, draws["mu"] + year * draws["beta"][..., 0], atol=1e-9)


def test_other_priors_move_effects_by_the_same_sds_wherever_covariates_have_their_0():
    frame = trials(7)
    centred = frame.assign(year=frame["year"] - 2000)
    priors = {"flat": {"tau": hm.FlatSD()}, "sceptical": {"tau": hm.HalfNormal(0.2)}}
    found, expected = (
        hm.sensitivity(rows, "yi ~ year + (1 | study)", se="se", priors=priors)
        for rows in (frame, centred)
    )
    columns = ["shift_max", "shift_rms", "sd_ratio"]
    np.testing.assert_allclose(found.table[columns], expected.table[columns], atol=1e-7)
    assert (found.table["where"] == expected.table["where"]).all()
    assert any("at the covariates' means" in note for note in found.table.attrs["notes"])


def test_the_default_prior_is_judged_by_effects_at_the_means():
    frame = pupils()
    frame = frame[frame["school"] < "s5"]
    said = []
    for rows in (frame, frame.assign(year=frame["year"] - 2000)):
        with pytest.warns(hm.PriorWarning) as caught:
            hm.fit(rows, "y ~ year + (1 | school)", random_seed=1)
        said.append(str(caught[0].message))
    assert said[0] == said[1]


def test_a_reference_that_was_put_somewhere_is_shown_there():
    frame = hm.datasets.load_school_calendar()
    exact = hm.reference(frame, "y ~ year + (1 | district/school)", se="se")
    for at in ("zero", "own", {"year": 1990}):
        placed = exact.at(at)
        table = placed.summary(["lam", "theta"])
        assert table.loc["lam", "mean"] == float(placed.mean["lam"])
        pd.testing.assert_frame_equal(table, exact.summary(["lam", "theta"], at=at))
    assert "at the covariates' means" in str(exact.summary())
    assert "at x = 0" in str(exact.at("zero").summary())


def test_without_an_intercept_every_level_is_named_and_x_0_is_none_of_them():
    frame = pupils().assign(kind=lambda d: np.where(d["year"] % 2 == 0, "even", "odd"))
    exact = hm.reference(frame, "y ~ 0 + kind + (1 | school)")
    assert "kind[even] = " in str(exact.summary())
    assert "at x = 0, no level of kind" in str(exact.at("zero").summary())


def test_a_place_beyond_the_numbers_is_refused():
    with pytest.raises(hm.SpecError, match="at: column 'year': expected a finite number of size"):
        hm.reference(pupils(), "y ~ year + (1 | school)").at({"year": 1e300})
