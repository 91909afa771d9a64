"""NUTS against exact draws.

speed    effective draws per second, side by side: exact, NUTS on the marginal and on the
         non-centred model, and a PyMC model written by hand
slopes   the same of the sleep study, by processor time
agree    every engine, parameterization and model through hm.compare
"""

from __future__ import annotations

import contextlib
import io
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from efficiency import Run, compare
from measure import duration, run_parts, seconds, table, title
from systems import school_system

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.noise_free import reference_posterior
from hiermodels.mcmc import sample as nuts
from hiermodels.posterior.arviz_groups import build_datatree
from hiermodels.posterior.engine import Request, get_engine

type NutsForm = Literal["marginal", "centered", "noncentered"]

TUNE = 1000
CAREFUL = {"draws": 4000, "tune": 4000, "target_accept": 0.999}  # steps short enough for a neck
PARAMETERIZATIONS = ("marginal", "noncentered", "centered", "auto")


def bench_speed() -> None:
    """Draw the same posteriors by four ways, each first once to compile."""
    title("Effective draws (bulk) per second; the least of all units for mu and theta")
    print("4 × 1,000 draws, NUTS by nutpie after 1,000 of tuning.  Compilation is shown beside.")
    eight = hm.datasets.load_eight_schools()
    by_hand("Eight schools, flat on tau²", eight, ["school"], "sigma")
    pastes = hm.datasets.load_pastes().rename(columns={"strength": "y"})
    by_hand("Pastes: 60 assays of 30 casks in 10 batches", pastes, ["batch", "cask"])
    schools = school_system(10_000, 800, 40)
    by_hand("10,000 pupils in 800 schools in 40 areas", schools, ["area", "school"])


def by_hand(what: str, frame: pd.DataFrame, groups: list[str], se: str | None = None) -> None:
    """Compare one data set's samplers."""
    print(f"\n{what}")
    spec, data = prepare(frame, outcome="y", groups=groups, se=se)

    def fit() -> hm.Fit:
        return hm.fit(frame, outcome="y", groups=groups, se=se, random_seed=1)

    elapsed = statistics.median(seconds(fit) for _ in range(7))
    exact = Run("exact, whole fit", fit().datatree["posterior"].to_dataset(), elapsed)
    written = lambda: model_by_hand(frame, groups, se)  # noqa: E731
    models: dict[str, Callable[[], Any]] = {
        "marginal NUTS": lambda: hm.build_model(spec, data, "marginal"),
        "non-centred NUTS": lambda: hm.build_model(spec, data, "noncentered"),
        "PyMC by hand": written,
    }
    others = []
    for name, build in models.items():
        compiling, sampling, draws = run_nutpie(build, spec, data)
        print(f"{name}: compiled in {duration(compiling)}")
        others.append(Run(name, draws, sampling))
    compare([*spec.parameters], exact, others)


def run_nutpie(
    build: Callable[[], Any],
    spec: hm.Spec,
    data: Any,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float, Any]:
    """Seconds to build and compile, seconds to sample, and the draws.

    Draws of what the marginal model leaves out are made as the engine makes them, in that time.
    """
    import nutpie

    start = clock()
    compiled = nutpie.compile_pymc_model(build())
    middle = clock()
    with contextlib.redirect_stdout(io.StringIO()):
        trace = nutpie.sample(compiled, draws=1000, tune=TUNE, chains=4, seed=1, progress_bar=False)
    draws = trace["posterior"].to_dataset()
    if "theta" not in draws:
        variables = nuts._variables(spec, data, trace, 1)
        draws = build_datatree(spec, data, variables, {}, {})["posterior"].to_dataset()
    return middle - start, clock() - middle, draws


SLEEP = "Reaction ~ Days + (1 + Days | Subject)"
HALF_NORMALS = {
    "tau": hm.HalfNormal(50.0),
    "tau[Days]": hm.HalfNormal(20.0),
    "sigma": hm.HalfNormal(50.0),
    "rho": hm.LKJ(2.0),
}


def bench_slopes() -> None:
    """Draw slopes by several ways, each first once to compile; all by processor time."""
    title("Sleep study: effective draws (bulk) per second of processor time")
    print("4 × 1,000 draws, NUTS by nutpie after 1,000 of tuning.  Compilation is shown beside.")
    forms: tuple[NutsForm, ...] = ("marginal", "centered", "noncentered")
    slopes_under("Default priors: flat on all sds, LKJ(1)", None, ())
    slopes_under("Half-normal sds and LKJ(2)", HALF_NORMALS, forms)


