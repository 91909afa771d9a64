"""Normal measurements of effects and coefficients, in place of rows that are not normal.

Of each group's leaf (:mod:`hiermodels.families.leaves`) the centre c_g is taken for a measurement
of ``theta_g + x̄_g'β`` with the variance ``1/I_g``.  The coefficients are measured in one step of
Fisher scoring from there: with the slopes s_i and the weights w_i of the rows at c_g, and v for the
variance between groups,

    H = Σ_i w_i (x_i − x̄_g)(x_i − x̄_g)' + Σ_g (x̄_g − x̄)(x̄_g − x̄)'/(1/I_g + v) + prior precision,
    H β = Σ_i (x_i − x̄_g) s_i + Σ_g (x̄_g − x̄)(c_g − c̄)/(1/I_g + v) + prior precision · prior mean.

It is no more than a look at where the posterior lies: coordinates in which NUTS finds its way,
starting values, and the choice of a parameterization come from it; the posterior does not depend
on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.data.design import Design
from hiermodels.data.grouped import GroupedData, GroupedRows
from hiermodels.exact.leaf_data import leaves_of, leaves_of_rows
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.row_sums import RowSums
from hiermodels.exact.standardize import standardize
from hiermodels.families.leaves import Leaves
from hiermodels.model.spec import Spec
from hiermodels.numerics.group_sums import sum_by

MAD = 1.4826  # sds of a normal distribution in its median absolute deviation
FAINT = 1e-6  # of a row's own information: what it has at least, far from where it lies
RIDGE = 1e-10  # of the information on β, with a unit diagonal


@dataclass(frozen=True, eq=False)
class Approximation:
    """Normal measurements of effects and coefficients.

    Attributes
    ----------
    spec : Spec
    rows : GroupedRows
        Or sums of them.
    effect, se : (g,)
        Of each group at the covariates ``centre``, and its standard error.
    centre : (q,)
        Covariates that effects belong to: about their means; 0 without an intercept.
    beta : (q,)
    basis : (q, q)
        Of the coefficients, of which ``basis @ basis'`` is about the covariance.
    """

    spec: Spec
    rows: GroupedRows
    effect: Floats
    se: Floats
    centre: Floats
    beta: Floats
    basis: Floats

    @classmethod
    def of(cls, spec: Spec, rows: GroupedRows) -> Approximation:
        """Measure the effects and coefficients."""
        own, size = leaves_of(spec, rows), rows.n_groups
        measured, variance = own.centre, 1 / own.information
        if not spec.covariates:
            none = np.empty(0)
            return cls(spec, rows, measured, variance**0.5, none, none, np.empty((0, 0)))
        slope, weight = _at(leaves_of_rows(spec, rows), measured[rows.group])
        x, total = rows.design.matrix, np.bincount(rows.group, weight)
        means = sum_by(rows.group, weight[:, None] * x, size) / total[:, None]
        within = x - means[rows.group]
        share = 1 / (variance + _between(measured))
        has_mean = float(spec.has_intercept)
        centre = has_mean * (share @ means) / share.sum()
        away, rest = means - centre, measured - has_mean * (share @ measured) / share.sum()
        mean, precision = np.array(
            [spec.coefficient_prior(name).mean_and_precision() for name in spec.coefficients]
        ).T
        information = (weight[:, None] * within).T @ within + (share[:, None] * away).T @ away
        score = within.T @ slope + away.T @ (share * rest) + precision * mean
        basis = _inverse_root(information + np.diag(precision))
        beta = basis @ (basis.T @ score)
        return cls(spec, rows, measured - away @ beta, variance**0.5, centre, beta, basis)

    @cached_property
    def location(self) -> float:
        """About the mean at the top, at the covariates ``centre``; 0 without an intercept."""
        return self.spec.has_intercept * float(np.median(self.effect))

    @cached_property
    def scale(self) -> float:
        """Typical size of the effects' deviations and errors."""
        away = np.median(np.abs(self.effect - self.location))
        return float(max(away, np.median(self.se)))

    @cached_property
    def marginal(self) -> Marginal:
        """The posterior of the sds, given these measurements of the effects."""
        spec = self.spec
        priors = {name: spec.priors[name] for name in (*spec.top, *spec.sds)}
        normal = Spec(
            spec.outcome, spec.groups, "se", priors=priors, has_intercept=spec.has_intercept
        )
        effects = replace(
            self.rows,
            y=self.effect,
            se=self.se,
            group=np.arange(len(self.effect)),
            columns={},
            design=Design(
                (), np.empty((len(self.effect), 0)), {}, (), intercept=spec.has_intercept
            ),
        )
        return Marginal.of(normal, standardize(effects))


def marginal_of(spec: Spec, data: GroupedData) -> Marginal:
    """The marginal posterior of the sds; an approximate one if rows are not normal."""
    if spec.is_normal:
        return Marginal.of(spec, standardize(data))
    return Approximation.of(spec, RowSums.of(spec, data).sums).marginal


def _at(rows: Leaves, eta: Floats) -> tuple[Floats, Floats]:
    """Slopes and weights of rows at η, (c,) each.

    Where leaves are not log-concave, so that what they say may bend upwards, the weight is that
    of a row at its own centre.
    """
    slope, information = (values[:, 0] for values in rows.slope_and_information(eta[:, None]))
    least = rows.information * (FAINT if rows.log_concave else 1.0)
    return slope, np.maximum(information, least)


def _between(values: Floats) -> float:
    """About the variance of values, of which some may be wild."""
    return float((MAD * np.median(np.abs(values - np.median(values)))) ** 2)


def _inverse_root(information: Floats) -> Floats:
    """A matrix r with ``r r'`` about the inverse of a matrix that may be singular."""
    diagonal = np.sqrt(np.diag(information))
    size = np.where(diagonal > 0, diagonal, 1.0)
    regular = information / np.outer(size, size) + RIDGE * np.eye(len(size))
    root: Floats = np.linalg.inv(np.linalg.cholesky(regular)).T / size[:, None]
    return root
