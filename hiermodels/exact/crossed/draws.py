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
from hiermodels.exact.blocks.draws import SPACING, draw_coefficients, draw_sigma
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.crossed.marginal import CrossedMarginal
from hiermodels.exact.crossed.posterior import DEAR, DEAR_SPACING
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.crossed.downward import Effects
from hiermodels.exact.kernels.crossed.upward import Eliminated, batches
from hiermodels.numerics import rejection
from hiermodels.numerics.lattice import Lattice, LogDensity
from hiermodels.numerics.lattice_interpolation import interpolated
from hiermodels.numerics.rejection import Draws

CHECKED = 32  # places at which an interpolated log density is compared, where each is dear


@dataclass(frozen=True, eq=False)
class CrossedGiven:
    """Draws of coefficients and effects given those of the sds and σ.

    The effects are drawn when asked for.

    Attributes
    ----------
    marginal : CrossedMarginal
    theta : (K, M)
        Sds relative to σ.
    sigma : (M,)
    coefficients : (c, M)
    seed : numpy.random.SeedSequence
        Of the effects: the same at every call.
    """

    marginal: CrossedMarginal
    theta: Floats
    sigma: Floats
    coefficients: Floats
    seed: np.random.SeedSequence

    @classmethod
    @one_blas_thread()
    def given(
        cls, marginal: CrossedMarginal, theta: Floats, sigma: Floats, rng: np.random.Generator
    ) -> CrossedGiven:
        """Draw given sds (K, M) relative to σ (M,), which another sampler has drawn."""
        (seed,) = rng.bit_generator.seed_seq.spawn(1)  # type: ignore[attr-defined]
        with np.errstate(divide="ignore"):
            values = Values(np.log(theta), theta[:0], np.log(sigma), np.zeros(len(sigma)))
        gamma = draw_coefficients(marginal, marginal.root(values), sigma, rng)
        return CrossedGiven(marginal, theta, sigma, gamma, seed)

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
class CrossedDraws(CrossedGiven):
    """Draws of all: sds and σ, too.

    Attributes
    ----------
    lattice : Lattice
        They come from.
    drawn : Draws
        Points of the lattice's coordinates, and how rejection went.
    """

    lattice: Lattice
    drawn: Draws

    @classmethod
    @one_blas_thread()
    def draw(
        cls,
        marginal: CrossedMarginal,
        size: int,
        rng: np.random.Generator,
        lattice: Lattice | None = None,
    ) -> Self:
        """Draw from a lattice, by default a wide one.

        Parameters
        ----------
        marginal : CrossedMarginal
        size : int
            M.
        rng : numpy.random.Generator
        lattice : Lattice, optional
            One that was laid already.
        """
        laid = laid_for_draws(marginal)[0] if lattice is None else lattice
        (seed,) = rng.bit_generator.seed_seq.spawn(1)  # type: ignore[attr-defined]
        log_density: LogDensity = marginal.log_density
        if marginal.model.design.n_others > DEAR:
            log_density = interpolated(laid, log_density, rng, CHECKED)
        drawn = rejection.draw(laid, log_density, size, rng)
        values = marginal.coordinates.values(drawn.points)
        root = marginal.root(values)
        sigma = draw_sigma(marginal, values, root, rng)
        gamma = draw_coefficients(marginal, root, sigma, rng)
        return cls(marginal, np.exp(values.log_theta), sigma, gamma, seed, laid, drawn)


def laid_for_draws(marginal: CrossedMarginal) -> tuple[Lattice, Root]:
    """A wide lattice, as draws from any are exact, and what all rows say at its nodes."""
    dear = marginal.model.design.n_others > DEAR
    return marginal.laid(DEAR_SPACING if dear else SPACING[marginal.coordinates.dimension])