def slopes_under(what: str, priors: dict[str, hm.Prior] | None, forms: Sequence[NutsForm]) -> None:
    """Compare the exact fit under some priors with NUTS in these forms and by hand."""
    print(f"\n{what}")
    frame = hm.datasets.load_sleepstudy()
    spec, data = prepare(frame, SLEEP, priors=priors)

    def fit() -> hm.Fit:
        return hm.fit(frame, SLEEP, priors=priors, random_seed=1)

    fit()
    elapsed = statistics.median(processor_seconds(fit) for _ in range(7))
    exact = Run("exact, whole fit", fit().datatree["posterior"].to_dataset(), elapsed)
    models: dict[str, Callable[[], Any]] = {
        form: partial(hm.build_model, spec, data, form) for form in forms
    }
    models["PyMC by hand, centred"] = partial(slopes_by_hand, frame, True, priors is None)
    models["PyMC by hand, non-centred"] = partial(slopes_by_hand, frame, False, priors is None)
    others = []
    for name, build in models.items():
        compiling, sampling, draws = run_nutpie(build, spec, data, time.process_time)
        print(f"{name}: compiled in {duration(compiling)}", flush=True)
        others.append(Run(name, draws, sampling))
    compare([*spec.variables], exact, others)


def processor_seconds(action: Callable[[], Any]) -> float:
    """Seconds of processor time that an action takes."""
    start = time.process_time()
    action()
    return time.process_time() - start


def slopes_by_hand(frame: pd.DataFrame, centred: bool, flat: bool) -> Any:
    """Write the sleep study as for PyMC, with the same priors: row by row, a Cholesky factor."""
    import pymc as pm
    import pytensor.tensor as pt

    subject, labels = pd.factorize(frame["Subject"])
    days, y = frame["Days"].to_numpy(dtype=float), frame["Reaction"].to_numpy()
    with pm.Model() as model:
        mu, beta = pm.Flat("mu", initval=y.mean()), pm.Flat("beta", shape=1)
        if flat:
            tau = pm.HalfFlat("tau", shape=2, initval=np.array([20.0, 5.0]))
            rho = pm.Uniform("rho", -1.0, 1.0)
            below = tau[1] * pt.stack([rho, pt.sqrt(1 - rho**2)])
            chol = pt.stack([pt.stack([tau[0], 0.0]), below])
            log_sigma = pm.Flat("log_sigma", initval=np.log(y.std()))
            sigma = pm.Deterministic("sigma", pt.exp(log_sigma))
        else:
            sds = pm.HalfNormal.dist([50.0, 20.0], shape=2)
            chol, matrix, _ = pm.LKJCholeskyCov("cov", n=2, eta=2.0, sd_dist=sds, compute_corr=True)
            pm.Deterministic("tau", pm.math.sqrt((chol**2).sum(axis=1)))
            pm.Deterministic("rho", matrix[0, 1])
            sigma = pm.HalfNormal("sigma", 50.0)
        top = pm.math.stack([mu, beta[0]])
        if centred:
            theta = pm.MvNormal("theta", top, chol=chol, shape=(len(labels), 2))
        else:
            offset = pm.Normal("offset", shape=(len(labels), 2))
            theta = pm.Deterministic("theta", top + offset @ chol.T)
        eta = theta[subject, 0] + theta[subject, 1] * days
        pm.Normal("y", eta, sigma, observed=y)
    return model


def model_by_hand(frame: pd.DataFrame, groups: list[str], se: str | None) -> Any:
    """Write the model as for speed: non-centred, group means and their scatter for the rows.

    With the same priors: flat on the mean and on the groups' variances, 1/σ² on σ².
    """
    import pymc as pm
    import pytensor.tensor as pt

    rows = frame.groupby(groups, sort=False)["y"]
    size, mean = rows.size().to_numpy(), rows.mean().to_numpy()
    with pm.Model() as model:
        if se:
            error = frame[se].to_numpy()
        else:
            squares = float(((frame["y"] - rows.transform("mean")) ** 2).sum())
            freedom = len(frame) - len(size)
            log_sigma = pm.Flat("log_sigma", initval=0.5 * np.log(squares / freedom))
            sigma = pm.Deterministic("sigma", pt.exp(log_sigma))
            pm.Gamma("scatter", freedom / 2, 0.5 / sigma**2, observed=squares)
            error = sigma / np.sqrt(size)
        top = "lam" if len(groups) == 2 else "mu"
        centre = pm.Flat(top, initval=mean.mean())
        if len(groups) == 2:
            parent, _ = pd.factorize(rows.size().index.get_level_values(0))
            kappa2 = pm.HalfFlat("kappa2", initval=mean.var() / 2)
            kappa = pm.Deterministic("kappa", pt.sqrt(kappa2))
            offset = pm.Normal("mu_offset", shape=int(parent.max()) + 1)
            centre = pm.Deterministic("mu", centre + kappa * offset)[parent]
        tau = pm.Deterministic("tau", pt.sqrt(pm.HalfFlat("tau2", initval=mean.var() / 2)))
        offset = pm.Normal("theta_offset", shape=len(size))
        theta = pm.Deterministic("theta", centre + tau * offset)
        pm.Normal("mean", theta, error, observed=mean)
    return model


