"""PyMC models of counts and other rows: their log densities against the joint one of all rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pymc.blocking import DictToArrayBijection
from scipy import optimize

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.joint import log_joint
from hiermodels.exact.row_sums import RowSums
from hiermodels.mcmc import model as models
from hiermodels.mcmc import parameterization
from hiermodels.mcmc.approximation import Approximation
from hiermodels.mcmc.parameterization import FORMS, OBSERVED
from hiermodels.posterior.outcome_scale import with_outcome_scale

PLAIN = {"mode": "FAST_COMPILE"}  # a few evaluations are not worth compiling for
PRIORS = {"mu": hm.Normal(0.3, 1.5), "tau": hm.HalfNormal(0.8)}
OUTER = {"lam": hm.Normal(-0.2, 1.5), "kappa": hm.Exponential(0.6), "tau": PRIORS["tau"]}
BETA = {"beta": hm.Normal(0.5, 2.0)}


def rows(seed=0):
    """Outcomes of each family in rooms of schools; several rows of a room are alike."""
    rng = np.random.default_rng(seed)
    room = np.repeat(np.arange(7), rng.integers(2, 6, 7))
    n = len(room)
    trials, control = rng.integers(1, 12, n), rng.integers(5, 12, n)
    deaths = rng.binomial(trials, 0.4)
    return pd.DataFrame(
        {
            "school": [f"s{number // 3}" for number in room],
            "room": [f"r{number}" for number in room],
            "deaths": deaths,
            "trials": trials,
            "control": control,
            "events": deaths + rng.binomial(control, 0.3),
            "count": rng.poisson(3.0, n),
            "hours": rng.uniform(0.5, 4.0, n).round(1),
            "y": rng.normal(0.2, 1.0, n),
            "se": rng.uniform(0.3, 1.5, n),
            "sex": rng.integers(0, 2, n),
            "size": rng.normal(20, 3, 7)[room],
            "known": rng.integers(0, 2, n) / 4,
        }
    )


FAMILIES = {
    "binomial": {"outcome": "deaths", "trials": "trials"},
    "poisson": {"outcome": "count", "exposure": "hours"},
    "negative_binomial": {
        "outcome": "count",
        "exposure": "hours",
        "family": hm.NegativeBinomial(size=2.5),
    },
    "odds_ratio": {
        "outcome": "deaths",
        "trials": "trials",
        "control_trials": "control",
        "total_events": "events",
        "family": hm.OddsRatio(),
    },
    "student_t": {"outcome": "y", "se": "se", "family": hm.StudentT(nu=4)},
}
MORE = {"covariates": ["sex", "size"], "offset": "known"}
CASES = {
    "two levels": {"groups": "room", "priors": PRIORS},
    "three levels, covariates, offset": {
        "groups": ["school", "room"],
        "priors": OUTER | BETA,
        **MORE,
    },
}


def prepared(family, case="three levels, covariates, offset", **changes):
    """Specification and data of a case; columns of 2×2 tables are named in the specification."""
    roles = {**FAMILIES[family], **CASES[case], **changes}
    tables = {role: roles.pop(role) for role in ("control_trials", "total_events") if role in roles}
    if not tables:
        return prepare(rows(), **roles)
    odds_ratio = roles.pop("family")
    spec, data = prepare(rows(), **roles)
    more = {role: rows()[name].to_numpy(dtype=float) for role, name in tables.items()}
    spec = replace(spec, family=odds_ratio, columns={**spec.columns, **tables})
    return spec, replace(data, columns={**data.columns, **more})


def point(model, seed=1):
    rng, start = np.random.default_rng(seed), model.initial_point()
    return {name: value + rng.normal(0, 0.5, np.shape(value)) for name, value in start.items()}


class Stored:
    """The posterior's variables as functions of what a model samples."""

    def __init__(self, spec, model):
        self.model = model
        names = [name for name in spec.variables if name not in spec.on_outcome_scale]
        self.names = [*(name for name in names if name not in spec.fixed)]
        self.all = [*self.names, *spec.fixed, *spec.on_outcome_scale]
        self._evaluate = model.compile_fn(
            model.replace_rvs_by_values([model[name] for name in self.all]),
            inputs=model.value_vars,
            on_unused_input="ignore",
            **PLAIN,
        )

    def at(self, point):
        return dict(zip(self.all, self._evaluate(point), strict=True))

    def log_jacobian(self, point):
        """Of all variables with a density, by differences: few of them are not linear."""
        names, step = [variable.name for variable in self.model.value_vars], 1e-4
        flat = np.concatenate([np.ravel(point[name]) for name in names])

        def stored(values):
            ends = np.cumsum([np.size(point[name]) for name in names])[:-1]
            parts = zip(names, np.split(values, ends), strict=True)
            found = self.at({name: part.reshape(np.shape(point[name])) for name, part in parts})
            return np.concatenate([np.ravel(found[name]) for name in self.names])

        columns = [
            (stored(flat + step * unit) - stored(flat - step * unit)) / (2 * step)
            for unit in np.eye(len(flat))
        ]
        return np.linalg.slogdet(np.array(columns))[1]


