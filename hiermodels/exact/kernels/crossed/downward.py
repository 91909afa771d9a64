"""Effects of crossed groups given the rows and the coefficients γ, at each node.

With ``Q = D S⁻¹ D`` the covariance of the other factors' effects at σ = 1, ``w_a = θ_a²/(1 + θ_a²
n_a)``, and v = [−Tγ; 1],

    u_z = U v + N(0, σ² Q),    U = Q M_zr,    u_a = w_a (c_a,r v − c_a,z u_z) + N(0, σ² w_a).

So a sum of effects, at most one of each factor, has the mean ``(w_a c_a,r + κ U) v`` and the
variance ``σ² (w_a + κ Q κ')``, κ being the other members' ones less ``w_a c_a,z``.  Means are given
as rows of [γ; 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.crossed.design import CrossedDesign
from hiermodels.exact.kernels.crossed.upward import Eliminated, inverse, solve, solve_transposed

ABSENT = -1  # member of a factor that a sum has none of
MAX_NUMBERS = 1 << 23  # that are held at a time


@dataclass(frozen=True, eq=False)
class Effects:
    """Laws of all effects given γ, at the nodes of an :class:`Eliminated`."""

    of: Eliminated

    @property
    def design(self) -> CrossedDesign:
        """What the rows say."""
        return self.of.design

    @cached_property
    def shrunk(self) -> Floats:
        """``w``; (n, a)."""
        return np.asarray(self.of.theta[self.design.eliminated][:, None] ** 2 / self.of.widened)

    @cached_property
    def covariance(self) -> Floats:
        """Q; (n, z, z)."""
        spread = self.of.theta[self.design.factor_of].T
        covariance = inverse(self.of.factor)
        covariance *= spread[:, :, None]
        covariance *= spread[:, None, :]
        return covariance

    @cached_property
    def of_others(self) -> Floats:
        """Rows U of all members but the eliminated factor's; (n, z, c + 1)."""
        spread = self.of.theta[self.design.factor_of].T
        return np.asarray(spread[:, :, None] * solve_transposed(self.of.factor, self._border))

    @property
    def _border(self) -> Floats:
        """B of [x | y]."""
        return self.of.border[:, :, : self.design.width]

    @cached_property
    def of_eliminated(self) -> Floats:
        """Rows of the eliminated factor's members; (n, a, c + 1)."""
        n, z, columns = self.of_others.shape
        flat = np.moveaxis(self.of_others, 0, 1).reshape(z, -1)
        fitted = np.moveaxis((self.design.sums @ flat).reshape(-1, n, columns), 1, 0)
        return np.asarray(
            self.shrunk[:, :, None] * (self.design.own[:, : self.design.width] - fitted)
        )

    def _through(self, members: slice | Indices) -> tuple[Floats, Floats]:
        """``c_a,z Q`` (a, n, z) and ``c_a,z Q c_a,z'`` (n, a) of some members."""
        n, z, _ = self.covariance.shape
        flat = np.moveaxis(self.covariance, 0, 1).reshape(z, -1)
        own = self.design.sums[members]
        through = np.asarray((own @ flat).reshape(-1, n, z))
        return through, np.einsum("anz,az->na", through, own.toarray())

    @cached_property
    def _explained(self) -> Floats:
        """``c_a,z Q c_a,z'``; (n, a)."""
        if self.design.pooled is None and self.design.products is not None:
            return np.array([self.design.products.squares(own) for own in self.covariance])
        n, z, _ = self.covariance.shape
        size, step = self.design.sizes[self.design.eliminated], max(1, MAX_NUMBERS // (n * z or 1))
        parts = [self._through(slice(i, i + step))[1] for i in range(0, size, step)]
        return np.concatenate(parts, axis=1)

    @cached_property
    def variances(self) -> tuple[Floats, Floats]:
        """Variances at σ = 1 of the eliminated factor's effects (n, a), and of others (n, z)."""
        own = self.shrunk + self.shrunk**2 * self._explained
        return own, np.einsum("nzz->nz", self.covariance)

    def laws(self, factor: int) -> tuple[Floats, Floats]:
        """Rows (n, u, c + 1) and variances (n, u) of a factor's effects."""
        if factor == self.design.eliminated:
            return self._turned(self.of_eliminated), self.variances[0]
        first = self.design.starts[factor]
        part = slice(first, first + self.design.sizes[factor])
        return self._turned(self.of_others[:, part]), self.variances[1][:, part]

    def laws_of_some(self, factor: int, members: Indices) -> tuple[Floats, Floats]:
        """The same of some members, without Q: ``c Q c' = ‖L⁻¹ D c'‖²``."""
        design, size = self.design, self.design.n_others
        if factor == design.eliminated:
            columns, rows = design.sums[members].toarray().T, self.of_eliminated[:, members]
        else:
            place = design.starts[factor] + members
            columns, rows = np.eye(size)[:, place], self.of_others[:, place]
        spread = self.of.theta[design.factor_of].T
        squares = (solve(self.of.factor, spread[:, :, None] * columns) ** 2).sum(axis=1)
        if factor == design.eliminated:
            own = self.shrunk[:, members]
            squares = own + own**2 * squares
        return self._turned(rows), squares

    def sums(self, members: Sequence[Indices]) -> tuple[Floats, Floats]:
        """Rows (n, r, c + 1) and variances (n, r) of sums of effects, one of each factor.

        Parameters
        ----------
        members : sequence of (r,)
            Of each factor; ``ABSENT`` where there is none.
        """
        design, n = self.design, self.of.theta.shape[1]
        r = len(members[0])
        row, variance = np.zeros((n, r, design.n_coefficients + 1)), np.zeros((n, r))
        others = [
            (members[k] >= 0, np.maximum(members[k], 0) + first)
            for k, first in design.starts.items()
        ]
        for is_there, place in others:
            row += np.where(is_there[:, None], self.of_others[:, place], 0.0)
            for is_other, other in others:
                both = self.covariance[:, place, other]
                variance += np.where(is_there & is_other, both, 0.0)
        a = members[design.eliminated]
        some = np.flatnonzero(a >= 0)
        a = a[some]
        row[:, some] += self.of_eliminated[:, a]
        variance[:, some] += self.variances[0][:, a]
        through = self._through(a)[0] if len(a) else np.empty((0, n, design.n_others))
        for is_there, place in others:
            both = through[np.arange(len(a)), :, place[some]].T * self.shrunk[:, a]
            variance[:, some] -= 2 * np.where(is_there[some], both, 0.0)
        return self._turned(row), variance

    def _turned(self, rows: Floats) -> Floats:
        """Rows of γ and 1, from those of v."""
        of_gamma = -rows[..., :-1] @ self.design.turn
        return np.concatenate([of_gamma, rows[..., -1:]], axis=-1)

    def draw(self, gamma: Floats, sigma: Floats, rng: np.random.Generator) -> tuple[Floats, ...]:
        """Draw all effects once for each node; (u, n) of each factor.

        Parameters
        ----------
        gamma : (c, n)
            Coefficients less the anchor.
        sigma : (n,)
        rng : numpy.random.Generator
        """
        design, n = self.design, len(sigma)
        row = np.vstack([-design.turn @ gamma, np.ones(n)]).T
        noise = rng.standard_normal((n, design.n_others)) * sigma[:, None]
        at = np.einsum("nzc,nc->nz", self._border, row) + noise
        others = self.of.theta[design.factor_of].T * solve_transposed(self.of.factor, at)
        left = row @ design.own[:, : design.width].T - (design.sums @ others.T).T
        spread = np.sqrt(self.shrunk) * sigma[:, None]
        own = self.shrunk * left + spread * rng.standard_normal(left.shape)
        parts = {k: others[:, s : s + design.sizes[k]] for k, s in design.starts.items()}
        parts[design.eliminated] = own
        return tuple(parts[k].T for k in range(len(design.sizes)))
