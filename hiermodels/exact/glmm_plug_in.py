"""Estimates of groups by maximum likelihood, where covariates of counts vary within groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hiermodels.core.blas import one_blas_thread
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.glmm.maximum import GlmmMaximum, Highest, maximum_likelihood
from hiermodels.exact.glmm_data import GlmmData, groups_at_means
from hiermodels.exact.leaf_data import leaf_design, leaves_of_rows, rows_or_totals, with_intercept
from hiermodels.exact.leaf_plug_in import estimates_at, require_likelihood, require_no_separation
from hiermodels.exact.raw_values import columns_of, raw_values
from hiermodels.model.spec import Spec
from hiermodels.posterior.estimation import PlugIn


@one_blas_thread()
def glmm_plug_in(spec: Spec, data: GroupedData, method: str, place: Place) -> PlugIn:
    """Do what :func:`hiermodels.exact.leaf_plug_in.leaf_plug_in` does, of rows with covariates.

    The coefficients being given, what the rows of a group say is a function of its linear predictor
    at their mean covariates; others lie ``(x_i − x̄)'γ`` beside it.

    Raises
    ------
    SpecError
        If the coefficients are not bounded by the data, or the method is not for counts.
    """
    require_likelihood(method)
    rows, _ = rows_or_totals(data)
    x = with_intercept(spec, rows.design.matrix)
    require_no_separation(leaf_design(spec, rows, leaves_of_rows(spec, rows), x))
    found = _maximum(spec, data)
    highest = found.place or found.pooled
    groups = groups_at_means(spec, data)
    columns, offset = columns_of(rows)
    away = (x - groups.x[rows.group]) @ highest.gamma
    leaves = spec.family.leaves(rows.y, columns, offset + away, rows.group, rows.n_groups)
    coefficients = None if found.place is None else (highest.gamma, highest.covariance)
    model = replace(groups, leaves=leaves)
    return estimates_at(spec, place, model, found, raw_values(spec, data, 0), coefficients)


def _maximum(spec: Spec, data: GroupedData) -> GlmmMaximum:
    """The highest likelihood, in the coefficients of the specification."""
    arrays, p = GlmmData.of(spec, data), len(spec.means)
    flat = replace(arrays.model, mean=np.zeros(p), precision=np.zeros((p, p)), constant=0.0)
    found = maximum_likelihood(flat, spec.fixed.get(spec.levels[0].sd))

    def turned(highest: Highest) -> Highest:
        return highest.in_basis(arrays.basis)

    return GlmmMaximum(found.place and turned(found.place), turned(found.pooled))
