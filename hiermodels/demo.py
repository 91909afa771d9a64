"""The worked examples that ``hiermodels demo`` prints."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hiermodels import datasets
from hiermodels.api.comparing import compare
from hiermodels.api.fitting import fit
from hiermodels.api.result import Fit
from hiermodels.core.arrays import Floats
from hiermodels.core.files import replacing
from hiermodels.exact.kernels.tree.moments import level_moments
from hiermodels.exact.kernels.tree.tree import Coefficients, Variances
from hiermodels.exact.standardize import standardize
from hiermodels.model.priors.base import Prior
from hiermodels.model.priors.variance import FlatSD, FlatVariance, HalfCauchy, HalfNormal
from hiermodels.numerics import normal_mixture as mixture
from hiermodels.posterior.tables import flatten

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

QUANTILES = (0.025, 0.5, 0.975)
LECTURE_NODES = 4001

WHY_THE_LECTURE_DIFFERS = """\
The lecture's table differs because it draws V = σ² + τ² from an inverse gamma distribution that is
not cut off at σ², and sets τ² to 0 where V comes out below σ²; the posterior has V > σ²."""


def baseball(folder: Path, draws: int = 1000, random_seed: int = 1) -> None:
    """Solve the baseball example of Efron & Morris exactly and by NUTS, side by side.

    Parameters
    ----------
    folder : Path
        Where the picture of shrinkage is saved.
    draws : int
        Number of draws in each of four chains.
    random_seed : int
    """
    times: dict[str, float] = {}
    players = datasets.load_baseball()
    roles: Any = {"outcome": "y", "groups": "player", "se": "sigma", "random_seed": random_seed}
    print("Batting averages of 18 players after 45 at-bats (Efron & Morris 1975).\n")
    with _timed(times, f"exact fit, 4 × {draws:,} independent draws"):
        exact = fit(players, draws=draws, **roles)
    print(f"{exact!r}\n")
    with _timed(times, "noise-free quantiles"):
        quantiles = exact.reference().quantile(QUANTILES, ["theta"])["theta"].to_numpy()
    print("Sampling the same model with NUTS; PyMC compiles it first …", flush=True)
    with _timed(times, f"NUTS, compilation and 4 × {draws:,} draws"):
        nuts = fit(players, engine="nuts", draws=draws, progressbar=False, **roles)
    sampled = nuts.datatree["posterior"]["theta"].quantile(QUANTILES, ["chain", "draw"]).to_numpy()
    _print_players(players, quantiles, sampled, lecture_quantiles(exact, QUANTILES))
    print(f"\n{WHY_THE_LECTURE_DIFFERS}\n")
    _print_errors(players, exact)
    with _timed(times, "comparison"):
        verdict = compare(nuts, exact).verdict
    print(f"\nNUTS against the exact posterior. {verdict}\n")
    _finish(times, exact, folder / "baseball_shrinkage.png")


def schools(folder: Path, random_seed: int = 1) -> None:
    """Fit eight schools under three priors of tau, each of which somebody calls uninformative.

    Parameters
    ----------
    folder, random_seed
        As in :func:`baseball`.
    """
    times: dict[str, float] = {}
    data = datasets.load_eight_schools()
    roles: Any = {"outcome": "y", "groups": "school", "se": "sigma", "random_seed": random_seed}
    print("Coaching effects in eight schools (Rubin 1981), under three priors of tau.\n")
    means = {}
    for prior in (FlatSD(), FlatVariance(), HalfCauchy(5)):
        with _timed(times, f"exact fit and reference, {prior}"):
            exact = fit(data, priors={"tau": prior}, **roles)
            reference = exact.reference()
            middle = float(reference.quantile(0.5, ["tau"])["tau"].item())
            means[str(prior)] = pd.Series(
                {"median tau": middle, **flatten(reference.mean[["theta"]])}
            )
    print(pd.DataFrame(means).to_string(float_format="{:.2f}".format))
    print(
        "\n'Flat' speaks of tau in one package and of tau² in another: the mean effect in school A "
        "is 11.40 or 14.64.\n"
    )
    _finish(times, exact, folder / "schools_shrinkage.png")


def classrooms(folder: Path, random_seed: int = 1) -> None:
    """Fit 56 schools in 11 districts with known standard errors: three levels.

    Parameters
    ----------
    folder, random_seed
        As in :func:`baseball`.
    """
    times: dict[str, float] = {}
    data = datasets.load_school_calendar()
    print(
        "Effects of a modified school calendar in 56 schools of 11 districts "
        "(Konstantopoulos 2011).\n"
    )
    with _timed(times, "exact fit, 4 × 1,000 independent draws of everything"):
        exact = fit(data, random_seed=random_seed)
    print(f"{exact!r}\n")
    with _timed(times, "noise-free summary"):
        reference = exact.reference()
        table = reference.summary(["lam", "kappa", "tau", "mu"])
    print(f"{reference!r}\n\n{table.to_string(float_format='{:.3f}'.format)}\n")
    _finish(times, exact, folder / "classrooms_shrinkage.png")


def sleepstudy(folder: Path, random_seed: int = 1) -> None:
    """Fit reaction times over ten days with little sleep: an intercept and a slope by subject.

    Parameters
    ----------
    folder, random_seed
        As in :func:`baseball`.
    """
    times: dict[str, float] = {}
    print("Reaction times of 18 subjects, who sleep three hours a night (Belenky et al. 2003).\n")
    with _timed(times, "exact fit, 4 × 1,000 independent draws of everything"):
        exact = fit(
            datasets.load_sleepstudy(),
            "Reaction ~ Days + (1 + Days | Subject)",
            random_seed=random_seed,
        )
    print(f"{exact!r}\n")
    with _timed(times, "noise-free summary"):
        table = pd.DataFrame(exact.reference().summary(["mu", "beta", "tau", "rho", "sigma"]))
    table["lme4"] = [251.405, 10.467, 24.741, 5.922, 0.066, 25.592]
    print(table.to_string(float_format="{:.3f}".format))
    print(
        "\nlme4's numbers, by restricted maximum likelihood, are the most likely ones; with 18 "
        "subjects the\nsds are likely to be larger, and rho may be anything from -0.4 to 0.6.\n"
    )
    _finish(times, exact, folder / "sleepstudy_shrinkage.png")


def penicillin(folder: Path, random_seed: int = 1) -> None:
    """Fit six samples of penicillin, each tested on 24 plates: crossed groups.

    Parameters
    ----------
    folder, random_seed
        As in :func:`baseball`.
    """
    times: dict[str, float] = {}
    print("Zones that six samples of penicillin clear on 24 plates (Davies & Goldsmith 1972).\n")
    with _timed(times, "exact fit, 4 × 1,000 independent draws of everything"):
        exact = fit(
            datasets.load_penicillin(),
            "diameter ~ 1 + (1 | plate) + (1 | sample)",
            priors={"tau": HalfNormal(4)},
            random_seed=random_seed,
        )
    print(f"{exact!r}\n")
    with _timed(times, "noise-free summary"):
        table = pd.DataFrame(exact.reference().summary(["mu", "tau_plate", "tau_sample", "sigma"]))
    table["lme4"] = [22.972, 0.847, 1.932, 0.550]
    print(table.to_string(float_format="{:.3f}".format))
    print(
        "\nlme4's numbers, by restricted maximum likelihood, are the most likely ones; with six "
        "samples their\nsd is likely to be larger. A known sample on a known plate, then one or "
        "both of them new:\n"
    )
    pairs = pd.DataFrame({"plate": ["a", "new", "a", "new"], "sample": ["A", "A", "new", "new"]})
    with _timed(times, "predictions"):
        predicted = exact.predict(pairs).to_frame()
    print(predicted.drop(columns=["plate", "sample"]).to_string(float_format="{:.2f}".format))
    print()
    _finish(times, exact, folder / "penicillin_shrinkage.png", level="plate")


def hospitals(folder: Path, random_seed: int = 1) -> None:
    """Fit deaths after surgery in 12 hospitals, one of them without any: counts, exactly.

    Parameters
    ----------
    folder, random_seed
        As in :func:`baseball`.
    """
    times: dict[str, float] = {}
    data = datasets.load_surgical()
    print("Deaths after cardiac surgery of infants in 12 hospitals (BUGS examples, 1996).\n")
    roles: Any = {"outcome": "deaths", "trials": "cases", "groups": "hospital"}
    exact, table = _fit_counts(times, data, {"tau": HalfNormal(1)}, random_seed, **roles)
    raw = (data["deaths"] / data["cases"]).to_numpy()
    print(table.assign(raw=raw).to_string(float_format="{:.3f}".format))
    print(
        "\nHospital A had no death among 47: its probability is 5 %, not 0 %, as the others tell.\n"
    )
    _finish(times, exact, folder / "hospitals_shrinkage.png")


def baskets(folder: Path, random_seed: int = 1) -> None:
    """Fit responders to one treatment in ten subtypes of sarcoma: a basket trial.

    Parameters
    ----------
    folder, random_seed
        As in :func:`baseball`.
    """
    times: dict[str, float] = {}
    data = datasets.load_sarcoma_baskets()
    print("Clinical benefit of imatinib in ten subtypes of sarcoma (Chugh et al. 2009).\n")
    roles: Any = {"outcome": "responders", "trials": "patients", "groups": "subtype"}
    exact, table = _fit_counts(times, data, {"tau": HalfNormal(1)}, random_seed, **roles)
    reference = exact.reference()
    with _timed(times, "probabilities of a benefit above 20 %"):
        table["P(p > 0.2)"] = 1 - reference.cdf("p", np.full(len(data), 0.2))
    table = table.assign(raw=(data["responders"] / data["patients"]).to_numpy())
    print(f"{table.to_string(float_format='{:.3f}'.format)}\n")
    _finish(times, exact, folder / "baskets_shrinkage.png")


def _fit_counts(
    times: dict[str, float],
    data: pd.DataFrame,
    priors: dict[str, Prior],
    random_seed: int,
    **roles: Any,
) -> tuple[Fit, pd.DataFrame]:
    """Fit counts, print the fit, and return it with a table of the groups' probabilities."""
    with _timed(times, "exact fit, 4 × 1,000 independent draws of everything"):
        exact = fit(data, priors=priors, random_seed=random_seed, **roles)
    print(f"{exact!r}\n")
    with _timed(times, "noise-free summary"):
        table = pd.DataFrame(exact.reference().summary(["p"]))
    return exact, table


