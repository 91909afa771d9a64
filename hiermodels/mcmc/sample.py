"""NUTS draws of a specification's PyMC model, with the checks that its samplers leave out."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import arviz_stats
import numpy as np
import pymc as pm
import xarray as xr

from hiermodels.core.arrays import Floats
from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.core.seeds import Seed, integer_seed, named_seed
from hiermodels.core.threads import Shared
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError, warn
from hiermodels.exact.grid import Grid
from hiermodels.exact.joint import lp
from hiermodels.exact.marginal import Marginal, Values
from hiermodels.exact.standardize import standardize
from hiermodels.mcmc.model import as_one_group, build_model, outcome_statistics
from hiermodels.mcmc.parameterization import Choice, Observed, Parameterization, choose
from hiermodels.model.spec import Spec
from hiermodels.posterior import memory
from hiermodels.posterior.arviz_groups import SCHEMA, build_datatree
from hiermodels.posterior.engine import Refit
from hiermodels.posterior.memory import MEMORY_BUDGET
from hiermodels.posterior.record import WARNING, Posterior

SAMPLERS = ("nutpie", "pymc", "numpyro", "blackjax")
OPTIONS = (
    "tune",
    "target_accept",
    "max_treedepth",
    "nuts",
    "cores",
    "initvals",
    "init",
    "n_init",
    "jitter_max_retries",
    "backend",
    "compile_kwargs",
    "blas_cores",
    "mp_ctx",
    "progressbar_theme",
)
TUNE = 1000  # the default of PyMC; nutpie's own is 400
TARGET_ACCEPT = 0.95  # at the samplers' own 0.8 the eight schools diverge for most seeds
STATS = {  # nutpie's names, where ArviZ's schema has others
    "depth": "tree_depth",
    "maxdepth_reached": "reached_max_treedepth",
    "mean_tree_accept": "acceptance_rate",
}
OWN_LOG_DENSITY = ("logp", "lp")
_NUTPIE = {"max_treedepth": "maxdepth"}  # its names of the options of NUTS
MOST_R_HAT = 1.01  # the limits of PyMC's own checks, here and below
LEAST_ESS = 100  # per chain
MOST_AT_DEPTH = 0.05
MOST_UNITS = 500  # of a level whose chains are checked: ArviZ takes some milliseconds for each
REMEDY = (
    "Ask for fewer draws, raise memory_budget, or use engine='exact', which makes draws of groups "
    "on demand, or reference(), which needs none"
)


class ConvergenceWarning(UserWarning):
    """NUTS may not have reached the posterior, or not have explored all of it."""


@dataclass(frozen=True)
class Convergence:
    """How well the chains mixed: the worst of all variables that are reported.

    PyMC's ``run_convergence_checks`` is not enough here: it looks at a model's free variables
    alone, which leaves out ``theta`` and ``tau`` of the noncentered model; and it knows the
    name under which one sampler reports trees that were cut off, not the other's.

    Attributes
    ----------
    chains : int
    divergences : int
    at_depth : float
        Largest share of a chain's draws whose tree was cut off at its maximal depth.
    r_hat : float
        Largest rank-normalised split R-hat; nan if it cannot be computed.
    ess_bulk, ess_tail : float
        Smallest effective sample sizes.
    left_out : str
        Of which units not all were looked at, for people to read.

    References
    ----------
    Vehtari et al. (2021), Bayesian Analysis 16:667.
    """

    chains: int
    divergences: int
    at_depth: float
    r_hat: float
    ess_bulk: float
    ess_tail: float
    left_out: str = ""

    @classmethod
    def of(cls, datatree: xr.DataTree, fixed: Iterable[str] = ()) -> Convergence:
        """Measure the draws of a posterior, but for sds that are fixed."""
        stats, draws = datatree["sample_stats"], datatree["posterior"].to_dataset()
        draws = draws.drop_vars([name for name in fixed if name in draws])
        deep = stats.get("reached_max_treedepth")
        steps = {
            dim: -(-size // MOST_UNITS)
            for dim, size in draws.sizes.items()
            if dim not in SAMPLE_DIMS and size > MOST_UNITS
        }
        some = draws.isel({dim: slice(None, None, step) for dim, step in steps.items()})
        bulk, tail = (arviz_stats.ess(some, method=kind) for kind in ("bulk", "tail"))
        return cls(
            chains=draws.sizes["chain"],
            divergences=int(stats["diverging"].sum()),
            at_depth=0.0 if deep is None else float(deep.mean("draw").max()),
            r_hat=max(float(worst.max()) for worst in arviz_stats.rhat(some).values()),
            ess_bulk=min(float(worst.min()) for worst in bulk.values()),
            ess_tail=min(float(worst.min()) for worst in tail.values()),
            left_out="".join(f", one {dim} in {step} looked at" for dim, step in steps.items()),
        )

    def describe(self) -> dict[str, str]:
        """Return what a certificate says."""
        unknown = "unknown: it needs several chains and more than a few draws"
        ess = f"at least {self.ess_bulk:.0f} (bulk), {self.ess_tail:.0f} (tail)"
        r_hat = unknown if np.isnan(self.r_hat) else f"at most {self.r_hat:.3f}"
        return {
            "divergences": f"{self.divergences}",
            "r_hat": r_hat + self.left_out,
            "ess": ess + self.left_out,
        }

    def problems(self) -> list[str]:
        """Return what is wrong, a sentence for each; nothing if all is well."""
        found = []
        if self.divergences:
            found.append(
                f"{self.divergences} divergence{'s' if self.divergences > 1 else ''} after tuning"
            )
        if self.at_depth > MOST_AT_DEPTH:
            found.append(f"{self.at_depth:.0%} of a chain's trees reached the maximal depth")
        if np.isnan(self.r_hat):
            found.append(
                "r_hat cannot be computed: it needs several chains and more than a few draws"
            )
        elif self.r_hat > MOST_R_HAT:
            found.append(f"r_hat is up to {self.r_hat:.4f}, and should be at most {MOST_R_HAT}")
        least = min(self.ess_bulk, self.ess_tail)
        if not least >= LEAST_ESS * self.chains:
            found.append(
                f"the smallest effective sample size is {least:.0f}, and should be at least "
                f"{LEAST_ESS * self.chains} ({LEAST_ESS} per chain)"
            )
        return found


def sample(
    spec: Spec,
    data: GroupedData,
    *,
    draws: int = 1000,
    chains: int = 4,
    random_seed: Seed = None,
    progressbar: bool | None = None,
    memory_budget: float = MEMORY_BUDGET,
    grid: Grid | None = None,
    parameterization: Parameterization = "auto",
    observed: Observed = "means",
    nuts_sampler: str = "nutpie",
    **options: Any,
) -> Posterior:
    """Draw from the posterior with NUTS, and check how well the chains mixed.

    Parameters
    ----------
    spec, data
    draws : int
        Number of draws in each chain, after tuning.
    chains : int
        Number of chains.
    random_seed : int, Generator, SeedSequence or None
        The same seed gives the same bits.
    progressbar : bool, optional
        Whether to show progress and the samplers' own messages; by default in a terminal or a
        notebook, where somebody may be looking, and not where the output goes into a file.
    memory_budget : float
        Bytes that the draws may take, 2 GiB by default; while it runs, a sampler takes about as
        much again.
    grid : Grid, optional
        Not needed: the sampler finds its own way.
    parameterization : {"auto", "noncentered", "centered", "marginal"} or mapping
        By default each level is centred or not, as suits the data: see
        :func:`hiermodels.mcmc.parameterization.choose`.  The certificate says what was chosen, and
        why. ``"marginal"`` takes fewer steps and diverges least, where there are few groups above
        all.  It is not the default since groups' values are then drawn by the algebra of the exact
        engine, and a comparison with that engine is to be more than one with itself.
    observed : {"means", "rows"}
        What the likelihood takes, see :func:`hiermodels.mcmc.model.build_model`.
    nuts_sampler : {"nutpie", "pymc", "numpyro", "blackjax"}
        The last two need to be installed.
    **options
        Passed to ``pm.sample``: ``tune`` (1000), ``target_accept`` (0.95), ``max_treedepth``,
        ``cores``, ….

    Returns
    -------
    Posterior

    Warns
    -----
    ConvergenceWarning
        If draws diverged or chains did not mix, with what to do.

    Raises
    ------
    ImproperPosteriorError
        If the posterior does not exist.
    SpecError
        If PyMC cannot state the model, an option is unknown or out of range, or the draws would
        take more than the budget: nothing is sampled then.
    KeyboardInterrupt
        If it was interrupted: there is no fit of a part of the draws.
    """
    del grid
    arguments = _arguments(nuts_sampler, options)
    needs = memory.of_variables(spec, data, chains * draws)
    memory.require(needs, chains * draws, memory_budget, REMEDY)
    seed = integer_seed(random_seed)
    choice = choose(parameterization, spec, data, observed)
    model = build_model(spec, data, choice.stated, observed)
    show = _is_watched() if progressbar is None else progressbar
    if nuts_sampler == "pymc" and (arguments.get("cores") or os.cpu_count()) == 1:
        arguments["callback"] = _EndsAll(arguments["tune"] + draws)
    with (
        nullcontext() if show else _SILENCE.held(),
        _ANY_NAME.held() if "sample" in spec.groups else nullcontext(),
        _interruption_told(),
    ):
        raw = pm.sample(
            draws,
            chains=chains,
            random_seed=seed,
            model=model,
            nuts_sampler=nuts_sampler,
            progressbar=show,
            quiet=not show,
            compute_convergence_checks=False,
            **arguments,
        )
    _require_whole(raw, draws, chains)
    variables = _variables(spec, data, raw, seed)
    attrs = {
        **_schema(raw),
        "engine": "nuts",
        "parameterization": choice.name,
        "parameterization_reason": choice.reason,
        "observed": observed,
        "nuts_sampler": nuts_sampler,
        "tune": arguments["tune"],
        "target_accept": arguments["nuts"]["target_accept"],
    }
    stats = _stats(raw) | lp(spec, data, variables)
    datatree = build_datatree(spec, data, variables, stats, attrs)
    convergence = Convergence.of(datatree, spec.fixed)
    problem = _problem(convergence, choice)
    if problem:
        warn(problem, ConvergenceWarning)
    sampler = f"{nuts_sampler}, {chains} chains x {draws} draws (tune {arguments['tune']})"
    form = f"{choice.name} ({choice.reason})"
    certificate = {"sampler": sampler, "parameterization": form, **convergence.describe()}
    certificate |= {WARNING: problem} if problem else {}
    return Posterior(spec, data, "nuts", datatree, certificate)


def prepare_refits(
    spec: Spec,
    data: GroupedData,
    *,
    draws: int,
    chains: int,
    parameterization: Parameterization = "auto",
    nuts_sampler: str = "nutpie",
    **options: Any,
) -> Refit:
    """Compile the model once, for other outcomes of the same rows.

    The draws of each refit are thinned until they are about independent: one in
    ``draws·chains/ESS``, with the smallest effective sample size, bulk or tail, of all variables.
    How the chains mixed stands in the attributes of the group ``posterior``.

    Parameters
    ----------
    spec : Spec
        With proper priors.
    data : GroupedData
        Whose outcome is typical of those to come: it gives NUTS its unit.
    draws, chains, parameterization
        As in :func:`sample`.
    nuts_sampler : {"nutpie"}
        The others compile anew for every outcome.
    **options
        As in :func:`sample`, of which ``tune``, ``cores`` and what belongs to ``nuts``.

    References
    ----------
    Talts et al. (2018), arXiv:1804.06788, section 5.1 (thinning).
    """
    import nutpie

    arguments = _arguments(nuts_sampler, options)
    unsuited = sorted(set(arguments) - {"tune", "cores", "nuts"})
    if nuts_sampler != "nutpie" or unsuited:
        what = unsuited[0] if unsuited else f"nuts_sampler={nuts_sampler!r}"
        raise SpecError(
            f"{what}: models that are compiled once for many outcomes are sampled by nutpie, with "
            f"parameterization, tune, cores, target_accept, max_treedepth and nuts; leave it out"
        )
    steps = {_NUTPIE.get(name, name): value for name, value in arguments.pop("nuts").items()}
    unit = standardize(data if spec.groups else as_one_group(data))
    choice = choose(parameterization, spec, data, "means")
    model = build_model(spec, data, choice.stated, exchangeable=True)
    compiled = nutpie.compile_pymc_model(model)
    used = {variable.name for variable in compiled.shared_var_keys}

    def refit(data: GroupedData, random_seed: Seed) -> Posterior:
        seed = integer_seed(random_seed)
        standard = standardize(data if spec.groups else as_one_group(data), unit)
        statistics = outcome_statistics(standard).items()
        sampler = nutpie.sample(
            compiled.with_data(**{name: value for name, value in statistics if name in used}),
            draws=draws,
            chains=chains,
            seed=seed,
            save_warmup=False,
            progress_bar=False,
            blocking=False,
            **arguments,
            **steps,
        )
        try:
            raw = sampler.wait()
        except BaseException:  # such as KeyboardInterrupt, for which nutpie keeps some draws
            sampler.cancel()
            raise
        variables = _variables(spec, data, raw, seed)
        stats = _stats(raw) | lp(spec, data, variables)
        datatree = build_datatree(spec, data, variables, stats, _schema(raw))
        convergence = Convergence.of(datatree, spec.fixed)
        return Posterior(
            spec, data, "nuts", _thinned(datatree, convergence), convergence.describe()
        )

    return refit


def _thinned(datatree: xr.DataTree, convergence: Convergence) -> xr.DataTree:
    """Keep every so many draws that they are about independent; note how the chains mixed."""
    draws = datatree["posterior"].to_dataset()
    size = draws.sizes["chain"] * draws.sizes["draw"]
    least = np.nanmin([convergence.ess_bulk, convergence.ess_tail, size])
    step = min(int(np.ceil(size / max(least, 1.0))), draws.sizes["draw"])
    thinned = datatree.isel({"draw": slice(None, None, step)}, missing_dims="ignore")
    thinned["posterior"].attrs |= {
        "divergences": convergence.divergences,
        "r_hat": convergence.r_hat,
    }
    return thinned


def _arguments(nuts_sampler: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options and turn them into arguments of ``pm.sample``."""
    if nuts_sampler not in SAMPLERS:
        known = ", ".join(map(repr, SAMPLERS))
        raise SpecError(f"nuts_sampler: expected one of {known}; found {nuts_sampler!r}")
    if find_spec(nuts_sampler) is None:
        raise SpecError(
            f"nuts_sampler: {nuts_sampler!r} is not installed; pip install {nuts_sampler}, or "
            f"use 'nutpie'"
        )
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        raise SpecError(
            f"engine 'nuts' has no option {unknown[0]!r}; it takes parameterization, observed, "
            f"nuts_sampler, {', '.join(OPTIONS)}"
        )
    arguments = {"tune": TUNE, **options}
    steps = {"target_accept": TARGET_ACCEPT, **arguments.pop("nuts", {})}
    for name in ("target_accept", "max_treedepth"):
        if name in arguments:
            steps[name] = arguments.pop(name)
    _require_in_range({**arguments, **steps})
    arguments["nuts"] = steps
    return arguments


