"""Estimates of each group side by side: unpooled, pooled, empirical Bayes, fully Bayesian.

The lecture's question is which of them is closer to the truth; where the truth is known, a
table of their errors answers it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from hiermodels import gaussian
from hiermodels.blas import one_blas_thread
from hiermodels.data import GroupedData
from hiermodels.errors import DataError, SpecError
from hiermodels.gaussian import BLOCK, Floats, Variances
from hiermodels.integrated import IntegratedPosterior
from hiermodels.marginal import Marginal
from hiermodels.noise_free import NO_ERROR, ReferencePosterior
from hiermodels.tables import Summary, shown, with_header
from hiermodels.wording import listed

ESTIMATORS = {"raw": "raw", "pooled": "pooled", "eb": "eb", "mean": "posterior mean"}
SCAN_STEP = 1.0  # of the first look at the likelihood, in log variances
STENCIL = 1e-3  # of the difference quotient, as a part of each sd
AT_ZERO = 1e-10  # of the log likelihood: what a variance must gain to be larger than 0


@dataclass(frozen=True, repr=False)
class Estimates:
    """Estimates of the groups' values, and how far they are from the truth.

    Attributes
    ----------
    table : DataFrame
        A row for each group:

        - ``raw``, its own mean, and ``raw_se``: no pooling;
        - ``pooled``: one value for all groups, complete pooling;
        - ``eb`` and ``eb_sd``: mean and sd given the estimated variances, empirical Bayes;
        - ``mean`` and ``sd``: of the posterior;
        - ``shrinkage_eb`` and ``shrinkage``: the weight ``B = e/(e + tau²)`` of the group's
          parent, with ``e = raw_se²``, at the estimated variances and its posterior mean;
        - ``truth``, if it was given.

        With covariates all are values at x = 0, and ``raw`` is corrected for the group's mean x.
    errors : DataFrame or None
        For each estimator its sum of squared errors ``sse``, ``rmse``, and the number of groups
        for which it is ``closer`` to the truth than the raw mean.
    sds : mapping of str to float
        The estimated sds that empirical Bayes takes for known.
    """

    table: Summary
    errors: pd.DataFrame | None
    sds: Mapping[str, float]

    def __repr__(self) -> str:
        return "\n".join([repr(self.table), *self._errors_as(pd.DataFrame.to_string)])

    def _repr_html_(self) -> str:
        return "".join([self.table._repr_html_(), *self._errors_as(pd.DataFrame.to_html)])

    def _errors_as(self, write: Any) -> list[str]:
        return [] if self.errors is None else [write(self.errors, float_format=shown)]


def estimate(reference: ReferencePosterior, truth: Any = None) -> Estimates:
    """Put the estimates of the innermost groups side by side.

    Parameters
    ----------
    reference : ReferencePosterior
    truth : Series, mapping or sequence, optional
        As in :meth:`hiermodels.Fit.estimates`.

    Raises
    ------
    SpecError
        If the model has no groups.
    DataError
        If the truth is not that of the groups.
    """
    if not isinstance(reference, IntegratedPosterior):
        raise SpecError("a model without groups has no estimates to compare; see .summary()")
    spec, marginal = reference.spec, reference.marginal
    known = None if truth is None else _truth(truth, reference.data)
    sds = restricted_maximum(marginal)
    columns = _plug_in(marginal, np.array([list(sds.values())]))
    at_estimate = columns.pop("shrinkage_eb")
    columns["mean"] = reference.mean["theta"].to_numpy()
    columns["sd"] = reference.sd["theta"].to_numpy()
    columns["shrinkage_eb"] = at_estimate
    columns["shrinkage"] = _mean_shrinkage(reference)
    if known is not None:
        columns["truth"] = known
    (dim,) = spec.dims("theta")
    table = pd.DataFrame(columns, pd.Index(reference.data.coords[dim], name=dim))
    given = ", ".join(f"{name} = {shown(value)}" for name, value in sds.items())
    notes = [
        f"eb: given {given} (restricted maximum likelihood) as if known",
        f"mean, sd, shrinkage: of the posterior, {NO_ERROR}",
    ]
    if spec.covariates:
        notes.append("raw: corrected for the group's mean covariates, as in eb; all at x = 0")
    errors = None if known is None else _errors(table)
    return Estimates(with_header(table, spec, *notes), errors, sds)


@one_blas_thread()
def restricted_maximum(marginal: Marginal) -> dict[str, float]:
    """Sds at which the likelihood is highest, with all values and coefficients integrated out.

    Under flat priors of the intercept and of β this is restricted maximum likelihood (REML); the
    priors of the sds play no part.  With equal known standard errors σ and one level of k groups
    it is ``τ̂² = max(s² − σ², 0)``, where s² is the variance of the group means.

    The likelihood is a smooth, even function of each τ, so that an estimate of 0 is a
    stationary point like any other.

    References
    ----------
    Patterson & Thompson (1971), Biometrika 58:545.
    """
    from scipy.optimize import minimize

    tree, prior = marginal.data.tree, marginal.coefficients
    spreads = len(marginal.spec.spreads)

    def loss(sds: Floats) -> Floats:
        columns = sds**2
        sigma2 = np.ones(len(sds)) if marginal.spec.se else columns[:, -1]
        variances = Variances(tuple(columns[:, :spreads].T), sigma2)
        return -gaussian.log_likelihood(tree, variances, prior)

    axes = [np.exp(np.arange(low, high, SCAN_STEP) / 2) for low, high in marginal.ranges]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    start = grid[np.argmin(loss(grid))]

    def at(part: Floats) -> float:
        return float(loss((start * part)[None])[0])

    def gradient(part: Floats) -> Floats:
        away = STENCIL * np.array([-2, -1, 1, 2])[:, None, None] * np.eye(len(part))
        values = loss((start * (part + away)).reshape(-1, len(part))).reshape(4, len(part))
        return np.array([1, -8, 8, -1]) @ values / (12 * STENCIL)

    found = np.abs(minimize(at, np.ones(len(start)), jac=gradient, tol=1e-10).x)
    for j in range(spreads):
        without = np.where(np.arange(len(found)) == j, 0.0, found)
        found = without if at(without) <= at(found) + AT_ZERO else found
    sds = marginal.data.scale * start * found
    return dict(zip(marginal.names, sds.tolist(), strict=True))


def _plug_in(marginal: Marginal, sds: Floats) -> dict[str, Floats]:
    """Estimates given the sds (1, d): no pooling, complete pooling, and in between."""
    standard, prior = marginal.data, marginal.coefficients
    tree = standard.tree
    variances = marginal.variances_of(sds)
    none = Variances(tuple(np.zeros_like(s) for s in variances.spreads), variances.sigma2)
    error = variances.sigma2 / tree.weight
    beta = gaussian.upward(tree, variances, prior).beta[0]
    raw = tree.mean[:, -1] - (tree.mean[:, :-1] + standard.origin) @ beta
    pooled = gaussian.level_moments(tree, none, prior, standard.origin, level=0)[0][0]
    mean, variance = gaussian.level_moments(tree, variances, prior, standard.origin, level=0)
    return {
        "raw": standard.location + standard.scale * raw,
        "raw_se": standard.scale * np.sqrt(error),
        "pooled": standard.location + standard.scale * pooled,
        "eb": standard.location + standard.scale * mean[0],
        "eb_sd": standard.scale * np.sqrt(variance[0]),
        "shrinkage_eb": gaussian.shrinkage(error, variances.spreads[0]),
    }


def _mean_shrinkage(exact: IntegratedPosterior) -> Floats:
    """Posterior mean of each group's B: it depends on the group's weight alone; shape (g,)."""
    weight, place = np.unique(exact.marginal.data.tree.weight, return_inverse=True)
    variances = exact.marginal.variances(exact.lattice.points)
    step = max(1, BLOCK // len(exact.lattice))
    parts = [
        gaussian.shrinkage(variances.sigma2 / weight[i : i + step, None], variances.spreads[0])
        @ exact.lattice.weights
        for i in range(0, len(weight), step)
    ]
    return np.concatenate(parts)[place]


def _truth(truth: Any, data: GroupedData) -> Floats:
    """Line up true values with the groups: by label, or in the groups' order."""
    (labels, name) = data.labels[-1], data.roles.groups[-1]
    if isinstance(truth, Mapping):
        truth = pd.Series(dict(truth))
    if isinstance(truth, pd.Series) and not isinstance(truth.index, pd.RangeIndex):
        return _by_label(truth, labels, name)
    return _in_order(truth, data)