def _finish(times: dict[str, float], exact: Fit, path: Path, **options: Any) -> None:
    """Save the picture of shrinkage and print what each step took."""
    with _timed(times, "picture of shrinkage"):
        save_plot(exact.plot_shrinkage(**options), path)
    for step, seconds in times.items():
        print(f"{seconds:9.3f} s  {step}")
    print(f"\nThe picture of shrinkage is in {path}")


def lecture_quantiles(exact: Fit, probabilities: tuple[float, ...]) -> Floats:
    """Quantiles of θ by the lecture's recipe; shape (len(probabilities), groups).

    ``V = σ² + τ² ~ InverseGamma((k − 3)/2, (k − 1)s²/2)``, not truncated to V > σ² as the
    posterior is, then ``τ² = max(V − σ², 0)``; for equal known σ and k groups.  The draws of V
    are replaced by its quantiles at evenly spaced probabilities.

    References
    ----------
    Zhang, Hierarchical Models (lecture), University of Minnesota, Division of Biostatistics.
    """
    from scipy.special import gammainccinv

    standard = standardize(exact.data)
    tree = standard.tree
    k, sigma2 = len(tree.weight), 1 / tree.weight[0]
    squares = (k - 1) * np.var(tree.mean[:, 0], ddof=1)
    even = (np.arange(LECTURE_NODES) + 0.5) / LECTURE_NODES
    total = squares / 2 / gammainccinv((k - 3) / 2, even)
    variances = Variances((np.maximum(total - sigma2, 0.0),), np.ones(LECTURE_NODES))
    mean, variance = level_moments(tree, variances, Coefficients.flat(), standard.origin, level=0)
    sd = np.sqrt(variance)
    weights = np.full(LECTURE_NODES, 1 / LECTURE_NODES)
    quantiles = [mixture.quantile(weights, mean, sd, p) for p in probabilities]
    return standard.location + standard.scale * np.array(quantiles)


