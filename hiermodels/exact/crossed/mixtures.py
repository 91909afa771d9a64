"""Laws of sums of effects and coefficients of crossed groups: mixtures of normals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.blocks.sd_mixtures import Nodes, SdMixtures, moments_of_rows
from hiermodels.exact.crossed.posterior import CrossedPosterior, effects_at
from hiermodels.exact.kernels.crossed.downward import ABSENT

NEW = -2  # member of a factor that no row has


@dataclass(frozen=True, eq=False)
class CrossedMixtures(SdMixtures[CrossedPosterior]):
    """Mixtures of a posterior.

    Attributes
    ----------
    posterior : CrossedPosterior
    """

    posterior: CrossedPosterior

    @property
    def nodes_of_effects(self) -> Nodes:
        """The nodes; few ones, where each is dear."""
        return self.few_nodes if self.posterior.few else self.nodes

    @one_blas_thread()
    def sums(
        self, members: Sequence[Indices], x: Floats, noise: Floats | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """Weights (n,), means and sds (n, r) of ``Σ_k u_k + x'γ``, and of rows at these.

        Parameters
        ----------
        members : sequence of (r,)
            Of each factor; ``ABSENT`` where there is none, ``NEW`` of one that has no rows.
        x : (r, c)
        noise : (r,), optional
            Variances in units of σ² that are added.
        """
        nodes, marginal = self.nodes_of_effects, self.posterior.marginal
        n, r = len(nodes.weights), len(x)
        each = n // nodes.values.log_theta.shape[1]
        known = [np.where(own == NEW, ABSENT, own) for own in members]
        extra = np.zeros(r) if noise is None else noise
        theta2 = np.exp(2 * nodes.values.log_theta)
        mean, variance = np.empty((2, n, r))
        for part, effects in effects_at(marginal, nodes.values):
            row, spread = effects.sums(known)
            row[..., :-1] += x
            for own, square in zip(members, theta2[:, part], strict=True):
                spread = spread + np.where(own == NEW, square[:, None], 0.0)
            every = slice(part.start * each, part.stop * each)
            found = moments_of_rows(
                np.moveaxis(row, 0, 2).swapaxes(0, 1), (spread + extra).T, nodes.law.at(every), each
            )
            mean[every], variance[every] = found
        return nodes.weights, mean + x @ marginal.shift, np.sqrt(np.maximum(variance, 0.0))

    def effects(self, factor: int, members: Indices) -> tuple[Floats, Floats, Floats]:
        """Weights (n,), means and sds (n, r) of deviations of some members of a factor."""
        sizes = self.posterior.model.rows.sizes
        every = [np.full(len(members), ABSENT) for _ in sizes]
        every[factor] = members
        return self.sums(every, np.zeros((len(members), self.posterior.model.n_coefficients)))
