"""Exact and independent draws of three levels: of outer groups' effects, and of groups' effects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.seeds import spawned, stream
from hiermodels.errors import PrecisionError
from hiermodels.exact.kernels.leaves.draws import draw_effects
from hiermodels.exact.kernels.leaves.outer import OuterGroups, OuterTables
from hiermodels.exact.kernels.leaves.outer_draws import draw_outer
from hiermodels.exact.leaves.chunks import drawn_in_chunks
from hiermodels.exact.leaves.draws import CHUNK
from hiermodels.exact.leaves.nested.direct import DirectDensity
from hiermodels.exact.leaves.nested.marginal import NestedMarginal
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.numerics import rejection
from hiermodels.numerics.lattice import Lattice, LogDensity
from hiermodels.numerics.lattice_interpolation import LatticeInterpolant, interpolated
from hiermodels.numerics.rejection import DrawnFrom

OUTER_CHUNK = 1 << 13  # terms of outer groups and draws with one stream of random numbers
TABULATED = 1 << 12  # groups, about, whose outer groups are tabulated at a time
TOLERANCE = 1e-9  # of the log density, between places
PROBES = 8  # outer groups and draws of each, whose densities are compared
FINER = (2.0, 1.5)  # tables in μ, in τ, where they are not good enough
BENT = (4.0, 2.25)  # what they begin with where leaves are not log-concave
MAX_REFINEMENTS = 12
SPACINGS = (0.4, 0.3)  # of lattices, between whose points the density is likely known to 1e-8
WIDE = 0.75  # spacing of one where draws are cheap without that
CHECKED = 32  # places, where this is checked


@dataclass(frozen=True, eq=False)
class NestedEffects:
    """Draws of the effects of outer groups and of groups, which are drawn when asked for.

    Attributes
    ----------
    model : NestedModel
    tau, kappa : (M,)
    gamma : (M, p)
        Of the coefficients, λ the first if there is an intercept.
    seed : numpy.random.SeedSequence
        Of the effects: the same at every call.
    """

    model: NestedModel
    tau: Floats
    kappa: Floats
    gamma: Floats
    seed: np.random.SeedSequence

    @classmethod
    def at(cls, marginal: NestedMarginal, points: Floats, seed: np.random.SeedSequence) -> Self:
        """Those at draws of all above the outer groups, in the lattice's coordinates (M, d)."""
        kappa, tau = marginal.coordinates.sds(points).T
        return cls(marginal.model, tau, kappa, marginal.coordinates.gamma(points), seed)

    @cached_property
    def lam(self) -> Floats:
        """Draws of λ, or 0; (M,)."""
        return self.gamma[:, 0] if self.model.has_intercept else np.zeros(len(self.gamma))

    def effects(self, level: int, members: Indices | None = None) -> Floats:
        """Effects of outer groups or of groups, of all or of some; (g, M).

        Those of a member are the same whichever others are drawn, and for any number of threads:
        each chunk has random numbers of its own.

        Parameters
        ----------
        level : int
            0 for outer groups, their μ_s; 1 for groups, their θ_i at their own covariates, given
            the same μ_s.
        members : (g,), optional
        """
        n = len(self.model.leaves) if level else self.model.n_outer
        wanted = np.arange(n) if members is None else members
        with one_blas_thread():
            return self._inner(wanted) if level else self._outer(wanted)

    def _inner(self, wanted: Indices) -> Floats:
        size = max(1, CHUNK // max(1, len(self.tau)))
        place = np.empty_like(self._order)
        place[self._order] = np.arange(len(place))
        chunks = np.unique(place[wanted] // size)
        whole = (chunks[:, None] * size + np.arange(size)).ravel()
        parents = np.unique(self.model.parent[self._order[whole[whole < len(place)]]])
        outer = self._outer(parents)

        def draw(chunk: int, own: Indices) -> Floats:
            groups = self._order[own]
            mu = outer[np.searchsorted(parents, self.model.parent[groups])]
            mu = mu + self._shifts[self._row_of[groups]]
            rng = stream(self.seed, 1, chunk)
            return draw_effects(self.model.leaves.take(groups), mu, self.tau, rng)

        return drawn_in_chunks(place[wanted], len(place), size, len(self.tau), draw)

    def _outer(self, wanted: Indices) -> Floats:
        """Draws of μ_s of some outer groups; (g, M)."""
        effects = np.empty((len(wanted), len(self.tau)))
        panel_of = wanted // self._panel
        for panel in np.unique(panel_of):
            here = np.flatnonzero(panel_of == panel)
            effects[here] = self._of_panel(int(panel), wanted[here])
        return effects

    def _of_panel(self, panel: int, wanted: Indices) -> Floats:
        """Draws of outer groups that are tabulated together; (g, M)."""
        first = panel * self._panel
        tables = self._tables(panel)
        draws = np.arange(len(self.tau))

        def draw(chunk: int, own: Indices) -> Floats:
            rng = stream(self.seed, 0, panel, chunk)
            return draw_outer(tables, own, draws, rng)

        size = len(tables.groups)
        return drawn_in_chunks(wanted - first, size, self._chunk, len(draws), draw)

    @cached_property
    def _order(self) -> Indices:
        """Groups by their outer groups; (k,)."""
        return np.argsort(self.model.parent, kind="stable")

    @cached_property
    def _rows(self) -> tuple[Floats, Indices]:
        """Distinct covariates but for the intercept's (D, q), and those of each group (k,)."""
        x = self.model.x[:, int(self.model.has_intercept) :]
        rows, row_of = np.unique(x, axis=0, return_inverse=True)
        return rows, row_of.ravel()

    @property
    def _row_of(self) -> Indices:
        return self._rows[1]

    @cached_property
    def _shifts(self) -> Floats:
        """What covariates add: x'β; (D, M)."""
        return self._rows[0] @ self.gamma[:, int(self.model.has_intercept) :].T

    @cached_property
    def _chunk(self) -> int:
        """Number of outer groups with one stream of random numbers."""
        keys = np.unique(np.stack([self.model.parent, self._row_of]), axis=1)
        n_terms = np.bincount(keys[0]).max()
        return max(1, OUTER_CHUNK // max(1, len(self.tau) * int(n_terms)))

    @cached_property
    def _panel(self) -> int:
        """Number of outer groups that are tabulated together, a multiple of a chunk."""
        groups = TABULATED * self.model.n_outer // len(self.model.leaves)
        return self._chunk * max(1, groups // self._chunk)

    def _tables(self, panel: int) -> OuterTables:
        """Tables of a panel that are good to 1e-9 at some of the draws.

        They are made finer in μ or in τ, in the other where the one helped little.
        """
        finer = [1.0, 1.0] if self.model.leaves.log_concave else [*BENT]
        groups, axis, last = self._groups(panel), 0, np.inf
        for _ in range(MAX_REFINEMENTS):
            tables = OuterTables.of(groups, (finer[0], finer[1]))
            error = self._error(tables, panel)
            if error <= TOLERANCE:
                return tables
            axis = axis if error < last / 2 else 1 - axis
            finer[axis] *= FINER[axis]
            last = error
        raise PrecisionError(
            f"effects of outer groups cannot be drawn: between places their log likelihood is "
            f"known to {error:.1g}, and not to {TOLERANCE:g}. Use engine='nuts'"
        )

    def _error(self, tables: OuterTables, panel: int) -> float:
        """Largest error of the tables at draws of some outer groups."""
        rng = stream(self.seed, 2, panel)
        some = np.sort(rng.permutation(len(tables.groups))[:PROBES])
        draws = rng.permutation(len(self.tau))[:PROBES]
        draws = draws[np.argsort(self.tau[draws], kind="stable")]
        return tables.error(some, draws, draw_outer(tables, some, draws, rng))

    def _groups(self, panel: int) -> OuterGroups:
        """The outer groups of a panel."""
        first = panel * self._panel
        parents = self.model.parent[self._order]
        own = self._order[np.searchsorted(parents, first) :]
        own = own[self.model.parent[own] < first + self._panel]
        size = min(self._panel, self.model.n_outer - first)
        starts = np.searchsorted(self.model.parent[own], first + np.arange(size + 1))
        leaves, rows = self.model.leaves.take(own), self._row_of[own]
        above = self.tau, self.lam, self.kappa
        return OuterGroups(leaves, starts, rows, self._shifts, *above)


@dataclass(frozen=True, eq=False)
class NestedDraws(DrawnFrom[Lattice]):
    """Exact draws of three levels, and where they come from.

    Attributes
    ----------
    marginal : NestedMarginal
    effects : NestedEffects
        With the draws of all above.
    """

    marginal: NestedMarginal
    effects: NestedEffects

    @classmethod
    @one_blas_thread()
    def draw(
        cls,
        marginal: NestedMarginal,
        size: int,
        rng: np.random.Generator,
        lattice: Lattice | None = None,
    ) -> Self:
        """Draw τ, β, κ and λ by rejection from a lattice.

        Where τ is not known, their log density is dear, and without covariates it is interpolated
        where that is good to 1e-8, if need be on a finer lattice; if leaves are not log-concave it
        bends too much for that, and is computed without tables.

        Parameters
        ----------
        marginal : NestedMarginal
        size : int
        rng : numpy.random.Generator
        lattice : Lattice, optional
            One that was laid already.
        """
        seed, own = spawned(rng, 2)
        laid, log_density = _density(marginal, lattice, np.random.default_rng(own))
        drawn = rejection.draw(laid, log_density, size, rng)
        return cls(laid, drawn, marginal, NestedEffects.at(marginal, drawn.points, seed))


def _density(
    marginal: NestedMarginal, lattice: Lattice | None, rng: np.random.Generator
) -> tuple[Lattice, LogDensity]:
    """A lattice, and the log density that draws from it are accepted by."""
    if marginal.model.fixed_sds[1] is not None or marginal.model.n_slopes:
        return lattice or marginal.lattice(WIDE), marginal.log_density
    if not marginal.model.leaves.log_concave:
        return lattice or marginal.lattice(WIDE), DirectDensity(marginal)
    for spacing in SPACINGS:
        laid = lattice or marginal.lattice(spacing)
        log_density = interpolated(laid, marginal.log_density, rng, CHECKED)
        if lattice or isinstance(log_density, LatticeInterpolant):
            break
    return laid, log_density
