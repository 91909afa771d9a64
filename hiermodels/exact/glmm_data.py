"""From a specification and grouped data to counts row by row, for covariates within groups."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.data.grouped import GroupedData, GroupedRows
from hiermodels.data.statistics import SufficientStatistics
from hiermodels.exact.glmm.modes import CountModel
from hiermodels.exact.glmm.nested_model import NestedCountModel
from hiermodels.exact.glmm.nested_rows import NestedRows
from hiermodels.exact.glmm.rows import BinomialRows, CountRows, PoissonRows
from hiermodels.exact.leaf_data import (
    coefficient_priors,
    leaves_of,
    row_of_each,
    rows_or_totals,
    vary_within,
    with_intercept,
)
from hiermodels.exact.leaves.marginal import MAX_DIMENSION
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.nested.marginal import MAX_DIMENSION as MAX_NESTED
from hiermodels.model.spec import Spec
from hiermodels.numerics.group_sums import sum_by

DIMENSIONS = (MAX_DIMENSION, MAX_NESTED)  # of lattices: of one column of groups, and of two
FAMILIES = ("binomial", "poisson")  # whose log likelihoods are self-concordant


def takes_rows(spec: Spec, data: GroupedData) -> bool:
    """Whether coefficients are drawn below a bound: where no lattice of theirs can be laid.

    That is of counts in one column of groups, or in two nested ones, with covariates that differ
    between rows of a group or with too many coefficients for a lattice.
    """
    if spec.family.name not in FAMILIES or len(spec.levels) > len(DIMENSIONS):
        return False
    free = [level.sd for level in spec.levels if level.sd not in spec.fixed]
    if len(spec.means) + len(free) > DIMENSIONS[len(spec.levels) - 1]:
        return True
    if isinstance(data, SufficientStatistics):
        return False
    row = row_of_each(data.group, data.n_groups)
    return vary_within(data.design.matrix, data.group, row)


@dataclass(frozen=True, eq=False)
class GlmmData:
    """A model of counts on arrays, in coordinates of the coefficients that suit computation.

    Attributes
    ----------
    model : CountModel, or NestedCountModel with two columns of groups
        Of coefficients ``basis⁻¹ γ``, whose covariates ``x basis`` are orthogonal.
    basis : (p, p)
    order : (N,)
        Numbers of the data's rows in the model's order.
    constant : (N,)
        Log of what each row's density has beside ``exp(v_i)``, in this order.
    """

    model: CountModel
    basis: Floats
    order: Indices
    constant: Floats

    @classmethod
    def of(cls, spec: Spec, data: GroupedData) -> GlmmData:
        """Sort the rows by group, and turn the covariates to orthogonal columns."""
        rows, _ = rows_or_totals(data)
        order = np.argsort(rows.group, kind="stable")
        x = with_intercept(spec, rows.design.matrix)
        mean, precision = coefficient_priors(spec)
        basis = _basis(x, precision)
        some = precision > 0
        constant = 0.5 * float((np.log(precision[some]) - LOG_2PI).sum())
        own, of_mean = _count_rows(rows, x @ basis, order), np.linalg.solve(basis, mean)
        of_priors = of_mean, basis.T @ (precision[:, None] * basis), constant
        model = CountModel(own, *of_priors)
        if len(spec.levels) > 1:
            first = np.searchsorted(rows.levels[-1].parent, np.arange(len(rows.levels[0])))
            model = NestedCountModel(own, *of_priors, nested=NestedRows(own, first))
        return cls(model, basis, order, _constants(spec, rows)[order])

    @property
    def log_volume(self) -> float:
        """Log of the volume that the basis spans: a flat prior is one of γ itself."""
        return float(np.log(np.abs(np.diag(self.basis))).sum())

    def coefficients(self, gamma: Floats) -> Floats:
        """From the model's coefficients (J, p) to those of the specification."""
        return gamma @ self.basis.T


def _constants(spec: Spec, rows: GroupedRows) -> Floats:
    """Log probability of each row at a linear predictor of 0, less ``v_i`` there; (N,)."""
    columns = {name: column for name, column in rows.columns.items() if name != "offset"}
    zero = np.zeros(len(rows.y))
    at_zero = spec.family.log_likelihood(rows.y, zero, columns)
    plain = _count_rows(replace(rows, columns=columns), zero[:, None], np.arange(len(zero)))
    return at_zero - plain.log_likelihood(plain.offset, np.arange(len(zero)))


def _basis(x: Floats, precision: Floats) -> Floats:
    """An upper triangle T with ``(xT)'(xT) + T'PT = N``, P the priors' precisions."""
    weight = np.sqrt(precision) * np.eye(x.shape[1])
    triangle = np.linalg.qr(np.vstack([x, weight]), mode="r")
    return np.linalg.inv(triangle) * np.sqrt(len(x))


def _count_rows(rows: GroupedRows, x: Floats, order: Indices) -> CountRows:
    """Rows in this order, with covariates (N, p)."""
    offset = rows.columns.get("offset", np.zeros(len(rows.y)))
    first = np.searchsorted(rows.group[order], np.arange(rows.n_groups))
    if "trials" in rows.columns:
        trials = rows.columns["trials"][order]
        return BinomialRows(rows.y[order], x[order], offset[order], first, trials)
    with np.errstate(divide="ignore"):
        offset = offset + np.log(rows.columns.get("exposure", np.ones(len(rows.y))))
    return PoissonRows(rows.y[order], x[order], offset[order], first)


def groups_at_means(spec: Spec, data: GroupedData) -> LeafModel:
    """The groups, as if each had the mean of its rows' covariates."""
    rows, _ = rows_or_totals(data)
    count = np.bincount(rows.group, minlength=rows.n_groups)
    means = sum_by(rows.group, rows.design.matrix, rows.n_groups) / count[:, None]
    mean, precision = coefficient_priors(spec)
    (level,) = spec.levels
    x = with_intercept(spec, means)
    return LeafModel(leaves_of(spec, data), x, mean, precision, level.prior)
