"""Laws of coefficients, of effects and of linear combinations of both: mixtures of normals.

See :mod:`hiermodels.exact.blocks.sd_mixtures`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.names import ROOT
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.blocks.sd_mixtures import Nodes, SdMixtures, moments_of_rows
from hiermodels.exact.kernels.blocks.moments import conditionals
from hiermodels.numerics import normal_mixture

MAX_NUMBERS = 1 << 22  # of components that are held at a time


@dataclass(frozen=True, eq=False)
class Mixtures(SdMixtures[BlockPosterior]):
    """Mixtures of a posterior.

    Attributes
    ----------
    posterior : BlockPosterior
    """

    posterior: BlockPosterior

    def nodes_of(self, level: int) -> Nodes:
        """The same for the effects of a level: few nodes, where groups are very many."""
        few = self.posterior.few
        is_innermost = level == len(self.posterior.model.levels) - 1
        return self.few_nodes if is_innermost and few else self.nodes

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
            moments = moments_of_rows(row, spread, nodes.law.at(every), each)
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