def bench_agree() -> None:
    """Judge every combination, with a fixed seed; what diverged is counted."""
    title("Every engine, parameterization and model, judged by hm.compare at alpha = 1 %")
    rows = []
    for name, spec, data in cases():
        reference = reference_posterior(spec, data)
        for way, engine, options in ways_of(spec):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", hm.ConvergenceWarning)
                own = {k: v for k, v in options.items() if k != "draws"}
                request = Request(draws=options["draws"], random_seed=2, progressbar=False)
                posterior = get_engine(engine)(spec, data, request, **own)
            fit = hm.Fit(posterior)
            found = hm.compare(fit, reference)
            stats = fit.datatree["sample_stats"]
            divergences = int(stats["diverging"].sum()) if "diverging" in stats else 0
            ess = found.table["ess"].xs("uniformity", level="statistic").min()
            verdict = "agrees" if found.passed else found.verdict
            rows.append(
                [name, way, f"{ess:,.0f}", f"{divergences}", f"{found.p_value:.2g}", verdict]
            )
            print(*rows[-1], sep=" | ", flush=True)
    print()
    table(["data and model", "draws by", "least ESS", "divergences", "p", "verdict"], rows)


def ways_of(spec: hm.Spec) -> Sequence[tuple[str, str, dict[str, Any]]]:
    """Name, engine and options of all that differ: a model without groups has one form."""
    forms = PARAMETERIZATIONS if spec.groups else ("noncentered",)
    nuts = [(form, "nuts", {"parameterization": form, "draws": 1000}) for form in forms]
    careful = {"parameterization": "centered", **CAREFUL}
    more = [("centered, careful", "nuts", careful)] if spec.groups else []
    return [("exact", "exact", {"draws": 1000}), *nuts, *more]


def cases() -> Sequence[tuple[str, Any, Any]]:
    """Name, specification and data of the bundled data sets, every kind of model among them."""
    load = hm.datasets
    known: dict[str, Any] = {"outcome": "y", "se": "sigma"}
    baseball = load.load_baseball()
    schools = load.load_eight_schools()
    calendar = load.load_school_calendar()
    classrooms = load.simulate_classrooms(30, 4, 15, beta=0.5, random_seed=2)
    proper = {"tau": hm.HalfCauchy(5), "mu": hm.Normal(0, 20)}
    conjugate = {"theta": hm.NormalInverseGamma(m=0.25, s=1, alpha=2, beta=0.01)}
    nested = "score ~ ses + (1 | school/classroom)"
    prepared = {
        "baseball": prepare(baseball, groups="player", **known),
        "baseball, flat on tau": prepare(
            baseball, groups="player", priors={"tau": hm.FlatSD()}, **known
        ),
        "eight schools": prepare(schools, groups="school", **known),
        "eight schools, half-Cauchy": prepare(schools, groups="school", priors=proper, **known),
        "school calendar, three levels": prepare(
            calendar, outcome="y", groups=["district", "school"], se="se"
        ),
        "Dyestuff, sigma unknown": prepare(load.load_dyestuff(), "yield_ ~ (1 | batch)"),
        "Pastes, three levels": prepare(load.load_pastes(), "strength ~ (1 | batch/cask)"),
        "classrooms, covariate": prepare(classrooms, nested),
        "baseball, one population": prepare(
            baseball[["y"]], outcome="y", groups=[], priors=conjugate
        ),
    }
    return [(name, spec, data) for name, (spec, data) in prepared.items()]


PARTS = {"speed": bench_speed, "slopes": bench_slopes, "agree": bench_agree}

if __name__ == "__main__":
    warnings.simplefilter("ignore", hm.PriorWarning)
    run_parts(__doc__, PARTS)
