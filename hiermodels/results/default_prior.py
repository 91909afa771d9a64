"""Whether the default prior of a variance, which nobody chose, drives the answer.

A prior that is flat on a variance is not one that says nothing: flat on the sd is as flat, and
gives another posterior.  The two are compared, for one sd at a time, as sums over one lattice
with other weights: the ratio r of the priors is 1/sd.  Of any quantity the mean moves by

    cov(quantity, r)/E r  ≤  sd(quantity) · sd(r)/E r,

so that where ``sd(r)/E r`` is small nothing in the model moves, and nothing else is computed: with
many groups, of which the data say how much they differ.

References
----------
Gelman (2006), Bayesian Analysis 1:515 (priors of variances with few groups).
"""

from __future__ import annotations

from hiermodels.errors import PriorWarning, warn
from hiermodels.exact.grid import AnyGrid
from hiermodels.exact.prior_move import Move
from hiermodels.model.priors.base import Priors
from hiermodels.model.priors.defaults import describe_prior
from hiermodels.model.priors.variance import FlatSD, FlatVariance
from hiermodels.posterior.moments import of_variables


def warn_of_default_prior(grid: AnyGrid, given: Priors) -> None:
    """Warn where the default prior of a group-level variance drives the answer, with figures.

    That is where, under the other flat prior, a hyperparameter, a group's effect or the spread of
    new groups moves by more than a quarter of a posterior sd; or where a hyperparameter has no
    mean or no sd, so that one cannot tell.

    Parameters
    ----------
    grid : Grid or LeafGrid
        Of the model and the data.
    given : mapping of str to Prior, str or None
        Priors that the user chose: of these there is no warning.
    """
    spec = grid.spec
    if isinstance(given, str):
        return
    stated = {*(given or {}), *(spec.spreads if spec.is_crossed and "tau" in (given or {}) else ())}
    open_to_doubt = [level.sd for level in spec.levels if level.sd not in stated]
    if not open_to_doubt or not grid.is_laid:
        return
    lacking = grid.moments.counts(of_variables(spec.variables))
    notable = {name: list(grid.prior_moves(name)) for name in open_to_doubt}
    driving = [name for name, moves in notable.items() if moves] or open_to_doubt[: bool(lacking)]
    if not driving:
        return
    said = [
        f"{grid.informed(name)} say little of {name}: its default prior matters."
        for name in driving
    ]
    said += [f"Under these priors {lacking}."] if lacking else []
    said += [_compared(name, notable[name]) for name in driving if notable[name]]
    proper = ", ".join(f"{name!r}: hm.{grid.proper_prior}" for name in driving)
    said.append(
        f"State the prior that you mean, such as priors={{{proper}}} or priors='weak'; "
        f".sensitivity() compares them."
    )
    warn(" ".join(said), PriorWarning)


def _compared(name: str, moves: list[Move]) -> str:
    flat, other = (describe_prior(name, prior) for prior in (FlatVariance(), FlatSD()))
    return f"Under {other}, in place of {flat}, {', '.join(map(str, moves))}."
