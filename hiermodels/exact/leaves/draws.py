"""Exact and independent draws of τ, of the coefficients, and of the groups' effects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.seeds import spawned, stream
from hiermodels.exact.kernels.leaves.draws import draw_effects
from hiermodels.exact.leaves.chunks import drawn_in_chunks
from hiermodels.exact.leaves.marginal import LeafMarginal
from hiermodels.numerics import rejection
from hiermodels.numerics.lattice import Lattice, LogDensity
from hiermodels.numerics.lattice_interpolation import interpolated
from hiermodels.numerics.rejection import DrawnFrom

SPACING = {0: 1.0, 1: 0.5, 2: 0.75, 3: 0.75, 4: 0.9, 5: 1.0}  # draws are exact on any lattice
MANY = 500  # distinct groups, beyond which the density takes longer than between the points
CHUNK = 1 << 16  # pairs of groups and draws with one stream of random numbers


@dataclass(frozen=True, eq=False)
class EffectDraws:
    """Draws of τ and γ, and of the effects, which are drawn when asked for.

    Attributes
    ----------
    marginal : LeafMarginal
    points : (M, d)
        Draws of τ and γ in the lattice's coordinates.
    seed : numpy.random.SeedSequence
        Of the effects: the same at every call.
    """

    marginal: LeafMarginal
    points: Floats
    seed: np.random.SeedSequence

    @cached_property
    def tau(self) -> Floats:
        """Draws of τ; (M,)."""
        return self.marginal.coordinates.tau(self.points)

    @cached_property
    def gamma(self) -> Floats:
        """Draws of the coefficients; (M, p)."""
        return self.marginal.coordinates.gamma(self.points)

    def effects(self, groups: Indices | None = None) -> Floats:
        """Effects θ_i at the groups' own covariates, of all groups or of some; (g, M).

        A group's draws are the same whichever others are drawn, and for any number of threads:
        each chunk of groups has random numbers of its own.
        """
        model, tau, gamma = self.marginal.model, self.tau, self.gamma
        wanted = np.arange(len(model.leaves)) if groups is None else groups
        size = max(1, CHUNK // max(1, len(tau)))

        def draw(chunk: int, own: Indices) -> Floats:
            rng = stream(self.seed, chunk)
            return draw_effects(model.leaves.take(own), model.x[own] @ gamma.T, tau, rng)

        with one_blas_thread():
            return drawn_in_chunks(wanted, len(model.leaves), size, len(tau), draw)


@dataclass(frozen=True, eq=False)
class LeafDraws(DrawnFrom[Lattice], EffectDraws):
    """The same, and where they come from."""

    @classmethod
    @one_blas_thread()
    def draw(
        cls,
        marginal: LeafMarginal,
        size: int,
        rng: np.random.Generator,
        lattice: Lattice | None = None,
    ) -> Self:
        """Draw τ and γ by rejection from a lattice, by default a wide one.

        Of many groups their log density is interpolated, where that is good to 1e-8.

        Parameters
        ----------
        marginal : LeafMarginal
        size : int
        rng : numpy.random.Generator
        lattice : Lattice, optional
            One that was laid already.
        """
        laid = lattice or marginal.lattice(SPACING[marginal.coordinates.dimension])
        seed, own = spawned(rng, 2)
        log_density: LogDensity = marginal.log_density
        if sum(len(part.counts) for part in marginal.sets) > MANY:
            log_density = interpolated(laid, log_density, np.random.default_rng(own))
        drawn = rejection.draw(laid, log_density, size, rng)
        return cls(marginal, drawn.points, seed, laid, drawn)
