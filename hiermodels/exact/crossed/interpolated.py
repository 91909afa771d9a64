"""What all rows say of coefficients and σ, interpolated where each node is dear.

Many groups leave sds so little room that, within ten posterior sds of the mode, a polynomial of
log θ says what rows do to more digits than are claimed: a hundred nodes stand for as many as are
asked for.  Elsewhere, and where no polynomial is near enough, each node is taken by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.crossed.marginal import CrossedMarginal
from hiermodels.exact.crossed.model import CrossedModel
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.crossed.upward import evaluate
from hiermodels.numerics import ball_polynomials
from hiermodels.numerics.ball_polynomials import BallPolynomials
from hiermodels.numerics.lattice import ModesAndScale

REACH = 9.0  # posterior sds around the mode
TOLERANCE = 1e-9  # of the log density and of moments of coefficients, in posterior sds
ROUNDED = 100 * float(np.finfo(float).eps)  # for each row, of the log density
FLAT = 1e-9  # part of the widest axis that counts as none


@dataclass(frozen=True, eq=False)
class Region:
    """An ellipsoid of log θ.

    Attributes
    ----------
    center : (K,)
        −∞ where θ is 0.
    axes : (K, r)
        Half axes: log θ is ``center + axes z`` with ``|z| ≤ 1``.
    """

    center: Floats
    axes: Floats

    @classmethod
    def around(cls, marginal: CrossedMarginal, scale: ModesAndScale) -> Self:
        """About ``REACH`` posterior sds around the highest mode."""
        mode = scale.modes[0]
        points = np.vstack([mode, mode + scale.basis.T / REACH, mode - scale.basis.T / REACH])
        log_theta = marginal.coordinates.values(points).log_theta
        d = len(mode)
        with np.errstate(invalid="ignore"):
            away = (log_theta[:, 1 : d + 1] - log_theta[:, d + 1 :]) * REACH / 2
        away[~np.isfinite(log_theta[:, 0])] = 0
        axes, lengths, _ = np.linalg.svd(away, full_matrices=False)
        some = lengths > FLAT * lengths[0]
        return cls(log_theta[:, 0], REACH * axes[:, some] * lengths[some])

    def log_theta(self, places: Floats) -> Floats:
        """At places z (n, r); (K, n)."""
        return self.center[:, None] + self.axes @ places.T

    def places(self, log_theta: Floats) -> Floats:
        """Places z (n, r) of log θ (K, n)."""
        moving = np.isfinite(self.center)
        away = log_theta[moving] - self.center[moving, None]
        return np.asarray((away.T @ self.axes[moving]) / (self.axes**2).sum(axis=0))


@dataclass(frozen=True, eq=False)
class InterpolatedMarginal(CrossedMarginal):
    """The same posterior, with what rows say taken from polynomials.

    Attributes
    ----------
    located : ModesAndScale
        Where the posterior lies.
    region : Region
        Where polynomials are near enough.
    polynomials : BallPolynomials
        The triangle's elements, row by row, and the log determinant.
    """

    located: ModesAndScale
    region: Region
    polynomials: BallPolynomials

    @cached_property
    def mode_and_scale(self) -> ModesAndScale:
        """Where the posterior lies."""
        return self.located

    @property
    def is_dear(self) -> bool:
        """Whether each node is: those that have most weight are not."""
        return False

    @property
    def error(self) -> float:
        """Of the log density and of the moments of coefficients, in posterior sds."""
        return self.polynomials.error

    @property
    def n_nodes(self) -> int:
        """Number of nodes that the polynomials are of."""
        return len(self.polynomials.coefficients)

    @one_blas_thread()
    def root(self, values: Values) -> Root:
        """What all rows say of the coefficients, less the shift, and of σ."""
        places = self.region.places(values.log_theta)
        with np.errstate(over="ignore", invalid="ignore"):
            inside = (places**2).sum(axis=1) <= 1
        found = np.empty((len(places), self.polynomials.coefficients.shape[1]))
        found[inside] = self.polynomials(places[inside])
        if not inside.all():
            outside = np.exp(values.log_theta[:, ~inside])
            found[~inside] = _numbers(evaluate(self.model.design, outside))
        return _root(found)


def interpolated(marginal: CrossedMarginal) -> CrossedMarginal:
    """The same with polynomials, where each node is dear and they are near enough."""
    dimension = marginal.coordinates.dimension
    if not marginal.is_dear or not dimension:
        return marginal
    scale = marginal.mode_and_scale
    region = Region.around(marginal, scale)
    if region.axes.shape[1] not in ball_polynomials.DEGREES:
        return marginal
    polynomials = ball_polynomials.interpolated(
        lambda places: _numbers(evaluate(marginal.model.design, np.exp(region.log_theta(places)))),
        region.axes.shape[1],
        lambda found, true: _distance(marginal.model, _root(found), _root(true)),
        max(TOLERANCE, ROUNDED * marginal.model.n_rows),
    )
    if polynomials is None:
        return marginal
    return InterpolatedMarginal(marginal.model, marginal.tails, scale, region, polynomials)


def _numbers(root: Root) -> Floats:
    """A triangle's elements and the log determinant; (n, (c + 1)(c + 2)/2 + 1)."""
    some = np.triu_indices(len(root.triangle))
    return np.vstack([root.triangle[some], root.log_det]).T


def _root(numbers: Floats) -> Root:
    """The inverse of the same."""
    size = int(np.sqrt(2 * numbers.shape[1] - 2))
    triangle = np.zeros((size, size, len(numbers)))
    triangle[np.triu_indices(size)] = numbers[:, :-1].T
    return Root(triangle, numbers[:, -1].copy())


def _distance(model: CrossedModel, found: Root, true: Root) -> float:
    """Largest error of the log likelihood, of σ, and of moments of coefficients.

    The latter in posterior sds; nan where something is not finite.
    """
    df = max(model.n_rows - model.n_coefficients, 1)
    with np.errstate(all="ignore"):
        log_square = np.log(found.square / true.square)
        sd = np.sqrt(np.einsum("ccn->cn", true.covariance))
        moved = (found.mean - true.mean) / sd / np.sqrt(true.square / df)
        spread = (found.covariance - true.covariance) / (sd[:, None] * sd)
        likelihood = found.log_scale - true.log_scale - 0.5 * df * log_square
    errors = [likelihood, np.sqrt(df) * log_square, moved, spread]
    return max((float(np.abs(error).max()) for error in errors if error.size), default=0.0)
