"""Predictions of groups whose rows are not normal: effects on the outcome's scale, and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.names import ROOT
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.exact.leaf_data import rows_or_totals, with_intercept
from hiermodels.exact.leaf_moments import LeafMoments
from hiermodels.exact.leaf_outcomes import CountLaw, FurtherRows, conditional, over_places
from hiermodels.exact.leaves.laws import LeafLaws
from hiermodels.exact.leaves.outcomes import Law, MemberLaw, OutcomeLaw
from hiermodels.exact.rate_moments import RateMoments
from hiermodels.exact.summed import SummedPosterior
from hiermodels.families.links import linked
from hiermodels.model.spec import Spec
from hiermodels.posterior.moments import Lack, SlowFall
from hiermodels.posterior.target import Target

FAR_UP = 0.9999  # probability of a linear predictor that tells how large counts become
STEEP = 1e3  # linear predictor at which a likelihood falls as it does for ever
ENDLESS = 1e100  # slope of a likelihood that falls faster than any exponential

type Function = Callable[[Indices, Floats], Floats]
"""From rows (g,) and their linear predictors (g, Z) to values (g, Z)."""


class LeafPredictive(SummedPosterior):
    """What a posterior by quadrature over the sds and the coefficients says of rows to come."""

    spec: Spec
    data: GroupedData
    laws: LeafLaws
    existing: LeafMoments

    @one_blas_thread()
    def predictive_moments(self, target: Target) -> tuple[Floats, Floats]:
        """Means and sds of predicted values; both (r,).

        Nan or anything where they do not exist.
        """
        family = self.spec.family

        def given(rows: Indices, eta: Floats) -> tuple[Floats, Floats]:
            if target.outcome:
                return family.moments(eta, _columns_of(target, rows))
            return (family.inverse_link(eta) if family.effect else eta), np.zeros_like(eta)

        def first(rows: Indices, eta: Floats) -> Floats:
            return given(rows, eta)[0]

        def second(rows: Indices, eta: Floats) -> Floats:
            mean, variance = given(rows, eta)
            return variance + mean**2

        def around(rows: Indices, eta: Floats) -> Floats:
            away, variance = given(rows, eta)
            return variance + (away - mean[rows, None]) ** 2

        with np.errstate(over="ignore", invalid="ignore"):
            if target.level == ROOT and family.link == "log" and self._grows(target):
                mean, square = (
                    self._grown_means(target, f, m) for m, f in ((1, first), (2, second))
                )
                return mean, np.sqrt(square - mean**2)
            mean = self._means_of(target, first)
            return mean, np.sqrt(self._means_of(target, around))

    def _grows(self, target: Target) -> bool:
        """Whether predicted values grow as the exponential of their linear predictor."""
        columns = _columns_of(target, np.arange(len(target.members)))
        bounded = target.outcome and np.isfinite(self.spec.family.support(columns)[1]).all()
        return self.spec.family.effect is not None and not bounded

    def _grown_means(self, target: Target, function: Function, order: int) -> Floats:
        """Means of what grows as ``e^(order·η)``, of new groups; nan where they do not exist."""
        offset, means = _offset(target)[:, None], np.full(len(target.members), np.nan)
        exists = np.array([lack is None for lack in self.predictive_lacks(target, order)])
        for x, rows in self._alike(target):
            if exists[rows].all():
                of_rows = partial(_shifted, function, rows, offset[rows])
                means[rows] = self.laws.new_means(x, of_rows, order)
        return means

    @one_blas_thread()
    def predictive_cdf(self, target: Target, values: Floats) -> Floats:
        """Distribution functions of predicted values at values (..., r)."""
        family, flat = self.spec.family, values.reshape(-1, values.shape[-1])
        below = np.empty(flat.shape)
        if not target.outcome and family.effect:
            flat = linked(family.link, flat)
        for row, law in self._laws(target):
            if not target.outcome:
                below[:, row] = _finite_cdf(law, flat[:, row] - _offset(target)[row])
            elif family.is_discrete:
                below[:, row] = self._count_law(target, row, law).cdf(flat[:, row])
            else:
                below[:, row] = self._outcome_law(target, row, law).cdf(flat[:, row])
        return below.reshape(values.shape)

    @one_blas_thread()
    def predictive_quantiles(self, target: Target, probabilities: Floats) -> Floats:
        """Quantiles of predicted values; shape (p, r)."""
        family = self.spec.family
        quantiles = np.empty((len(probabilities), len(target.members)))
        for row, law in self._laws(target):
            if not target.outcome:
                eta = law.quantile(probabilities) + _offset(target)[row]
                quantiles[:, row] = family.inverse_link(eta) if family.effect else eta
            elif family.is_discrete:
                counts = self._count_law(target, row, law)
                quantiles[:, row] = counts.quantile(probabilities)
            else:
                outcome, columns = self._outcome_law(target, row, law), _columns_of(target, [row])
                scale = float(columns["sd"][0, 0])
                quantiles[:, row] = outcome.quantile(probabilities, scale)
        return quantiles

    @one_blas_thread()
    def predictive_probability(self, target: Target, values: Floats) -> Floats:
        """Probabilities of counts (..., r), which need not be whole numbers."""
        flat = values.reshape(-1, values.shape[-1])
        probability = np.empty(flat.shape)
        for row, law in self._laws(target):
            counts = self._count_law(target, row, law)
            probability[:, row] = counts.probability(flat[:, row])
        return probability.reshape(values.shape)

    def predictive_lacks(self, target: Target, order: int) -> list[Lack | None]:
        """What a moment of each predicted value lacks; None where it exists."""
        family, size = self.spec.family, len(target.members)
        if target.outcome:
            columns = _columns_of(target, np.arange(size))
            if np.isfinite(family.support(columns)[1]).all():
                return [None] * size
            if not np.isfinite(family.moments(np.zeros((size, 1)), columns)[order - 1]).all():
                return [SlowFall(f"{family!r} falls too slowly", "more degrees of freedom")] * size
        elif family.link == "logit":
            return [None] * size
        if family.effect:
            return self._rate_lacks(target, order)
        if target.level == ROOT:
            return super().predictive_lacks(target, order)
        name = self.spec.levels[target.level].effect
        lacking = self.existing.lacking(name, order, own=True)[target.members]
        return [self.existing.shortage(name, order) if lacks else None for lacks in lacking]

    def _rate_lacks(self, target: Target, order: int) -> list[Lack | None]:
        if target.level < len(self.spec.levels) - 1:  # new groups, of a known outer group or not
            known = target.level != ROOT
            parents = [int(i) if known else None for i in target.members]
            rows = zip(self._x(target), parents, strict=True)
            return [self._rates.of_new_group(x, order, parent) for x, parent in rows]
        lack = SlowFall(f"{self.spec.family!r} falls too slowly", "a larger size")
        exists = self._rates.of_groups(order)[target.members]
        return [None if known else lack for known in exists]

    @cached_property
    def _rates(self) -> RateMoments:
        """From the exponents with which the groups' likelihoods fall far out."""
        leaves = self.laws.leaves
        with np.errstate(over="ignore", invalid="ignore"):
            slope, _ = leaves.slope_and_information(np.array([-STEEP, STEEP]))
        above = np.where(slope[:, 1] < -ENDLESS, np.inf, -slope[:, 1])
        return RateMoments(self.existing.tails.design, slope[:, 0], above)

    def _means_of(self, target: Target, function: Function) -> Floats:
        """Posterior means of a function of the rows' linear predictors; (r,)."""
        offset, x = _offset(target)[:, None], self._x(target)
        if target.level != ROOT:

            def shifted(rows: Indices, eta: Floats) -> Floats:
                return function(rows, eta + offset[rows])

            return self.laws.predictor_means(target.level, target.members, x, shifted)
        means = np.empty(len(target.members))
        for own, rows in self._alike(target):
            means[rows] = self.laws.new_means(own, partial(_shifted, function, rows, offset[rows]))
        return means

    def _laws(self, target: Target) -> Iterator[tuple[int, Law]]:
        """Yield rows, and the law of each one's linear predictor without its offset."""
        if target.level == ROOT:
            for x, rows in self._alike(target):
                new = self.laws.new_law(x)
                yield from ((int(row), new) for row in rows)
            return
        for laws in self.laws.predictor_laws(target.level, target.members, self._x(target)):
            for i, row in enumerate(laws.groups):
                own = replace(laws, groups=laws.groups[[i]], mass=laws.mass[[i]])
                yield int(row), MemberLaw(own)

    def _alike(self, target: Target) -> Iterator[tuple[Floats, Indices]]:
        """Yield distinct covariates (p,), and the rows that have them."""
        distinct, which = np.unique(self._x(target), axis=0, return_inverse=True)
        for i, x in enumerate(distinct):
            yield x, np.flatnonzero(which.ravel() == i)

    def _x(self, target: Target) -> Floats:
        """Covariates with the intercept's; (r, p)."""
        return with_intercept(self.spec, target.x)

    @staticmethod
    def _one(target: Target, row: int) -> dict[str, Floats]:
        """Columns of a row, (1,) each, the offset among them."""
        columns = {name: column[[row]] for name, column in target.columns.items()}
        return columns | ({} if target.se is None else {"sd": target.se[[row]]})

    def _outcome_law(self, target: Target, row: int, law: Law) -> OutcomeLaw:
        return conditional(self.spec.family, self._one(target, row), law)

    def _count_law(self, target: Target, row: int, law: Law) -> CountLaw:
        family, columns = self.spec.family, self._one(target, row)
        if not family.is_discrete:
            raise SpecError(
                f"{self.spec.outcome}: only counts have probabilities, and this outcome is none; "
                f"see .cdf and .quantile"
            )
        outcome = conditional(family, columns, law)
        lowest, highest = (float(end[0]) for end in family.support(columns))
        x, group = self._x(target)[row], int(target.members[row])
        if isinstance(law, MemberLaw):
            quick = exactly = over_places(family, columns, law)
            is_innermost = target.level == len(self.spec.levels) - 1
            if is_innermost and (x == self.laws.x[group]).all():
                exactly = self._further.of_group(group, columns)
        else:
            quick = exactly = self._further.of_new_group(x, columns)
        far_up = law.about(np.array([FAR_UP])) + _offset(target)[row]
        expected = float(family.moments(far_up, columns)[0][0])
        return CountLaw(exactly, quick, outcome, (lowest, highest), expected)

    @cached_property
    def _further(self) -> FurtherRows:
        return FurtherRows(self.laws, self.spec.family, rows_or_totals(self.data)[0])


def _shifted(function: Function, rows: Indices, offset: Floats, eta: Floats) -> Floats:
    """A function of linear predictors to which offsets (g, 1) are added."""
    return function(rows, eta + offset)


def _offset(target: Target) -> Floats:
    """What is added to linear predictors; (r,)."""
    return target.columns.get("offset", np.zeros(len(target.members)))


def _columns_of(target: Target, rows: Indices | list[int]) -> dict[str, Floats]:
    """Columns of some rows, (g, 1) each, as the family names them."""
    columns = {name: c[rows][:, None] for name, c in target.columns.items() if name != "offset"}
    return columns | ({} if target.se is None else {"sd": target.se[rows][:, None]})


def _finite_cdf(law: Law, values: Floats) -> Floats:
    """A distribution function, 0 and 1 at ∓∞."""
    inside = np.isfinite(values)
    below = np.where(values == np.inf, 1.0, 0.0)
    below[inside] = law.cdf(values[inside])
    return below
