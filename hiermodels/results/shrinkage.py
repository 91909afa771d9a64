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
from hiermodels.core.messages import listed, short
from hiermodels.data.covariates import At, Place, locate
from hiermodels.data.grouped import GroupedData
from hiermodels.data.labels import nearly, spelled
from hiermodels.errors import DataError
from hiermodels.model.spec import Spec
from hiermodels.posterior.coordinates import coords_of
from hiermodels.posterior.estimation import PlugIn
from hiermodels.posterior.moments import SD, of_variables
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.posterior.tables import Summary, interval_note, shown, tails, with_header

ESTIMATORS = {"raw": "raw", "pooled": "pooled", "eb": "eb"}
OWN_COVARIATES = "all at each group's own covariates"
EVERY = "all but shrinkage"  # columns that depend on where they are shown


@dataclass(frozen=True, repr=False)
class Estimates:
    """Estimates of the groups' effects, and how far they are from the truth.

    Attributes
    ----------
    table : DataFrame
        A row for each group of the innermost level, of counts on the outcome's scale:

        - ``raw``, its own mean, and ``raw_se``: no pooling;
        - ``pooled``: one value for all groups, complete pooling;
        - ``eb`` and ``eb_sd``: mean and sd given the estimated sds, empirical Bayes;
        - ``mean`` and ``sd``: of the posterior; where they do not exist nan, and the ``median``
          besides;
        - ``shrinkage_eb`` and ``shrinkage``: the weight ``B = e/(e + tau²)`` of the group's
          parent, with ``e = raw_se²``, at the estimated variances and its posterior mean; not of
          counts, of which no estimate is a weighted mean of two others;
        - ``truth``, if it was given.

        Where slopes vary there is a row for each group and each of its effects, and no shrinkage
        weight, as they are pulled together: ``table["eb"].unstack()`` is lme4's ``coef``.  ``raw``
        is least squares by the group's own rows, nan where these do not determine an effect.

        With covariates all are effects at the x that the header names, and ``raw`` is corrected
        for the group's mean x.  All but ``mean``, ``sd`` and ``shrinkage`` take the coefficients'
        priors for flat, whatever they are: they are estimates from the data alone.

        Of counts ``raw`` is the group's own maximum likelihood, such as r/n, at its own covariates;
        ``raw_se`` is nan where all trials, or none, are successes, which bounds one side only.
    outer : DataFrame or None
        The same for the groups of the level above the innermost; ``raw`` is the mean of what lies
        below, weighted by precision, and that level's variance takes the place of ``tau²``.
    coefficients : DataFrame
        The intercept (``mu`` or ``lam``, at the x that the header names) and each ``beta``:
        ``estimate``, its standard error ``se``, ``z = estimate/se`` and a normal interval, by
        generalised least squares given the estimated sds.  Of counts by maximum likelihood together
        with ``tau``, whose uncertainty is in the standard errors, as in lme4's ``glmer``.
    errors : DataFrame or None
        For each estimator its sum of squared errors ``sse``, ``rmse``, and the number of groups
        for which it is ``closer`` to the truth than the raw mean.
    sds : mapping of str to float
        The estimated sds, and correlations where slopes vary, that empirical Bayes takes for known;
        NaN for those that the data do not determine, and then NaN stands wherever they are needed.
        The correlation of an sd of 0 is NaN.
    sums : mapping of str to float
        Where they determine only a sum of variances, its estimate, such as ``tau² + sigma²``.
    method : str
        How the sds were estimated.
    on_link : DataFrame or None
        Of counts, the same columns as in ``table`` for the effects on the scale of the link;
        ``raw`` and ``raw_se`` are nan where it is infinite.
    outermost : DataFrame or None
        Of three columns of groups, the table of the first one's.
    is_crossed : bool
        Whether columns of groups are crossed: then ``table`` is of the last one, and the others are
        of those before it.
    """

    table: Summary
    outer: Summary | None
    coefficients: Summary
    errors: pd.DataFrame | None
    sds: Mapping[str, float]
    sums: Mapping[str, float]
    method: str
    on_link: Summary | None = None
    outermost: Summary | None = None
    is_crossed: bool = False

    def __repr__(self) -> str:
        return "\n".join([repr(self.table), *self._others_as(pd.DataFrame.to_string, "{}")])

    def _repr_html_(self) -> str:
        return "".join(
            [self.table._repr_html_(), *self._others_as(pd.DataFrame.to_html, "<p>{}</p>")]
        )

    def _others_as(self, write: Any, heading: str) -> list[str]:
        above = {"outermost level": self.outermost, "outer level": self.outer}
        if self.is_crossed:
            above = {f"by {own.index.name}": own for own in above.values() if own is not None}
        tables = {
            "on the scale of the link": self.on_link,
            **above,
            "coefficients": self.coefficients,
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
    method: str | None,
    ci_prob: float,
    at: At,
) -> Estimates:
    """Put the estimates of the groups side by side.

    Arguments and errors are those of :meth:`hiermodels.Fit.estimates`; it is an error too if the
    model has no groups.
    """
    spec, data = reference.spec, reference.data
    place, probabilities = locate(data, at), tails(ci_prob)
    found = reference.plug_in(method, place)
    known = None if truth is None else _truth_of(truth, spec, data)
    shown_at = reference.at(at)
    *above, own = (_table(shown_at, found, name, place) for name in found.effects)
    if known is not None:
        own["truth"] = known
    on_link = above.pop() if spec.on_outcome_scale else None
    coefficients = with_header(
        _coefficient_table(spec.means, found, probabilities),
        spec,
        *found.of_coefficients,
        *found.sds.notes,
        *place.note(spec.top),
        interval_note(ci_prob),
    )
    return Estimates(
        table=own,
        outer=above[-1] if above else None,
        outermost=above[0] if len(above) > 1 else None,
        coefficients=coefficients,
        errors=None if known is None else _errors(own),
        sds=found.sds.sds,
        sums=found.sds.sums,
        method=found.method,
        on_link=on_link,
        is_crossed=spec.is_crossed,
    )


