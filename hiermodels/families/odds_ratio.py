"""Rows that are 2×2 tables, of which only the odds ratio matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.codec import storable
from hiermodels.families.checks import OUTCOME, Invalid, is_whole, where_any, whole
from hiermodels.families.family import Columns, Link
from hiermodels.families.leaves import Leaves
from hiermodels.families.odds_ratio_leaves import OddsRatioLeaves
from hiermodels.families.odds_ratio_tables import Tables
from hiermodels.families.poisson import exponential
from hiermodels.families.row_leaves import by_group, log_density


@storable
@dataclass(frozen=True)
class OddsRatio:
    """Events in the treated arm of a trial, given the events in both arms; η is the log odds ratio.

    ``p(y) = w(y) e^{yη}/Σ_u w(u) e^{uη}``, ``w(u) = C(trials, u)·C(control_trials, events − u)``:
    the noncentral hypergeometric distribution, in which the risk of the control arm has cancelled.
    It is exact where events are rare.  A trial without events, or without any but events, says
    nothing and is an ordinary case.

    Columns
    -------
    trials, control_trials
        Members of the treated and of the control arm.
    total_events
        In both arms together.

    References
    ----------
    Stijnen, Hamza and Özdemir (2010), Statistics in Medicine 29:3046.
    """

    name: ClassVar[str] = "odds_ratio"
    columns: ClassVar[tuple[str, ...]] = ("trials", "control_trials", "total_events")
    defaults: ClassVar[Mapping[str, float]] = MappingProxyType({})
    additive: ClassVar[tuple[str, ...]] = ()
    link: ClassVar[Link] = "log"
    effect: ClassVar[str | None] = None
    is_discrete: ClassVar[bool] = True

    def inverse_link(self, eta: Floats) -> Floats:
        """``e^η``, the odds ratio."""
        return exponential(eta)

    def invalid(self, y: Floats, columns: Columns) -> Iterator[Invalid]:
        """Counts that are not whole, are negative, or do not fit into one table."""
        trials, control = columns["trials"], columns["control_trials"]
        events = columns["total_events"]
        both = Invalid(
            "total_events",
            ~is_whole(events) | (events > trials + control),
            "a whole number from 0 to the number of trials in both arms of its row",
        )
        within = Invalid(
            OUTCOME,
            ~is_whole(y) | (y > np.minimum(trials, events)) | (events - y > control),
            "a whole number of events in the treated arm, at most its trials and total_events, "
            "which leaves the control arm no more events than trials",
        )
        each = (whole(name, columns[name]) for name in ("trials", "control_trials"))
        return where_any(*each, both, within)

    def describe(self, eta: str, columns: Mapping[str, str]) -> str:
        """``NoncentralHypergeometric(trials, control_trials, total_events, exp(η))``."""
        margins = ", ".join(columns[name] for name in self.columns)
        return f"NoncentralHypergeometric({margins}, exp({eta}))"

    def log_likelihood(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """``log p(y)`` of each row."""
        return log_density(OddsRatioLeaves.of(y, *self._table(columns)), eta)

    def draw(self, eta: Floats, columns: Columns, rng: np.random.Generator) -> Floats:
        """Draw events in the treated arm, of the shape of η."""
        rows = eta.shape[-1]
        trials, control, events = (
            np.broadcast_to(column, rows).astype(float) for column in self._table(columns)
        )
        tables = Tables(trials, control, events, np.maximum(0.0, events - control))
        return tables.draw(eta.reshape(-1, rows).T, rng).T.reshape(eta.shape)

    def leaves(
        self, y: Floats, columns: Columns, offset: Floats, group: Indices, size: int
    ) -> Leaves:
        """Likelihoods of groups: products over their tables."""
        return by_group(OddsRatioLeaves.of(y, *self._table(columns), offset), group, size)

    def to_pymc(
        self, pm: Any, name: str, eta: Any, columns: Mapping[str, Any], observed: Floats, dims: str
    ) -> Any:
        """Add the rows to the open PyMC model: of each, a sum over all counts of its table."""

        def random(eta: Floats, *margins: Floats, rng: np.random.Generator, size: Any) -> Floats:
            shape = np.broadcast_shapes(np.shape(eta), *map(np.shape, margins), tuple(size or ()))
            flat = (np.broadcast_to(each, shape).ravel() for each in (eta, *margins))
            log_odds_ratio, *table = flat
            given = dict(zip(self.columns, table, strict=True))
            return self.draw(log_odds_ratio, given, rng).reshape(shape).astype(np.int64)

        return pm.CustomDist(
            name,
            eta,
            *self._table(columns),
            logp=partial(_symbolic_log_probability, pm),
            random=random,
            dtype="int64",
            observed=np.asarray(observed, dtype=np.int64),
            dims=dims,
            class_name=type(self).__name__,
        )

    def _table(self, columns: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        """Members of the treated and the control arm, and events in both."""
        return columns["trials"], columns["control_trials"], columns["total_events"]


def _symbolic_log_probability(
    pm: Any, value: Any, eta: Any, trials: Any, control: Any, events: Any
) -> Any:
    """``−log Σ_u w(u)/w(y) e^{(u − y)η}`` of variables of PyTensor; (N,)."""
    maths = pm.math
    lowest, highest = maths.maximum(0.0, events - control), maths.minimum(trials, events)

    def log_weight(count: Any, wide: Any) -> Any:
        cells = (count, trials[wide] - count, events[wide] - count)
        rest = control[wide] - events[wide] + count
        return -sum(maths.gammaln(cell + 1) for cell in (*cells, rest))

    last = (..., None)
    steps = maths.arange(maths.max(highest - lowest) + 1)
    count = maths.minimum(lowest[last] + steps, highest[last])
    relative = log_weight(count, last) - log_weight(value, ...)[last]
    terms = relative + (count - value[last]) * eta[last]
    is_there = maths.le(steps, (highest - lowest)[last])
    log_sum = maths.logsumexp(maths.switch(is_there, terms, -np.inf), axis=-1)
    is_possible = maths.and_(maths.ge(value, lowest), maths.le(value, highest))
    return maths.switch(is_possible, -log_sum, -np.inf)
