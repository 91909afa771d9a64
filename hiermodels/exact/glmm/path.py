"""The mode of the coefficients given τ, as a smooth curve in τ.

With normal or flat priors of the coefficients the log density

    f_τ(γ) + log p(γ),      f_τ as in :mod:`hiermodels.exact.glmm.integrals`,

is concave in γ (Prékopa 1973).  Its mode γ̂(τ), its height there, the information K_g of every
group, and a factor U of the covariance, ``U U' = (Σ_g K_g + P)⁻¹``, are computed at Chebyshev
points of ``log(τ² + s²)`` and interpolated between them; τ = 0 is one end of that range.

References
----------
Prékopa (1973), Acta Scientiarum Mathematicarum 34:335 (integrals of log-concave functions).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.errors import PrecisionError
from hiermodels.exact.glmm.integrals import Expansion, expand
from hiermodels.exact.glmm.rows import CountRows
from hiermodels.numerics.chebyshev import lagrange_polynomials, unit_points

NEAR = 1e-12  # squared length of a step of Newton's method, in posterior sds, at a mode
ROUGHLY = 1e-2  # the same while the range of τ is looked for
MAX_STEPS = 100
ROUNDING = 1e-12  # of a log density, relative to its size
MAX_HALVINGS = 60
DROP = 30.0  # of the log density of log τ, where its range ends
SCAN = 2.0  # ratio of the values of τ that are tried
NODES = (12, 18, 27, 40)  # Chebyshev points, until the interpolants are smooth
SMOOTH = 1e-5  # last coefficients of an interpolant of the log density
FARTHEST = 1e6  # τ, beyond which none is tried


@dataclass(frozen=True, eq=False)
class CountModel:
    """Rows, and normal or flat priors of the coefficients.

    Attributes
    ----------
    rows : CountRows
    mean : (p,)
    precision : (p, p)
        Of the priors; 0 along coefficients whose priors are flat.
    constant : float
        Log of the priors' normalising constants.
    """

    rows: CountRows
    mean: Floats
    precision: Floats
    constant: float = 0.0

    def log_prior(self, gamma: Floats) -> Floats:
        """Log prior density of coefficients (J, p), that of flat ones being 0; (J,)."""
        away = gamma - self.mean
        return self.constant - 0.5 * ((away @ self.precision) * away).sum(axis=1)

    def log_slope(self, gamma: Floats) -> Floats:
        """Its gradient at one point (p,)."""
        return self.precision @ (self.mean - gamma)


@dataclass(frozen=True)
class Mode:
    """The highest point of the density of the coefficients at one τ.

    Attributes
    ----------
    gamma : (p,)
    height : float
        Log density, that of the prior of the coefficients included.
    expansion : Expansion
    covariance : (p, p)
    """

    gamma: Floats
    height: float
    expansion: Expansion
    covariance: Floats

    @property
    def log_mass(self) -> float:
        """About the logarithm of the integral over γ, without the powers of 2π."""
        return self.height + 0.5 * float(np.linalg.slogdet(self.covariance)[1])


def find_mode(
    model: CountModel, tau: float, gamma: Floats, start: Floats | None, near: float = NEAR
) -> Mode:
    """Climb to the mode by Newton's method, with shorter steps where the density would fall.

    Parameters
    ----------
    tau : float
    gamma : (p,)
        Where to begin.
    start : (G, 1), optional
        Where to begin the search for the groups' modes.
    near : float
        Squared length of a step, in posterior sds, that ends the search.
    """
    here = _at(model, tau, gamma, start)
    for _ in range(MAX_STEPS):
        gradient = here.expansion.gradient + model.log_slope(here.gamma)
        step = here.covariance @ gradient
        gain = float(gradient @ step)
        if gain < near:
            return here
        for _ in range(MAX_HALVINGS):
            moved = here.expansion.middles.z + here.expansion.slope @ step[:, None]
            there = _at(model, tau, here.gamma + step, moved)
            if there.height > here.height - near - ROUNDING * abs(here.height):
                break
            step /= 2
        here = there
    raise PrecisionError(
        f"the mode of the coefficients at tau = {tau:.3g} was not found: the last step would have "
        f"been of {np.sqrt(gain):.1g} posterior sds. Center and scale the covariates, or use "
        f"engine='nuts'"
    )


def _at(model: CountModel, tau: float, gamma: Floats, start: Floats | None) -> Mode:
    own = expand(model.rows, tau, gamma, start)
    height = own.value + float(model.log_prior(gamma[None])[0])
    information = own.information.sum(axis=0) + model.precision
    return Mode(gamma, height, own, np.linalg.inv(information))


@dataclass(frozen=True, eq=False)
class ModePath:
    """Modes at Chebyshev points, and what lies between them.

    Attributes
    ----------
    model : CountModel
    shift : float
        s² of the module's text.
    ends : (2,)
        Of ``log(τ² + s²)``; both the same where τ is fixed.
    modes : tuple of Mode
        The points ascending.
    """

    model: CountModel
    shift: float
    ends: tuple[float, float]
    modes: tuple[Mode, ...]

    @classmethod
    def of(cls, model: CountModel, log_prior: Callable[[Floats], Floats], upper: float) -> Self:
        """Lay the curve over the values of τ that matter.

        Parameters
        ----------
        log_prior : callable
            Log prior density of log τ, at places (J,).
        upper : float
            Largest τ that the prior allows.
        """
        begin = find_mode(model, 0.0, model.mean, None)
        shift = scale_of_variance(model, begin)
        last, largest = begin, -np.inf
        tau = np.sqrt(shift)
        while tau < FARTHEST:
            last = find_mode(model, min(tau, upper), last.gamma, None, ROUGHLY)
            value = float(log_prior(np.log([min(tau, upper)]))[0]) + last.log_mass
            largest = max(largest, value)
            if tau >= upper or value < largest - DROP:
                break
            tau *= SCAN
        ends = float(np.log(shift)), float(np.log(min(tau, upper) ** 2 + shift))
        for n in NODES:
            path = cls(model, shift, ends, _modes_at(model, _taus(shift, ends, n), begin))
            if path._is_smooth:
                return path
        raise PrecisionError(
            f"the mode of the coefficients is no smooth function of tau between 0 and {tau:.3g}. "
            f"Give tau a narrower prior, or use engine='nuts'"
        )

    @classmethod
    def at_one(cls, model: CountModel, tau: float) -> Self:
        """That of a τ that is fixed: one mode."""
        end = float(np.log(tau**2 + 1.0))
        return cls(model, 1.0, (end, end), (find_mode(model, tau, model.mean, None),))

    def __len__(self) -> int:
        return len(self.modes)

    @property
    def largest(self) -> float:
        """Largest τ."""
        return float(np.sqrt(max(np.exp(self.ends[1]) - self.shift, 0.0)))

    def weights(self, tau: Floats) -> Floats:
        """Lagrange's weights of the modes at values of τ (J,); (J, n)."""
        if len(self) == 1:
            return np.ones((len(tau), 1))
        low, high = self.ends
        place = (2 * np.log(tau**2 + self.shift) - low - high) / (high - low)
        return lagrange_polynomials(np.clip(place, -1.0, 1.0), len(self))

    def factors(self, weights: Floats) -> Floats:
        """Factors U at values of τ with these weights (J, n); (J, p, p)."""
        return np.tensordot(weights, self.factor, axes=1)

    @cached_property
    def gamma(self) -> Floats:
        """Modes; (n, p)."""
        return np.array([mode.gamma for mode in self.modes])

    @cached_property
    def height(self) -> Floats:
        """Log densities at the modes; (n,)."""
        return np.array([mode.height for mode in self.modes])

    @cached_property
    def factor(self) -> Floats:
        """Upper triangular factors U; (n, p, p)."""
        return np.array([_upper_factor(mode.covariance) for mode in self.modes])

    @cached_property
    def information(self) -> Floats:
        """K_g; (n, G, p, p)."""
        return np.array([mode.expansion.information for mode in self.modes])

    @cached_property
    def middles(self) -> Floats:
        """Modes z of the groups' integrands, and their inverse widths; (n, 2, G)."""
        own = [mode.expansion.middles for mode in self.modes]
        return np.array([[middle.z[:, 0], middle.root[:, 0]] for middle in own])

    @cached_property
    def slopes(self) -> Floats:
        """Derivatives of the modes z by γ; (n, G, p)."""
        return np.array([mode.expansion.slope for mode in self.modes])

    @property
    def _is_smooth(self) -> bool:
        """Whether the last coefficients of the log mass in Chebyshev's polynomials are small."""
        from numpy.polynomial.chebyshev import chebfit

        n = len(self)
        values = np.array([mode.log_mass for mode in self.modes])
        coefficients = chebfit(unit_points(n), values, n - 1)
        return bool(np.abs(coefficients[-2:]).max() < SMOOTH)