def joint(spec, data, stored):
    return log_joint(spec, data, {name: value[None] for name, value in stored.items()}).item()


def require_density(spec, data, model, seed=1):
    at, stored = point(model, seed), Stored(spec, model)
    expected = joint(spec, data, stored.at(at)) + stored.log_jacobian(at)
    assert model.compile_logp(**PLAIN)(at) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", FAMILIES)
def test_it_has_the_joint_density_of_rows_and_variables(family, case, form):
    spec, data = prepared(family, case)
    require_density(spec, data, models.build_model(spec, data, form))


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_have_the_density_of_their_sums(family):
    spec, data = prepared(family)
    sums, each = (models.build_model(spec, data, "centered", observed) for observed in OBSERVED)
    densities = [model.compile_logp(**PLAIN) for model in (sums, each)]
    for seed in (1, 2):
        at = point(sums, seed)
        assert densities[1](at) == pytest.approx(densities[0](at), rel=1e-11)
    assert each.named_vars_to_dims[spec.outcome] == ("row",)


@pytest.mark.parametrize("form", FORMS)
def test_without_an_intercept_all_belongs_to_zero(form):
    spec, data = prepare(
        rows(),
        "p(deaths, trials) ~ 0 + size + (1 | room)",
        priors={"tau": PRIORS["tau"], **BETA},
    )
    model = models.build_model(spec, data, form)
    assert "theta_centre" not in model
    require_density(spec, data, model)


def test_flat_and_fixed_priors():
    spec, data = prepared(
        "poisson",
        priors={"kappa": hm.Fixed(0.7), "tau": hm.Fixed(0.0), "beta[sex]": hm.Normal(0, 1)},
    )
    forms = {"theta": "noncentered", "mu": "centered"}
    model = models.build_model(spec, data, forms)
    at, stored = point(model), Stored(spec, model)
    found = stored.at(at)
    parent = data.levels[-1].parent
    np.testing.assert_allclose(found["theta"], found["mu"][parent], rtol=1e-12)
    logp = model.compile_logp(**PLAIN)
    other = point(model, 2)
    change = joint(spec, data, stored.at(other)) - joint(spec, data, found)
    offset = sum(0.5 * (a["theta_offset"] ** 2).sum() * s for a, s in ((other, -1), (at, 1)))
    assert logp(other) - logp(at) == pytest.approx(change + offset, rel=1e-9)
    with pytest.raises(hm.SpecError, match="tau is fixed at 0; take 'noncentered'"):
        models.build_model(spec, data, "centered")


@pytest.mark.parametrize("family", FAMILIES)
def test_effects_on_the_outcome_s_scale_are_those_of_stored_draws(family):
    spec, data = prepared(family)
    model = models.build_model(spec, data, "centered")
    found = Stored(spec, model).at(point(model))
    known = {name: value[None] for name, value in found.items() if name not in ("p", "rate")}
    expected = with_outcome_scale(spec, data, known)
    assert set(expected) == set(found)
    for name in spec.on_outcome_scale:
        np.testing.assert_allclose(found[name], expected[name][0], rtol=1e-11)
        assert model.named_vars_to_dims[name] == ("room",)


