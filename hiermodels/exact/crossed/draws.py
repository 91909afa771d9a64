"""Exact and independent draws of the sds of crossed groups, σ, coefficients and all effects.

Sds come from the lattice by rejection, σ and the coefficients from their laws given these
(:mod:`hiermodels.exact.blocks.draws`), and effects by one Cholesky decomposition for each draw.
Where that is dear, the log density that rejection asks for is interpolated between the lattice's
points, if that is good to 1e-8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.seeds import spawned
from hiermodels.exact.blocks.draws import SPACING, CoefficientDraws, draw_coefficients, draw_sigma
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.crossed.interpolated import interpolated
from hiermodels.exact.crossed.marginal import CrossedMarginal
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.crossed.downward import Effects
from hiermodels.exact.kernels.crossed.upward import Eliminated, batches
from hiermodels.numerics import rejection
from hiermodels.numerics.lattice import Lattice, LogDensity
from hiermodels.numerics.lattice_interpolation import interpolated as between_nodes
from hiermodels.numerics.lattice_interpolation import interpolated_values
from hiermodels.numerics.rejection import DrawnFrom

DEAR_SPACING = 0.9  # of the lattice, where each node is dear
CHECKED = 32  # places at which an interpolated log density is compared, where each is dear


@dataclass(frozen=True, eq=False)
class CrossedGiven(CoefficientDraws):
    """Draws of coefficients and effects given those of the sds and σ.

    Attributes
    ----------
    marginal : CrossedMarginal
    theta : (K, M)
        Sds relative to σ.
    """

    marginal: CrossedMarginal
    theta: Floats

    @classmethod
    @one_blas_thread()
    def given(
        cls, marginal: CrossedMarginal, theta: Floats, sigma: Floats, rng: np.random.Generator
    ) -> CrossedGiven:
        """Draw given sds (K, M) relative to σ (M,), which another sampler has drawn."""
        (seed,) = spawned(rng, 1)
        with np.errstate(divide="ignore"):
            values = Values(np.log(theta), theta[:0], np.log(sigma), np.zeros(len(sigma)))
        root = interpolated(marginal).root(values)
        gamma = draw_coefficients(marginal, root, sigma, rng)
        return CrossedGiven(sigma, gamma, seed, marginal, theta)

    @property
    def sds(self) -> Floats:
        """Draws of the sds τ; (K, M)."""
        return self.theta * self.sigma

    @one_blas_thread()
    def effects(self, wanted: list[tuple[int, Indices]]) -> list[Floats]:
        """Draws of deviations of some members of some factors, the same at every call; (u, M).

        Parameters
        ----------
        wanted : list of (int, (u,))
            Factors and members.
        """
        design, size = self.marginal.model.design, len(self.sigma)
        gamma = self.coefficients - self.marginal.shift[:, None]
        rng = np.random.default_rng(self.seed)
        drawn = [np.empty((len(members), size)) for _, members in wanted]
        for part in batches(design, size):
            effects = Effects(Eliminated.of(design, self.theta[:, part]))
            every = effects.draw(gamma[:, part], self.sigma[part], rng)
            for own, (factor, members) in zip(drawn, wanted, strict=True):
                own[:, part] = every[factor][members]
        return drawn


@dataclass(frozen=True, eq=False)
class CrossedDraws(DrawnFrom[Lattice], CrossedGiven):
    """Draws of all: sds and σ, too."""

    @classmethod
    @one_blas_thread()
    def draw(
        cls,
        marginal: CrossedMarginal,
        size: int,
        rng: np.random.Generator,
        lattice: tuple[Lattice, Root] | None = None,
    ) -> Self:
        """Draw from a lattice, by default a wide one.

        Parameters
        ----------
        marginal : CrossedMarginal
        size : int
            M.
        rng : numpy.random.Generator
        lattice : (Lattice, Root), optional
            One that was laid already, and what all rows say at its nodes.
        """
        laid, root = laid_for_draws(marginal) if lattice is None else lattice
        (seed,) = spawned(rng, 1)
        log_density: LogDensity = marginal.log_density
        if marginal.is_dear:
            log_density = between_nodes(laid, log_density, rng, CHECKED)
        drawn = rejection.draw(laid, log_density, size, rng)
        values = marginal.coordinates.values(drawn.points)
        if log_density == marginal.log_density:
            at = marginal.root(values)
        else:
            at = _root_between(marginal, laid, root, drawn.points)
        sigma = draw_sigma(marginal, values, at, rng)
        gamma = draw_coefficients(marginal, at, sigma, rng)
        return cls(sigma, gamma, seed, marginal, np.exp(values.log_theta), laid, drawn)


def _root_between(marginal: CrossedMarginal, lattice: Lattice, root: Root, points: Floats) -> Root:
    """What all rows say at points (n, d), from what they say at a lattice's."""
    size = len(root.triangle)
    known = np.vstack([root.triangle.reshape(size**2, -1), root.log_det])
    found = interpolated_values(lattice, known, points)
    others = np.flatnonzero(~np.isfinite(found).all(axis=0))
    if len(others):
        own = marginal.root(marginal.coordinates.values(points[others]))
        found[:, others] = np.vstack([own.triangle.reshape(size**2, -1), own.log_det])
    return Root(found[:-1].reshape(size, size, -1), found[-1])


def laid_for_draws(marginal: CrossedMarginal) -> tuple[Lattice, Root]:
    """A wide lattice, as draws from any are exact, and what all rows say at its nodes."""
    return marginal.laid(
        DEAR_SPACING if marginal.is_dear else SPACING[marginal.coordinates.dimension]
    )
