"""Simulation-based calibration of the exact draws, larger than the one in the tests.

Printed are the p-values of all quantities: they are uniform if all is well.

References
----------
Talts et al. (2018), arXiv:1804.06788.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from measure import describe_machine, seconds

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.statistical.test_exact_is_calibrated import (
    CASES,
    OF_FAMILIES,
    calibrate,
    calibrate_family,
)
from tests.statistical.test_slopes_are_calibrated import CASES as OF_SLOPES
from tests.statistical.test_slopes_are_calibrated import TWO_LEVELS, calibrate_slopes


def main() -> None:
    """Calibrate every case and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="few simulations")
    parser.add_argument("cases", nargs="*", help="names of cases, by default all")
    asked = parser.parse_args()
    simulations = 50 if asked.quick else asked.simulations
    print(describe_machine("numpy", "scipy"))
    print(f"{simulations} simulations of each case\n")
    every = []
    cases = dict.fromkeys(CASES, calibrate) | dict.fromkeys(OF_FAMILIES, calibrate_family)
    cases |= dict.fromkeys(OF_SLOPES | TWO_LEVELS, calibrate_slopes)
    names = asked.cases or [*cases]
    for name in names:
        run, found = cases[name], []
        elapsed = seconds(lambda n=name, run=run, found=found: found.append(run(n, simulations)))
        p = found[0].table["p"]
        every += p.tolist()
        print(f"{name:30}{len(p)} quantities, smallest p: ", end="")
        print(f"{p.min():.3f} ({p.idxmin()})  ({elapsed:.0f} s)", flush=True)
    print(f"\n{len(every)} p-values, the smallest {min(every):.4f}: by chance below this with")
    print(f"probability {1 - (1 - min(every)) ** len(every):.2f}")


if __name__ == "__main__":
    main()
