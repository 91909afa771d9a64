"""Where draws of counts with covariates that vary within groups are proposed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.coarse_grid import CoarseGrid
from hiermodels.exact.glmm.nested_model import NestedCountModel
from hiermodels.exact.glmm.nested_proposals import NestedProposals
from hiermodels.exact.glmm.proposals import AnyProposals, Proposals
from hiermodels.exact.glmm_data import GlmmData
from hiermodels.exact.leaf_data import moments_by_counting, rows_or_totals
from hiermodels.exact.leaf_design import Wording
from hiermodels.exact.leaf_moments import LeafMoments
from hiermodels.exact.prior_move import Move, moved, notable, other_weights
from hiermodels.exact.row_propriety import require_proper
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.moments import SD


@dataclass(frozen=True)
class GlmmGrid(CoarseGrid):
    """That of counts whose coefficients are not laid on a lattice: of the sds alone."""

    def require_existence(self) -> None:
        """Raise ImproperPosteriorError if the posterior does not exist."""
        require_proper(self.spec, rows_or_totals(self.data)[0])

    @cached_property
    def arrays(self) -> GlmmData:
        """The model on arrays."""
        return GlmmData.of(self.spec, self.data)

    @cached_property
    @one_blas_thread()
    def marginal(self) -> AnyProposals[Any]:
        """Where draws are proposed, if the posterior exists."""
        self.require_existence()
        model, priors = self.arrays.model, [level.prior for level in self.spec.levels]
        if isinstance(model, NestedCountModel):
            return NestedProposals.of(model, priors)
        return Proposals.of(model, priors[0])

    @property
    def lattice(self) -> Lattice:
        """Of the sds: about their posterior."""
        return self.marginal.lattice

    @cached_property
    def moments(self) -> LeafMoments:
        """Which moments exist, if the posterior does."""
        return moments_by_counting(self.spec, self.data)

    @property
    def proper_prior(self) -> str:
        """A proper prior of an sd, to be proposed: of a sensible width on the scale of the link."""
        return Wording.of(self.spec).sd_prior

    def informed(self, name: str) -> str:
        """The groups that say what there is to say of an sd, in words."""
        number = [level.sd for level in self.spec.levels].index(name)
        return f"{len(self.data.levels[number]):,} {self.spec.levels[number].column!r} groups"

    def prior_moves(self, name: str) -> Iterator[Move]:
        """Yield by how much the mean of an sd moves under the other flat prior, if that is notable.

        As the coefficients' modes given the sds have it: their law is Laplace's approximation.
        """
        sds = self.marginal.tau_of(self.lattice.points).reshape(len(self.lattice), -1)
        tau = sds[:, [level.sd for level in self.spec.levels].index(name)]
        if self._ratio(name, self.lattice.weights, np.log(tau)) is None:
            return iter(())
        both, _ = other_weights(self.lattice.weights, np.log(tau))
        means = both @ tau
        sd = float(np.sqrt(both[0] @ (tau - means[0]) ** 2))
        if not self.moments.exist([name], SD):
            return iter(())
        return notable([[moved(f"posterior mean of {name}", means, sd)]])
