"""The command line."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import hiermodels as hm
from hiermodels.cli import main


def test_demo_baseball(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    rows = dict(re.findall(r"^(Clemente|Alvis) +(.*)$", out, re.MULTILINE))
    numbers = [float(x) for x in rows["Clemente"].split()]
    assert numbers[:2] == [0.400, 0.346]
    assert numbers[2:5] == [0.240, 0.314, 0.419]  # exact
    assert numbers[5:8] == pytest.approx(numbers[2:5], abs=0.01)  # NUTS
    assert numbers[8:] == [0.240, 0.308, 0.417]  # the lecture's recipe
    assert re.search(r"raw averages +0\.0754", out)
    assert re.search(r"empirical Bayes +0\.0217  16 of 18", out)
    assert re.search(r"posterior means +0\.0247  16 of 18", out)
    assert "that is\nnot cut off at σ²" in out
    assert re.search(r"NUTS against the exact posterior\. The draws agree", out)
    assert (tmp_path / "baseball_shrinkage.png").stat().st_size > 10_000
    assert len(list(tmp_path.iterdir())) == 1  # nothing temporary is left


def test_demo_schools(tmp_path, capsys):
    assert main(["demo", "schools", "--out", str(tmp_path)]) == 0
    assert re.search(r"theta\[A\] +11\.40 +14\.64 +9\.33", capsys.readouterr().out)


def test_demo_sleepstudy(tmp_path, capsys):
    assert main(["demo", "sleepstudy", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    table = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if "." in line}
    own, lme4 = (float(table["tau[Days]"][i]) for i in (0, -1))
    assert own == pytest.approx(6.593, abs=2e-3)
    assert lme4 == 5.922
    assert (tmp_path / "sleepstudy_shrinkage.png").stat().st_size > 10_000


def test_fit_of_slopes_with_a_report(tmp_path, capsys):
    table = tmp_path / "sleep.csv"
    hm.datasets.load_sleepstudy().to_csv(table, index=False)
    out, page = tmp_path / "fit.nc", tmp_path / "report.html"
    formula = "Reaction ~ Days + (1 + Days | Subject)"
    given = ["--formula", formula, "--seed", "1", "--draws", "200"]
    given += ["--prior", "tau[Days]=HalfNormal(20)", "--prior", "rho=LKJ(2)"]
    assert main(["fit", str(table), *given, "--out", str(out), "--report", str(page)]) == 0
    assert "tau[Days] ~ HalfNormal(sd=20)" in capsys.readouterr().out
    assert hm.load(out).spec.priors["rho"] == hm.LKJ(2)
    text = page.read_text(encoding="utf-8")
    before, after = text.split('id="sensitivity"')
    assert not re.search(r"\b[A-Z]\w+Error\b", before)
    assert text.count("<img") >= 6
    for words in (
        f"fit {table} --formula &#x27;{formula}&#x27;",
        "theta[Days], the effect of each",
    ):
        assert words in before + after


def test_demo_penicillin(tmp_path, capsys):
    assert main(["demo", "penicillin", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"tau_plate +0\.\d{3}.* 0\.847\n", out)
    assert "known plate, known sample" in out
    assert "new plate, new sample" in out
    assert (tmp_path / "penicillin_shrinkage.png").stat().st_size > 10_000


def test_demo_classrooms(tmp_path, capsys):
    assert main(["demo", "classrooms", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "56 rows in 11 district, 56 school" in out
    assert re.search(r"kappa +0\.323 0\.109", out)
    assert (tmp_path / "classrooms_shrinkage.png").exists()


def test_errors_are_told_without_a_traceback(monkeypatch, capsys, tmp_path):
    from hiermodels import demo

    def refuse(folder):
        raise hm.DataError("something is missing")

    monkeypatch.setattr(demo, "schools", refuse)
    assert main(["demo", "schools", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "hiermodels: something is missing\n"


def test_an_unknown_example():
    with pytest.raises(SystemExit):
        main(["demo", "penguins"])


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"hiermodels {hm.__version__}\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory, schools):
    """The eight schools as tables; fits of them under two priors, and what others would save."""
    folder = tmp_path_factory.mktemp("files")
    schools.to_csv(folder / "schools.csv", index=False)
    schools.to_parquet(folder / "schools.parquet")
    fit = hm.fit(schools, priors={"tau": hm.HalfCauchy(5)}, random_seed=1)
    fit.to_netcdf(folder / "half-cauchy.nc")
    hm.fit(schools, random_seed=1).to_netcdf(folder / "flat.nc")
    fit.datatree.to_netcdf(folder / "foreign.nc", engine="h5netcdf")
    return folder


@pytest.mark.parametrize("table", ["schools.csv", "schools.parquet"])
def test_fit(table, files, tmp_path, capsys, schools):
    out = tmp_path / "fit.nc"
    arguments = ["--prior", "tau=HalfCauchy(5)", "--prior", "mu=Normal(0, sd=20)", "--seed", "3"]
    assert main(["fit", str(files / table), *arguments, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    priors = {"tau": hm.HalfCauchy(5), "mu": hm.Normal(0, 20)}
    fit = hm.fit(schools, priors=priors, random_seed=3)
    assert repr(fit) in shown
    assert re.search(r"^theta\[A\] +\d", shown, re.MULTILINE)
    assert hm.load(out).spec == fit.spec
    for name, draws in fit.datatree["posterior"].data_vars.items():
        assert (hm.load(out).datatree["posterior"][name] == draws).all()


@pytest.mark.parametrize("table", ["schools.parquet", "."])
def test_parquet_is_scanned_without_loading_rows(table, schools, tmp_path, monkeypatch, capsys):
    pytest.importorskip("polars")
    schools.to_parquet(tmp_path / "schools.parquet")
    if table == ".":
        (tmp_path / "schools.parquet").unlink()
        (tmp_path / "more").mkdir()
        schools[:3].to_parquet(tmp_path / "first.parquet")
        schools[3:].to_parquet(tmp_path / "more" / "second.parquet")
    monkeypatch.chdir(tmp_path)
    lazy = [] if table == "." else ["--lazy"]
    assert main(["fit", table, *lazy, "--seed", "1", "--out", "fit.nc"]) == 0
    assert "8 rows in 8 school" in capsys.readouterr().out
    found, exact = hm.load("fit.nc"), hm.fit(schools, random_seed=1)
    assert isinstance(found.data, hm.SufficientStatistics)
    gap = found.reference().mean["mu"] - exact.reference().mean["mu"]
    assert abs(float(gap)) < 1e-9 * float(exact.reference().sd["mu"])


def test_fit_names_columns_and_reads_numbers_exactly(tmp_path, capsys):
    df = hm.datasets.load_school_calendar()
    rng = np.random.default_rng(1)
    df["x"] = rng.normal(size=len(df))
    df["y"] = df["y"] * np.pi
    df.loc[3, "x"] = np.nan
    df.to_csv(tmp_path / "calendar.csv", index=False)
    columns = ["--outcome", "y", "--groups", "district, school", "--covariates", "x"]
    arguments = [*columns, "--missing", "drop", "--draws", "50", "--chains", "2", "--seed", "1"]
    out = tmp_path / "fit.nc"
    table = str(tmp_path / "calendar.csv")
    assert (
        main(["fit", table, *arguments, "--prior", "beta[x]=Normal(0,1)", "--out", str(out)]) == 0
    )
    assert "1 with missing values dropped" in capsys.readouterr().out
    fit = hm.load(out)
    assert fit.spec.priors["beta[x]"] == hm.Normal(0, 1)
    assert set(fit.data.y) == set(df.drop(index=3)["y"])
    assert dict(fit.datatree["posterior"].sizes)["chain"] == 2


def test_fit_takes_a_formula_and_needs_no_file_for_the_result(tmp_path, capsys):
    hm.datasets.load_dyestuff().to_csv(tmp_path / "d.csv", index=False)
    outcome = hm.datasets.load_dyestuff().columns[-1]
    formula = f"{outcome} ~ (1 | batch)"
    assert main(["fit", str(tmp_path / "d.csv"), "--formula", formula, "--draws", "20"]) == 0
    assert "sigma ~ Jeffreys()" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["d.csv"]


def test_fit_of_one_population(files, capsys):
    arguments = ["--groups", "", "--outcome", "y", "--prior", "theta=NormalInverseGamma(0,10,2,3)"]
    pd.DataFrame({"y": [1.0, 2.5, 4.0]}).to_csv(files / "one.csv", index=False)
    assert main(["fit", str(files / "one.csv"), *arguments]) == 0
    assert "theta ~ NormalInverseGamma(m=0, s=10, alpha=2, beta=3)" in capsys.readouterr().out


def compare(files, *arguments):
    paths = [str(files / text) if "." in text and "=" not in text else text for text in arguments]
    return main(["compare", *paths])


def test_compare_two_saved_fits(files, capsys):
    assert compare(files, "half-cauchy.nc", "half-cauchy.nc") == 0
    assert "The draws agree with the exact posterior" in capsys.readouterr().out
    assert compare(files, "flat.nc", "half-cauchy.nc") == 2
    assert "different models: the prior of tau is FlatVariance()" in capsys.readouterr().err


def test_compare_draws_from_elsewhere_with_a_table(files, capsys):
    table = ["--data", "schools.csv", "--prior"]
    assert compare(files, "foreign.nc", *table, "tau=HalfCauchy(beta=5)") == 0
    assert compare(files, "foreign.nc", *table, "tau=HalfCauchy(beta=1)", "--alpha", "1e-6") == 1
    assert "alpha = 1e-06" in capsys.readouterr().out


def test_compare_renames(files, capsys):
    """Names of this package stand on the left."""
    draws = hm.load(files / "half-cauchy.nc").datatree["posterior"].to_dataset()
    renamed = draws.rename({"tau": "sd_school", "school": "group"})
    xr.DataTree.from_dict({"posterior": renamed}).to_netcdf(files / "renamed.nc", engine="h5netcdf")
    rename = ["--rename", "tau=sd_school", "--rename", "school=group"]
    assert compare(files, "renamed.nc", "half-cauchy.nc", *rename) == 0
    assert "The draws agree" in capsys.readouterr().out
    assert compare(files, "renamed.nc", "half-cauchy.nc") == 2
    assert "no variable 'tau'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "nothing.csv"], "there is no file '.*nothing.csv'"),
        (["fit", "schools.txt"], "expected a file .csv or .parquet"),
        (["fit", "flat.csv"], "cannot be read: .*decode"),
        (["fit", "flat.parquet"], "cannot be read: "),
        (["fit", "empty.csv"], "cannot be read: No columns"),
        (["fit", "schools.csv", "--lazy"], "expected a file .parquet, or a folder"),
        (["fit", "nothing.parquet", "--lazy"], "there is no file"),
        (["fit", "flat.parquet", "--lazy"], "cannot be read: "),
        (["fit", "nowhere", "--lazy"], "expected a file .parquet, or a folder"),
        (["fit", "schools.parquet", "--lazy", "--report", "a.html"], "whose rows are loaded"),
        (["fit", "schools.csv", "--prior", "tau"], "--prior: expected NAME=…, such as tau="),
        (["fit", "schools.csv", "--prior", "tau=Half(5)"], "there is no 'Half'"),
        (["fit", "schools.csv", "--prior", "kappa=FlatSD()"], "no parameter 'kappa'"),
        (["fit", "schools.csv", "--formula", "y ~ ("], "formula"),
        (["fit", "schools.csv", "--covariance", "v.txt"], "expected a matrix in a file .csv or"),
        (["fit", "schools.csv", "--covariance", "v.npy"], "there is no file 'v.npy'"),
        (["fit", "schools.csv", "--covariance", "schools.csv"], "'schools.csv' cannot be read"),
        (["compare", "flat.nc", "flat.nc", "--covariance", "one.csv"], "covariance belongs to"),
        (["fit", "schools.csv", "--engine", "gibbs"], "expected one of 'exact', 'importance',"),
        (["fit", "schools.csv", "--draws", "0"], "draws: expected a positive integer"),
        (["fit", "schools.csv", "--out", "nowhere/fit.nc"], "there is no folder"),
        (["compare", "flat.nc"], "give either a saved fit, FIT.nc, or a table"),
        (["compare", "flat.nc", "flat.nc", "--data", "schools.csv"], "give either a saved fit"),
        (["compare", "flat.nc", "flat.nc", "--se", "sigma"], "se belongs to --data"),
        (["compare", "nothing.nc", "flat.nc"], "there is no file"),
        (["compare", "schools.csv", "flat.nc"], "expected a whole netCDF-4"),
        (["compare", "flat.nc", "foreign.nc"], "expected a fit saved by"),
        (["compare", "flat.nc", "flat.nc", "--alpha", "2"], "expected a number between 0 and 1"),
        (["compare", "flat.nc", "flat.nc", "--rename", "=a"], "--rename: expected NAME=…"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(arguments, message, files, capsys, monkeypatch):
    for suffix in (".csv", ".parquet"):
        (files / "flat").with_suffix(suffix).write_bytes((files / "flat.nc").read_bytes())
    (files / "empty.csv").write_bytes(b"")
    (files / "one.csv").write_text("1")
    monkeypatch.chdir(files)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.startswith("hiermodels: ")
    assert "Traceback" not in error


def test_warnings_are_told_in_a_line(files, capsys, monkeypatch):
    def warn(*_, **__):
        warnings.warn("the chains did not mix", UserWarning, stacklevel=1)
        raise hm.SpecError("and so on")

    monkeypatch.setattr("hiermodels.api.fitting.fit", warn)
    assert main(["fit", str(files / "schools.csv")]) == 2
    shown = "hiermodels: the chains did not mix\nhiermodels: and so on\n"
    assert capsys.readouterr().err == shown


@pytest.mark.parametrize("command", ["demo", "fit", "compare"])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    assert "usage: hiermodels" in capsys.readouterr().out


def test_a_set_of_priors_has_an_option(files, capsys):
    table = str(files / "schools.csv")
    assert main(["fit", table, "--priors", "weak", "--draws", "40", "--seed", "1"]) == 0
    assert "tau ~ HalfStudentT(nu=3, sigma=11.1), on the sd tau" in capsys.readouterr().out
    assert main(["fit", table, "--priors", "weak", "--prior", "tau=FlatSD()"]) == 2
    assert "--priors: give either" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".csv", ".npy"])
def test_correlated_errors(suffix, tmp_path, capsys):
    """As a number, or as a matrix in a file."""
    frame = pd.DataFrame({"y": [1.0, 2, 4, 3, 7], "study": list("aabbc"), "se": [1.0, 2, 1, 1, 1]})
    same = frame["study"].to_numpy()[:, None] == frame["study"].to_numpy()
    se = frame["se"].to_numpy()
    v = np.where(np.eye(5) > 0, 1.0, 0.5 * same) * se[:, None] * se
    frame.to_csv(tmp_path / "studies.csv", index=False)
    path = tmp_path / f"v{suffix}"
    np.save(path, v) if suffix == ".npy" else np.savetxt(path, v, delimiter=",", fmt="%.17g")
    model = ["fit", str(tmp_path / "studies.csv"), "--formula", "y ~ (1 | study)"]
    model += ["--priors", "weak", "--draws", "5"]
    shown = []
    for known in (["--covariance", str(path)], ["--se", "se", "--sampling-correlation", "0.5"]):
        assert main([*model, *known, "--seed", "1", "--out", str(tmp_path / "fit.nc")]) == 0
        capsys.readouterr()
        shown.append(hm.load(tmp_path / "fit.nc").datatree["posterior"]["theta"].to_numpy())
    np.testing.assert_allclose(*shown, rtol=1e-9)
