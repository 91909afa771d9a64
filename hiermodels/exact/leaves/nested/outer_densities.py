"""Densities of outer effects, and of the means of groups within them.

On the line of one τ and β an outer effect has the posterior density

    p_s(μ) = exp(F_s(μ)) Σ_j W_j/M_sj N(μ | λ_j, κ_j²),    M_sj = ∫ exp(F_s(μ)) N(μ | λ_j, κ_j²) dμ,

over the line's nodes j; with covariates μ and λ are those at the middle of all groups'.  Lines with
the same τ make a layer, over which what covariates move is summed up (:mod:`.moved`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.kernels.leaves.grid import ThetaGrid
from hiermodels.exact.leaves.effect_law import CORE, FINE, HEAVY, REACH, WIDE, cores
from hiermodels.exact.leaves.linear import NEGLIGIBLE, LinearLaw
from hiermodels.exact.leaves.nested.linear import LIGHTEST, line_law
from hiermodels.exact.leaves.nested.marginal import Line
from hiermodels.exact.leaves.nested.moved import OnLines, Slopes, moved_rows
from hiermodels.exact.leaves.nested.outer_leaves import OuterLeaves
from hiermodels.exact.leaves.nested.posterior import NestedPosterior

LOWEST = -600.0  # log of an integral
SEEN = 1e-4  # mass of nodes with the same sds, which the even part of a grid reaches for
MAX_PLACES = 4000.0  # of that part
DRAWN = 4.0  # log ratio of likelihoods by which prior densities still end where they do
FINER = 2.0  # places where densities are moved, for each that they need

type Less = Callable[[float, Floats], Floats]


@dataclass(frozen=True, eq=False)
class OuterLine:
    """The densities of outer effects on a line.

    Attributes
    ----------
    line : Line
    law : LinearLaw
        Of its nodes, with κ for their sds.
    slopes : (q,)
        β.
    log_leaf : (S' + 1, K)
        F less its constant of all kinds and, last, of an outer group without data, on the grid that
        lines share; none before that is laid.
    rest : (S' + 1, K)
        The sum over nodes, with F less its constant in M.
    """

    line: Line
    law: LinearLaw
    slopes: Floats
    log_leaf: Floats
    rest: Floats

    def density(self, kinds: Indices | int, less: Floats | float = 0.0) -> Floats:
        """Densities of effects of some kinds (g,), divided by ``exp(less)``; (g, K)."""
        return np.asarray(np.exp(self.log_leaf[kinds] - less) * self.rest[kinds])

    def moved(
        self, grid: ThetaGrid, kind: int, shift: float, theta: Floats, less: Floats | float
    ) -> Floats:
        """Density of a kind's effect moved by a shift, divided by ``exp(less)``, at θ (K',).

        F is taken at the places themselves, and what is between those of the grid of the rest.
        """
        (rest,) = moved_rows(grid, self.rest[[kind]], np.array([shift]), theta)
        log_leaf = self._log_leaf(np.array([kind]), theta - shift)[0]
        return np.asarray(np.exp(log_leaf - less) * rest)

    def _log_leaf(self, kinds: Indices, places: Floats) -> Floats:
        """F less its constant of kinds (g,) at places (K,), −∞ where all are negligible."""
        size, (low, high) = len(self.line.table.kinds), self.line.table.seen
        values = np.full((len(kinds), len(places)), -np.inf)
        values[kinds == size] = 0.0
        near, own = np.flatnonzero((places > low) & (places < high)), np.flatnonzero(kinds < size)
        if len(near) and len(own):
            leaves = self.leaves.take(kinds[own])
            values[np.ix_(own, near)] = leaves.log_likelihood(places[near])
        return values

    @property
    def weight(self) -> float:
        """Posterior mass of the line."""
        return float(self.law.weight.sum())

    @property
    def leaves(self) -> OuterLeaves:
        """The kinds as leaves."""
        kinds = self.line.table.kinds
        return OuterLeaves(self.line.table, np.arange(len(kinds)))

    @cached_property
    def narrow(self) -> float:
        """About the least sd of an outer effect on the line."""
        mass, _, width2 = widths(self.law)
        heavy = mass > HEAVY
        if not heavy.any():
            return np.inf
        information = float(self.leaves.information.max())
        return float(np.sqrt(1 / (1 / width2[heavy].min() + information)))

    def laid(self, places: Floats) -> OuterLine:
        """The same line with its densities at places of a grid."""
        law = self.law
        log_integrals = self.line.integrals.log_integrals(law.mu, law.tau)
        shares = law.weight * np.exp(-np.maximum(log_integrals, LOWEST))
        rest = np.vstack([shares, law.weight]) @ law.columns(places).T
        return replace(self, log_leaf=self._log_leaf(np.arange(len(rest)), places), rest=rest)


def widths(law: LinearLaw) -> tuple[Floats, Floats, Floats]:
    """Of nodes with the same sds: mass, mean of λ, and variance of effects without data."""
    _, pair = np.unique(law.tau, return_inverse=True)
    mass = np.maximum(np.bincount(pair, law.weight), np.finfo(float).tiny)
    first = np.bincount(pair, law.weight * law.mu) / mass
    away = np.bincount(pair, law.weight * (law.mu - first[pair]) ** 2) / mass
    return mass, first, np.bincount(pair, law.weight * law.tau**2) / mass + away


@dataclass(frozen=True, eq=False)
class Layer:
    """Lines of the same τ.

    Attributes
    ----------
    tau : float
    lines : list of OuterLine
    slopes : Slopes
    """

    tau: float
    lines: list[OuterLine]
    slopes: Slopes
    _known: dict[int, OnLines] = field(default_factory=dict, repr=False)

    @property
    def weight(self) -> float:
        """Posterior mass of all lines."""
        return sum(own.weight for own in self.lines)

    def moved(
        self, grid: ThetaGrid, kind: int, away: Floats, theta: Floats, less: Floats | float = 0.0
    ) -> Floats:
        """Densities of a kind's effect, moved by a'β, on all lines at places (K,); (n, K)."""
        shifts = (self.slopes.beta @ away).tolist()
        return np.stack(
            [
                own.moved(grid, kind, shift, theta, less)
                for own, shift in zip(self.lines, shifts, strict=True)
            ]
        )

    def of_kind(self, grid: ThetaGrid, kind: int) -> OnLines:
        """The densities of a kind's effect on all lines."""
        if kind not in self._known:
            self._known[kind] = self._of_kind(grid, kind)
        return self._known[kind]

    def _of_kind(self, grid: ThetaGrid, kind: int) -> OnLines:
        density = np.stack([own.density(kind) for own in self.lines])
        return OnLines(grid, density, self.slopes, np.array([own.narrow for own in self.lines]))


@dataclass(frozen=True, eq=False)
class OuterDensities:
    """The densities of outer effects on all lines.

    Attributes
    ----------
    grid : ThetaGrid
    layers : list of Layer
    """

    grid: ThetaGrid
    layers: list[Layer]

    @classmethod
    @one_blas_thread()
    def of(cls, posterior: NestedPosterior) -> OuterDensities:
        """Compute them at nodes that are not negligible."""
        model, weights = posterior.model, posterior.lattice.weights
        kept = np.flatnonzero(weights > (LIGHTEST if model.n_slopes else NEGLIGIBLE))
        own, sds = posterior.gamma[kept], posterior.sds[kept]
        lines = [
            OuterLine(line, line_law(posterior, kept[nodes]), slopes, *np.empty((2, 0, 0)))
            for line, nodes in posterior.marginal.lines(sds, own)
            for slopes in model.slopes_of(own[nodes[:1]])
        ]
        grid = _outer_grid(lines, FINER if model.n_slopes else 1.0)
        layers = groupby(lines, lambda own: own.line.table.tau)
        return cls(grid, [_layer(posterior, grid, tau, list(own)) for tau, own in layers])

    def means(
        self, kinds: Indices, away: Floats, less: Less
    ) -> tuple[ThetaGrid, Iterator[tuple[float, Floats]]]:
        """A grid, and for each τ sums over lines of what effects of kinds weigh there.

        Effects are moved by a'β.  The sums serve integrals of what is smooth: where lines stand
        apart they are no densities.

        Parameters
        ----------
        kinds : (g,)
        away : (g, q)
            The a of each.
        less : callable
            From τ and places (K,) to logarithms that densities are divided by; (g, K).

        Returns
        -------
        grid : ThetaGrid
        sums : iterator of (float, (g, K))
        """
        moves = away.shape[1] > 0
        grid = self.moved_grid(kinds, away, by_line=True) if moves else self.grid

        def of(layer: Layer) -> Floats:
            below = less(layer.tau, grid.theta)
            if not moves:
                return np.asarray(sum(own.density(kinds, below) for own in layer.lines))
            rows = zip(kinds.tolist(), away, below, strict=True)
            moved = (layer.moved(self.grid, kind, a, grid.theta, own) for kind, a, own in rows)
            return np.stack([own.sum(axis=0) for own in moved])

        return grid, ((layer.tau, of(layer)) for layer in self.layers)

    def densities(
        self, kinds: Indices, away: Floats
    ) -> tuple[ThetaGrid, Iterator[tuple[float, Floats]]]:
        """A grid, and for each τ the densities of effects of kinds, moved by a'β.

        Parameters and what is returned are those of :meth:`means`.
        """
        if not away.shape[1]:
            return self.means(kinds, away, lambda _, theta: np.zeros((len(kinds), len(theta))))
        grid = self.moved_grid(kinds, away)

        def of(layer: Layer) -> Floats:
            rows = zip(kinds.tolist(), away, strict=True)
            return np.stack(
                [layer.of_kind(self.grid, kind).moved(own, grid.theta) for kind, own in rows]
            )

        return grid, ((layer.tau, of(layer)) for layer in self.layers)

    @property
    def lines(self) -> list[OuterLine]:
        """Of all layers."""
        return [own for layer in self.layers for own in layer.lines]

    def moved_grid(self, kinds: Indices, away: Floats, *, by_line: bool = False) -> ThetaGrid:
        """Places for all of the moved effects, or for those on each line."""
        pairs = np.unique(np.column_stack([kinds, away]), axis=0)
        moments = [
            layer.of_kind(self.grid, int(kind)).moments(own, by_line=by_line)
            for layer in self.layers
            for kind, *own in pairs
        ]
        shifts = np.concatenate([(layer.slopes.beta @ away.T).ravel() for layer in self.layers])
        ends = self.grid.theta[0] + shifts.min(), self.grid.theta[-1] + shifts.max()
        return grid_of_moments(np.array(moments), ends)


def grid_of_moments(moments: Floats, ends: tuple[float, float]) -> ThetaGrid:
    """Places as fine as densities are narrow, that reach as far.

    Parameters
    ----------
    moments : (n, 4)
        Masses, means, and about the least sds and the sds.
    ends : (2,)
        Between which all of them lie.
    """
    mass, mean, narrow, wide = moments[moments[:, 0] > HEAVY].T
    step = FINE * narrow.min()
    near = (mass > SEEN * mass.max()) | (narrow < WIDE * step)
    reach = CORE * np.minimum(wide, WIDE * narrow)
    low, high = (mean - reach)[near].min(), (mean + reach)[near].max()
    step = max(step, (high - low) / MAX_PLACES)
    return ThetaGrid.of((low, high), (min(low, ends[0]), max(high, ends[1])), float(step))


def _layer(
    posterior: NestedPosterior, grid: ThetaGrid, tau: float, lines: Sequence[OuterLine]
) -> Layer:
    """Lay the lines of one τ."""
    q = posterior.model.n_slopes
    coordinates, step = posterior.coordinates, posterior.lattice.step
    some = coordinates.of_coefficients[:q]
    sds = np.array([[1.0, tau]])
    c = posterior.model.slopes_of(coordinates.whitening(sds).c[0].T).T[:, :q]
    beta = np.array([own.slopes for own in lines]).reshape(len(lines), q)
    slopes = Slopes(beta, c, step[np.ix_(some, some)])
    return Layer(tau, [own.laid(grid.theta) for own in lines], slopes)


def _outer_grid(lines: list[OuterLine], finer: float) -> ThetaGrid:
    """Places that are as fine as the densities of outer effects are narrow, and reach as far."""
    heavy = [own for own in lines if own.weight > HEAVY]
    step = FINE / finer * min(own.narrow for own in heavy)
    step = min([step, *(own.leaves.step.min() for own in heavy)])
    low, high = [], []
    for own in heavy:
        (mass, first, width2), leaves = widths(own.law), own.leaves
        narrow = (mass > HEAVY) & (width2 < (WIDE * step) ** 2)
        prior = CORE * np.sqrt(width2)
        told = mass >= min(HEAVY, mass.max())
        below, above = _cores(leaves, first[told], prior[told])
        low += [*below, *(first - prior)[narrow]]
        high += [*above, *(first + prior)[narrow]]
        seen = mass > SEEN * mass.max()
        if not leaves.falls_below.all():
            low += [*(first - prior)[seen]]
        if not leaves.falls_above.all():
            high += [*(first + prior)[seen]]
    even = min(low), max(high)
    step = max(step, (even[1] - even[0]) / MAX_PLACES)
    near = [(own.law.mu - REACH * own.law.tau).min() for own in lines]
    far = [(own.law.mu + REACH * own.law.tau).max() for own in lines]
    return ThetaGrid.of(even, (min(even[0], *near), max(even[1], *far)), step)


def _cores(leaves: OuterLeaves, first: Floats, prior: Floats) -> tuple[Floats, Floats]:
    """Ends of the densities of outer effects with data, of each leaf; (k,) each.

    They end where the leaf does, or where the densities without data do that have the centres
    ``first`` and reach over ``prior``, (p,) each: unless the leaf is so much larger there than
    at the centre that it may draw effects beyond.
    """
    at_centre, (low, high) = leaves.log_likelihood(first), cores(leaves)
    for ends, side in ((low, -1.0), (high, 1.0)):
        stays = (leaves.log_likelihood(first + side * prior) - at_centre < DRAWN).all(axis=1)
        nearer = side * np.minimum(side * ends, (side * first + prior).max())
        ends[stays] = nearer[stays]
    return low, high
