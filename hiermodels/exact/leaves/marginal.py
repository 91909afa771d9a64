"""The posterior of τ and γ, all effects integrated out, and its lattice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.errors import SpecError
from hiermodels.exact.leaves.coordinates import Coordinates
from hiermodels.exact.leaves.laying import (
    lay,
    modes_of,
    within_range_of_priors,
)
from hiermodels.exact.leaves.many_counts import InterpolatedAlike, interpolated
from hiermodels.exact.leaves.model import Alike, LeafModel
from hiermodels.exact.leaves.tables import LineTables, line_tables
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.numerics import lattice
from hiermodels.numerics.lattice import Lattice

MAX_DIMENSION = 5
SCAN_T = (-4.0, -2.0, 0.0, 2.0, 4.0)  # of t, where the density may have several modes
MAX_SURPRISE = 30.0  # by which a group that is left out widens the lattice
TABULATED = 2  # coefficients, from which on tables pay
MAX_NUMBERS = 1 << 22  # integrals that are held at a time


type Growth = Callable[[Floats, Floats], Floats]
type Parts = Sequence[Alike | InterpolatedAlike | LineTables]


@dataclass(frozen=True)
class _Evaluated:
    """Points, what they mean, and what they weigh.

    Attributes
    ----------
    log_density, tau : (n,)
    gamma : (n, p)
    loss : (n,)
        How much likelier, in logarithms, all is without one of the groups than at the mode: the
        most, if it was asked for.
    """

    log_density: Floats
    tau: Floats
    gamma: Floats
    loss: Floats


@dataclass(frozen=True, eq=False)
class LeafMarginal:
    """``p(y, τ, γ)`` in coordinates that suit a lattice."""

    model: LeafModel

    def __post_init__(self) -> None:
        d = self.coordinates.dimension
        if d > MAX_DIMENSION:
            raise SpecError(
                f"the exact posterior of counts has τ and {len(self.model.mean)} coefficients on "
                f"its lattice: {d} dimensions, of which it can hold {MAX_DIMENSION}. Use fewer "
                f"covariates, or engine='nuts'"
            )

    @cached_property
    def coordinates(self) -> Coordinates:
        """Of τ and γ."""
        return Coordinates(self.model)

    def log_integrals(self, tau: Floats, gamma: Floats) -> Iterator[Floats]:
        """Yield ``log m_ij`` of the distinct leaves of each set of alike groups; (u, J)."""
        for alike in self.model.alike:
            yield alike.log_integrals(tau, gamma)

    @one_blas_thread()
    def log_density(self, points: Floats) -> Floats:
        """``log p(y, u)`` at points u (n, d): with proper priors, normalised; (n,)."""
        return self._log_density(points, self.sets)

    def _log_density(self, points: Floats, parts: Parts) -> Floats:
        blocks = self._blocks(points)
        return np.concatenate([self._evaluate(block, parts).log_density for block in blocks])

    def _evaluate(self, points: Floats, parts: Parts, usual: Sequence[Floats] = ()) -> _Evaluated:
        """Evaluate points; with the usual log integrals (u,) of each part also what is lost."""
        log_density, tau, gamma = self.coordinates.log_prior(points)
        log_density += self.model.constant
        loss = np.zeros(len(points))
        for i, part in enumerate(parts):
            own = part.log_integrals(tau, gamma)
            log_density += part.counts @ own
            if usual:
                loss = np.maximum(loss, (usual[i][:, None] - own).max(axis=0))
        return _Evaluated(log_density, tau, gamma, loss)

    @cached_property
    def sets(self) -> tuple[Alike | InterpolatedAlike, ...]:
        """Groups with the same covariates; very many distinct leaves stand on fewer."""
        return tuple(interpolated(alike, self.coordinates) for alike in self.model.alike)

    def parts(self) -> Parts:
        """All groups, in parts whose integrals at nodes of a lattice are computed together.

        They are groups with similar covariates, and empty tables of their integrals.  Where few
        nodes share a τ these would take longer than the integrals themselves, where leaves are
        not log-concave, integrals bend too much to be interpolated, and where very many groups
        have the same covariates, few leaves stand for them: there they are groups with the same
        covariates.
        """
        many = any(isinstance(part, InterpolatedAlike) for part in self.sets)
        if len(self.model.mean) < TABULATED or not self.model.leaves.log_concave or many:
            return self.sets
        return tuple(table.emptied() for table in self._tables)

    @cached_property
    def _tables(self) -> tuple[LineTables, ...]:
        return line_tables(self.model.alike, self.model.leaves, self.coordinates)

    def _blocks(self, points: Floats) -> Iterator[Floats]:
        """Parts of the points whose integrals can be held."""
        step = max(1, MAX_NUMBERS // max(1, sum(len(part.counts) for part in self.sets)))
        for first in range(0, len(points), step):
            yield points[first : first + step]

    @cached_property
    def mode_and_scale(self) -> lattice.ModesAndScale:
        """Where the posterior lies: Newton's method from the peaks on a coarse grid.

        Given τ it is log-concave in γ if the leaves are; then the grid is over τ alone.
        """
        d, sds = self.coordinates.dimension, self.coordinates.n_sds
        t = np.zeros(1) if self.model.leaves.log_concave or d - sds > 2 else np.array(SCAN_T)
        parts = self.parts()
        with self._within_range():
            return modes_of(
                lambda points: self._log_density(points, parts), self._axes, [t] * (d - sds)
            )

    @property
    def _axes(self) -> list[SdAxis]:
        """Of τ, unless it is fixed."""
        return [self.coordinates.axis] * self.coordinates.n_sds

    def lattice(
        self, spacing: float | Floats, *, leave_out: bool = False, growth: Growth | None = None
    ) -> Lattice:
        """Lay a lattice over the posterior, wide enough for the moments that exist.

        Parameters
        ----------
        spacing : float or (d,)
        leave_out : bool
            Whether it shall hold the posterior without any one of the groups as well.
        growth : callable, optional
            Logarithm of a function of τ (n,) and γ (n, p) of which it shall hold the mean; (n,).
        """
        if not self.coordinates.dimension:
            return Lattice.of_nothing(self.log_density(np.empty((1, 0))))
        scale = self.mode_and_scale
        own, usual = self.parts(), self._usual if leave_out else ()

        def evaluate(points: Floats) -> tuple[Floats, Floats]:
            blocks = [self._evaluate(block, own, usual) for block in self._blocks(points)]
            weights = np.concatenate([self._log_weight(block, growth) for block in blocks])
            log_density = np.concatenate([block.log_density for block in blocks])
            return log_density, weights

        with self._within_range():
            return lay(evaluate, scale, spacing, self._axes)

    def _log_weight(self, at: _Evaluated, growth: Growth | None = None) -> Floats:
        """How many times larger a moment that exists is than at the mode: the largest; (n,).

        Or how many times likelier all is without one of the groups, if that was asked for; or how
        many times larger the function is whose growth is given.
        """
        order = 2 * self.model.moment_exists(2) or int(self.model.moment_exists(1))
        mode = self._at_mode
        with np.errstate(divide="ignore"):
            ratios = [at.tau / mode.tau, *(np.abs(at.gamma - mode.gamma) / self._sd_at_mode).T]
            weight = order * np.log(np.max([np.ones(len(at.tau)), *ratios], axis=0))
        weight = np.maximum(weight, np.clip(at.loss, 0.0, MAX_SURPRISE))
        if growth:
            more = growth(at.tau, at.gamma) - growth(mode.tau, mode.gamma)
            weight = np.maximum(weight, more)
        return weight

    @cached_property
    def _usual(self) -> list[Floats]:
        """``log m_i`` at the mode, of the leaves of each part; (u,)."""
        mode = self._at_mode
        return [part.log_integrals(mode.tau, mode.gamma)[:, 0] for part in self.parts()]

    @cached_property
    def _at_mode(self) -> _Evaluated:
        return self._evaluate(self.mode_and_scale.modes[:1], self.parts())

    @cached_property
    def _sd_at_mode(self) -> Floats:
        """About the sds of the coefficients given τ, at the mode; (p,)."""
        return np.linalg.norm(self.coordinates.whitening(self._at_mode.tau).c[0], axis=1)

    def _within_range(self) -> AbstractContextManager[None]:
        return within_range_of_priors("τ and of the coefficients", f"τ ~ {self.model.prior}")