OTHER = {
    **dict.fromkeys(FAMILIES, lambda data: data.y // 2),
    "student_t": lambda data: data.y[::-1],
    "odds_ratio": lambda data: np.minimum(data.columns["trials"], data.columns["total_events"]),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_outcomes_can_be_exchanged(family):
    spec, data = prepared(family)
    model = models.build_model(spec, data, "noncentered", exchangeable=True)
    at, stored, logp = point(model), Stored(spec, model), model.compile_logp(**PLAIN)
    other = replace(data, y=OTHER[family](data))
    assert not list(spec.family.invalid(other.y, other.columns))
    difference = joint(spec, other, stored.at(at)) - joint(spec, data, stored.at(at))
    before = logp(at)
    for name, value in models.outcome_of(spec, data)(other).items():
        model[name].set_value(value)
    assert logp(at) - before == pytest.approx(difference, rel=1e-9, abs=1e-9)


def test_very_many_rows_of_0_and_1_are_a_few_counts():
    rng = np.random.default_rng(0)
    room, sex = rng.integers(0, 30, 100_000), rng.integers(0, 2, 100_000)
    frame = pd.DataFrame({"cured": rng.random(100_000) < 0.3, "room": room, "sex": sex})
    priors = {"tau": hm.HalfNormal(1)}
    for covariates, size, dims in ((None, 30, "room"), ("sex", 60, "rows_alike")):
        roles = {"outcome": "cured", "groups": "room", "covariates": covariates}
        model = hm.two_level(frame, family="binomial", priors=priors, **roles)
        assert model.named_vars_to_dims["cured_sum"] == (dims,)
        [observed] = model.observed_RVs
        assert model.rvs_to_values[observed].data.sum() == frame["cured"].sum()
        assert model.rvs_to_values[observed].data.shape == (size,)


def test_rows_that_differ_stand_by_themselves():
    frame = rows().assign(size=np.arange(len(rows())))
    formula = "p(deaths, trials) ~ size + (1 | room)"
    model = hm.two_level(frame, formula, priors=PRIORS | BETA)
    assert model.named_vars_to_dims["deaths"] == ("row",)
    model = hm.two_level(frame, **FAMILIES["student_t"], groups="room", priors=PRIORS)
    assert model.named_vars_to_dims["y"] == ("row",)


def test_groups_of_one_row_have_their_own_dimension():
    frame = rows().drop_duplicates("room").sort_values("deaths")
    model = hm.two_level(frame, **FAMILIES["binomial"], groups="room", priors=PRIORS)
    assert model.named_vars_to_dims["deaths"] == ("room",)
    assert model.coords["room"] == tuple(frame["room"])


def test_sums_are_of_rows_of_one_predictor():
    keys = ["room", "sex", "known"]
    totals = rows().groupby(keys)[["deaths", "trials"]].sum()
    spec, data = prepared("binomial", covariates="sex")
    found = RowSums.of(spec, data).sums
    assert len(totals) == len(found.y) < len(rows())
    index = [
        data.labels[-1][found.group],
        found.design.matrix[:, 0].astype(int),
        found.columns["offset"],
    ]
    columns = {"deaths": found.y, "trials": found.columns["trials"]}
    again = pd.DataFrame(columns, index=pd.MultiIndex.from_arrays(index, names=keys)).sort_index()
    np.testing.assert_allclose(again, totals, rtol=1e-12)


def test_exposures_add_up_with_any_offsets():
    spec, data = prepared("poisson", covariates="sex")
    frame = rows().assign(hours=lambda each: each["hours"] * np.exp(each["known"]))
    totals = frame.groupby(["room", "sex"])[["count", "hours"]].sum()
    found = RowSums.of(spec, data).sums
    columns = {
        "count": found.y,
        "hours": found.columns["exposure"] * np.exp(found.columns["offset"]),
    }
    index = [data.labels[-1][found.group], found.design.matrix[:, 0].astype(int)]
    again = pd.DataFrame(columns, index=pd.MultiIndex.from_arrays(index)).sort_index()
    np.testing.assert_allclose(again, totals, rtol=1e-12)


def test_statistics_of_groups_have_the_model_of_their_rows():
    roles = {"outcome": "deaths", "trials": "trials", "groups": ["school", "room"]}
    found = []
    for data in (rows(), hm.SufficientStatistics.of(rows(), **roles)):
        said = roles if isinstance(data, pd.DataFrame) else {}
        model = models.build_model(*prepare(data, **said, priors=OUTER), "centered")
        assert model.named_vars_to_dims["deaths_sum"] == ("room",)
        found.append(model.compile_logp(**PLAIN)(point(model)))
    assert found[0] == pytest.approx(found[1], rel=1e-11)


EXTREME = {
    "all zeros and full": ([0, 1_000_000, 0, 1], [1_000_000, 1_000_000, 3, 1]),
    "no trials": ([0, 5, 999_999, 3], [0, 10, 1_000_000, 4]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", EXTREME)
def test_sampling_can_start_from_any_counts(case, form):
    deaths, cases = EXTREME[case]
    frame = pd.DataFrame({"room": list("abcd"), "y": deaths, "n": cases})
    priors = {"mu": hm.Normal(0, 5), "tau": hm.HalfNormal(2)}
    model = hm.two_level(
        frame, outcome="y", trials="n", groups="room", priors=priors, parameterization=form
    )
    function = model.logp_dlogp_function(ravel_inputs=True)
    function.set_extra_values({})
    start, rng = DictToArrayBijection.map(model.initial_point()).data, np.random.default_rng(1)
    for _ in range(20):  # as samplers do
        logp, slope = function(start + rng.uniform(-1, 1, len(start)))
        assert np.isfinite(logp)
        assert np.isfinite(slope).all()


def test_the_approximation_of_nearly_normal_rows_is_the_normal_choice(schools):
    nearly = {"family": hm.StudentT(nu=1e7)}
    normal = parameterization.choose("auto", *prepare(schools))
    close = parameterization.choose("auto", *prepare(schools, **nearly))
    assert (close.name, close.reason) == (normal.name, normal.reason)
    precise = schools.assign(sigma=schools["sigma"] / 10)
    assert parameterization.choose("auto", *prepare(precise, **nearly)).name == "centered"


def test_more_trials_flip_the_choice():
    rng = np.random.default_rng(1)
    few, many = (
        pd.DataFrame({"room": range(40), "n": n, "y": rng.binomial(n, rng.beta(4, 6, 40))})
        for n in (3, 300)
    )
    roles = {"outcome": "y", "trials": "n", "groups": "room", "priors": {"tau": hm.HalfNormal(1)}}
    found = [parameterization.choose("auto", *prepare(frame, **roles)) for frame in (few, many)]
    assert [choice.name for choice in found] == ["noncentered", "centered"]


@pytest.mark.parametrize("within", [True, False])
def test_the_approximation_finds_the_coefficients(within):
    """Against Newton's method for a regression with an intercept for each room, or with one."""
    rng = np.random.default_rng(3)
    room = np.repeat(np.arange(30), 40)
    x = rng.normal(50, 2, (1200, 2)) if within else rng.normal(50, 2, (30, 2))[room]
    own = rng.normal(-1, 0.3, 30)
    eta = own[room] + (x - 50) @ [0.2, -0.1]
    frame = pd.DataFrame({"room": room, "a": x[:, 0], "b": x[:, 1]})
    frame["y"] = rng.random(1200) < 1 / (1 + np.exp(-eta))
    spec, data = prepare(
        frame, "y ~ a + b + (1 | room)", family="binomial", priors={"tau": hm.HalfNormal(1)}
    )
    near = Approximation.of(spec, RowSums.of(spec, data).sums)
    dummies = np.eye(30)[room] if within else np.ones((1200, 1))
    design, y = np.column_stack([x - 50, dummies]), data.y

    def deviance(beta):
        predictor = design @ beta
        return np.logaddexp(0, predictor).sum() - y @ predictor

    best = optimize.minimize(deviance, np.zeros(design.shape[1])).x
    p = 1 / (1 + np.exp(-design @ best))
    weight = p * (1 - p) / (1.0 if within else 1 + 40 * p * (1 - p) * 0.3**2)
    covariance = np.linalg.inv((design.T * weight) @ design)[:2, :2]
    sd = np.sqrt(np.diag(near.basis @ near.basis.T))
    assert (np.abs(near.beta - best[:2]) < sd).all()
    ratio = sd / np.sqrt(np.diag(covariance))
    assert (ratio > 0.5).all()
    assert (ratio < 2.0).all()
    np.testing.assert_allclose(near.centre, [50, 50], atol=1)
    at_centre = own + (near.centre - 50) @ [0.2, -0.1]
    assert np.mean((near.effect - at_centre) ** 2 / near.se**2) < 1.6


def test_effects_cannot_be_integrated_out_in_closed_form():
    spec, data = prepared("binomial", "two levels")
    message = r"only normal rows have, .*Binomial\(\); take 'centered' .* engine='exact'"
    with pytest.raises(hm.SpecError, match=message):
        models.build_model(spec, data, "marginal")


@pytest.mark.parametrize(
    ("names", "observed", "found"),
    [
        ({"known": "theta_offset"}, "rows", "offset: .*'theta_offset'"),
        ({"trials": "x"}, "rows", "trials: .*'x'"),
        ({"room": "deaths_sum"}, "means", "groups: .*'deaths_sum'"),
        ({"room": "rows_alike"}, "means", "groups: .*'rows_alike'"),
    ],
)
def test_columns_with_names_of_the_model_s_are_refused(names, observed, found):
    roles = {"trials": "trials", "offset": "known", "groups": "room"}
    roles = {role: names.get(name, name) for role, name in roles.items()}
    options = {"outcome": "deaths", "covariates": "sex", "priors": PRIORS | BETA, **roles}
    with pytest.raises(hm.SpecError, match=found):
        hm.two_level(rows().rename(columns=names), observed=observed, **options)
