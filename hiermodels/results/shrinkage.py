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

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.messages import listed
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import At, Place, locate
from hiermodels.data.grouped import GroupedData
from hiermodels.data.labels import nearly, spelled
from hiermodels.errors import DataError, SpecError
from hiermodels.exact.estimation import METHODS, PointEstimate
from hiermodels.exact.kernels.tree.conditional import BLOCK, shrinkage
from hiermodels.exact.kernels.tree.marginal import beta_moments, upward
from hiermodels.exact.kernels.tree.moments import level_moments
from hiermodels.exact.kernels.tree.tree import Coefficients, Variances
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.point_estimates import estimate_sds
from hiermodels.exact.quadrature import IntegratedPosterior
from hiermodels.posterior.moments import SD, of_variables
from hiermodels.posterior.reference_posterior import NO_ERROR, ReferencePosterior
from hiermodels.posterior.tables import Summary, interval_note, shown, tails, with_header

ESTIMATORS = {"raw": "raw", "pooled": "pooled", "eb": "eb"}
EVERY = "all but shrinkage"  # columns that depend on where they are shown
SAME = 1e-8  # of values where the data do not determine the sds: those that agree are determined


@dataclass(frozen=True, repr=False)
class Estimates:
    """Estimates of the groups' effects, and how far they are from the truth.

    Attributes
    ----------
    table : DataFrame
        A row for each group of the innermost level:

        - ``raw``, its own mean, and ``raw_se``: no pooling;
        - ``pooled``: one value for all groups, complete pooling;
        - ``eb`` and ``eb_sd``: mean and sd given the estimated sds, empirical Bayes;
        - ``mean`` and ``sd``: of the posterior; where they do not exist nan, and the ``median``
          besides;
        - ``shrinkage_eb`` and ``shrinkage``: the weight ``B = e/(e + tau²)`` of the group's
          parent, with ``e = raw_se²``, at the estimated variances and its posterior mean;
        - ``truth``, if it was given.

        With covariates all are effects at the x that the header names, and ``raw`` is corrected
        for the group's mean x.  All but ``mean``, ``sd`` and ``shrinkage`` take the coefficients'
        priors for flat, whatever they are: they are estimates from the data alone.
    outer : DataFrame or None
        The same for the groups of the outer level of two; ``raw`` is the mean of what lies below,
        weighted by precision, and ``kappa²`` takes the place of ``tau²``.
    coefficients : DataFrame
        The intercept (``mu`` or ``lam``, at the x that the header names) and each ``beta``:
        ``estimate``, its standard error ``se``, ``z = estimate/se`` and a normal interval, by
        generalised least squares given the estimated sds.
    errors : DataFrame or None
        For each estimator its sum of squared errors ``sse``, ``rmse``, and the number of groups
        for which it is ``closer`` to the truth than the raw mean.
    sds : mapping of str to float
        The estimated sds that empirical Bayes takes for known; NaN for those that the data do not
        determine, and then NaN stands wherever they are needed.
    sums : mapping of str to float
        Where they determine only a sum of variances, its estimate, such as ``tau² + sigma²``.
    method : str
        How the sds were estimated.
    """

    table: Summary
    outer: Summary | None
    coefficients: Summary
    errors: pd.DataFrame | None
    sds: Mapping[str, float]
    sums: Mapping[str, float]
    method: str

    def __repr__(self) -> str:
        return "\n".join([repr(self.table), *self._others_as(pd.DataFrame.to_string, "{}")])

    def _repr_html_(self) -> str:
        return "".join(
            [self.table._repr_html_(), *self._others_as(pd.DataFrame.to_html, "<p>{}</p>")]
        )

    def _others_as(self, write: Any, heading: str) -> list[str]:
        tables = {
            "outer level": self.outer,
            "coefficients, given the estimated sds": self.coefficients,
            "errors": self.errors,
        }
        return [
            text
            for title, table in tables.items()
            if table is not None
            for text in (heading.format(title), write(pd.DataFrame(table), float_format=shown))
        ]


