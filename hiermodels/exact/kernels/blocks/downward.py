"""From the root downwards: effects given the coefficients and the covariances.

With ``M = I + (R L)'(R L)`` and ``K = L M⁻¹ (R L)'``, given its parent's effects φ

    θ_u | φ ~ N(φ + K (D − R φ), σ² L M⁻¹ L').

So given the coefficients γ each member's effects are ``row_y + row_γ γ`` plus noise of covariance
σ² own, which comes down as

    row ← (I − K R) row + K D,    own ← (I − K R) own (I − K R)' + L M⁻¹ L'.

Here D is the row ``[0 | −D_x | D_y]`` in the columns of γ and y.  ``M = N N'`` is made by
rotations, so that ``L M⁻¹ L' = H'H`` with ``H = N⁻¹ L'`` loses no digits, whatever the rank of R
or of L.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.names import ROOT
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.rotations import (
    lower_root,
    product,
    solve_lower,
    solve_upper,
    upper_root,
)
from hiermodels.exact.kernels.blocks.turned import Turned

SINGULAR = 1e-6  # diagonal of R, in units of its largest, below which R is not inverted


@dataclass(frozen=True)
class Gain:
    """How far members of a level follow the rows below them.

    Attributes
    ----------
    root : (p, p, u, n)
        N⁻¹ L', the H of the module's text.
    gain : (p, p, u, n)
        K.
    keep : (p, p, u, n)
        ``I − K R``.
    """

    root: Floats
    gain: Floats
    keep: Floats

    @classmethod
    def of(cls, r: Floats, factor: Floats) -> Gain:
        """From R (p, p, u, 1 or n) and L (p, p, n)."""
        spread = factor[:, :, None]
        a = product(r, spread)
        lower = lower_root(a)
        root = solve_lower(lower, np.broadcast_to(spread.swapaxes(0, 1), a.shape))
        gain = product(root.swapaxes(0, 1), solve_lower(lower, a.swapaxes(0, 1)))
        return cls(root, gain, _keep(r, a, gain))

    def of_members(self, members: Indices) -> Gain:
        """The same for some of the members, any number of times."""
        return Gain(self.root[:, :, members], self.gain[:, :, members], self.keep[:, :, members])

    @cached_property
    def own(self) -> Floats:
        """``L M⁻¹ L'``; (p, p, u, n)."""
        return product(self.root.swapaxes(0, 1), self.root)


def _keep(r: Floats, a: Floats, gain: Floats) -> Floats:
    """``I − K R``, or where R has full rank ``R⁻¹ V⁻¹ R`` with ``V = I + a a'``; (p, p, u, n).

    Where effects vary without end it is nearly 0, and what it multiplies may be huge: only the
    second form has its digits then.
    """
    if len(r) == 1:
        some, root = np.where(r == 0, 1.0, r), upper_root(a)
        return some / root / root / some
    keep = np.eye(len(r))[..., None, None] - product(gain, r)
    diagonal = np.abs(np.einsum("iiun->iun", r))
    full = (diagonal.min(axis=0) > SINGULAR * diagonal.max(axis=0)) & np.ones(a.shape[2:], bool)
    if full.any():
        root, own = upper_root(a[:, :, full]), np.broadcast_to(r, keep.shape)[:, :, full]
        solved = solve_lower(root.swapaxes(0, 1), solve_upper(root, own))
        keep[:, :, full] = solve_upper(own, solved)
    return keep


@dataclass(frozen=True)
class Conditional:
    """Effects of some members of a level given the coefficients γ.

    Attributes
    ----------
    row : (p, c + 1, u, n)
        The mean is ``row_y + row_γ γ``; y comes last.
    own : (p, p, u, n)
        Covariance at σ = 1.
    """

    row: Floats
    own: Floats

    def below(self, gain: Gain, outcome: Floats) -> Conditional:
        """One level down: from parents to their children, of which there are as many.

        ``outcome`` is [D_x | D_y]; (p, q + 1, u, 1 or n).
        """
        x, q = outcome[:, :-1], outcome.shape[1] - 1
        row = product(gain.keep, self.row)
        row[:, -1:] += product(gain.gain, outcome[:, -1:])
        if q:
            row[:, -1 - q : -1] -= product(gain.gain, x)
        own = product(product(gain.keep, self.own), gain.keep.swapaxes(0, 1))
        return Conditional(row, own + gain.own)

    def of_members(self, members: Indices) -> Conditional:
        """The same for some of the members, any number of times."""
        return Conditional(self.row[:, :, members], self.own[:, :, members])

    def moments(self, gamma: Floats, covariance: Floats, sigma2: Floats) -> tuple[Floats, Floats]:
        """Mean (p, u, n) and covariance (p, p, u, n) of the effects, γ integrated out.

        Parameters
        ----------
        gamma : (c, n)
            Mean of the coefficients.
        covariance : (c, c, n)
            Of the coefficients.
        sigma2 : (n,)
            Mean of σ².
        """
        mean, row = self.row[:, -1].copy(), self.row[:, :-1]
        for j, value in enumerate(gamma):
            mean += row[:, j] * value
        spread = product(product(row, covariance[:, :, None]), row.swapaxes(0, 1))
        return mean, spread + self.own * sigma2


