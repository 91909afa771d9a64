"""The posterior of τ, β, κ and λ, all effects integrated out, and its lattice."""

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
from hiermodels.exact.leaves.marginal import MAX_NUMBERS, MAX_SURPRISE, SCAN_T, Growth
from hiermodels.exact.leaves.nested.coordinates import NestedCoordinates
from hiermodels.exact.leaves.nested.groups import Kinds
from hiermodels.exact.leaves.nested.line_table import InnerTables, LineTable
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.exact.leaves.nested.outer_leaves import OuterLeaves
from hiermodels.numerics import lattice
from hiermodels.numerics.lattice import Lattice

MAX_DIMENSION = 4
OF_DRAWS = (
    ": its draws have summary() and check(), but predict(), rank(), loo() and all else that is "
    "computed without Monte Carlo error need this posterior"
)
FEW_KINDS = 10  # for fewer a line takes about as much memory
MAX_KEPT = 1 << 15  # outer groups of lines that are kept with covariates, of all together
COARSER = (4.0, 2.0)  # spacings of lattices that are laid before, each within the one before


@dataclass(frozen=True, eq=False)
class Line:
    """All that lies above the inner groups, at one τ and β.

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
        return cls.above(LineTable.of(kinds, tau))

    @classmethod
    def above(cls, table: LineTable) -> Line:
        """The line whose outer groups are tabulated."""
        kinds = table.kinds
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
    """``p(y, τ, β, κ, λ)`` in coordinates that suit a lattice."""

    model: NestedModel
    _lines: dict[tuple[float, ...], Line] = field(default_factory=dict, repr=False)
    _inner: dict[float, InnerTables] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        d = self.coordinates.dimension
        if d > MAX_DIMENSION:
            raise SpecError(
                f"the exact posterior of counts with three levels has the sds and "
                f"{len(self.model.mean)} coefficients on its lattice: {d} dimensions, of which it "
                f"can hold {MAX_DIMENSION}. Use fewer covariates, or engine='nuts'{OF_DRAWS}"
            )
        if not self.model.leaves.log_concave and self.model.n_slopes:
            raise SpecError(
                "the exact posterior with three levels and covariates takes rows whose likelihood "
                "is log-concave in the group's effect, which that of t errors is not. Leave the "
                f"covariates out, or use engine='nuts'{OF_DRAWS}"
            )

    @cached_property
    def coordinates(self) -> NestedCoordinates:
        """Of τ, β, κ and λ."""
        return NestedCoordinates(self.model)

    @cached_property
    def kinds(self) -> Kinds:
        """The outer groups that differ."""
        return Kinds.of(self.model)

    def line(self, tau: float, slopes: tuple[float, ...] = ()) -> Line:
        """What lies above the inner groups at values of τ and β; it is kept for the next time."""
        key = (tau, *slopes)
        if key not in self._lines:
            if slopes and len(self._lines) * max(len(self.kinds), FEW_KINDS) > MAX_KEPT:
                self._lines.clear()
            self._lines[key] = self._new_line(tau, np.array(slopes))
        return self._lines[key]

    def _new_line(self, tau: float, slopes: Floats) -> Line:
        if not len(slopes):
            return Line.of(self.kinds, tau)
        return Line.above(LineTable.at_slopes(self.kinds, self.inner_tables(tau), slopes))

    def inner_tables(self, tau: float) -> InnerTables:
        """Tables of the inner groups' integrals at a value of τ, which all its lines share."""
        if tau not in self._inner:
            self._inner[tau] = InnerTables.of(self.kinds, tau)
        return self._inner[tau]

    def lines(self, sds: Floats, gamma: Floats) -> Iterator[tuple[Line, Indices]]:
        """Yield the lines of nodes (J, 2) and (J, p), with the nodes on each, some at a time.

        Those with the same τ come one after the other.
        """
        keys = np.column_stack([sds[:, 1], self.model.slopes_of(gamma)])
        distinct, line_of = np.unique(keys, axis=0, return_inverse=True)
        line_of = line_of.ravel()
        order = np.argsort(line_of, kind="stable")
        ends = np.searchsorted(line_of[order], np.arange(len(distinct) + 1))
        step = max(1, MAX_NUMBERS // len(self.kinds))
        for (tau, *slopes), low, high in zip(distinct.tolist(), ends[:-1], ends[1:], strict=True):
            for first in range(low, high, step):
                yield self.line(tau, tuple(slopes)), order[first : min(first + step, high)]

    def mean_of(self, gamma: Floats) -> Floats:
        """Mean of outer effects at the middle of the covariates, at nodes (J, p); (J,)."""
        return self.model.mean_at_middle(gamma)

    @one_blas_thread()
    def log_density(self, points: Floats) -> Floats:
        """``log p(y, u)`` at points u (n, d): with proper priors, normalised; (n,)."""
        return self._evaluate(points).log_density

    def _evaluate(self, points: Floats, usual: Floats | None = None) -> _Evaluated:
        """Evaluate points; with the usual log integrals (S',) also what is lost."""
        log_density, sds, gamma = self.coordinates.log_prior(points)
        log_density += self.model.constant
        mean, loss = self.mean_of(gamma), np.zeros(len(points))
        for line, nodes in self.lines(sds, gamma):
            own = line.log_integrals(mean[nodes], sds[nodes, 0])
            log_density[nodes] += self.kinds.multiplicity @ own
            if usual is not None:
                loss[nodes] = np.maximum(0.0, (usual[:, None] - own).max(axis=0))
        return _Evaluated(log_density, sds, gamma, loss)

    @cached_property
    def mode_and_scale(self) -> lattice.ModesAndScale:
        """Where the posterior lies: given τ and κ it is log-concave in λ and β if the leaves are.

        If they are not, λ is looked for, too.
        """
        axes, t = self.coordinates.axes, []
        if not self.model.leaves.log_concave and self.model.has_intercept:
            axes, t = axes[:-1], [np.array(SCAN_T)]
        with self._within_range():
            return modes_of(self.log_density, axes, t)

    def lattice(
        self,
        spacing: float | Floats,
        *,
        leave_out: bool = False,
        growth: Growth | None = None,
        coarser: Lattice | None = None,
    ) -> Lattice:
        """Lay a lattice over the posterior, wide enough for the moments that exist.

        Parameters
        ----------
        spacing : float or (d,)
        leave_out : bool
            Whether it shall hold the posterior without any one of the outer groups as well.
        growth : callable, optional
            Logarithm (n,) of a function of sds (n, 2) and γ (n, p) whose mean it shall hold.
        coarser : Lattice, optional
            One that was laid already, which tells where the posterior lies.
        """
        if not self.coordinates.dimension:
            return Lattice.of_nothing(self.log_density(np.empty((1, 0))))
        scale = self.mode_and_scale
        usual = self._usual if leave_out else None

        def evaluate(points: Floats) -> tuple[Floats, Floats]:
            own = self._evaluate(points, usual)
            return own.log_density, self._log_weight(own, growth)

        with self._within_range():
            axes = self.coordinates.axes
            for times in () if coarser else COARSER:
                coarser = lay(evaluate, scale, times * np.asarray(spacing), axes, coarser)
            return lay(evaluate, scale, spacing, axes, coarser)

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
        (line, _), *_ = self.lines(mode.sds, mode.gamma)
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
