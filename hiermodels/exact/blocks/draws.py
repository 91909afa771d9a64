"""Exact and independent draws of sds, correlations, σ, coefficients and all effects.

Sds and correlations come from the lattice, or from all pairs of two, by rejection
(:mod:`hiermodels.numerics.rejection`); σ
given them from its law, an inverse gamma in closed form, or else by rejection from the broken line
between the places of its integral; coefficients, then effects, are normal given these.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.seeds import spawned
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.pair_lattice import PairLattices
from hiermodels.exact.blocks.residual_scale import STEP, ResidualScale
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.blocks.sd_marginal import SdMarginal
from hiermodels.exact.kernels.blocks.draws import EffectDraws
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.blocks.rotations import solve_upper
from hiermodels.numerics import rejection
from hiermodels.numerics.lattice import Lattice
from hiermodels.numerics.product_lattice import ProductLattice
from hiermodels.numerics.rejection import DrawnFrom

SPACING = {0: 1.0, 1: 0.5, 2: 0.75, 3: 1.0, 4: 1.0, 5: 1.0}  # draws are exact on any lattice
PAIR_SPACING, PAIR_DROP = 1.2, 26.0  # of two lattices, with draws from all pairs
PAIR_TOL, PAIR_RANK = 1e-2, 120  # of the approximation of the density on these
MARGIN = 1.05  # of the bound of a ratio


@dataclass(frozen=True, eq=False)
class CoefficientDraws:
    """Draws of σ and the coefficients, and a seed for those of the effects.

    Attributes
    ----------
    sigma : (M,)
    coefficients : (c, M)
        The root's, then β.
    seed : numpy.random.SeedSequence
        Of the effects, which are drawn when asked for: the same at every call.
    """

    sigma: Floats
    coefficients: Floats
    seed: np.random.SeedSequence


@dataclass(frozen=True, eq=False)
class GivenDraws(CoefficientDraws):
    """Draws of coefficients and effects given those of sds and correlations.

    Attributes
    ----------
    marginal : BlockMarginal
    values : Values
        Sds relative to σ, and correlations, at the draws.
    """

    marginal: BlockMarginal
    values: Values

    @classmethod
    @one_blas_thread()
    def given(
        cls, marginal: BlockMarginal, values: Values, sigma: Floats, rng: np.random.Generator
    ) -> GivenDraws:
        """Draw given sds, correlations and σ (M,), which another sampler has drawn."""
        (seed,) = spawned(rng, 1)
        gamma = draw_coefficients(marginal, marginal.root(values), sigma, rng)
        return GivenDraws(sigma, gamma, seed, marginal, values)

    @property
    def sds(self) -> Floats:
        """Draws of the sds τ; (m, M)."""
        return np.exp(self.values.log_theta) * self.sigma

    @property
    def correlations(self) -> Floats:
        """Draws of the correlations; (k, M)."""
        return self.marginal.coordinates.correlations(self.values)

    @cached_property
    @one_blas_thread()
    def members(self) -> EffectDraws:
        """Draws of the effects above the groups, and of groups when asked for."""
        coordinates, gamma = self.marginal.coordinates, self.coefficients.copy()
        blocks, factors = coordinates.blocks(self.values), coordinates.factors(self.values)
        gamma[len(gamma) - blocks.q :] -= self.marginal.anchor[:, None]
        return EffectDraws.draw(blocks, factors, gamma, self.sigma, self.seed)

    @cached_property
    @one_blas_thread()
    def effects(self) -> tuple[Floats, ...]:
        """Draws of the effects of every level, the outermost first; (p, u, M) each."""
        return (*self.members.above, self.members.of_groups())


@dataclass(frozen=True, eq=False)
class BlockDraws(DrawnFrom[Lattice | ProductLattice], GivenDraws):
    """Draws of all: sds, correlations and σ, too."""

    @classmethod
    @one_blas_thread()
    def draw(
        cls,
        marginal: BlockMarginal,
        size: int,
        rng: np.random.Generator,
        lattice: Lattice | ProductLattice | None = None,
    ) -> Self:
        """Draw from a lattice, by default a wide one.

        Parameters
        ----------
        marginal : BlockMarginal
        size : int
            M.
        rng : numpy.random.Generator
        lattice : Lattice or ProductLattice, optional
            One that was laid already.
        """
        laid = laid_for_draws(marginal)[0] if lattice is None else lattice
        (seed,) = spawned(rng, 1)
        draw = rejection.draw if isinstance(laid, Lattice) else rejection.draw_from
        drawn = draw(laid, marginal.log_density, size, rng)  # type: ignore[arg-type]
        values = marginal.coordinates.values(drawn.points)
        root = marginal.root(values)
        sigma = draw_sigma(marginal, values, root, rng)
        gamma = draw_coefficients(marginal, root, sigma, rng)
        return cls(sigma, gamma, seed, marginal, values, laid, drawn)


def laid_for_draws(
    marginal: BlockMarginal,
) -> tuple[Lattice, Root] | tuple[ProductLattice, None]:
    """A wide lattice, or two of inner and outer covariances: draws from any are exact.

    And what all rows say at its nodes, where there is one.
    """
    if marginal.cut is None:
        return marginal.laid(SPACING[marginal.coordinates.dimension])
    spacing = np.full(marginal.coordinates.dimension, PAIR_SPACING)
    pairs = PairLattices.of(marginal).laid(spacing, PAIR_DROP, PAIR_TOL, PAIR_RANK)
    return pairs.product, None


def draw_coefficients(
    marginal: SdMarginal[Any], root: Root, sigma: Floats, rng: np.random.Generator
) -> Floats:
    """Draw the root's coefficients and β given the covariances and σ (n,); (c, n)."""
    model = marginal.residual
    at = root.with_prior(model.mean, model.precision, sigma)
    noise = rng.standard_normal((at.n_coefficients, 1, len(sigma))) * sigma
    gamma = solve_upper(at.triangle[:-1, :-1], at.triangle[:-1, -1:] + noise)[:, 0]
    return np.asarray(gamma + marginal.shift[:, None])


