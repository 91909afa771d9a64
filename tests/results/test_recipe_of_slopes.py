"""The code and the command line that make a fit with slopes, or of four levels, again."""

from __future__ import annotations

import shlex

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.cli import main
from hiermodels.data.prepare import prepare
from hiermodels.posterior.record import Posterior
from hiermodels.results.report.recipe import command, snippet

FORMULAS = [
    "y ~ x + (1 + x | g)",
    "y ~ x + w + (1 + x + w || g)",
    "y ~ x + w + (0 + w | g)",
    "y ~ 0 + x + (0 + x | g)",
    "y ~ center(x) + w + (1 + center(x) | g)",
    "y ~ sex + (1 + sex | g)",
    "y ~ x + sex + x:sex + (1 + x:sex || g)",
    "y ~ x + (1 + x | a) + (1 | a:b)",
    "y ~ w + (1 | a/b/g)",
]


def rows():
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(18), 4)
    covariates = {name: rng.normal(size=len(g)) for name in ("y", "x", "w")}
    sex = rng.choice(["f", "m"], len(g))
    return pd.DataFrame({**covariates, "sex": sex, "g": g, "b": g // 2, "a": g // 4})


@pytest.fixture(scope="module")
def fit():
    priors = {"tau[x]": hm.HalfNormal(2.0), "rho": hm.LKJ(1.5)}
    return hm.fit(rows(), FORMULAS[0], priors=priors, random_seed=3, draws=20)


@pytest.mark.parametrize("formula", FORMULAS)
def test_code_states_the_same_model(formula, fit):
    spec, data = prepare(rows(), formula)
    code = snippet(Posterior(spec, data, "exact", fit.datatree, {}), "rows.csv")

    class Told:
        """In place of the package: what ``fit`` is told."""

        def __getattr__(self, name):
            return getattr(hm, name)

        def fit(self, frame, *args, **named):
            named = {k: v for k, v in named.items() if k not in ("draws", "random_seed")}
            self.spec = prepare(frame, *args, **named)[0]

    told = Told()
    body = "\n".join(line for line in code.splitlines() if not line.startswith(("import", "df =")))
    exec(body, {"hm": told, "df": rows()})
    assert told.spec == spec


def test_the_command_makes_the_same_draws(fit, tmp_path):
    rows().to_csv(tmp_path / "rows.csv", index=False)
    words = shlex.split(command(fit.posterior, str(tmp_path / "rows.csv")))
    out = tmp_path / "fit.nc"
    assert main([*words[1:], "--out", str(out)]) in (0, None)
    again = hm.load(out)
    assert again.spec == fit.spec
    drawn = again.datatree["posterior"].to_dataset()
    for name, values in fit.datatree["posterior"].data_vars.items():
        np.testing.assert_array_equal(drawn[name], values)
