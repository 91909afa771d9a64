"""Laws of coefficients as mixtures of normals: whatever integrates effects out.

Given the node and σ all of them are normal.  Given the node alone σ has a law whose sums are those
of Gauss's rule with few places (:mod:`hiermodels.numerics.gauss_rules`): in log σ a normal's
distribution function is smooth over the law's width, about ``1/(2√a)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.blocks.sd_posterior import SdPosterior
from hiermodels.exact.kernels.blocks.moments import CoefficientLaw
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.blocks.rotations import product
from hiermodels.numerics import normal_mixture
from hiermodels.numerics.lattice import Lattice

TAIL_MASS = 1e-10  # share of the posterior that is left out
PAIRS_TAIL = 1e-8  # of nodes that stand for all pairs of two lattices, at least,
PAIRS_SHARE = 0.05  # and of what their sums are off by
HALF = 1e-7  # posterior sds that half of the lattice may differ by from the whole, to stand for it
SIZES = ((40.0, 4), (8.0, 6), (0.0, 12))  # least shape of σ's law, and places of Gauss's rule
PAIRS_SIZES = ((40.0, 3), (8.0, 5), (0.0, 10))  # the same of pairs, whose own error is larger


@dataclass(frozen=True, eq=False)
class Nodes:
    """Nodes at which σ is known: those of the lattice that matter, with places of σ.

    Attributes
    ----------
    values : Values
        At the lattice's nodes, (m,) of them.
    weights : (n,)
        Of sum 1; n = m times the places of σ at each.
    law : CoefficientLaw
        Of the coefficients, β less the anchor, given σ.
    """

    values: Values
    weights: Floats
    law: CoefficientLaw


class SdMixtures[P: SdPosterior[Any]]:
    """Mixtures of a posterior.

    Attributes
    ----------
    posterior : SdPosterior
    """

    posterior: P

    @cached_property
    @one_blas_thread()
    def nodes(self) -> Nodes:
        """The nodes that matter, half of the lattice's if that is enough."""
        posterior = self.posterior
        weights = posterior.lattice.weights
        is_even = isinstance(posterior.lattice, Lattice)
        if is_even and len(weights) > 1 and posterior.certificate <= HALF:
            weights = posterior.weights[1]
        sizes = np.abs(weights)
        order = np.argsort(sizes)
        tail = TAIL_MASS if is_even else max(PAIRS_TAIL, PAIRS_SHARE * posterior.certificate)
        kept = np.sort(order[np.cumsum(sizes[order]) > tail])
        return self._with_sigma(kept, weights[kept])

    @cached_property
    @one_blas_thread()
    def few_nodes(self) -> Nodes:
        """Few nodes that stand for all, where these are too many."""
        assert self.posterior.few is not None
        return self._with_sigma(*self.posterior.few.whole)

    def _with_sigma(self, kept: Indices, weights: Floats) -> Nodes:
        """Nodes of the lattice and their weights (m,), with places of σ at each."""
        posterior = self.posterior
        values = posterior.values.at(kept)
        root, marginal = posterior.root.at(kept), posterior.marginal
        if values.log_sigma is None:
            sizes = SIZES if isinstance(posterior.lattice, Lattice) else PAIRS_SIZES
            size = next(size for least, size in sizes if marginal.scale.shape >= least)
            s, share = marginal.scale.gauss_rule(root, values.log_theta, size)
        else:
            s, share = values.log_sigma[:, None], np.ones((len(kept), 1))
        total = (weights[:, None] * share).ravel()
        return Nodes(values, total / total.sum(), self._law(root, np.exp(s)))

    def _law(self, root: Root, sigma: Floats) -> CoefficientLaw:
        """Law of the coefficients given σ (m, k)."""
        model, sigma_of = self.posterior.marginal.residual, sigma.ravel()
        at = root.at_each(sigma.shape[1]).with_prior(model.mean, model.precision, sigma_of)
        return CoefficientLaw(at.mean, at.covariance * sigma_of**2, sigma_of**2)

    def coefficients(self) -> tuple[Floats, Floats, Floats]:
        """Weights (n,), means and sds (n, c) of the root's coefficients and of β."""
        law = self.nodes.law
        mean = law.mean.T + self.posterior.marginal.shift
        return self.nodes.weights, mean, np.sqrt(np.einsum("ccn->nc", law.covariance))

    def of_root(self, rows: Floats) -> tuple[Floats, Floats, Floats]:
        """Weights (n,), means and sds (n, r) of ``row'γ``, the coefficients γ; of rows (r, c)."""
        law = self.nodes.law
        variance = np.einsum("rc,cdn,rd->nr", rows, law.covariance, rows)
        shift = rows @ self.posterior.marginal.shift
        return self.nodes.weights, (rows @ law.mean).T + shift, np.sqrt(variance)

    def coefficient_quantiles(self, probabilities: Floats) -> Floats:
        """Quantiles of the root's coefficients and of β; (k, c)."""
        components = self.coefficients()
        return np.array([normal_mixture.quantile(*components, p) for p in probabilities])


def moments_of_rows(
    row: Floats, spread: Floats, law: CoefficientLaw, each: int
) -> tuple[Floats, Floats]:
    """Means and variances (n, r) of ``row_y + row_γ γ`` plus noise, with n = each·m nodes.

    Parameters
    ----------
    row : (c + 1, r, m)
    spread : (r, m)
        Variance of the noise at σ = 1.
    law : CoefficientLaw
        At n nodes.
    each : int
    """
    row, spread = np.repeat(row, each, axis=2), np.repeat(spread, each, axis=1)
    mean = row[-1] + np.einsum("crn,cn->rn", row[:-1], law.mean)
    turned = product(law.covariance[:, :, None], row[:-1, None])[:, 0]
    variance = (row[:-1] * turned).sum(axis=0) + spread * law.sigma2
    return mean.T, variance.T
