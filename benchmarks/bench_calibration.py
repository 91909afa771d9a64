"""Simulation-based calibration of the exact draws, larger than the one in the tests.

Parameters are drawn from proper priors and data from the model; the rank of each parameter among
its posterior draws is then uniform.  Printed are the p-values of chi-square tests in ten classes:
they too are uniform if all is well.

References
----------
Talts et al. (2018), arXiv:1804.06788.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from measure import describe_machine, seconds
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from test_exact_is_calibrated import CASES, collect_ranks


def main() -> None:
    """Calibrate every case and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=2000)
    simulations = parser.parse_args().simulations
    print(describe_machine("numpy", "scipy"))
    print(f"{simulations} simulations of each case\n")
    every = []
    for name in CASES:
        ranks: dict[str, list[int]] = {}
        elapsed = seconds(
            lambda name=name, ranks=ranks: ranks.update(collect_ranks(name, simulations))
        )
        counts = {
            key: np.bincount(np.array(found) // 10, minlength=10) for key, found in ranks.items()
        }
        p = {key: stats.chisquare(count).pvalue for key, count in counts.items()}
        every += p.values()
        found = ", ".join(f"{key} {value:.2f}" for key, value in p.items())
        print(f"{name:30}{found}  ({elapsed:.0f} s)", flush=True)
    print(f"\n{len(every)} p-values, the smallest {min(every):.3f}: by chance below this with")
    print(f"probability {1 - (1 - min(every)) ** len(every):.2f}")


if __name__ == "__main__":
    main()