def draw_sigma(
    marginal: SdMarginal[Any], values: Values, root: Root, rng: np.random.Generator
) -> Floats:
    """Draw σ once for each node, or take it from the lattice if it has an axis there; (n,)."""
    if values.log_sigma is not None:
        return np.exp(values.log_sigma)
    return np.exp(draw_log_sigma(marginal.scale, root, values.log_theta, rng))


def draw_log_sigma(
    scale: ResidualScale, root: Root, log_theta: Floats, rng: np.random.Generator
) -> Floats:
    """Draw log σ once for each node; (n,)."""
    if scale.is_closed:
        gamma = rng.standard_gamma(scale.shape, len(root.log_det))
        return 0.5 * np.log(root.square / (2 * gamma))
    bound = MARGIN * (1 + STEP**2 / 8)
    while True:
        drawn, largest = _draw_by_rejection(scale, root, log_theta, rng, bound)
        if largest <= bound:
            return drawn
        bound = MARGIN * largest


def _draw_by_rejection(
    scale: ResidualScale, root: Root, log_theta: Floats, rng: np.random.Generator, bound: float
) -> tuple[Floats, float]:
    """Draws, and the largest ratio of the density to the broken line that was met.

    A place by its weight plus triangular noise of ±1 step has the broken line through the density
    at the places for its own.
    """
    drawn, largest, left = np.empty(len(root.log_det)), 0.0, np.arange(len(root.log_det))
    while len(left):
        at, log = root.at(left), log_theta[:, left]
        s, step = scale.places(at, log)
        log_density = scale.log_density(at, log, s)
        top = log_density.max(axis=1)
        density = np.exp(log_density - top[:, None])
        ends = np.cumsum(density, axis=1)
        node = (ends < rng.random((len(left), 1)) * ends[:, -1:]).sum(axis=1)
        place = node + rng.random(len(left)) - rng.random(len(left))
        own = s[:, 0] + step * place
        padded = np.pad(density, ((0, 0), (1, 1)))
        low = np.floor(place).astype(np.intp)
        share, rows = place - low, np.arange(len(left))
        line = (1 - share) * padded[rows, low + 1] + share * padded[rows, low + 2]
        there = scale.log_density(at, log, own[:, None])[:, 0]
        ratio = np.exp(there - top) / line
        largest = max(largest, float(ratio.max()))
        accepted = rng.random(len(left)) * bound < ratio
        drawn[left[accepted]] = own[accepted]
        left = left[~accepted]
    return drawn, largest
