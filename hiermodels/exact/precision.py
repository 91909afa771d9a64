"""How well a lattice holds a posterior: sums over its parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats
from hiermodels.errors import PrecisionError, PrecisionWarning, warn
from hiermodels.exact.marginal import Marginal
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.precision import WORST, reached

FINER = (0.5, 0.85)  # bounds of the next spacing, where a lattice misses the tolerance
FALLS = 0.7  # of the rate at which an error falls, if a first lattice told it
HEAVIEST = 64  # points of a lattice that stand for it where the error varies little
WARY = 0.7  # bound of the next spacing, where two lattices tell the rate


def sd_quadrature_error(marginal: Marginal, lattice: Lattice) -> float:
    """Error of the moments of the unknown sds: two spacings' difference, or by rounding.

    In posterior sds, the larger of both; the mass, and the moments of the coordinates x (which
    always exist), count as well.

    A lattice of spacing h errs by the density's Fourier transform at the multiples of 2π/h along
    each axis.  Every second point as on a checkerboard adds (π/h, π/h, …), and may agree with the
    whole although a skewed density has a transform that falls slowly along one axis alone.  So
    every second plane across each axis counts too, which adds π/h along it: by the square of its
    difference, as a transform that falls exponentially is at 2π/h the square of that at π/h.
    """
    return max(
        float(errors_by_axis(marginal, lattice).max(initial=0.0)), rounding(marginal, lattice)
    )


def rounding(marginal: Marginal, lattice: Lattice) -> float:
    """Rounding error of the log density, on average over a lattice's heaviest points.

    Moments err by about as much, in posterior sds, at every spacing: to compare two of them does
    not show it.  With known standard errors and without covariates, no digits are lost.
    """
    if not marginal.free or (marginal.spec.se and not marginal.spec.covariates):
        return 0.0
    heaviest = np.argsort(lattice.weights)[-HEAVIEST:]
    errors = marginal.given(lattice.points[heaviest]).rounding_error()
    weights = lattice.weights[heaviest]
    return float(weights @ errors / weights.sum())


def refinement(path: list[tuple[Floats, Floats]], tol: float) -> Floats:
    """Factors of the spacings for the next lattice, from the spacings and errors of those before.

    Where an error falls as ``A exp(−c/spacing)`` it reaches the tolerance at a spacing with

        1/spacing' = 1/spacing + log(error/tol)/c.

    Two lattices tell c; of one, it is a part of what it were with A = 1, which is too large.
    """
    spacing, errors = path[-1]
    if errors.max() <= tol:  # the values need what the sds do not
        return np.full(len(errors), FINER[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        rate, widest = -FALLS * np.log(errors) * spacing, np.full(len(errors), FINER[0])
        for before, old in path[-2:-1]:
            secant = np.log(old / errors) / (1 / spacing - 1 / before)
            told = np.isfinite(secant)
            rate = np.where(told, secant, rate)
            widest = np.where(told, WARY, widest)
        more = np.where(rate > 0, spacing * np.log(errors / tol) / rate, np.inf)
        factors = np.clip(1 / (1 + more), widest, FINER[1])
    return np.where(errors > tol, factors, np.where(np.isfinite(errors), 1.0, FINER[0]))


def require_precision(error: float, tol: float) -> None:
    """Warn of a quadrature that missed its precision, or refuse it."""
    if error <= tol:
        return
    warn(
        f"the quadrature reached {reached(error)} digits: its finest two spacings differ by "
        f"{error:.1e} posterior sd, more than {tol:g}. Tables show no more digits than that",
        PrecisionWarning,
    )


def require_digits(error: float, tol: float) -> None:
    """Warn of a rounding error that is larger than the tolerance, or refuse it."""
    if error <= tol:
        return
    cause = (
        f"rounding errors are of the order of {error:.1e} posterior sd: the outcome is so much "
        f"larger than the rows' residual sd, or priors of coefficients lie so far from the data, "
        f"that numbers of 16 digits hardly hold both. Subtract from the outcome what is known of it"
    )
    if not error <= WORST:
        raise PrecisionError(f"the posterior cannot be computed: {cause}")
    warn(f"{cause}. Tables show no more than {reached(error)} digits", PrecisionWarning)


def errors_by_axis(marginal: Marginal, lattice: Lattice) -> Floats:
    """What each axis adds to :func:`sd_quadrature_error`; (d,)."""
    return errors_of_values(_values_of(marginal, lattice), lattice)


def errors_of_values(values: Floats, lattice: Lattice) -> Floats:
    """Errors of means and sds of values (n, v) at a lattice's points, by axis; (d,).

    Whole planes of points tell what an axis adds: see :func:`sd_quadrature_error`.
    """
    across, together = errors_of_planes(values, lattice)
    return np.maximum(across, together)


def errors_of_planes(values: Floats, lattice: Lattice) -> tuple[Floats, float]:
    """What whole planes tell of each axis (d,), and a checkerboard of all: the parts of the above.

    The former is the square of a difference whose root is about what the quantiles err by, as these
    take the density between the points.
    """
    planes = [e == 0 for e in lattice.index.T % 2]
    if not planes:
        return np.zeros(0), 0.0
    together, *across = differences_of_values(values, lattice, [lattice.checkerboard, *planes])
    if len(planes) == 1:
        return np.zeros(1), together
    return np.square(across), together


def differences_of_parts(
    marginal: Marginal, lattice: Lattice, parts: Sequence[NDArray[np.bool_]]
) -> Iterator[float]:
    """Yield the largest difference between sums over the whole lattice and over a part of it.

    Of the means and sds of the coordinates and, if their moments exist, of the unknown sds, in
    posterior sds; and of the mass, which is the part's share of the points.
    """
    return differences_of_values(_values_of(marginal, lattice), lattice, parts)


def _values_of(marginal: Marginal, lattice: Lattice) -> Floats:
    """Coordinates and, if their moments exist, the unknown sds, at all points; (n, v)."""
    exists = marginal.tails.sd_moment_exists
    some = [j for j in marginal.free if exists(marginal.names[j], 2)]
    return np.hstack([lattice.points, np.exp(marginal.log_sds(lattice.points)[:, some])])


def differences_of_values(
    values: Floats, lattice: Lattice, parts: Sequence[NDArray[np.bool_]]
) -> Iterator[float]:
    """Yield the largest difference of means and sds of values (n, v), and of the mass, by part."""
    means, sds = moments_of(values, lattice.weights[None])
    for part in parts:
        weights = lattice.weights[part]
        mass = weights.sum()
        some_means, some_sds = moments_of(values[part], weights[None] / mass)
        worst = [abs(mass * round(1 / mass) - 1)]
        worst += [(np.abs(some_means - means) / sds).max(), np.abs(some_sds / sds - 1).max()]
        yield float(np.max(worst))  # nan, where a sum is none


def both_weights(lattice: Lattice) -> Floats:
    """Weights over the whole lattice and over half of its points; shape (2, n)."""
    half = np.where(lattice.checkerboard, lattice.weights, 0.0)
    return np.stack([lattice.weights, half / half.sum()])


def sd_moments(marginal: Marginal, lattice: Lattice, weights: Floats) -> tuple[Floats, Floats]:
    """Means and sds of the unknown sds, over the whole lattice and half of it; (2, d) each."""
    means, sds = moments_of(np.exp(marginal.log_sds(lattice.points)), weights)
    means, sds = marginal.data.scale * means, marginal.data.scale * sds
    for j, value in marginal.fixed.items():
        means[:, j], sds[:, j] = value, 0.0
    return means, sds


def moments_of(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Means and sds of values (n, d) under weights (m, n), both (m, d)."""
    means = weights @ values
    variances = [w @ (values - mean) ** 2 for w, mean in zip(weights, means, strict=True)]
    return means, np.sqrt(variances)