def _table(shown_at: ReferencePosterior, found: PlugIn, name: str, place: Place) -> Summary:
    """The table of the effects of this name."""
    spec, weights = shown_at.spec, found.weights.get(name, {})
    columns = dict(found.effects[name])
    mean, sd = (moment[name].to_numpy().ravel() for moment in (shown_at.mean, shown_at.sd))
    columns |= {"mean": mean, "sd": sd}
    if not shown_at.moment_exists(name, SD):
        columns["median"] = shown_at.quantile(0.5, [name])[name].to_numpy()[0].ravel()
    table = pd.DataFrame({**columns, **weights}, _index(shown_at, name))
    lacking = shown_at.moments.why(of_variables([name]))
    exact = ", ".join(["mean", "sd", *(["shrinkage"] if weights else [])])
    notes = [
        *found.given,
        *found.sds.notes,
        f"{exact}: of the posterior, {shown_at.error_in_words}",
    ]
    if spec.is_crossed:
        notes += found.notes
    elif spec.covariates:
        elsewhere = [*place.note([EVERY if weights else "all"]), *found.notes]
        notes += [OWN_COVARIATES] if name in spec.on_outcome_scale else elsewhere
    more = [*shown_at.precision, *([lacking] if lacking else [])]
    return with_header(table, spec, *notes, *more, digits=shown_at.digits)


def _index(shown_at: ReferencePosterior, name: str) -> pd.Index[Any]:
    """Labels of the effects of this name: groups, or groups and which of their effects."""
    dims = shown_at.spec.dims(name)
    labels = [coords_of(shown_at.spec, shown_at.data)[dim] for dim in dims]
    if len(dims) == 1:
        return pd.Index(labels[0], name=dims[0])
    return pd.MultiIndex.from_product(labels, names=dims)


def _coefficient_table(
    names: Sequence[str], found: PlugIn, probabilities: tuple[float, float]
) -> pd.DataFrame:
    """Coefficients, their standard errors and normal intervals."""
    from scipy.special import ndtri

    estimates, se = found.coefficients, found.coefficient_ses
    low, high = (estimates + se * ndtri(p) for p in probabilities)
    label = f"ci{100 * (probabilities[1] - probabilities[0]):g}"
    columns = {"estimate": estimates, "se": se, "z": estimates / se}
    return pd.DataFrame(
        columns | {f"{label}_lb": low, f"{label}_ub": high},
        pd.Index(names, name="parameter"),
    )


def _truth_of(truth: Any, spec: Spec, data: GroupedData) -> Floats:
    """True effects in the order of the table: of several of each group, a column for each."""
    level = spec.levels[-1]
    if not level.has_slopes:
        return _truth(truth, data)
    terms = list(level.terms)
    if isinstance(truth, pd.Series) and truth.index.nlevels == 2:
        truth = truth.unstack()
    if not isinstance(truth, pd.DataFrame) or not {*terms} <= {*truth.columns}:
        raise DataError(
            f"truth: expected a data frame with a row for each {level.column} and the columns "
            f"{listed(terms)}; found {short(truth)}"
        )
    return np.column_stack([_truth(truth[term], data) for term in terms]).ravel()


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
    """Errors of each estimator, of several effects of each group one by one."""
    if table.index.nlevels == 1:
        return _errors_of(table)
    effect = table.index.names[-1]
    groups = {str(name): own for name, own in table.groupby(level=effect, sort=False)}
    return pd.concat({n: _errors_of(own) for n, own in groups.items()}, names=[effect])


def _errors_of(table: pd.DataFrame) -> pd.DataFrame:
    """Squared errors of each estimator, and for how many groups it beats the raw mean.

    The posterior's is its mean, or its median where there is no mean.
    """
    centre = "median" if table["mean"].isna().any() else "mean"
    estimators = {**ESTIMATORS, centre: f"posterior {centre}"}
    size = {name: (table[name] - table["truth"]).abs() for name in estimators}
    rows = {
        label: {
            "sse": float((size[name] ** 2).sum(skipna=False)),
            "rmse": float(np.sqrt((size[name] ** 2).mean(skipna=False))),
            "closer": int((size[name] < size["raw"]).sum()),
            "groups": len(table),
        }
        for name, label in estimators.items()
    }
    errors = pd.DataFrame.from_dict(rows, orient="index")
    return errors.astype({"closer": int, "groups": int}).rename_axis("estimate")
