"""Which column is what: names that are understood, contradicted or forgotten, and variances."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pandas as pd
import polars
import pymc as pm
import pytest
import xarray as xr
from scipy import integrate, stats

import hiermodels as hm
from hiermodels import cli
from hiermodels.core import codec
from hiermodels.data.read_rows import read
from hiermodels.data.roles import Roles, name_contradicts, name_says
from hiermodels.results.report import sections as report
from hiermodels.results.report.recipe import command, snippet

PRIORS = {"mu": hm.Normal(0, 2), "tau": hm.HalfNormal(1)}


def trials(outcome: str = "yi", errors: str = "vi") -> pd.DataFrame:
    """Six studies, whose variances are not their standard errors."""
    return pd.DataFrame(
        {
            "study": list("abcdef"),
            outcome: [-0.9, -1.6, -1.3, -1.4, -0.2, 0.5],
            errors: [0.33, 0.19, 0.42, 0.02, 0.05, 0.21],
        }
    )


def twice(errors: str = "vi") -> pd.DataFrame:
    """Two rows of each study."""
    frame = trials(errors=errors)
    return pd.concat([frame, frame.assign(yi=[0.1, -1.2, 0.4, -0.9, 0.3, -0.5])], ignore_index=True)


def roots(frame: pd.DataFrame, column: str = "vi") -> pd.DataFrame:
    """The same with standard errors."""
    return frame.assign(sei=np.sqrt(frame[column])).drop(columns=column)


def roles_of(frame, **given):
    return str(read(frame, **given).roles)


# Names


@pytest.mark.parametrize(
    "name",
    [
        *("vi", "v", "var", "variance", "VI", "Var", "v_i", "yi.var", "var_y", "sampling variance"),
        *("sigma2", "sigma²", "sigma^2", "sigma_squared", "se2", "se_sq", "effectVar"),
    ],
)
def test_variances_given_as_standard_errors_are_questioned(name):
    with pytest.warns(hm.DataWarning, match=r"say variance=") as told:
        hm.reference(trials(errors=name), outcome="yi", groups="study", se=name)
    assert repr(name) in str(told[0].message)
    assert told[0].filename == __file__  # the line that gave it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hm.reference(trials(errors=name), outcome="yi", groups="study", variance=name)


@pytest.mark.parametrize(
    "name", ["se", "sei", "SE", "sigma", "std_err", "Std.Err", "standard error", "se_yi", "sd"]
)
def test_standard_errors_given_as_variances_are_questioned(name):
    with pytest.warns(hm.DataWarning, match=r"say se="):
        hm.reference(trials(errors=name), outcome="yi", groups="study", variance=name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hm.reference(trials(errors=name), outcome="yi", groups="study", se=name)


@pytest.mark.parametrize("name", ["u", "e", "seen", "variety", "vital", "x1", "se_of_var", "Σ", ""])
def test_other_names_say_nothing(name):
    assert not name_contradicts(name, "sd")
    assert not name_contradicts(name, "variance")
    assert name_says(name) is None
    assert name_says(7) is None


@pytest.mark.parametrize("outcome", ["y", "yi"])
@pytest.mark.parametrize("errors", ["vi", "sei", "se", "sigma", "std_err"])
def test_metafors_names_are_understood(outcome, errors, capsys):
    frame = trials(outcome, errors)
    found = hm.reference(frame, priors=PRIORS)
    role = "variance" if errors == "vi" else "se"
    assert capsys.readouterr().out == (
        f"outcome = {outcome}, groups = study, {role} = {errors} ({role}, outcome, groups "
        f"inferred)\n"
    )
    known = frame[errors].to_numpy() ** (0.5 if errors == "vi" else 1)
    plain = pd.DataFrame({"g": frame["study"], "t": frame[outcome], "e": known})
    other = hm.reference(plain, outcome="t", groups="g", se="e", priors=PRIORS)
    assert float(found.mean["tau"]) == pytest.approx(float(other.mean["tau"]), rel=1e-9)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (roots(trials()).assign(vi=0.1), r"se: columns 'sei', 'vi' may all hold standard errors or "
         r"variances; say se=… or variance=…"),
        (trials().assign(y=1.5), r"outcome: expected a column 'y' or 'yi', or a single continuous "
         r"one; both 'y', 'yi' are there"),
        (trials("count", "var").astype({"count": int}), r"the only one left, 'var', has the name "
         r"of known errors"),
    ],
)  # fmt: skip
def test_two_readings_are_refused(frame, message):
    with pytest.raises(hm.DataError, match=message):
        read(frame)


def test_se_false_leaves_sigma_unknown(capsys):
    frame = twice()
    roles = {"outcome": "yi", "groups": "study", "se": False}
    fit = hm.fit(frame, **roles, draws=10)
    assert "sigma" in fit.spec.sds
    assert capsys.readouterr().out == ""
    assert "unused" not in repr(fit)
    renamed = hm.reference(frame.rename(columns={"vi": "u"}), outcome="yi", groups="study")
    assert float(fit.reference().mean["sigma"]) == float(renamed.mean["sigma"])
    hm.fit(frame, se=False, draws=10)
    assert capsys.readouterr().out == (
        "outcome = yi, groups = study (outcome, groups inferred; not used: 'vi')\n"
    )


def test_the_model_of_one_population_takes_no_column_for_errors():
    model = hm.normal_inverse_gamma(trials(), priors={"theta": hm.NormalInverseGamma(0, 1, 2, 3)})
    assert {variable.name for variable in model.free_RVs} >= {"theta"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"var": 0.1}, "not used: 'var'; if the errors of the rows are known, say variance='var'"),
        ({"SE": 0.1, "weights": 1}, "not used: 'SE', 'weights'; if the errors of the rows are "
         "known, say se='SE'"),
        ({"weight": 2.0}, "not used: 'weight'"),
    ],
)  # fmt: skip
def test_columns_that_may_have_been_forgotten_are_mentioned(more, said, capsys):
    frame = twice("u").assign(**more)
    hm.reference(frame, "yi ~ (1 | study)")
    assert capsys.readouterr().out == f"outcome = yi, groups = study ({said})\n"
    hm.SufficientStatistics.of(polars.DataFrame(frame).lazy(), "yi ~ (1 | study)")
    assert capsys.readouterr().out == f"outcome = yi, groups = study ({said})\n"
    hm.reference(frame, "yi ~ (1 | study)", se="u")
    assert capsys.readouterr().out == ""
    hm.reference(frame.rename(columns={"u": "se"}), "yi ~ (1 | study)")
    names = ", ".join(map(repr, more))
    assert capsys.readouterr().out == (
        f"outcome = yi, groups = study, se = se (se inferred; not used: {names})\n"
    )


# Variances


def test_variances_have_the_dense_marginal_likelihood():
    frame = trials()
    y, v = frame["yi"].to_numpy(), frame["vi"].to_numpy()

    def density(tau: float) -> float:
        covariance = np.diag(v + tau**2) + PRIORS["mu"].sd ** 2
        likelihood = stats.multivariate_normal(np.zeros(len(y)), covariance).pdf(y)
        return float(likelihood * stats.halfnorm(scale=1).pdf(tau))

    expected = np.log(integrate.quad(density, 0, 20, epsabs=0, epsrel=1e-12, limit=200)[0])
    found = hm.reference(frame, outcome="yi", groups="study", variance="vi", priors=PRIORS)
    assert found.log_marginal_likelihood == pytest.approx(expected, abs=1e-9)


def test_se_and_variance_exclude_one_another():
    for se in ("yi", "nothing", False):
        with pytest.raises(hm.SpecError, match=r"se and variance: expected one of them at most"):
            hm.fit(trials(), outcome="yi", groups="study", se=se, variance="vi")


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-310, 1e300, np.inf, np.nan])
@pytest.mark.parametrize("lazy", [False, True])
def test_variances_out_of_range(value, lazy):
    frame = trials(errors="spread")
    frame.loc[2, "spread"] = value
    given = polars.DataFrame(frame).lazy() if lazy else frame
    with pytest.raises(hm.DataError, match=r"column 'spread': .*(variances|finite|missing)"):
        hm.fit(given, outcome="yi", groups="study", variance="spread")


@pytest.mark.parametrize("value", [1e-299, 1e149])
def test_variances_within_range(value):
    frame = trials(errors="spread").assign(spread=value)
    rows = read(frame, outcome="yi", groups="study", variance="spread")
    np.testing.assert_allclose(rows.se, np.sqrt(value), rtol=1e-15)


@pytest.mark.parametrize("other", [["a"], 3, True])
def test_variance_of_another_kind(other):
    with pytest.raises(hm.SpecError, match="variance: expected the name of a column as text"):
        hm.fit(trials(), outcome="yi", groups="study", variance=other)


def test_every_callable_that_takes_se_takes_variance():
    public = [getattr(hm, name) for name in hm.__all__ if hasattr(hm, name)]
    functions = [*filter(inspect.isfunction, public), hm.SufficientStatistics.of]
    takers = [f for f in functions if "se" in inspect.signature(f).parameters]
    assert {hm.fit, hm.reference, hm.two_level, hm.three_level, hm.calibrate} <= set(takers)
    for function in takers:
        assert "variance" in inspect.signature(function).parameters, function


def test_variances_are_named_wherever_the_model_is_shown(tmp_path, capsys):
    frame = trials()
    fit = hm.fit(frame, outcome="yi", groups="study", variance="vi", priors=PRIORS, random_seed=1)
    assert capsys.readouterr().out == ""
    assert "yi ~ Normal(theta[study], sqrt(vi)) with known vi" in repr(fit)
    assert "outcome = yi, groups = study, variance = vi" in repr(fit)
    assert ("known variances", "vi: 0.02 to 0.42") in list(report._roles(fit.data))
    np.testing.assert_allclose(fit.datatree["constant_data"]["vi"], frame["vi"], rtol=1e-15)
    code = snippet(fit.posterior)
    assert "variance='vi'" in code
    scope = {"df": frame, "hm": hm}
    exec(code.replace("df = ...", ""), scope)
    assert scope["fit"].datatree.equals(fit.datatree)
    assert "--variance vi" in command(fit.posterior)
    again = hm.load(fit.to_netcdf(tmp_path / "fit.nc"))
    assert (again.spec, again.data.roles) == (fit.spec, fit.data.roles)
    assert again.data.se.tolist() == fit.data.se.tolist()


def test_code_of_a_fit_without_its_errors_makes_it_again():
    frame = twice()
    fit = hm.fit(frame, "yi ~ (1 | study)", se=False, draws=20, random_seed=1)
    code = snippet(fit.posterior)
    assert "se=False" in code
    scope = {"df": frame, "hm": hm}
    exec(code.replace("df = ...", ""), scope)
    assert scope["fit"].datatree.equals(fit.datatree)
    assert "--no-se" in command(fit.posterior)


def test_new_rows_have_variances_of_their_own():
    frame, priors = trials(), {"priors": PRIORS, "random_seed": 1}
    fit = hm.fit(frame, outcome="yi", groups="study", variance="vi", **priors)
    twin = hm.fit(roots(frame), outcome="yi", groups="study", se="sei", **priors)
    new = pd.DataFrame({"study": ["a", "z"], "vi": [0.5, 2.0]})
    found, expected = fit.predict(new), twin.predict(roots(new))
    np.testing.assert_allclose(found.sd["yi"], expected.sd["yi"], rtol=1e-9)
    total = np.sqrt(found.sd["yi_mean"] ** 2 + new["vi"].to_numpy())
    np.testing.assert_allclose(found.sd["yi"], total, rtol=1e-9)
    stored = found.datatree["predictions_constant_data"]
    np.testing.assert_allclose(stored["vi"], new["vi"], rtol=1e-15)
    with pytest.raises(hm.DataError, match=r"there is no column 'vi'.*the variance of each row"):
        fit.predict(new[["study"]])
    with pytest.raises(hm.DataError, match="column 'vi': expected positive variances; found -1 in"):
        fit.predict(new.assign(vi=-1.0))
    # Of an even number of rows the median of variances is not that of their roots.
    assert fit.predict().rows.se[-1] ** 2 == pytest.approx(np.median(frame["vi"]), rel=1e-14)


def test_pymc_has_the_density_of_the_roots():
    frame, logp = trials(), []
    for data, role in ((frame, {"variance": "vi"}), (roots(frame), {"se": "sei"})):
        roles = {"outcome": "yi", "groups": "study", **role}
        model = hm.two_level(data, **roles, observed="rows", parameterization="centered")
        logp.append(float(model.compile_logp(mode="FAST_COMPILE")(model.initial_point())))
    assert logp[0] == pytest.approx(logp[1], rel=1e-12)
    named = hm.two_level(frame, outcome="yi", groups="study", variance="vi", observed="rows")
    np.testing.assert_allclose(named["vi"].get_value(), frame["vi"], rtol=1e-15)
    assert isinstance(named, pm.Model)


@pytest.mark.filterwarnings("ignore::hiermodels.DataWarning")
def test_statistics_of_variances_and_of_their_roots():
    frame = twice()
    roles = {"outcome": "yi", "groups": "study"}
    found = hm.SufficientStatistics.of(frame, **roles, variance="vi")
    np.testing.assert_allclose(found.weight, 2 / trials()["vi"], rtol=1e-14)
    other = hm.SufficientStatistics.of(frame.assign(vi=frame["vi"] ** 0.5), **roles, se="vi")
    with pytest.raises(hm.SpecError, match="se_scale is 'variance' in one and 'sd' in the other"):
        found + other


def test_the_command_line_takes_variances(tmp_path, capsys):
    path = tmp_path / "trials.csv"
    trials(errors="var").to_csv(path, index=False)
    model = ["fit", str(path), "--formula", "yi ~ (1 | study)", "--draws", "10"]
    assert cli.main([*model, "--variance", "var"]) == 0
    assert "sqrt(var)" in capsys.readouterr().out
    assert cli.main([*model, "--se", "var"]) == 0
    assert "say variance='var'" in capsys.readouterr().err
    twice().to_csv(path, index=False)
    assert cli.main([*model, "--no-se"]) == 0
    assert "Normal(theta[study], sigma)" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main([*model, "--se", "vi", "--variance", "vi"])


def test_records_of_files_from_before_there_were_variances():
    fields = {"outcome": "y", "groups": ["g"], "se": "e", "inferred": ["outcome"]}
    found = codec.unpack({"class": "Roles", "fields": fields}, xr.Dataset())
    assert found == Roles("y", ("g",), "e", ("outcome",), "sd")
    model = {
        "outcome": "y",
        "groups": ["g"],
        "se": "e",
        "covariates": [],
        "priors": {"mapping": {}},
    }
    spec = codec.unpack({"class": "Spec", "fields": model}, xr.Dataset())
    assert (spec.se, spec.se_scale) == ("e", "sd")
