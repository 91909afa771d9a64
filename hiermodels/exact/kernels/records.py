"""What kernels take and return, whatever the structure of groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.codec import storable


@dataclass(frozen=True)
class Moments:
    """Means and variances of mixtures over the nodes, one for each row of weights.

    Attributes
    ----------
    means, variances : tuple of (m, u)
        Of the intercept, then of the effects at each level, the outermost first.
    beta : (m, q)
        Mean of β.
    beta_covariance : (m, q, q)
        Covariance of β.
    """

    means: tuple[Floats, ...]
    variances: tuple[Floats, ...]
    beta: Floats
    beta_covariance: Floats


@dataclass(frozen=True)
class Joint:
    """Means and covariances of some effects at x = 0 together with β, at n nodes."""

    mean: Floats  # (n, u)
    variance: Floats  # (n, u)
    covariance: Floats  # of each effect with β; (n, u, q)
    beta: Floats  # (n, q)
    beta_covariance: Floats  # (n, q, q)

    def at(self, members: Indices, x: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of ``v + x'β`` for effects v of members (r,) and x (r, q); both (n, r).

        ``Var(v + x'β) = Var v + 2 x'Cov(β, v) + x'Var(β) x``.
        """
        mean, variance = self.mean[:, members], self.variance[:, members]
        if not x.shape[1]:
            return mean, variance
        both = 2 * self.covariance[:, members] + x @ self.beta_covariance
        return mean + self.beta @ x.T, variance + np.einsum("nrq,rq->nr", both, x)


@storable
@dataclass(frozen=True)
class UpperDraws:
    """Draws of β, of the intercept and of all effects above the groups, one for each node.

    Attributes
    ----------
    levels : tuple of (u, n)
        The root, then the levels above the groups, the outermost first; a member's draws are side
        by side in memory.
    beta : (q, n)
    """

    levels: tuple[Floats, ...]
    beta: Floats


@dataclass(frozen=True)
class Rows:
    """Rows in a kernel's coordinates."""

    z: Floats  # rows [x, y]; (N, q + 1)
    weight: Floats  # their weights ω; (N,)
    group: Indices  # index of each row's group; (N,)


@dataclass(frozen=True)
class Densities:
    """Log densities of units' rows at the nodes.

    Attributes
    ----------
    left_out : (n, u)
        Given all other rows.
    again : (n, u)
        Given all rows, of other rows with the same outcomes: of a row's group, of a new member
        under the same parent.
    kept : (n, u)
        What is left of the data's information on β, as a ratio of determinants, without the unit.
    """

    left_out: Floats
    again: Floats
    kept: Floats
