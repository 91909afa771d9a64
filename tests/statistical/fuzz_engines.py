"""Random models and data, each held against a dense covariance matrix on a brute-force grid.

Run ``python -m tests.statistical.fuzz_engines SEED SECONDS [NUTS]``: specifications with one or
two levels, known or unknown σ, covariates, and priors over decades of scale, until the time is
over.  The noise-free posterior must agree with sums over a plain grid in the log sds, whose
likelihood is that of one large multivariate normal (``tests/oracles/dense.py``); the draws of the
exact engine must pass ``hm.compare`` and stay below their bound, as must, for every NUTS-th
specification, those of NUTS on the marginal model.  Failures of ``compare`` are counted beside the
number expected at its alpha.
"""

from __future__ import annotations

import sys
import time
import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

import hiermodels as hm
from hiermodels.core.arrays import Floats

ALPHA = 0.01
CLOSE = 1e-5  # in posterior sds: of the grid, whose spacing and ends are plain
PLACES = {1: 1201, 2: 321}  # of the grid along each axis
SPREAD = (-16.0, 9.0)  # ends of the grid around the median, in log sds of group-level spreads
RESIDUAL = (-5.0, 5.0)  # and of sigma, below which no covariance matrix can be solved

SCALES = {
    "HalfNormal": hm.HalfNormal,
    "HalfCauchy": hm.HalfCauchy,
    "Exponential": hm.Exponential,
    "HalfStudentT": lambda scale: hm.HalfStudentT(4.0, scale),
    "InverseGamma": lambda scale: hm.InverseGamma(2.0, scale**2),
}


@dataclass(frozen=True)
class Case:
    """A data frame and what is said of it."""

    data: pd.DataFrame
    options: dict[str, object]
    scale: float

    def __str__(self) -> str:
        return f"{len(self.data)} rows, scale {self.scale:.1e}, {self.options}"


def draw_case(rng: np.random.Generator) -> Case:
    """Draw a specification with proper priors, and data from a model of its kind."""
    levels, known = int(rng.integers(1, 3)), bool(rng.random() < 0.5)
    if levels == 2:
        known = True  # two unknown sds at most: a grid in three dimensions is too large
    schools = np.repeat(np.arange(rng.integers(3, 7)), 2)
    parent = schools[: rng.integers(4, len(schools) + 1)]
    group = np.repeat(np.arange(len(parent)), rng.integers(1 if known else 3, 6, len(parent)))
    scale = 10.0 ** rng.uniform(-6, 6)
    tau, kappa = 10.0 ** rng.uniform(-1.5, 1.5, 2)
    value = rng.normal(0, kappa, len(schools))[parent] * (levels == 2)
    value = value + rng.normal(0, tau, len(parent))
    se = 10.0 ** rng.uniform(-0.5, 0.5, len(group)) if known else np.ones(len(group))
    x = rng.normal(size=len(group))
    y = scale * (value[group] + rng.normal(size=len(group)) * se + 0.3 * x)
    data = pd.DataFrame({"y": y, "x": x, "room": group, "school": parent[group]})
    names = ["tau", *(["kappa"] if levels == 2 else []), *([] if known else ["sigma"])]
    kinds = list(SCALES.values())
    priors: dict[str, object] = {
        name: kinds[rng.integers(len(kinds))](scale * 10.0 ** rng.uniform(-1, 1)) for name in names
    }
    priors["lam" if levels == 2 else "mu"] = hm.Normal(0.0, scale * 10.0 ** rng.uniform(0, 2))
    options: dict[str, object] = {"outcome": "y", "priors": priors}
    options["groups"] = ["school", "room"] if levels == 2 else ["room"]
    if known:
        data["se"], options["se"] = scale * se, "se"
    if rng.random() < 0.4:
        options["covariates"] = ["x"]
        priors["beta"] = hm.Normal(0.0, scale * 10.0 ** rng.uniform(0, 1))
    return Case(data, options, scale)