def root_conditional(blocks: Blocks, n: int) -> Conditional:
    """The root's θ: its coefficients themselves, and 0 where there is none."""
    p = blocks.p
    row = np.zeros((p, blocks.n_coefficients + 1, 1, n))
    row[np.flatnonzero(blocks.fixed), np.arange(int(blocks.fixed.sum()))] = 1.0
    return Conditional(row, np.zeros((p, p, 1, n)))


def downward(
    blocks: Blocks,
    factors: Sequence[Floats],
    said: Sequence[Floats],
    step: int | None = None,
    groups: Indices | None = None,
) -> Iterator[tuple[int, slice, Conditional]]:
    """Yield the effects of every level, from the root downwards, given the covariances.

    Parameters
    ----------
    blocks : Blocks
    factors : sequence of (p, p, n)
    said : sequence of (p, p + q + 1, u, n)
        Of the members of the levels above the groups, by the rows below them.
    step : int, optional
        How many groups come at a time; by default all.
    groups : (g',), optional
        Which groups; all by default.

    Yields
    ------
    level, members, conditional
        As :func:`hiermodels.exact.kernels.tree.conditional.downward`.
    """
    above, p = root_conditional(blocks, factors[-1].shape[-1]), blocks.p
    yield ROOT, slice(0, 1), above
    for level, message in enumerate(said):
        gain = Gain.of(message[:, :p], factors[level])
        above = above.of_members(blocks.parent(level)).below(gain, message[:, p:])
        yield level, slice(0, blocks.sizes[level]), above
    innermost = len(factors) - 1
    wanted = np.arange(blocks.sizes[-1]) if groups is None else groups
    step = step or max(1, len(wanted))
    if blocks.turned is not None:
        gain = Gain.of(blocks.scaled(blocks.designs), factors[-1])
        for part, given in turned_back(blocks, blocks.turned, above, gain, wanted, step):
            yield innermost, part, given
        return
    used, of_wanted = np.unique(blocks.design[wanted], return_inverse=True)
    gain = Gain.of(blocks.scaled(blocks.designs[:, :, used], used), factors[-1])
    for first in range(0, len(wanted), step):
        part = slice(first, min(first + step, len(wanted)))
        some = wanted[part]
        parents = above.of_members(blocks.parent(innermost)[some])
        outcome = blocks.scaled(blocks.outcome[:, :, some], blocks.design[some])
        yield innermost, part, parents.below(gain.of_members(of_wanted[part]), outcome)


def turned_back(
    blocks: Blocks, turned: Turned, above: Conditional, gain: Gain, wanted: Indices, step: int
) -> Iterator[tuple[slice, Conditional]]:
    """Yield the effects ``θ = Q a`` of groups that are turned, some at a time.

    Given its parent's φ, ``a = (I − K R) H φ + K D`` plus independent noise, so that θ follows φ by
    ``Σ Q (I − K R) H``.

    Parameters
    ----------
    blocks, turned
    above : Conditional
        The parents' φ.
    gain : Gain
        Of each design.
    wanted : (g',)
        Groups.
    step : int
    """
    parent = blocks.parent(len(blocks.sizes) - 1)
    parent = parent if turned.group is None else parent[turned.group]
    for first in range(0, len(wanted), step):
        part = slice(first, min(first + step, len(wanted)))
        some = wanted[part]
        axes = turned.axes[some]
        siblings = np.unique(axes.indices)
        axes, design = axes[:, siblings], blocks.design[siblings]
        own, loading = gain.of_members(design), turned.loading[design, None]
        nothing = Conditional(
            np.zeros_like(above.row[:, :, :1]), np.zeros_like(above.own[:, :, :1])
        )
        alone = nothing.of_members(np.zeros(len(siblings), dtype=np.intp))
        alone = alone.below(own, blocks.outcome[:, :, siblings, None])
        row, noise = _combined(axes, alone.row), _combined(axes.power(2), alone.own)
        follow = _combined(axes, own.keep * loading)
        parents = above.of_members(parent[some])
        row = row + follow * parents.row
        yield part, Conditional(row, noise + follow**2 * parents.own)


def _combined(axes: Any, values: Floats) -> Floats:
    """Combinations (1, k, g', n) by sparse axes (g', u) of values (1, k, u, n)."""
    several = values[0].swapaxes(0, 1)
    flat = axes @ several.reshape(len(several), -1)
    return flat.reshape(-1, *several.shape[1:]).swapaxes(0, 1)[None]
