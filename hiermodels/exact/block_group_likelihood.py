"""Densities of all rows of an outermost group given hyperparameters, its effects integrated out.

Its rows are a tree of their own (:mod:`hiermodels.exact.kernels.blocks.root`), whose root's θ and β
are known:

    log p(y_u | γ, T, σ) = log_det − ½ k log 2π − k log σ + ½ Σ log ω − (‖d − C γ‖² + s²)/(2σ²).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.exact.block_data import Layout, residual_sds
from hiermodels.exact.block_joint import correlation_matrices
from hiermodels.exact.block_rows import BlockRows, rows_of_units
from hiermodels.exact.kernels.blocks.upward import evaluate
from hiermodels.model.level import INTERCEPT
from hiermodels.model.spec import Spec


def log_densities_of_outermost(
    spec: Spec, data: GroupedData, variables: Mapping[str, Floats]
) -> Floats:
    """Log density of the rows of each outermost group, at draws; (n, u).

    Parameters
    ----------
    variables : mapping of str to array
        Draws of the hyperparameters and coefficients: scalars (n,), others (n, ...).
    """
    layout = Layout(spec)
    residual = residual_sds(spec, data, variables, len(variables[spec.levels[0].sd]))
    sigma = residual[-1]
    factors, gamma = factors_of(layout, variables, sigma), _root(layout, variables, len(sigma))
    rows = BlockRows.of(spec, data, np.zeros(len(layout.others)))
    if rows.strata is not None:
        factors += [np.zeros_like(factors[0])] * rows.strata[-1]  # of cells
    members = require_rows(data, "log_likelihood='marginal'").memberships
    columns = []
    for own in rows_of_units(members[0]):
        tree = rows.tree(own, data.levels)
        root = evaluate(tree.given(sigma / residual) if tree.strata else tree, factors)
        said = root.triangle[:-1]
        square = (said[:, -1] - np.einsum("icn,cn->in", said[:, :-1], gamma)) ** 2
        log_weight = (tree.log_weight - len(own) * LOG_2PI) / 2
        total = (square.sum(axis=0) + root.square) / (2 * sigma**2)
        columns.append(root.log_det + log_weight - len(own) * np.log(sigma) - total)
    return np.array(columns).T


def factors_of(layout: Layout, variables: Mapping[str, Floats], sigma: Floats) -> list[Floats]:
    """L (p, p, n) of each level relative to σ (n,), the outermost first, at draws."""
    p, factors = len(layout.terms), []
    for number, level in enumerate(layout.spec.levels):
        some = layout.effects(number)
        sds = variables[level.sd].reshape(len(sigma), len(some)) / sigma[:, None]
        root = sds[:, :, None] * np.linalg.cholesky(correlation_matrices(level, variables))
        factor = np.zeros((p, p, len(sigma)))
        factor[np.ix_(some, some)] = np.moveaxis(root, 0, -1)
        factors.append(factor)
    return factors


def _root(layout: Layout, variables: Mapping[str, Floats], n: int) -> Floats:
    """The root's θ, 0 where it has none, and the further coefficients; (p + q, n)."""
    spec, rows = layout.spec, []
    for term in (*layout.terms, *layout.others):
        if term != INTERCEPT:
            rows.append(variables["beta"][:, spec.covariates.index(term)])
        else:
            rows.append(variables[spec.intercept] if spec.intercept else np.zeros(n))
    return np.array(rows)
