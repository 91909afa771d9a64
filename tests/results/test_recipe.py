"""The code and the command line that make a fit of counts again."""

from __future__ import annotations

import shlex

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.cli import main
from hiermodels.data.prepare import prepare
from hiermodels.model.formula.parse import parse
from hiermodels.posterior.record import Posterior
from hiermodels.results.report.recipe import command, snippet
from tests.data import counts

CASES = {
    "trials": ({"formula": "deaths | trials(cases) ~ size + (1 | hospital)"}, ""),
    "pair": ({"formula": "p(deaths, cases) ~ 0 + size + (1 | region/ward)"}, ""),
    "exposure": ({"formula": "events ~ offset(log(hours)) + (1 | hospital)"}, ""),
    "columns": ({"outcome": "events", "exposure": "hours", "groups": "hospital"}, ""),
    "shift": ({"formula": "deaths | trials(cases) ~ offset(shift) + (1 | hospital)"}, ""),
    "events": ({"formula": "events ~ (1 | hospital)", "family": "poisson"}, "'poisson'"),
    "truth": ({"formula": "died ~ size + (1 | hospital)", "family": "binomial"}, "'binomial'"),
    "with a size": (
        {"formula": "events | rate(hours) ~ (1 | hospital)", "family": hm.NegativeBinomial(2.5)},
        "hm.NegativeBinomial(size=2.5)",
    ),
    "t errors": (
        {"formula": "own ~ size + (1 | hospital)", "se": "hours", "family": hm.StudentT(4)},
        "hm.StudentT(nu=4)",
    ),
}


@pytest.fixture(scope="module")
def surgical():
    return hm.fit(hm.datasets.load_surgical(), "deaths | trials(cases) ~ (1 | hospital)",
                  priors={"tau": hm.HalfNormal(1)}, random_seed=3, draws=50)  # fmt: skip


def posterior(said: dict, datatree) -> Posterior:
    """A record of a model of the same rows, whose draws nobody looks at."""
    spec, data = prepare(counts.rows(), **said, priors="weak")
    return Posterior(spec, data, "exact", datatree, {})


@pytest.mark.parametrize("case", CASES)
def test_code_states_the_same_model(case, surgical):
    said, family = CASES[case]
    record = posterior(said, surgical.datatree)
    code = snippet(record, "rows.csv")
    assert (f"family={family}" in code) if family else ("family=" not in code)

    class Told:
        """In place of the package: what ``fit`` is told."""

        def __getattr__(self, name):
            return getattr(hm, name)

        def fit(self, data, *formula, random_seed, draws, **given):
            return prepare(data, *formula, **given)

    scope = {"hm": Told(), "df": counts.rows()}
    exec(code[code.index("fit = hm.fit(") :], scope)
    spec, data = scope["fit"]
    assert spec == record.spec
    assert data.roles == record.data.roles


@pytest.mark.parametrize("case", CASES)
def test_the_command_line_states_the_same_model(case, surgical, tmp_path, monkeypatch, capsys):
    said, family = CASES[case]
    record = posterior(said, surgical.datatree)
    counts.rows().to_csv(tmp_path / "rows.csv", index=False)
    line = command(record, "rows.csv")
    if "hm." in family:  # parameters are not said on the command line
        assert line is None
        return
    told = {}

    def fit(data, formula, **given):
        known = ("engine", "draws", "chains", "random_seed")
        told["model"] = prepare(data, formula, **{k: v for k, v in given.items() if k not in known})
        raise hm.SpecError("enough")

    monkeypatch.setattr("hiermodels.api.fitting.fit", fit)
    monkeypatch.chdir(tmp_path)
    name, *words = shlex.split(line)
    assert name == "hiermodels"
    assert main(words) == 2
    assert "enough" in capsys.readouterr().err
    assert told["model"][0] == record.spec


SLOPES = [
    "y ~ x + z + (1 + x | g)",
    "y ~ x + (1 + x || g)",
    "y ~ x + (0 + x | g)",
    "y ~ 0 + x + (1 + x | g)",
    "y ~ center(x) + k + (1 + center(x) | g)",
    "y ~ x + k + x:k + (1 + k + x:k || g)",
    "y ~ x + (1 + x | h) + (1 | h:g)",
    "y ~ x + (1 | h) + (0 + x | h:g)",
    "y ~ x + (1 | h/g/k)",
]


