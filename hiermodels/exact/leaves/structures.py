"""Which code computes the posterior of a model with leaves: that of two levels, or of three."""

from __future__ import annotations

from hiermodels.exact.leaves.laws import LeafLaws
from hiermodels.exact.leaves.marginal import LeafMarginal
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.nested.laws import NestedLaws
from hiermodels.exact.leaves.nested.marginal import NestedMarginal
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.exact.leaves.nested.posterior import NestedPosterior
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.exact.leaves.two_levels import TwoLevelLaws
from hiermodels.numerics.lattice import Lattice


def integrate(model: LeafModel | NestedModel, tol: float) -> LeafLaws:
    """Integrate the posterior: see :meth:`LeafPosterior.of`."""
    if isinstance(model, LeafModel):
        return TwoLevelLaws(LeafPosterior.of(model, tol))
    return NestedLaws(NestedPosterior.of(model, tol))


def marginal_of(model: LeafModel | NestedModel) -> LeafMarginal | NestedMarginal:
    """The posterior of the sds and coefficients, all effects integrated out."""
    return LeafMarginal(model) if isinstance(model, LeafModel) else NestedMarginal(model)


def on_lattice(
    marginal: LeafMarginal | NestedMarginal, lattice: Lattice
) -> LeafPosterior | NestedPosterior:
    """Sums over a lattice that was laid, fine or not."""
    if isinstance(marginal, LeafMarginal):
        return LeafPosterior(marginal, lattice)
    return NestedPosterior(marginal, lattice)
