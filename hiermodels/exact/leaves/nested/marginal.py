"""The posterior of τ, κ and λ, all effects integrated out, and its lattice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.errors import SpecError
from hiermodels.exact.kernels.leaves.integral import LeafIntegrals
from hiermodels.exact.leaves.laying import (
    lay,
    modes_of,
    within_range_of_priors,
)
from hiermodels.exact.leaves.marginal import MAX_NUMBERS, MAX_SURPRISE, Growth
from hiermodels.exact.leaves.nested.coordinates import NestedCoordinates
from hiermodels.exact.leaves.nested.groups import Kinds
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.exact.leaves.nested.outer_leaves import LineTable, OuterLeaves
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.numerics import lattice
from hiermodels.numerics.lattice import Lattice


@dataclass(frozen=True, eq=False)
class Line:
    """All that lies above the inner groups, at one τ.

    Attributes
    ----------
    table : LineTable
        Of the kinds of outer groups as functions of their effects.
    integrals : LeafIntegrals
        Of these over the outer effects.
    """

    table: LineTable
    integrals: LeafIntegrals

    @classmethod
    def of(cls, kinds: Kinds, tau: float) -> Line:
        """Tabulate a line."""
        table = LineTable.of(kinds, tau)
        leaves = OuterLeaves(table, np.arange(len(kinds)))
        return cls(table, LeafIntegrals.of(leaves, table.seen))

    def log_integrals(self, mu: Floats, kappa: Floats) -> Floats:
        """``log ∫ exp(F_s(μ)) N(μ | λ_j, κ_j²) dμ`` of all kinds at nodes (J,); (S', J)."""
        log_integrals = self.integrals.log_integrals(mu, kappa)
        log_integrals += self.table.constant[:, None]
        return log_integrals


@dataclass(frozen=True)
class _Evaluated:
    """Points, what they mean, and what they weigh.

    Attributes
    ----------
    log_density : (n,)
    sds : (n, 2)
    gamma : (n, p)
    loss : (n,)
        How much likelier, in logarithms, all is without one of the outer groups than at the mode.
    """

    log_density: Floats
    sds: Floats
    gamma: Floats
    loss: Floats


@dataclass(frozen=True, eq=False)
class NestedMarginal:
    """``p(y, τ, κ, λ)`` in coordinates that suit a lattice."""

    model: NestedModel
    _lines: dict[float, Line] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if len(self.model.mean) > self.model.has_intercept:
            raise SpecError(
                "the exact posterior of counts with three levels takes no covariates; found "
                f"{len(self.model.mean) - self.model.has_intercept}. Leave them out, use two "
                "levels, or engine='nuts'"
            )
        if not self.model.leaves.log_concave:
            raise SpecError(
                "the exact posterior with three levels takes rows whose likelihood is log-concave "
                "in the group's effect, which that of t errors is not. Use engine='nuts'"
            )

    @cached_property
    def coordinates(self) -> NestedCoordinates:
        """Of τ, κ and λ."""
        return NestedCoordinates(self.model)

    @cached_property
    def kinds(self) -> Kinds:
        """The outer groups that differ."""
        return Kinds.of(self.model)

    def line(self, tau: float) -> Line:
        """What lies above the inner groups at a value of τ; made once for each."""
        if tau not in self._lines:
            self._lines[tau] = Line.of(self.kinds, tau)
        return self._lines[tau]

    def lines(self, sds: Floats) -> Iterator[tuple[Line, Indices]]:
        """Yield the lines of nodes with sds (J, 2), with the nodes on each, some at a time."""
        distinct, line_of = np.unique(sds[:, 1], return_inverse=True)
        order = np.argsort(line_of, kind="stable")
        ends = np.searchsorted(line_of[order], np.arange(len(distinct) + 1))
        step = max(1, MAX_NUMBERS // len(self.kinds))
        for tau, low, high in zip(distinct, ends[:-1], ends[1:], strict=True):
            for first in range(low, high, step):
                yield self.line(float(tau)), order[first : min(first + step, high)]

    def mean_of(self, gamma: Floats) -> Floats:
        """λ at nodes with coefficients (J, p), or 0 without it; (J,)."""
        return gamma[:, 0] if self.model.has_intercept else np.zeros(len(gamma))

    @one_blas_thread()
    def log_density(self, points: Floats) -> Floats:
        """``log p(y, u)`` at points u (n, d): with proper priors, normalised; (n,)."""
        return self._evaluate(points).log_density

    def _evaluate(self, points: Floats, usual: Floats | None = None) -> _Evaluated:
        """Evaluate points; with the usual log integrals (S',) also what is lost."""
        log_density, sds, gamma = self.coordinates.log_prior(points)
        log_density += self.model.constant
        mean, loss = self.mean_of(gamma), np.zeros(len(points))
        for line, nodes in self.lines(sds):
            own = line.log_integrals(mean[nodes], sds[nodes, 0])
            log_density[nodes] += self.kinds.multiplicity @ own
            if usual is not None:
                loss[nodes] = np.maximum(0.0, (usual[:, None] - own).max(axis=0))
        return _Evaluated(log_density, sds, gamma, loss)

    @cached_property
    def mode_and_scale(self) -> lattice.ModesAndScale:
        """Where the posterior lies: given τ and κ it is log-concave in λ."""
        t = [np.zeros(1)] * len(self.model.mean)
        with self._within_range():
            return modes_of(self.log_density, self._axes, t)

    @property
    def _axes(self) -> list[SdAxis]:
        """Of the sds, in the order of the coordinates."""
        free = [axis for axis in self.coordinates.sd_axes if axis is not None]
        return [axis for _, axis in sorted(free, key=lambda numbered: numbered[0])]

    def lattice(
        self, spacing: float | Floats, *, leave_out: bool = False, growth: Growth | None = None
    ) -> Lattice:
        """Lay a lattice over the posterior, wide enough for the moments that exist.

        Parameters
        ----------
        spacing : float or (d,)
        leave_out : bool
            Whether it shall hold the posterior without any one of the outer groups as well.
        growth : callable, optional
            Logarithm (n,) of a function of sds (n, 2) and γ (n, p) whose mean it shall hold.
        """
        if not self.coordinates.dimension:
            return Lattice.of_nothing(self.log_density(np.empty((1, 0))))
        scale = self.mode_and_scale
        usual = self._usual if leave_out else None

        def evaluate(points: Floats) -> tuple[Floats, Floats]:
            own = self._evaluate(points, usual)
            return own.log_density, self._log_weight(own, growth)

        with self._within_range():
            return lay(evaluate, scale, spacing, self._axes)

    def _log_weight(self, part: _Evaluated, growth: Growth | None) -> Floats:
        """How many times larger a moment that exists is than at the mode: the largest; (n,).

        Or how many times likelier all is without one of the outer groups, if that was asked for; or
        how many times larger the function is whose growth is given.
        """
        model, mode = self.model, self._at_mode
        weight = np.clip(part.loss, 0.0, MAX_SURPRISE)
        if growth:
            more = growth(part.sds, part.gamma) - growth(mode.sds, mode.gamma)
            weight = np.maximum(weight, more)
        orders = [
            2 * model.sd_moment_exists(level, 2) or int(model.sd_moment_exists(level, 1))
            for level in (0, 1)
        ]
        with np.errstate(divide="ignore"):
            for level, order in enumerate(orders):
                if model.fixed_sds[level] is None and order:
                    ratio = part.sds[:, level] / mode.sds[:, level]
                    weight = np.maximum(weight, order * np.log(ratio))
            away = np.abs(part.gamma - mode.gamma) / self._sd_at_mode
            return np.maximum(weight, min(orders) * np.log(away).max(axis=1, initial=0.0))

    @cached_property
    def _usual(self) -> Floats:
        """Log integrals of the kinds at the mode; (S',)."""
        mode = self._at_mode
        line = self.line(float(mode.sds[0, 1]))
        return line.log_integrals(self.mean_of(mode.gamma), mode.sds[:, 0])[:, 0]

    @cached_property
    def _at_mode(self) -> _Evaluated:
        return self._evaluate(self.mode_and_scale.modes[:1])

    @cached_property
    def _sd_at_mode(self) -> Floats:
        """About the sds of the coefficients given the sds, at the mode; (p,)."""
        return np.linalg.norm(self.coordinates.whitening(self._at_mode.sds).c[0], axis=1)

    def _within_range(self) -> AbstractContextManager[None]:
        priors = f"kappa ~ {self.model.outer_prior} and tau ~ {self.model.prior}"
        return within_range_of_priors("τ, κ and of the coefficients", priors)
