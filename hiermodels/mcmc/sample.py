"""NUTS draws of a specification's PyMC model, with the checks that its samplers leave out."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import xarray as xr

from hiermodels.core.arrays import Floats
from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.core.seeds import Seed, integer_seed, named_seed
from hiermodels.core.threads import Shared
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError, warn
from hiermodels.exact.block_effects import BlockEffects
from hiermodels.exact.effects import Effects
from hiermodels.exact.joint import lp
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.standardize import standardize
from hiermodels.mcmc.convergence import Convergence, ConvergenceWarning, problem_of
from hiermodels.mcmc.interruption import EndsAll, interruption_told, require_whole
from hiermodels.mcmc.model import build_model, outcome_of
from hiermodels.mcmc.options import checked_options
from hiermodels.mcmc.parameterization import Observed, Parameterization, choose
from hiermodels.model.spec import Spec
from hiermodels.posterior import memory
from hiermodels.posterior.arviz_groups import SCHEMA, build_datatree, seed_attribute
from hiermodels.posterior.engine import Refit, Request
from hiermodels.posterior.record import WARNING, Posterior, by_chain

STATS = {  # nutpie's names, where ArviZ's schema has others
    "depth": "tree_depth",
    "maxdepth_reached": "reached_max_treedepth",
    "mean_tree_accept": "acceptance_rate",
}
OWN_LOG_DENSITY = ("logp", "lp")
_NUTPIE = {"max_treedepth": "maxdepth"}  # its names of the options of NUTS
REMEDY = (
    "Ask for fewer draws, raise memory_budget, or use engine='exact', which makes draws of groups "
    "on demand, or reference(), which needs none"
)


def sample(
    spec: Spec,
    data: GroupedData,
    request: Request,
    /,
    *,
    parameterization: Parameterization = "auto",
    observed: Observed = "means",
    nuts_sampler: str = "nutpie",
    **options: Any,
) -> Posterior:
    """Draw from the posterior with NUTS, and check how well the chains mixed.

    Parameters
    ----------
    spec, data
    request : Request
        Draws are counted after tuning.  While it runs, a sampler takes about as much memory again
        as they do.  It finds its own way without a grid.
    parameterization : {"auto", "noncentered", "centered", "marginal"} or mapping
        By default each level is centred or not, as suits the data: see
        :func:`hiermodels.mcmc.parameterization.choose`.  The certificate says what was chosen, and
        why. ``"marginal"``, of normal rows only, takes fewer steps and diverges least, where there
        are few groups above all.  It is not the default since groups' effects are then drawn by
        the algebra of the exact engine, and a comparison with that engine is to be more than one
        with itself.
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
    arguments = checked_options(nuts_sampler, options)
    needs = memory.of_variables(spec, data, request.size)
    memory.require(needs, request.size, request.memory_budget, REMEDY)
    draws, chains = request.draws, request.chains
    seed, choice = integer_seed(request.random_seed), choose(parameterization, spec, data, observed)
    model = build_model(spec, data, choice.stated, observed)
    show = _is_watched() if request.progressbar is None else request.progressbar
    if nuts_sampler == "pymc" and (arguments.get("cores") or os.cpu_count()) == 1:
        arguments["callback"] = EndsAll(arguments["tune"] + draws)
    arguments |= {"random_seed": seed, "nuts_sampler": nuts_sampler}
    with _ANY_NAME.held() if "sample" in spec.groups else nullcontext():
        raw = _sampled(model, draws, chains, show, **arguments)
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
        **seed_attribute(request.random_seed),
    }
    stats = _stats(raw) | lp(spec, data, variables)
    datatree = build_datatree(spec, data, variables, stats, attrs)
    convergence = Convergence.of(datatree, spec)
    if problem := problem_of(convergence, choice):
        warn(problem, ConvergenceWarning)
    certificate = {
        "sampler": f"{nuts_sampler}, {chains} chains x {draws} draws (tune {arguments['tune']})",
        "parameterization": f"{choice.name} ({choice.reason})",
        **convergence.describe(),
        **({WARNING: problem} if problem else {}),
    }
    return Posterior(spec, data, "nuts", datatree, certificate)