def dense_moments(case: Case, names: tuple[str, ...], centre: Floats) -> tuple[Floats, Floats]:
    """Means and sds of the unknown sds and of the intercept, in units of the case's scale.

    The sds' logarithms lie on a plain grid around ``centre``; the outcomes are jointly normal.
    """
    data, priors, scale = case.data, case.options["priors"], case.scale
    assert isinstance(priors, dict)
    top = priors["lam" if "kappa" in names else "mu"]
    n, y = len(data), data["y"].to_numpy() / scale
    ones = np.ones((n, n)) * (top.sd / scale) ** 2
    if "beta" in priors:
        ones = ones + np.outer(data["x"], data["x"]) * (priors["beta"].sd / scale) ** 2
    same = {
        "tau": np.equal.outer(data["room"].to_numpy(), data["room"].to_numpy()) * 1.0,
        "kappa": np.equal.outer(data["school"].to_numpy(), data["school"].to_numpy()) * 1.0,
        "sigma": np.eye(n),
    }
    if "se" in data:
        ones = ones + np.diag((data["se"].to_numpy() / scale) ** 2)
    axes = [
        c + np.linspace(*(RESIDUAL if name == "sigma" else SPREAD), PLACES[len(names)])
        for name, c in zip(names, centre, strict=True)
    ]
    t = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
    log_density = sum(
        priors[name].log_density_log_sd(t[:, j] + np.log(scale)) for j, name in enumerate(names)
    )
    kept = np.flatnonzero(log_density > log_density.max() - 400)
    t, log_density, root = t[kept], log_density[kept], np.empty((len(kept), 2))
    for i in range(0, len(t), 2000):
        part = slice(i, i + 2000)
        variances = np.exp(2 * t[part])
        covariance = ones + sum(
            v[:, None, None] * same[m] for m, v in zip(names, variances.T, strict=True)
        )
        solved = np.linalg.solve(covariance, np.column_stack([y, np.ones(n)])[None])
        log_density[part] -= 0.5 * (solved[:, :, 0] @ y + np.linalg.slogdet(covariance)[1])
        variance = (top.sd / scale) ** 2
        root[part, 0] = variance * solved[:, :, 0].sum(axis=1)
        root[part, 1] = variance - variance**2 * solved[:, :, 1].sum(axis=1)
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    sds = np.exp(t)
    mean = np.append(weights @ sds, weights @ root[:, 0])
    second = np.append(weights @ (sds - mean[:-1]) ** 2, 0.0)
    second[-1] = weights @ (root[:, 1] + (root[:, 0] - mean[-1]) ** 2)
    return mean, np.sqrt(second)


@dataclass
class Tally:
    """What was tried, and what went wrong."""

    cases: int = 0
    judged: int = 0
    alarms: int = 0
    nuts: int = 0
    nuts_alarms: int = 0
    refused: int = 0
    largest: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def report(self) -> str:
        """Counts, the expected ones beside them."""
        return "\n".join(
            [
                f"{self.cases} specifications, {self.refused} refused, {len(self.wrong)} wrong",
                f"largest difference from the dense grid: {self.largest:.1e} posterior sd",
                f"compare, exact draws: {self.alarms} of {self.judged} failed, "
                f"{ALPHA * self.judged:.1f} expected",
                f"compare, NUTS: {self.nuts_alarms} of {self.nuts} failed, "
                f"{ALPHA * self.nuts:.1f} expected",
                *self.wrong,
            ]
        )


def largest_difference(case: Case, exact: hm.ReferencePosterior) -> float:
    """From the dense grid, in posterior sds: means and sds that exist."""
    names = exact.spec.sds
    medians = exact.quantile(0.5, names)
    centre = np.log([float(medians[name][0]) / case.scale for name in names])
    mean, sd = dense_moments(case, names, centre)
    worst = 0.0
    light = [exact.moment_exists(name, 6) for name in names]  # else the grid's ends matter
    judged = zip((*names, exact.spec.intercept), (*light, all(light)), mean, sd, strict=True)
    for name, ends_early, m, s in judged:
        if ends_early:
            worst = max(worst, abs(float(exact.mean[name]) / case.scale - m) / s)
            worst = max(worst, abs(float(exact.sd[name]) / case.scale / s - 1))
    return worst


def judge(case: Case, seed: int, tally: Tally, nuts: bool = False) -> None:
    """Put one case through every engine."""
    tally.cases += 1
    try:
        fit = hm.fit(case.data, **case.options, draws=500, random_seed=seed)
    except hm.HierModelsError as error:
        tally.refused += 1
        print(f"refused: {case}: {error}", flush=True)
        return
    exact, attrs = fit.reference(), fit.datatree["posterior"].attrs
    difference = largest_difference(case, exact)
    tally.largest = max(tally.largest, difference)
    if difference > CLOSE or exact.certificate > CLOSE:
        tally.wrong.append(f"{difference:.1e}, certificate {exact.certificate:.1e}: {case}")
    if attrs["largest_ratio"] > attrs["ratio_bound"]:
        tally.wrong.append(f"a ratio above its bound: {case}")
    tally.judged += 1
    tally.alarms += not hm.compare(fit, exact, alpha=ALPHA).passed
    if nuts:
        chains = {"parameterization": "marginal", "progressbar": False, "random_seed": seed}
        sampled = hm.fit(case.data, **case.options, engine="nuts", draws=500, **chains)
        tally.nuts += 1
        tally.nuts_alarms += not hm.compare(sampled, exact, alpha=ALPHA).passed


def main(seed: int, seconds: float, every: int = 0) -> Tally:
    """Judge cases until the time is over; every so many with NUTS too."""
    rng, tally, end = np.random.default_rng(seed), Tally(), time.monotonic() + seconds
    warnings.simplefilter("ignore", hm.PriorWarning)
    while time.monotonic() < end:
        judge(draw_case(rng), seed, tally, nuts=bool(every) and tally.cases % every == 0)
    return tally


if __name__ == "__main__":
    done = main(*(int(argument) for argument in sys.argv[1:]))
    print(done.report())
    sys.exit(bool(done.wrong))