def _require_in_range(arguments: Mapping[str, Any]) -> None:
    """Check numbers that the samplers take without a look, or trip over later."""
    for name, least in {"tune": 0, "cores": 1, "max_treedepth": 1}.items():
        value = arguments.get(name)
        if value is not None and not (isinstance(value, int | np.integer) and value >= least):
            raise SpecError(f"{name}: expected an integer of at least {least}; found {value!r}")
    accept = arguments["target_accept"]
    if not 0 < accept < 1:
        raise SpecError(f"target_accept: expected a number between 0 and 1; found {accept!r}")


def _is_watched() -> bool:
    """Whether somebody may be looking: in a terminal, or in a notebook that can show a bar."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if getattr(shell, "kernel", None) is not None:
        return find_spec("ipywidgets") is not None  # without it rich warns instead
    return sys.stdout.isatty() and sys.stderr.isatty()


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep PyMC silent."""
    logger = logging.getLogger("pymc")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _groups_of_any_name() -> Iterator[None]:
    """Have ArviZ say nothing of a dimension that is called as one of its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found dimension named 'sample'")
        yield


_SILENCE, _ANY_NAME = Shared(_silenced), Shared(_groups_of_any_name)


class _EndsAll:
    """Sees to it that PyMC samples no further chain after one that was interrupted.

    In one process PyMC takes an interruption for the end of the present chain.  It calls this after
    each draw.

    Parameters
    ----------
    size : int
        Number of draws of a whole chain, those of tuning included.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._drawn: dict[int, int] = {}

    def __call__(self, *, draw: Any, **_: Any) -> None:
        """Take note of a draw, or end its chain, too."""
        before = self._drawn.get(draw.chain - 1, 0) if draw.chain else self._size
        if before < self._size:
            raise KeyboardInterrupt
        self._drawn[draw.chain] = draw.draw_idx + 1


