"""Prediction: of what has not been observed, at every level.

A row to predict belongs to a group that is known from the data, or to a new one::

    known classroom                  theta_c
    new classroom, known school      theta ~ Normal(mu_s, tau)
    new school                       mu ~ Normal(lam, kappa)   theta ~ Normal(mu, tau)
    the row's mean, its outcome      theta + x'beta            y ~ Normal(theta + x'beta, sigma)

Of crossed groups each column's group is known or new, and adds its own deviation.  Given the
variances all of these are normal, so that means, sds, quantiles and distribution functions are
mixtures over the lattice of the variances, without Monte Carlo error.  Draws are joint: rows that
share a new group share its effect.

References
----------
Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., sections 5.4 and 15.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from hiermodels.core.arguments import checked_methods
from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.options import probabilities, real_numbers, variables_among
from hiermodels.data.new_rows import OFFSET, NewRows
from hiermodels.errors import SpecError
from hiermodels.posterior import memory
from hiermodels.posterior.moments import KINDS, MEAN, SD, Moment, counted, no_moment
from hiermodels.posterior.record import Posterior
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.posterior.tables import CI_PROB, interval_label, tails
from hiermodels.posterior.target import Target
from hiermodels.results.predictive_draws import draw_values, predictive_tree

type OfTarget = Callable[[Target, Floats], Floats]

SHOWN = 10  # rows of a prediction that is printed
DIGITS = 4  # of its numbers


@checked_methods
@dataclass(frozen=True, repr=False)
class Prediction:
    """Predictions of rows: of their means ``theta + x'beta``, and of their outcomes.

    In the variables' names ``y`` stands for the outcome's: ``y_mean`` is a row's mean, ``y`` its
    outcome.  Of counts the first is the probability ``p`` or the ``rate``, at the row's covariates
    and offset; of odds ratios it is ``y_eta``, the linear predictor.  What is computed has no
    Monte Carlo error, whatever engine drew the posterior; the draws, which are joint for all rows,
    are in ``datatree``.

    Attributes
    ----------
    posterior : Posterior
    rows : NewRows
        The rows, and which of their groups are new.
    outcomes : bool
        Whether outcomes are predicted beside their means.
    notes : tuple of str
        What was assumed of the rows.
    """

    posterior: Posterior
    rows: NewRows
    outcomes: bool
    notes: tuple[str, ...]
    _reference: Callable[[], ReferencePosterior]
    _seed: np.random.SeedSequence
    _memory_budget: float

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def kind(self) -> np.ndarray:
        """What is known of each row's groups, such as "new school"; shape (rows,)."""
        return self.rows.kinds(self.posterior.spec.groups)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what is predicted: the rows' means, then their outcomes."""
        family, outcome = self.posterior.spec.family, self.posterior.spec.outcome
        scale = f"{outcome}_{'mean' if family.link == 'identity' else 'eta'}"
        first = family.effect or scale
        return (first, outcome) if self.outcomes else (first,)

    @property
    def mean(self) -> xr.Dataset:
        """Predictive means; one that does not exist is nan, and its ``attrs`` say so."""
        return self._moments[0]

    @property
    def sd(self) -> xr.Dataset:
        """Predictive sds; one that does not exist is nan, and its ``attrs`` say so."""
        return self._moments[1]

    def quantile(self, q: ArrayLike, var_names: Sequence[str] | str | None = None) -> xr.Dataset:
        """Predictive quantiles, along a dimension ``quantile``.

        Parameters
        ----------
        q, var_names
            As in :meth:`ReferencePosterior.quantile`, of these ``names``.
        """
        p = probabilities("q", q)
        exact = self._reference()
        variables = {}
        for name in self._known(var_names):
            quantiles = np.empty((len(p), len(self)))
            for rows, target, place in self._targets(name):
                quantiles[:, rows] = exact.predictive_quantiles(target, p)[:, place]
            variables[name] = (("quantile", "row"), quantiles)
        return xr.Dataset(variables, {"quantile": p, "row": self._row_labels})

    def cdf(self, var_name: str, values: ArrayLike) -> Floats:
        """Predictive distribution function.

        Parameters
        ----------
        var_name : str
            One of ``names``.
        values : array_like
            Where; the last axis runs over the rows, or has length 1.

        Returns
        -------
        array
            Of the shape of ``values``, its last axis as long as there are rows.
        """
        (name,) = self._known([var_name])
        return self._by_row(name, values, self._reference().predictive_cdf)

    def pmf(self, values: ArrayLike) -> Floats:
        """Probabilities of counts: that of each row's outcome.

        Parameters
        ----------
        values : array_like
            Counts; the last axis runs over the rows, or has length 1, as that of
            ``np.arange(n + 1)[:, None]``.

        Returns
        -------
        array
            Of the shape of ``values``, its last axis as long as there are rows.  It is 0 of what is
            no possible count.

        Raises
        ------
        SpecError
            If outcomes are no counts, or are not predicted.

        Examples
        --------
        >>> import hiermodels as hm
        >>> said = {"outcome": "deaths", "trials": "cases", "groups": "hospital"}
        >>> fit = hm.fit(hm.datasets.load_surgical(), **said, priors={"tau": hm.HalfNormal(1)})
        >>> new = pd.DataFrame({"hospital": ["A", "new"], "cases": [10, 10]})
        >>> fit.predict(new).pmf([0]).round(3)
        array([0.608, 0.469])
        """
        name = self.posterior.spec.outcome
        self._known([name])
        return self._by_row(name, values, self._reference().predictive_probability)

    def _by_row(self, name: str, values: ArrayLike, function: OfTarget) -> Floats:
        """A function of targets and values (..., r), at values whose last axis may be of one."""
        values = real_numbers("values", values)
        if values.ndim and values.shape[-1] not in (1, len(self)):
            raise SpecError(
                f"values: expected 1 or {len(self)} along the last axis, which runs over the rows; "
                f"found {values.shape[-1]}. For several values of each row, add an axis: "
                f"np.array(values)[:, None]"
            )
        shape = (*values.shape[:-1], len(self))
        values, result = np.broadcast_to(values, shape), np.empty(shape)
        for rows, target, _ in self._targets(name, distinct=False):
            result[..., rows] = function(target, values[..., rows])
        return result

    def to_frame(self, ci_prob: float = CI_PROB) -> pd.DataFrame:
        """A row for each predicted one: labels, kind, mean, sds and equal-tailed intervals.

        ``mean``, ``sd`` and ``eti89_lb``, ``eti89_ub`` are those of the row's mean, or of its
        probability or rate; ``y_sd`` and ``y_eti89_lb``, ``y_eti89_ub`` those of its outcome, whose
        mean is the same, or stands in ``y_mean``.  The index is that of the frame that was given.

        With few groups a new group's mean or sd may not exist: then it is nan, there are columns
        ``median`` and ``y_median`` besides, and ``attrs["notes"]`` says why.

        Parameters
        ----------
        ci_prob : float
            Probability of the equal-tailed intervals.
        """
        low, high = tails(ci_prob)
        ends, notes = self.quantile([low, 0.5, high]), self._lacking(self.names)
        interval = interval_label(ci_prob)
        columns: dict[str, Any] = dict(self.rows.labels)
        computed = {"kind": self.kind, "mean": self.mean[self.names[0]].to_numpy()}
        for name, prefix in zip(self.names, ("", f"{self.names[-1]}_"), strict=False):
            lower, median, upper = ends[name].to_numpy()
            if prefix and self.posterior.spec.family.link != "identity":
                computed[f"{prefix}mean"] = self.mean[name].to_numpy()
            computed |= {
                f"{prefix}sd": self.sd[name].to_numpy(),
                **({f"{prefix}median": median} if notes else {}),
                f"{prefix}{interval}_lb": lower,
                f"{prefix}{interval}_ub": upper,
            }
        for name, values in computed.items():
            columns[name if name not in columns else f"{name}_"] = values
        table = pd.DataFrame(columns, index=self.rows.index)
        table.attrs["notes"] = list(notes)
        return table

    @cached_property
    def datatree(self) -> xr.DataTree:
        """Joint draws, for ArviZ: groups ``predictions`` and ``predictions_constant_data``.

        They are made when they are first asked for.  Beside them are ``observed_data`` and
        ``constant_data`` of the fit, which pictures show with them.

        Raises
        ------
        SpecError
            If they would take more memory than ``memory_budget``.
        """
        draws = self.posterior.datatree["posterior"].to_dataset()
        size = draws.sizes["chain"] * draws.sizes["draw"]
        memory.require(
            memory.of_numbers(self.names, len(self), size),
            size,
            self._memory_budget,
            "Raise it, or predict fewer rows at a time; .mean, .sd, .quantile and .to_frame need "
            "no draws",
            always=0,
        )
        known: dict[str, Any] = dict(self.rows.labels)
        known["kind" if "kind" not in known else "kind_"] = self.kind
        rng = np.random.default_rng(self._seed)
        values = draw_values(self.posterior, self.rows, draws, rng)
        named = dict(zip(self.names, values, strict=False))  # outcomes only if these are predicted
        return predictive_tree(self.posterior, self.rows, known, named, self._row_labels)

    @property
    def _row_labels(self) -> np.ndarray:
        """Labels of the rows, where xarray can save them; else their numbers."""
        labels = self.rows.index.to_numpy()
        if labels.dtype == object and all(isinstance(label, str) for label in labels):
            return labels.astype(str)
        return np.arange(len(labels)) if labels.dtype == object else labels

    def _known(self, var_names: Sequence[str] | str | None) -> list[str]:
        return variables_among(self.names, var_names, "predicted are")

    @cached_property
    def _moments(self) -> tuple[xr.Dataset, xr.Dataset]:
        """Means and sds; those that do not exist as nan."""
        exact, coords = self._reference(), {"row": self._row_labels}
        variables: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        for name in self.names:
            columns = np.full((2, len(self)), np.nan)
            for rows, target, place in self._targets(name):
                moments = np.array(exact.predictive_moments(target))
                for order in (MEAN, SD):
                    lacks = exact.predictive_lacks(target, order)
                    moments[order - 1, [lack is not None for lack in lacks]] = np.nan
                columns[:, rows] = moments[:, place]
            for i in (0, 1):
                lacking = self._lacking([name], [i + 1])
                variables[i][name] = ("row", columns[i], {"note": lacking[0]} if lacking else {})
        return xr.Dataset(variables[0], coords), xr.Dataset(variables[1], coords)

    def _lacking(self, names: Iterable[str], orders: Sequence[int] = (MEAN, SD)) -> tuple[str, ...]:
        """Why some means or sds are nan: a line, or none."""
        exact, kind = self._reference(), self.kind
        lacking = [
            (Moment(KINDS[order], called, order, ()), lack)
            for name in names
            for rows, target, place in list(self._targets(name))[::-1]
            for order in orders
            for called, lack in zip(
                kind[rows[np.unique(place, return_index=True)[1]]],
                exact.predictive_lacks(target, order),
                strict=True,
            )
            if lack is not None
        ]
        why = no_moment(counted(lacking))
        return (why,) if why else ()

    def _targets(
        self, name: str, distinct: bool = True
    ) -> Iterator[tuple[Indices, Target, Indices]]:
        """Yield rows, the different values among them, and which of these each row has."""
        rows = self.rows
        is_outcome = name == self.posterior.spec.outcome
        for level in np.unique(rows.level):
            here = np.flatnonzero(rows.level == level)
            columns = {n: v for n, v in rows.columns.items() if is_outcome or n == OFFSET}
            first, place = np.arange(len(here)), np.arange(len(here))
            if distinct:
                errors = [rows.se] if is_outcome and rows.se is not None else []
                every = [rows.unit, *rows.units, rows.x, *columns.values(), *errors]
                key = np.column_stack([column[here] for column in every])
                _, first, place = np.unique(key, axis=0, return_index=True, return_inverse=True)
            some = here[first]
            se = rows.se[some] if is_outcome and rows.se is not None else None
            own = {n: column[some] for n, column in columns.items()}
            units = tuple(unit[some] for unit in rows.units)
            target = Target(int(level), rows.unit[some], rows.x[some], is_outcome, se, own, units)
            yield here, target, place

    def _header(self) -> list[str]:
        counts = pd.Series(self.kind).value_counts(sort=False)
        return [
            *self.posterior.spec.describe(),
            ", ".join(f"{count:,} × {kind}" for kind, count in counts.items()),
            *self.notes,
            *self._lacking(self.names),
            *self._reference().precision,
        ]

    def _shown(self) -> tuple[pd.DataFrame, list[str]]:
        table = replace(self, rows=self.rows[:SHOWN]).to_frame()
        more = len(self) - len(table)
        return table, [f"… {more:,} more rows; all with .to_frame()"] if more > 0 else []

    @property
    def _title(self) -> str:
        return f"hiermodels.Prediction ({self._reference().error_in_words})"

    def __repr__(self) -> str:
        table, more = self._shown()
        rows = table.to_string(float_format=self._digits).split("\n")
        lines = [*self._header(), *rows, *more]
        return "\n  ".join([self._title, *lines])

    def _repr_html_(self) -> str:
        table, more = self._shown()
        header = "\n".join([self._title, *self._header()])
        foot = escape("".join(more))
        return f"<pre>{escape(header)}</pre>{table.to_html(float_format=self._digits)}{foot}"

    def _digits(self, value: float) -> str:
        """Four digits of a number, or as many as the reference reached."""
        return f"{value:.{min(DIGITS, self._reference().digits or DIGITS)}g}"
