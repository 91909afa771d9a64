"""Simulation-based calibration of NUTS for counts and other rows that are not normal.

Each family has two levels with a covariate that differs between rows of a group, and an offset;
binomial rows have three levels as well.  Effects are not centred: one form has to suit every tau
that its prior draws.  Printed are the p-values of all quantities, which are
uniform if all is well, and how many of the fits diverged.

References
----------
Talts et al. (2018), arXiv:1804.06788.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
from measure import describe_machine, seconds

import hiermodels as hm
from hiermodels.data.prepare import prepare

PRIORS = {
    "mu": hm.Normal(-0.5, 1.0),
    "lam": hm.Normal(-0.5, 1.0),
    "kappa": hm.HalfNormal(0.7),
    "tau": hm.HalfNormal(0.7),
    "beta": hm.Normal(0.0, 0.7),
}
COUNTS = {"trials": "n"}
CASES = {
    "binomial": COUNTS,
    "binomial, three levels": COUNTS,
    "poisson": {"exposure": "n"},
    "negative_binomial": {"exposure": "n", "family": hm.NegativeBinomial(size=3.0)},
    "odds_ratio": COUNTS,
    "student_t": {"se": "se", "family": hm.StudentT(nu=4)},
}


def design() -> pd.DataFrame:
    """Rows in eight groups of unequal size; their outcome is not looked at."""
    rng = np.random.default_rng(1)
    group = np.sort(np.append(np.arange(8), rng.integers(0, 8, 12)))
    n = len(group)
    return pd.DataFrame(
        {
            "room": group,
            "outer": group // 2,
            "y": np.where(np.arange(n) % 2, 0, 1),
            "n": rng.integers(1, 15, n),
            "se": rng.uniform(0.3, 1.0, n),
            "x": rng.normal(size=n),
            "known": rng.normal(0, 0.3, n),
        }
    )


def model(name: str) -> SimpleNamespace:
    """Specification and data of a case."""
    outer = name.endswith("three levels")
    groups = ["outer", "room"] if outer else ["room"]
    names = [*(["lam", "kappa"] if outer else ["mu"]), "tau", "beta"]
    spec, data = prepare(
        design(),
        outcome="y",
        groups=groups,
        covariates="x",
        offset="known",
        priors={name: PRIORS[name] for name in names},
        **CASES[name],
    )
    if name == "odds_ratio":
        control, events = data.columns["trials"], data.y + data.columns["trials"] // 2
        tables = {"control_trials": control, "total_events": events}
        columns = {**spec.columns, **{role: role for role in tables}}
        spec = replace(spec, family=hm.OddsRatio(), columns=columns)
        data = replace(data, columns={**data.columns, **tables})
    return SimpleNamespace(spec=spec, data=data, engine="nuts")


def main() -> None:
    """Calibrate every case and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="case", help=f"{', '.join(CASES)}; or all")
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="few simulations")
    asked = parser.parse_args()
    simulations = 10 if asked.quick else asked.simulations
    print(describe_machine("pymc", "nutpie"))
    print(f"{simulations} simulations of each case\n")
    every = []
    for name in asked.cases or CASES:
        found = []

        def run(name=name, found=found) -> None:
            options = {"simulations": simulations, "draws": 250, "tune": 500, "random_seed": 1}
            options["parameterization"] = "noncentered"
            found.append(hm.calibrate(model(name), **options))

        elapsed = seconds(run)
        p = found[0].table["p"]
        every += p.tolist()
        print(f"{name:24}{len(p)} quantities, smallest p: {p.min():.3f} ({p.idxmin()}), ", end="")
        diverged = int((found[0].datatree["sample_stats"]["divergences"] > 0).sum())
        print(f"{diverged} with divergences  ({elapsed:.0f} s)", flush=True)
    print(f"\n{len(every)} p-values, the smallest {min(every):.4f}: by chance below this with")
    print(f"probability {1 - (1 - min(every)) ** len(every):.2f}")


if __name__ == "__main__":
    main()