@pytest.mark.parametrize("formula", SLOPES)
def test_code_states_slopes(formula, surgical):
    rng = np.random.default_rng(1)
    rows = pd.DataFrame(rng.normal(size=(48, 3)), columns=["y", "x", "z"])
    rows["h"] = np.repeat(list("abcd"), 12)
    rows["g"] = np.tile(np.repeat(["p", "q", "r"], 4), 4)
    rows["k"] = np.tile(["u", "v"], 24)
    spec, data = prepare(rows, formula, priors="weak")
    record = Posterior(spec, data, "exact", surgical.datatree, {})
    line = shlex.split(command(record, "rows.csv"))
    again, _ = prepare(rows, line[line.index("--formula") + 1], priors=spec.priors)
    assert again == spec
    assert repr(line[line.index("--formula") + 1]) in snippet(record, "rows.csv")


def test_columns_that_no_formula_can_name(surgical):
    frame = counts.rows().rename(columns={"cases": "the `cases`", "shift": "sh`ift"})
    said = {"outcome": "deaths", "groups": "hospital", "trials": "the `cases`", "offset": "sh`ift"}
    spec, data = prepare(frame, **said)
    record = Posterior(spec, data, "exact", surgical.datatree, {})
    code = snippet(record)
    assert "trials='the `cases`'" in code
    assert "offset='sh`ift'" in code
    assert "with the columns 'deaths', 'the `cases`', 'sh`ift', 'hospital'" in code
    assert command(record) is None


def test_known_errors_need_not_be_declined_for_counts(surgical):
    frame = counts.rows().assign(se=1.0)
    spec, data = prepare(frame, "deaths | trials(cases) ~ (1 | hospital)")
    record = Posterior(spec, data, "exact", surgical.datatree, {})
    assert "se=False" not in snippet(record)
    assert "--no-se" not in command(record)


@pytest.mark.parametrize("case", ["trials", "exposure", "shift", "pair"])
def test_formulas_are_written_as_they_are_read(case):
    formula = parse(CASES[case][0]["formula"])
    assert parse(str(formula)) == formula


def test_code_makes_the_same_fit_of_counts(surgical):
    scope = {"df": hm.datasets.load_surgical(), "hm": hm}
    exec(snippet(surgical.posterior).replace("df = ...", ""), scope)
    assert scope["fit"].datatree.equals(surgical.datatree)


def test_the_command_line_fits_counts(surgical, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    hm.datasets.load_surgical().to_csv("surgical.csv", index=False)
    line = command(surgical.posterior, "surgical.csv")
    _, *words = shlex.split(line)
    assert main([*words, "--out", "fit.nc"]) == 0
    found = hm.load("fit.nc")
    assert found.spec == surgical.spec
    for name, draws in surgical.datatree["posterior"].data_vars.items():
        np.testing.assert_array_equal(found.datatree["posterior"][name], draws)
    capsys.readouterr()
    model = ["--outcome", "deaths", "--trials", "cases", "--groups", "hospital", "--draws", "5"]
    assert main(["fit", "surgical.csv", *model]) == 0
    assert "deaths ~ Binomial(cases, logistic(theta[hospital]))" in capsys.readouterr().out
    model[2:4] = ["--exposure", "cases"]
    assert main(["fit", "surgical.csv", *model]) == 0
    assert "deaths ~ Poisson(cases·exp(theta[hospital]))" in capsys.readouterr().out


REFUSED = {
    "unknown": (["--family", "binomal"], "family: expected 'normal' or 'binomial' or"),
    "parameters": (["--family", "student_t"], "give hm.StudentT(nu=…)"),
    "both": (["--trials", "cases", "--exposure", "cases"], "trials and exposure: expected one"),
    "errors": (["--trials", "cases", "--se", "cases"], "given more than one role"),
    "an offset": (["--offset", "cases"], "offset: rows are normal"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_command_line_says_what_is_wrong_with_counts(case, tmp_path, capsys):
    path = tmp_path / "surgical.csv"
    hm.datasets.load_surgical().to_csv(path, index=False)
    options, expected = REFUSED[case]
    model = ["--outcome", "deaths", "--groups", "hospital"]
    assert main(["fit", str(path), *model, *options]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("lazy", [False, True])
def test_weak_priors_of_counts_are_on_the_scale_of_the_link(lazy, tmp_path):
    frame = pd.DataFrame({"g": list("abcd"), "y": [900, 50, 3000, 10]})
    if lazy:
        frame = pytest.importorskip("polars").from_pandas(frame).lazy()
    spec, _ = prepare(frame, "y ~ (1 | g)", family="poisson", priors="weak")
    assert spec.priors["tau"] == hm.HalfStudentT(3, 2.5)
