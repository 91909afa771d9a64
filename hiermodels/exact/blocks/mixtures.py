"""Laws of coefficients, of effects and of linear combinations of both: mixtures of normals.

Given the node and σ all of them are normal.  Given the node alone σ has a law whose sums are those
of Gauss's rule with few places (:mod:`hiermodels.numerics.gauss_rules`): in log σ a normal's
distribution function is smooth over the law's width, about ``1/(2√a)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.names import ROOT
from hiermodels.exact.blocks.coordinates import Values
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.kernels.blocks.moments import CoefficientLaw, conditionals
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.blocks.rotations import product
from hiermodels.numerics import normal_mixture
from hiermodels.numerics.gauss_rules import gauss_rules
from hiermodels.numerics.lattice import Lattice

TAIL_MASS = 1e-10  # share of the posterior that is left out
PAIRS_TAIL = 1e-8  # of nodes that stand for all pairs of two lattices
HALF = 1e-7  # posterior sds that half of the lattice may differ by from the whole, to stand for it
SIZES = ((40.0, 4), (8.0, 6), (0.0, 12))  # least shape of σ's law, and places of Gauss's rule
MAX_NUMBERS = 1 << 22  # of components that are held at a time


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


@dataclass(frozen=True, eq=False)
class Mixtures:
    """Mixtures of a posterior.

    Attributes
    ----------
    posterior : BlockPosterior
    """

    posterior: BlockPosterior

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
        kept = np.sort(order[np.cumsum(sizes[order]) > (TAIL_MASS if is_even else PAIRS_TAIL)])
        return self._with_sigma(kept, weights[kept])

    def nodes_of(self, level: int) -> Nodes:
        """The same for the effects of a level: few nodes, where groups are very many."""
        few = self.posterior.few
        is_innermost = level == len(self.posterior.model.levels) - 1
        return self._few if is_innermost and few else self.nodes

    @cached_property
    @one_blas_thread()
    def _few(self) -> Nodes:
        assert self.posterior.few is not None
        return self._with_sigma(*self.posterior.few.whole)

    def _with_sigma(self, kept: Indices, weights: Floats) -> Nodes:
        """Nodes of the lattice and their weights (m,), with places of σ at each."""
        posterior = self.posterior
        values = posterior.values.at(kept)
        root, marginal = posterior.root.at(kept), posterior.marginal
        if values.log_sigma is None:
            size = next(size for least, size in SIZES if marginal.scale.shape >= least)
            s, share = gauss_rules(*marginal.scale.rule(root, values.log_theta), size)
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
        law, q = self.nodes.law, self.posterior.model.blocks.q
        mean = law.mean.T.copy()
        mean[:, mean.shape[1] - q :] += self.posterior.marginal.anchor
        return self.nodes.weights, mean, np.sqrt(np.einsum("ccn->nc", law.covariance))

    @one_blas_thread()
    def combinations(
        self, level: int, members: Indices, z: Floats, x: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Weights (n,), means and sds (n, r) of ``z'θ + x'β``.

        Parameters
        ----------
        level : int
        members : (r,)
            Whose θ each has.
        z : (r, p)
        x : (r, q)
        """
        nodes, blocks = self.nodes_of(level), self.posterior.marginal.residual.blocks
        n, r = len(nodes.weights), len(members)
        each = n // nodes.values.log_theta.shape[1]
        mean, variance = np.empty((n, r)), np.empty((n, r))
        groups = members if level == len(blocks.sizes) - 1 else np.zeros(0, dtype=np.intp)
        coordinates = self.posterior.marginal.coordinates
        at, factors = coordinates.blocks(nodes.values), coordinates.factors(nodes.values)
        for part, own_level, some, given in conditionals(at, factors, groups):
            if own_level != level:
                continue
            own = given if len(groups) else given.of_members(members)
            columns = some if len(groups) else slice(None)
            every = slice(part.start * each, part.stop * each)
            row = np.einsum("rp,pcrn->crn", z[columns], own.row)
            row[row.shape[0] - 1 - blocks.q : -1] += x[columns].T[:, :, None]
            spread = np.einsum("rp,pqrn,rq->rn", z[columns], own.own, z[columns])
            moments = _moments(row, spread, nodes.law.at(every), each)
            mean[every, columns], variance[every, columns] = moments
        return nodes.weights, mean + x @ self.posterior.marginal.anchor, np.sqrt(variance)

    def of_new_members(
        self, parent: int, members: Indices, z: Floats, x: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Weights (n,), means and sds (n, r) of ``z'θ + x'β`` of new groups.

        Parameters
        ----------
        parent : int
            Level of the known members that they are below, all levels between being new too;
            ``ROOT`` for those that are new at every level.
        members : (r,)
            Below which each is; of no matter at the root.
        z : (r, p)
        x : (r, q)
        """
        nodes, own = self.nodes, self._at_root if parent == ROOT else self.combinations
        weights, mean, sd = own(parent, members, z, x)
        variance, each = sd**2, len(weights) // nodes.values.log_theta.shape[1]
        for factor in self.posterior.marginal.coordinates.factors(nodes.values)[parent + 1 :]:
            spread = (np.einsum("rp,pqm->qmr", z, factor) ** 2).sum(axis=0)
            variance += np.repeat(spread, each, axis=0) * nodes.law.sigma2[:, None]
        return weights, mean, np.sqrt(variance)

    def of_root(self, rows: Floats) -> tuple[Floats, Floats, Floats]:
        """Weights (n,), means and sds (n, r) of ``row'γ``, the coefficients γ; of rows (r, c)."""
        law, q = self.nodes.law, self.posterior.model.blocks.q
        variance = np.einsum("rc,cdn,rd->nr", rows, law.covariance, rows)
        shift = rows[:, rows.shape[1] - q :] @ self.posterior.marginal.anchor
        return self.nodes.weights, (rows @ law.mean).T + shift, np.sqrt(variance)

    def _at_root(
        self, level: int, members: Indices, z: Floats, x: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """The same as :meth:`combinations` of the root's own θ."""
        return self.of_root(np.hstack([z[:, self.posterior.model.blocks.fixed], x]))

    def residual_variances(self, nodes: Nodes, sds: Indices) -> Floats:
        """Variances of rows at nodes, of which each has one of the residual sds; (n, r).

        Parameters
        ----------
        nodes : Nodes
        sds : (r,)
            Among the sds of the model.
        """
        first = len(self.posterior.model.sds)
        log_delta = self.posterior.marginal.coordinates.log_delta(nodes.values)[sds - first]
        each = len(nodes.weights) // log_delta.shape[1]
        return nodes.law.sigma2[:, None] * np.repeat(np.exp(2 * log_delta), each, axis=1).T

    def effects(self, level: int, effect: int, members: Indices) -> tuple[Floats, Floats, Floats]:
        """Weights (n,), means and sds (n, r) of one effect of some members."""
        blocks = self.posterior.model.blocks
        z = np.zeros((len(members), blocks.p))
        z[:, effect] = 1.0
        return self.combinations(level, members, z, np.zeros((len(members), blocks.q)))

    def coefficient_quantiles(self, probabilities: Floats) -> Floats:
        """Quantiles of the root's coefficients and of β; (k, c)."""
        components = self.coefficients()
        return np.array([normal_mixture.quantile(*components, p) for p in probabilities])

    def effect_quantiles(
        self, level: int, effect: int, members: Indices, probabilities: Floats
    ) -> Floats:
        """Quantiles of one effect of some members; (k, r)."""
        quantiles = np.empty((len(probabilities), len(members)))
        step = max(1, MAX_NUMBERS // len(self.nodes_of(level).weights))
        for first in range(0, len(members), step):
            part = slice(first, first + step)
            components = self.effects(level, effect, members[part])
            for row, p in zip(quantiles, probabilities, strict=True):
                row[part] = normal_mixture.quantile(*components, p)
        return quantiles


def _moments(row: Floats, spread: Floats, law: CoefficientLaw, each: int) -> tuple[Floats, Floats]:
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
