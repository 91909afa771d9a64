"""League tables: the posterior of each group's rank among all of its level.

Ranks belong to the groups jointly: they are counted within each joint draw.  A table of ranks
of the posterior means would hide how little the data often say of them.

References
----------
Laird & Louis (1989), Journal of Educational Statistics 14:29 (expected ranks).
Goldstein & Spiegelhalter (1996), JRSS A 159:385 (league tables and their limits).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from hiermodels.core.arguments import checked_methods
from hiermodels.core.arrays import Floats
from hiermodels.core.messages import short
from hiermodels.core.options import real_number
from hiermodels.core.suggestions import did_you_mean
from hiermodels.core.threads import for_each
from hiermodels.data.covariates import At, locate
from hiermodels.data.labels import nearly, places_of
from hiermodels.errors import DataError, SpecError
from hiermodels.model.level import INTERCEPT
from hiermodels.model.spec import Spec
from hiermodels.posterior.memory import MEMORY_BUDGET
from hiermodels.posterior.moments import of_variables
from hiermodels.posterior.ranks import BLOCK, by_member, rank_draws
from hiermodels.posterior.record import Posterior, at_covariates, level_draws
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.posterior.tables import (
    Summary,
    interval_label,
    interval_note,
    tails,
    with_header,
)

BYTES = 12  # for a group and draw: its effect and its rank
MAX_PAIRED = 500  # groups of a matrix of pairs


@checked_methods
@dataclass(frozen=True, repr=False)
class Ranking:
    """Posterior of the ranks of all groups of a level; rank 1 is the best.

    Attributes
    ----------
    table : DataFrame
        A row for each group, the best expected rank first: posterior ``mean`` and ``sd`` of its
        effect (nan where they do not exist, and the ``median`` besides); ``rank_mean``,
        ``rank_sd``, ``rank_median`` and an equal-tailed interval of its rank; ``p_best``, the
        probability of rank 1; ``p_top3`` of the first three and ``p_above_c`` of a value above c,
        where these were asked for.
    ranks : DataArray
        Ranks (chain, draw, group), the groups in the order of the data.
    highest_first : bool
        Whether rank 1 is the highest value.
    """

    table: Summary
    ranks: xr.DataArray
    highest_first: bool

    @property
    def datatree(self) -> xr.DataTree:
        """The ranks as a variable ``rank`` of a posterior, for ArviZ."""
        return xr.DataTree.from_dict({"posterior": xr.Dataset({"rank": self.ranks})})

    def prob_greater(self, first: Any, second: Any) -> float:
        """Posterior probability that one group's effect exceeds another's; ½ if they are equal.

        Parameters
        ----------
        first, second : labels

        Raises
        ------
        DataError
            If there is no group of that label.
        """
        return float(self.prob_greater_matrix([first, second]).to_numpy()[0, 1])

    def prob_greater_matrix(self, units: Sequence[Any] | None = None) -> pd.DataFrame:
        """Posterior probabilities that the row's effect exceeds the column's; nan for itself.

        Parameters
        ----------
        units : sequence of labels, optional
            At most 500; all by default, from the best expected rank to the worst.

        Raises
        ------
        DataError
            If there is no group of that label.
        SpecError
            If the matrix would be too large.
        """
        asked = (
            [units]
            if isinstance(units, str)
            else list(self.table.index if units is None else units)
        )
        if not asked:
            raise SpecError(f"units: expected labels of {self._dim}; found none")
        if len(asked) > MAX_PAIRED:
            raise SpecError(
                f"units: a matrix of pairs takes at most {MAX_PAIRED} groups; there are "
                f"{len(asked):,}. Name some, or ask for pairs with prob_greater(first, second)"
            )
        known = self.ranks[self._dim].to_numpy()
        places = places_of(known, asked)
        if (places < 0).any():
            unknown = asked[int(np.argmax(places < 0))]
            raise DataError(f"there is no {self._dim} {short(unknown)}{nearly(known, unknown)}")
        labels = pd.Index(known[places], name=self._dim)
        ranks = by_member(self.ranks)[places]
        lower = np.array([(own < ranks).mean(axis=1) for own in ranks])
        greater = lower if self.highest_first else 1 - lower
        np.fill_diagonal(greater, np.nan)
        return pd.DataFrame(greater, index=labels, columns=labels)

    @property
    def _dim(self) -> str:
        return str(self.ranks.dims[-1])

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


def rank_members(
    posterior: Posterior,
    reference: ReferencePosterior,
    level: str | None,
    *,
    effect: str | None = None,
    threshold: float | None = None,
    top: float | None = None,
    highest_first: bool = True,
    ci_prob: float,
    at: At,
) -> Ranking:
    """Rank the groups of a level within each joint draw.

    What depends on one group alone, its mean, sd and probability of exceeding the threshold, is
    taken from the reference and has no Monte Carlo error; ranks are counted over the draws.

    Parameters
    ----------
    posterior : Posterior
    reference : ReferencePosterior
        Of the same model and data.
    level, effect, threshold, top, highest_first, ci_prob, at
        As in :meth:`hiermodels.Fit.rank`.

    Raises
    ------
    SpecError
        If there is no such level or effect, or an option is wrong.
    """
    of = _Ranked.of(posterior.spec, level, effect)
    name, dim = of.variable, posterior.spec.dims(of.variable)[0]
    where, reference = locate(posterior.data, at), reference.at(at)
    draws = _draws(at_covariates(posterior, where, [name]), name)
    ranks = rank_draws(of.alone(draws), highest_first)
    mean, sd = (of.alone(moment[name]).to_numpy() for moment in (reference.mean, reference.sd))
    columns, lacking = {"mean": mean, "sd": sd}, reference.moments.why(of_variables([name]))
    if lacking:
        columns["median"] = of.alone(reference.quantile(0.5, [name])[name]).to_numpy()[0]
    columns |= _describe(ranks, ci_prob)
    columns["p_best"] = _share_at_most(ranks, 1)
    if top is not None:
        count = _count(top, len(mean))
        columns[f"p_top{count}"] = _share_at_most(ranks, count)
    if threshold is not None:
        threshold = real_number("threshold", threshold)
        below = reference.cdf(name, np.full(reference.mean[name].shape, threshold))
        above = of.alone(reference.mean[name].copy(data=1 - below))
        columns[f"p_above_{threshold:g}"] = above.to_numpy()
    index = pd.Index(ranks[dim].to_numpy(), name=dim)
    table = pd.DataFrame(columns, index).sort_values("rank_mean", kind="stable")
    n = ranks.sizes["chain"] * ranks.sizes["draw"]
    over = "" if threshold is None else f" and P({of.label} > {threshold:g})"
    notes = [
        f"rank 1: {'highest' if highest_first else 'lowest'} {of.label}",
        f"ranks: over {n:,} joint draws; a probability's Monte Carlo sd is at most "
        f"{0.5 / np.sqrt(n):.2g} if they are independent",
        *posterior.caveats,
        f"mean, sd{over}: {reference.error_in_words}",
        interval_note(ci_prob),
        *_ties(posterior.spec, of),
        *(where.note([of.label]) if of.is_moved else []),
        *([lacking] if lacking else []),
        *reference.precision,
    ]
    shown = with_header(table, posterior.spec, *notes, digits=reference.digits)
    return Ranking(shown, ranks, highest_first)


def _ties(spec: Spec, of: _Ranked) -> list[str]:
    """What is said where the sd of what is ranked is fixed at 0."""
    own = spec.levels[spec.level_of(of.variable)]
    sd = own.sd if of.term is None else f"{own.sd}[{of.term}]"
    return (
        [f"{sd} is fixed at 0: equal groups share their ranks"] if spec.fixed.get(sd) == 0 else []
    )


@dataclass(frozen=True)
class _Ranked:
    """What of each group is ranked.

    Attributes
    ----------
    variable : str
        Name of the effects of a level.
    term : str or None
        Which of a group's effects, where it may have several.
    dim : str
        Dimension of these.
    is_deviation : bool
        Whether it is one from the mean, which is the same at all covariates: of crossed groups.
    """

    variable: str
    term: str | None = None
    dim: str = ""
    is_deviation: bool = False

    @classmethod
    def of(cls, spec: Spec, level: str | None, effect: str | None) -> _Ranked:
        """By default the intercept, or where there is none the first slope."""
        variable = spec.effect_of(level)
        own = spec.levels[spec.level_of(variable)]
        if effect is not None and effect not in own.terms:
            raise SpecError(
                f"effect: expected {' or '.join(map(repr, own.terms))}, which vary between the "
                f"groups of {own.column!r}; found {effect!r}{did_you_mean(effect, own.terms)}"
            )
        if not own.has_slopes:
            return cls(variable, is_deviation=spec.is_crossed)
        return cls(variable, effect or own.terms[0], own.dims[0])

    @property
    def label(self) -> str:
        """What it is called."""
        return self.variable if self.term is None else f"{self.variable}[{self.term}]"

    @property
    def is_moved(self) -> bool:
        """Whether it depends on the covariates at which it is shown."""
        return self.term in (None, INTERCEPT) and not self.is_deviation

    def alone(self, values: xr.DataArray) -> xr.DataArray:
        """It, from an array of all effects of the groups."""
        return values if self.term is None else values.sel({self.dim: self.term}, drop=True)


def _count(top: float, members: int) -> int:
    """How many groups ``top`` stands for: a count, or a share of them, at least one."""
    is_count = isinstance(top, (int, np.integer)) or real_number("top", top).is_integer()
    if is_count and 1 <= top <= members:
        return int(top)
    if 0 < top < 1:
        return max(1, round(top * members))
    raise SpecError(
        f"top: expected a count from 1 to {members}, or a share between 0 and 1; found {top!r}"
    )


def _draws(posterior: Posterior, name: str) -> xr.DataArray:
    """Draws of a level's effects (chain, draw, group, …); fewer if memory is short."""
    sizes = posterior.datatree["posterior"].sizes
    level = posterior.spec.level_of(name)
    members = len(posterior.data.levels[level]) * len(posterior.spec.levels[level].terms)
    few = int(np.clip(MEMORY_BUDGET // (BYTES * members * sizes["chain"]), 1, sizes["draw"]))
    return level_draws(posterior, name, slice(few))


def _describe(ranks: xr.DataArray, ci_prob: float) -> dict[str, NDArray[Any]]:
    """Mean, sd, median and equal-tailed interval of each group's rank.

    Quantiles are ranks themselves: the smallest rank up to which there is at least that
    probability.
    """
    low, high = tails(ci_prob)
    flat = by_member(ranks)
    mean, sd = np.empty(len(flat)), np.empty(len(flat))
    ends = np.empty((3, len(flat)), dtype=np.int32)
    step = max(1, BLOCK // flat.shape[1])

    def describe(first: int) -> None:
        part = slice(first, first + step)
        mean[part], sd[part] = flat[part].mean(axis=1), flat[part].std(axis=1)
        ends[:, part] = np.quantile(flat[part], [low, 0.5, high], axis=1, method="inverted_cdf")

    for_each(describe, range(0, len(flat), step))
    label = interval_label(ci_prob)
    return {
        "rank_mean": mean,
        "rank_sd": sd,
        "rank_median": ends[1],
        f"rank_{label}_lb": ends[0],
        f"rank_{label}_ub": ends[2],
    }


def _share_at_most(ranks: xr.DataArray, count: int) -> Floats:
    """Probability of each group of being among the first."""
    return (by_member(ranks) <= count).mean(axis=1)
