"""Effective draws per second of a posterior, for comparisons of samplers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import arviz_stats
import xarray as xr
from measure import duration, table
from scipy.stats import norm

SAMPLE = ("chain", "draw")


@dataclass(frozen=True)
class Run:
    """Draws and the seconds that they took."""

    name: str
    draws: xr.Dataset
    seconds: float

    def effective(self, variable: str) -> float:
        """Bulk effective sample size; the smallest, for a variable with groups."""
        return float(arviz_stats.ess(self.draws[variable], method="bulk").min())


def compare(variables: Sequence[str], exact: Run, others: Sequence[Run]) -> None:
    """Print effective draws per second, and how many times those of others ``exact`` makes."""
    rows = []
    for run in (exact, *others):
        rates = [run.effective(name) / run.seconds for name in variables]
        smallest = min(run.effective(name) for name in variables)
        rows.append(
            [run.name, duration(run.seconds), f"{smallest:,.0f}", *(f"{r:,.0f}" for r in rates)]
        )
    table(["", "time", "least ESS", *(f"{name} /s" for name in variables)], rows)
    for run in others:
        ratios = [
            exact.effective(name) / exact.seconds * run.seconds / run.effective(name)
            for name in variables
        ]
        print(
            f"exact against {run.name}: {min(ratios):,.0f} to {max(ratios):,.0f} times the "
            f"effective draws per second"
        )


def agreement(run: Run, means: xr.Dataset, variables: Sequence[str]) -> str:
    """Largest distance of a run's means from the exact ones, in Monte Carlo standard errors."""
    largest, count = 0.0, 0
    for name in variables:
        draws = run.draws[name]
        error = (draws.var(SAMPLE) / arviz_stats.ess(draws, method="mean")) ** 0.5
        z = (abs(draws.mean(SAMPLE).to_numpy() - means[name].to_numpy()) / error).to_numpy()
        largest, count = max(largest, float(z.max())), count + z.size
    limit = norm.isf(0.005 / count)
    return (
        f"{run.name}: the means of {count:,} quantities are within {largest:.1f} standard errors "
        f"of the exact ones (by chance, within {limit:.1f} in 99 of 100 runs)"
    )