def _by_label(truth: pd.Series[Any], labels: Any, name: str) -> Floats:
    if not truth.index.is_unique:
        twice = truth.index[truth.index.duplicated()].tolist()
        raise DataError(f"truth: expected one value for each {name}; several have {listed(twice)}")
    places = truth.index.get_indexer(pd.Index(labels))
    if (places < 0).any():
        missing = labels[places < 0].tolist()
        raise DataError(f"truth: there is no value for {name} {listed(missing)}")
    return _finite(truth.to_numpy()[places], name)


def _in_order(truth: ArrayLike | Sequence[float], data: GroupedData) -> Floats:
    labels, name = data.labels[-1], data.roles.groups[-1]
    values = _finite(truth, name)
    if values.shape != labels.shape:
        raise DataError(
            f"truth: expected a value for each of {len(labels)} {name}; found shape {values.shape}"
        )
    first = np.unique(data.group, return_index=True)[1]
    if (np.diff(first) < 0).any():
        raise DataError(
            f"truth: the order of {name} is not that of the data's rows; give a Series or a "
            f"mapping by label, such as {{{labels[0].item()!r}: …}}"
        )
    return values


def _finite(values: Any, name: str) -> Floats:
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"truth: expected a number for each {name}; {error}") from error
    if not np.isfinite(numbers).all():
        raise DataError(f"truth: expected finite numbers; {int((~np.isfinite(numbers)).sum())} not")
    return numbers


def _errors(table: pd.DataFrame) -> pd.DataFrame:
    """Squared errors of each estimator, and for how many groups it beats the raw mean."""
    size = {name: (table[name] - table["truth"]).abs() for name in ESTIMATORS}
    rows = {
        label: {
            "sse": float((size[name] ** 2).sum()),
            "rmse": float(np.sqrt((size[name] ** 2).mean())),
            "closer": int((size[name] < size["raw"]).sum()),
            "groups": len(table),
        }
        for name, label in ESTIMATORS.items()
    }
    errors = pd.DataFrame.from_dict(rows, orient="index")
    return errors.astype({"closer": int, "groups": int}).rename_axis("estimate")