@contextmanager
def _interruption_told() -> Iterator[None]:
    """Call an interruption by its name where PyMC was still tuning, and looks for draws in vain."""
    try:
        yield
    except ValueError as error:
        if "Not enough samples" not in str(error):
            raise
        raise KeyboardInterrupt("sampling was interrupted while it was tuned") from error


def _require_whole(raw: xr.DataTree, draws: int, chains: int) -> None:
    """Pass on an interruption, after which samplers return the draws that they have.

    A fit of fewer draws or chains than were asked for would look like one that is complete.
    """
    found = raw["posterior"].sizes
    if (found["chain"], found["draw"]) != (chains, draws):
        raise KeyboardInterrupt(
            f"sampling was interrupted: {found['chain']} chains × {found['draw']} draws of "
            f"{chains} × {draws}"
        )


def _variables(spec: Spec, data: GroupedData, raw: xr.DataTree, seed: int) -> dict[str, Floats]:
    """Draws of the specification's variables; those that were not sampled are drawn now."""
    posterior = raw["posterior"]
    variables = {name: posterior[name].to_numpy() for name in spec.variables if name in posterior}
    if "theta" in variables or not spec.groups:
        return variables
    sds = np.stack([variables[name].ravel() for name in spec.sds], axis=1)
    marginal = Marginal.of(spec, standardize(data))
    values = Values.draw(marginal, sds, np.random.default_rng(named_seed(seed, "values")))
    drawn = {**values.above_groups(), "theta": values.of_groups()}
    by_chain = (*posterior[spec.sds[0]].shape, -1)
    return {
        name: draws.T.reshape(by_chain if spec.dims(name) else by_chain[:2])
        for name, draws in drawn.items()
    }


