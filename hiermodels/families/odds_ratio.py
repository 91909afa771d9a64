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
from hiermodels.core.messages import is_storable, short
from hiermodels.errors import SpecError
from hiermodels.families.checks import OUTCOME, Invalid, is_whole, where_any, whole
from hiermodels.families.family import Columns
from hiermodels.families.leaves import Leaves
from hiermodels.families.links import LogLink
from hiermodels.families.odds_ratio_leaves import OddsRatioLeaves
from hiermodels.families.odds_ratio_tables import Tables
from hiermodels.families.row_leaves import by_group, log_density


@storable
@dataclass(frozen=True)
class OddsRatio(LogLink):
    """Events in the treated arm of a trial, given the events in both arms; η is the log odds ratio.

    ``p(y) = w(y) e^{yη}/Σ_u w(u) e^{uη}``, ``w(u) = C(trials, u)·C(control_trials, events − u)``:
    the noncentral hypergeometric distribution, in which the risk of the control arm has cancelled.
    It is exact where events are rare.  A trial without events, or without any but events, says
    nothing and is an ordinary case.

    The outcome is the number of events in the treated arm, and ``trials`` are its members.  Rows
    have the events of both arms together for a column, ``total_events``, as these are given.

    Parameters
    ----------
    control_events, control_trials : str
        Columns of the data with the events in the control arm, and with its members.

    References
    ----------
    Stijnen, Hamza and Özdemir (2010), Statistics in Medicine 29:3046.
    """

    control_events: str = "control_events"
    control_trials: str = "control_trials"

    name: ClassVar[str] = "odds_ratio"
    columns: ClassVar[tuple[str, ...]] = ("trials", "control_trials", "total_events")
    defaults: ClassVar[Mapping[str, float]] = MappingProxyType({})
    additive: ClassVar[tuple[str, ...]] = ()
    effect: ClassVar[str | None] = None
    is_discrete: ClassVar[bool] = True
    raw_word: ClassVar[str] = "log odds ratio"

    def __post_init__(self) -> None:
        """Raise SpecError if names of columns are no text."""
        for role, name in self.data_columns.items():
            if not (type(name) is str and is_storable(name)):
                raise SpecError(
                    f"OddsRatio: {role}: expected the name of a column; found {short(name)}"
                )

    @property
    def data_columns(self) -> Mapping[str, str]:
        """Columns of the control arm."""
        return {"control_events": self.control_events, "control_trials": self.control_trials}

    def from_data(self, y: Floats, columns: Columns) -> Columns:
        """Add the events in both arms."""
        return {**columns, "total_events": y + columns["control_events"]}

    def invalid(self, y: Floats, columns: Columns) -> Iterator[Invalid]:
        """Counts that are not whole, are negative, or do not fit into one table."""
        trials, control = columns["trials"], columns["control_trials"]
        events = columns["total_events"]
        treated = is_whole(y) & (y <= trials)
        within = Invalid(OUTCOME, ~treated, "a whole number of events, at most its arm's trials")
        beyond = Invalid(
            "control_events" if "control_events" in columns else "total_events",
            treated & (~is_whole(events) | (events - y > control) | (events < y)),
            "a whole number of events in the control arm, at most control_trials",
        )
        each = (whole(name, columns[name]) for name in ("trials", "control_trials"))
        return where_any(*each, within, beyond)

    def describe(self, eta: str, columns: Mapping[str, str]) -> str:
        """``NoncentralHypergeometric(trials, control_trials, total_events, exp(η))``."""
        total = columns.get("total_events", "events of both arms")
        margins = ", ".join([columns["trials"], columns["control_trials"], total])
        return f"NoncentralHypergeometric({margins}, exp({eta}))"

    def log_likelihood(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """``log p(y)`` of each row."""
        return log_density(OddsRatioLeaves.of(y, *self._table(columns)), eta)

    def moments(self, eta: Floats, columns: Columns) -> tuple[Floats, Floats]:
        """Sums over all counts of each table."""
        tables, each, shape = self._broadcast(eta, columns)
        mean, variance = tables.mean_and_variance(each)
        return (tables.anchor + mean[:, 0]).reshape(shape), variance[:, 0].reshape(shape)

    def cdf(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """A sum over the counts of each table up to y."""
        eta = np.asarray(eta + 0.0 * y)
        tables, each, shape = self._broadcast(eta, columns)
        return tables.cdf(np.broadcast_to(y, shape).ravel(), each)[:, 0].reshape(shape)

    def _broadcast(self, eta: Floats, columns: Columns) -> tuple[Tables, Floats, tuple[int, ...]]:
        """A table for each η, the log odds ratios (n, 1), and the shape of all."""
        eta, *margins = np.broadcast_arrays(eta, *self._table(columns))
        trials, control, events = (margin.ravel().astype(float) for margin in margins)
        tables = Tables(trials, control, events, np.maximum(0.0, events - control))
        return tables, eta.reshape(-1, 1), eta.shape

    def draw(self, eta: Floats, columns: Columns, rng: np.random.Generator) -> Floats:
        """Draw events in the treated arm, of the shape of η."""
        rows = eta.shape[-1]
        trials, control, events = (
            np.broadcast_to(column, rows).astype(float) for column in self._table(columns)
        )
        tables = Tables(trials, control, events, np.maximum(0.0, events - control))
        return tables.draw(eta.reshape(-1, rows).T, rng).T.reshape(eta.shape)

    def raw(self, y: Floats, columns: Columns, offset: Floats) -> tuple[Floats, Floats]:
        """Log odds ratios, ½ added to each count, weighted by the inverse of their variances.

        References
        ----------
        Gart and Zweifel (1967), Biometrika 54:181.
        """
        trials, control, events = self._table(columns)
        others = events - y
        cells = (y, trials - y, others, control - others)
        a, b, c, d = (np.asarray(cell + 0.5, dtype=float) for cell in cells)
        low, high = self.support(columns)
        weight = np.where(low < high, 1 / (1 / a + 1 / b + 1 / c + 1 / d), 0.0)
        return (np.log(a * d / (b * c)) - offset) * weight, weight

    def support(self, columns: Columns) -> tuple[Floats, Floats]:
        """The counts that the margins allow."""
        trials, control, events = self._table(columns)
        return np.maximum(0.0, events - control), np.minimum(trials, events)

    def leaves(
        self, y: Floats, columns: Columns, offset: Floats, group: Indices, size: int
    ) -> Leaves:
        """Likelihoods of groups: products over their tables."""
        return by_group(OddsRatioLeaves.of(y, *self._table(columns), offset), group, size)

    def to_pymc(
        self, pm: Any, name: str, eta: Any, columns: Mapping[str, Any], observed: Any, dims: str
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
            observed=observed.astype("int64"),
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