def estimate(
    reference: ReferencePosterior,
    truth: Any,
    method: str,
    ci_prob: float,
    at: At,
) -> Estimates:
    """Put the estimates of the groups side by side.

    Arguments and errors are those of :meth:`hiermodels.Fit.estimates`; it is an error too if the
    model has no groups.
    """
    reference = _of_normal_groups(reference)
    spec, data = reference.spec, reference.data
    if (reference.marginal.data.level < ROOT + spec.has_intercept).any():
        raise SpecError(
            "estimates take the coefficients without their priors, and without these the data "
            "cannot tell them apart: there are linear combinations among the covariates, or more "
            "coefficients than rows. See .summary() for the posterior"
        )
    probabilities = tails(ci_prob)
    known = None if truth is None else _truth(truth, data)
    point_estimate = estimate_sds(reference.marginal, method)
    place, shown_at = locate(data, at), reference.at(at)
    assert isinstance(shown_at, IntegratedPosterior)
    notes = _notes(reference, point_estimate, method, place)
    tables = []
    for level in spec.levels:
        columns = _columns(shown_at, point_estimate, level.effect, place)
        if level is spec.levels[-1] and known is not None:
            columns["truth"] = known
        table = pd.DataFrame(columns, pd.Index(data.coords[level.column], name=level.column))
        lacking = reference.moments.why(of_variables([level.effect]))
        more = [*shown_at.precision, *([lacking] if lacking else [])]
        tables.append(with_header(table, spec, *notes, *more, digits=shown_at.digits))
    coefficients = with_header(
        _coefficient_table(reference.marginal, point_estimate, probabilities, place),
        spec,
        *(note for note in notes if not note.startswith(("mean", "raw", EVERY))),
        *place.note(spec.top),
        interval_note(ci_prob),
    )
    return Estimates(
        table=tables[-1],
        outer=tables[-2] if len(tables) > 1 else None,
        coefficients=coefficients,
        errors=None if known is None else _errors(tables[-1]),
        sds=point_estimate.sds,
        sums=point_estimate.sums,
        method=method,
    )


def _of_normal_groups(reference: ReferencePosterior) -> IntegratedPosterior:
    """Return the posterior, or raise SpecError where it has no estimates of this kind."""
    if not reference.spec.is_normal:
        raise SpecError(
            "estimates: these are of normal rows; of counts there are none so far. See "
            ".reference().summary() for the posterior, and plot_shrinkage() for raw proportions or "
            "rates beside it"
        )
    if not isinstance(reference, IntegratedPosterior):
        raise SpecError("a model without groups has no estimates to compare; see .summary()")
    return reference


def _notes(
    reference: IntegratedPosterior, point_estimate: PointEstimate, method: str, place: Place
) -> list[str]:
    """What a table says of its columns."""
    given = ", ".join(
        f"{name} = {shown(sd)}" for name, sd in point_estimate.sds.items() if sd == sd
    )
    notes = list(point_estimate.notes)
    if given:
        notes = [f"eb: given {given} ({METHODS[method]}) as if known", *notes]
    notes.append(f"mean, sd, shrinkage: of the posterior, {NO_ERROR}")
    if reference.spec.covariates:
        notes += [*place.note([EVERY]), "raw: corrected for the group's mean covariates, as in eb"]
    return notes


def _columns(
    reference: IntegratedPosterior, point_estimate: PointEstimate, name: str, place: Place
) -> dict[str, Floats]:
    """Columns of the table of the level with the effects of this name."""
    level = reference.spec.level_of(name)
    columns = _plug_in(reference.marginal, point_estimate.points, level, place.of(level))
    at_estimate = columns.pop("shrinkage_eb")
    median = {}
    if not reference.moment_exists(name, SD):
        median["median"] = reference.quantile(0.5, [name])[name].to_numpy()[0]
    return columns | {
        "mean": reference.mean[name].to_numpy(),
        "sd": reference.sd[name].to_numpy(),
        **median,
        "shrinkage_eb": at_estimate,
        "shrinkage": _mean_shrinkage(reference, level),
    }


def _determined(values: Floats) -> Floats:
    """What is the same at all of the points (m, …), and NaN elsewhere."""
    first = values[0]
    same = np.isclose(values, first, rtol=SAME, atol=SAME * np.abs(first).max(initial=0.0))
    return np.where(same.all(axis=0), first, np.nan)


@one_blas_thread()
def _coefficient_table(
    marginal: Marginal,
    point_estimate: PointEstimate,
    probabilities: tuple[float, float],
    place: Place,
) -> pd.DataFrame:
    """Coefficients by generalised least squares, ``(X'V⁻¹X)⁻¹ X'V⁻¹y``, given the sds."""
    from scipy.special import ndtri

    standard, spec = marginal.data, marginal.spec
    tree = standard.tree
    prior = Coefficients.flat(tree.n_covariates, spec.has_intercept)
    variances = marginal.variances_of(point_estimate.points)
    origin = standard.origin_at(place.of(ROOT))
    mean, variance = level_moments(tree, variances, prior, origin, ROOT)
    own = slice(int(not spec.has_intercept), None)
    beta, covariance = beta_moments(tree, variances, prior)
    covariance = standard.basis @ covariance @ standard.basis.T
    center = np.append(standard.location, np.zeros(tree.n_covariates))
    value = center + standard.scale * np.hstack([mean, beta @ standard.basis.T])
    spread = np.hstack([variance, np.diagonal(covariance, axis1=1, axis2=2)])
    estimates = _determined(value[:, own])
    se = standard.scale * np.sqrt(_determined(spread[:, own]))
    low, high = (estimates + se * ndtri(p) for p in probabilities)
    label = f"ci{100 * (probabilities[1] - probabilities[0]):g}"
    columns = {"estimate": estimates, "se": se, "z": estimates / se}
    return pd.DataFrame(
        columns | {f"{label}_lb": low, f"{label}_ub": high},
        pd.Index(spec.means, name="parameter"),
    )