def _stats(raw: xr.DataTree) -> dict[str, Floats]:
    """Statistics with one number for each draw, under ArviZ's names: what netCDF can hold.

    Without the log density of what was sampled, whose coordinates are the sampler's own.
    """
    return {
        STATS.get(str(name), str(name)): values.to_numpy()
        for name, values in raw["sample_stats"].data_vars.items()
        if name not in OWN_LOG_DENSITY
        and values.dims == SAMPLE_DIMS
        and values.dtype.kind in "biuf"
    }


def _schema(raw: xr.DataTree) -> dict[str, Any]:
    """What the sampler says of itself in ArviZ's words: its name and version, and its time."""
    return {name: value for name, value in raw["posterior"].attrs.items() if name in SCHEMA}


def _problem(convergence: Convergence, choice: Choice) -> str:
    """What is wrong with chains that did not mix, and what to do; empty if all is well."""
    problems = convergence.problems()
    if not problems:
        return ""
    remedies = ["raise target_accept (such as 0.99)"] if convergence.divergences else []
    if convergence.at_depth > MOST_AT_DEPTH:
        remedies.append("raise max_treedepth (10)")
    remedies.append("take more chains (4), tune or draws")
    if choice.forms:
        remedies.append("use parameterization='marginal'")
    remedies.append("use engine='exact', whose draws are independent")
    return f"NUTS may not have converged: {'; '.join(problems)}. Remedies: {'; '.join(remedies)}."
