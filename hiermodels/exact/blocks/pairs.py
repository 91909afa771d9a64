"""The posterior at pairs of inner and outer covariances: the levels between the two meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.blocks.cut import Cut
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.blocks.upward import NUMBERS, Below, batches, from_groups, messages


@dataclass(frozen=True, eq=False)
class PairMarginal:
    """``p(y, u)`` where u has an inner and an outer part.

    Attributes
    ----------
    marginal : BlockMarginal
    cut : Cut
    """

    marginal: BlockMarginal
    cut: Cut

    def points(self, inner: Floats, outer: Floats) -> Floats:
        """Points (n, d) of parts (n or 1, d₁) and (n or 1, d₂)."""
        n = max(len(inner), len(outer))
        points = np.empty((n, len(self.cut.inner) + len(self.cut.outer)))
        points[:, self.cut.inner], points[:, self.cut.outer] = inner, outer
        return points

    def below(self, inner: Floats) -> Below:
        """What is said of the members at the cut, at inner parts (n, d₁)."""
        blocks = self.marginal.residual.blocks
        nothing = np.zeros((1, len(self.cut.outer)))
        coordinates = self.marginal.coordinates
        factors = coordinates.factors(coordinates.values(self.points(inner, nothing)))
        parts = []
        for nodes in batches(blocks, len(inner)):
            below = from_groups(blocks, factors[-1][..., nodes])
            for level in reversed(range(self.cut.level, len(blocks.parents))):
                below = below.rise(blocks, factors[level][..., nodes], level)
            parts.append(below)
        return Below.joined(parts)

    def root(self, below: Below, values: Values) -> Root:
        """What all rows say at hyperparameters (n,), of n inner parts or of one."""
        blocks = self.marginal.residual.blocks
        factors = self.marginal.coordinates.factors(values)
        n, single = factors[0].shape[2], len(below.log_det) == 1
        step = max(16, NUMBERS // below.message[..., 0].size)
        parts = []
        for first in range(0, n, step):
            nodes = slice(first, first + step)
            own = below if single else below.at(nodes)
            for level in reversed(range(self.cut.level)):
                own = own.rise(blocks, factors[level][..., nodes], level)
            parts.append(own.root(blocks))
        return Root.joined(parts)

    def said(self, below: Below, values: Values) -> tuple[Floats, ...]:
        """What is said of the members of all levels above the groups, the outermost first."""
        blocks, n = self.marginal.residual.blocks, values.log_theta.shape[1]
        factors = self.marginal.coordinates.factors(values)
        if self.cut.level < len(blocks.parents):
            return messages(blocks, factors)
        said = [np.broadcast_to(below.message, (*below.message.shape[:3], n))]
        for level in reversed(range(1, self.cut.level)):
            below = below.rise(blocks, factors[level], level)
            said.append(below.message)
        return tuple(said[::-1])

    def at(self, below: Below, inner: Floats, outer: Floats) -> tuple[Floats, Values, Root]:
        """Log densities (n,), hyperparameters and what the rows say, at parts of n or 1 points."""
        values = self.marginal.coordinates.values(self.points(inner, outer))
        root = self.root(below, values)
        return self.marginal.log_density_of(values, root), values, root

    def log_density(self, below: Below, inner: Floats, outer: Floats) -> Floats:
        """Log densities at pairs of parts; (n,)."""
        return self.at(below, inner, outer)[0]


@dataclass(frozen=True, eq=False)
class Lines:
    """Log densities on rows and columns of all pairs of inner and outer points.

    Attributes
    ----------
    pairs : PairMarginal
    below : Below
        At the inner points.
    inner, outer : (n, d₁) and (m, d₂)
    """

    pairs: PairMarginal
    below: Below
    inner: Floats
    outer: Floats

    def row(self, i: int) -> Floats:
        """Of one inner point with all outer ones; (m,)."""
        return self.pairs.log_density(self.below.at([i]), self.inner[[i]], self.outer)

    def column(self, j: int) -> Floats:
        """Of one outer point with all inner ones; (n,)."""
        return self.pairs.log_density(self.below, self.inner, self.outer[[j]])

    def some(self, i: Indices, j: Indices) -> Floats:
        """Of some pairs; (k,)."""
        return self.pairs.log_density(self.below.at(i), self.inner[i], self.outer[j])