@one_blas_thread()
def _plug_in(marginal: Marginal, points: Floats, level: int, at: Floats) -> dict[str, Floats]:
    """Estimates of a level given the sds (m, d): no pooling, complete pooling, and in between.

    They are effects at covariates (q,) or (u, q), and NaN where the points differ.
    """
    standard = marginal.data
    tree = standard.tree
    prior = Coefficients.flat(tree.n_covariates, marginal.spec.has_intercept)
    variances = marginal.variances_of(points)
    none = Variances(tuple(np.zeros_like(v) for v in variances.between), variances.sigma2)
    up = upward(tree, variances, prior)
    if level < tree.innermost:
        own, error = up.below(level).mean, up.below(level).error
    else:
        own, error = tree.mean[None], variances.sigma2[:, None] / tree.weight
    origin = standard.origin_at(at)
    x = own[:, :, :-1] + origin
    raw = own[:, :, -1] - np.einsum("nuq,nq->nu", x, up.beta)
    pooled = level_moments(tree, none, prior, origin, level)[0]
    mean, variance = level_moments(tree, variances, prior, origin, level)
    columns = {
        "raw": raw,
        "raw_se": error,
        "pooled": pooled,
        "eb": mean,
        "eb_sd": variance,
        "shrinkage_eb": shrinkage(error, variances.between[level][:, None]),
    }
    determined = {name: _determined(values) for name, values in columns.items()}
    for name in ("raw", "pooled", "eb"):
        determined[name] = standard.location + standard.scale * determined[name]
    for name in ("raw_se", "eb_sd"):
        determined[name] = standard.scale * np.sqrt(determined[name])
    return determined


def _mean_shrinkage(exact: IntegratedPosterior, level: int) -> Floats:
    """Posterior mean of the weight B of each group's parent; shape (u,)."""
    if level < exact.marginal.data.tree.innermost:
        return _mean_shrinkage_above(exact, level)
    weight, place = np.unique(exact.marginal.data.tree.weight, return_inverse=True)
    variances = exact.marginal.variances(exact.lattice.points)
    step = max(1, BLOCK // len(exact.lattice))
    parts = [
        shrinkage(variances.sigma2 / weight[i : i + step, None], variances.between[-1])
        @ exact.lattice.weights
        for i in range(0, len(weight), step)
    ]
    return np.concatenate(parts)[place]


@one_blas_thread()
def _mean_shrinkage_above(exact: IntegratedPosterior, level: int) -> Floats:
    """The same above the groups, where a member's error depends on all variances below."""
    marginal, lattice = exact.marginal, exact.lattice
    tree, prior = marginal.data.tree, marginal.coefficients
    variances = marginal.variances(lattice.points)
    total = np.zeros(tree.sizes[level])
    step = max(1, BLOCK // max(tree.sizes[: level + 1]))
    for i in range(0, len(lattice), step):
        part = variances[slice(i, i + step)]
        error = upward(tree, part, prior).below(level).error
        shares = shrinkage(error, part.between[level][:, None])
        total += lattice.weights[i : i + step] @ shares
    return total


def _truth(truth: Any, data: GroupedData) -> Floats:
    """Line up true effects with the groups: by label, or in the groups' order."""
    (labels, name) = data.labels[-1], data.roles.groups[-1]
    if isinstance(truth, Mapping):
        truth = pd.Series(dict(truth))
    if isinstance(truth, pd.Series) and not isinstance(truth.index, pd.RangeIndex):
        return _by_label(truth, labels, name)
    return _in_order(truth, data)


def _by_label(truth: pd.Series[Any], labels: Any, name: str) -> Floats:
    texts = pd.Index(spelled(labels, truth.index.tolist()), dtype=object)
    twice = truth.index[texts.duplicated() & texts.notna()].tolist()
    if twice:
        raise DataError(f"truth: expected one value for each {name}; several have {listed(twice)}")
    index = {text: place for place, text in enumerate(texts)}
    missing = [label for label in labels.tolist() if str(label) not in index]
    if missing:
        like = nearly(truth.index, missing[0])
        raise DataError(f"truth: there is no value for {name} {listed(missing)}{like}")
    return _finite(truth.to_numpy()[[index[str(label)] for label in labels]], name)


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
    """Squared errors of each estimator, and for how many groups it beats the raw mean.

    The posterior's is its mean, or its median where there is no mean.
    """
    centre = "median" if table["mean"].isna().any() else "mean"
    estimators = {**ESTIMATORS, centre: f"posterior {centre}"}
    size = {name: (table[name] - table["truth"]).abs() for name in estimators}
    rows = {
        label: {
            "sse": float((size[name] ** 2).sum()),
            "rmse": float(np.sqrt((size[name] ** 2).mean())),
            "closer": int((size[name] < size["raw"]).sum()),
            "groups": len(table),
        }
        for name, label in estimators.items()
    }
    errors = pd.DataFrame.from_dict(rows, orient="index")
    return errors.astype({"closer": int, "groups": int}).rename_axis("estimate")