def scale_of_variance(model: CountModel, begin: Mode) -> float:
    """About the τ² below which the likelihood hardly changes, from the mode at τ = 0."""
    eta = model.rows.linear(begin.gamma[None])[:, 0]
    variance = model.rows.mean_and_variance(eta, slice(None))[1]
    by_group = model.rows.sums(variance)
    return float(1 / np.sqrt((by_group**2).sum()))


def _taus(shift: float, ends: tuple[float, float], n: int) -> Floats:
    """Values of τ at n Chebyshev points of ``log(τ² + s²)``, ascending."""
    low, high = ends
    places = (low + high) / 2 + (high - low) / 2 * unit_points(n)
    return np.sqrt(np.maximum(np.exp(places) - shift, 0.0))


def _modes_at(model: CountModel, taus: Floats, begin: Mode) -> tuple[Mode, ...]:
    """Modes at ascending values of τ, each sought from the one before."""
    modes: list[Mode] = []
    gamma, start = begin.gamma, None
    for tau in taus.tolist():
        modes.append(find_mode(model, tau, gamma, start))
        gamma, start = modes[-1].gamma, modes[-1].expansion.middles.z
    return tuple(modes)


def _upper_factor(covariance: Floats) -> Floats:
    """The upper triangular U with ``U U'`` a given matrix."""
    return np.ascontiguousarray(np.linalg.cholesky(covariance[::-1, ::-1])[::-1, ::-1])