def save_plot(plot: PlotCollection, path: Path) -> Path:
    """Save a plot as a file that is whole or is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        plot.savefig(temporary, dpi=150)
    return path


@contextmanager
def _timed(times: dict[str, float], step: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    times[step] = time.perf_counter() - start


def _print_players(players: pd.DataFrame, exact: Floats, nuts: Floats, lecture: Floats) -> None:
    """Print a row for each player: raw average, truth, and three tables of quantiles."""
    names = "".join(f"{q:>8.1%}" for q in QUANTILES)
    print(f"\n{'':14}{'raw':>6}{'true':>7}{'exact':>16}{'':8}{'NUTS':>16}{'':8}{'lecture':>16}")
    print(f"{'player':14}{'':13}{names}{names}{names}")
    for i, (name, raw, true) in enumerate(players[["player", "y", "ability"]].to_numpy()):
        columns = np.concatenate([exact[:, i], nuts[:, i], lecture[:, i]])
        print(f"{name:14}{raw:6.3f}{true:7.3f}" + "".join(f"{value:8.3f}" for value in columns))


def _print_errors(players: pd.DataFrame, exact: Fit) -> None:
    """Print the squared errors of the estimates, and how often each beats the raw average."""
    errors = pd.DataFrame(exact.estimates(truth=players["ability"]).errors)
    print("Sum of squared errors over the players, and how many are closer to the truth than raw:")
    names = {"raw": "raw averages", "eb": "empirical Bayes", "posterior mean": "posterior means"}
    for key, name in names.items():
        row = errors.loc[key]
        closer = "" if key == "raw" else f"  {row['closer']:.0f} of {row['groups']:.0f}"
        print(f"  {name:16}{row['sse']:8.4f}{closer}")
