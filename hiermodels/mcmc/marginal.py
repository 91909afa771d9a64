"""The likelihood in PyTensor with all effects and coefficients integrated out."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.exact.kernels.tree.tree import Coefficients
from hiermodels.exact.marginal import Marginal
from hiermodels.mcmc.outcome import Sds, log_normalizer, row_variance, statistic


def log_likelihood(marginal: Marginal, sds: Sds) -> TensorVariable:
    """``log p(y | sds)`` in PyTensor, all effects and coefficients integrated out.

    The recursion of :func:`hiermodels.exact.kernels.tree.marginal.upward`, where its steps are
    derived, for one setting of the variances and with a gradient.

    Parameters
    ----------
    marginal : Marginal
    sds : mapping of str to scalar
        The unknown sds, in the outcome's unit.

    Returns
    -------
    scalar
    """
    tree, scale = marginal.data.tree, marginal.data.scale
    sigma2 = row_variance(marginal.data, sds)
    total = log_normalizer(marginal.data, sigma2) - tree.n_groups * np.log(scale)
    quadratic = statistic(marginal.data, "_scatter") / sigma2
    mean, error = pt.as_tensor(statistic(marginal.data, "_rows")), sigma2 / tree.weight
    for number, level in reversed(list(enumerate(marginal.spec.levels))):
        variance = error + (sds[level.sd] / scale) ** 2
        mean, error, product, log_factor = _pool(mean, variance, tree.parent(number))
        quadratic += product
        total += log_factor
    return total + _integrate_coefficients(mean[0], error[0], quadratic, marginal.coefficients)


def _pool(
    mean: TensorVariable, variance: TensorVariable, parent: Indices
) -> tuple[TensorVariable, TensorVariable, TensorVariable, TensorVariable]:
    """Pool members (b,) of a level with mean rows (b, q + 1) under their parents (u,).

    Returns
    -------
    mean (u, q + 1), error (u,)
        What the members say of their parents.
    product (q + 1, q + 1)
        Weighted cross-products of the members around their parents' means.
    log factor
        What is left of the members' densities.
    """

    def add_up(values: TensorVariable) -> TensorVariable:
        shape = (int(parent[-1]) + 1, *values.type.shape[1:])
        return pt.inc_subtensor(pt.zeros(shape)[parent], values)

    weight = 1 / variance
    precision = add_up(weight)
    pooled = add_up(weight[:, None] * mean) / precision[:, None]
    deviations = mean - pooled[parent]
    product = (weight[:, None, None] * deviations[:, :, None] * deviations[:, None, :]).sum(axis=0)
    log_factor = -0.5 * (LOG_2PI + pt.log(variance)).sum()
    log_factor += 0.5 * (LOG_2PI - pt.log(precision)).sum()
    return pooled, 1 / precision, product, log_factor


def _integrate_coefficients(
    mean: TensorVariable, error: TensorVariable, quadratic: TensorVariable, prior: Coefficients
) -> TensorVariable:
    """Integrate out the intercept, of which the root's mean row (q + 1,) tells, and β (q,)."""
    total = pt.as_tensor(np.float64(prior.log_normalizer))
    if prior.root_precision > 0:
        variance = error + prior.root_spread
        deviation = mean - prior.root_row
        quadratic += pt.outer(deviation, deviation) / variance
        total -= 0.5 * (LOG_2PI + pt.log(variance))
    return total + integrated(quadratic, prior.mean, prior.precision)


def integrated(quadratic: TensorVariable, mean: Floats, precision: Floats) -> TensorVariable:
    """``log ∫ exp(−½ (γ, 1)'T(γ, 1) − ½ (γ − m)'P(γ − m)) dγ``, T having the signs of residuals.

    Parameters
    ----------
    quadratic : (q + 1, q + 1)
        T, cross-products [x | y].
    mean : (q,)
        m.
    precision : (q, q)
        P.
    """
    q = len(mean)
    if not q:
        return -0.5 * quadratic[0, 0]
    # The last pivot of a Cholesky factor is T_yy − T_yx T_xx⁻¹ T_xy, what regression leaves; the 1
    # keeps it above 0 where the fit is perfect.
    shifted = np.column_stack([np.eye(q), mean])
    corner = np.zeros((q + 1, q + 1))
    corner[q, q] = 1.0
    factor = pt.linalg.cholesky(quadratic + shifted.T @ precision @ shifted + corner)
    log_det = pt.log(pt.diag(factor)[:q]).sum()
    return 0.5 * q * LOG_2PI - log_det - 0.5 * (factor[q, q] ** 2 - 1)
