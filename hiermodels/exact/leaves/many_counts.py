"""Very many groups with distinct counts, whose integrals are interpolated between fewer leaves.

As a function of the logarithms of what a group counted, such as those of its successes and
failures, ``log m_i(μ, τ)`` relative to the leaf's supremum is analytic, and so are an effect's
posterior moments.  All are interpolated between leaves at Chebyshev points
(:mod:`hiermodels.numerics.chebyshev_cells`), whose counts need not be whole.  The groups' shares
C_v in these are summed once,

    Σ_i log m_i(μ, τ) = Σ_v C_v log m_v(μ, τ),

so that the work at a node does not grow with the number of groups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.leaves.integral import LeafIntegrals
from hiermodels.exact.leaves.coordinates import Coordinates
from hiermodels.exact.leaves.model import Alike, Gathered
from hiermodels.families.leaves import Leaves, SmoothLeaves
from hiermodels.numerics.chebyshev_cells import CellInterpolation

MANY = 5000  # distinct leaves, from which on it may pay
SHARE = 0.5  # of these, that the leaves at the points are at most
CHECKED = 50  # leaves, whose integrals are computed besides
TYPICAL = (0.5, 1.0, 2.0)  # times the typical sd: values of τ for that
TOLERANCE = 1e-11  # of a log integral, relative where it is above 1: measured ones are near 1e-13


@dataclass(frozen=True, eq=False)
class InterpolatedAlike:
    """Groups with the same covariates, and fewer leaves that stand for theirs.

    Attributes
    ----------
    alike : Alike
        The groups, with u distinct leaves.
    leaves : Leaves
        v of them, at the points of the interpolation.
    points : CellInterpolation
        From the v leaves to the u.
    """

    alike: Alike
    leaves: Leaves
    points: CellInterpolation

    @cached_property
    def integrals(self) -> LeafIntegrals:
        """Of the leaves that stand for the groups'."""
        return LeafIntegrals.of(self.leaves)

    @cached_property
    def counts(self) -> Floats:
        """How many groups each of these leaves stands for, a sum of shares; (v,)."""
        return self.points.moved(self.alike.counts)

    @property
    def sets(self) -> tuple[Alike]:
        """The groups."""
        return (self.alike,)

    @property
    def groups(self) -> Indices:
        """Which groups of the model these are; (k',)."""
        return self.alike.groups

    def log_integrals(self, tau: Floats, gamma: Floats) -> Floats:
        """``log m_v`` at nodes (J,) and (J, p); (v, J)."""
        return self.integrals.log_integrals(gamma @ self.alike.x, tau)

    def gathered(
        self, tau: Floats, gamma: Floats, weights: Floats, own: Callable[[], Floats]
    ) -> Gathered:
        """Where the groups see the nodes: see :meth:`Alike.gathered`."""
        return Gathered(gamma @ self.alike.x, tau, weights, own())

    def of_groups(self, values: Floats) -> Floats:
        """Values of the groups, from those of these leaves; (m, v) to (m, k')."""
        return self.alike.of_groups(self.points.interpolated(values))


def interpolated(alike: Alike, coordinates: Coordinates) -> Alike | InterpolatedAlike:
    """Let fewer leaves stand for those of groups, if that pays and is exact; else the groups.

    Parameters
    ----------
    alike : Alike
    coordinates : Coordinates
        That tell where to compare it with the integrals themselves.
    """
    leaves = alike.leaves
    if len(leaves) < MANY or not isinstance(leaves, SmoothLeaves) or leaves.places is None:
        return alike
    points = CellInterpolation.of(leaves.places)
    if len(points) > SHARE * len(leaves):
        return alike
    found = InterpolatedAlike(alike, leaves.at(points.points), points)
    return found if _error(found, coordinates) <= TOLERANCE else alike


def _error(found: InterpolatedAlike, coordinates: Coordinates) -> float:
    """Largest error of some leaves' log integrals where the posterior may be."""
    fixed = coordinates.model.fixed_sd
    tau = coordinates.typical_sd * np.array(TYPICAL) if fixed is None else np.array([fixed])
    gamma = coordinates.whitening(tau).b
    leaves = found.alike.leaves
    some = np.linspace(0, len(leaves) - 1, CHECKED).astype(np.intp)
    exact = LeafIntegrals.of(leaves.take(some)).log_integrals(gamma @ found.alike.x, tau)
    own = found.points.interpolated(found.log_integrals(tau, gamma).T)[:, some].T
    return float((np.abs(own - exact) / np.maximum(np.abs(exact), 1.0)).max())
