"""Simulated parameters and outcomes, an engine's fits of these, and the ranks of the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.grouped import GroupedData, GroupedRows, require_rows
from hiermodels.model.spec import Spec
from hiermodels.posterior.engine import Refit
from hiermodels.posterior.record import Posterior, level_draws, rows_given
from hiermodels.posterior.rows import log_likelihood
from hiermodels.results.simulation import draw_outcomes, draw_variables

type Result = dict[str, dict[str, Floats]]  # of a simulation: values by group and name


LOG_LIKELIHOOD = "log_likelihood"
QUALITY = ("divergences", "r_hat")  # attributes in which an engine says how it did
MAX_MEMBERS = 50  # of a level that are ranked
TYPICAL = 101  # simulated outcomes, of which the middle one by size is typical
BLOCK = 1_000_000  # rows times draws whose densities are held at once


def typical(spec: Spec, data: GroupedRows, seed: int) -> GroupedRows:
    """Replace the outcome by a simulated one of middle size."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    outcomes = draw_outcomes(spec, data, draw_variables(spec, data, TYPICAL, rng), rng)
    size = np.abs(outcomes - np.median(outcomes)).max(axis=1)
    return replace(data, y=outcomes[np.argsort(size, kind="stable")[TYPICAL // 2]])


def simulate(spec: Spec, data: GroupedRows, refit: Refit, seed: int, i: int) -> Result:
    """Make a simulation, which depends on the seed and on its number i alone."""
    streams = np.random.SeedSequence(seed, spawn_key=(1, i)).spawn(3)
    rng = np.random.default_rng(streams[0])
    truth = draw_variables(spec, data, 1, rng)
    simulated = replace(data, y=draw_outcomes(spec, data, truth, rng)[0])
    try:
        posterior = refit(simulated, streams[1])
    except Exception as error:
        error.add_note(f"This was simulation {i} of a calibration with random_seed={seed}.")
        raise
    draws = scalar_draws(posterior)
    for variables in (truth, draws):
        variables[LOG_LIKELIHOOD] = sum_log_likelihood(spec, simulated, variables)
    rng = np.random.default_rng(streams[2])
    names = [*spec.distinct_variables, LOG_LIKELIHOOD]
    pits = {name: continuous_ranks(truth[name][0], draws[name], rng) for name in names}
    ranked = {
        name: pit[ranked_members(len(pit))] if pit.ndim else pit for name, pit in pits.items()
    }
    attrs = posterior.datatree["posterior"].attrs
    quality = {name: np.asarray(attrs[name]) for name in QUALITY if name in attrs}
    return {
        "prior_sbc": ranked,
        "sample_stats": {"draws": np.asarray(len(draws[LOG_LIKELIHOOD])), **quality},
    }


def scalar_draws(posterior: Posterior) -> dict[str, Floats]:
    """Draws of variables, scalars (L,) and others (L, members), whatever chain they are from."""
    names = posterior.spec.distinct_variables
    draws = {name: level_draws(posterior, name).to_numpy() for name in names}
    return {name: values.reshape(-1, *values.shape[2:]) for name, values in draws.items()}


def sum_log_likelihood(spec: Spec, data: GroupedData, variables: Mapping[str, Floats]) -> Floats:
    """Log likelihood of all rows given each draw of the variables; (L,)."""
    rows = require_rows(data, "a simulation")
    size = len(variables[spec.variables[0]])
    step = max(BLOCK // len(data.y), 1)
    blocks = []
    for start in range(0, size, step):
        some = {name: values[start : start + step] for name, values in variables.items()}
        eta, columns = rows_given(spec, data, some)
        blocks.append(log_likelihood(spec, rows, eta, columns))
    return np.concatenate(blocks)


def continuous_ranks(truth: Floats, draws: Floats, rng: np.random.Generator) -> Floats:
    """Rank true values (...,) among draws (L, ...), as numbers between 0 and 1.

    With b draws below and t equal to the truth, ``(b + U (t + 1))/(L + 1)``, U uniform: exactly
    uniform if the truth is one more independent draw, for any L and with ties.
    """
    below = (draws < truth).sum(axis=0)
    ties = (draws == truth).sum(axis=0)
    return (below + rng.random(below.shape) * (ties + 1)) / (len(draws) + 1)


def ranked_members(size: int) -> Indices:
    """Groups of a level that are ranked: all, or as many as there may be, evenly spaced."""
    return np.arange(size)[:: -(-size // MAX_MEMBERS)]