def _sampled(model: pm.Model, draws: int, chains: int, show: bool, **arguments: Any) -> xr.DataTree:
    """Run the chains, all of them and to their end."""
    with nullcontext() if show else _SILENCE.held(), _IN_ORDER.held(), interruption_told():
        raw: xr.DataTree = pm.sample(
            draws,
            chains=chains,
            model=model,
            progressbar=show,
            quiet=not show,
            compute_convergence_checks=False,
            **arguments,
        )
    require_whole(raw, draws, chains)
    return raw


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

    arguments = checked_options(nuts_sampler, options)
    _require_nutpie(nuts_sampler, arguments)
    steps = {_NUTPIE.get(name, name): value for name, value in arguments.pop("nuts").items()}
    outcome = outcome_of(spec, data)
    choice = choose(parameterization, spec, data, "means")
    model = build_model(spec, data, choice.stated, exchangeable=True)
    with _IN_ORDER.held():
        compiled = nutpie.compile_pymc_model(model)
    used = {variable.name for variable in compiled.shared_var_keys}

    def refit(data: GroupedData, random_seed: Seed) -> Posterior:
        seed = integer_seed(random_seed)
        taken = outcome(data).items()
        known = compiled.with_data(**{name: value for name, value in taken if name in used})
        raw = _sampled_by_nutpie(known, draws=draws, chains=chains, seed=seed, **arguments, **steps)
        variables = _variables(spec, data, raw, seed)
        stats = _stats(raw) | lp(spec, data, variables)
        datatree = build_datatree(spec, data, variables, stats, _schema(raw))
        convergence = Convergence.of(datatree, spec)
        return Posterior(
            spec, data, "nuts", _thinned(datatree, convergence), convergence.describe()
        )

    return refit


def _require_nutpie(nuts_sampler: str, arguments: Mapping[str, Any]) -> None:
    """Raise SpecError if an option needs a sampler that compiles anew for every outcome."""
    unsuited = sorted(set(arguments) - {"tune", "cores", "nuts"})
    if nuts_sampler != "nutpie" or unsuited:
        what = unsuited[0] if unsuited else f"nuts_sampler={nuts_sampler!r}"
        raise SpecError(
            f"{what}: models that are compiled once for many outcomes are sampled by nutpie, with "
            f"parameterization, tune, cores, target_accept, max_treedepth and nuts; leave it out"
        )


def _sampled_by_nutpie(compiled: Any, **arguments: Any) -> xr.DataTree:
    """Run the chains of a compiled model, to their end."""
    import nutpie

    sampler = nutpie.sample(
        compiled, save_warmup=False, progress_bar=False, blocking=False, **arguments
    )
    try:
        raw: xr.DataTree = sampler.wait()
    except BaseException:  # such as KeyboardInterrupt, for which nutpie keeps some draws
        sampler.cancel()
        raise
    return raw


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


@contextmanager
def _in_order() -> Iterator[None]:
    """Have compiled code add and multiply in the order in which the model states it.

    PyTensor's default leaves the order to the compiler, which chooses another where some of the
    code is on disk already: the last digits, and with them the draws, would depend on that.
    """
    with pytensor.config.change_flags(numba__fastmath=False):
        yield


_SILENCE, _ANY_NAME = Shared(_silenced), Shared(_groups_of_any_name)
_IN_ORDER = Shared(_in_order)


def _variables(spec: Spec, data: GroupedData, raw: xr.DataTree, seed: int) -> dict[str, Floats]:
    """Draws of the specification's variables; those that were not sampled are drawn now."""
    posterior = raw["posterior"]
    variables = {name: posterior[name].to_numpy() for name in spec.variables if name in posterior}
    if not spec.groups or spec.effects[0] in variables:
        return variables
    if spec.is_blocks:
        return _drawn_blocks(spec, data, variables, seed)
    sds = np.stack([variables[name].ravel() for name in spec.sds], axis=1)
    marginal = Marginal.of(spec, standardize(data))
    effects = Effects.draw(marginal, sds, np.random.default_rng(named_seed(seed, "values")))
    drawn = {**effects.above_groups(), "theta": effects.of_groups()}
    by_chain = (*posterior[spec.sds[0]].shape, -1)
    return {
        name: draws.T.reshape(by_chain if spec.dims(name) else by_chain[:2])
        for name, draws in drawn.items()
    }


def _drawn_blocks(
    spec: Spec, data: GroupedData, variables: Mapping[str, Floats], seed: int
) -> dict[str, Floats]:
    """Draws of coefficients and effects given those of sds and correlations, and these."""
    chains, draws = variables[spec.levels[0].sd].shape[:2]
    known = {name: v.reshape(chains * draws, *v.shape[2:]) for name, v in variables.items()}
    rng = np.random.default_rng(named_seed(seed, "values"))
    made = BlockEffects.given(spec, data, known, rng).variables()
    return {name: by_chain(made[name], chains) for name in spec.variables}


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
