"""The posterior as a mixture over a lattice of the variances: its components and their moments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.compressed import Few, few_nodes, probe_groups
from hiermodels.exact.kernels.records import Moments
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.moments import HierarchyMoments
from hiermodels.exact.precision import (
    both_weights,
    differences_of_parts,
    sd_moments,
    sd_quadrature_error,
)
from hiermodels.model.spec import Spec
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.reference_posterior import ReferencePosterior

THINNED = 1e-9  # posterior sds that part of a lattice may differ by from the whole
MAX_MEMBERS = 256  # of a level whose components are held at all nodes at a time
TAIL_MASS = 1e-10  # share of the posterior that distribution functions of values leave out
MAX_WORK = {1: 1e7, 2: 1e7, 3: 1e8}  # points times groups, beyond which few points are tried
MAX_NUMBERS = 1 << 22  # of means of components that are held at a time: 32 MiB


@dataclass(frozen=True, repr=False)
class LatticeMixture(ReferencePosterior):
    """A mixture over the nodes of a lattice: given the variances all else is normal.

    Beside what every reference posterior has there is the marginal posterior of the variances, and
    the lattice on which it is integrated.
    """

    spec: Spec
    data: GroupedData
    marginal: Marginal
    lattice: Lattice
    place: Place | None = None

    def _relaid(self, spacing: float | Floats) -> Lattice:
        """Another lattice over the same posterior."""
        return self.marginal.lattice(spacing)

    def lattice_error(self) -> float:
        """How well the lattice holds the posterior, in posterior sds."""
        return sd_quadrature_error(self.marginal, self.lattice)

    @property
    def _is_much(self) -> bool:
        """Whether there is so much work for the groups' effects that few points are tried."""
        d = len(self.marginal.free)
        return d > 0 and len(self.lattice) * self.marginal.data.tree.n_groups > MAX_WORK[d]

    def _size(self, name: str) -> int:
        """Number of members of a level, or of coefficients."""
        return len(self.data.coords[self.spec.dims(name)[0]])

    def _step(self, name: str) -> int:
        """Number of members whose components are held at a time."""
        return max(MAX_MEMBERS, MAX_NUMBERS // len(self._nodes_of(name)[1]))

    @cached_property
    def _moments_of_sds(self) -> tuple[Floats, Floats]:
        """Means and sds of the unknown sds, over the whole lattice and over half of it."""
        return sd_moments(self.marginal, self.lattice, both_weights(self.lattice))

    @cached_property
    def _moments(self) -> Moments:
        """Moments of the intercept and the effects over the whole lattice, and over half of it."""
        every, few = (self.lattice.points, both_weights(self.lattice)), self._few
        if few is None:
            return self._moments_over(*every)
        above = self._moments_over(*every, groups=np.empty(0, dtype=np.intp))
        groups = self._moments_over(self.lattice.points[few.chosen], few.weights)
        return replace(
            above,
            means=(*above.means[:-1], groups.means[-1]),
            variances=(*above.variances[:-1], groups.variances[-1]),
        )

    def _moments_over(
        self, points: Floats, weights: Floats, groups: Indices | None = None
    ) -> Moments:
        """Moments over points (n, d) with weights (m, n), of all groups or of some."""
        innermost = self.marginal.data.tree.innermost
        above = [self._origin(level) for level in range(ROOT, innermost)]
        origins = [*above, self._origin(innermost, groups)]
        return self.marginal.given(points).mixture(weights, origins, groups)

    def _origin(self, level: int, members: Indices | None = None) -> Floats:
        """What effects of a level are taken at, in the tree's coordinates; (q,) or (u, q)."""
        standard = self.marginal.data
        if self.place is None:
            return standard.origin
        x = self.place.of(level)
        return standard.origin_at(x if members is None or x.ndim == 1 else x[members])

    @cached_property
    def _few(self) -> Few | None:
        """Few points for the groups' effects, if there is much work and two degrees agree."""
        if not self._is_much:
            return None
        return few_nodes(self.lattice, self._laws_of_probe_groups)

    def _laws_of_probe_groups(self, nodes: Indices) -> tuple[Floats, Floats]:
        """Standardised means and sds (n, g) of some groups' effects at some nodes."""
        tree, points = self.marginal.data.tree, self.lattice.points[nodes]
        return self._standard_components(tree.innermost, points, probe_groups(tree))

    @cached_property
    def _nodes(self) -> tuple[Floats, Floats]:
        """Points that hold all but a negligible part of the posterior, and their weights.

        Distribution functions take many passes over the points.  In three dimensions they use a
        quarter or a half of them, if sums over these are those over the whole to ``THINNED``.
        """
        points, weights = self.lattice.points, self.lattice.weights
        if len(self.marginal.free) == 3:
            parts = [self.lattice.quarter, self.lattice.checkerboard]
            errors = differences_of_parts(self.marginal, self.lattice, parts)
            thin = (part for part, error in zip(parts, errors, strict=True) if error <= THINNED)
            some = next(thin, slice(None))
            points, weights = points[some], weights[some] / weights[some].sum()
        order = np.argsort(-weights, kind="stable")
        enough = np.searchsorted(np.cumsum(weights[order]), 1 - TAIL_MASS) + 1
        kept = np.sort(order[:enough])
        return points[kept], weights[kept] / weights[kept].sum()

    def _nodes_of(self, name: str) -> tuple[Floats, Floats]:
        """Points and weights over which a variable's distribution is summed."""
        if name != "theta" or self._few is None:
            return self._nodes
        chosen, weights = self._few.whole
        return self.lattice.points[chosen], weights

    def _components(
        self, name: str, members: Indices | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """Weights (n,), means and sds (n, u) of the mixtures of effects, in the outcome's unit."""
        standard = self.marginal.data
        points, weights = self._nodes_of(name)
        if name == "beta":
            beta, covariance = self.marginal.given(points).coefficients()
            covariance = standard.basis @ covariance @ standard.basis.T
            sd = standard.scale * np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
            some = slice(None) if members is None else members
            return weights, (standard.scale * beta @ standard.basis.T)[:, some], sd[:, some]
        mean, sd = self._standard_components(self.spec.level_of(name), points, members)
        return weights, standard.location + standard.scale * mean, standard.scale * sd

    def _standard_components(
        self, level: int, points: Floats, members: Indices | None = None
    ) -> tuple[Floats, Floats]:
        """Standardised means and sds of a level's effects at points; both (n, u)."""
        origin = self._origin(level, members)
        mean, variance = self.marginal.given(points).moments(level, origin, members)
        return mean, np.sqrt(variance)

    def _axis(self, name: str) -> tuple[int, int]:
        """Column of an sd among all, and its axis among the coordinates of the lattice."""
        column = self.marginal.names.index(name)
        return column, self.marginal.free.index(column)

    @cached_property
    def moments(self) -> HierarchyMoments:
        """Which moments exist."""
        return HierarchyMoments(self.spec, self.marginal.tails)
